//! Endpoints that receive credentials (A22, REFR-11).
//!
//! A request with a credential is built from a [`CredentialEndpoint`] only. Other files cannot create one,
//! so no function can combine a URL of its own with a secret.

use crate::frame::Opened;
use crate::wire::url::WebUrl;

/// An endpoint of an authorization server that receives a credential: a code, a token, a client secret, an
/// assertion, or an initial access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Token,
    Revocation,
    PushedAuthorization,
    Registration,
    DeviceAuthorization,
}

impl Endpoint {
    pub(crate) const ALL: [Self; 5] = [
        Self::Token,
        Self::Revocation,
        Self::PushedAuthorization,
        Self::Registration,
        Self::DeviceAuthorization,
    ];

    /// Returns true if clients authenticate there, so that their secrets are known there.
    const fn authenticates(self) -> bool {
        match self {
            Self::Token
            | Self::Revocation
            | Self::PushedAuthorization
            | Self::DeviceAuthorization => true,
            Self::Registration => false,
        }
    }

    /// Returns the metadata member with the endpoint.
    pub(crate) const fn member(self) -> &'static str {
        match self {
            Self::Token => "token_endpoint",
            Self::Revocation => "revocation_endpoint",
            Self::PushedAuthorization => "pushed_authorization_request_endpoint",
            Self::Registration => "registration_endpoint",
            Self::DeviceAuthorization => "device_authorization_endpoint",
        }
    }
}

/// A credential endpoint of one validated server, created only by [`CredentialEndpoints::get`].
#[derive(Clone, Copy)]
pub(crate) struct CredentialEndpoint<'a>(&'a WebUrl);

impl<'a> CredentialEndpoint<'a> {
    pub(crate) fn as_str(self) -> &'a str {
        self.0.as_str()
    }

    pub(crate) fn origin(self) -> &'a str {
        self.0.origin()
    }

    pub(crate) fn url(self) -> &'a WebUrl {
        self.0
    }
}

/// The credential endpoints of one server.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct CredentialEndpoints {
    token: WebUrl,
    revocation: Option<WebUrl>,
    pushed: Option<WebUrl>,
    registration: Option<WebUrl>,
    /// No record contains it: a user at the device is there for metadata that was just read.
    device: Option<WebUrl>,
}

/// The error when the issuer moved its token endpoint to another origin (A22).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TokenEndpointMoved;

impl CredentialEndpoints {
    /// Creates the endpoints; `find` supplies the optional ones.
    pub(super) fn with<E>(
        token: WebUrl,
        mut find: impl FnMut(Endpoint) -> Result<Option<WebUrl>, E>,
    ) -> Result<Self, E> {
        Ok(Self {
            token,
            registration: find(Endpoint::Registration)?,
            revocation: find(Endpoint::Revocation)?,
            pushed: find(Endpoint::PushedAuthorization)?,
            device: find(Endpoint::DeviceAuthorization)?,
        })
    }

    /// Restores the endpoints from a record with a valid checksum.
    pub(crate) fn restore<E>(
        token: WebUrl,
        find: impl FnMut(Endpoint) -> Result<Option<WebUrl>, E>,
        _checked: &Opened<'_>,
    ) -> Result<Self, E> {
        Self::with(token, find)
    }

    fn url(&self, endpoint: Endpoint) -> Option<&WebUrl> {
        match endpoint {
            Endpoint::Token => Some(&self.token),
            Endpoint::Revocation => self.revocation.as_ref(),
            Endpoint::PushedAuthorization => self.pushed.as_ref(),
            Endpoint::Registration => self.registration.as_ref(),
            Endpoint::DeviceAuthorization => self.device.as_ref(),
        }
    }

    /// Returns an endpoint.
    pub(crate) fn get(&self, endpoint: Endpoint) -> Option<CredentialEndpoint<'_>> {
        self.url(endpoint).map(CredentialEndpoint)
    }

    /// Returns the token endpoint, which every server has.
    pub(crate) fn token(&self) -> CredentialEndpoint<'_> {
        CredentialEndpoint(&self.token)
    }

    pub(crate) fn has(&self, endpoint: Endpoint) -> bool {
        self.url(endpoint).is_some()
    }

    /// Returns the origins at which clients authenticate.
    pub(crate) fn secret_origins(&self) -> SecretOrigins {
        let urls = Endpoint::ALL.into_iter().filter(|of| of.authenticates());
        let urls = urls.filter_map(|of| self.url(of));
        SecretOrigins::new(urls.map(WebUrl::origin))
    }

    /// Returns the endpoints after a later document of the same issuer, for credentials issued at the
    /// present ones. A changed path is followed, a changed origin is not: an optional endpoint on another
    /// origin keeps its recorded URL, or stays absent. Also returns the endpoints that were not followed
    /// (A22, REFR-11).
    ///
    /// # Errors
    /// [`TokenEndpointMoved`] when the token endpoint is on another origin.
    pub(super) fn followed_by(
        &self,
        later: &Self,
    ) -> Result<(Self, Vec<Endpoint>), TokenEndpointMoved> {
        if later.token.origin() != self.token.origin() {
            return Err(TokenEndpointMoved);
        }
        let known = |url: &WebUrl| {
            Endpoint::ALL
                .into_iter()
                .filter_map(|endpoint| self.url(endpoint))
                .any(|recorded| recorded.origin() == url.origin())
        };
        let mut moved = Vec::new();
        let mut follow = |endpoint| match later.url(endpoint) {
            Some(url) if known(url) => Some(url.clone()),
            Some(_) => {
                moved.push(endpoint);
                self.url(endpoint).cloned()
            }
            None => None,
        };
        let followed = Self {
            token: later.token.clone(),
            revocation: follow(Endpoint::Revocation),
            pushed: follow(Endpoint::PushedAuthorization),
            registration: follow(Endpoint::Registration),
            device: follow(Endpoint::DeviceAuthorization),
        };
        Ok((followed, moved))
    }
}

/// The origins at which the clients of a server authenticate, sorted, each once. A secret that was issued while these were
/// the origins is known there and nowhere else (TOK-07).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretOrigins(Vec<Box<str>>);

impl SecretOrigins {
    pub(crate) fn new<'a>(origins: impl IntoIterator<Item = &'a str>) -> Self {
        let mut sorted: Vec<_> = origins.into_iter().map(Box::from).collect();
        sorted.sort_unstable();
        sorted.dedup();
        Self(sorted)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|origin| &**origin)
    }
}
