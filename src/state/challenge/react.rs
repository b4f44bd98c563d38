//! Reactions to a challenge of the MCP server: the table of requirements 12.1.

use std::time::Duration;

use crate::action::Why;
use crate::budget::REFRESHES_PER_OPERATION;
use crate::callers::RefusedToken;
use crate::config::{DpopPolicy, SignIn};
use crate::core::{Core, Proof};
use crate::error::{Cause, Failure, Misconfiguration, Refusal, Stage, Violation};
use crate::event::Operation;
use crate::state::challenge::ask::{adds, ask, too_many};
use crate::state::challenge::read::{Judged, Token};
use crate::state::sign_in::repeat::ask_user;
use crate::state::without_user::obtain::obtain;
use crate::state::{Next, Step, done};
use crate::suspended::{Occasion, Refused, Renewal};
use crate::wire::scopes::Scopes;
use crate::wire::token::OAuthError;

/// How long a token counts as just obtained while no request with it has succeeded (E08).
const FRESH: Duration = Duration::from_secs(5 * 60);

/// The reaction to a challenge.
enum Reaction {
    /// Retry with the stored token.
    Retry,
    /// Retry with the same token and the server's nonce in the proof.
    Nonce,
    /// Ask the user for more scopes, or report the challenge (STEP).
    StepUp,
    /// Refresh the token if the resource still lists its issuer (REFR, ISO).
    Renew,
    /// Ask the user to authorize.
    Authorize,
    /// Fail: no token can make this request succeed.
    Final(Cause),
}

impl Reaction {
    /// Returns true when the stored token does not answer the challenge.
    fn needs_another_token(&self) -> bool {
        match self {
            Self::StepUp | Self::Renew | Self::Authorize => true,
            Self::Retry | Self::Nonce | Self::Final(_) => false,
        }
    }
}

impl Judged {
    /// Applies the table row by row. The account slot has just been read (USE-09).
    fn react(&self, core: &Core) -> Reaction {
        let no_step_ups = core.config().step_ups() == 0;
        match (self.status, self.token(core)) {
            (400, _) => Reaction::Final(Cause::Refused(Refusal::InvalidRequest {
                description: self.description.clone(),
            })),
            (_, Token::Newer) => Reaction::Retry,
            // The account has received these scopes since the refused request was made.
            (_, Token::Refused) if self.wants_scope() && self.wants_what_came_since(core) => {
                self.renew(core)
            }
            (_, Token::Refused) if self.wants_scope() && self.sent.is_some() => Reaction::StepUp,
            (_, Token::None | Token::Refused) if self.wants_scope() && no_step_ups => {
                Reaction::StepUp
            }
            (403, Token::None | Token::Refused)
                if !self.challenged || self.sent.is_some() && !self.wants_scope() =>
            {
                Reaction::Final(Cause::Refused(Refusal::Forbidden {
                    description: self.description.clone(),
                }))
            }
            // The nonce is stored already; the same token is retried with it (DPOP-11).
            (401, Token::Refused)
                if self.wants_nonce
                    && core.held.is_usable(core.now)
                    && (self.nonce_unused
                        || !core.memory.nonce_retried(&self.operation, core.now.mono)) =>
            {
                Reaction::Nonce
            }
            (401, Token::Refused) if self.proof_refused => {
                Reaction::Final(Cause::Refused(Refusal::OAuth {
                    error: OAuthError::InvalidDpopProof,
                    code: None,
                    description: self.description.clone(),
                    error_uri: None,
                }))
            }
            (_, Token::None | Token::Refused)
                if self.dpop_only && core.config().dpop.policy == DpopPolicy::Never =>
            {
                Reaction::Final(Cause::Misconfigured(Misconfiguration::DpopRequired))
            }
            (401, Token::Refused) if self.lacks_new_scopes(core) => Reaction::StepUp,
            (_, Token::Refused) => self.renew(core),
            (_, Token::None) => self.authorize(core),
        }
    }

    /// Returns true when an older token was refused for want of scopes that the account has.
    fn wants_what_came_since(&self, core: &Core) -> bool {
        let granted = |scopes| !adds(core, scopes);
        self.is_about_an_older_token(core) && self.scope.as_ref().is_some_and(granted)
    }

    /// Returns true when an unexpired token was refused without an error code and the challenge names
    /// scopes never requested: a refresh adds no scopes (STEP-05). Without a permitted step-up the usual
    /// rows apply.
    fn lacks_new_scopes(&self, core: &Core) -> bool {
        let named = self.scope.as_ref().filter(|_| self.error.is_none());
        self.sent.is_some()
            && core.held.is_usable(core.now)
            && named.is_some_and(|scopes| adds(core, scopes) && self.may_step_up(core, scopes))
    }

    /// Returns true when one more authorization for these scopes is allowed (STEP-07, STEP-09, STEP-11).
    fn may_step_up(&self, core: &Core, scopes: &Scopes) -> bool {
        let now = core.now.mono;
        core.memory.attempts(&self.operation, now) < core.config().authorizations_per_operation()
            && core.config().step_ups() > 0
            && !core
                .memory
                .is_hopeless(&self.operation, now, adds(core, scopes))
            && fits(core, scopes)
    }

    /// Refreshes, unless the refused token was authorized just now: a refresh would not help (USE-08, E08).
    fn renew(&self, core: &Core) -> Reaction {
        let now = core.now.mono;
        let just_authorized = match core.held.proof {
            Proof::Authorized(since) => now < since.plus(FRESH),
            Proof::Assumed | Proof::Refreshed(_) => false,
        };
        // A token that was authorized before the stored one says nothing about that.
        let is_fresh = || {
            let token = core.held.digest();
            just_authorized || core.memory.was_authorized(&self.operation, token, now)
        };
        if self.sent.is_some() && core.held.is_usable(core.now) && is_fresh() {
            Reaction::Final(Cause::Violation(Violation::FreshTokenRefused {
                description: self.description.clone(),
            }))
        } else {
            Reaction::Renew
        }
    }

    fn authorize(&self, core: &Core) -> Reaction {
        match too_many(core, &self.operation) {
            Some(cause) => Reaction::Final(cause),
            None => Reaction::Authorize,
        }
    }

    /// Adds the scopes for want of which the request was refused to an authorization that is being prepared, where they
    /// would lead to one of their own afterwards (STEP-12).
    pub(crate) fn joins(&self, core: &mut Core) {
        let Some(scopes) = self.scope.as_ref().filter(|_| self.wants_scope()) else {
            return;
        };
        let joins = match self.react(core) {
            Reaction::StepUp => self.may_step_up(core, scopes),
            Reaction::Authorize => true,
            Reaction::Retry | Reaction::Nonce | Reaction::Renew | Reaction::Final(_) => false,
        };
        if joins {
            core.memory.demanded.add(scopes, core.now.mono);
        }
    }

    fn fails(self, cause: Cause) -> Failure {
        Failure {
            operation: Some(self.operation),
            stage: Stage::Challenge,
            issuer: None,
            cause,
            seen: Vec::new(),
        }
    }

    pub(crate) fn decide(self, core: &mut Core) -> Step {
        let reaction = self.react(core);
        // A request without the stored token is answered by that one, where it turns out to be usable.
        let sent = self.sent.as_ref();
        let refused = sent.filter(|_| reaction.needs_another_token());
        let stored = core.held.tokens();
        let refused = refused.map(|token| RefusedToken::among(token, stored));
        core.callers.judged(refused);
        match reaction {
            Reaction::Retry => {
                core.ready();
                done()
            }
            Reaction::Nonce => {
                core.memory.retried_nonce(&self.operation, core.now.mono);
                core.ready();
                done()
            }
            Reaction::StepUp => self.step_up(core),
            Reaction::Renew => {
                let refused = Refused {
                    may_refresh: may_refresh(core, &self.operation),
                    event: self.event,
                    named_place: self.named_place,
                    token: self.sent,
                };
                Ok(Next::Renew(Renewal::new(
                    core,
                    self.operation,
                    Some(refused),
                )))
            }
            Reaction::Authorize => {
                if let Some(scopes) = &self.scope {
                    core.memory.demanded.add(scopes, core.now.mono);
                }
                ask(core, self.operation, Occasion::Refused(self.sent))
            }
            Reaction::Final(cause) => Err(self.fails(cause)),
        }
    }

    /// Requests the missing scopes (STEP-01, STEP-07, STEP-09 to STEP-11).
    fn step_up(self, core: &mut Core) -> Step {
        let now = core.now.mono;
        let attempts = core.memory.attempts(&self.operation, now);
        let wanted = self
            .scope
            .as_ref()
            .filter(|scopes| self.may_step_up(core, scopes));
        match wanted.cloned() {
            Some(scopes) => {
                if !adds(core, &scopes) {
                    core.memory.repeats(&self.operation, now);
                }
                if let SignIn::Machine(flow) = core.config().sign_in.clone() {
                    core.memory.operation = Some(self.operation.clone());
                    core.memory.demanded.forget_old(now);
                    core.memory.demanded.add(&scopes, now);
                    return obtain(core, flow, self.operation, Occasion::Refused(self.sent));
                }
                let why = Why::ScopeMissing {
                    scopes,
                    description: self.description,
                };
                ask_user(core, why, Some(self.operation))
            }
            None => {
                let places = &core.memory.resource_metadata;
                let refusal = Refusal::InsufficientScope {
                    scopes: self.scope.clone(),
                    resource_metadata: places.first().filter(|_| self.named_place).cloned(),
                    description: self.description.clone(),
                    attempts,
                };
                Err(self.fails(Cause::Refused(refusal)))
            }
        }
    }
}

/// Returns true when a refresh may help this operation, whose request was refused: none was made for it (USE-08). Where the
/// stored token has expired, its refusal, or that of an older one, says nothing, and a refresh is due in any case; an operation
/// that is refused each time gets only a few of these.
pub(crate) fn may_refresh(core: &Core, operation: &Operation) -> bool {
    let refreshes = core.memory.refreshes(operation, core.now.mono);
    if core.held.is_usable(core.now) {
        refreshes == 0 && !just_refreshed(core)
    } else {
        refreshes < REFRESHES_PER_OPERATION
    }
}

/// Returns true when the stored token was refreshed a moment ago.
fn just_refreshed(core: &Core) -> bool {
    match core.held.proof {
        Proof::Refreshed(since) => core.now.mono < since.plus(FRESH),
        Proof::Assumed | Proof::Authorized(_) => false,
    }
}

/// Returns true when all requested scopes fit into one request (E01).
fn fits(core: &Core, scopes: &Scopes) -> bool {
    let asked = core.memory.demanded.recent_with(scopes, core.now.mono);
    let all = match &core.held.at {
        Some(at) => at.held().requested.union(&at.held().granted).union(&asked),
        None => asked,
    };
    all.covers(scopes)
}
