//! A renewal of tokens, with its budgets.

use std::num::NonZeroU64;

use crate::account::{Naming, RefreshTokenId};
use crate::budget::Budget;
use crate::error::{Cause, Failure};
use crate::event::Operation;
use crate::secret::Secret;
use crate::slot::Revision;
use crate::time::MonoMillis;

/// The request and time budget of one flow, and the operation that it serves.
pub(crate) struct Effort {
    pub(crate) operation: Option<Operation>,
    /// The operation was answered before the work was set aside, which counts for it, and has no caller any more (USE-14).
    pub(crate) is_answered: bool,
    pub(crate) requests: Budget,
    pub(crate) until: MonoMillis,
    /// The failure of the first listed server that was skipped as unusable.
    pub(crate) passed_over: Option<Failure>,
}

pub(crate) struct Renewal {
    pub(crate) effort: Effort,
    /// The token that the MCP server refused; `None` when it is only about to expire.
    pub(crate) refused: Option<Refused>,
    pub(crate) resource_known: bool,
    pub(crate) server_known: bool,
    /// Refresh requests left.
    pub(crate) refreshes: Budget,
    pub(crate) looks: Budget,
    /// Writes of the lease left, against a store that reports a conflict each time.
    pub(crate) writes: u8,
    /// The account revision that holds this machine's lease.
    pub(crate) lease: Option<Revision>,
    /// The earliest time for the next request after a temporary failure.
    pub(crate) not_before: Option<MonoMillis>,
    /// The one retry after `Retry-After` has been made (TOK-22).
    pub(crate) delayed: bool,
    pub(crate) naming: Naming,
    /// The access token of the last answer was for other scopes, and was not stored.
    pub(crate) is_for_others: bool,
    /// The refresh tokens whose answers this renewal has taken, where the answers gave way to another account: they are spent,
    /// should they be stored again.
    pub(crate) spent: Vec<RefreshTokenId>,
    /// The server's refusal, reported when the user is needed because of it.
    pub(crate) refusal: Option<Box<Cause>>,
}

/// A request that the MCP server refused.
pub(crate) struct Refused {
    /// The token that was sent; `None` for a request without one.
    pub(crate) token: Option<Secret>,
    /// The event that reported it.
    pub(crate) event: NonZeroU64,
    /// Whether the challenge named a metadata location.
    pub(crate) named_place: bool,
    /// Whether a refresh is allowed: false after one for this operation (USE-08).
    pub(crate) may_refresh: bool,
}
