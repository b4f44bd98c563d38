//! A wish to authorize while a user is at the browser: the same redirect again, while its record is there
//! and asks for enough (AUTHZ-18). The user may have come back to another instance.

use crate::core::{Ask, Core};
use crate::event::Authorization;
use crate::slot::{Revision, Stored};
use crate::state::redirect::repeat_redirect;
use crate::state::{LoadingAccount, Step, Trigger, Work};

/// An authorization that takes the place of one whose user came back elsewhere, or that asked for less.
pub(crate) struct Renewed {
    pub(crate) authorization: Authorization,
    /// The account slot before that was known.
    pub(crate) account: Option<Revision>,
}

/// Reads the record of the redirect that is out.
pub(crate) struct CheckingPending {
    pub(crate) ask: Ask,
    authorization: Authorization,
}

impl CheckingPending {
    /// Repeats the redirect that is out, or takes its place.
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
        // Given up meanwhile, or over.
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

/// The account slot is read first: it may have what is wanted already.
fn replace(core: &mut Core, authorization: Authorization) -> Work {
    core.waiting = None;
    let account = core.held.revision;
    let renewed = Renewed {
        authorization,
        account,
    };
    LoadingAccount::begin(core, Some(Trigger::Renewed(Box::new(renewed))))
}

/// Whether what is needed now exceeds what the redirect asks for (STEP-12).
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
    /// Whether another instance has brought what is wanted.
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
