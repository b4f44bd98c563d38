//! Settings for one authorization server that supplement its metadata. One of them removes a check:
//! [`IssParameter::NotSent`] accepts callbacks without `iss` from a server that advertises it.

use serde::{Deserialize, Serialize};

use crate::secret::Secret;
use crate::wire::reserved::is_reserved;
use crate::wire::scopes::Scopes;
use crate::wire::token::AccessToken;

/// The encoding of identifier and secret in HTTP Basic authentication (TOK-06, DIS-16).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BasicEncoding {
    /// Form-encoded, as RFC 6749 section 2.3.1 requires.
    #[default]
    Form,
    /// Unencoded, for servers that do not decode.
    Raw,
}

impl BasicEncoding {
    /// Returns the name in records.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Raw => "raw",
        }
    }
}

/// The PKCE support of an authorization server (PKCE-07, QUIRK-03).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PkceSupport {
    /// As the metadata advertises.
    #[default]
    AsAdvertised,
    /// The host asserts that the server verifies `S256`, although its metadata does not advertise it.
    S256Asserted,
}

/// Whether requests carry the `resource` parameter of RFC 8707 (RES-11, QUIRK-04).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResourceParameter {
    /// Every request carries it.
    #[default]
    Send,
    /// No request carries it; tokens are marked as not bound to an audience.
    Omit,
}

/// Whether authorization responses carry the `iss` parameter of RFC 9207 (QUIRK-11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IssParameter {
    /// As the metadata advertises.
    #[default]
    AsAdvertised,
    /// The server advertises `iss` but does not send it. A present `iss` is still compared; a missing one
    /// is accepted, as from a server that does not advertise it, and reported as
    /// `IssBinding::Unverifiable`. This removes the mix-up protection for this issuer (ISS-04).
    NotSent,
}

/// The format of token responses (QUIRK-06, QUIRK-07).
#[derive(Clone, Copy, Debug, Default)]
pub enum TokenAnswers {
    /// JSON, as RFC 6749 requires.
    #[default]
    Json,
    /// JSON or `application/x-www-form-urlencoded`.
    JsonOrForm,
    /// Any format that the function converts to standard JSON; `None` leaves the body unchanged.
    Adapted(fn(&[u8]) -> Option<Vec<u8>>),
}

/// Whether the JWT bearer grant of RFC 7523 is used (WIF-04, EMA-03).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JwtBearerSupport {
    /// Only at servers whose metadata lists it.
    #[default]
    AsAdvertised,
    /// Also at a server that does not list it.
    Assumed,
}

/// The `scope` parameter of refresh requests (REFR-03).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RefreshScopes {
    /// Omits `scope`, which leaves the granted scopes unchanged, until the server rejects such a request with
    /// `invalid_request` or `invalid_scope`, or answers it with scopes of which the account has none. From then on refresh
    /// requests for this account send the requested scopes. Needed at Microsoft Entra ID where client and MCP server are the
    /// same application.
    #[default]
    AsNeeded,
    /// Never sends `scope`.
    Omit,
    /// The scopes that the authorization requested, for servers that otherwise issue a token with other
    /// scopes.
    Requested,
    /// Exactly these, which should be a subset of the authorized ones (RFC 6749 section 6).
    Exactly(Scopes),
}

/// The audience of assertions for an authorization server (DIS-05, DIS-11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AssertionAudience {
    /// The issuer.
    #[default]
    Issuer,
    /// The URL of the token endpoint.
    TokenEndpoint,
}

/// The error for a parameter that the machine sets itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the parameter `{0}` is set by the machine")]
pub struct ReservedName(pub String);

/// A token that a header field cannot carry; [`ConfigBuilder::build`](crate::ConfigBuilder::build) rejects
/// it.
#[derive(Clone, Debug)]
struct Unusable;

/// Settings for one issuer.
#[derive(Clone, Debug, Default)]
pub struct IssuerSettings {
    pub(crate) pkce: PkceSupport,
    pub(crate) resource: ResourceParameter,
    pub(crate) iss: IssParameter,
    pub(crate) token_answers: TokenAnswers,
    pub(crate) basic_encoding: BasicEncoding,
    pub(crate) authorization_origin: Option<Box<str>>,
    pub(crate) verification_origin: Option<Box<str>>,
    authorization_parameters: Vec<(Box<str>, Box<str>)>,
    token_parameters: Vec<(Box<str>, Box<str>)>,
    initial_access_token: Option<Result<AccessToken, Unusable>>,
    pub(crate) client_id_with_assertion: bool,
    pub(crate) refresh_scopes: RefreshScopes,
    pub(crate) jwt_bearer: JwtBearerSupport,
    pub(crate) assertion_audience: AssertionAudience,
    pub(crate) client_assertion_audience: AssertionAudience,
}

impl IssuerSettings {
    /// Creates settings with the defaults, which follow the standards.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the PKCE support. See [`PkceSupport`].
    #[must_use]
    pub fn pkce(mut self, support: PkceSupport) -> Self {
        self.pkce = support;
        self
    }

    /// Sets whether `resource` is sent. See [`ResourceParameter`].
    #[must_use]
    pub fn resource_parameter(mut self, resource: ResourceParameter) -> Self {
        self.resource = resource;
        self
    }

    /// Sets whether `iss` is expected. See [`IssParameter`].
    #[must_use]
    pub fn iss_parameter(mut self, iss: IssParameter) -> Self {
        self.iss = iss;
        self
    }

    /// Sets the format of token responses. See [`TokenAnswers`].
    #[must_use]
    pub fn token_answers(mut self, answers: TokenAnswers) -> Self {
        self.token_answers = answers;
        self
    }

    /// Sets the encoding of `client_secret_basic`. See [`BasicEncoding`].
    #[must_use]
    pub fn basic_encoding(mut self, encoding: BasicEncoding) -> Self {
        self.basic_encoding = encoding;
        self
    }

    /// Allows the authorization endpoint on another origin than the issuer's, such as
    /// `https://login.example`, for a server that does not advertise `iss`.
    #[must_use]
    pub fn authorization_origin(mut self, origin: impl Into<String>) -> Self {
        self.authorization_origin = Some(origin.into().into_boxed_str());
        self
    }

    /// Allows the page where the user enters the code of a device on another origin than the issuer's, such
    /// as `https://www.google.com` (RFC 8628 section 3.2, DEV-05).
    #[must_use]
    pub fn verification_origin(mut self, origin: impl Into<String>) -> Self {
        self.verification_origin = Some(origin.into().into_boxed_str());
        self
    }

    /// Adds a parameter to authorization requests, such as `audience` or `prompt`. For a repeated name the
    /// first value is sent (AUTHZ-15).
    ///
    /// # Errors
    /// [`ReservedName`] for a parameter that the machine sets itself.
    pub fn authorization_parameter(
        mut self,
        name: &str,
        value: &str,
    ) -> Result<Self, ReservedName> {
        self.authorization_parameters.push(allowed(name, value)?);
        Ok(self)
    }

    /// Adds a parameter to token requests. For a repeated name the first value is sent (TOK-10).
    ///
    /// # Errors
    /// [`ReservedName`] for a parameter that the machine sets itself or that carries credentials.
    pub fn token_parameter(mut self, name: &str, value: &str) -> Result<Self, ReservedName> {
        self.token_parameters.push(allowed(name, value)?);
        Ok(self)
    }

    /// Sends `client_id` beside a client assertion, which some servers require (TOK-05).
    #[must_use]
    pub fn client_id_with_assertion(mut self) -> Self {
        self.client_id_with_assertion = true;
        self
    }

    /// Sets the scopes of refresh requests. See [`RefreshScopes`].
    #[must_use]
    pub fn refresh_scopes(mut self, scopes: RefreshScopes) -> Self {
        self.refresh_scopes = scopes;
        self
    }

    /// Sets whether the JWT bearer grant is used. See [`JwtBearerSupport`].
    #[must_use]
    pub fn jwt_bearer(mut self, support: JwtBearerSupport) -> Self {
        self.jwt_bearer = support;
        self
    }

    /// Sets the audience of workload assertions (WIF-05).
    #[must_use]
    pub fn assertion_audience(mut self, audience: AssertionAudience) -> Self {
        self.assertion_audience = audience;
        self
    }

    /// Sets the audience of client assertions in token requests, for a server that rejects its issuer.
    /// Ignored when the token endpoint is on another origin than the issuer, because an assertion for a
    /// token endpoint is valid at whichever server owns that endpoint (TOK-08, DIS-05).
    #[must_use]
    pub fn client_assertion_audience(mut self, audience: AssertionAudience) -> Self {
        self.client_assertion_audience = audience;
        self
    }

    /// Sets the initial access token that this issuer requires for registration (RFC 7591 section 3,
    /// REG-29).
    #[must_use]
    pub fn initial_access(mut self, token: impl Into<Secret>) -> Self {
        self.initial_access_token = Some(AccessToken::new(token.into().expose()).ok_or(Unusable));
        self
    }

    /// Adds the parameters of authorization requests at every issuer after those of this one.
    pub(crate) fn and_authorization_parameters(&mut self, defaults: &Self) {
        let further = defaults.authorization_parameters.iter().cloned();
        self.authorization_parameters.extend(further);
    }

    pub(crate) fn authorization_parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.authorization_parameters
            .iter()
            .map(|(n, v)| (&**n, &**v))
    }

    pub(crate) fn token_parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.token_parameters.iter().map(|(n, v)| (&**n, &**v))
    }

    /// Returns the first of these names that a token parameter uses.
    pub(crate) fn sets_one_of(&self, names: &[&'static str]) -> Option<&'static str> {
        let set = |name: &&str| self.token_parameters.iter().any(|(own, _)| **own == **name);
        names.iter().find(|name| set(name)).copied()
    }

    pub(crate) fn initial_access_token(&self) -> Option<&AccessToken> {
        self.initial_access_token.as_ref()?.as_ref().ok()
    }

    /// Returns true when a header field cannot carry the initial access token.
    pub(crate) fn has_unusable_token(&self) -> bool {
        matches!(self.initial_access_token, Some(Err(Unusable)))
    }
}

fn allowed(name: &str, value: &str) -> Result<(Box<str>, Box<str>), ReservedName> {
    if name.is_empty() || is_reserved(name) {
        return Err(ReservedName(name.to_owned()));
    }
    Ok((name.into(), value.into()))
}
