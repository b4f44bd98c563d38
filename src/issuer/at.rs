//! Containment: a credential is held inside a value that also holds the only server it may go to.
//!
//! Every function that joins a server's URL to something secret is in this file. None of them takes
//! an endpoint, so there is none to get wrong.

use bytes::Bytes;
use http::{HeaderValue, Request};

use super::endpoint::TokenEndpointMoved;
use super::request::{FORM, JSON, bearer, post};
use super::{CredentialEndpoint, Endpoint, IssuerId, Server, SlashRule};
use crate::config::IssuerSettings;
use crate::grant::{Redirected, Registration, TokenGrant};
use crate::record::Opened;
use crate::secret::Secret;
use crate::wire::form::Form;
use crate::wire::text::Untrusted;

/// Something held at one authorization server. There is no way to take it out, and none to set the
/// server to another one: what is held can only become something else at the same server.
#[derive(Clone)]
pub(crate) struct AtIssuer<T> {
    server: Server,
    held: T,
}

impl<T> AtIssuer<T> {
    /// The server.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// The issuer.
    pub(crate) fn issuer(&self) -> &IssuerId {
        self.server.issuer()
    }

    pub(crate) fn held(&self) -> &T {
        &self.held
    }

    /// Changes what is held and keeps the server.
    pub(crate) fn then<U>(self, change: impl FnOnce(T) -> U) -> AtIssuer<U> {
        AtIssuer {
            held: change(self.held),
            server: self.server,
        }
    }

    pub(crate) fn try_then<U, E>(
        self,
        change: impl FnOnce(T, &Server) -> Result<U, E>,
    ) -> Result<AtIssuer<U>, E> {
        Ok(AtIssuer {
            held: change(self.held, &self.server)?,
            server: self.server,
        })
    }

    /// From a record written from such a value.
    pub(crate) fn restore(server: Server, held: T, _checked: &Opened<'_>) -> Self {
        Self { server, held }
    }
}

impl Server {
    /// One arrives holding nothing.
    pub(crate) fn enter(self) -> AtIssuer<()> {
        AtIssuer {
            server: self,
            held: (),
        }
    }
}

impl<T> AtIssuer<T> {
    /// Takes over what the same issuer says of itself now (REFR-11); what is held stays put unless
    /// the token endpoint is still where it was. Says which other endpoints moved and are not followed.
    pub(crate) fn revalidated(
        self,
        now: &Server,
    ) -> Result<(Self, Vec<Endpoint>), TokenEndpointMoved> {
        let (server, moved) = self.server.followed_by(now)?;
        let held = self.held;
        Ok((Self { server, held }, moved))
    }
}

impl<T> AtIssuer<T> {
    /// As it was stored, at endpoints that this process knows: another version of this program may have
    /// followed one to another origin (A22).
    pub(crate) fn confined_to(self, known: &Server) -> Self {
        match known.followed_by(&self.server) {
            Ok((server, _moved)) => Self {
                server,
                held: self.held,
            },
            // Another issuer, or a later authorization elsewhere.
            Err(TokenEndpointMoved) => self,
        }
    }

    /// The same, with a server whose document is to be read again.
    pub(crate) fn aged(self) -> Self {
        Self {
            server: self.server.aged(),
            held: self.held,
        }
    }
}

/// What is bound to an issuer that was not met yet: a client that the host configured (REG-03), or one
/// that was registered earlier.
#[derive(Clone, Debug)]
pub(crate) struct IssuerBound<T> {
    issuer: IssuerId,
    value: T,
}

impl<T: Clone> IssuerBound<T> {
    pub(crate) fn new(issuer: IssuerId, value: T) -> Self {
        Self { issuer, value }
    }

    pub(crate) fn issuer(&self) -> &IssuerId {
        &self.issuer
    }

    /// Whether the value passes a test.
    pub(crate) fn is(&self, test: impl FnOnce(&T) -> bool) -> bool {
        test(&self.value)
    }

    /// The one door: opens at a validated server of that issuer and nowhere else.
    pub(crate) fn open(&self, at: &AtIssuer<()>, slash: SlashRule) -> Option<AtIssuer<T>> {
        let found = at.issuer();
        let same = found == &self.issuer
            || slash == SlashRule::TolerateOne && self.issuer.same_but_slash(found.as_str());
        same.then(|| AtIssuer {
            server: at.server.clone(),
            held: self.value.clone(),
        })
    }
}

impl<G: TokenGrant> AtIssuer<G> {
    /// This server's own endpoint for what is held.
    pub(crate) fn endpoint(&self) -> Option<CredentialEndpoint<'_>> {
        self.server.facts().endpoints.get(G::ENDPOINT)
    }

    /// Whether an answer came from that endpoint itself (H07).
    pub(crate) fn is_endpoint(&self, url: &str) -> bool {
        self.endpoint().is_some_and(|own| own.as_str() == url)
    }

    /// The only request with client authentication there is: to this server's own endpoint (TOK-01,
    /// REV-05).
    pub(crate) fn request(
        &self,
        settings: &IssuerSettings,
        assertion: Option<&Secret>,
        proof: Option<&Secret>,
    ) -> Option<Request<Bytes>> {
        let mut form = Form::with_capacity(512);
        self.held.encode(&mut form);
        match G::ENDPOINT {
            Endpoint::Token => form.push_further(settings.token_parameters()),
            Endpoint::PushedAuthorization => form.push_further(settings.authorization_parameters()),
            Endpoint::Revocation | Endpoint::Registration => {}
        }
        let client = self.held.client();
        let authorization = client.authenticate(&mut form, assertion, settings);
        let body = form.into_string();
        let mut request = post(self.endpoint()?, FORM, body, authorization);
        if let Some(proof) = proof.and_then(|proof| HeaderValue::try_from(proof.expose()).ok()) {
            request.headers_mut().insert("dpop", proof);
        }
        Some(request)
    }
}

impl AtIssuer<()> {
    /// A registration request to this server, with the host's initial access token for it (REG-17, REG-29).
    pub(crate) fn registration_request(
        &self,
        body: String,
        settings: &IssuerSettings,
    ) -> Option<Request<Bytes>> {
        let endpoint = self.registration_endpoint()?;
        let authorization = settings.initial_access_token().map(bearer);
        Some(post(endpoint, JSON, body, authorization))
    }

    /// Whether an answer came from the registration endpoint itself (H07).
    pub(crate) fn is_registration_endpoint(&self, url: &str) -> bool {
        let endpoint = self.registration_endpoint();
        endpoint.is_some_and(|endpoint| endpoint.as_str() == url)
    }

    fn registration_endpoint(&self) -> Option<CredentialEndpoint<'_>> {
        self.server.facts().endpoints.get(Endpoint::Registration)
    }

    /// Takes up a client that this server has just registered.
    pub(crate) fn registered(self, client: Registration) -> AtIssuer<Registration> {
        self.then(|()| client)
    }
}

impl AtIssuer<Redirected> {
    /// The URL to open: this server's own authorization endpoint (AUTHZ-01, AUTHZ-02).
    pub(crate) fn redirect_url(&self, settings: &IssuerSettings) -> Result<Box<str>, RequestError> {
        let Some(endpoint) = &self.server.facts().authorization_endpoint else {
            return Err(RequestError::NoEndpoint);
        };
        self.held.redirect_url(endpoint, settings)
    }

    /// The same endpoint with a reference to a pushed request.
    pub(crate) fn reference_url(&self, reference: &str) -> Result<Box<str>, RequestError> {
        let Some(endpoint) = &self.server.facts().authorization_endpoint else {
            return Err(RequestError::NoEndpoint);
        };
        self.held.reference_url(endpoint, reference)
    }
}

/// Why no authorization request can be made of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestError {
    /// There is none.
    NoEndpoint,
    /// Its own query holds a parameter that the client sets (AUTHZ-02, RES-08).
    Reserved(Untrusted),
    /// The URL is too long, by its length in bytes (AUTHZ-11).
    TooLong(usize),
}
