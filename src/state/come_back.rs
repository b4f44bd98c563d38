//! The user comes back, perhaps to another instance: find the record, take it, then act (CB, ISS).

use std::sync::Arc;

use crate::action::Why;
use crate::config::IssPolicy;
use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, Refusal, Stage, StoreFlaw, Violation};
use crate::event::Persistence;
use crate::grant::{CallbackFlaw, ClientOrigin, Matched, Redirected};
use crate::issuer::{AtIssuer, IssuerId};
use crate::record::read_pending;
use crate::report::Decision;
use crate::slot::{Revision, Slot, Stored};
use crate::state::{Exchanging, ForgettingClient, LoadingAccount, Step, Trigger, Work};
use crate::wire::callback::{Callback, IssBinding, Parameters};
use crate::wire::token::OAuthError;

/// Where the authorization was prepared that the user comes back from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Prepared {
    /// By this machine: a refusal is the answer to what it asked for.
    Here,
    /// By another instance, or before a restart: what this machine asks for is not what was refused.
    Elsewhere,
}

/// Judges size, syntax and `state`; anything that is not ours changes nothing, and looks the same
/// whatever is wrong with it (CB-05, I10).
pub(crate) fn come_back(core: &mut Core, callback: Callback) -> Step {
    let Some(state) = callback.parameters().and_then(|found| found.state()) else {
        return ignored(core);
    };
    let own = core
        .waiting
        .take_if(|waiting| waiting.at.held().0.state.same(&state));
    let Some(waiting) = own else {
        let slot = Slot::pending(core.identity.principal(), &state);
        let ask = core.load(slot);
        return Ok(Work::FindingPending(FindingPending {
            ask,
            slot,
            callback,
        }));
    };
    let in_time = core.now.mono < waiting.rest.until;
    match matching(core, &waiting.at, &callback) {
        Some(parameters) if in_time => {
            let (slot, revision) = (waiting.rest.slot, waiting.rest.revision);
            take(
                core,
                waiting.at,
                Prepared::Here,
                slot,
                revision,
                &parameters,
            )
        }
        Some(_) | None => {
            core.waiting = Some(waiting);
            ignored(core)
        }
    }
}

/// What the callback says, if it belongs to this attempt.
fn matching<'a>(
    core: &Core,
    at: &AtIssuer<Redirected>,
    callback: &'a Callback,
) -> Option<Parameters<'a>> {
    let (browser, now) = (callback.browser, core.now.wall);
    callback
        .parameters()
        .filter(|parameters| at.held().matches(parameters, browser, now))
}

fn ignored(core: &mut Core) -> Step {
    core.report(|| Decision::CallbackIgnored);
    Ok(Work::Idle)
}

/// Consumes the record; the verdict is known but nothing of it shows before the record is gone (CB-06).
fn take(
    core: &mut Core,
    at: AtIssuer<Redirected>,
    prepared: Prepared,
    slot: Slot,
    revision: Revision,
    parameters: &Parameters<'_>,
) -> Step {
    let issuer = at.issuer().clone();
    let redirect_uri = Arc::clone(&at.held().0.redirect_uri);
    let client_id = at.held().0.client.id.clone();
    let matched = at.answer(parameters, core.config().url_policy());
    let ask = core.persist(slot, Some(revision), None, None);
    Ok(Work::TakingPending(TakingPending {
        ask,
        prepared,
        issuer,
        redirect_uri,
        client_id,
        matched,
    }))
}

/// Looks for the record of a callback that another instance may have prepared.
pub(crate) struct FindingPending {
    pub(crate) ask: Ask,
    slot: Slot,
    callback: Callback,
}

impl FindingPending {
    pub(crate) fn loaded(self, core: &mut Core, found: Result<Option<Stored>, ()>) -> Step {
        let stored = match found {
            Ok(Some(stored)) => stored,
            Ok(None) => return ignored(core),
            Err(()) => {
                return Err(Failure {
                    operation: None,
                    stage: Stage::Callback,
                    issuer: None,
                    cause: Cause::NotPersisted(StoreFlaw::Load),
                });
            }
        };
        match read_pending(&core.identity, &stored) {
            Ok(at) => match matching(core, &at, &self.callback) {
                Some(parameters) => {
                    let (slot, revision) = (self.slot, stored.revision);
                    take(core, at, Prepared::Elsewhere, slot, revision, &parameters)
                }
                None => {
                    if at.held().0.expires <= core.now.wall {
                        core.persist(self.slot, Some(stored.revision), None, None);
                    }
                    ignored(core)
                }
            },
            Err(flaw) => {
                core.report_unusable(self.slot, flaw);
                ignored(core)
            }
        }
    }
}

/// Waits until the record is gone, so that one instance alone acts on the callback, once.
pub(crate) struct TakingPending {
    pub(crate) ask: Ask,
    prepared: Prepared,
    issuer: IssuerId,
    redirect_uri: Arc<str>,
    client_id: Box<str>,
    matched: Matched,
}

impl TakingPending {
    pub(crate) fn persisted(self, core: &mut Core, outcome: Persistence) -> Step {
        match outcome {
            Persistence::Done => self.act(core),
            // Another instance acts on it; what it brings is in the account slot.
            Persistence::Conflict(_) => {
                Ok(LoadingAccount::begin(core, Some(Trigger::TakenElsewhere)))
            }
            Persistence::Failed => {
                let cause = Cause::NotPersisted(StoreFlaw::Write);
                Err(fails(core, &self.issuer, cause))
            }
        }
    }

    fn act(self, core: &mut Core) -> Step {
        let flaw = match self.matched.verdict {
            Ok(grant) => {
                let unverifiable = grant.held().iss_binding == IssBinding::Unverifiable;
                if unverifiable && core.config().iss_policy == IssPolicy::RequireVerified {
                    let cause = Cause::Violation(Violation::IssUnverifiable);
                    return Err(fails(core, &self.issuer, cause));
                }
                return Exchanging::begin(core, grant);
            }
            Err(flaw) => flaw,
        };
        let cause = match flaw {
            CallbackFlaw::Iss(flaw) => Cause::Violation(Violation::Iss(flaw)),
            CallbackFlaw::FrontChannelToken => Cause::Violation(Violation::FrontChannelToken),
            CallbackFlaw::NotOneAnswer => Cause::Violation(Violation::NotOneAnswer),
            CallbackFlaw::Refused {
                error: OAuthError::InvalidScope,
                ..
            } if self.matched.added_offline_access && !core.memory.offline_access_refused => {
                core.memory.offline_access_refused = true;
                let operation = core.memory.operation.clone();
                core.need_user(Why::OfflineAccessRefused, operation);
                return Ok(Work::Idle);
            }
            CallbackFlaw::Refused {
                error: OAuthError::UnauthorizedClient | OAuthError::InvalidClient,
                ..
            } if self.matched.client == ClientOrigin::Dynamic && !core.memory.client_forgotten => {
                return Ok(ForgettingClient::begin(
                    core,
                    &self.issuer,
                    &self.redirect_uri,
                    &self.client_id,
                ));
            }
            CallbackFlaw::Refused {
                error,
                code,
                description,
                error_uri,
            } => {
                if error == OAuthError::AccessDenied && self.prepared == Prepared::Here {
                    core.declined();
                }
                Cause::Refused(Refusal::OAuth {
                    error,
                    code: Some(code),
                    description,
                    error_uri,
                })
            }
        };
        Err(fails(core, &self.issuer, cause))
    }
}

fn fails(core: &Core, issuer: &IssuerId, cause: Cause) -> Failure {
    Failure {
        operation: core.memory.operation.clone(),
        stage: Stage::Callback,
        issuer: Some(issuer.clone()),
        cause,
    }
}
