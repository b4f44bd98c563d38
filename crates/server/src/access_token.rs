//! A token that was verified, and why one is not.

use std::time::Duration;

use serde_json::{Map, Value};

use mcp_auth_machine::wire::scopes::Scopes;

use super::claims::seconds;

/// Longest text of a claim that is copied to a field.
const MAX_TEXT: usize = 1024;

/// The reason why a token is rejected, for logs. The client receives a [`Rejection`](super::Rejection)
/// only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The token is not signed, or with an unsupported algorithm.
    #[error("the token is not a signed JWT with a known algorithm")]
    Malformed,
    /// The algorithm is not allowed for this issuer.
    #[error("the algorithm is not on the list of this issuer")]
    Algorithm,
    /// `typ` marks another kind of token, such as an ID token or a proof.
    #[error("the type of the token is not that of an access token")]
    Type,
    /// The token is from another issuer.
    #[error("the token is of another issuer")]
    Issuer,
    /// No key of the issuer verifies the signature.
    #[error("no key of the issuer made the signature")]
    Signature,
    /// The audience is missing, or another one.
    #[error("the token is for another audience")]
    Audience,
    /// The token has expired, or has no expiry.
    #[error("the token has expired")]
    Expired,
    /// The token is not valid yet.
    #[error("the token is not valid yet")]
    NotYet,
    /// A claim required for this issuer's access tokens is missing or has another value.
    #[error("a claim that access tokens of this issuer have is absent or different")]
    Claim,
    /// The authorization server reports the token as inactive.
    #[error("the authorization server says that the token is not active")]
    Inactive,
    /// The keys or the authorization server are unavailable.
    #[error("keys or the authorization server cannot be reached")]
    Unavailable,
}

/// A verified token: its subject and its scopes.
#[derive(Clone)]
pub struct AccessToken {
    issuer: Box<str>,
    subject: Option<Box<str>>,
    client_id: Option<Box<str>>,
    scopes: Scopes,
    expires: Option<Duration>,
    key: Option<Box<str>>,
    claims: Map<String, Value>,
}

impl AccessToken {
    /// Creates a token from the claims that a custom verifier has verified, including expiry and audience.
    /// The thumbprint of a bound key is in `cnf.jkt` (RFC 9449 section 6).
    pub fn new(issuer: &str, scopes: Scopes, claims: Map<String, Value>) -> Self {
        let text = |names: &[&str]| -> Option<Box<str>> {
            let mut found = names.iter().filter_map(|name| claims.get(*name)?.as_str());
            found
                .next()
                .filter(|text| text.len() <= MAX_TEXT)
                .map(Into::into)
        };
        let key = claims.get("cnf").and_then(|cnf| cnf.get("jkt"));
        Self {
            issuer: issuer.into(),
            subject: text(&["sub"]),
            client_id: text(&["client_id", "azp", "appid", "cid"]),
            scopes,
            expires: seconds(&claims, "exp"),
            key: key.and_then(Value::as_str).map(Into::into),
            claims,
        }
    }

    /// Returns the issuer as configured.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns the user, or the client without a user. Unique only together with the issuer.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// Returns the client that the token was issued to, if the issuer names it.
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// Returns the granted scopes.
    pub fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// Returns the expiry since the Unix epoch.
    pub fn expires(&self) -> Option<Duration> {
        self.expires
    }

    /// Returns the thumbprint of the key that the token is bound to (`cnf.jkt`).
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Returns true if the token is bound in any way, including kinds of `cnf` that are not verified here,
    /// and tokens of type `DPoP` whose issuer names no key.
    pub(super) fn is_bound(&self) -> bool {
        let is_dpop = |name: &str| {
            let kind = self.claims.get(name).and_then(Value::as_str);
            kind.is_some_and(|kind| kind.eq_ignore_ascii_case("DPoP"))
        };
        let confirmed = self.claims.get("cnf").is_some_and(|cnf| !cnf.is_null());
        confirmed || is_dpop("typ") || is_dpop("token_type")
    }

    /// Returns a claim.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.claims.get(name)
    }
}

impl std::fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessToken")
            .field("issuer", &self.issuer)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}
