//! The refresh request and its response: the refresh column of requirements 11.4.

use std::time::Duration;

use bytes::Bytes;
use http::Response;

use crate::account::{Account, Naming, RefreshGrant};
use crate::budget::TOKEN_TIME;
use crate::core::{Ask, Core};
use crate::error::{Cause, Misconfiguration, Refusal, Stage, Violation};
use crate::event::Outcome;
use crate::grant::{ClientOrigin, TokenGrant};
use crate::issuer::AtIssuer;
use crate::key::KeyBinding;
use crate::report::Decision;
use crate::secret::Secret;
use crate::state::call::{Call, CallFlaw, Called, requests_for};
use crate::state::delay::{asked_wait, back_off};
use crate::state::pause::Pausing;
use crate::state::renewal::remains::{
    Discarded, discard, end_grant, end_refresh, named_next_time, refused, save_best,
};
use crate::state::save::save_before;
use crate::state::sign_in::exchange::read_answer;
use crate::state::sign_out::forget::client_refused;
use crate::state::trigger::Trigger;
use crate::state::{Next, Step, Work, wait_in};
use crate::suspended::{Brings, Kept, Overdue, Renewal, Sent};
use crate::time::{Moment, millis};
use crate::wire::http_fields::is_transient;
use crate::wire::text::Untrusted;
use crate::wire::token::{Granted, OAuthError, TokenAnswer, UnexpectedToken};

/// Longest pause during which the refresh lease is kept.
const SHORT_WAIT: Duration = Duration::from_secs(5);

/// Waits for the response to a refresh request.
pub(crate) struct Refreshing {
    call: Call<RefreshGrant>,
    renewal: Box<Renewal>,
}

/// The classification of a refresh response.
pub(super) enum Verdict {
    /// Usable tokens, with the key that they are bound to.
    Granted(Box<Granted>, Option<KeyBinding>),
    /// A success whose access token cannot be used.
    Unusable(Discarded),
    /// `invalid_grant`: drop the access and the refresh token (REFR-06).
    GrantOver,
    /// The refresh token is unusable; the access token may still work.
    RefreshOver(Cause),
    /// A rejection of the request, or without an OAuth error, such as a web page: it says nothing about the grant. Keep the
    /// tokens and ask the user.
    Unexplained(Cause),
    /// The server does not know the client (TOK-19).
    ClientUnknown(Option<Untrusted>),
    /// A temporary failure, with the delay that the server named.
    Later(Option<Duration>),
    /// A failure that a retry does not change; the tokens are kept.
    Final(Cause),
}

impl Refreshing {
    /// Starts while the lease lasts until this time.
    pub(crate) fn begin(core: &mut Core, mut renewal: Box<Renewal>, until: Moment) -> Step {
        if core.held.unsaved.is_some() {
            return save_before(core, renewal);
        }
        let Some(at) = core.held.at.as_deref().cloned().and_then(|at| {
            let settings = core.config().settings(at.issuer());
            at.refresh_grant(settings, renewal.naming)
        }) else {
            return Ok(Next::Renew(renewal));
        };
        if let Err(limited) = renewal.refreshes.take() {
            core.release_lease();
            return renewal.fails_for_now(core, Stage::Refresh, Cause::OutOfPatience(limited));
        }
        renewal.is_for_others = false;
        let requests = requests_for(&at);
        let call = Call::begin_within(core, at, requests, Some(until));
        Self::called(core, 0, call, renewal)
    }

    pub(crate) fn ask(&self) -> &Ask {
        &self.call.ask
    }

    /// Returns the pending action and the grant, for a response that arrives after the flow was dropped.
    pub(crate) fn into_grant(self) -> (Ask, AtIssuer<RefreshGrant>) {
        self.call.into_grant()
    }

    /// Handles the end of the time limit: like no response, but the request is remembered.
    pub(crate) fn overdue(self, core: &mut Core) -> Step {
        let Some(sent) = self.call.sent() else {
            return self.replied(core, Outcome::MaybeSent);
        };
        let (ask, at) = self.call.into_grant();
        let overdue = Overdue {
            at,
            sent,
            naming: self.renewal.naming,
            operation: self.renewal.operation().cloned(),
            stored: None,
        };
        core.overdue(ask.id, overdue);
        if core.held.unsaved.is_some() {
            return save_before(core, self.renewal);
        }
        later(core, self.renewal, None)
    }

    pub(crate) fn replied(self, core: &mut Core, outcome: Outcome) -> Step {
        let request = self.call.ask.id;
        let called = self.call.replied(core, outcome);
        Self::called(core, request, called, self.renewal)
    }

    pub(crate) fn signed(self, core: &mut Core, token: Option<Secret>) -> Step {
        if core.held.unsaved.is_some() {
            return save_before(core, self.renewal);
        }
        let request = self.call.ask.id;
        let called = self.call.signed(core, token);
        Self::called(core, request, called, self.renewal)
    }

    /// Continues a call. `request`: the ticket of the request that was answered; 0 before the first one.
    fn called(
        core: &mut Core,
        request: u64,
        called: Called<RefreshGrant>,
        renewal: Box<Renewal>,
    ) -> Step {
        match called {
            Called::Again(call) => wait_in(Work::Refreshing(Self { call, renewal })),
            Called::Answered(at, response, from) => {
                let verdict = judge(core, &at, &response);
                Self::decide(core, at, request, renewal, verdict, from)
            }
            Called::Failed(at, CallFlaw::Unreachable) => {
                let now = core.now;
                Self::decide(core, at, request, renewal, Verdict::Later(None), now)
            }
            Called::Failed(at, CallFlaw::Final(cause)) => {
                let now = core.now;
                Self::decide(core, at, request, renewal, Verdict::Final(cause), now)
            }
        }
    }

    /// Prefers the answer to an earlier request, which came meanwhile, to one without tokens: a server that rotates honours
    /// the first request that reached it, and refuses the ones after it. Two answers with tokens are compared when they are
    /// saved.
    fn decide(
        core: &mut Core,
        at: AtIssuer<RefreshGrant>,
        request: u64,
        renewal: Box<Renewal>,
        verdict: Verdict,
        from: Moment,
    ) -> Step {
        let brings = match &verdict {
            Verdict::Granted(..) => true,
            Verdict::Unusable(discarded) => discarded.spends(&at),
            Verdict::GrantOver
            | Verdict::RefreshOver(_)
            | Verdict::Unexplained(_)
            | Verdict::ClientUnknown(_)
            | Verdict::Later(_)
            | Verdict::Final(_) => false,
        };
        if !brings && core.held.unsaved.is_some() {
            return save_before(core, renewal);
        }
        Self::judged(core, at, request, renewal, verdict, from)
    }

    fn judged(
        core: &mut Core,
        at: AtIssuer<RefreshGrant>,
        request: u64,
        mut renewal: Box<Renewal>,
        verdict: Verdict,
        from: Moment,
    ) -> Step {
        let issuer = at.issuer().clone();
        let settings = core.config().settings(&issuer);
        let may_name = at.held().may_name_scopes(renewal.naming, settings);
        let repeated = error_of(&verdict)
            .and_then(|error| at.held().repeated(renewal.naming, settings, error));
        if let Some(naming) = repeated {
            if naming.names(false) {
                core.report(|| Decision::RefreshNamesScopes { issuer });
            }
            renewal.naming = naming;
            return Ok(Next::Renew(renewal));
        }
        match verdict {
            Verdict::Granted(granted, binding) => {
                if may_name && at.held().is_for_others(&granted) {
                    return named_next_time(core, at, request, renewal, *granted);
                }
                let (at, sent) = at.refreshed(core, request, *granted, binding, from);
                let naming = renewal.naming;
                let at = at.then(|account| Account {
                    names_scopes: naming.names(account.names_scopes),
                    ..account
                });
                let kept = Kept::Refreshed { renewal, sent };
                save_best(core, at, kept)
            }
            Verdict::Unusable(discarded) => discard(core, at, request, renewal, discarded),
            Verdict::GrantOver => end_grant(core, at, request, renewal),
            // The machine's own repetition may have named scopes that were never granted.
            Verdict::RefreshOver(cause) if renewal.naming == Naming::AfterBadRequest => {
                refused(core, renewal, cause)
            }
            Verdict::RefreshOver(cause) => end_refresh(core, at, request, renewal, cause),
            Verdict::Unexplained(cause) => refused(core, renewal, cause),
            Verdict::ClientUnknown(code) => {
                let refusal = Refusal::OAuth {
                    error: OAuthError::InvalidClient,
                    code,
                    description: None,
                    error_uri: None,
                };
                let cause = Cause::Refused(refusal);
                let account = &at.held().account;
                if let (ClientOrigin::Dynamic, Some(redirect_uri)) =
                    (account.client.origin, account.redirect_uri.clone())
                {
                    core.release_lease();
                    core.memory.operation.clone_from(&renewal.effort.operation);
                    let failure = renewal.effort.fails(Stage::Refresh, Some(&issuer), cause);
                    return client_refused(core, &at, &redirect_uri, failure);
                }
                Self::judged(core, at, request, renewal, Verdict::Final(cause), from)
            }
            Verdict::Later(wait) => later(core, renewal, wait),
            // The user cannot help: the host could not sign or does not connect, or something took too long.
            Verdict::Final(
                cause @ (Cause::Misconfigured(Misconfiguration::SignerFailed)
                | Cause::Violation(Violation::PlaceRefused { .. })
                | Cause::OutOfPatience(_)),
            ) => {
                core.release_lease();
                core.memory.renewal_refused = None;
                core.refresh_failed(None, &cause);
                renewal.fails_for_now(core, Stage::Refresh, cause)
            }
            Verdict::Final(cause) => refused(core, renewal, cause),
        }
    }
}

/// Returns the OAuth error of a refusal.
fn error_of(verdict: &Verdict) -> Option<OAuthError> {
    match verdict {
        Verdict::RefreshOver(Cause::Refused(Refusal::OAuth { error, .. }))
        | Verdict::Unexplained(Cause::Refused(Refusal::OAuth { error, .. })) => Some(*error),
        Verdict::RefreshOver(_)
        | Verdict::Unexplained(_)
        | Verdict::Granted(..)
        | Verdict::Unusable(_)
        | Verdict::GrantOver
        | Verdict::ClientUnknown(_)
        | Verdict::Later(_)
        | Verdict::Final(_) => None,
    }
}

/// Retries after a pause, at most twice; both tokens are kept (REFR-07).
fn later(core: &mut Core, mut renewal: Box<Renewal>, wait: Option<Duration>) -> Step {
    let tries = renewal.refreshes.left();
    let again = tries > 0 && !(wait.is_some() && renewal.delayed);
    if !again {
        core.release_lease();
        core.memory.renewal_refused = None;
        core.refresh_failed(wait, &Cause::unreachable(None));
        let retry_at = wait.and(core.memory.rest.retry_at());
        return renewal.fails_for_now(core, Stage::Refresh, Cause::unreachable(retry_at));
    }
    renewal.delayed |= wait.is_some();
    let wait = wait.unwrap_or_else(|| back_off(core, tries));
    if wait > SHORT_WAIT {
        core.release_lease();
        renewal.lease = None;
    }
    core.report(|| Decision::RefreshDelayed {
        millis: millis(wait),
    });
    // Callers that only need a valid token keep the current one.
    if renewal.has_another(core) {
        core.ready();
    }
    let until = core.now.mono.plus(wait);
    renewal.not_before = Some(until);
    wait_in(Pausing::begin(core, Trigger::Renew(renewal), until))
}

pub(super) fn judge(
    core: &mut Core,
    at: &AtIssuer<RefreshGrant>,
    response: &Response<Bytes>,
) -> Verdict {
    match read_answer(core, response) {
        TokenAnswer::Granted(granted) => {
            if granted.type_assumed {
                core.report(|| Decision::TokenTypeAssumed);
            }
            let (kind, assumed) = (granted.token_type, granted.type_assumed);
            match crate::state::dpop::judge(core, at.held().binding(), kind, assumed) {
                Ok(binding) => Verdict::Granted(Box::new(granted), binding),
                Err(flaw) => Verdict::Unusable(Discarded {
                    cause: Cause::Violation(flaw),
                    came: granted.refresh_token.clone(),
                    granted: Some(Box::new(granted)),
                }),
            }
        }
        TokenAnswer::Refused {
            error,
            code,
            description,
        } => match error {
            OAuthError::InvalidGrant => Verdict::GrantOver,
            // Some servers report an unknown client this way (TOK-19).
            OAuthError::UnauthorizedClient
                if at.held().client().origin == ClientOrigin::Dynamic =>
            {
                Verdict::ClientUnknown(Some(code))
            }
            OAuthError::InvalidClient => Verdict::ClientUnknown(Some(code)),
            OAuthError::ServerError | OAuthError::TemporarilyUnavailable | OAuthError::SlowDown => {
                Verdict::Later(asked_wait(core, response))
            }
            // The proof is at fault, not the token.
            OAuthError::UseDpopNonce | OAuthError::InvalidDpopProof => {
                Verdict::Final(at.refused(error, Some(code), description))
            }
            OAuthError::InvalidRequest => {
                Verdict::Unexplained(at.refused(error, Some(code), description))
            }
            // A retry would receive the same response (REFR-06).
            OAuthError::UnauthorizedClient
            | OAuthError::UnsupportedGrantType
            | OAuthError::InvalidScope
            | OAuthError::InvalidTarget
            | OAuthError::UnsupportedResponseType
            | OAuthError::AccessDenied
            | OAuthError::InteractionRequired
            | OAuthError::InvalidRedirectUri
            | OAuthError::InvalidClientMetadata
            | OAuthError::SoftwareStatement
            | OAuthError::InsufficientScope
            | OAuthError::InvalidToken
            | OAuthError::UnsupportedTokenType
            | OAuthError::InsufficientUserAuthentication
            | OAuthError::AuthorizationPending
            | OAuthError::ExpiredDeviceCode
            | OAuthError::Other => Verdict::RefreshOver(at.refused(error, Some(code), description)),
        },
        TokenAnswer::Unusable(tokens) => Verdict::Unusable(Discarded {
            cause: Cause::Violation(Violation::Token(tokens.flaw)),
            granted: tokens.granted.map(Box::new),
            came: tokens.refresh_token,
        }),
        TokenAnswer::Unexpected(UnexpectedToken::Body) => {
            Verdict::Later(asked_wait(core, response))
        }
        TokenAnswer::Unexpected(UnexpectedToken::Status(status)) if is_transient(status) => {
            Verdict::Later(asked_wait(core, response))
        }
        TokenAnswer::Unexpected(flaw @ UnexpectedToken::Status(_)) => {
            Verdict::Unexplained(Cause::Violation(Violation::Token(flaw)))
        }
        TokenAnswer::Unexpected(flaw) => Verdict::Final(Cause::Violation(Violation::Token(flaw))),
    }
}

impl AtIssuer<RefreshGrant> {
    /// Returns the account with the tokens of an answer, whose lifetime counts from this moment, and what was sent.
    pub(super) fn refreshed(
        self,
        core: &mut Core,
        request: u64,
        granted: Granted,
        binding: Option<KeyBinding>,
        from: Moment,
    ) -> (AtIssuer<Account>, Box<Sent>) {
        let issuer = self.issuer().clone();
        let seconds = granted.lifetime.seconds();
        let mut sent = Sent::of(&self, Brings::Tokens, request);
        sent.in_time = from.passed(core.now) <= millis(TOKEN_TIME);
        let at = self.redeemed(granted, from);
        let at = at.then(|account| Account { binding, ..account });
        core.report(|| Decision::TokenRefreshed {
            issuer,
            scopes: at.held().granted.clone(),
            seconds,
        });
        (at, sent)
    }
}
