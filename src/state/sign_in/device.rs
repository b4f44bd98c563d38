//! The device authorization grant (RFC 8628, DEV): the request for the codes, the wait for the user, and the
//! polls of the token endpoint. Nothing of it is stored: after a crash the user starts again, and an
//! unused code expires.

use std::time::Duration;

use bytes::Bytes;
use http::Response;

use crate::account::Account;
use crate::action::{Action, BrowserUrl, ShowCode};
use crate::budget::{Budget, Limited, POLLS_PER_CODE};
use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, Stage, Violation};
use crate::event::{Operation, Outcome};
use crate::grant::{ClientOrigin, DeviceGrant, DeviceRequest, Registration, TokenGrant, plain};
use crate::issuer::{AtIssuer, IssuerId};
use crate::secret::Secret;
use crate::state::call::{Call, CallFlaw, Called, answer_to, requests_for};
use crate::state::client::flow::is_new;
use crate::state::sign_in::exchange::{discard, keep, read_answer, read_answer_for};
use crate::state::sign_in::scopes::without_refused_scopes;
use crate::state::sign_out::forget::client_refused;
use crate::state::sign_out::revoke::Revoking;
use crate::state::{Step, Work, done, wait_in};
use crate::suspended::{After, Agreed, Chosen, Kept, Pending, Waits};
use crate::time::{Moment, UnixMillis, half, millis};
use crate::wire::device::{DeviceAnswer, POLL_INTERVAL, read};
use crate::wire::http_fields::{is_transient, retry_after};
use crate::wire::scopes::Scopes;
use crate::wire::token::{Lifetime, OAuthError, TokenAnswer, UnexpectedToken, refusal};
use crate::wire::url::WebUrl;
use crate::wire::words::GrantType;

/// The longest time between two polls. A server that was slow for a moment is asked again in time.
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);
/// By how much `slow_down` lengthens the interval (RFC 8628 section 3.5).
const SLOWER: Duration = Duration::from_secs(5);

/// Waits for the device code and the user code.
pub(crate) struct RequestingCode {
    call: Call<DeviceRequest>,
    pub(crate) operation: Option<Operation>,
}

impl RequestingCode {
    pub(crate) fn requested(&self) -> &Scopes {
        &self.call.grant().requested
    }

    pub(crate) fn begin(core: &mut Core, agreed: Agreed, at: AtIssuer<Registration>) -> Step {
        let Agreed {
            operation,
            permit: _counted,
            chosen,
        } = agreed;
        let Chosen {
            scopes,
            added_offline_access,
            binding,
            resource,
        } = chosen;
        core.memory.operation.clone_from(&operation);
        let created = core.now.wall;
        let beside_account = core.held.at.is_some();
        let at = at.then(|known| DeviceRequest {
            client: known.client,
            resource,
            requested: scopes,
            added_offline_access,
            binding,
            beside_account,
            created,
        });
        let call = Call::begin(core, at, Budget::new(1, Limited::Requests));
        Self::called(core, call, operation)
    }

    pub(crate) fn ask(&self) -> &Ask {
        &self.call.ask
    }

    pub(crate) fn replied(self, core: &mut Core, outcome: Outcome) -> Step {
        let called = self.call.replied(core, outcome);
        Self::called(core, called, self.operation)
    }

    pub(crate) fn signed(self, core: &mut Core, token: Option<Secret>) -> Step {
        let called = self.call.signed(core, token);
        Self::called(core, called, self.operation)
    }

    fn called(
        core: &mut Core,
        called: Called<DeviceRequest>,
        operation: Option<Operation>,
    ) -> Step {
        let (at, response, from) = match called {
            Called::Again(call) => return wait_in(Work::RequestingCode(Self { call, operation })),
            Called::Answered(at, response, from) => (at, response, from),
            Called::Failed(at, flaw) => {
                let cause = match flaw {
                    CallFlaw::Unreachable => Cause::unreachable(None),
                    CallFlaw::Final(cause) => cause,
                };
                not_shown(core, &cause);
                return Err(fails(Stage::Authorization, operation, at.issuer(), cause));
            }
        };
        match answered(core, &at, &response) {
            Ok(answer) => {
                Pending::show(core, at, answer, operation, from);
                done()
            }
            Err((error, cause)) => {
                not_shown(core, &cause);
                let failure = fails(Stage::Authorization, operation, at.issuer(), cause);
                let added_offline_access = at.held().added_offline_access;
                refused(core, &at, error, added_offline_access, failure)
            }
        }
    }
}

/// Returns the codes, or the error with its cause.
fn answered(
    core: &Core,
    at: &AtIssuer<DeviceRequest>,
    response: &Response<Bytes>,
) -> Result<DeviceAnswer, (Option<OAuthError>, Cause)> {
    let status = response.status().as_u16();
    if is_transient(status) {
        return Err((None, Cause::unreachable(retry_at(core, response))));
    }
    if let Some((error, code, description)) = refusal(response.body()) {
        return Err((Some(error), at.refused(error, Some(code), description)));
    }
    let violation = |violation| (None, Cause::Violation(violation));
    let answer = read(status, response.body(), core.config().url_policy())
        .map_err(|flaw| violation(Violation::Device(flaw)))?;
    let page = &answer.verification_uri;
    let settings = core.config().settings(at.issuer());
    let pinned = settings.verification_origin.as_deref() == Some(page.origin());
    // The code of another server would sign the user in there for whoever requested it (DEV-05).
    if !at.issuer().is_at_origin_of(page.borrowed()) && !pinned {
        let page = page.clone();
        return Err(violation(Violation::VerificationOrigin { page }));
    }
    Ok(answer)
}

/// Where the server could not be reached, the attempt counts for nothing (STEP-07).
fn not_shown(core: &mut Core, cause: &Cause) {
    if matches!(cause, Cause::Unreachable(_)) {
        core.memory.give_back();
    }
}

impl Pending {
    /// Shows the code to the user, and waits (DEV-06).
    fn show(
        core: &mut Core,
        at: AtIssuer<DeviceRequest>,
        answer: DeviceAnswer,
        operation: Option<Operation>,
        from: Moment,
    ) {
        let user_time = core.config().user_time;
        let lifetime = match answer.lifetime {
            Lifetime::Seconds(seconds) => Duration::from_secs(seconds).min(user_time),
            Lifetime::Unknown => user_time,
        };
        // A server cannot cause more polls than the budget allows (DEV-08).
        let shortest = lifetime
            .checked_div(u32::from(POLLS_PER_CODE))
            .unwrap_or(POLL_INTERVAL)
            .max(Duration::from_secs(1));
        let interval = answer
            .interval
            .clamp(shortest, LONGEST_INTERVAL.max(shortest));
        let shown = core.now.mono;
        let pending = Self {
            rest: Box::new(Waits {
                operation,
                user_code: answer.user_code,
                page: answer.verification_uri,
                complete: answer.complete,
                new_issuer: is_new(core, at.issuer()),
                expires: UnixMillis(from.wall.0.saturating_add(millis(lifetime))),
                until: from.mono.plus(lifetime),
                repeated_until: from.mono.plus(half(lifetime)),
                interval,
                next: shown.plus(interval),
                polls: Budget::new(POLLS_PER_CODE, Limited::UserTime),
            }),
            at: at.issued(answer.device_code),
        };
        pending.emit(core);
        core.device = Some(Box::new(pending));
    }

    /// Shows the code, also again when the host asks once more (AUTHZ-18).
    pub(crate) fn emit(&self, core: &mut Core) {
        let Self { at, rest } = self;
        let request = &at.held().request;
        let browser_url = |url: &WebUrl| BrowserUrl(plain(url.as_str()).into());
        let shown = ShowCode {
            user_code: rest.user_code.clone(),
            verification_uri: browser_url(&rest.page),
            verification_uri_complete: rest.complete.as_ref().map(browser_url),
            issuer: at.issuer().clone(),
            mcp_host: core.mcp_host(),
            client_id: (*request.client.id).into(),
            scopes: request.requested.clone(),
            new_issuer: rest.new_issuer,
            expires: rest.expires,
        };
        core.emit(Action::ShowCode(Box::new(shown)));
    }

    /// Polls the token endpoint (RFC 8628 section 3.4).
    pub(crate) fn poll(mut self, core: &mut Core) -> Step {
        if let Err(limited) = self.rest.polls.take() {
            let cause = Cause::OutOfPatience(limited);
            return self.fails(Stage::Authorization, cause);
        }
        let Self { at, rest } = self;
        let requests = requests_for(&at);
        let call = Call::begin(core, at, requests);
        Polling::called(core, call, rest)
    }

    /// Waits for the next poll: the interval, or what the server asked for if that is longer.
    fn wait(mut self, core: &mut Core, asked: Option<Duration>) -> Step {
        let wait = self.rest.interval.max(asked.unwrap_or_default());
        self.rest.next = core.now.mono.plus(wait);
        core.device = Some(Box::new(self));
        done()
    }

    /// Waits longer after each failure (RFC 8628 section 3.5).
    fn back_off(mut self, core: &mut Core, asked: Option<Duration>) -> Step {
        let doubled = self.rest.interval.saturating_mul(2);
        self.rest.interval = doubled.min(LONGEST_INTERVAL.max(self.rest.interval));
        self.wait(core, asked)
    }

    fn slower(mut self, core: &mut Core, asked: Option<Duration>) -> Step {
        self.rest.interval = self.rest.interval.saturating_add(SLOWER);
        self.wait(core, asked)
    }

    fn fails(self, stage: Stage, cause: Cause) -> Step {
        Err(fails(stage, self.rest.operation, self.at.issuer(), cause))
    }
}

/// Waits for the response to one poll.
pub(crate) struct Polling {
    call: Call<DeviceGrant>,
    rest: Box<Waits>,
}

impl Polling {
    pub(crate) fn ask(&self) -> &Ask {
        &self.call.ask
    }

    pub(crate) fn operation(&self) -> Option<&Operation> {
        self.rest.operation.as_ref()
    }

    /// Returns the pending action and the grant, for a response that arrives after the flow was dropped.
    pub(crate) fn into_grant(self) -> (Ask, AtIssuer<DeviceGrant>) {
        self.call.into_grant()
    }

    pub(crate) fn replied(self, core: &mut Core, outcome: Outcome) -> Step {
        let called = self.call.replied(core, outcome);
        Self::called(core, called, self.rest)
    }

    pub(crate) fn signed(self, core: &mut Core, token: Option<Secret>) -> Step {
        let called = self.call.signed(core, token);
        Self::called(core, called, self.rest)
    }

    fn called(core: &mut Core, called: Called<DeviceGrant>, rest: Box<Waits>) -> Step {
        match called {
            Called::Again(call) => wait_in(Work::Polling(Self { call, rest })),
            Called::Answered(at, response, from) => {
                Pending { at, rest }.answered(core, &response, from)
            }
            Called::Failed(at, CallFlaw::Unreachable) => Pending { at, rest }.back_off(core, None),
            Called::Failed(at, CallFlaw::Final(cause)) => {
                Pending { at, rest }.fails(Stage::Token, cause)
            }
        }
    }
}

impl Pending {
    /// Continues with the answer to a poll (RFC 8628 section 3.5).
    fn answered(self, core: &mut Core, response: &Response<Bytes>, from: Moment) -> Step {
        let asked =
            retry_after(response.headers(), core.now.wall.seconds()).map(Duration::from_secs);
        let requested = &self.at.held().request.requested;
        match read_answer_for(core, response, Some(requested)) {
            TokenAnswer::Granted(granted) => {
                let request = &self.at.held().request;
                let (begun, beside) = (request.created, request.beside_account);
                core.memory.operation = self.rest.operation;
                // The user has signed out in another process, as a read has shown since (REFR-12).
                if beside && core.held.revision.is_none() {
                    core.signed_out_elsewhere(core.memory.operation.clone());
                    let at = self.at.redeemed(granted, core.now);
                    return Revoking::begin(core, at, None);
                }
                let kept = Kept::Authorized {
                    begun,
                    beside,
                    over: core.held.authorization(),
                };
                let redeem = |at: AtIssuer<DeviceGrant>, granted| at.redeemed(granted, from);
                keep(core, self.at, granted, kept, redeem)
            }
            TokenAnswer::Refused {
                error: OAuthError::AuthorizationPending,
                ..
            } => self.wait(core, asked),
            TokenAnswer::Refused {
                error: OAuthError::SlowDown,
                ..
            } => self.slower(core, asked),
            TokenAnswer::Refused {
                error: OAuthError::ServerError | OAuthError::TemporarilyUnavailable,
                ..
            } => self.back_off(core, asked),
            TokenAnswer::Refused {
                error,
                code,
                description,
            } => {
                let Self { at, rest } = self;
                let cause = at.refused(error, Some(code), description);
                let failure = fails(Stage::Token, rest.operation, at.issuer(), cause);
                core.memory.operation.clone_from(&failure.operation);
                if error == OAuthError::AccessDenied {
                    core.declined();
                }
                let added_offline_access = at.held().request.added_offline_access;
                refused(core, &at, Some(error), added_offline_access, failure)
            }
            TokenAnswer::Unusable(tokens) => {
                core.memory.operation = self.rest.operation;
                discard(core, self.at, *tokens, AtIssuer::<DeviceGrant>::redeemed)
            }
            TokenAnswer::Unexpected(UnexpectedToken::Status(status)) if is_transient(status) => {
                self.back_off(core, asked)
            }
            TokenAnswer::Unexpected(flaw) => {
                self.fails(Stage::Token, Cause::Violation(Violation::Token(flaw)))
            }
        }
    }
}

/// Handles a refusal like one of the token endpoint: a client that the server forgot is replaced (TOK-19), and
/// rejected scopes are omitted once.
fn refused<G: TokenGrant>(
    core: &mut Core,
    at: &AtIssuer<G>,
    error: Option<OAuthError>,
    added_offline_access: bool,
    failure: Failure,
) -> Step {
    core.memory.operation.clone_from(&failure.operation);
    if error == Some(OAuthError::InvalidScope)
        && let Some(why) = without_refused_scopes(core, added_offline_access)
    {
        return After::Ask(why).run(core);
    }
    let dynamic = at.held().client().origin == ClientOrigin::Dynamic;
    if dynamic && error.is_some_and(OAuthError::refuses_client) {
        return client_refused(core, at, GrantType::DeviceCode.as_str(), failure);
    }
    Err(failure)
}

impl AtIssuer<DeviceGrant> {
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

fn retry_at(core: &Core, response: &Response<Bytes>) -> Option<UnixMillis> {
    let now = core.now.wall;
    retry_after(response.headers(), now.seconds()).map(|seconds| now.plus_seconds(seconds))
}

fn fails(stage: Stage, operation: Option<Operation>, issuer: &IssuerId, cause: Cause) -> Failure {
    Failure {
        operation,
        stage,
        issuer: Some(issuer.clone()),
        cause,
        seen: Vec::new(),
    }
}
