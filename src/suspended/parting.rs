//! Token requests whose answers may still come, and tokens that were discarded.

use crate::account::{Account, MachineGrant, Naming, RefreshGrant};
use crate::event::Operation;
use crate::grant::{CodeGrant, DeviceGrant};
use crate::issuer::AtIssuer;
use crate::time::Moment;

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
}
