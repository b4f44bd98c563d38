//! Tokens that only the authorization server can read: introspection (RFC 7662), with a bounded cache
//! (RS-08).

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use url::form_urlencoded::{Serializer, byte_serialize};
use zeroize::Zeroizing;

use super::access_token::{AccessToken, TokenError};
use super::claims::{check_audience, check_times, scopes};
use super::issuer::{IssuerError, check, check_endpoint};

/// Largest response, in bytes.
pub const MAX_INTROSPECTION_BYTES: usize = 64 * 1024;
/// Longest token that is sent, in bytes.
const MAX_TOKEN: usize = 16 * 1024;
/// The largest number of cached responses.
const MAX_CACHED: usize = 10_000;

/// The introspection endpoint of one authorization server, and the rules for tokens for this server.
#[derive(Clone)]
pub struct IntrospectionRules {
    issuer: Box<str>,
    endpoint: Box<str>,
    authorization: Zeroizing<String>,
    audience: Option<Vec<Box<str>>>,
    leeway: Duration,
    remembered: Duration,
}

impl IntrospectionRules {
    /// Creates rules from the issuer, its introspection endpoint, the credentials of this MCP server there,
    /// and the audience that `aud` must contain.
    ///
    /// # Errors
    /// [`IssuerError`] for an invalid issuer, or an endpoint without TLS.
    pub fn new(
        issuer: &str,
        endpoint: &str,
        (client_id, secret): (&str, &str),
        audience: &str,
    ) -> Result<Self, IssuerError> {
        check(issuer)?;
        check_endpoint(endpoint)?;
        let encode = |text: &str| -> String { byte_serialize(text.as_bytes()).collect() };
        let pair = Zeroizing::new(format!("{}:{}", encode(client_id), encode(secret)));
        Ok(Self {
            issuer: issuer.into(),
            endpoint: endpoint.into(),
            authorization: Zeroizing::new(format!("Basic {}", STANDARD.encode(&*pair))),
            audience: Some(vec![audience.into()]),
            leeway: Duration::from_secs(60),
            remembered: Duration::from_secs(30),
        })
    }

    /// Accepts responses without `aud`. Only for an authorization server that reports tokens as active only
    /// to the server that they are for.
    #[must_use]
    pub fn audience_is_checked_by_the_server(mut self) -> Self {
        self.audience = None;
        self
    }

    /// Sets how long a response is cached, which is also how long a revoked token may be accepted. Default:
    /// 30 seconds.
    #[must_use]
    pub fn remembered(mut self, time: Duration) -> Self {
        self.remembered = time;
        self
    }

    /// Returns the issuer.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns the introspection request for a token; `None` for a text that is not a token.
    pub fn request(&self, token: &str) -> Option<Request<Vec<u8>>> {
        if token.len() > MAX_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let pairs = [("token", token), ("token_type_hint", "access_token")];
        let body = Serializer::new(String::new()).extend_pairs(pairs).finish();
        let mut authorization = HeaderValue::try_from(&*self.authorization).ok()?;
        authorization.set_sensitive(true);
        Request::builder()
            .method(Method::POST)
            .uri(&*self.endpoint)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, authorization)
            .body(body.into_bytes())
            .ok()
    }

    /// Parses the response. `now` is the time since the Unix epoch.
    ///
    /// # Errors
    /// [`TokenError`]; [`TokenError::Unavailable`] for a response that does not follow RFC 7662.
    pub fn read(
        &self,
        status: StatusCode,
        body: &[u8],
        now: Duration,
    ) -> Result<AccessToken, TokenError> {
        if status != StatusCode::OK || body.len() > MAX_INTROSPECTION_BYTES {
            return Err(TokenError::Unavailable);
        }
        let claims: Map<String, Value> =
            serde_json::from_slice(body).map_err(|_| TokenError::Unavailable)?;
        match claims.get("active") {
            Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Err(TokenError::Inactive),
            Some(_) | None => return Err(TokenError::Unavailable),
        }
        if claims
            .get("iss")
            .is_some_and(|iss| iss.as_str() != Some(&self.issuer))
        {
            return Err(TokenError::Issuer);
        }
        check_times(&claims, self.leeway, now)?;
        if let Some(audience) = &self.audience {
            check_audience(&claims, audience)?;
        }
        // An active refresh token is rejected.
        let kind = match claims.get("token_type") {
            None => "Bearer",
            Some(kind) => kind.as_str().ok_or(TokenError::Type)?,
        };
        if !kind.eq_ignore_ascii_case("Bearer")
            && !kind.eq_ignore_ascii_case("DPoP")
            && !kind.eq_ignore_ascii_case("access_token")
        {
            return Err(TokenError::Type);
        }
        // Some servers say it elsewhere, and leave `token_type` out for other tokens.
        let is_access = |value: &Value| matches!(value.as_str(), Some("access" | "access_token"));
        let is_other = |value: &Value| {
            let text = value.as_str().unwrap_or_default();
            ["refresh", "offline", "id"]
                .iter()
                .any(|kind| text.eq_ignore_ascii_case(kind))
        };
        if claims
            .get("token_use")
            .is_some_and(|value| !is_access(value))
            || claims.get("typ").is_some_and(is_other)
        {
            return Err(TokenError::Type);
        }
        let scopes = scopes(&claims, &["scope".into()]);
        Ok(AccessToken::new(&self.issuer, scopes, claims))
    }
}

impl std::fmt::Debug for IntrospectionRules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IntrospectionRules")
            .field("issuer", &self.issuer)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// The recent responses, by the hash of the token.
#[derive(Debug, Default)]
pub struct IntrospectionCache {
    answers: HashMap<[u8; 32], (Result<AccessToken, TokenError>, Duration)>,
}

impl IntrospectionCache {
    /// Returns the cached response about a token that has not expired.
    pub fn get(&self, token: &str, now: Duration) -> Option<Result<AccessToken, TokenError>> {
        let key: [u8; 32] = Sha256::digest(token).into();
        let (answer, until) = self.answers.get(&key)?;
        (now < *until).then(|| answer.clone())
    }

    /// Caches a response, but not an outage.
    pub fn put(
        &mut self,
        rules: &IntrospectionRules,
        token: &str,
        answer: &Result<AccessToken, TokenError>,
        now: Duration,
    ) {
        if matches!(answer, Err(TokenError::Unavailable)) {
            return;
        }
        if self.answers.len() >= MAX_CACHED {
            self.answers.retain(|_, (_, until)| now < *until);
        }
        if self.answers.len() >= MAX_CACHED {
            self.answers.clear();
        }
        let end = answer.as_ref().ok().and_then(AccessToken::expires);
        let until = now.saturating_add(rules.remembered);
        let until = end.map_or(until, |end| until.min(end));
        self.answers
            .insert(Sha256::digest(token).into(), (answer.clone(), until));
    }
}
