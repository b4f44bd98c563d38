//! What a host knows about one authorization server that its metadata does not say: typed settings
//! bound to one issuer. One of them takes a check away: [`IssParameter::NotSent`] accepts callbacks without
//! `iss` from a server that advertises it.

use crate::grant::BasicEncoding;
use crate::secret::Secret;
use crate::wire::scopes::Scopes;
use crate::wire::token::AccessToken;

/// What is known of the server's PKCE support (PKCE-07, QUIRK-03).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PkceSupport {
    /// Its metadata says it.
    #[default]
    AsAdvertised,
    /// The host asserts that the server checks S256 although its metadata does not say so.
    S256Asserted,
}

/// Whether `resource` is sent (RES-11, QUIRK-04).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResourceParameter {
    /// In every request.
    #[default]
    Send,
    /// In none; tokens are marked as not bound to an audience.
    Omit,
}

/// Whether `iss` comes back in responses (QUIRK-11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IssParameter {
    /// As the metadata says.
    #[default]
    AsAdvertised,
    /// The server advertises it and does not send it. A present `iss` is still compared; a missing one is
    /// accepted, as from a server that does not advertise it, and visible as `IssBinding::Unverifiable`.
    /// That takes the check of ISS-04 away for this issuer: a mix-up by another server cannot be seen.
    NotSent,
}

/// How token answers are spelled (QUIRK-06, QUIRK-07).
#[derive(Clone, Copy, Debug, Default)]
pub enum TokenAnswers {
    /// JSON.
    #[default]
    Json,
    /// JSON, or form-encoded.
    JsonOrForm,
    /// Rewritten by the host into the standard JSON before it is read. `None` leaves it as it is.
    Adapted(fn(&[u8]) -> Option<Vec<u8>>),
}

/// Whether the JWT bearer grant is used at a server that does not say it has it (WIF-04, EMA-03).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JwtBearerSupport {
    /// Only where the metadata says so.
    #[default]
    AsAdvertised,
    /// The host knows that the server has it.
    Assumed,
}

/// Which scopes a refresh request names (REFR-03).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RefreshScopes {
    /// None: the granted scopes stay as they are.
    #[default]
    Omit,
    /// Those that the authorization requested, for servers that issue a token for something else without
    /// them.
    Requested,
    /// Exactly these. They should be among those that the authorization requested (RFC 6749 section 6).
    Exactly(Scopes),
}

/// For whom an assertion is made: what the server takes as its own name in one (DIS-05, DIS-11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AssertionAudience {
    /// The server's issuer.
    #[default]
    Issuer,
    /// The server's token endpoint.
    TokenEndpoint,
}

/// A parameter that the machine sets itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the parameter `{0}` is set by the machine")]
pub struct ReservedName(pub String);

/// A token that cannot stand in a header; the configuration is not built with it.
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
    /// The defaults: exactly what the standards say.
    pub fn new() -> Self {
        Self::default()
    }

    /// See [`PkceSupport`].
    #[must_use]
    pub fn pkce(mut self, support: PkceSupport) -> Self {
        self.pkce = support;
        self
    }

    /// See [`ResourceParameter`].
    #[must_use]
    pub fn resource_parameter(mut self, resource: ResourceParameter) -> Self {
        self.resource = resource;
        self
    }

    /// See [`IssParameter`].
    #[must_use]
    pub fn iss_parameter(mut self, iss: IssParameter) -> Self {
        self.iss = iss;
        self
    }

    /// See [`TokenAnswers`].
    #[must_use]
    pub fn token_answers(mut self, answers: TokenAnswers) -> Self {
        self.token_answers = answers;
        self
    }

    /// See [`BasicEncoding`].
    #[must_use]
    pub fn basic_encoding(mut self, encoding: BasicEncoding) -> Self {
        self.basic_encoding = encoding;
        self
    }

    /// Pins the origin, such as `https://login.example`, on which this issuer's authorization
    /// endpoint is, when that is another than the issuer's own and `iss` is not advertised.
    #[must_use]
    pub fn authorization_origin(mut self, origin: impl Into<String>) -> Self {
        self.authorization_origin = Some(origin.into().into_boxed_str());
        self
    }

    /// Adds a parameter to authorization requests, such as `audience` or `prompt` (AUTHZ-15). Of two
    /// values for one name the first is sent.
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

    /// Adds a parameter to token requests (TOK-10). Of two values for one name the first is sent.
    ///
    /// # Errors
    /// [`ReservedName`] for a parameter that the machine sets itself or that carries credentials.
    pub fn token_parameter(mut self, name: &str, value: &str) -> Result<Self, ReservedName> {
        self.token_parameters.push(allowed(name, value)?);
        Ok(self)
    }

    /// Puts `client_id` beside a client assertion: some servers need it (TOK-05).
    #[must_use]
    pub fn client_id_with_assertion(mut self) -> Self {
        self.client_id_with_assertion = true;
        self
    }

    /// See [`RefreshScopes`].
    #[must_use]
    pub fn refresh_scopes(mut self, scopes: RefreshScopes) -> Self {
        self.refresh_scopes = scopes;
        self
    }

    /// See [`JwtBearerSupport`].
    #[must_use]
    pub fn jwt_bearer(mut self, support: JwtBearerSupport) -> Self {
        self.jwt_bearer = support;
        self
    }

    /// For whom a workload's assertion is asked of its platform (WIF-05).
    #[must_use]
    pub fn assertion_audience(mut self, audience: AssertionAudience) -> Self {
        self.assertion_audience = audience;
        self
    }

    /// For whom client assertions in token requests are signed (TOK-08). Only for a server that refuses
    /// its issuer, and without effect where the token endpoint is not on the issuer's own origin: an
    /// assertion for a token endpoint is good at whichever server that endpoint belongs to (DIS-05).
    #[must_use]
    pub fn client_assertion_audience(mut self, audience: AssertionAudience) -> Self {
        self.client_assertion_audience = audience;
        self
    }

    /// A token that this issuer wants to see on registration requests (REG-29).
    #[must_use]
    pub fn initial_access(mut self, token: impl Into<Secret>) -> Self {
        self.initial_access_token = Some(AccessToken::new(token.into().expose()).ok_or(Unusable));
        self
    }

    pub(crate) fn authorization_parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.authorization_parameters
            .iter()
            .map(|(n, v)| (&**n, &**v))
    }

    pub(crate) fn token_parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.token_parameters.iter().map(|(n, v)| (&**n, &**v))
    }

    /// The first of these names among the token parameters.
    pub(crate) fn sets_one_of(&self, names: &[&'static str]) -> Option<&'static str> {
        let set = |name: &&str| self.token_parameters.iter().any(|(own, _)| **own == **name);
        names.iter().find(|name| set(name)).copied()
    }

    pub(crate) fn initial_access_token(&self) -> Option<&AccessToken> {
        self.initial_access_token.as_ref()?.as_ref().ok()
    }

    /// Whether the initial access token cannot stand in a header.
    pub(crate) fn has_unusable_token(&self) -> bool {
        matches!(self.initial_access_token, Some(Err(Unusable)))
    }
}

fn allowed(name: &str, value: &str) -> Result<(Box<str>, Box<str>), ReservedName> {
    if name.is_empty() || crate::grant::is_reserved(name) {
        return Err(ReservedName(name.to_owned()));
    }
    Ok((name.into(), value.into()))
}
