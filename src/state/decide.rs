//! Reactions to a challenge of the MCP server: the table of requirements 12.1.

use std::time::Duration;

use crate::action::Why;
use crate::budget::Limited;
use crate::config::{Config, DpopPolicy, SignIn, StepUp};
use crate::core::{Core, Proof};
use crate::error::{Cause, Failure, Misconfiguration, Refusal, Stage, Violation};
use crate::event::Operation;
use crate::state::judge::Judged;
use crate::state::obtain::obtain;
use crate::state::repeat::ask_user;
use crate::state::{Step, Work};
use crate::suspended::{Refused, Renewal};
use crate::wire::scopes::Scopes;
use crate::wire::token::OAuthError;

/// How long a token counts as just obtained while no request with it has succeeded (E08).
const FRESH: Duration = Duration::from_secs(5 * 60);

/// The relation of the token that was sent to the stored one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    /// No token is stored.
    None,
    /// The stored token is the one that was sent, or is unusable.
    Refused,
    /// A usable token is stored, and another one or none was sent.
    Newer,
}

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
    pub(super) fn wants_scope(&self) -> bool {
        self.error.as_deref() == Some("insufficient_scope")
    }

    fn token(&self, core: &Core) -> Token {
        let account = core.held.at.as_ref().map(|at| at.held());
        if core.held.is_usable(core.now) && !self.refuses_the_stored_token(core) {
            Token::Newer
        } else if account.is_some_and(|account| account.tokens.is_some()) {
            Token::Refused
        } else {
            Token::None
        }
    }

    /// Returns true when the request was sent with the stored token, as far as the account is known.
    pub(crate) fn refuses_the_stored_token(&self, core: &Core) -> bool {
        let account = core.held.at.as_ref().map(|at| at.held());
        match (&self.sent, account) {
            (Some(sent), Some(account)) => account.has_access(sent),
            (_, _) => false,
        }
    }

    /// Returns true when the stored token differs from the refused one, so that a retry suffices.
    pub(crate) fn is_served(&self, core: &Core) -> bool {
        self.status != 400 && self.token(core) == Token::Newer
    }

    /// Applies the table row by row. The account slot has just been read (USE-09).
    fn react(&self, core: &Core) -> Reaction {
        let no_step_ups = core.config().step_ups() == 0;
        match (self.status, self.token(core)) {
            (400, _) => Reaction::Final(Cause::Refused(Refusal::InvalidRequest {
                description: self.description.clone(),
            })),
            (_, Token::Newer) => Reaction::Retry,
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
        let fresh = match core.held.proof {
            Proof::Authorized(since) => {
                now < since.plus(FRESH) || core.memory.was_authorized(&self.operation, now)
            }
            Proof::Assumed | Proof::Refreshed(_) => {
                core.memory.was_authorized(&self.operation, now)
            }
        };
        if fresh && self.sent.is_some() && core.held.is_usable(core.now) {
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
        let refused = reaction.needs_another_token() && self.refuses_the_stored_token(core);
        core.callers.judged(refused);
        match reaction {
            Reaction::Retry => {
                core.ready();
                Ok(Work::Idle)
            }
            Reaction::Nonce => {
                core.memory.retried_nonce(&self.operation, core.now.mono);
                core.ready();
                Ok(Work::Idle)
            }
            Reaction::StepUp => self.step_up(core),
            Reaction::Renew => {
                let now = core.now.mono;
                let refused = Refused {
                    may_refresh: !just_refreshed(core)
                        && !core.memory.was_refreshed(&self.operation, now),
                    event: self.event,
                    named_place: self.named_place,
                    token: self.sent,
                };
                Renewal::new(core, self.operation, Some(refused)).go(core)
            }
            Reaction::Authorize => {
                if let Some(scopes) = &self.scope {
                    core.memory.demanded.add(scopes, core.now.mono);
                }
                ask(core, self.operation, true)
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
                    return obtain(core, flow, self.operation, true);
                }
                let why = Why::ScopeMissing {
                    scopes,
                    description: self.description,
                };
                Ok(ask_user(core, why, Some(self.operation)))
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

    /// Handles a token request of the host that no challenge caused.
    pub(crate) fn wanted(core: &mut Core, operation: Operation) -> Step {
        if core.held.is_fresh(core.now) {
            core.ready();
            return Ok(Work::Idle);
        }
        Renewal::new(core, operation, None).go(core)
    }
}

/// Returns true when the stored token was refreshed a moment ago.
fn just_refreshed(core: &Core) -> bool {
    match core.held.proof {
        Proof::Refreshed(since) => core.now.mono < since.plus(FRESH),
        Proof::Assumed | Proof::Authorized(_) => false,
    }
}

/// Returns true when a challenge names scopes that were neither requested nor granted before.
fn adds(core: &Core, scopes: &Scopes) -> bool {
    !core.held.has_scopes(scopes)
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

/// Returns the permanent failure after too many authorizations for one operation (STEP-07).
fn too_many(core: &Core, operation: &Operation) -> Option<Cause> {
    let made = core.memory.attempts(operation, core.now.mono);
    (made >= core.config().authorizations_per_operation())
        .then_some(Cause::OutOfPatience(Limited::Authorizations))
}

/// Reports that the user is needed, unless an authorization is pending already. With a grant that needs no
/// user, requests a token.
pub(crate) fn ask(core: &mut Core, operation: Operation, refused: bool) -> Step {
    ask_because(core, operation, refused, None)
}

/// Same as [`ask`], with a reason other than the stored credentials.
pub(crate) fn ask_because(
    core: &mut Core,
    operation: Operation,
    refused: bool,
    why: Option<Why>,
) -> Step {
    if let SignIn::Machine(flow) = core.config().sign_in.clone() {
        return obtain(core, flow, operation, refused);
    }
    if let Some(cause) = too_many(core, &operation) {
        return Err(Failure {
            operation: Some(operation),
            stage: Stage::Challenge,
            issuer: None,
            cause,
            seen: Vec::new(),
        });
    }
    let none = Scopes::default();
    let demanded = core.memory.demanded.recent_with(&none, core.now.mono);
    let why = why.unwrap_or_else(|| match &core.held.at {
        // The host receives the scopes for which it asks the user's consent (STEP-13).
        Some(_) if refused && adds(core, &demanded) => Why::ScopeMissing {
            scopes: demanded,
            description: None,
        },
        Some(_) => Why::TokenOver,
        None => Why::NoCredentials,
    });
    Ok(ask_user(core, why, Some(operation)))
}

impl Config {
    /// Returns the number of step-ups per operation (STEP-07); 0 when step-ups are only reported (STEP-01).
    pub(crate) fn step_ups(&self) -> u8 {
        match self.step_up {
            StepUp::Reauthorize => self.step_ups_per_operation,
            StepUp::Report => 0,
        }
    }

    /// Returns the number of authorization attempts per operation, including the first (STEP-07).
    pub(crate) fn authorizations_per_operation(&self) -> u8 {
        self.step_ups_per_operation.saturating_add(1)
    }
}
