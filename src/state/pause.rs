//! A pause before a refresh or a token request continues.

use crate::core::{Ask, Core};
use crate::state::trigger::Trigger;
use crate::state::{Next, Step, Work};
use crate::time::MonoMillis;

/// A paused refresh: another process holds the lease, or a server is in back-off. A user's authorization
/// takes precedence.
pub(crate) struct Pausing {
    pub(crate) ask: Ask,
    pub(crate) then: Trigger,
}

impl Pausing {
    pub(crate) fn begin(core: &mut Core, then: Trigger, until: MonoMillis) -> Work {
        let ask = core.pause(until);
        Work::Pausing(Self { ask, then })
    }

    /// Returns true when the pause is for a refresh, and this machine holds no lease for it.
    pub(crate) fn holds_no_lease(&self) -> bool {
        matches!(&self.then, Trigger::Renew(renewal) if renewal.lease.is_none())
    }

    /// Reads the slot again.
    pub(crate) fn elapsed(self) -> Step {
        Ok(Next::Read(self.then))
    }
}
