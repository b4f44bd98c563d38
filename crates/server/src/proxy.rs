//! A proxy for an authorization server without registration: one client upstream, many clients here, with a
//! separate consent for each before a request is forwarded (AS-16, SEC-27).
//!
//! Three steps, each of which needs the result of the previous one: [`UpstreamProxy::ask`] returns the
//! consent page, [`UpstreamProxy::approve`] takes its form and returns the redirect upstream, and
//! [`PendingUpstream::complete`] takes the callback. Consent is required each time; consent on another page
//! or for another client does not count.

use std::fmt::Write;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, LOCATION, REFERRER_POLICY,
    SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use mcp_auth_machine::wire::scopes::Scopes;
use ring::hmac;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;
use url::form_urlencoded;

use super::client_auth::TokenForm;
use super::issuer::{IssuerError, check};
use super::pkce::CodeChallenge;
use super::redirect::RedirectTarget;
use super::response::escaped;

/// The time limit for the user, at the consent page and upstream.
pub const CONSENT_LIFETIME: Duration = Duration::from_secs(600);
const COOKIE_NAME: &str = "__Host-consent";

/// The reason why a step of the proxy fails. Show a page; do not redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The form was not created by this proxy, for this browser, within ten minutes.
    #[error("the consent was not given on a page of this proxy in this browser")]
    Consent,
    /// The user declined.
    #[error("the user declined")]
    Declined,
    /// The callback does not belong to this pending authorization, in this browser, within ten minutes.
    #[error("the callback does not belong to an authorization that was approved in this browser")]
    Callback,
    /// The callback names another issuer, or none although the upstream server sends it.
    #[error("the callback is of another issuer")]
    Issuer,
    /// The upstream server responded with an error.
    #[error("the upstream server answered with an error")]
    Upstream,
}

/// A validated authorization request: the client is known, the redirect URI is registered, and a challenge
/// is present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRequest {
    client_id: String,
    client_name: Option<String>,
    redirect_uri: String,
    scopes: String,
    state: Option<String>,
    challenge: CodeChallenge,
    resource: Option<String>,
}

impl ClientRequest {
    /// Creates a request from the required parts.
    pub fn new(
        client_id: &str,
        target: &RedirectTarget,
        scopes: &Scopes,
        challenge: CodeChallenge,
    ) -> Self {
        Self {
            client_id: client_id.to_owned(),
            client_name: None,
            redirect_uri: target.as_str().to_owned(),
            scopes: scopes.as_str().to_owned(),
            state: None,
            challenge,
            resource: None,
        }
    }

    /// Sets the client's self-chosen name.
    #[must_use]
    pub fn client_name(mut self, name: &str) -> Self {
        self.client_name = Some(name.chars().take(100).collect());
        self
    }

    /// Sets the `state` to return.
    #[must_use]
    pub fn state(mut self, state: &str) -> Self {
        self.state = Some(state.to_owned());
        self
    }

    /// Sets the `resource`.
    #[must_use]
    pub fn resource(mut self, resource: &str) -> Self {
        self.resource = Some(resource.to_owned());
        self
    }

    /// Returns the client identifier.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Returns the redirect URI of the response. Look it up among the client's redirect URIs again.
    pub fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// Returns the scopes.
    pub fn scopes(&self) -> &str {
        &self.scopes
    }

    /// Returns the client's `state`.
    pub fn client_state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// Returns the challenge that the proxy's code is bound to.
    pub fn challenge(&self) -> CodeChallenge {
        self.challenge
    }

    /// Returns the resource.
    pub fn requested_resource(&self) -> Option<&str> {
        self.resource.as_deref()
    }
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    request: ClientRequest,
    browser: String,
    until: u64,
}

/// An approved authorization that is pending upstream. Store it for ten minutes under the hash of its
/// state, and remove it when the callback arrives: it is single-use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingUpstream {
    request: ClientRequest,
    browser: [u8; 32],
    state: [u8; 32],
    verifier: String,
    until: Duration,
}

/// The upstream server's code: redeem it there with this verifier, then respond to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamCode {
    /// The authorization code.
    pub code: String,
    /// The `code_verifier` of the token request.
    pub verifier: String,
    /// The client's request.
    pub request: ClientRequest,
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
        let endpoint = Url::parse(endpoint).map_err(|_| IssuerError::NotAbsolute)?;
        let local = matches!(
            endpoint.host_str(),
            Some("localhost" | "127.0.0.1" | "[::1]")
        );
        if endpoint.scheme() != "https" && !(endpoint.scheme() == "http" && local) {
            return Err(IssuerError::Scheme);
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
        let mut response = Response::new(page(request, action, &sealed));
        let cookie = format!("{COOKIE_NAME}={browser}; Path=/; Secure; HttpOnly; SameSite=Lax");
        // The response to the form redirects upstream, and browsers apply `form-action` to that target.
        let upstream = self.endpoint.origin().ascii_serialization();
        let policy =
            format!("default-src 'none'; form-action 'self' {upstream}; frame-ancestors 'none'");
        let headers = response.headers_mut();
        for (name, value) in [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (CONTENT_SECURITY_POLICY, &policy),
            (SET_COOKIE, &cookie),
            (CACHE_CONTROL, "no-store"),
            (REFERRER_POLICY, "no-referrer"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
        response
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
            Some(_) | None => return Err(ProxyError::Declined),
        }
        let state = URL_SAFE_NO_PAD.encode(state);
        let verifier = URL_SAFE_NO_PAD.encode(verifier);
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        let mut to = self.endpoint.clone();
        to.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client_id)
            .append_pair("redirect_uri", &self.callback)
            .append_pair("scope", &sealed.request.scopes)
            .append_pair("state", &state)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        let mut response = Response::new(String::new());
        *response.status_mut() = StatusCode::SEE_OTHER;
        let headers = response.headers_mut();
        let to = HeaderValue::try_from(to.as_str()).map_err(|_| ProxyError::Consent)?;
        headers.insert(LOCATION, to);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let pending = PendingUpstream {
            request: sealed.request,
            browser: Sha256::digest(browser).into(),
            state: Sha256::digest(&state).into(),
            verifier,
            until: now.saturating_add(CONSENT_LIFETIME),
        };
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

impl PendingUpstream {
    /// Returns the storage key for a `state`: its hash.
    pub fn key_of(state: &str) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(state))
    }

    /// Returns the storage key of this authorization.
    pub fn key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.state)
    }

    /// Handles the callback of the upstream server.
    ///
    /// # Errors
    /// [`ProxyError`] with the reason.
    pub fn complete(
        self,
        proxy: &UpstreamProxy,
        headers: &HeaderMap,
        query: &str,
        now: Duration,
    ) -> Result<UpstreamCode, ProxyError> {
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        let get = |name: &str| {
            let mut found = pairs.iter().filter(|(known, _)| known == name);
            let first = found.next().map(|(_, value)| &**value);
            if found.next().is_some() {
                Err(ProxyError::Callback)
            } else {
                Ok(first)
            }
        };
        let hash = |text: &str| -> [u8; 32] { Sha256::digest(text).into() };
        let state = get("state")?.map(hash);
        let browser = cookie(headers).map(hash);
        if state != Some(self.state) || browser != Some(self.browser) || now >= self.until {
            return Err(ProxyError::Callback);
        }
        match get("iss")? {
            Some(iss) if *iss == *proxy.issuer => {}
            None if !proxy.sends_iss => {}
            Some(_) | None => return Err(ProxyError::Issuer),
        }
        if get("error")?.is_some() {
            return Err(ProxyError::Upstream);
        }
        let code = get("code")?.ok_or(ProxyError::Callback)?;
        Ok(UpstreamCode {
            code: code.to_owned(),
            verifier: self.verifier,
            request: self.request,
        })
    }
}

/// Returns this browser's cookie. A repeated one was also set by another host.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let fields = headers.get_all(COOKIE).iter();
    let mut found = fields
        .filter_map(|field| field.to_str().ok())
        .flat_map(|field| field.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .filter(|(name, _)| *name == COOKIE_NAME)
        .map(|(_, value)| value);
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// Returns the host of a URL, or its scheme without a host.
fn place(text: &str) -> String {
    match Url::parse(text) {
        Ok(url) => url.host_str().unwrap_or(url.scheme()).to_owned(),
        Err(_) => text.to_owned(),
    }
}

fn page(request: &ClientRequest, action: &str, sealed: &str) -> String {
    let mut page = String::from("<!doctype html><title>Permit access</title>");
    let name = request.client_name.as_deref().unwrap_or("An application");
    let scopes = match request.scopes.as_str() {
        "" => "no scopes",
        scopes => scopes,
    };
    // Writing to a string cannot fail.
    let _written = write!(
        page,
        "<h1>Permit access?</h1><p>{} wants access in your name.</p><dl>\
         <dt>Client</dt><dd>{}</dd><dt>Sends you back to</dt><dd>{}</dd><dt>Scopes</dt><dd>{}</dd></dl>\
         <form method=\"post\" action=\"{}\"><input type=\"hidden\" name=\"request\" value=\"{}\">\
         <button name=\"decision\" value=\"approve\">Permit</button> \
         <button name=\"decision\" value=\"decline\">Decline</button></form>",
        escaped(name),
        escaped(&place(&request.client_id)),
        escaped(&place(&request.redirect_uri)),
        escaped(scopes),
        escaped(action),
        escaped(sealed),
    );
    page
}
