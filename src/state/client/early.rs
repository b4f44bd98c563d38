//! The read of a registration beside the request for the metadata of its server (REG-31).

use crate::core::{Ask, Core};
use crate::issuer::IssuerId;
use crate::slot::{Slot, Stored};

/// A read that began before the metadata showed that its result is needed, so that a sign-in waits for the store less often.
pub(crate) struct EarlyRead {
    pub(crate) ask: Ask,
    pub(crate) slot: Slot,
    issuer: IssuerId,
    /// The result, once it has come.
    pub(crate) found: Option<Result<Option<Stored>, ()>>,
}

impl EarlyRead {
    /// Starts to read this slot, of the registration at this issuer.
    pub(crate) fn begin(core: &mut Core, slot: Slot, issuer: IssuerId) -> Self {
        Self {
            ask: core.load(slot),
            slot,
            issuer,
            found: None,
        }
    }

    /// Returns true for the issuer whose registration is read.
    pub(crate) fn is_at(&self, issuer: &IssuerId) -> bool {
        self.issuer == *issuer
    }
}
