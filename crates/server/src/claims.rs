//! Access tokens in JWT format: RFC 9068, and the formats of well-known issuers (RS-08).

use std::time::Duration;

use serde_json::{Map, Value};

use mcp_auth_machine::wire::scopes::Scopes;

use super::issuer::{IssuerError, check};
use super::jose::{Algorithm, Unverified, VerifyingKey};

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

    /// Returns true if the token is bound in any way, including kinds of `cnf` that are not verified here.
    pub(super) fn is_bound(&self) -> bool {
        self.claims.get("cnf").is_some_and(|cnf| !cnf.is_null())
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

pub(super) fn seconds(claims: &Map<String, Value>, name: &str) -> Option<Duration> {
    let value = claims.get(name)?;
    // Some issuers send fractional seconds.
    let whole = value.as_u64().map(Duration::from_secs);
    whole.or_else(|| Duration::try_from_secs_f64(value.as_f64()?).ok())
}

/// How an issuer's tokens name their audience.
#[derive(Clone, Debug)]
enum Audience {
    /// `aud` contains one of these values.
    Named(Vec<Box<str>>),
    /// The tokens have no audience; these clients receive tokens for this server.
    Clients(Vec<Box<str>>),
}

/// The rules for access tokens of one issuer for this server.
///
/// The constructors are named after kinds of issuers. Each requires an audience, because a token for
/// another server must be rejected.
#[derive(Clone, Debug)]
pub struct TokenRules {
    issuer: Box<str>,
    jwks_url: Box<str>,
    audience: Audience,
    algorithms: Vec<Algorithm>,
    types: &'static [Option<&'static str>],
    scope_claims: Vec<Box<str>>,
    required: Vec<(Box<str>, Vec<Value>)>,
    present: Vec<Vec<&'static str>>,
    leeway: Duration,
}

/// Types are compared without case and without `application/` (RFC 7515 section 4.1.9).
const RFC_9068: &[Option<&str>] = &[Some("at+jwt")];
const ANY_TYPE: &[Option<&str>] = &[Some("at+jwt"), Some("jwt"), None];

impl TokenRules {
    /// Creates rules for tokens of RFC 9068: `typ` is `at+jwt`, and `aud` contains the audience.
    ///
    /// # Errors
    /// [`IssuerError`] when the text is not a valid issuer.
    pub fn rfc9068(issuer: &str, jwks_url: &str, audience: &str) -> Result<Self, IssuerError> {
        check(issuer)?;
        Ok(Self {
            issuer: issuer.into(),
            jwks_url: jwks_url.into(),
            audience: Audience::Named(vec![audience.into()]),
            algorithms: vec![
                Algorithm::RS256,
                Algorithm::PS256,
                Algorithm::ES256,
                Algorithm::ES384,
                Algorithm::Ed25519,
            ],
            types: RFC_9068,
            scope_claims: vec!["scope".into()],
            required: Vec::new(),
            present: Vec::new(),
            leeway: Duration::from_secs(60),
        })
    }

    /// Creates rules for Keycloak; the issuer is the URL of the realm. An audience mapper must add the
    /// audience to the tokens, which otherwise name `account`.
    ///
    /// # Errors
    /// [`IssuerError`] when the realm is not a valid issuer.
    pub fn keycloak(realm: &str, audience: &str) -> Result<Self, IssuerError> {
        let keys = format!("{realm}/protocol/openid-connect/certs");
        let rules = Self::rfc9068(realm, &keys, audience)?.with_types(ANY_TYPE);
        // ID tokens and refresh tokens have the values `ID` and `Refresh`.
        Ok(rules.one_of("typ", vec!["Bearer".into(), "DPoP".into()]))
    }

    /// Creates rules for Microsoft Entra ID, from the tenant's identifier (never `common`) and the audience
    /// of your registration: the identifier of the application for tokens of version 2, often `api://…` for
    /// version 1.
    ///
    /// # Errors
    /// [`IssuerError`] when the tenant does not form a valid issuer.
    pub fn entra(tenant: &str, audience: &str) -> Result<Self, IssuerError> {
        let issuer = format!("https://login.microsoftonline.com/{tenant}/v2.0");
        Self::entra_issuer(tenant, &issuer, audience)
    }

    /// Creates rules for Entra tokens of version 1, which the registration of an API receives unless its
    /// manifest requests version 2.
    ///
    /// # Errors
    /// [`IssuerError`] when the tenant does not form a valid issuer.
    pub fn entra_v1(tenant: &str, audience: &str) -> Result<Self, IssuerError> {
        let issuer = format!("https://sts.windows.net/{tenant}/");
        Self::entra_issuer(tenant, &issuer, audience)
    }

    fn entra_issuer(tenant: &str, issuer: &str, audience: &str) -> Result<Self, IssuerError> {
        let keys = format!("https://login.microsoftonline.com/{tenant}/discovery/v2.0/keys");
        let mut rules = Self::rfc9068(issuer, &keys, audience)?
            .with_types(ANY_TYPE)
            .one_of("tid", vec![tenant.into()]);
        // An ID token has neither claim, but may have the same audience.
        rules.present.push(vec!["scp", "roles"]);
        rules.scope_claims = vec!["scp".into()];
        Ok(rules)
    }

    /// Creates rules for Auth0, from the domain in the dashboard and the identifier of the API.
    ///
    /// # Errors
    /// [`IssuerError`] when the domain does not form a valid issuer.
    pub fn auth0(domain: &str, audience: &str) -> Result<Self, IssuerError> {
        let keys = format!("https://{domain}/.well-known/jwks.json");
        let rules = Self::rfc9068(&format!("https://{domain}/"), &keys, audience)?;
        Ok(rules
            .with_types(ANY_TYPE)
            .only([Algorithm::RS256, Algorithm::PS256]))
    }

    /// Creates rules for Amazon Cognito. Its access tokens have no audience unless a resource was
    /// requested, so the clients that receive tokens for this server are listed instead.
    ///
    /// # Errors
    /// [`IssuerError`] when the pool does not form a valid issuer.
    pub fn cognito<'a>(
        region: &str,
        pool: &str,
        clients: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, IssuerError> {
        let issuer = format!("https://cognito-idp.{region}.amazonaws.com/{pool}");
        let keys = format!("{issuer}/.well-known/jwks.json");
        let mut rules = Self::rfc9068(&issuer, &keys, "")?
            .with_types(ANY_TYPE)
            .only([Algorithm::RS256])
            // ID tokens have the value `id`.
            .one_of("token_use", vec!["access".into()]);
        rules.audience = Audience::Clients(clients.into_iter().map(Into::into).collect());
        Ok(rules)
    }

    fn with_types(mut self, types: &'static [Option<&'static str>]) -> Self {
        self.types = types;
        self
    }

    fn one_of(mut self, claim: &str, values: Vec<Value>) -> Self {
        self.required.push((claim.into(), values));
        self
    }

    /// Accepts a further audience, for example during a migration.
    #[must_use]
    pub fn also_for(mut self, audience: &str) -> Self {
        if let Audience::Named(named) = &mut self.audience {
            named.push(audience.into());
        }
        self
    }

    /// Accepts these algorithms only.
    #[must_use]
    pub fn only(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = algorithms.into_iter().collect();
        self
    }

    /// Also accepts tokens with the `typ` `JWT` or without one. ID tokens have the same type: require a
    /// claim that only access tokens have.
    #[must_use]
    pub fn any_type(self) -> Self {
        self.with_types(ANY_TYPE)
    }

    /// Requires a claim with exactly this value.
    #[must_use]
    pub fn claim(self, name: &str, value: Value) -> Self {
        self.one_of(name, vec![value])
    }

    /// Also reads scopes from this claim, a string or a list, such as `scp`, `roles` or `permissions`.
    #[must_use]
    pub fn scopes_from(mut self, claim: &str) -> Self {
        self.scope_claims.push(claim.into());
        self
    }

    /// Sets the tolerated clock difference. Default: one minute; at most five.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway.min(Duration::from_secs(300));
        self
    }

    /// Returns the issuer.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns the URL of the issuer's keys.
    pub fn jwks_url(&self) -> &str {
        &self.jwks_url
    }

    /// Checks the parts that need no keys.
    pub(super) fn check_header(&self, token: &Unverified<'_>) -> Result<(), TokenError> {
        if token.claimed_issuer() != Some(&self.issuer) {
            return Err(TokenError::Issuer);
        }
        if !self.algorithms.contains(&token.algorithm) {
            return Err(TokenError::Algorithm);
        }
        let sent = match token.header.get("typ") {
            None => None,
            Some(value) => Some(value.as_str().ok_or(TokenError::Type)?.to_ascii_lowercase()),
        };
        let sent = sent.as_deref();
        let sent = sent.map(|typ| typ.strip_prefix("application/").unwrap_or(typ));
        if self.types.contains(&sent) {
            Ok(())
        } else {
            Err(TokenError::Type)
        }
    }

    /// Verifies a token with the candidate keys. `now` is the time since the Unix epoch.
    pub(super) fn verify(
        &self,
        token: &Unverified<'_>,
        keys: &[VerifyingKey],
        now: Duration,
    ) -> Result<AccessToken, TokenError> {
        self.check_header(token)?;
        let mut verified = keys.iter().filter_map(|key| token.verify(key));
        let claims = verified.next().ok_or(TokenError::Signature)?;
        self.check_claims(claims, now)?;
        let scopes = scopes(claims, &self.scope_claims);
        Ok(AccessToken::new(&self.issuer, scopes, claims.clone()))
    }

    fn check_claims(&self, claims: &Map<String, Value>, now: Duration) -> Result<(), TokenError> {
        check_times(claims, self.leeway, now)?;
        if claims.get("exp").is_none() {
            return Err(TokenError::Expired);
        }
        match &self.audience {
            Audience::Named(named) => check_audience(claims, named)?,
            Audience::Clients(clients) => {
                let client = claims.get("client_id").and_then(Value::as_str);
                let listed = clients.iter().any(|known| Some(&**known) == client);
                if !listed {
                    return Err(TokenError::Audience);
                }
            }
        }
        for (name, values) in &self.required {
            if !claims
                .get(&**name)
                .is_some_and(|value| values.contains(value))
            {
                return Err(TokenError::Claim);
            }
        }
        let present = |names: &Vec<&str>| names.iter().any(|name| claims.contains_key(*name));
        if !self.present.iter().all(present) {
            return Err(TokenError::Claim);
        }
        Ok(())
    }
}

pub(super) fn check_times(
    claims: &Map<String, Value>,
    leeway: Duration,
    now: Duration,
) -> Result<(), TokenError> {
    if claims.contains_key("exp") {
        let end = seconds(claims, "exp").ok_or(TokenError::Expired)?;
        if end.saturating_add(leeway) <= now {
            return Err(TokenError::Expired);
        }
    }
    for name in ["nbf", "iat"] {
        if claims.contains_key(name) {
            let start = seconds(claims, name).ok_or(TokenError::NotYet)?;
            if start > now.saturating_add(leeway) {
                return Err(TokenError::NotYet);
            }
        }
    }
    Ok(())
}

/// Checks that one of the audiences is named, byte for byte.
pub(super) fn check_audience(
    claims: &Map<String, Value>,
    named: &[Box<str>],
) -> Result<(), TokenError> {
    let is_named = |value: &Value| named.iter().any(|known| value.as_str() == Some(known));
    let fits = match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().any(is_named),
        Some(one) => is_named(one),
        None => false,
    };
    if fits {
        Ok(())
    } else {
        Err(TokenError::Audience)
    }
}

/// Returns the scopes in these claims: space-separated strings, and lists.
pub(super) fn scopes(claims: &Map<String, Value>, names: &[Box<str>]) -> Scopes {
    let mut all = Scopes::default();
    for name in names {
        let read = match claims.get(&**name) {
            Some(Value::String(text)) => Scopes::parse(text),
            Some(Value::Array(items)) => Scopes::from_items(items.iter().filter_map(Value::as_str)),
            Some(_) | None => continue,
        };
        all = all.union(&read);
    }
    all
}
