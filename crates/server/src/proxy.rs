//! A proxy in front of an authorization server that registers nobody: one client upstream, many clients
//! here, and a consent of its own for each of them before anything is forwarded (AS-16, SEC-27).
//!
//! Three steps, each of which needs the result of the previous one: [`UpstreamProxy::ask`] returns the
//! consent page, [`UpstreamProxy::approve`] takes its form and returns the redirect upstream, and
//! [`PendingUpstream::complete`] takes the callback. Consent is required each time; consent on another page
//! or for another client does not count.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use ring::hmac;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;

use super::authorization_error::AuthorizationError;
use super::client_auth::TokenForm;
use super::client_request::ClientRequest;
use super::consent::{consent_page, cookie};
use super::issuer::{IssuerError, check, check_endpoint};
use super::upstream::PendingUpstream;

/// The time limit for the user, at the consent page and upstream.
pub const CONSENT_LIFETIME: Duration = Duration::from_secs(600);
/// The parameters that the proxy sends upstream itself.
const OWN: [&str; 7] = [
    "client_id",
    "code_challenge",
    "code_challenge_method",
    "redirect_uri",
    "response_type",
    "scope",
    "state",
];

/// The reason why a step of the proxy fails. Where it holds a request, redirect to its client; otherwise
/// show a page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The form was not created by this proxy, for this browser, within ten minutes.
    #[error("the consent was not given on a page of this proxy in this browser")]
    Consent,
    /// The user declined: the client receives `access_denied`.
    #[error("the user declined")]
    Declined(Box<ClientRequest>),
    /// The callback does not belong to this pending authorization, in this browser, within ten minutes.
    #[error("the callback does not belong to an authorization that was approved in this browser")]
    Callback,
    /// The callback names another issuer, or none although the upstream server sends it.
    #[error("the callback is of another issuer")]
    Issuer,
    /// The upstream server responded with an error: the client receives this one.
    #[error("the upstream server answered with an error")]
    Upstream(Box<ClientRequest>, AuthorizationError),
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    request: ClientRequest,
    browser: String,
    until: u64,
}

/// The client at the upstream server, and the key of consent pages.
#[derive(Clone)]
pub struct UpstreamProxy {
    issuer: Box<str>,
    endpoint: Url,
    client_id: Box<str>,
    callback: Box<str>,
    sends_iss: bool,
    key: hmac::Key,
}

impl UpstreamProxy {
    /// Creates a proxy from the upstream issuer and its authorization endpoint, the client there, the
    /// proxy's callback registered there, and 32 random bytes that all instances share.
    ///
    /// # Errors
    /// [`IssuerError`] for an invalid issuer, endpoint or callback.
    pub fn new(
        issuer: &str,
        endpoint: &str,
        client_id: &str,
        callback: &str,
        secret: &[u8; 32],
    ) -> Result<Self, IssuerError> {
        check(issuer)?;
        let endpoint = check_endpoint(endpoint)?;
        // Of a parameter that comes twice, the upstream server may take the other one.
        if endpoint
            .query_pairs()
            .any(|(name, _)| OWN.contains(&&*name))
        {
            return Err(IssuerError::Parts);
        }
        check(callback)?;
        Ok(Self {
            issuer: issuer.into(),
            endpoint,
            client_id: client_id.into(),
            callback: callback.into(),
            sends_iss: false,
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
        })
    }

    /// Whether a response of the upstream server is of the configured issuer.
    pub(super) fn is_issuer(&self, iss: Option<&str>) -> bool {
        match iss {
            Some(iss) => *iss == *self.issuer,
            None => !self.sends_iss,
        }
    }

    /// Requires `iss` in responses of the upstream server.
    #[must_use]
    pub fn upstream_sends_iss(mut self) -> Self {
        self.sends_iss = true;
        self
    }

    /// Returns the consent page for a client. Its form is posted to `action`, a path of this proxy.
    /// `random` is 32 new random bytes; `now` is the time since the Unix epoch.
    pub fn ask(
        &self,
        request: &ClientRequest,
        action: &str,
        random: &[u8; 32],
        now: Duration,
    ) -> Response<String> {
        let browser = URL_SAFE_NO_PAD.encode(random);
        let sealed = self.seal(&Sealed {
            request: request.clone(),
            browser: browser.clone(),
            until: now.saturating_add(CONSENT_LIFETIME).as_secs(),
        });
        consent_page(request, action, &browser, &sealed)
    }

    /// Handles the form of the consent page. Save the pending authorization before sending the redirect.
    /// `state` and `verifier` are 32 new random bytes each.
    ///
    /// # Errors
    /// [`ProxyError::Consent`] and [`ProxyError::Declined`].
    pub fn approve(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        (state, verifier): (&[u8; 32], &[u8; 32]),
        now: Duration,
    ) -> Result<(PendingUpstream, Response<String>), ProxyError> {
        let form = TokenForm::read(headers, body).map_err(|_| ProxyError::Consent)?;
        let sealed = form.get("request").and_then(|text| self.open(text));
        let sealed = sealed.ok_or(ProxyError::Consent)?;
        let browser = cookie(headers).ok_or(ProxyError::Consent)?;
        if browser != sealed.browser || now.as_secs() >= sealed.until {
            return Err(ProxyError::Consent);
        }
        match form.get("decision") {
            Some("approve") => {}
            Some(_) | None => return Err(ProxyError::Declined(Box::new(sealed.request))),
        }
        let state = URL_SAFE_NO_PAD.encode(state);
        let verifier = URL_SAFE_NO_PAD.encode(verifier);
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        let mut to = self.endpoint.clone();
        to.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client_id)
            .append_pair("redirect_uri", &self.callback)
            .append_pair("scope", sealed.request.scopes())
            .append_pair("state", &state)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        let mut response = Response::new(String::new());
        *response.status_mut() = StatusCode::SEE_OTHER;
        let headers = response.headers_mut();
        let to = HeaderValue::try_from(to.as_str()).map_err(|_| ProxyError::Consent)?;
        headers.insert(LOCATION, to);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let until = now.saturating_add(CONSENT_LIFETIME);
        let pending = PendingUpstream::new(sealed.request, browser, &state, verifier, until);
        Ok((pending, response))
    }

    fn seal(&self, sealed: &Sealed) -> String {
        let text = serde_json::to_vec(sealed).unwrap_or_default();
        let tag = hmac::sign(&self.key, &text);
        let (text, tag) = (URL_SAFE_NO_PAD.encode(text), URL_SAFE_NO_PAD.encode(tag));
        format!("{text}.{tag}")
    }

    fn open(&self, text: &str) -> Option<Sealed> {
        let (text, tag) = text.split_once('.')?;
        let (text, tag) = (
            URL_SAFE_NO_PAD.decode(text).ok()?,
            URL_SAFE_NO_PAD.decode(tag).ok()?,
        );
        hmac::verify(&self.key, &text, &tag).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

impl std::fmt::Debug for UpstreamProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamProxy")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}
