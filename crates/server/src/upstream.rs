//! An authorization that is under way at an upstream server (AS-16, SEC-27).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::form_urlencoded;

use super::authorization_error::AuthorizationError;
use super::client_request::ClientRequest;
use super::consent::cookie;
use super::proxy::{ProxyError, UpstreamProxy};

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

impl PendingUpstream {
    pub(super) fn new(
        request: ClientRequest,
        browser: &str,
        state: &str,
        verifier: String,
        until: Duration,
    ) -> Self {
        Self {
            request,
            browser: Sha256::digest(browser).into(),
            state: Sha256::digest(state).into(),
            verifier,
            until,
        }
    }

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
        if !proxy.is_issuer(get("iss")?) {
            return Err(ProxyError::Issuer);
        }
        match (get("error")?, get("code")?.filter(|code| !code.is_empty())) {
            (None, Some(code)) => Ok(UpstreamCode {
                code: code.to_owned(),
                verifier: self.verifier,
                request: self.request,
            }),
            (Some(error), None) => {
                // The words of the upstream server are for the log of this proxy, not for its clients.
                let error = match error {
                    "access_denied" => AuthorizationError::AccessDenied,
                    "temporarily_unavailable" => AuthorizationError::TemporarilyUnavailable,
                    _other => AuthorizationError::ServerError,
                };
                Err(ProxyError::Upstream(Box::new(self.request), error))
            }
            (Some(_), Some(_)) | (None, None) => Err(ProxyError::Callback),
        }
    }
}
