//! Reading the account slot: at the start, and before each decision about a challenge (USE-09).

use crate::account::Account;
use crate::callers::Caller;
use crate::config::SignIn;
use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, Misconfiguration, Stage, StoreFlaw};
use crate::event::Operation;
use crate::frame::RecordFlaw;
use crate::grant::CodeGrant;
use crate::issuer::AtIssuer;
use crate::slot::Stored;
use crate::state::come_back::redeem;
use crate::state::obtain::Obtaining;
use crate::state::repeat::{Renewed, came_too_late};
use crate::state::save::save_again;
use crate::state::{
    CheckingPending, Elsewhere, FindingAccount, Judged, Leaving, Revoking, Step, Work, discover,
};
use crate::suspended::Renewal;
use crate::wire::callback::Callback;
use crate::wish::Click;

/// A queued cause of work.
pub(crate) enum Trigger {
    Challenged(Box<Judged>),
    Wanted(Operation),
    Authorize(Box<Click>),
    /// The pending authorization has ended, or requests too few scopes.
    Renewed(Box<Renewed>),
    CameBack(Callback),
    /// A callback was accepted at an instance that knows no account, although there was one.
    Redeem(Box<AtIssuer<CodeGrant>>),
    /// Another instance consumed the record of a callback, and may store tokens.
    TakenElsewhere(Box<Elsewhere>),
    /// Whether the pending authorization is still open is looked up.
    Look,
    /// The server of a device code is polled.
    Poll,
    /// Tokens that the store did not take are saved again.
    Save,
    /// A refresh starts or resumes.
    Renew(Box<Renewal>),
    /// A token request without a user starts or resumes.
    Obtain(Box<Obtaining>),
    /// The account and any work under way are erased.
    SignOut(Box<Leaving>),
    /// The host requests a new registration (QUIRK-14).
    Reset,
    /// Tokens arrived after sign-out.
    Revoke(Box<AtIssuer<Account>>),
}

impl Trigger {
    /// Returns true when the stored token already satisfies it.
    pub(crate) fn is_served(&self, core: &Core) -> bool {
        match self {
            Self::Wanted(_) => core.held.is_fresh(core.now),
            Self::Challenged(judged) => judged.is_served(core),
            Self::Renew(renewal) => renewal.is_served(core),
            Self::Obtain(obtaining) => obtaining.is_served(core),
            Self::TakenElsewhere(elsewhere) => elsewhere.is_served(core),
            Self::Renewed(renewed) => renewed.is_served(core),
            Self::Authorize(_)
            | Self::CameBack(_)
            | Self::Poll
            | Self::Save
            | Self::Look
            | Self::Redeem(_)
            | Self::Reset
            | Self::SignOut(_)
            | Self::Revoke(_) => false,
        }
    }

    /// Returns the operation that waits for it.
    pub(crate) fn operation(&self) -> Option<&Operation> {
        match self {
            Self::Challenged(judged) => Some(&judged.operation),
            Self::Wanted(operation) => Some(operation),
            Self::Renew(renewal) => renewal.effort.waiting(),
            Self::Obtain(obtaining) => obtaining.effort.waiting(),
            Self::Authorize(_)
            | Self::Renewed(_)
            | Self::CameBack(_)
            | Self::Redeem(_)
            | Self::Poll
            | Self::TakenElsewhere(_)
            | Self::Save
            | Self::Look
            | Self::Reset
            | Self::SignOut(_)
            | Self::Revoke(_) => None,
        }
    }

    /// Returns the caller that waits for it.
    pub(crate) fn caller(&self, core: &Core) -> Option<Caller> {
        let operation = self.operation()?.clone();
        let refused = match self {
            Self::Renew(renewal) => renewal.refuses_the_stored_token(core),
            Self::Obtain(obtaining) => obtaining.refuses_the_stored_token(core),
            // It waits on beside a `Ready` that comes while the account is read.
            Self::Challenged(judged) => judged.refuses_the_stored_token(core),
            Self::Wanted(_)
            | Self::Authorize(_)
            | Self::Renewed(_)
            | Self::CameBack(_)
            | Self::Redeem(_)
            | Self::Poll
            | Self::Save
            | Self::Look
            | Self::TakenElsewhere(_)
            | Self::Reset
            | Self::SignOut(_)
            | Self::Revoke(_) => false,
        };
        Some(Caller { operation, refused })
    }

    /// Returns the authorization request.
    pub(crate) fn click(&mut self) -> Option<&mut Click> {
        match self {
            Self::Authorize(click) => Some(click),
            Self::Renewed(renewed) => Some(&mut renewed.click),
            Self::Challenged(_)
            | Self::Wanted(_)
            | Self::CameBack(_)
            | Self::Redeem(_)
            | Self::TakenElsewhere(_)
            | Self::Look
            | Self::Poll
            | Self::Save
            | Self::Renew(_)
            | Self::Obtain(_)
            | Self::SignOut(_)
            | Self::Reset
            | Self::Revoke(_) => None,
        }
    }

    /// Returns true for a step of an authorization that the user has finished.
    pub(crate) fn completes_an_authorization(&self) -> bool {
        matches!(self, Self::Redeem(_) | Self::TakenElsewhere(_))
    }

    /// Returns true when any usable token is what it wants.
    pub(crate) fn is_content_with_any_token(&self) -> bool {
        match self {
            Self::Wanted(_)
            | Self::Authorize(_)
            | Self::Renewed(_)
            | Self::Obtain(_)
            | Self::TakenElsewhere(_) => true,
            Self::Challenged(_)
            | Self::CameBack(_)
            | Self::Redeem(_)
            | Self::Poll
            | Self::Save
            | Self::Look
            | Self::Renew(_)
            | Self::Reset
            | Self::SignOut(_)
            | Self::Revoke(_) => false,
        }
    }

    /// Returns true for a request for a token, of which each operation has one in the queue.
    pub(crate) fn is_of_a_caller(&self) -> bool {
        matches!(self, Self::Wanted(_) | Self::Challenged(_))
    }

    /// Returns true when it takes precedence over a paused refresh.
    pub(crate) fn is_urgent(&self) -> bool {
        match self {
            Self::Authorize(_)
            | Self::Renewed(_)
            | Self::CameBack(_)
            | Self::Poll
            | Self::Save
            | Self::Look
            | Self::Redeem(_)
            | Self::Reset
            | Self::SignOut(_)
            | Self::Revoke(_) => true,
            Self::Wanted(_)
            | Self::Challenged(_)
            | Self::Renew(_)
            | Self::Obtain(_)
            | Self::TakenElsewhere(_) => false,
        }
    }

    /// Returns true when the stored token is an acceptable fallback.
    pub(crate) fn can_do_with(&self, core: &Core) -> bool {
        match self {
            Self::Wanted(_) => core.held.is_usable(core.now),
            Self::Renew(renewal) => renewal.has_another(core),
            Self::Challenged(_)
            | Self::Obtain(_)
            | Self::TakenElsewhere(_)
            | Self::Authorize(_)
            | Self::Renewed(_)
            | Self::CameBack(_)
            | Self::Poll
            | Self::Save
            | Self::Look
            | Self::Redeem(_)
            | Self::Reset
            | Self::SignOut(_)
            | Self::Revoke(_) => false,
        }
    }
}

impl Trigger {
    /// Its caller has been answered.
    pub(crate) fn waits_no_more(&mut self) {
        match self {
            Self::Renew(renewal) => renewal.effort.is_answered = true,
            Self::Obtain(obtaining) => obtaining.effort.is_answered = true,
            Self::Challenged(_)
            | Self::Wanted(_)
            | Self::Authorize(_)
            | Self::Renewed(_)
            | Self::CameBack(_)
            | Self::Redeem(_)
            | Self::TakenElsewhere(_)
            | Self::Look
            | Self::Poll
            | Self::Save
            | Self::SignOut(_)
            | Self::Reset
            | Self::Revoke(_) => {}
        }
    }

    /// The caller was answered, with `Ready` or not. Returns true when the work continues without it: a token that is about to
    /// expire is still renewed, and a renewal under way ends.
    pub(crate) fn goes_on(&mut self, core: &Core, ready: bool) -> bool {
        if let Self::Wanted(operation) = self
            && ready
            && !core.held.is_fresh(core.now)
        {
            *self = Self::Renew(Renewal::new(core, operation.clone(), None));
        }
        self.waits_no_more();
        matches!(self, Self::Renew(_) | Self::Obtain(_)) && !self.is_served(core)
    }
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

    /// Returns true when the account is read for a reset of its registration.
    pub(crate) fn is_for_a_reset(&self) -> bool {
        matches!(self.then, Some(Trigger::Reset))
    }

    /// Returns true when the account is read before a code is redeemed, or for the tokens of another instance.
    pub(crate) fn completes_an_authorization(&self) -> bool {
        let then = self.then.as_ref();
        then.is_some_and(Trigger::completes_an_authorization)
    }

    /// Returns the authorization request for which the account is read.
    pub(crate) fn click(&mut self) -> Option<&mut Click> {
        self.then.as_mut().and_then(Trigger::click)
    }

    /// Returns true when the account is read for an authorization.
    pub(crate) fn is_for_an_attempt(&self) -> bool {
        matches!(self.then, Some(Trigger::Authorize(_) | Trigger::Renewed(_)))
    }

    pub(crate) fn loaded(self, core: &mut Core, found: Result<Option<Stored>, ()>) -> Step {
        let cause = match found {
            Ok(stored) => match core.adopt(stored.as_ref()) {
                // A record of a newer version is never overwritten (D24).
                Err(RecordFlaw::Newer) => StoreFlaw::Record(RecordFlaw::Newer),
                // Any other unusable record counts as absent.
                Ok(()) | Err(_) => return self.go_on(core),
            },
            Err(()) => StoreFlaw::Load,
        };
        core.held.read_at = None;
        // Whether the account is there still shows when the tokens are stored.
        if let Some(Trigger::Redeem(grant)) = self.then {
            return redeem(core, *grant);
        }
        // Read again after a pause.
        if let Some(Trigger::TakenElsewhere(elsewhere)) = self.then {
            return elsewhere.go(core);
        }
        if self.then.is_some_and(|trigger| trigger.can_do_with(core)) {
            core.ready();
            return Ok(Work::Idle);
        }
        Err(Failure {
            operation: None,
            stage: Stage::Slots,
            issuer: None,
            cause: Cause::NotPersisted(cause),
            seen: Vec::new(),
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

/// Starts the work of a trigger; reads the account slot first where its contents matter.
pub(crate) fn start(core: &mut Core, trigger: Trigger) -> Step {
    if !core.identity.is_named() {
        return Err(Failure {
            operation: None,
            stage: Stage::Slots,
            issuer: None,
            cause: Cause::Misconfigured(Misconfiguration::NoPrincipal),
            seen: Vec::new(),
        });
    }
    let trigger = match trigger {
        trigger @ (Trigger::SignOut(_) | Trigger::Revoke(_) | Trigger::Poll | Trigger::Look) => {
            return start_read(core, trigger);
        }
        Trigger::Save => return save_again(core, None),
        trigger @ (Trigger::Challenged(_)
        | Trigger::Wanted(_)
        | Trigger::Authorize(_)
        | Trigger::Renewed(_)
        | Trigger::CameBack(_)
        | Trigger::Redeem(_)
        | Trigger::TakenElsewhere(_)
        | Trigger::Reset
        | Trigger::Obtain(_)
        | Trigger::Renew(_)) => trigger,
    };
    let resets = matches!(trigger, Trigger::Reset);
    if core.held.unsaved.is_some() && !resets {
        return save_again(core, Some(trigger));
    }
    let fresh = core.held.read_at == Some(core.event);
    let enough = match &trigger {
        Trigger::Challenged(_) | Trigger::Renew(_) | Trigger::Obtain(_) | Trigger::Renewed(_) => {
            fresh
        }
        Trigger::Wanted(_) => fresh || core.held.is_fresh(core.now),
        // A binding is dropped only beside an empty account slot.
        Trigger::Reset => fresh || core.held.is_read() && core.config().unbound_client.is_none(),
        // The account may have been erased since: the authorization is then one of a first sign-in (REFR-12). A pending
        // authorization is looked at first.
        Trigger::Authorize(_) => {
            let nothing = core.held.at.is_none() || core.waits_at().is_some();
            core.held.is_read() && (nothing || core.held.is_just_read(core.now.mono))
        }
        Trigger::CameBack(_)
        | Trigger::Redeem(_)
        | Trigger::TakenElsewhere(_)
        | Trigger::Look
        | Trigger::Poll
        | Trigger::Save
        | Trigger::SignOut(_)
        | Trigger::Revoke(_) => core.held.is_read(),
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
        Trigger::Authorize(click) => match core.config().sign_in {
            SignIn::User if came_too_late(core, &click) => {
                core.ready();
                Ok(Work::Idle)
            }
            SignIn::User => discover(core, *click),
            // With a grant that needs no user, an authorization request is a token request.
            SignIn::Machine(_) => {
                let operation = core.memory.operation.clone();
                let operation = operation.unwrap_or_else(|| "authorize".into());
                core.callers.person_waits();
                Judged::wanted(core, operation)
            }
        },
        Trigger::Renewed(renewed) if renewed.is_served(core) => {
            core.ready();
            Ok(Work::Idle)
        }
        Trigger::Renewed(renewed) => discover(core, renewed.click),
        Trigger::CameBack(callback) => super::come_back(core, callback),
        Trigger::Poll => match core.device.take() {
            Some(pending) => pending.poll(core),
            // Cancelled or ended meanwhile.
            None => Ok(Work::Idle),
        },
        Trigger::Save => Ok(Work::Idle),
        Trigger::Redeem(grant) => redeem(core, *grant),
        Trigger::Reset => super::forget::reset(core),
        Trigger::Renew(renewal) => renewal.go(core),
        Trigger::Obtain(obtaining) => obtaining.go(core),
        Trigger::SignOut(leaving) => Ok(FindingAccount::begin(core, leaving)),
        Trigger::Revoke(at) => Revoking::begin(core, *at, None),
        Trigger::TakenElsewhere(elsewhere) => elsewhere.go(core),
        Trigger::Look => Ok(CheckingPending::look(core)),
    }
}
