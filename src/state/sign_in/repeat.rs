//! `Authorize` while an authorization is pending. Its redirect is repeated only if all of this holds (AUTHZ-18):
//!
//! - its record is in the store: otherwise another instance has handled the callback;
//! - it requests the scopes that are needed now;
//! - the `Authorize` has the same browser binding and redirect URI;
//! - enough of the user's time is left;
//! - the documents, read again, lead to the same redirect.

use crate::action::Why;
use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, Stage, StoreFlaw};
use crate::event::{Operation, Where};
use crate::slot::{AuthorizationId, Slot, Stored};
use crate::state::challenge::question::{put, recall};
use crate::state::discovery::locate::read_documents;
use crate::state::sign_in::beside::{ask_alone, look_at_the_account, look_before_asking};
use crate::state::sign_in::redirect::{repeat_as_read, repeat_redirect};
use crate::state::trigger::Trigger;
use crate::state::{Next, Step, Work, done, wait_in};
use crate::suspended::{Awaited, Elsewhere, Otherwise, Renewed, Waiting};
use crate::wish::Click;

/// Waits for the record of the pending authorization.
pub(crate) struct CheckingPending {
    pub(crate) ask: Ask,
    slot: Slot,
    then: Then,
}

/// The work that depends on whether the record is there.
enum Then {
    /// An `Authorize` of the host.
    Repeat(Click),
    /// The same `Authorize`, after its documents were read again.
    RepeatAsRead,
    /// A question to the user, which is not asked while the authorization is still pending.
    Ask(Why, Option<Operation>),
    /// The timer: callers wait for the result, or the user's time has ended.
    Look,
}

/// Starts an attempt, or repeats the redirect or the device code of a pending one that still fits. A pending
/// authorization of the other kind (redirect or device) is dropped.
pub(crate) fn authorize(core: &mut Core, mut click: Click) -> Step {
    if let Some(answered) = click.authorization.answers.take() {
        recall(core, *answered);
    }
    match click.authorization.on {
        Where::Here if core.waiting.is_some() => return CheckingPending::begin(core, click),
        Where::OtherDevice if !asks_for_more(core, &click) => {
            let now = core.now.mono;
            if let Some(pending) = core.device.take_if(|pending| pending.is_timely(now)) {
                pending.emit(core);
                core.device = Some(pending);
                return done();
            }
        }
        Where::Here | Where::OtherDevice => {}
    }
    core.stop_waiting();
    read_documents(core, click)
}

/// Asks for the user. While an authorization is pending, the callback may have reached another instance: the machine then
/// asks only if the record is gone and the instance that took it stores no tokens that suffice (AUTHZ-18).
pub(crate) fn ask_user(core: &mut Core, why: Why, operation: Option<Operation>) -> Step {
    if core.device.is_some() {
        // Every caller receives the result of the pending authorization.
        return done();
    }
    match &core.waiting {
        None => {
            put(core, why, operation);
            done()
        }
        Some(waiting) => {
            let slot = waiting.rest.slot;
            CheckingPending::read(core, slot, Then::Ask(why, operation))
        }
    }
}

impl CheckingPending {
    /// Repeats the pending redirect, or replaces it.
    pub(crate) fn begin(core: &mut Core, click: Click) -> Step {
        let Some(waiting) = &core.waiting else {
            return replace(core, click);
        };
        if asks_for_more(core, &click) || !is_repeatable(core, waiting, &click) {
            let (slot, revision) = (waiting.rest.slot, waiting.rest.revision);
            core.persist(slot, Some(revision), None, None);
            return replace(core, click);
        }
        let slot = waiting.rest.slot;
        Self::read(core, slot, Then::Repeat(click))
    }

    /// Reads the record once more: another instance may have consumed it while the documents were read (S16).
    pub(crate) fn again(core: &mut Core) -> Step {
        Self::read_if_pending(core, Then::RepeatAsRead)
    }

    /// Returns true when the record is read for an `Authorize` of the host.
    pub(crate) fn is_for_a_click(&self) -> bool {
        matches!(self.then, Then::Repeat(_))
    }

    /// Reads the record for the callers that wait, or at the end of the user's time.
    pub(crate) fn look(core: &mut Core) -> Step {
        Self::read_if_pending(core, Then::Look)
    }

    fn read_if_pending(core: &mut Core, then: Then) -> Step {
        match &core.waiting {
            Some(waiting) => {
                let slot = waiting.rest.slot;
                Self::read(core, slot, then)
            }
            None => done(),
        }
    }

    fn read(core: &mut Core, slot: Slot, then: Then) -> Step {
        let ask = core.load(slot);
        wait_in(Work::CheckingPending(Self { ask, slot, then }))
    }

    pub(crate) fn loaded(self, core: &mut Core, found: Result<Option<Stored>, ()>) -> Step {
        let Some(waiting) = &core.waiting else {
            // The authorization ended meanwhile, and its end answered the `Authorize`.
            return match self.then {
                Then::Ask(why, operation) => {
                    look_before_asking(core, AuthorizationId::of(&self.slot), (why, operation))
                }
                Then::Repeat(_) | Then::RepeatAsRead | Then::Look => done(),
            };
        };
        let is_out =
            found.map(|stored| stored.is_some_and(|s| s.revision == waiting.rest.revision));
        let known = core.held.authorization();
        // Without callers, no request was refused with the tokens that have come since the redirect: the user is signed in.
        let by_then = match core.callers.is_empty() {
            true => waiting.rest.before,
            false => known.or(waiting.rest.before),
        };
        let has_brought = waiting.has_brought(known);
        match (self.then, is_out) {
            (Then::Repeat(click), Ok(false)) => replace(core, click),
            (Then::Repeat(click), Ok(true))
                if waiting.is_just_read(core.now.mono) && !asks_for_more(core, &click) =>
            {
                repeat_redirect(core)
            }
            (Then::Repeat(click), Ok(true)) => read_documents(core, click),
            (Then::RepeatAsRead, Ok(true)) => repeat_as_read(core),
            (Then::RepeatAsRead, Ok(false)) => taken_elsewhere(core, known, None),
            // Without the record a callback fails, so the redirect is not repeated while the record is unreadable.
            (Then::Repeat(_) | Then::RepeatAsRead, Err(())) => Err(Failure {
                operation: core.memory.operation.clone(),
                stage: Stage::Authorization,
                issuer: Some(waiting.at.issuer().clone()),
                cause: Cause::NotPersisted(StoreFlaw::Load),
                seen: Vec::new(),
            }),
            // The tokens of the other instance have arrived, and do not suffice for this caller, but perhaps for others.
            (Then::Ask(why, operation), Ok(false) | Err(())) if has_brought => {
                core.waiting = None;
                ask_alone(core, why, operation);
                core.serve_others();
                done()
            }
            (Then::Ask(why, operation), Ok(false)) => {
                join_the_others(core);
                taken_elsewhere(core, known, Some((why, operation)))
            }
            (Then::Look, Ok(false)) => taken_elsewhere(core, by_then, None),
            (Then::Look, Ok(true) | Err(())) => {
                look_at_the_account(core, waiting.rest.before, None)
            }
            // The user's time has ended, but the timer has not been sent yet.
            (Then::Ask(why, operation), Ok(true) | Err(())) if waiting.is_over(core.now.mono) => {
                join_the_others(core);
                look_at_the_account(core, by_then, Some((why, operation)))
            }
            // Every caller receives the result of the pending authorization.
            (Then::Ask(..), Ok(true) | Err(())) => done(),
        }
    }
}

/// Makes the current caller wait with the others for what the redirect brings.
fn join_the_others(core: &mut Core) {
    if let Some(operation) = core.callers.join() {
        core.turn_away(operation);
    }
}

/// Waits for the tokens of the instance that has the callback, because the record is gone. If none arrive, asks the question.
/// `before`: the authorization whose tokens are not awaited.
fn taken_elsewhere(
    core: &mut Core,
    before: Option<AuthorizationId>,
    question: Option<(Why, Option<Operation>)>,
) -> Step {
    let Some(waiting) = core.waiting.take() else {
        return done();
    };
    let otherwise = Otherwise::Redirect(waiting.at.issuer().clone(), question);
    let awaited = Awaited {
        own: waiting.rest.authorization(),
        before,
        requested: waiting.at.held().0.requested.clone(),
    };
    Elsewhere::begin(core, awaited, otherwise)
}

/// Replaces the pending authorization. Reads the account slot first, because it may already satisfy the request.
fn replace(core: &mut Core, click: Click) -> Step {
    let widens = core.waiting.take().filter(|waiting| waiting.rest.widens);
    let renewed = Renewed {
        click,
        before: core.held.authorization(),
        had_tokens: core.held.tokens().is_some(),
        requested: widens.map(|waiting| waiting.at.held().0.requested.clone()),
    };
    Ok(Next::Read(Trigger::Renewed(Box::new(renewed))))
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

/// Returns true when enough of the user's time is left, and the callback of the pending redirect can be accepted for this
/// `Authorize`: same redirect URI, same browser.
fn is_repeatable(core: &Core, waiting: &Waiting, click: &Click) -> bool {
    let wanted = &click.authorization;
    let uri = wanted
        .redirect_uri
        .as_ref()
        .or(core.config().redirect_uri());
    let redirected = waiting.at.held();
    waiting.is_timely(core.now.mono) && redirected.comes_back_to(uri, wanted.browser.as_ref())
}
