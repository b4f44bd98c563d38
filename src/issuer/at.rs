//! Containment: a credential is stored together with the only server that may receive it.
//!
//! Every function that combines a server's URL with a secret is in this file. These functions take no
//! endpoint, so a caller cannot pass a wrong one.

use bytes::Bytes;
use http::{HeaderValue, Request};

use super::endpoint::TokenEndpointMoved;
use super::request::{FORM, JSON, bearer, post};
use super::{CredentialEndpoint, Endpoint, IssuerId, SecretOrigins, Server, SlashRule};
use crate::config::IssuerSettings;
use crate::grant::{Redirected, Registration, TokenGrant};
use crate::record::Opened;
use crate::secret::Secret;
use crate::wire::form::Form;
use crate::wire::text::Untrusted;

/// A value at one authorization server. The value cannot be extracted, nor the server replaced: a value
/// only turns into another value at the same server.
#[derive(Clone)]
pub(crate) struct AtIssuer<T> {
    server: Server,
    held: T,
}

impl<T> AtIssuer<T> {
    /// Returns the server.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Returns the issuer.
    pub(crate) fn issuer(&self) -> &IssuerId {
        self.server.issuer()
    }

    pub(crate) fn held(&self) -> &T {
        &self.held
    }

    /// Maps the value and keeps the server.
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

    /// Restores a value from a record that was written from one.
    pub(crate) fn restore(server: Server, held: T, _checked: &Opened<'_>) -> Self {
        Self { server, held }
    }
}

impl Server {
    /// Returns an empty value at this server.
    pub(crate) fn enter(self) -> AtIssuer<()> {
        AtIssuer {
            server: self,
            held: (),
        }
    }
}

impl<T> AtIssuer<T> {
    /// Adopts newer metadata of the same issuer, unless the token endpoint moved to another origin. Returns
    /// the other endpoints that moved, which are not followed (REFR-11).
    pub(crate) fn revalidate(&mut self, now: &Server) -> Result<Vec<Endpoint>, TokenEndpointMoved> {
        let (server, moved) = self.server.followed_by(now)?;
        self.server = server;
        Ok(moved)
    }
}

impl<T> AtIssuer<T> {
    /// Restricts a stored value to endpoints that this process knows: another version of this program may
    /// have followed an endpoint to another origin (A22).
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

    /// Returns the value with metadata marked as stale.
    pub(crate) fn aged(self) -> Self {
        Self {
            server: self.server.aged(),
            held: self.held,
        }
    }
}

/// A value bound to an issuer before discovery: a client that the host configured (REG-03), or an earlier
/// registration.
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

    /// Returns true if the value passes a test.
    pub(crate) fn is(&self, test: impl FnOnce(&T) -> bool) -> bool {
        test(&self.value)
    }

    /// Returns the value at a validated server of its issuer; `None` at any other server.
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

/// A dynamic registration from a record. Its secret belongs to the origins at which clients authenticated when it was
/// made: where the server names other ones now, the client is registered again (TOK-07, A22).
pub(crate) struct StoredRegistration {
    bound: IssuerBound<Registration>,
    origins: SecretOrigins,
}

impl StoredRegistration {
    pub(crate) fn new(bound: IssuerBound<Registration>, origins: SecretOrigins) -> Self {
        Self { bound, origins }
    }

    pub(crate) fn issuer(&self) -> &IssuerId {
        self.bound.issuer()
    }

    /// Returns true if the registration passes a test.
    pub(crate) fn is(&self, test: impl FnOnce(&Registration) -> bool) -> bool {
        self.bound.is(test)
    }

    /// Returns the registration at a validated server of its issuer, as that describes itself now. A registration with
    /// a secret is not returned where a party would see the secret, or has seen it, that the server did not name then
    /// or does not name any more.
    pub(crate) fn open(&self, at: &AtIssuer<()>) -> Option<AtIssuer<Registration>> {
        let known = self.bound.open(at, SlashRule::Exact)?;
        let endpoints = &known.server.facts().endpoints;
        let shown =
            known.held.client.secret().is_none() || endpoints.secret_origins() == self.origins;
        shown.then_some(known)
    }
}

impl<G: TokenGrant> AtIssuer<G> {
    /// Returns this server's endpoint for the value.
    pub(crate) fn endpoint(&self) -> Option<CredentialEndpoint<'_>> {
        self.server.facts().endpoints.get(G::ENDPOINT)
    }

    /// Returns true if a response came from that endpoint (H07).
    pub(crate) fn is_endpoint(&self, url: &str) -> bool {
        self.endpoint().is_some_and(|own| own.as_str() == url)
    }

    /// Returns the request for the value, with client authentication, to this server's own endpoint. No
    /// other function creates such requests (TOK-01, REV-05).
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
            Endpoint::Revocation | Endpoint::Registration | Endpoint::DeviceAuthorization => {}
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
    /// Returns a registration request to this server, with the host's initial access token for it (REG-17,
    /// REG-29).
    pub(crate) fn registration_request(
        &self,
        body: String,
        settings: &IssuerSettings,
    ) -> Option<Request<Bytes>> {
        let endpoint = self.registration_endpoint()?;
        let authorization = settings.initial_access_token().map(bearer);
        Some(post(endpoint, JSON, body, authorization))
    }

    /// Returns true if a response came from the registration endpoint (H07).
    pub(crate) fn is_registration_endpoint(&self, url: &str) -> bool {
        let endpoint = self.registration_endpoint();
        endpoint.is_some_and(|endpoint| endpoint.as_str() == url)
    }

    fn registration_endpoint(&self) -> Option<CredentialEndpoint<'_>> {
        self.server.facts().endpoints.get(Endpoint::Registration)
    }

    /// Returns the client that this server has just registered.
    pub(crate) fn registered(self, client: Registration) -> AtIssuer<Registration> {
        self.then(|()| client)
    }
}

impl AtIssuer<Redirected> {
    /// Returns the URL of the authorization request at this server's authorization endpoint (AUTHZ-01,
    /// AUTHZ-02).
    pub(crate) fn redirect_url(&self, settings: &IssuerSettings) -> Result<Box<str>, RequestError> {
        let Some(endpoint) = &self.server.facts().authorization_endpoint else {
            return Err(RequestError::NoEndpoint);
        };
        self.held.redirect_url(endpoint, settings)
    }

    /// Returns the URL of that endpoint with a reference to a pushed request.
    pub(crate) fn reference_url(&self, reference: &str) -> Result<Box<str>, RequestError> {
        let Some(endpoint) = &self.server.facts().authorization_endpoint else {
            return Err(RequestError::NoEndpoint);
        };
        self.held.reference_url(endpoint, reference)
    }
}

/// The reason why no authorization request is possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestError {
    /// The server has no authorization endpoint.
    NoEndpoint,
    /// The endpoint's query contains a parameter that the client sets (AUTHZ-02, RES-08).
    Reserved(Untrusted),
    /// The URL is too long; its length in bytes (AUTHZ-11).
    TooLong(usize),
}
