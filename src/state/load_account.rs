//! Reading the account slot: at the start, and before anything is decided about a refusal (USE-09).

use crate::config::Config;
use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, Stage, StoreFlaw};
use crate::event::{Authorization, Operation};
use crate::record::RecordFlaw;
use crate::slot::Stored;
use crate::state::exchange::save_again;
use crate::state::{Judged, Step, Work, discover};
use crate::wire::callback::Callback;

/// What starts work.
pub(crate) enum Trigger {
    Challenged(Box<Judged>),
    Wanted(Operation),
    Authorize(Box<Authorization>),
    CameBack(Callback),
    /// Another instance took the record of our callback first.
    TakenElsewhere,
    /// Everything is to be forgotten.
    SignOut,
}

pub(crate) struct LoadingAccount {
    pub(crate) ask: Ask,
    then: Option<Trigger>,
}

impl LoadingAccount {
    pub(crate) fn begin(core: &mut Core, then: Option<Trigger>) -> Work {
        let slot = core.account_slot();
        let ask = core.load(slot);
        Work::LoadingAccount(Self { ask, then })
    }

    pub(crate) fn loaded(self, core: &mut Core, found: Result<Option<Stored>, ()>) -> Step {
        let cause = match found {
            Ok(stored) => match core.adopt(stored.as_ref()) {
                // Written by a newer version: nothing here may overwrite it (D24).
                Err(RecordFlaw::Newer) => StoreFlaw::Record(RecordFlaw::Newer),
                // Anything else unusable counts as absent.
                Ok(()) | Err(_) => return self.go_on(core),
            },
            Err(()) => StoreFlaw::Load,
        };
        core.held.read_at = None;
        Err(Failure {
            operation: None,
            stage: Stage::Slots,
            issuer: None,
            cause: Cause::NotPersisted(cause),
        })
    }

    fn go_on(self, core: &mut Core) -> Step {
        match self.then {
            None => {
                if core.held.is_usable(core.now) {
                    core.ready();
                }
                Ok(Work::Idle)
            }
            Some(trigger) => start_read(core, trigger),
        }
    }
}

/// Starts the work of a trigger; the account slot is read first where that matters.
pub(crate) fn start(core: &mut Core, trigger: Trigger) -> Step {
    if core.held.unsaved.is_some() {
        return save_again(core, trigger);
    }
    let fresh = core.held.read_at == Some(core.event);
    let enough = match &trigger {
        Trigger::Challenged(_) => fresh,
        Trigger::Wanted(_) => fresh || core.held.is_usable(core.now),
        Trigger::Authorize(_)
        | Trigger::CameBack(_)
        | Trigger::TakenElsewhere
        | Trigger::SignOut => core.held.is_read(),
    };
    if enough {
        start_read(core, trigger)
    } else {
        Ok(LoadingAccount::begin(core, Some(trigger)))
    }
}

fn start_read(core: &mut Core, trigger: Trigger) -> Step {
    match trigger {
        Trigger::Challenged(judged) => judged.decide(core),
        Trigger::Wanted(operation) => Judged::wanted(core, operation),
        Trigger::Authorize(authorization) => discover(core, *authorization),
        Trigger::CameBack(callback) => super::come_back(core, callback),
        Trigger::SignOut => {
            let slot = core.account_slot();
            if let Some(revision) = core.held.revision.take() {
                core.persist(slot, Some(revision), None, None);
            }
            core.held.at = None;
            Ok(Work::Idle)
        }
        Trigger::TakenElsewhere if core.held.is_usable(core.now) => {
            core.ready();
            Ok(Work::Idle)
        }
        Trigger::TakenElsewhere => Err(Failure {
            operation: core.memory.operation.clone(),
            stage: Stage::Callback,
            issuer: None,
            cause: Cause::NotPersisted(StoreFlaw::Conflict),
        }),
    }
}

impl Config {
    /// Authorization attempts for one operation, the first included (STEP-07).
    pub(crate) fn authorizations_per_operation(&self) -> u8 {
        self.step_ups_per_operation.saturating_add(1)
    }
}
