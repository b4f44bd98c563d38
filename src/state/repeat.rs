//! An authorization request while one is pending: repeats its redirect, when its record exists and the
//! scopes suffice (AUTHZ-18). Another instance may have handled the callback.

use crate::core::{Ask, Core};
use crate::event::Authorization;
use crate::slot::{Revision, Stored};
use crate::state::redirect::repeat_redirect;
use crate::state::{LoadingAccount, Step, Trigger, Work};

/// An authorization that replaces a pending one, which another instance completed or which requested fewer
/// scopes.
pub(crate) struct Renewed {
    pub(crate) authorization: Authorization,
    /// The revision of the account slot before.
    pub(crate) account: Option<Revision>,
}

/// Reads the record of the pending authorization.
pub(crate) struct CheckingPending {
    pub(crate) ask: Ask,
    authorization: Authorization,
}

impl CheckingPending {
    /// Repeats the pending redirect, or replaces it.
    pub(crate) fn begin(core: &mut Core, authorization: Authorization) -> Work {
        let Some(waiting) = &core.waiting else {
            return replace(core, authorization);
        };
        if asks_for_more(core, &authorization) {
            let (slot, revision) = (waiting.rest.slot, waiting.rest.revision);
            core.persist(slot, Some(revision), None, None);
            return replace(core, authorization);
        }
        let slot = waiting.rest.slot;
        let ask = core.load(slot);
        Work::CheckingPending(Self { ask, authorization })
    }

    pub(crate) fn loaded(self, core: &mut Core, found: Result<Option<Stored>, ()>) -> Step {
        // Cancelled or ended meanwhile.
        let Some(waiting) = &core.waiting else {
            return Ok(Work::Idle);
        };
        match found {
            Ok(stored) if stored.as_ref().map(|s| s.revision) != Some(waiting.rest.revision) => {
                Ok(replace(core, self.authorization))
            }
            Ok(_) | Err(()) => repeat_redirect(core),
        }
    }
}

/// Reads the account slot first: it may satisfy the request already.
fn replace(core: &mut Core, authorization: Authorization) -> Work {
    core.waiting = None;
    let account = core.held.revision;
    let renewed = Renewed {
        authorization,
        account,
    };
    LoadingAccount::begin(core, Some(Trigger::Renewed(Box::new(renewed))))
}

/// Returns true when the required scopes exceed those of the pending redirect (STEP-12).
fn asks_for_more(core: &Core, authorization: &Authorization) -> bool {
    let by_challenge = core.memory.scope.as_ref();
    let needed = authorization.scopes.as_ref().or(by_challenge);
    let asked = core.waiting.as_ref().map(|w| &w.at.held().0.requested);
    match (needed, asked) {
        (Some(needed), Some(asked)) => !asked.covers(needed),
        (_, _) => false,
    }
}

impl Renewed {
    /// Returns true when another instance has stored a sufficient token.
    pub(crate) fn is_served(&self, core: &Core) -> bool {
        let needed = self
            .authorization
            .scopes
            .as_ref()
            .or(core.memory.scope.as_ref());
        let held = core.held.at.as_ref().map(|at| at.held());
        let enough = held.is_some_and(|account| {
            let has = account.requested.union(&account.granted);
            needed.is_none_or(|needed| has.covers(needed))
        });
        enough && core.held.revision != self.account && core.held.is_usable(core.now)
    }
}
