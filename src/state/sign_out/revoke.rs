//! The revocation of tokens where the server supports it (REV).

use bytes::Bytes;
use http::Response;

use crate::account::{Account, Revocation, TokenKind};
use crate::budget::{Budget, Limited};
use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, Misconfiguration, Stage};
use crate::event::Outcome;
use crate::grant::MethodFlaw;
use crate::issuer::{AtIssuer, Endpoint, IssuerId};
use crate::report::Decision;
use crate::secret::Secret;
use crate::state::call::{Call, CallFlaw, Called};
use crate::state::trigger::{Trigger, resume};
use crate::state::{Step, Work, wait_in};
use crate::wire::http_fields::{is_transient, retry_after};
use crate::wire::token::{OAuthError, refusal};

/// Revokes the refresh token, which normally ends the grant, then the access token (REV-02).
pub(crate) struct Revoking {
    call: Call<Revocation>,
    progress: Progress,
}

/// The failures so far, and what to continue with: further accounts, last first, and the event that waits.
struct Progress {
    failed: Option<Cause>,
    further: Vec<AtIssuer<Account>>,
    then: Option<Box<Trigger>>,
}

impl Revoking {
    /// Starts the revocation; a waiting event is handled afterwards.
    pub(crate) fn begin(
        core: &mut Core,
        at: AtIssuer<Account>,
        then: Option<Box<Trigger>>,
    ) -> Step {
        let progress = Progress {
            failed: None,
            further: Vec::new(),
            then,
        };
        progress.revoke(core, at, TokenKind::RefreshToken)
    }

    /// Revokes the tokens of these accounts, the last one first.
    pub(crate) fn all(core: &mut Core, further: Vec<AtIssuer<Account>>) -> Step {
        let progress = Progress {
            failed: None,
            further,
            then: None,
        };
        progress.next(core)
    }

    pub(crate) fn ask(&self) -> &Ask {
        &self.call.ask
    }

    /// The event that waits for the revocation.
    pub(crate) fn then(&mut self) -> &mut Option<Box<Trigger>> {
        &mut self.progress.then
    }

    /// Drops the waiting event.
    pub(crate) fn end(&mut self) {
        self.progress.then = None;
    }

    pub(crate) fn replied(self, core: &mut Core, outcome: Outcome) -> Step {
        let called = self.call.replied(core, outcome);
        self.progress.called(core, called)
    }

    pub(crate) fn signed(self, core: &mut Core, token: Option<Secret>) -> Step {
        let called = self.call.signed(core, token);
        self.progress.called(core, called)
    }
}

impl Progress {
    fn next(mut self, core: &mut Core) -> Step {
        match self.further.pop() {
            Some(at) => self.revoke(core, at, TokenKind::RefreshToken),
            None => resume(core, self.then),
        }
    }

    /// Revokes this token, or the next existing one, if the server has a revocation endpoint.
    fn revoke(self, core: &mut Core, at: AtIssuer<Account>, kind: TokenKind) -> Step {
        if !at.server().facts().endpoints.has(Endpoint::Revocation) {
            return self.next(core);
        }
        match at.revocation(kind) {
            Some(at) => {
                let call = Call::begin(core, at, Budget::new(1, Limited::Requests));
                self.called(core, call)
            }
            None => self.after(core, at, kind),
        }
    }

    fn after(mut self, core: &mut Core, at: AtIssuer<Account>, kind: TokenKind) -> Step {
        match kind {
            TokenKind::RefreshToken => self.revoke(core, at, TokenKind::AccessToken),
            TokenKind::AccessToken => {
                if let Some(cause) = self.failed.take() {
                    let failure = fails(at.issuer(), cause);
                    core.fail(failure);
                }
                self.next(core)
            }
        }
    }

    fn called(self, core: &mut Core, called: Called<Revocation>) -> Step {
        let (at, flaw) = match called {
            Called::Again(call) => {
                let progress = self;
                return wait_in(Work::Revoking(Revoking { call, progress }));
            }
            Called::Answered(at, response, _) => {
                let flaw = judge(core, &at, &response).err();
                (at, flaw)
            }
            Called::Failed(at, CallFlaw::Unreachable) => (at, Some(Cause::unreachable(None))),
            Called::Failed(at, CallFlaw::Final(cause)) => (at, Some(cause)),
        };
        let (issuer, kind) = (at.issuer().clone(), at.held().kind);
        core.report(|| Decision::Revoked {
            token: kind,
            refused: flaw.clone().map(|cause| Box::new(fails(&issuer, cause))),
            issuer,
        });
        let at = at.then(|revocation| revocation.account);
        let failed = self.failed.or(flaw);
        Self { failed, ..self }.after(core, at, kind)
    }
}

/// Checks the response: 200 is success unless the body is an OAuth error (REV-04).
fn judge(core: &Core, at: &AtIssuer<Revocation>, response: &Response<Bytes>) -> Result<(), Cause> {
    let status = response.status().as_u16();
    match status {
        200 if refusal(response.body()).is_none() => Ok(()),
        status if is_transient(status) => {
            let now = core.now.wall;
            Err(Cause::unreachable(
                retry_after(response.headers(), now.seconds())
                    .map(|seconds| now.plus_seconds(seconds)),
            ))
        }
        _other => {
            let (error, code, description) = match refusal(response.body()) {
                Some((error, code, description)) => (error, Some(code), description),
                None => (OAuthError::Other, None, None),
            };
            if error == OAuthError::InvalidClient && at.misses_a_method() {
                let flaw = MethodFlaw::NotForRevocation;
                return Err(Cause::Misconfigured(Misconfiguration::ClientMethod(flaw)));
            }
            Err(at.refused(error, code, description))
        }
    }
}

fn fails(issuer: &IssuerId, cause: Cause) -> Failure {
    Failure {
        operation: None,
        stage: Stage::Revocation,
        issuer: Some(issuer.clone()),
        cause,
        seen: Vec::new(),
    }
}
