//! Pushed authorization requests (AUTHZ-20, AUTHZ-21): the parameters are sent to the server directly, and
//! the browser carries a reference only.

use bytes::Bytes;
use http::Response;
use serde::Deserialize;

use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, Stage, Violation};
use crate::event::{Operation, Outcome};
use crate::grant::{ClientOrigin, Redirected};
use crate::issuer::AtIssuer;
use crate::secret::Secret;
use crate::slot::{Revision, Slot};
use crate::state::call::{Call, CallFlaw, Called, requests_for};
use crate::state::sign_in::scopes::without_refused_scopes;
use crate::state::sign_out::forget::client_refused;
use crate::state::{Step, Work, done, wait_in};
use crate::suspended::{After, Waiting, WaitingParts};
use crate::wire::http_fields::{is_transient, retry_after};
use crate::wire::json::{Text, object};
use crate::wire::token::{OAuthError, UnexpectedToken, refusal};

/// Waits for the reference. The pending record is durable already.
pub(crate) struct Pushing {
    call: Call<Redirected>,
    rest: Box<WaitingParts>,
    pub(crate) operation: Option<Operation>,
    sent_away: SentAway,
}

/// Whether the user may be at the authorization server already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SentAway {
    NotYet,
    /// The redirect is repeated: an authorization that is open in the browser outlives a failure of this one.
    Before,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PushedDocument<'a> {
    #[serde(borrow)]
    request_uri: Text<'a>,
}

/// Longest `request_uri`, in bytes.
const MAX_REFERENCE_BYTES: usize = 2_048;

impl Pushing {
    pub(crate) fn begin(
        core: &mut Core,
        at: AtIssuer<Redirected>,
        rest: Box<WaitingParts>,
        operation: Option<Operation>,
        sent_away: SentAway,
    ) -> Step {
        let requests = requests_for(&at);
        let call = Call::begin(core, at, requests);
        Self::called(core, call, rest, operation, sent_away)
    }

    pub(crate) fn ask(&self) -> &Ask {
        &self.call.ask
    }

    /// Returns the authorization.
    pub(crate) fn redirected(&self) -> &Redirected {
        self.call.grant()
    }

    /// Returns the slot of an authorization without a redirect yet.
    pub(crate) fn slot(&self) -> (Slot, Revision) {
        (self.rest.slot, self.rest.revision)
    }

    pub(crate) fn replied(self, core: &mut Core, outcome: Outcome) -> Step {
        let called = self.call.replied(core, outcome);
        Self::called(core, called, self.rest, self.operation, self.sent_away)
    }

    pub(crate) fn signed(self, core: &mut Core, token: Option<Secret>) -> Step {
        let called = self.call.signed(core, token);
        Self::called(core, called, self.rest, self.operation, self.sent_away)
    }

    fn called(
        core: &mut Core,
        called: Called<Redirected>,
        rest: Box<WaitingParts>,
        operation: Option<Operation>,
        sent_away: SentAway,
    ) -> Step {
        let (at, cause) = match called {
            Called::Again(call) => {
                return wait_in(Work::Pushing(Self {
                    call,
                    rest,
                    operation,
                    sent_away,
                }));
            }
            Called::Answered(at, response, _) => match reference(core, &at, &response) {
                Ok(reference) => {
                    rest.wait(core, at, &reference);
                    return done();
                }
                Err((Some(error), cause)) => {
                    not_sent_away(core, &rest, &cause);
                    return refused(core, &at, error, fails(operation, &at, cause));
                }
                Err((None, cause)) => (at, cause),
            },
            Called::Failed(at, CallFlaw::Unreachable) => (at, Cause::unreachable(None)),
            Called::Failed(at, CallFlaw::Final(cause)) => (at, cause),
        };
        let failure = fails(operation, &at, cause);
        match sent_away {
            SentAway::NotYet => not_sent_away(core, &rest, &failure.cause),
            SentAway::Before => core.waiting = Some(Box::new(Waiting { at, rest: *rest })),
        }
        Err(failure)
    }
}

/// The record is of no use; and where the server could not be reached, the attempt counts for nothing (STEP-07).
fn not_sent_away(core: &mut Core, rest: &WaitingParts, cause: &Cause) {
    core.persist(rest.slot, Some(rest.revision), None, None);
    if matches!(cause, Cause::Unreachable(_)) {
        core.memory.give_back();
    }
}

fn fails(operation: Option<Operation>, at: &AtIssuer<Redirected>, cause: Cause) -> Failure {
    Failure {
        operation,
        stage: Stage::Authorization,
        issuer: Some(at.issuer().clone()),
        cause,
        seen: Vec::new(),
    }
}

/// Handles a refusal like one of the token endpoint (AUTHZ-21): a client that the server forgot is replaced
/// (TOK-19), and rejected scopes are omitted once.
fn refused(
    core: &mut Core,
    at: &AtIssuer<Redirected>,
    error: OAuthError,
    failure: Failure,
) -> Step {
    let parts = &at.held().0;
    core.memory.operation.clone_from(&failure.operation);
    if error == OAuthError::InvalidScope
        && let Some(why) = without_refused_scopes(core, parts.added_offline_access)
    {
        return After::Ask(why).run(core);
    }
    if error.refuses_client() && parts.client.origin == ClientOrigin::Dynamic {
        return client_refused(core, at, parts.redirect_uri.as_str(), failure);
    }
    Err(failure)
}

/// Returns the `request_uri`, or the refusal in the token endpoint's format with its cause.
fn reference(
    core: &Core,
    at: &AtIssuer<Redirected>,
    response: &Response<Bytes>,
) -> Result<Box<str>, (Option<OAuthError>, Cause)> {
    let status = response.status().as_u16();
    if is_transient(status) {
        let now = core.now.wall;
        let retry_at =
            retry_after(response.headers(), now.seconds()).map(|seconds| now.plus_seconds(seconds));
        return Err((None, Cause::unreachable(retry_at)));
    }
    if let Some((error, code, description)) = refusal(response.body()) {
        return Err((Some(error), at.refused(error, Some(code), description)));
    }
    let document = object::<PushedDocument<'_>>(response.body()).ok();
    let found = document
        .as_ref()
        .and_then(|document| document.request_uri.non_empty())
        .filter(|uri| matches!(status, 200 | 201) && uri.len() <= MAX_REFERENCE_BYTES);
    match found {
        Some(uri) => Ok(uri.into()),
        None => {
            let flaw = UnexpectedToken::Status(status);
            Err((None, Cause::Violation(Violation::Token(flaw))))
        }
    }
}
