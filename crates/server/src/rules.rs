//! Which tokens of an issuer are access tokens for this server (RFC 9068, RS-08).

use std::time::Duration;

use serde_json::{Map, Value};

use super::access_token::{AccessToken, TokenError};
use super::claims::{check_audience, check_times, scopes};
use super::issuer::{IssuerError, check, check_endpoint};
use super::jose::{Algorithm, Unverified, VerifyingKey};

/// How an issuer's tokens name their audience.
#[derive(Clone, Debug)]
pub(super) enum Audience {
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
    pub(super) audience: Audience,
    algorithms: Vec<Algorithm>,
    types: &'static [Option<&'static str>],
    pub(super) scope_claims: Vec<Box<str>>,
    required: Vec<(Box<str>, Vec<Value>)>,
    pub(super) present: Vec<Vec<&'static str>>,
    leeway: Duration,
}

/// Types are compared without case and without `application/` (RFC 7515 section 4.1.9).
const RFC_9068: &[Option<&str>] = &[Some("at+jwt")];
pub(super) const ANY_TYPE: &[Option<&str>] = &[Some("at+jwt"), Some("jwt"), None];

impl TokenRules {
    /// Creates rules for tokens of RFC 9068: `typ` is `at+jwt`, and `aud` contains the audience.
    ///
    /// ```
    /// # use mcp_auth_server::{Algorithm, IssuerError, TokenRules};
    /// # fn main() -> Result<(), IssuerError> {
    /// let rules = TokenRules::rfc9068(
    ///     "https://sso.example",
    ///     "https://sso.example/jwks",
    ///     "https://mcp.example/mcp",
    /// )?
    /// .only([Algorithm::ES256]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`IssuerError`] when the text is not a valid issuer, or the key URL is neither `https` nor `http` on
    /// a loopback host.
    pub fn rfc9068(issuer: &str, jwks_url: &str, audience: &str) -> Result<Self, IssuerError> {
        check(issuer)?;
        // Over plain HTTP, an attacker on the network could replace the keys.
        check_endpoint(jwks_url)?;
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

    pub(super) fn with_types(mut self, types: &'static [Option<&'static str>]) -> Self {
        self.types = types;
        self
    }

    pub(super) fn one_of(mut self, claim: &str, values: Vec<Value>) -> Self {
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
