//! An authorization request while a redirect is out. The redirect is repeated when it is the one asked for now: its record
//! exists, since another instance may have handled the callback; its callback arrives at the same browser and redirect URI; enough
//! of the user's time is left; and the documents, read again, still say what it rests on (AUTHZ-18).

use crate::action::{NeedUser, Why};
use crate::budget::Limited;
use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, Stage, StoreFlaw};
use crate::event::Operation;
use crate::slot::{Revision, Stored};
use crate::state::discover::read_documents;
use crate::state::redirect::{repeat_as_read, repeat_redirect};
use crate::state::{Elsewhere, LoadingAccount, Otherwise, Step, Trigger, Work};
use crate::suspended::Waiting;
use crate::wire::scopes::Scopes;
use crate::wish::Click;

/// An authorization that replaces a pending one, which another instance completed or which requested fewer
/// scopes.
pub(crate) struct Renewed {
    pub(crate) click: Click,
    /// The revision of the account slot before.
    pub(crate) account: Option<Revision>,
    /// The scopes of the pending authorization, where the account did not have them: an account that has them now is what
    /// came of it, whoever has refreshed its tokens since.
    pub(crate) requested: Option<Scopes>,
}

/// Reads the record of the pending authorization.
pub(crate) struct CheckingPending {
    pub(crate) ask: Ask,
    then: Then,
}

/// The event that depends on the record of the pending redirect.
enum Then {
    /// An authorization by the host.
    Repeat(Click),
    /// The same authorization, for which the documents were read again meanwhile.
    RepeatAsRead,
    /// A question to the user, unless the pending authorization is still open.
    Ask(Why, Option<Operation>),
    /// The result that callers wait for, or the end of the user's time.
    Look,
}

/// Asks for the user. With an authorization pending, asks only when its record is gone and the instance that took it stores
/// no tokens: the callback may have reached another one (AUTHZ-18).
pub(crate) fn ask_user(core: &mut Core, why: Why, operation: Option<Operation>) -> Work {
    if core.device.is_some() {
        // Every caller receives the result of the pending authorization.
        return Work::Idle;
    }
    match &core.waiting {
        None => {
            put(core, why, operation);
            Work::Idle
        }
        Some(waiting) => {
            let slot = waiting.rest.slot;
            let ask = core.load(slot);
            let then = Then::Ask(why, operation);
            Work::CheckingPending(CheckingPending { ask, then })
        }
    }
}

/// Emits the question, and stores what the answer agrees to.
pub(crate) fn put(core: &mut Core, why: Why, operation: Option<Operation>) {
    core.memory.operation.clone_from(&operation);
    let demanded = &mut core.memory.demanded;
    if core.held.at.is_some() {
        // The scopes of a first sign-in stay necessary.
        demanded.forget_old(core.now.mono);
    }
    if let Why::ScopeMissing { scopes, .. } = &why {
        demanded.add(scopes, core.now.mono);
    }
    if let Why::ServerChanged { from, to } = &why {
        core.memory.offered = Some(Box::new((from.clone(), to.clone())));
    }
    core.need_user(why, operation);
}

/// Restores what a question stands for, in a machine that may not have asked it: its answer then has the same effect
/// (STEP-15).
pub(crate) fn recall(core: &mut Core, asked: NeedUser) {
    if asked.operation.is_some() {
        core.memory.operation = asked.operation;
    }
    match asked.why {
        Why::NoCredentials | Why::TokenOver | Why::RenewalRefused { .. } => {}
        Why::ScopeMissing { scopes, .. } => {
            core.memory.demanded.forget_old(core.now.mono);
            core.memory.demanded.add(&scopes, core.now.mono);
        }
        Why::ServerChanged { from, to } => core.memory.offered = Some(Box::new((from, to))),
        Why::ClientForgotten => core.memory.forgot_client(core.now.mono),
        Why::MethodRefused {
            issuer, refused, ..
        } => {
            core.memory.clients.refuse(&issuer, refused);
            core.memory.forgot_client(core.now.mono);
        }
        Why::OfflineAccessRefused => core.memory.offline_access_refused = true,
        Why::ScopesRefused { .. } => core.memory.scopes_refused = true,
    }
}

impl CheckingPending {
    /// Repeats the pending redirect, or replaces it.
    pub(crate) fn begin(core: &mut Core, click: Click) -> Work {
        let Some(waiting) = &core.waiting else {
            return replace(core, click);
        };
        if asks_for_more(core, &click) || !is_repeatable(core, waiting, &click) {
            let (slot, revision) = (waiting.rest.slot, waiting.rest.revision);
            core.persist(slot, Some(revision), None, None);
            return replace(core, click);
        }
        let slot = waiting.rest.slot;
        let ask = core.load(slot);
        let then = Then::Repeat(click);
        Work::CheckingPending(Self { ask, then })
    }

    /// Reads the record once more: another instance may have used it up while the documents were read (S16).
    pub(crate) fn again(core: &mut Core) -> Work {
        let Some(waiting) = &core.waiting else {
            return Work::Idle;
        };
        let slot = waiting.rest.slot;
        let ask = core.load(slot);
        let then = Then::RepeatAsRead;
        Work::CheckingPending(Self { ask, then })
    }

    /// Returns true when the record is read for an authorization by the host.
    pub(crate) fn is_for_a_click(&self) -> bool {
        matches!(self.then, Then::Repeat(_))
    }

    /// Looks whether the pending redirect is still open.
    pub(crate) fn look(core: &mut Core) -> Work {
        let Some(waiting) = &core.waiting else {
            return Work::Idle;
        };
        let slot = waiting.rest.slot;
        let ask = core.load(slot);
        let then = Then::Look;
        Work::CheckingPending(Self { ask, then })
    }

    pub(crate) fn loaded(self, core: &mut Core, found: Result<Option<Stored>, ()>) -> Step {
        let Some(waiting) = &core.waiting else {
            // Ended meanwhile, which was the answer to the click.
            if let Then::Ask(why, operation) = self.then {
                put(core, why, operation);
            }
            return Ok(Work::Idle);
        };
        let is_out =
            found.map(|stored| stored.is_some_and(|s| s.revision == waiting.rest.revision));
        let account = core.held.at.as_ref().map(|at| at.held());
        let has_led_to_it = account.is_some_and(|account| waiting.has_led_to(account));
        match (self.then, is_out) {
            (Then::Repeat(click), Ok(false)) => Ok(replace(core, click)),
            (Then::Repeat(click), Ok(true))
                if waiting.is_just_read(core.now.mono) && !asks_for_more(core, &click) =>
            {
                repeat_redirect(core)
            }
            (Then::Repeat(click), Ok(true)) => read_documents(core, click),
            (Then::RepeatAsRead, Ok(true)) => repeat_as_read(core),
            (Then::RepeatAsRead, Ok(false)) => Ok(taken_elsewhere(core, None)),
            // A callback needs the record, which may be gone.
            (Then::Repeat(_) | Then::RepeatAsRead, Err(())) => Err(Failure {
                operation: core.memory.operation.clone(),
                stage: Stage::Authorization,
                issuer: Some(waiting.at.issuer().clone()),
                cause: Cause::NotPersisted(StoreFlaw::Load),
                seen: Vec::new(),
            }),
            // The tokens have come, and are what the caller needs others for.
            (Then::Ask(why, operation), Ok(false)) if has_led_to_it => {
                core.waiting = None;
                put(core, why, operation);
                Ok(Work::Idle)
            }
            (Then::Ask(why, operation), Ok(false)) => {
                // The caller joins the others that wait for the redirect.
                if let Some(operation) = core.callers.join() {
                    core.turn_away(operation);
                }
                Ok(taken_elsewhere(core, Some((why, operation))))
            }
            (Then::Look, Ok(false)) => Ok(taken_elsewhere(core, None)),
            (Then::Look, Ok(true) | Err(())) => looked(core),
            // The timer that ends it may come later than this event.
            (Then::Ask(why, operation), Ok(true) | Err(())) if waiting.is_over(core.now.mono) => {
                core.stop_waiting();
                put(core, why, operation);
                Ok(Work::Idle)
            }
            // Every caller receives the result of the pending authorization.
            (Then::Ask(..), Ok(true) | Err(())) => Ok(Work::Idle),
        }
    }
}

/// The record is gone: another instance has the callback, and may store tokens. A question is put where none come.
fn taken_elsewhere(core: &mut Core, question: Option<(Why, Option<Operation>)>) -> Work {
    let Some(waiting) = core.waiting.take() else {
        return Work::Idle;
    };
    let otherwise = Otherwise::Redirect(waiting.at.issuer().clone(), question);
    let requested = waiting.at.held().0.requested.clone();
    Elsewhere::begin(core, waiting.rest.before, requested, otherwise)
}

/// The record is there, or could not be read: waits on, or ends when the user's time has passed.
fn looked(core: &mut Core) -> Step {
    let now = core.now.mono;
    let callers = !core.callers.is_empty();
    match &mut core.waiting {
        Some(waiting) if now < waiting.rest.until => {
            waiting.rest.look_again(now, callers);
            Ok(Work::Idle)
        }
        Some(_) | None => match core.stop_waiting() {
            Some((issuer, operation)) => Err(Failure {
                operation,
                stage: Stage::Authorization,
                issuer: Some(issuer),
                cause: Cause::OutOfPatience(Limited::UserTime),
                seen: Vec::new(),
            }),
            None => Ok(Work::Idle),
        },
    }
}

/// Reads the account slot first: it may satisfy the request already.
fn replace(core: &mut Core, click: Click) -> Work {
    let widens = core.waiting.take().filter(|waiting| waiting.rest.widens);
    let renewed = Renewed {
        click,
        account: core.held.revision,
        requested: widens.map(|waiting| waiting.at.held().0.requested.clone()),
    };
    LoadingAccount::begin(core, Some(Trigger::Renewed(Box::new(renewed))))
}

/// Returns true when the required scopes exceed those of the pending authorization (STEP-12).
pub(crate) fn asks_for_more(core: &Core, click: &Click) -> bool {
    let by_challenge = core.memory.demanded.all();
    let needed = click.authorization.scopes.as_ref().or(by_challenge);
    let redirected = core.waiting.as_ref().map(|w| &w.at.held().0.requested);
    let asked = redirected.or(core.device.as_ref().map(|device| device.requested()));
    match (needed, asked) {
        (Some(needed), Some(asked)) => !asked.covers(needed),
        (_, _) => false,
    }
}

/// Returns true when a callback of the pending redirect could be accepted where this request comes from, in the time that
/// is left.
fn is_repeatable(core: &Core, waiting: &Waiting, click: &Click) -> bool {
    let wanted = &click.authorization;
    let uri = wanted
        .redirect_uri
        .as_ref()
        .or(core.config().redirect_uri());
    let redirected = waiting.at.held();
    waiting.is_timely(core.now.mono) && redirected.comes_back_to(uri, wanted.browser.as_ref())
}

/// Returns true when the stored token suffices for what an authorization requests.
fn is_enough(core: &Core, click: &Click) -> bool {
    let by_challenge = core.memory.demanded.all();
    let needed = click.authorization.scopes.as_ref().or(by_challenge);
    // A usable token has an account.
    core.held.is_usable(core.now) && needed.is_none_or(|needed| core.held.has_scopes(needed))
}

/// Returns true when a token has come since the question for want of one that this authorization answers.
pub(crate) fn came_too_late(core: &Core, click: &Click) -> bool {
    click.lacks_a_token && is_enough(core, click)
}

impl Renewed {
    /// Returns true when another instance has stored a sufficient token.
    pub(crate) fn is_served(&self, core: &Core) -> bool {
        let has = |scopes| core.held.has_scopes(scopes);
        let changed = core.held.revision != self.account;
        (changed || self.requested.as_ref().is_some_and(has)) && is_enough(core, &self.click)
    }
}
