//! The responses of a token endpoint: JSON, never cached, with the right status (AS-10).

use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, Response, StatusCode};
use mcp_auth_machine::wire::scopes::Scopes;
use serde_json::{Map, Value, json};
use std::time::Duration;
use zeroize::Zeroizing;

use super::http::private_json;
use super::presented::TokenScheme;
use super::rejection::{DPOP_NONCE, DpopNonce};

/// An error of the token endpoint (RFC 6749 section 5.2 and its extensions).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenEndpointError {
    /// `invalid_request`
    InvalidRequest,
    /// `invalid_client`
    InvalidClient,
    /// `invalid_client` after authentication by a header field: 401 with a challenge.
    InvalidClientHeader,
    /// `invalid_grant`
    InvalidGrant,
    /// `unauthorized_client`
    UnauthorizedClient,
    /// `unsupported_grant_type`
    UnsupportedGrantType,
    /// `invalid_scope`
    InvalidScope,
    /// `invalid_target` (RFC 8707)
    InvalidTarget,
    /// `invalid_dpop_proof` (RFC 9449)
    InvalidDpopProof,
    /// `use_dpop_nonce` (RFC 9449)
    UseDpopNonce(DpopNonce),
}

impl TokenEndpointError {
    /// Returns the error code.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient | Self::InvalidClientHeader => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidDpopProof => "invalid_dpop_proof",
            Self::UseDpopNonce(_) => "use_dpop_nonce",
        }
    }

    /// Returns the complete response.
    pub fn into_http(self, description: Option<&str>) -> Response<String> {
        let mut members = Map::new();
        members.insert("error".to_owned(), json!(self.as_str()));
        if let Some(text) = description {
            members.insert("error_description".to_owned(), json!(text));
        }
        let status = match self {
            Self::InvalidClientHeader => StatusCode::UNAUTHORIZED,
            Self::InvalidRequest
            | Self::InvalidClient
            | Self::InvalidGrant
            | Self::UnauthorizedClient
            | Self::UnsupportedGrantType
            | Self::InvalidScope
            | Self::InvalidTarget
            | Self::InvalidDpopProof
            | Self::UseDpopNonce(_) => StatusCode::BAD_REQUEST,
        };
        let mut response = private_json(status, Value::Object(members).to_string());
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"token endpoint\"");
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Self::UseDpopNonce(nonce) = &self {
            headers.insert(DPOP_NONCE, nonce.header().clone());
        }
        response
    }
}

/// A successful token response. Contains secrets.
#[derive(Clone)]
pub struct TokenAnswer {
    access_token: Zeroizing<String>,
    refresh_token: Option<Zeroizing<String>>,
    scheme: TokenScheme,
    expires_in: Duration,
    scopes: Scopes,
}

impl TokenAnswer {
    /// Creates a response with an access token; its lifetime and scopes are always included.
    pub fn new(
        access_token: &str,
        scheme: TokenScheme,
        expires_in: Duration,
        scopes: Scopes,
    ) -> Self {
        Self {
            access_token: Zeroizing::new(access_token.to_owned()),
            refresh_token: None,
            scheme,
            expires_in,
            scopes,
        }
    }

    /// Adds a refresh token.
    #[must_use]
    pub fn refresh_token(mut self, token: &str) -> Self {
        self.refresh_token = Some(Zeroizing::new(token.to_owned()));
        self
    }

    /// Returns the complete response.
    pub fn into_http(self) -> Response<String> {
        let kind = match self.scheme {
            TokenScheme::Bearer => "Bearer",
            TokenScheme::Dpop => "DPoP",
        };
        let mut members = Map::new();
        let mut set = |name: &str, value: Value| members.insert(name.to_owned(), value);
        set("access_token", json!(*self.access_token));
        set("token_type", json!(kind));
        set("expires_in", json!(self.expires_in.as_secs()));
        set("scope", json!(self.scopes.as_str()));
        if let Some(token) = &self.refresh_token {
            set("refresh_token", json!(**token));
        }
        private_json(StatusCode::OK, Value::Object(members).to_string())
    }
}

impl std::fmt::Debug for TokenAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[token answer]")
    }
}
