//! The exchange of the authorization code (TOK).

use bytes::Bytes;
use http::Response;

use crate::account::Account;
use crate::action::Why;
use crate::clients::Registered;
use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, Stage, Unreachable, Violation};
use crate::event::Outcome;
use crate::grant::{ClientMethod, ClientOrigin, CodeGrant, TokenGrant};
use crate::issuer::{AtIssuer, IssuerId};
use crate::report::Decision;
use crate::secret::Secret;
use crate::state::call::{Call, CallFlaw, Called, answer_to, requests_for};
use crate::state::client::binding::before_code;
use crate::state::save::SavingAccount;
use crate::state::sign_out::forget::{client_refused, forget, has_worked};
use crate::state::sign_out::revoke::Revoking;
use crate::state::{Step, Work, wait_in};
use crate::suspended::{Kept, Word};
use crate::time::{Moment, UnixMillis};
use crate::wire::http_fields::{is_transient, retry_after};
use crate::wire::scopes::Scopes;
use crate::wire::token::{
    Granted, OAuthError, TokenAnswer, UnexpectedToken, UnusableTokens, read_for,
};

/// Waits for the response to the only token request that a code allows.
pub(crate) struct Exchanging {
    call: Call<CodeGrant>,
}

impl Exchanging {
    /// Starts with the client's binding to the issuer, where it has none yet.
    pub(crate) fn begin(core: &mut Core, at: AtIssuer<CodeGrant>) -> Step {
        before_code(core, at)
    }

    /// Sends the code.
    pub(crate) fn send(core: &mut Core, at: AtIssuer<CodeGrant>) -> Step {
        // A code is never sent again (TOK-20, S04), except after the one response that consumes nothing: a
        // nonce required in the proof.
        let requests = requests_for(&at);
        let call = Call::begin(core, at, requests);
        Self::called(core, call)
    }

    pub(crate) fn ask(&self) -> &Ask {
        &self.call.ask
    }

    /// Returns the pending action and the grant, for a response that arrives after the flow was dropped.
    pub(crate) fn into_grant(self) -> (Ask, AtIssuer<CodeGrant>) {
        self.call.into_grant()
    }

    pub(crate) fn replied(self, core: &mut Core, outcome: Outcome) -> Step {
        let called = self.call.replied(core, outcome);
        Self::called(core, called)
    }

    pub(crate) fn signed(self, core: &mut Core, token: Option<Secret>) -> Step {
        let called = self.call.signed(core, token);
        Self::called(core, called)
    }

    fn called(core: &mut Core, called: Called<CodeGrant>) -> Step {
        match called {
            Called::Again(call) => wait_in(Work::Exchanging(Self { call })),
            Called::Answered(at, response, from) => Self::answered(core, at, &response, from),
            Called::Failed(at, CallFlaw::Unreachable) => Err(fails(core, at.issuer(), spent(None))),
            Called::Failed(at, CallFlaw::Final(cause)) => Err(fails(core, at.issuer(), cause)),
        }
    }

    fn answered(
        core: &mut Core,
        at: AtIssuer<CodeGrant>,
        response: &Response<Bytes>,
        from: Moment,
    ) -> Step {
        let requested = &at.held().redirected.0.requested;
        match read_answer_for(core, response, Some(requested)) {
            TokenAnswer::Granted(granted) => {
                let parts = &at.held().redirected.0;
                let (begun, beside) = (parts.created, parts.beside_account);
                let kept = Kept::Authorized {
                    begun,
                    beside,
                    over: core.held.authorization(),
                };
                let redeem = |at: AtIssuer<CodeGrant>, granted| at.redeemed(granted, from);
                keep(core, at, granted, kept, redeem)
            }
            TokenAnswer::Refused {
                error,
                code,
                description,
            } => {
                let cause = at.refused(error, Some(code), description);
                let failure = fails(core, at.issuer(), cause);
                let misses = error == OAuthError::InvalidRequest;
                let misses = misses && misses_secret(core, &at, response);
                let meant = if misses {
                    OAuthError::InvalidClient
                } else {
                    error
                };
                refused(core, &at, meant, failure)
            }
            TokenAnswer::Unusable(tokens) => {
                discard(core, at, *tokens, AtIssuer::<CodeGrant>::redeemed)
            }
            TokenAnswer::Unexpected(UnexpectedToken::Status(status)) if is_transient(status) => {
                let now = core.now.wall;
                let retry_at = retry_after(response.headers(), now.seconds())
                    .map(|seconds| now.plus_seconds(seconds));
                Err(fails(core, at.issuer(), spent(retry_at)))
            }
            TokenAnswer::Unexpected(flaw) => {
                let failure = fails(core, at.issuer(), Cause::Violation(Violation::Token(flaw)));
                if misses_secret(core, &at, response) {
                    return refused(core, &at, OAuthError::InvalidClient, failure);
                }
                Err(failure)
            }
        }
    }
}

/// Stores the tokens of an authorization that began at this time.
pub(crate) fn keep<G: TokenGrant>(
    core: &mut Core,
    at: AtIssuer<G>,
    granted: Granted,
    kept: Kept,
    redeem: impl FnOnce(AtIssuer<G>, Granted) -> AtIssuer<Account>,
) -> Step {
    if granted.type_assumed {
        core.report(|| Decision::TokenTypeAssumed);
    }
    let seconds = granted.lifetime.seconds();
    let (kind, assumed) = (granted.token_type, granted.type_assumed);
    let bound = crate::state::dpop::judge(core, at.held().binding(), kind, assumed);
    let at = redeem(at, granted);
    match bound {
        Ok(binding) => {
            core.report(|| Decision::TokenReceived {
                issuer: at.issuer().clone(),
                scopes: at.held().granted.clone(),
                seconds,
            });
            let at = at.then(|account| Account { binding, ..account });
            wait_in(SavingAccount::begin(core, at, kept))
        }
        Err(flaw) => {
            // Discarded, and revoked so that no other party can use it (DPOP-13).
            let failure = fails(core, at.issuer(), Cause::Violation(flaw));
            core.fail(failure);
            Revoking::begin(core, at, None)
        }
    }
}

/// Fails an authorization whose access token cannot be used, and revokes what came, so that no other party can use it.
pub(crate) fn discard<G: TokenGrant>(
    core: &mut Core,
    at: AtIssuer<G>,
    tokens: UnusableTokens,
    redeem: impl FnOnce(AtIssuer<G>, Granted, Moment) -> AtIssuer<Account>,
) -> Step {
    let cause = Cause::Violation(Violation::Token(tokens.flaw));
    let failure = fails(core, at.issuer(), cause);
    if let Some(granted) = tokens.granted {
        let at = redeem(at, granted, core.now);
        core.discard(at);
    }
    Err(failure)
}

/// Handles a refusal of the code or of the client. Either may mean that the server forgot a dynamic client
/// (TOK-19, QUIRK-14).
fn refused(core: &mut Core, at: &AtIssuer<CodeGrant>, error: OAuthError, failure: Failure) -> Step {
    let parts = &at.held().redirected.0;
    if parts.client.origin != ClientOrigin::Dynamic {
        return Err(failure);
    }
    if error.refuses_client() {
        return client_refused(core, at, parts.redirect_uri.as_str(), failure);
    }
    if error == OAuthError::InvalidGrant {
        let registered = Registered {
            issuer: at.issuer().clone(),
            redirect_uri: parts.redirect_uri.shared(),
            client_id: parts.client.id.clone(),
        };
        let word = Word::Code(parts.created);
        return forget(core, registered, word, Why::ClientForgotten, failure);
    }
    Err(failure)
}

/// Returns true when a refusal names the secret of a client that has none and has not worked yet, at a server that lists a
/// method with one: the method is refused, in other words than those of the standard (QUIRK-34).
fn misses_secret(core: &Core, at: &AtIssuer<CodeGrant>, response: &Response<Bytes>) -> bool {
    let mut parts = response.body().windows(b"secret".len());
    matches!(at.held().client().method, ClientMethod::None)
        && at.server().facts().takes_secrets()
        && response.status().is_client_error()
        && parts.any(|part| part.eq_ignore_ascii_case(b"secret"))
        && !has_worked(core, at)
}

fn spent(retry_at: Option<UnixMillis>) -> Cause {
    Cause::Unreachable(Unreachable {
        code_spent: true,
        retry_at,
    })
}

/// Parses a token response.
pub(crate) fn read_answer(core: &Core, response: &Response<Bytes>) -> TokenAnswer {
    read_answer_for(core, response, None)
}

/// Same as [`read_answer`], after a request for these scopes.
pub(crate) fn read_answer_for(
    core: &Core,
    response: &Response<Bytes>,
    requested: Option<&Scopes>,
) -> TokenAnswer {
    let (status, missing) = (response.status(), core.config().missing_token_type());
    read_for(status.as_u16(), response.body(), missing, requested)
}

impl AtIssuer<CodeGrant> {
    /// Reads the tokens of a late response, which are to be revoked (REFR-12).
    pub(crate) fn late(self, core: &Core, outcome: Outcome) -> Option<AtIssuer<Account>> {
        let response = answer_to(core, &self, outcome).ok()?;
        match read_answer(core, &response) {
            TokenAnswer::Granted(granted) => Some(self.redeemed(granted, core.now)),
            TokenAnswer::Unusable(tokens) => {
                let granted = tokens.granted?;
                Some(self.redeemed(granted, core.now))
            }
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
        seen: Vec::new(),
    }
}
