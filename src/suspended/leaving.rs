//! The data that a sign-out erases and revokes.

use crate::account::Account;
use crate::clients::Registered;
use crate::issuer::AtIssuer;
use crate::memory::Remnant;
use crate::time::{Moment, UnixMillis};

/// Data that a sign-out erases and revokes, beside the contents of the account slot.
pub(crate) struct Leaving {
    /// The account in memory, as last read: revoked when the slot has no tokens, or is unreadable.
    pub(crate) known: Option<Box<AtIssuer<Account>>>,
    /// Tokens that the store has not confirmed: revoked beside those of the slot.
    pub(crate) unsaved: Option<Box<AtIssuer<Account>>>,
    /// The registrations to erase.
    pub(crate) doomed: Doomed,
    /// Whether the slot was read since the sign-out, and held the known account.
    pub(crate) was_read: bool,
    /// When the user signed out; at a repetition, the first time.
    pub(crate) signed_out: Moment,
    /// The account that an earlier sign-out could not erase.
    pub(crate) only: Option<Remnant>,
}

impl Leaving {
    /// Creates the sign-out of whatever account the slot holds.
    pub(crate) fn new(doomed: Doomed, signed_out: Moment) -> Self {
        Self {
            known: None,
            unsaved: None,
            doomed,
            was_read: false,
            signed_out,
            only: None,
        }
    }
}

/// The registrations to erase with a sign-out.
pub(crate) struct Doomed {
    pub(crate) orders: Vec<Order>,
    /// Whether the registrations of the accounts that are met are erased too.
    pub(crate) account: bool,
}

/// A registration to erase, and the source of the refusal.
pub(crate) struct Order {
    pub(crate) registered: Registered,
    pub(crate) word: Word,
}

impl Order {
    pub(crate) fn new(registered: Registered, word: Word) -> Self {
        Self { registered, word }
    }
}

/// The source of the refusal that ends a registration.
#[derive(Clone, Copy)]
pub(crate) enum Word {
    /// The token endpoint, or the pushed authorization request endpoint, rejects the client.
    TokenEndpoint,
    /// The token endpoint does not know the code of an attempt that began at this time.
    Code(UnixMillis),
    /// The authorization endpoint reports it through the browser.
    FrontChannel,
    /// The host requested a new registration.
    Host,
}
