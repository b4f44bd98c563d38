//! Endpoints that receive credentials (A22, REFR-11).
//!
//! A request with a credential is built from a [`CredentialEndpoint`] only. Other files cannot create one,
//! so no function can combine a URL of its own with a secret.

use bytes::Bytes;

use super::Server;
use crate::frame::Opened;
use crate::wire::url_text::{CheckedUrl, RequestUrl, UrlText};

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

/// A credential endpoint of one validated server, created only by [`Server::endpoint`].
#[derive(Clone, Copy)]
pub(crate) struct CredentialEndpoint<'a> {
    server: &'a Server,
    of: Endpoint,
}

impl<'a> CredentialEndpoint<'a> {
    fn url(self) -> Option<UrlText<'a>> {
        self.server.facts().endpoints.url(self.of)
    }

    pub(crate) fn as_str(self) -> &'a str {
        self.url().map_or("", UrlText::as_str)
    }

    pub(crate) fn origin(self) -> &'a str {
        self.url().map_or("", UrlText::origin)
    }

    /// Returns the URL of a request, which shares the text.
    pub(crate) fn to_request_url(self) -> RequestUrl {
        struct Shared(Server, Endpoint);
        impl AsRef<[u8]> for Shared {
            fn as_ref(&self) -> &[u8] {
                let url = self.0.facts().endpoints.url(self.1);
                url.map_or("", UrlText::as_str).as_bytes()
            }
        }
        RequestUrl::of(Bytes::from_owner(Shared(self.server.clone(), self.of)))
    }
}

impl Server {
    /// Returns an endpoint.
    pub(crate) fn endpoint(&self, of: Endpoint) -> Option<CredentialEndpoint<'_>> {
        let found = self.facts().endpoints.has(of);
        found.then_some(CredentialEndpoint { server: self, of })
    }

    /// Returns the token endpoint, which every server has.
    pub(crate) fn token_endpoint(&self) -> CredentialEndpoint<'_> {
        CredentialEndpoint {
            server: self,
            of: Endpoint::Token,
        }
    }
}

/// The endpoints of one server, in one text.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Endpoints {
    text: Box<str>,
    /// Where each endpoint ends: first the authorization endpoint, then those of [`Endpoint::ALL`]. An absent one is empty.
    ends: [u32; 6],
}

/// The error when the issuer moved its token endpoint to another origin (A22).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TokenEndpointMoved;

impl Endpoints {
    /// Creates the endpoints; `find` supplies those behind the first two.
    pub(super) fn with<'a, E>(
        token: CheckedUrl<'a>,
        authorization: Option<CheckedUrl<'a>>,
        mut find: impl FnMut(Endpoint) -> Result<Option<CheckedUrl<'a>>, E>,
    ) -> Result<Self, E> {
        let registration = find(Endpoint::Registration)?;
        let revocation = find(Endpoint::Revocation)?;
        let pushed = find(Endpoint::PushedAuthorization)?;
        // No record contains it: a user at the device is there for metadata that was just read.
        let device = find(Endpoint::DeviceAuthorization)?;
        let all = [
            authorization,
            Some(token),
            revocation,
            pushed,
            registration,
            device,
        ];
        Ok(Self::joined(&all))
    }

    fn joined(all: &[Option<CheckedUrl<'_>>; 6]) -> Self {
        let urls = || all.iter().flatten().map(|url| url.borrowed().as_str());
        let mut text = String::with_capacity(urls().map(str::len).sum());
        let mut ends = [0; 6];
        for (end, url) in ends.iter_mut().zip(all) {
            text.push_str(url.as_ref().map_or("", |url| url.borrowed().as_str()));
            *end = u32::try_from(text.len()).unwrap_or(u32::MAX);
        }
        Self {
            text: text.into_boxed_str(),
            ends,
        }
    }

    /// Restores the endpoints from a record with a valid checksum.
    pub(crate) fn restore<'a, E>(
        token: CheckedUrl<'a>,
        authorization: Option<CheckedUrl<'a>>,
        find: impl FnMut(Endpoint) -> Result<Option<CheckedUrl<'a>>, E>,
        _checked: &Opened<'_>,
    ) -> Result<Self, E> {
        Self::with(token, authorization, find)
    }

    /// Returns the authorization endpoint, which receives no credential.
    pub(crate) fn authorization(&self) -> Option<UrlText<'_>> {
        let [end, ..] = self.ends;
        self.between(0, end)
    }

    /// Returns the URL of a credential endpoint, which is no [`CredentialEndpoint`].
    pub(crate) fn url(&self, endpoint: Endpoint) -> Option<UrlText<'_>> {
        let [
            authorization,
            token,
            revocation,
            pushed,
            registration,
            device,
        ] = self.ends;
        let (start, end) = match endpoint {
            Endpoint::Token => (authorization, token),
            Endpoint::Revocation => (token, revocation),
            Endpoint::PushedAuthorization => (revocation, pushed),
            Endpoint::Registration => (pushed, registration),
            Endpoint::DeviceAuthorization => (registration, device),
        };
        self.between(start, end)
    }

    fn between(&self, start: u32, end: u32) -> Option<UrlText<'_>> {
        let place = |at| usize::try_from(at).unwrap_or(usize::MAX);
        let text = self.text.get(place(start)..place(end))?;
        UrlText::of_checked(text)
    }

    pub(crate) fn has(&self, endpoint: Endpoint) -> bool {
        self.url(endpoint).is_some()
    }

    /// Returns the origins at which clients authenticate.
    pub(crate) fn secret_origins(&self) -> SecretOrigins {
        let urls = Endpoint::ALL.into_iter().filter(|of| of.authenticates());
        let urls = urls.filter_map(|of| self.url(of));
        SecretOrigins::new(urls.map(UrlText::origin))
    }

    /// Returns the endpoints after a later document of the same issuer, for credentials issued at the
    /// present ones. A changed path is followed, a changed origin is not: an optional endpoint on another
    /// origin keeps its recorded URL, or stays absent. Also returns the endpoints that were not followed
    /// (A22, REFR-11). `None` if all were: the endpoints are those of the later document.
    ///
    /// # Errors
    /// [`TokenEndpointMoved`] when the token endpoint is on another origin.
    pub(super) fn followed_by(
        &self,
        later: &Self,
    ) -> Result<(Option<Self>, Vec<Endpoint>), TokenEndpointMoved> {
        let own = self.url(Endpoint::Token).map_or("", UrlText::origin);
        let token = later.url(Endpoint::Token);
        let token = token.filter(|token| token.is_on(own));
        let token = token.ok_or(TokenEndpointMoved)?;
        let known = |url: UrlText<'_>| {
            let all = Endpoint::ALL.into_iter().filter_map(|of| self.url(of));
            url.is_on(own) || all.map(UrlText::origin).any(|origin| url.is_on(origin))
        };
        let strays = |of: &Endpoint| later.url(*of).is_some_and(|url| !known(url));
        let moved: Vec<_> = Endpoint::ALL.into_iter().filter(strays).collect();
        if moved.is_empty() {
            return Ok((None, moved));
        }
        let follow = |of| {
            let all = if moved.contains(&of) { self } else { later };
            Ok(all.url(of).map(CheckedUrl::AsSent))
        };
        let authorization = later.authorization().map(CheckedUrl::AsSent);
        let followed = Self::with(CheckedUrl::AsSent(token), authorization, follow)?;
        Ok((Some(followed), moved))
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
