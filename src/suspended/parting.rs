//! Token requests whose answers may still come, and tokens that were discarded.

use crate::account::{Account, MachineGrant, Naming, RefreshGrant};
use crate::event::Operation;
use crate::grant::{CodeGrant, DeviceGrant};
use crate::issuer::AtIssuer;
use crate::time::Moment;

use super::{Brings, Rank, Sent};

/// A token request that was in flight at sign-out or is overdue, or tokens to revoke.
pub(crate) struct Parting {
    /// The ticket of the request; 0 for tokens.
    pub(crate) id: u64,
    pub(crate) grant: PartingGrant,
}

pub(crate) enum PartingGrant {
    Code(AtIssuer<CodeGrant>),
    Device(AtIssuer<DeviceGrant>),
    Refresh(AtIssuer<RefreshGrant>),
    Machine(AtIssuer<MachineGrant>),
    /// Tokens of an answer that was discarded, until the work is done.
    Discarded(Box<AtIssuer<Account>>),
    /// A refresh whose time limit has passed.
    Overdue(Box<Overdue>),
}

/// A refresh whose time limit has passed, as it does in a process that was suspended meanwhile: the server may have replaced
/// the refresh token, and its answer is still taken while the account holds the one that was sent (REFR-07).
pub(crate) struct Overdue {
    pub(crate) at: AtIssuer<RefreshGrant>,
    /// When the request was sent: the lifetime of its tokens counts from then.
    pub(crate) sent: Moment,
    pub(crate) naming: Naming,
    pub(crate) operation: Option<Operation>,
    /// Another request with the same refresh token, whose answer was stored since, and the tokens that the account holds
    /// since.
    pub(crate) stored: Option<Sent>,
}

impl Overdue {
    /// Remembers the answer (`sent`) that was stored in the account. Returns true while the answer to this request may add to it:
    /// both belong to one refresh token, and this one may be better, or bring a refresh token that the other did not bring.
    pub(crate) fn remember(&mut self, sent: &Sent, account: &Account, request: u64) -> bool {
        self.stored = Some(sent.stored_in(account));
        let token = &self.at.held().refresh;
        let (best, own) = (
            sent.rank,
            Rank {
                request,
                ..sent.rank
            },
        );
        let open = best.brings < Brings::Tokens || best < own || account.has_refresh(token);
        sent.token.same(token.expose()) && open
    }
}
