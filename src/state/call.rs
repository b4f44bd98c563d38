//! One request with client authentication: sign what needs a signature, send, and send once more when the
//! server requires its nonce in the proof (DPOP-07, DPOP-10).

use bytes::Bytes;
use http::Response;

use crate::action::{Purpose, ToSign, UrlSource};
use crate::budget::{Budget, LEASE_RESERVE, Limited, SIGN_TIME, TOKEN_TIME};
use crate::config::TokenAnswers;
use crate::core::{Ask, Core};
use crate::error::{Cause, Misconfiguration, Violation};
use crate::event::{Outcome, nonce};
use crate::grant::{ClientMethod, TokenGrant, standard_answer};
use crate::issuer::{AtIssuer, CredentialEndpoint, Endpoint};
use crate::key::KeyBinding;
use crate::report::Decision;
use crate::secret::Secret;
use crate::state::post::{NoAnswer, answer};
use crate::time::Moment;
use crate::wire::jwt::ProofSubject;
use crate::wire::token::{OAuthError, refusal};

/// A request that is being signed or sent.
pub(crate) struct Call<G> {
    pub(crate) ask: Ask,
    at: Box<AtIssuer<G>>,
    requests: Budget,
    step: CallStep,
    /// The server's nonce has been added once already.
    with_nonce: bool,
    /// The end of the lease that the request needs: no request is sent that may outlive it (D01).
    lease: Option<Moment>,
}

enum CallStep {
    SigningAssertion,
    SigningProof {
        assertion: Option<Secret>,
    },
    /// Sent at this time.
    Sent(Moment),
}

/// The progress of a [`Call`].
pub(crate) enum Called<G> {
    /// The call waits for another signature or response.
    Again(Call<G>),
    /// The endpoint responded. The lifetime of its tokens counts from this moment, at which the request was sent (SEC-35).
    Answered(AtIssuer<G>, Response<Bytes>, Moment),
    /// No response, or one that breaks a rule.
    Failed(AtIssuer<G>, CallFlaw),
}

pub(crate) enum CallFlaw {
    /// No usable response; the server may have received the request.
    Unreachable,
    /// A violation, or a signature that the host could not make: see the cause.
    Final(Cause),
}

impl<G: TokenGrant> Call<G> {
    /// Starts with the required signatures. The caller supplies the request budget.
    pub(crate) fn begin(core: &mut Core, at: AtIssuer<G>, requests: Budget) -> Called<G> {
        Self::begin_within(core, at, requests, None)
    }

    /// Starts a request that ends before this lease does.
    pub(crate) fn begin_within(
        core: &mut Core,
        at: AtIssuer<G>,
        requests: Budget,
        lease: Option<Moment>,
    ) -> Called<G> {
        let call = Self {
            ask: core.nobody(),
            at: Box::new(at),
            requests,
            step: CallStep::SigningAssertion,
            with_nonce: false,
            lease,
        };
        call.authenticate(core)
    }

    pub(crate) fn grant(&self) -> &G {
        self.at.held()
    }

    /// Returns when the request was sent, if it is in flight.
    pub(crate) fn sent(&self) -> Option<Moment> {
        match self.step {
            CallStep::Sent(at) => Some(at),
            CallStep::SigningAssertion | CallStep::SigningProof { .. } => None,
        }
    }

    /// Returns the pending action and the grant, for a response that arrives after the flow was dropped.
    pub(crate) fn into_grant(self) -> (Ask, AtIssuer<G>) {
        (self.ask, *self.at)
    }

    fn authenticate(mut self, core: &mut Core) -> Called<G> {
        let client = self.at.held().client();
        let ClientMethod::PrivateKeyJwt(key) = &client.method else {
            return self.prove(core, None);
        };
        let wanted = core.config().settings(self.at.issuer());
        let audience = self.at.server().client_audience(G::ENDPOINT, wanted);
        let issuer = self.at.issuer();
        let renamed = audience.as_str() != issuer.as_str();
        let subject = ToSign::Assertion {
            client_id: client.id.clone(),
            audience,
            kid: key.kid.clone(),
            unix_seconds: core.now.wall.seconds(),
        };
        let (name, algorithm) = (std::sync::Arc::clone(&key.name), key.algorithm);
        if renamed {
            core.report(|| Decision::SettingApplied {
                issuer: issuer.clone(),
                setting: "client_assertion_audience",
            });
        }
        self.ask = core.sign(name, algorithm, subject, SIGN_TIME);
        self.step = CallStep::SigningAssertion;
        Called::Again(self)
    }

    fn prove(mut self, core: &mut Core, assertion: Option<Secret>) -> Called<G> {
        let Some(binding) = self.at.held().binding() else {
            return self.send(core, assertion, None);
        };
        let Some(endpoint) = self.at.endpoint() else {
            return self.send(core, assertion, None);
        };
        let Some(key) = core.config().key_of(binding) else {
            let cause = Cause::Misconfigured(Misconfiguration::KeyMissing);
            return Called::Failed(*self.at, CallFlaw::Final(cause));
        };
        let KeyBinding { algorithm, .. } = *binding;
        let (name, jwk) = (std::sync::Arc::clone(&key.name), key.jwk());
        let subject = ToSign::Proof(Box::new(ProofSubject {
            jwk,
            algorithm,
            method: "POST".into(),
            url: endpoint.as_str().into(),
            ath: None,
            nonce: core.memory.nonces.of(endpoint.origin()),
            unix_seconds: core.now.wall.seconds(),
        }));
        self.ask = core.sign(name, algorithm, subject, SIGN_TIME);
        self.step = CallStep::SigningProof { assertion };
        Called::Again(self)
    }

    /// Continues with the host's signature; `None`: the host could not sign.
    pub(crate) fn signed(mut self, core: &mut Core, token: Option<Secret>) -> Called<G> {
        let Some(token) = token else {
            let cause = Cause::Misconfigured(Misconfiguration::SignerFailed);
            return Called::Failed(*self.at, CallFlaw::Final(cause));
        };
        match std::mem::replace(&mut self.step, CallStep::SigningAssertion) {
            CallStep::SigningAssertion => self.prove(core, Some(token)),
            CallStep::SigningProof { assertion } => self.send(core, assertion, Some(token)),
            sent @ CallStep::Sent(_) => Called::Again(Self { step: sent, ..self }),
        }
    }

    fn send(
        mut self,
        core: &mut Core,
        assertion: Option<Secret>,
        proof: Option<Secret>,
    ) -> Called<G> {
        let left = match self.lease {
            Some(until) => core.now.left_until(until).saturating_sub(LEASE_RESERVE),
            None => TOKEN_TIME,
        };
        let permit = match self.requests.take() {
            _ if left.is_zero() => Err(Limited::FlowTime),
            permit => permit,
        };
        let permit = match permit {
            Ok(permit) => permit,
            Err(limited) => {
                let cause = Cause::OutOfPatience(limited);
                return Called::Failed(*self.at, CallFlaw::Final(cause));
            }
        };
        let settings = core.config().settings(self.at.issuer());
        let headers = &core.config().request_headers;
        let request = self
            .at
            .request(headers, settings, assertion.as_ref(), proof.as_ref());
        let Some(request) = request else {
            let cause = Cause::Violation(Violation::NoEndpoint);
            return Called::Failed(*self.at, CallFlaw::Final(cause));
        };
        let purpose = match G::ENDPOINT {
            Endpoint::Token => Purpose::Token,
            Endpoint::Revocation => Purpose::Revocation,
            Endpoint::PushedAuthorization => Purpose::PushedAuthorization,
            Endpoint::Registration => Purpose::Registration,
            Endpoint::DeviceAuthorization => Purpose::DeviceAuthorization,
        };
        let source = UrlSource::AuthorizationServer;
        let time = TOKEN_TIME.min(left);
        self.ask = core.send(permit, request, purpose, source, time);
        self.step = CallStep::Sent(core.now);
        Called::Again(self)
    }

    /// Continues with the response. A response during signing belongs to no request and counts as a failed
    /// signature.
    pub(crate) fn replied(self, core: &mut Core, outcome: Outcome) -> Called<G> {
        let Some(sent) = self.sent() else {
            return self.signed(core, None);
        };
        // The server decides the lifetime after it has received the request. The answer may have waited for hours, in a process that
        // was suspended: the monotonic clock of most systems does not count that time.
        let from = sent.seen_from(core.now);
        let response = match answer_to(core, &self.at, outcome) {
            Ok(response) => response,
            Err(none) => {
                let endpoint = self.at.endpoint().map(CredentialEndpoint::as_str);
                let flaw = match none.at(endpoint.unwrap_or_default()) {
                    None => CallFlaw::Unreachable,
                    Some(flaw) => CallFlaw::Final(Cause::Violation(flaw)),
                };
                return Called::Failed(*self.at, flaw);
            }
        };
        let found = nonce(response.headers());
        if let (Some(nonce), Some(endpoint)) = (&found, self.at.endpoint()) {
            let origin = endpoint.origin().to_owned();
            core.memory.nonces.keep(&origin, nonce.clone());
        }
        let refused = refusal(response.body()).map(|(error, _, _)| error);
        if refused == Some(OAuthError::InvalidDpopProof) {
            core.compare_clocks(response.headers());
        }
        if let Some(OAuthError::InvalidClient | OAuthError::UnsupportedGrantType) = refused {
            core.doubt();
        }
        let wants_nonce = self.at.held().binding().is_some()
            && response.status().as_u16() != 200
            && refused == Some(OAuthError::UseDpopNonce);
        if wants_nonce && found.is_some() && !self.with_nonce {
            // The same grant with new signatures: `use_dpop_nonce` consumes nothing at the server (RFC 9449
            // section 8).
            let again = Self {
                with_nonce: true,
                ..self
            };
            return again.authenticate(core);
        }
        Called::Answered(*self.at, response, from)
    }
}

/// Returns the number of requests for a grant: one, and one more where its proof may need the server's nonce.
pub(crate) fn requests_for<G: TokenGrant>(at: &AtIssuer<G>) -> Budget {
    let requests = match at.held().binding() {
        None => 1,
        Some(_) => 2,
    };
    Budget::new(requests, Limited::Requests)
}

/// Reads the response to a grant's request as standard JSON (QUIRK-06, QUIRK-07).
pub(crate) fn answer_to<G: TokenGrant>(
    core: &Core,
    at: &AtIssuer<G>,
    outcome: Outcome,
) -> Result<Response<Bytes>, NoAnswer> {
    let response = answer(outcome, |url| at.is_endpoint(url))?;
    let spelled = match G::ENDPOINT {
        Endpoint::Token => core.config().settings(at.issuer()).token_answers,
        Endpoint::Revocation
        | Endpoint::PushedAuthorization
        | Endpoint::Registration
        | Endpoint::DeviceAuthorization => TokenAnswers::Json,
    };
    Ok(response.map(|body| standard_answer(spelled, body)))
}
