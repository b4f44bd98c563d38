//! What a refusal of the MCP server leads to: the table of requirements 12.1.

use std::time::Duration;

use crate::action::Why;
use crate::budget::Limited;
use crate::config::{Config, DpopPolicy, SignIn, StepUp};
use crate::core::{Core, Proof};
use crate::error::{Cause, Failure, Misconfiguration, Refusal, Stage, Violation};
use crate::event::Operation;
use crate::state::judge::Judged;
use crate::state::obtain::obtain;
use crate::state::{Refused, Renewal, Step, Work};
use crate::wire::scopes::Scopes;
use crate::wire::token::OAuthError;

/// How long a token counts as just obtained while no request with it was accepted (E08).
const FRESH: Duration = Duration::from_secs(5 * 60);

/// How the token that was sent relates to what is held.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    /// Nothing is held.
    None,
    /// What was sent, or nothing usable, is held.
    Refused,
    /// A usable one is held, and another one or none was sent.
    Newer,
}

/// What is done about it.
enum Reaction {
    /// The token held answers it.
    Retry,
    /// The same token again, with the server's nonce in the proof.
    Nonce,
    /// The user is asked for more scopes, or the challenge is reported (STEP).
    StepUp,
    /// The token is renewed if its server is still the one (REFR, ISO).
    Renew,
    /// The user is asked to authorize.
    Authorize,
    /// Nothing helps this request.
    Final(Cause),
}

impl Judged {
    pub(super) fn wants_scope(&self) -> bool {
        self.error.as_deref() == Some("insufficient_scope")
    }

    fn token(&self, core: &Core) -> Token {
        let account = core.held.at.as_ref().map(|at| at.held());
        let same = match (&self.sent, account) {
            (Some(sent), Some(account)) => account.has_access(sent),
            (_, _) => false,
        };
        if core.held.is_usable(core.now) && !same {
            Token::Newer
        } else if account.is_some_and(|account| account.tokens.is_some()) {
            Token::Refused
        } else {
            Token::None
        }
    }

    /// Whether the token held is another one than was refused: then that answers it.
    pub(crate) fn is_served(&self, core: &Core) -> bool {
        self.status != 400 && self.token(core) == Token::Newer
    }

    /// The table, row by row. The account slot was read just now (USE-09).
    fn react(&self, core: &Core) -> Reaction {
        let no_step_ups = core.config().step_ups() == 0;
        match (self.status, self.token(core)) {
            (400, _) => Reaction::Final(Cause::Refused(Refusal::InvalidRequest)),
            (_, Token::Newer) => Reaction::Retry,
            (_, Token::Refused) if self.wants_scope() && self.sent.is_some() => Reaction::StepUp,
            (_, Token::None | Token::Refused) if self.wants_scope() && no_step_ups => {
                Reaction::StepUp
            }
            (403, Token::None | Token::Refused)
                if !self.challenged || self.sent.is_some() && !self.wants_scope() =>
            {
                Reaction::Final(Cause::Refused(Refusal::Forbidden))
            }
            // The nonce is kept already; the same token does (DPOP-11).
            (401, Token::Refused)
                if self.wants_nonce
                    && core.held.is_usable(core.now)
                    && !core.memory.nonce_retried(&self.operation, core.now.mono) =>
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

    /// A refusal without a reason that names scopes never asked for, of a token that has not expired: no
    /// refresh brings scopes (STEP-05). Where a step-up may not follow, it is like any other refusal.
    fn lacks_new_scopes(&self, core: &Core) -> bool {
        let named = self.scope.as_ref().filter(|_| self.error.is_none());
        self.sent.is_some()
            && core.held.is_usable(core.now)
            && named.is_some_and(|scopes| adds(core, scopes) && self.may_step_up(core, scopes))
    }

    /// Whether one more authorization may be made for these scopes (STEP-07, STEP-09, STEP-11).
    fn may_step_up(&self, core: &Core, scopes: &Scopes) -> bool {
        let now = core.now.mono;
        core.memory.attempts(&self.operation, now) < core.config().authorizations_per_operation()
            && core.config().step_ups() > 0
            && !core
                .memory
                .is_hopeless(&self.operation, now, adds(core, scopes))
            && fits(core, scopes)
    }

    /// A token that has just been authorized and is refused will be refused again (USE-08, E08).
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
            Reaction::Final(Cause::Violation(Violation::FreshTokenRefused))
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
        match self.react(core) {
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
                    core.memory.scope = Some(all_asked(core, scopes));
                }
                ask(core, self.operation, true)
            }
            Reaction::Final(cause) => Err(self.fails(cause)),
        }
    }

    /// The token lacks scopes (STEP-01, STEP-07, STEP-09 to STEP-11).
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
                core.memory.operation = Some(self.operation.clone());
                if let SignIn::Machine(flow) = core.config().sign_in.clone() {
                    core.memory.scope = Some(all_asked(core, &scopes));
                    return obtain(core, flow, self.operation, true);
                }
                if core.waiting.is_none() {
                    core.memory.scope = Some(all_asked(core, &scopes));
                    let why = Why::ScopeMissing {
                        scopes,
                        description: self.description,
                    };
                    core.need_user(why, Some(self.operation));
                }
                Ok(Work::Idle)
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

    /// The host wants a token without having been refused.
    pub(crate) fn wanted(core: &mut Core, operation: Operation) -> Step {
        if core.held.is_fresh(core.now) {
            core.ready();
            return Ok(Work::Idle);
        }
        Renewal::new(core, operation, None).go(core)
    }
}

/// Whether a refresh did not help a moment ago.
fn just_refreshed(core: &Core) -> bool {
    match core.held.proof {
        Proof::Refreshed(since) => core.now.mono < since.plus(FRESH),
        Proof::Assumed | Proof::Authorized(_) => false,
    }
}

/// Whether a challenge asks for more than was requested or granted before.
fn adds(core: &Core, scopes: &Scopes) -> bool {
    let held = core.held.at.as_ref().map(|at| at.held());
    !held.is_some_and(|account| account.requested.union(&account.granted).covers(scopes))
}

/// What several operations lack is asked for at once (STEP-12).
fn all_asked(core: &Core, scopes: &Scopes) -> Scopes {
    match &core.memory.scope {
        Some(before) => before.union(scopes),
        None => scopes.clone(),
    }
}

/// Whether everything that is asked for finds room in one request (E01).
fn fits(core: &Core, scopes: &Scopes) -> bool {
    let asked = all_asked(core, scopes);
    let all = match &core.held.at {
        Some(at) => at.held().requested.union(&at.held().granted).union(&asked),
        None => asked,
    };
    all.covers(scopes)
}

/// The permanent failure after too many authorizations for one operation (STEP-07).
fn too_many(core: &Core, operation: &Operation) -> Option<Cause> {
    let made = core.memory.attempts(operation, core.now.mono);
    (made >= core.config().authorizations_per_operation())
        .then_some(Cause::OutOfPatience(Limited::Authorizations))
}

/// Asks for the user, unless the user is at the browser already; a client that acts for itself helps
/// itself.
pub(crate) fn ask(core: &mut Core, operation: Operation, refused: bool) -> Step {
    ask_because(core, operation, refused, None)
}

/// The same, for another reason than what is held.
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
    let why = why.unwrap_or_else(|| match (&core.held.at, &core.memory.scope) {
        // The host receives the scopes that it will consent to (STEP-13).
        (Some(_), Some(scopes)) if refused && adds(core, scopes) => Why::ScopeMissing {
            scopes: scopes.clone(),
            description: None,
        },
        (Some(_), _) => Why::TokenOver,
        (None, _) => Why::NoCredentials,
    });
    core.memory.operation = Some(operation.clone());
    if core.waiting.is_none() {
        core.need_user(why, Some(operation));
    }
    Ok(Work::Idle)
}

impl Config {
    /// Step-ups for one operation (STEP-07); none when they are reported only (STEP-01).
    pub(crate) fn step_ups(&self) -> u8 {
        match self.step_up {
            StepUp::Reauthorize => self.step_ups_per_operation,
            StepUp::Report => 0,
        }
    }

    /// Authorization attempts for one operation, the first included (STEP-07).
    pub(crate) fn authorizations_per_operation(&self) -> u8 {
        self.step_ups_per_operation.saturating_add(1)
    }
}
