//! Leasing the refresh token by compare-and-swap on the account slot: of several processes with an expired
//! token, one sends the refresh request (D01, REFR-05, S19).

use crate::budget::{LEASE_RESERVE, LEASE_TIME};
use crate::core::{Ask, Core, Lease};
use crate::error::{Cause, Stage, StoreFlaw};
use crate::event::Persistence;
use crate::frame::RecordFlaw;
use crate::record::write_account;
use crate::slot::Revision;
use crate::state::renewal::refresh::Refreshing;
use crate::state::{Next, Step, Work, wait_in};
use crate::suspended::Renewal;
use crate::time::Moment;

pub(crate) struct Leasing {
    pub(crate) ask: Ask,
    pub(crate) revision: Revision,
    until: Moment,
    renewal: Box<Renewal>,
}

impl Leasing {
    pub(crate) fn begin(core: &mut Core, renewal: Box<Renewal>) -> Step {
        let until = core.now.plus(LEASE_TIME);
        let Some(at) = &core.held.at else {
            return Ok(Next::Renew(renewal));
        };
        let stored = write_account(&core.identity, at, Some(until.wall));
        let revision = stored.revision;
        let slot = core.account_slot();
        let ask = core.persist(slot, core.held.revision, Some(stored), None);
        wait_in(Work::Leasing(Self {
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
                core.held.lease = Some(Lease::first_seen(self.until.wall, core.now));
                // After a suspension or a slow write the lease may have expired, and another process may hold it.
                if core.now.left_until(self.until) <= LEASE_RESERVE {
                    return self.renewal.again(core);
                }
                self.renewal.lease = Some(self.revision);
                Refreshing::begin(core, self.renewal, self.until)
            }
            // Even the contents that were to be written may be those of another process, which wrote the same lease in the
            // same millisecond: only `Done` says whose they are.
            Persistence::Conflict(current) => match core.adopt(current.as_ref()) {
                Err(flaw @ RecordFlaw::Newer) => {
                    let cause = Cause::NotPersisted(StoreFlaw::Record(flaw));
                    self.renewal.fails_for_now(core, Stage::Slots, cause)
                }
                Ok(()) | Err(_) => self.renewal.after_a_conflict(core),
            },
            // Unknown whether it was written; an unreleased lease expires.
            Persistence::Failed => {
                let cause = Cause::NotPersisted(StoreFlaw::Write);
                self.renewal.fails_for_now(core, Stage::Slots, cause)
            }
        }
    }
}
