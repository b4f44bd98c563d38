//! Pushed authorization requests (AUTHZ-20, AUTHZ-21): the parameters go to the server directly, and
//! the user's browser carries a reference alone.

use bytes::Bytes;
use http::Response;
use serde::Deserialize;

use crate::budget::{Budget, Limited};
use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, Stage, Unreachable, Violation};
use crate::event::{Operation, Outcome};
use crate::grant::{Redirected, TokenGrant};
use crate::issuer::AtIssuer;
use crate::secret::Secret;
use crate::state::call::{Call, CallFlaw, Called};
use crate::state::redirect::WaitingParts;
use crate::state::{Step, Work};
use crate::wire::json::{Text, object};
use crate::wire::token::{UnexpectedToken, refusal};

/// Waits for the reference. The record of the attempt is durable already.
pub(crate) struct Pushing {
    call: Call<Redirected>,
    rest: Box<WaitingParts>,
    operation: Option<Operation>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PushedDocument<'a> {
    #[serde(borrow)]
    request_uri: Text<'a>,
}

/// Longest reference.
const MAX_REFERENCE_BYTES: usize = 2_048;

impl Pushing {
    pub(crate) fn begin(
        core: &mut Core,
        at: AtIssuer<Redirected>,
        rest: Box<WaitingParts>,
        operation: Option<Operation>,
    ) -> Step {
        let requests = match at.held().binding() {
            None => 1,
            Some(_) => 2,
        };
        let call = Call::begin(core, at, Budget::new(requests, Limited::Requests));
        Self::called(core, call, rest, operation)
    }

    pub(crate) fn ask(&self) -> &Ask {
        &self.call.ask
    }

    pub(crate) fn replied(self, core: &mut Core, outcome: Outcome) -> Step {
        let called = self.call.replied(core, outcome);
        Self::called(core, called, self.rest, self.operation)
    }

    pub(crate) fn signed(self, core: &mut Core, token: Option<Secret>) -> Step {
        let called = self.call.signed(core, token);
        Self::called(core, called, self.rest, self.operation)
    }

    fn called(
        core: &mut Core,
        called: Called<Redirected>,
        rest: Box<WaitingParts>,
        operation: Option<Operation>,
    ) -> Step {
        let (at, cause) = match called {
            Called::Again(call) => {
                return Ok(Work::Pushing(Self {
                    call,
                    rest,
                    operation,
                }));
            }
            Called::Answered(at, response) => match reference(&at, &response) {
                Ok(reference) => {
                    rest.wait(core, at, &reference);
                    return Ok(Work::Idle);
                }
                Err(cause) => (at, cause),
            },
            Called::Failed(at, CallFlaw::Unreachable) => {
                let cause = Cause::Unreachable(Unreachable {
                    code_spent: false,
                    retry_at: None,
                });
                (at, cause)
            }
            Called::Failed(at, CallFlaw::Final(cause)) => (at, cause),
        };
        // Nobody was sent away with it.
        core.persist(rest.slot, Some(rest.revision), None, None);
        Err(Failure {
            operation,
            stage: Stage::Authorization,
            issuer: Some(at.issuer().clone()),
            cause,
        })
    }
}

/// The reference, which is all that the browser is to carry.
fn reference(at: &AtIssuer<Redirected>, response: &Response<Bytes>) -> Result<Box<str>, Cause> {
    if let Some((error, code, description)) = refusal(response.body()) {
        return Err(at.refused(error, Some(code), description));
    }
    let status = response.status().as_u16();
    let document = object::<PushedDocument<'_>>(response.body()).ok();
    let found = document
        .as_ref()
        .and_then(|document| document.request_uri.non_empty())
        .filter(|uri| matches!(status, 200 | 201) && uri.len() <= MAX_REFERENCE_BYTES);
    match found {
        Some(uri) => Ok(uri.into()),
        None => Err(Cause::Violation(Violation::Token(UnexpectedToken::Status(
            status,
        )))),
    }
}
