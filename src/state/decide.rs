//! What an answer of the MCP server means: the table of requirements 12.1.

use std::time::Duration;

use url::Url;

use crate::action::Why;
use crate::budget::Limited;
use crate::config::MetadataOrigin;
use crate::core::Core;
use crate::error::{Cause, Failure, Misconfiguration, Refusal, Stage, Violation};
use crate::event::{Challenge, Operation};
use crate::report::Decision;
use crate::secret::Secret;
use crate::state::{Step, Work};
use crate::wire::challenge::{Scheme, parse};
use crate::wire::scopes::Scopes;
use crate::wire::text::Untrusted;
use crate::wire::url::{UrlFlaw, WebUrl};

/// How long a token counts as just issued while no request with it was accepted (E08).
const FRESH: Duration = Duration::from_secs(5 * 60);

/// Announced places that are tried.
const MAX_PLACES: usize = 4;

/// A refusal of the MCP server, read.
pub(crate) struct Judged {
    operation: Operation,
    status: u16,
    sent: Option<Secret>,
    /// Whether there was a challenge that we understand.
    challenged: bool,
    error: Option<Box<str>>,
    scope: Option<Scopes>,
    /// Whether it named a usable place; that is the first one remembered then.
    named_place: bool,
    description: Option<Untrusted>,
    /// The only scheme offered is one that binds tokens to a key.
    dpop_only: bool,
}

/// Reads a challenge and keeps what it says about places and scopes; what it leaves out erases nothing.
pub(crate) fn judge(core: &mut Core, challenge: Challenge) -> Option<Judged> {
    let parsed = parse(&challenge.headers);
    let selected = parsed.select(challenge.status, &|text| place(core, text).is_ok());
    let relevant = match challenge.status {
        401 | 403 => true,
        400 => selected
            .as_ref()
            .is_some_and(|s| s.error.as_deref() == Some("invalid_request")),
        _other => false,
    };
    if !relevant {
        core.report(|| Decision::AnswerIgnored {
            status: challenge.status,
        });
        return None;
    }
    let has = |scheme: &str| {
        parsed
            .challenges()
            .iter()
            .any(|c| c.scheme.eq_ignore_ascii_case(scheme))
    };
    let mut judged = Judged {
        operation: challenge.operation,
        status: challenge.status,
        sent: challenge.sent,
        challenged: false,
        error: None,
        scope: None,
        named_place: false,
        description: None,
        dpop_only: has("DPoP") && !has("Bearer"),
    };
    let Some(selected) = selected else {
        return Some(judged);
    };
    if !selected.dropped.is_empty() {
        core.report(|| Decision::ChallengeParametersDropped {
            names: selected.dropped.clone(),
        });
    }
    let mut places = Vec::new();
    for text in &selected.resource_metadata {
        match place(core, text) {
            Ok(url) => places.push(url),
            Err(flaw) => core.report(|| Decision::PlaceRefused {
                place: Untrusted::new(text),
                reason: flaw.to_string(),
            }),
        }
    }
    judged.challenged = matches!(selected.scheme, Some(Scheme::Bearer | Scheme::DPoP));
    judged.error = selected.error;
    judged.scope = selected.scope.filter(|scope| !scope.is_empty());
    judged.named_place = !places.is_empty();
    judged.description = selected.error_description;
    places.truncate(MAX_PLACES);
    if !places.is_empty() {
        core.memory.resource_metadata = places;
    }
    if judged.scope.is_some() {
        core.memory.scope.clone_from(&judged.scope);
    }
    Some(judged)
}

/// Judges an announced place; one that starts with a slash is on the MCP server itself (CHAL-13).
fn place(core: &Core, text: &str) -> Result<WebUrl, UrlFlaw> {
    let config = core.config();
    let own = config.mcp_url();
    let url = if text.starts_with('/') && !text.starts_with("//") {
        let joined = Url::parse(own.as_str())
            .and_then(|base| base.join(text))
            .map_err(|_| UrlFlaw::NotAbsolute)?;
        config.url_policy().check(joined.as_str())?
    } else {
        config.url_policy().check(text)?
    };
    match config.metadata_origin {
        MetadataOrigin::SameOrigin if url.origin() != own.origin() => Err(UrlFlaw::NotAbsolute),
        MetadataOrigin::SameOrigin | MetadataOrigin::Any => Ok(url),
    }
}

impl Judged {
    fn fails(self, cause: Cause) -> Failure {
        Failure {
            operation: Some(self.operation),
            stage: Stage::Challenge,
            issuer: None,
            cause,
        }
    }

    /// The decision, with the account slot just read (USE-09).
    pub(crate) fn decide(self, core: &mut Core) -> Step {
        let account = core.held.at.as_ref().map(|at| at.held());
        let token = account.and_then(|account| account.tokens.as_ref());
        let sent_is_held = match (&self.sent, token) {
            (Some(sent), Some(held)) => held.access.same(sent.expose()),
            (_, _) => false,
        };
        let wants_scope = self.error.as_deref() == Some("insufficient_scope");
        match self.status {
            400 => Err(self.fails(Cause::Refused(Refusal::InvalidRequest))),
            // An answer to an older token, or to none: the one held now comes first.
            _ if core.held.is_usable(core.now) && !sent_is_held => {
                core.ready();
                Ok(Work::Idle)
            }
            _ if wants_scope && (sent_is_held || core.config().step_ups_per_operation == 0) => {
                self.step_up(core)
            }
            403 if !self.challenged || self.sent.is_some() && !wants_scope => {
                Err(self.fails(Cause::Refused(Refusal::Forbidden)))
            }
            _ if self.dpop_only => {
                Err(self.fails(Cause::Misconfigured(Misconfiguration::DpopRequired)))
            }
            _ => self.start_over(core, sent_is_held),
        }
    }

    /// The token is missing, over or refused: only a new authorization helps.
    fn start_over(self, core: &mut Core, sent_is_held: bool) -> Step {
        let unproven = core
            .held
            .unproven_since
            .is_some_and(|since| core.now.mono < since.plus(FRESH));
        if sent_is_held && unproven {
            return Err(self.fails(Cause::Violation(Violation::FreshTokenRefused)));
        }
        let made = core.memory.attempts(&self.operation, core.now.mono);
        if made >= core.config().authorizations_per_operation() {
            return Err(self.fails(Cause::OutOfPatience(Limited::Authorizations)));
        }
        ask(core, self.operation)
    }

    /// The token lacks scopes (STEP-01, STEP-07, STEP-10).
    fn step_up(self, core: &mut Core) -> Step {
        let attempts = core.memory.attempts(&self.operation, core.now.mono);
        let exhausted = core.config().step_ups_per_operation == 0
            || attempts >= core.config().authorizations_per_operation();
        match (&self.scope, exhausted) {
            (Some(scopes), false) => {
                let why = Why::ScopeMissing {
                    scopes: scopes.clone(),
                    description: self.description,
                };
                core.memory.operation = Some(self.operation.clone());
                if core.waiting.is_none() {
                    core.need_user(why, Some(self.operation));
                }
                Ok(Work::Idle)
            }
            (_, _) => {
                let refusal = Refusal::InsufficientScope {
                    scopes: self.scope.clone(),
                    resource_metadata: core
                        .memory
                        .resource_metadata
                        .first()
                        .filter(|_| self.named_place)
                        .cloned(),
                    description: self.description.clone(),
                    attempts,
                };
                Err(self.fails(Cause::Refused(refusal)))
            }
        }
    }

    /// The host wants a token without having been refused.
    pub(crate) fn wanted(core: &mut Core, operation: Operation) -> Step {
        if core.held.is_usable(core.now) {
            core.ready();
            return Ok(Work::Idle);
        }
        ask(core, operation)
    }
}

/// Asks for the user, unless the user is at the browser already.
fn ask(core: &mut Core, operation: Operation) -> Step {
    let had_tokens = core
        .held
        .at
        .as_ref()
        .is_some_and(|at| at.held().tokens.is_some());
    let why = if had_tokens {
        Why::TokenOver
    } else {
        Why::NoCredentials
    };
    core.memory.operation = Some(operation.clone());
    if core.waiting.is_none() {
        core.need_user(why, Some(operation));
    }
    Ok(Work::Idle)
}
