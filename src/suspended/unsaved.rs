//! An account that a failed write has not stored, and what its write may replace.

use std::time::Duration;

use super::Renewal;
use crate::account::Account;
use crate::action::Why;
use crate::budget::SAVE_WAITS;
use crate::error::Failure;
use crate::issuer::AtIssuer;
use crate::secret::Secret;
use crate::time::{MonoMillis, UnixMillis};

/// The reason for a write, which decides what it may replace.
pub(crate) enum Kept {
    /// An authorization that began at this time, perhaps beside a stored account: replaces any account.
    Authorized { begun: UnixMillis, beside: bool },
    /// A refresh: replaces the account that holds the token sent, and no other (REFR-05).
    Refreshed { renewal: Box<Renewal>, sent: Secret },
    /// The server rejected the token sent: erases that token only (REFR-06).
    Dropped { renewal: Box<Renewal>, sent: Secret },
    /// The server forgot the client: erases the tokens that were held then, and no later ones (TOK-19, S20).
    ClientForgotten { after: Box<After>, lost: Secret },
}

/// An account that a failed write has not stored.
pub(crate) struct Unsaved {
    pub(crate) at: Box<AtIssuer<Account>>,
    pub(crate) kept: Kept,
    pub(crate) again: Again,
}

/// When a failed write is tried again without an event.
#[derive(Clone, Copy, Default)]
pub(crate) struct Again {
    /// The tries so far.
    pub(crate) tries: usize,
    /// When the next one is due; `None` after the last one.
    pub(crate) at: Option<MonoMillis>,
}

impl Kept {
    /// Returns true if the tokens of another account are newer than the start of this authorization.
    pub(crate) fn is_overtaken_by(&self, other: &Account) -> bool {
        match (self, &other.tokens) {
            (Self::Authorized { begun, .. }, Some(tokens)) => tokens.received > *begun,
            (Self::Authorized { .. }, None)
            | (Self::Refreshed { .. } | Self::Dropped { .. } | Self::ClientForgotten { .. }, _) => {
                false
            }
        }
    }
}

impl Again {
    /// Returns the next try, after a write that failed.
    pub(crate) fn after(self, now: MonoMillis) -> Self {
        let due = self.at.is_none_or(|at| at <= now);
        let wait = SAVE_WAITS.get(self.tries).filter(|_| due);
        match wait {
            Some(wait) => Self {
                tries: self.tries.saturating_add(1),
                at: Some(now.plus(Duration::from_millis(*wait))),
            },
            None => Self {
                at: self.at.filter(|_| !due),
                ..self
            },
        }
    }
}

/// The next step after the registration has been erased.
pub(crate) enum After {
    /// Ask the user to authorize again, with a new registration.
    Ask(Why),
    /// Fail the attempt: a new registration did not help a moment ago (C08).
    Fail(Box<Failure>),
}
