//! The dialects of well-known issuers (RS-08).

use super::issuer::IssuerError;
use super::jose::Algorithm;
use super::rules::{ANY_TYPE, Audience, TokenRules};

impl TokenRules {
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
        // An ID token may have the same audience, and roles too. Access tokens alone say how the client authenticated.
        rules.present.push(vec!["scp", "roles"]);
        rules.present.push(vec!["azpacr", "appidacr"]);
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
}
