//! Client authentication at the token endpoint, by exactly the registered method (AS-10, AS-14).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::Value;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::answers::TokenEndpointError;
use super::claims::{check_times, seconds};
use super::jose::{Unverified, VerifyingKey};

/// Largest token request, in bytes.
pub const MAX_TOKEN_REQUEST: usize = 64 * 1024;
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// The longest lifetime of a client assertion.
const MAX_ASSERTION: Duration = Duration::from_secs(300);
/// How far the clock of a client may be ahead, for `nbf` and `iat`.
const CLOCKS: Duration = Duration::from_secs(60);

/// The form of a token request: each parameter at most once, empty ones absent.
pub struct TokenForm(Vec<(String, Zeroizing<String>)>);

impl TokenForm {
    /// Parses a body.
    ///
    /// # Errors
    /// [`TokenEndpointError::InvalidRequest`] for another content type, an oversized body, or a repeated
    /// parameter.
    pub fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, TokenEndpointError> {
        const INVALID: TokenEndpointError = TokenEndpointError::InvalidRequest;
        let kind = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let kind = kind
            .and_then(|kind| kind.split(';').next())
            .unwrap_or_default();
        let form = "application/x-www-form-urlencoded";
        if !kind.trim().eq_ignore_ascii_case(form) || body.len() > MAX_TOKEN_REQUEST {
            return Err(INVALID);
        }
        let mut pairs: Vec<(String, Zeroizing<String>)> = Vec::new();
        for (name, value) in form_urlencoded::parse(body) {
            if value.is_empty() {
                continue;
            }
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(INVALID);
            }
            pairs.push((name.into_owned(), Zeroizing::new(value.into_owned())));
        }
        Ok(Self(pairs))
    }

    /// Returns a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut pairs = self.0.iter().filter(|(known, _)| known == name);
        pairs.next().map(|(_, value)| value.as_str())
    }
}

impl std::fmt::Debug for TokenForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.0.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

/// The registered authentication method of a client.
#[derive(Clone)]
pub enum ClientSecret {
    /// `none`: a public client.
    Public,
    /// `client_secret_basic`, with the SHA-256 of the secret, which must be random.
    Basic([u8; 32]),
    /// `client_secret_post`, with the SHA-256 of the secret, which must be random.
    Post([u8; 32]),
    /// `private_key_jwt`, with the client's public keys.
    Keys(Vec<VerifyingKey>),
}

impl ClientSecret {
    /// Returns the hash to store instead of a secret.
    pub fn hash(secret: &str) -> [u8; 32] {
        Sha256::digest(secret).into()
    }
}

impl std::fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Public => "none",
            Self::Basic(_) => "client_secret_basic",
            Self::Post(_) => "client_secret_post",
            Self::Keys(_) => "private_key_jwt",
        })
    }
}

/// The authentication in a request, before verification.
enum Claim {
    Public,
    Basic(Zeroizing<String>),
    Post(Zeroizing<String>),
    Assertion(Zeroizing<String>),
}

/// The client that a token request names, before authentication.
pub struct ClaimedClient {
    id: String,
    claim: Claim,
}

/// An accepted assertion, whose identifier must not be accepted again before it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedAssertion {
    /// The hash of client and assertion identifier.
    pub id: [u8; 32],
    /// The expiry since the Unix epoch.
    pub until: Duration,
}

impl ClaimedClient {
    /// Reads the client identifier and the single authentication method of a request.
    ///
    /// # Errors
    /// [`TokenEndpointError`] for a missing client, for two clients, and for two methods.
    pub fn read(headers: &HeaderMap, form: &TokenForm) -> Result<Self, TokenEndpointError> {
        let named = form.get("client_id");
        let secret = form.get("client_secret");
        let assertion = form.get("client_assertion");
        let kind = form.get("client_assertion_type");
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        let field = fields.next();
        if fields.next().is_some() {
            return Err(TokenEndpointError::InvalidRequest);
        }
        let (id, claim) = match (field, secret, assertion) {
            (Some(field), None, None) => {
                let basic = field.to_str().ok().and_then(basic);
                let (id, secret) = basic.ok_or(TokenEndpointError::InvalidClientHeader)?;
                (id, Claim::Basic(secret))
            }
            (None, Some(secret), None) => {
                let id = named.ok_or(TokenEndpointError::InvalidClient)?;
                (
                    id.to_owned(),
                    Claim::Post(Zeroizing::new(secret.to_owned())),
                )
            }
            (None, None, Some(assertion)) => {
                if kind != Some(ASSERTION_TYPE) {
                    return Err(TokenEndpointError::InvalidClient);
                }
                let subject = Unverified::read(assertion).and_then(|read| {
                    let issuer = read.claimed_issuer();
                    issuer.map(str::to_owned)
                });
                let id = subject.ok_or(TokenEndpointError::InvalidClient)?;
                (id, Claim::Assertion(Zeroizing::new(assertion.to_owned())))
            }
            (None, None, None) if kind.is_none() => {
                let id = named.ok_or(TokenEndpointError::InvalidClient)?;
                (id.to_owned(), Claim::Public)
            }
            (_, _, _) => return Err(TokenEndpointError::InvalidRequest),
        };
        if named.is_some_and(|named| named != id) {
            return Err(TokenEndpointError::InvalidRequest);
        }
        Ok(Self { id, claim })
    }

    /// Returns the unverified client identifier, to look up the client.
    pub fn claimed_id(&self) -> &str {
        &self.id
    }

    /// Authenticates the client by its registered method. Returns an accepted assertion, which must be
    /// remembered. Times are since the Unix epoch.
    ///
    /// # Errors
    /// [`TokenEndpointError::InvalidClient`] and [`TokenEndpointError::InvalidClientHeader`].
    pub fn authenticate(
        &self,
        registered: &ClientSecret,
        issuer: &str,
        now: Duration,
    ) -> Result<Option<UsedAssertion>, TokenEndpointError> {
        let same = |hash: &[u8; 32], secret: &str| -> bool {
            ClientSecret::hash(secret).ct_eq(hash).into()
        };
        match (registered, &self.claim) {
            (ClientSecret::Public, Claim::Public) => Ok(None),
            (ClientSecret::Basic(hash), Claim::Basic(secret)) if same(hash, secret) => Ok(None),
            (ClientSecret::Post(hash), Claim::Post(secret)) if same(hash, secret) => Ok(None),
            (ClientSecret::Keys(keys), Claim::Assertion(assertion)) => {
                let used = self.assertion(keys, assertion, issuer, now);
                used.map(Some).ok_or(TokenEndpointError::InvalidClient)
            }
            (_, Claim::Basic(_)) => Err(TokenEndpointError::InvalidClientHeader),
            (_, Claim::Public | Claim::Post(_) | Claim::Assertion(_)) => {
                Err(TokenEndpointError::InvalidClient)
            }
        }
    }

    fn assertion(
        &self,
        keys: &[VerifyingKey],
        assertion: &str,
        issuer: &str,
        now: Duration,
    ) -> Option<UsedAssertion> {
        let read = Unverified::read(assertion)?;
        let kid = read.header_text("kid");
        let fitting = keys.iter().filter(|key| kid.is_none() || key.kid() == kid);
        let claims = fitting.filter_map(|key| read.verify(key)).next()?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        // AS-14: the issuer must be the only audience.
        let audience = claims.get("aud")?;
        let sole = match audience.as_array().map(Vec::as_slice) {
            None => audience.as_str(),
            Some([one]) => one.as_str(),
            Some(_) => None,
        };
        let own = text("iss") == Some(&self.id) && text("sub") == Some(&self.id);
        check_times(claims, CLOCKS, now).ok()?;
        let until = seconds(claims, "exp")?;
        let lasts = until.saturating_sub(now);
        let current = until > now && lasts <= MAX_ASSERTION;
        let jti = text("jti").filter(|jti| !jti.is_empty())?;
        (own && sole == Some(issuer) && current).then(|| UsedAssertion {
            id: Sha256::digest(format!("{} {jti}", self.id)).into(),
            until,
        })
    }
}

impl std::fmt::Debug for ClaimedClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClaimedClient")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Decodes identifier and secret, each form-encoded (RFC 6749 section 2.3.1).
fn basic(field: &str) -> Option<(String, Zeroizing<String>)> {
    let (scheme, text) = field.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let pair = Zeroizing::new(STANDARD.decode(text.trim_start_matches(' ')).ok()?);
    let pair = std::str::from_utf8(&pair).ok()?;
    let (id, secret) = pair.split_once(':')?;
    let decode = |text: &str| {
        let whole = format!("x={}", text.replace('&', "%26"));
        let mut pairs = form_urlencoded::parse(whole.as_bytes());
        pairs.next().map(|(_, value)| value.into_owned())
    };
    Some((decode(id)?, Zeroizing::new(decode(secret)?)))
}
