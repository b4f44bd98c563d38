//! The callback, perhaps at another instance than the redirect: finds the pending record, consumes it, then acts (CB, ISS).

use std::sync::Arc;

use crate::action::Why;
use crate::clients::Registered;
use crate::config::IssPolicy;
use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, Refusal, Stage, StoreFlaw, Violation};
use crate::event::Persistence;
use crate::grant::{CallbackFlaw, ClientOrigin, CodeGrant, Redirected};
use crate::issuer::{AtIssuer, IssuerId};
use crate::record::read_pending;
use crate::report::Decision;
use crate::slot::{AuthorizationId, Revision, Slot, Stored};
use crate::state::sign_in::exchange::Exchanging;
use crate::state::sign_in::scopes::without_refused_scopes;
use crate::state::sign_out::forget::forget;
use crate::state::trigger::Trigger;
use crate::state::{Next, Step, Work, done, wait_in};
use crate::suspended::{After, Awaited, Elsewhere, Otherwise, WaitingParts, Word};
use crate::wire::callback::{Callback, IssBinding, Parameters};
use crate::wire::token::OAuthError;

/// The instance that prepared the authorization.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Prepared {
    /// This machine: an error in the callback answers its own request.
    Here,
    /// Another instance, or this one before a restart: the refused request is unknown here.
    Elsewhere,
}

/// Checks size, syntax and `state`. A callback of another authorization changes nothing, and the machine treats all such
/// callbacks alike (CB-05, I10).
pub(crate) fn come_back(core: &mut Core, callback: Callback) -> Step {
    let issuer = core.waiting.as_ref().map(|own| own.at.issuer().clone());
    let issuer = issuer.as_ref().map_or("", IssuerId::as_str);
    let Some(parameters) = callback.parameters_of(issuer) else {
        return ignored(core);
    };
    let Some(state) = parameters.state() else {
        return ignored(core);
    };
    let own = core
        .waiting
        .take_if(|waiting| waiting.at.held().0.state.same(&state));
    let Some(waiting) = own else {
        let slot = Slot::pending(core.identity.principal(), state.digest());
        let ask = core.load(slot);
        return wait_in(Work::FindingPending(FindingPending {
            ask,
            slot,
            callback,
        }));
    };
    // Only by the monotonic clock: the wall clock may have been changed meanwhile (SEC-35).
    let in_time = core.now.mono < waiting.rest.until;
    let browser = callback.browser;
    if !in_time || !waiting.at.held().is_target_of(&parameters, browser) {
        core.waiting = Some(waiting);
        return ignored(core);
    }
    let WaitingParts {
        slot,
        revision,
        before,
        ..
    } = waiting.rest;
    let place = (slot, revision);
    take(core, waiting.at, Prepared::Here, place, before, &parameters)
}

/// Returns the outcome that the callback reports, if the callback belongs to this authorization.
fn matching<'a>(at: &AtIssuer<Redirected>, callback: &'a Callback) -> Option<Parameters<'a>> {
    let browser = callback.browser;
    callback
        .parameters()
        .filter(|parameters| at.held().matches(parameters, browser))
}

fn ignored(core: &mut Core) -> Step {
    core.report(|| Decision::CallbackIgnored);
    done()
}

/// Consumes the record. The outcome is decided here, but has no effect until the record is gone (CB-06).
fn take(
    core: &mut Core,
    at: AtIssuer<Redirected>,
    prepared: Prepared,
    (slot, revision): (Slot, Revision),
    before: Option<AuthorizationId>,
    parameters: &Parameters<'_>,
) -> Step {
    let issuer = at.issuer().clone();
    let redirect_uri = at.held().0.redirect_uri.shared();
    let client_id = at.held().0.client.id.clone();
    let requested = at.held().0.requested.clone();
    let authorization = AuthorizationId::of(&slot);
    let policy = core.config().url_policy();
    let matched = at.answer(parameters, policy, authorization);
    let awaited = Awaited {
        own: authorization,
        before: core.held.authorization().or(before),
        requested,
    };
    let from = Request {
        prepared,
        awaited,
        issuer,
        redirect_uri,
        client_id,
        client: matched.client,
        added_offline_access: matched.added_offline_access,
    };
    let verdict = matched.verdict;
    let ask = core.persist(slot, Some(revision), None, None);
    wait_in(Work::TakingPending(TakingPending { ask, from, verdict }))
}

/// Looks up the record of a callback that another instance may have prepared.
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
                    seen: Vec::new(),
                });
            }
        };
        match read_pending(&core.identity, &stored) {
            Ok((at, key)) => match matching(&at, &self.callback) {
                Some(parameters) if at.held().is_alive(core.now.wall) => {
                    if let Some(key) = key {
                        core.identity.seal_with(key);
                    }
                    let place = (self.slot, stored.revision);
                    take(core, at, Prepared::Elsewhere, place, None, &parameters)
                }
                Some(_) | None => {
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

/// Waits until the record is cleared, so that only one instance acts on the callback, and only once.
pub(crate) struct TakingPending {
    pub(crate) ask: Ask,
    from: Request,
    verdict: Result<AtIssuer<CodeGrant>, CallbackFlaw>,
}

/// The authorization request that a callback responds to.
struct Request {
    prepared: Prepared,
    /// The tokens that come where another instance has the callback too.
    awaited: Awaited,
    issuer: IssuerId,
    redirect_uri: Arc<str>,
    client_id: Arc<str>,
    client: ClientOrigin,
    added_offline_access: bool,
}

impl TakingPending {
    pub(crate) fn persisted(self, core: &mut Core, outcome: Persistence) -> Step {
        match outcome {
            Persistence::Done => self.act(core),
            // Another instance consumed the record; its tokens will arrive in the account slot.
            Persistence::Conflict(_) => {
                Elsewhere::begin(core, self.from.awaited, Otherwise::Callback)
            }
            Persistence::Failed => {
                let cause = Cause::NotPersisted(StoreFlaw::Write);
                Err(fails(core, &self.from.issuer, cause))
            }
        }
    }

    fn act(self, core: &mut Core) -> Step {
        let Self { from, verdict, .. } = self;
        let flaw = match verdict {
            Ok(grant) => {
                let unverifiable = grant.held().iss_binding == IssBinding::Unverifiable;
                if unverifiable && core.config().iss_policy == IssPolicy::RequireVerified {
                    let cause = Cause::Violation(Violation::IssUnverifiable);
                    return Err(fails(core, &from.issuer, cause));
                }
                // The user may have signed out since the authorization began (REFR-12).
                if grant.held().redirected.0.beside_account && core.held.revision.is_none() {
                    let redeem = Trigger::Redeem(Box::new(grant));
                    return Ok(Next::Read(redeem));
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
                error,
                code,
                description,
                error_uri,
            } => {
                let refusal = Refusal::OAuth {
                    error,
                    code: Some(code),
                    description,
                    error_uri,
                };
                return from.refused(core, error, Cause::Refused(refusal));
            }
        };
        Err(fails(core, &from.issuer, cause))
    }
}

/// Redeems the code of an authorization that began while an account was stored, unless that account has been erased since.
pub(crate) fn redeem(core: &mut Core, grant: AtIssuer<CodeGrant>) -> Step {
    if core.held.is_read() && core.held.revision.is_none() {
        return Err(fails(core, grant.issuer(), Cause::Abandoned));
    }
    Exchanging::begin(core, grant)
}

impl Request {
    /// Handles an error response of the authorization endpoint. It came through the browser, so it ends neither
    /// tokens nor registrations of other principals (S20, STEP-05).
    fn refused(self, core: &mut Core, error: OAuthError, cause: Cause) -> Step {
        let failure = fails(core, &self.issuer, cause);
        if error == OAuthError::AccessDenied && self.prepared == Prepared::Here {
            core.declined();
        }
        if error == OAuthError::InvalidScope
            && let Some(why) = self.other_scopes(core)
        {
            return After::Ask(why).run(core);
        }
        if self.client == ClientOrigin::Dynamic && error.refuses_client() {
            let registered = Registered {
                issuer: self.issuer,
                redirect_uri: self.redirect_uri,
                client_id: self.client_id,
            };
            let why = Why::ClientForgotten;
            return forget(core, registered, Word::FrontChannel, why, failure);
        }
        Err(failure)
    }

    /// Offers another authorization after `invalid_scope`. For a request of another instance only the
    /// scopes in its record are known.
    fn other_scopes(&self, core: &mut Core) -> Option<Why> {
        if self.prepared == Prepared::Elsewhere {
            core.memory.disputable = None;
        }
        without_refused_scopes(core, self.added_offline_access)
    }
}

fn fails(core: &Core, issuer: &IssuerId, cause: Cause) -> Failure {
    Failure {
        operation: core.memory.operation.clone(),
        stage: Stage::Callback,
        issuer: Some(issuer.clone()),
        cause,
        seen: Vec::new(),
    }
}
