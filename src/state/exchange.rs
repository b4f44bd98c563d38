//! Spending the code, and keeping what it brings before anything is said of it (TOK).

use crate::account::Account;
use crate::action::{Purpose, UrlSource};
use crate::budget::{Budget, Limited, TOKEN_TIME};
use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, Refusal, Stage, Unreachable, Violation};
use crate::event::Outcome;
use crate::grant::{ClientOrigin, CodeGrant, TokenGrant, standard_answer};
use crate::issuer::{AtIssuer, IssuerId};
use crate::report::Decision;
use crate::state::forget::ForgettingClient;
use crate::state::post::{NoAnswer, answer};
use crate::state::save::{Kept, SavingAccount};
use crate::state::{Step, Work};
use crate::wire::http_fields::retry_after;
use crate::wire::token::{Lifetime, OAuthError, TokenAnswer, UnexpectedToken, read};

/// Waits for the answer to the one request that a code is good for.
pub(crate) struct Exchanging {
    pub(crate) ask: Ask,
    at: AtIssuer<CodeGrant>,
}

impl Exchanging {
    pub(crate) fn begin(core: &mut Core, at: AtIssuer<CodeGrant>) -> Step {
        // One permit: a code is never sent again, whatever comes of it (TOK-20, S04).
        let permit = match Budget::new(1, Limited::Requests).take() {
            Ok(permit) => permit,
            Err(limited) => return Err(fails(core, at.issuer(), Cause::OutOfPatience(limited))),
        };
        let request = at.token_request(core.config().settings(at.issuer()));
        let source = UrlSource::AuthorizationServer;
        let ask = core.send(permit, request, Purpose::Token, source, TOKEN_TIME);
        Ok(Work::Exchanging(Self { ask, at }))
    }

    /// The grant, for an answer that nobody waits for any more.
    pub(crate) fn into_grant(self) -> (Ask, AtIssuer<CodeGrant>) {
        (self.ask, self.at)
    }

    pub(crate) fn replied(self, core: &mut Core, outcome: Outcome) -> Step {
        let issuer = self.at.issuer().clone();
        let spent = |retry_at| {
            Cause::Unreachable(Unreachable {
                code_spent: true,
                retry_at,
            })
        };
        let response = match answer(outcome, |url| self.at.is_token_endpoint(url)) {
            Ok(response) => response,
            Err(NoAnswer::Unreachable) => return Err(fails(core, &issuer, spent(None))),
            Err(NoAnswer::Violation(flaw)) => {
                return Err(fails(core, &issuer, Cause::Violation(flaw)));
            }
        };
        let status = response.status().as_u16();
        let spelled = core.config().settings(&issuer).token_answers;
        let body = standard_answer(spelled, response.body());
        match read(status, &body, core.config().missing_token_type()) {
            TokenAnswer::Granted(granted) => {
                if granted.type_assumed {
                    core.report(|| Decision::TokenTypeAssumed);
                }
                let seconds = match granted.lifetime {
                    Lifetime::Unknown => None,
                    Lifetime::Seconds(seconds) => Some(seconds),
                };
                let at = self.at.redeemed(*granted, core.now);
                core.report(|| Decision::TokenReceived {
                    issuer,
                    scopes: at.held().granted.clone(),
                    seconds,
                });
                Ok(SavingAccount::begin(core, at, Kept::Authorized))
            }
            TokenAnswer::Refused {
                error: OAuthError::InvalidClient,
                ..
            } if self.at.held().client().origin == ClientOrigin::Dynamic
                && !core.memory.client_forgotten =>
            {
                let parts = &self.at.held().redirected.0;
                Ok(ForgettingClient::begin(
                    core,
                    &issuer,
                    &parts.redirect_uri,
                    &parts.client.id,
                ))
            }
            TokenAnswer::Refused {
                error,
                code,
                description,
            } => {
                let refusal = Refusal::OAuth {
                    error,
                    code: Some(code),
                    description,
                    error_uri: None,
                };
                Err(fails(core, &issuer, Cause::Refused(refusal)))
            }
            TokenAnswer::Unexpected(UnexpectedToken::Status(429 | 500..)) => {
                let now = core.now.wall;
                let retry_at = retry_after(response.headers(), now.seconds())
                    .map(|seconds| now.plus_seconds(seconds));
                Err(fails(core, &issuer, spent(retry_at)))
            }
            TokenAnswer::Unexpected(flaw) => Err(fails(
                core,
                &issuer,
                Cause::Violation(Violation::Token(flaw)),
            )),
        }
    }
}

impl AtIssuer<CodeGrant> {
    /// What a late answer brought, to be revoked (REFR-12).
    pub(crate) fn late(self, core: &Core, outcome: Outcome) -> Option<AtIssuer<Account>> {
        let response = answer(outcome, |url| self.is_token_endpoint(url)).ok()?;
        let spelled = core.config().settings(self.issuer()).token_answers;
        let body = standard_answer(spelled, response.body());
        match read(
            response.status().as_u16(),
            &body,
            core.config().missing_token_type(),
        ) {
            TokenAnswer::Granted(granted) => Some(self.redeemed(*granted, core.now)),
            TokenAnswer::Refused { .. } | TokenAnswer::Unexpected(_) => None,
        }
    }
}

fn fails(core: &Core, issuer: &IssuerId, cause: Cause) -> Failure {
    Failure {
        operation: core.memory.operation.clone(),
        stage: Stage::Token,
        issuer: Some(issuer.clone()),
        cause,
    }
}
