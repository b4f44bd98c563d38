//! Reading the account slot: at the start, and before each decision about a challenge (USE-09).

use crate::config::SignIn;
use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, Misconfiguration, Stage, StoreFlaw};
use crate::frame::RecordFlaw;
use crate::slot::Stored;
use crate::state::save::save_again;
use crate::state::served::came_too_late;
use crate::state::sign_in::come_back::{come_back, redeem};
use crate::state::sign_in::repeat::{CheckingPending, authorize};
use crate::state::sign_out::erase::FindingAccount;
use crate::state::sign_out::forget::reset;
use crate::state::sign_out::revoke::Revoking;
use crate::state::trigger::Trigger;
use crate::state::{Step, Work, done, wait_in};
use crate::suspended::Renewal;
use crate::wish::Click;

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
            return elsewhere.go_unread(core, cause);
        }
        if self.then.is_some_and(|trigger| trigger.can_do_with(core)) {
            core.ready();
            return done();
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
                done()
            }
            Some(trigger) => start_read(core, trigger),
        }
    }
}

/// Fails where the principal has no name, and so no account.
fn check_principal(core: &Core) -> Result<(), Failure> {
    if core.identity.is_named() {
        return Ok(());
    }
    Err(Failure {
        operation: None,
        stage: Stage::Slots,
        issuer: None,
        cause: Cause::Misconfigured(Misconfiguration::NoPrincipal),
        seen: Vec::new(),
    })
}

/// Starts the work of a trigger; reads the account slot first where its contents matter.
pub(crate) fn start(core: &mut Core, trigger: Trigger) -> Step {
    check_principal(core)?;
    let trigger = match trigger {
        Trigger::Authorize(click) => return start_authorization(core, *click),
        trigger @ (Trigger::SignOut(_) | Trigger::Revoke(_) | Trigger::Poll | Trigger::Look) => {
            return start_read(core, trigger);
        }
        Trigger::Save => return save_again(core, None),
        trigger @ (Trigger::Challenged(_)
        | Trigger::Wanted(_)
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
        Trigger::Challenged(_)
        | Trigger::Renew(_)
        | Trigger::Obtain(_)
        | Trigger::Renewed(_)
        | Trigger::TakenElsewhere(_) => fresh,
        Trigger::Wanted(_) => fresh || core.held.is_fresh(core.now),
        // A binding is dropped only beside an empty account slot.
        Trigger::Reset => fresh || core.held.is_read() && core.config().unbound_client.is_none(),
        Trigger::Authorize(_)
        | Trigger::CameBack(_)
        | Trigger::Redeem(_)
        | Trigger::Look
        | Trigger::Poll
        | Trigger::Save
        | Trigger::SignOut(_)
        | Trigger::Revoke(_) => core.held.is_read(),
    };
    if enough {
        start_read(core, trigger)
    } else {
        wait_in(LoadingAccount::begin(core, Some(trigger)))
    }
}

/// Same as [`start`], for an authorization that has not been queued.
pub(crate) fn start_authorization(core: &mut Core, click: Click) -> Step {
    check_principal(core)?;
    if core.held.unsaved.is_some() {
        return save_again(core, Some(Trigger::Authorize(Box::new(click))));
    }
    // The account may have been erased since: the authorization is then one of a first sign-in (REFR-12). With a pending
    // authorization, that one is read first.
    let pending = core.waits_at().is_some();
    if core.held.is_read() && (pending || core.held.is_just_read(core.now.mono)) {
        authorize_read(core, click)
    } else {
        let trigger = Trigger::Authorize(Box::new(click));
        wait_in(LoadingAccount::begin(core, Some(trigger)))
    }
}

fn authorize_read(core: &mut Core, click: Click) -> Step {
    match core.config().sign_in {
        SignIn::User if came_too_late(core, &click) => {
            core.ready();
            done()
        }
        SignIn::User => authorize(core, click),
        // With a grant that needs no user, an authorization request is a token request.
        SignIn::Machine(_) => Renewal::for_a_person(core),
    }
}

fn start_read(core: &mut Core, trigger: Trigger) -> Step {
    match trigger {
        Trigger::Challenged(judged) => judged.decide(core),
        Trigger::Wanted(operation) => Renewal::wanted(core, operation),
        Trigger::Authorize(click) => authorize_read(core, *click),
        Trigger::Renewed(renewed) if renewed.is_served(core) => {
            core.ready();
            done()
        }
        Trigger::Renewed(renewed) => authorize(core, renewed.click),
        Trigger::CameBack(callback) => come_back(core, callback),
        Trigger::Poll => match core.device.take() {
            Some(pending) => pending.poll(core),
            // Cancelled or ended meanwhile.
            None => done(),
        },
        Trigger::Save => done(),
        Trigger::Redeem(grant) => redeem(core, *grant),
        Trigger::Reset => reset(core),
        Trigger::Renew(renewal) => renewal.go(core),
        Trigger::Obtain(obtaining) => obtaining.go(core),
        Trigger::SignOut(leaving) => wait_in(FindingAccount::begin(core, leaving)),
        Trigger::Revoke(at) => Revoking::begin(core, *at, None),
        Trigger::TakenElsewhere(elsewhere) => elsewhere.go(core),
        Trigger::Look => CheckingPending::look(core),
    }
}
