//! The listing state of the account's issuer (ISO-04, ISO-05): whether the resource's metadata still lists
//! it. Stored in the account before it takes effect, so that it binds every process and every later
//! refresh.

use crate::account::Standing;
use crate::core::{Ask, Core};
use crate::error::{Cause, Stage, StoreFlaw};
use crate::event::Persistence;
use crate::frame::RecordFlaw;
use crate::memory::Left;
use crate::record::{ResourceFacts, write_account};
use crate::slot::Revision;
use crate::state::attempt::Errand;
use crate::state::discovery::listing::{is_superseded, order_beside};
use crate::state::{Next, Step, Work, wait_in};

/// How many times the write is attempted against concurrent writes of other processes.
const WRITES: u8 = 3;

/// Waits until the listing state is stored in the account.
pub(crate) struct SavingStanding {
    pub(crate) ask: Ask,
    pub(crate) errand: Errand,
    facts: ResourceFacts,
    revision: Revision,
    writes_left: u8,
}

impl SavingStanding {
    /// Compares newly read metadata with the account, in any flow.
    pub(crate) fn judge(core: &mut Core, errand: Errand, facts: ResourceFacts) -> Step {
        Self::compare(core, errand, facts, WRITES)
    }

    fn compare(core: &mut Core, errand: Errand, mut facts: ResourceFacts, writes: u8) -> Step {
        let heard = core
            .memory
            .left
            .take()
            .filter(|left| !core.config().lists(&facts, &left.from));
        let exact = core.held.is_exact;
        let Some(at) = core.held.take() else {
            core.memory.left = heard;
            return Ok(Next::Listed(errand, facts));
        };
        let own = heard.as_ref().filter(|left| left.from == *at.issuer());
        let durable = own.is_none_or(|left| left.durable);
        let standing = if core.config().lists(&facts, at.issuer()) {
            Standing::Listed
        } else {
            order_beside(core, Some(at.issuer()), &mut facts);
            facts.servers.first().map_or(Standing::Listed, |to| {
                Standing::LeftFor(core.config().expected_issuer(to).0.clone())
            })
        };
        let changed = at.held().standing != standing || !durable;
        core.memory.left = match &standing {
            Standing::LeftFor(to) => Some(Box::new(Left {
                from: at.issuer().clone(),
                to: to.clone(),
                durable: !changed,
            })),
            // The move that led to the account's issuer is still known.
            Standing::Listed => heard,
        };
        core.held.is_exact = exact && !changed;
        let at = core.held.at.insert(Box::new(at.standing(standing)));
        match writes.checked_sub(1).filter(|_| changed) {
            None => Ok(Next::Listed(errand, facts)),
            Some(writes_left) => {
                let stored =
                    write_account(&core.identity, at, core.held.lease.map(|lease| lease.until));
                let revision = stored.revision;
                let slot = core.account_slot();
                let ask = core.persist(slot, core.held.revision, Some(stored), None);
                wait_in(Work::SavingStanding(Self {
                    ask,
                    errand,
                    facts,
                    revision,
                    writes_left,
                }))
            }
        }
    }

    pub(crate) fn persisted(self, core: &mut Core, outcome: Persistence) -> Step {
        match outcome {
            Persistence::Done => {
                core.held.is_stored_as(self.revision);
                let held = core.held.at.as_ref().map(|at| at.issuer());
                if let Some(left) = &mut core.memory.left
                    && held == Some(&left.from)
                {
                    left.durable = true;
                }
                Ok(Next::Listed(self.errand, self.facts))
            }
            // Compares with the account that another process wrote.
            Persistence::Conflict(current) => {
                core.memory.left = None;
                match core.adopt(current.as_ref()) {
                    Err(flaw @ RecordFlaw::Newer) => {
                        core.held.read_at = None;
                        let cause = Cause::NotPersisted(StoreFlaw::Record(flaw));
                        Err(self.errand.fails(Stage::Slots, None, cause))
                    }
                    // Another process read a document without the issuer, perhaps a later one: the resource decides.
                    Ok(()) | Err(_) if is_superseded(core, &self.facts) => {
                        Ok(Next::Locate(self.errand))
                    }
                    Ok(()) | Err(_) => {
                        Self::compare(core, self.errand, self.facts, self.writes_left)
                    }
                }
            }
            // This process applies it anyway, and retries the write with the next metadata.
            Persistence::Failed => Ok(Next::Listed(self.errand, self.facts)),
        }
    }
}
