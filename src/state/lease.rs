//! Leasing the refresh token by compare-and-swap on the account slot: of several processes with an expired
//! token, one sends the refresh request (D01, REFR-05, S19).

use crate::budget::LEASE_TIME;
use crate::core::{Ask, Core};
use crate::error::{Cause, Stage, StoreFlaw};
use crate::event::Persistence;
use crate::record::{RecordFlaw, write_account};
use crate::slot::Revision;
use crate::state::refresh::Refreshing;
use crate::state::{Renewal, Step, Work};
use crate::time::{UnixMillis, millis};

pub(crate) struct Leasing {
    pub(crate) ask: Ask,
    pub(crate) revision: Revision,
    until: UnixMillis,
    renewal: Box<Renewal>,
}

impl Leasing {
    pub(crate) fn begin(core: &mut Core, renewal: Box<Renewal>) -> Step {
        let until = UnixMillis(core.now.wall.0.saturating_add(millis(LEASE_TIME)));
        let Some(at) = &core.held.at else {
            return renewal.go(core);
        };
        let stored = write_account(&core.identity, at, Some(until));
        let revision = stored.revision;
        let slot = core.account_slot();
        let ask = core.persist(slot, core.held.revision, Some(stored), None);
        Ok(Work::Leasing(Self {
            ask,
            revision,
            until,
            renewal,
        }))
    }

    pub(crate) fn persisted(mut self, core: &mut Core, outcome: Persistence) -> Step {
        match outcome {
            Persistence::Done => {
                core.held.is_stored_as(self.revision);
                core.held.lease = Some(self.until);
                // After a suspension the lease may have expired, and another process may hold it.
                if self.until <= core.now.wall {
                    return self.renewal.again(core);
                }
                self.renewal.lease = Some(self.revision);
                Refreshing::begin(core, self.renewal)
            }
            Persistence::Conflict(current) => match core.adopt(current.as_ref()) {
                Err(flaw @ RecordFlaw::Newer) => {
                    let cause = Cause::NotPersisted(StoreFlaw::Record(flaw));
                    self.renewal.fails_for_now(core, Stage::Slots, cause)
                }
                Ok(()) | Err(_) => self.renewal.again(core),
            },
            // Unknown whether it was written; an unreleased lease expires.
            Persistence::Failed => {
                let cause = Cause::NotPersisted(StoreFlaw::Write);
                self.renewal.fails_for_now(core, Stage::Slots, cause)
            }
        }
    }
}
