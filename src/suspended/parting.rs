//! Token requests in flight at a sign-out.

use crate::account::{MachineGrant, RefreshGrant};
use crate::grant::{CodeGrant, DeviceGrant};
use crate::issuer::AtIssuer;

/// A token request that was in flight at sign-out.
pub(crate) struct Parting {
    pub(crate) id: u64,
    pub(crate) grant: PartingGrant,
}

pub(crate) enum PartingGrant {
    Code(AtIssuer<CodeGrant>),
    Device(AtIssuer<DeviceGrant>),
    Refresh(AtIssuer<RefreshGrant>),
    Machine(AtIssuer<MachineGrant>),
}
