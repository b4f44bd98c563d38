//! The read of a registration beside the request for the metadata of its server (REG-31).

use crate::budget::EARLY_READ;
use crate::core::{Ask, Core};
use crate::issuer::IssuerId;
use crate::slot::{Slot, Stored};
use crate::time::{Moment, millis};

/// A read that began before the metadata showed that its result is needed, so that a sign-in waits for the store less often.
/// A result that failed, or that is old, is not used: the registration is read again when the client is chosen.
pub(crate) struct EarlyRead {
    /// The pending action, until the result is too old to be used.
    pub(crate) ask: Ask,
    pub(crate) slot: Slot,
    issuer: IssuerId,
    pub(crate) begun: Moment,
    /// The result, once it has come.
    pub(crate) found: Option<Result<Option<Stored>, ()>>,
}

impl EarlyRead {
    /// Starts to read this slot, of the registration at this issuer.
    pub(crate) fn begin(core: &mut Core, slot: Slot, issuer: IssuerId) -> Self {
        let begun = core.now;
        let until = begun.mono.plus(EARLY_READ);
        let ask = Ask {
            until,
            ..core.load(slot)
        };
        Self {
            ask,
            slot,
            issuer,
            begun,
            found: None,
        }
    }

    /// Returns true for the issuer whose registration is read.
    pub(crate) fn is_at(&self, issuer: &IssuerId) -> bool {
        self.issuer == *issuer
    }
}

/// Returns true while what was read since this moment is used.
pub(crate) fn is_recent(begun: Moment, now: Moment) -> bool {
    begun.passed(now) < millis(EARLY_READ)
}
