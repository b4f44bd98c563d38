//! The requests that carry a credential.
//!
//! Every function that combines a server's URL with a secret is in this file. These functions take no
//! endpoint, so a caller cannot pass a wrong one.

use bytes::Bytes;
use http::HeaderValue;

use super::{Redirected, Registration, TokenGrant};
use crate::issuer::{
    AtIssuer, Body, CredentialEndpoint, Endpoint, IssuerSettings, Outgoing, RequestHeaders, bearer,
};
use crate::secret::Secret;
use crate::wire::form::Form;
use crate::wire::text::Untrusted;

impl<G: TokenGrant> AtIssuer<G> {
    /// Returns this server's endpoint for the value.
    pub(crate) fn endpoint(&self) -> Option<CredentialEndpoint<'_>> {
        self.server().endpoint(G::ENDPOINT)
    }

    /// Returns true if a response came from that endpoint (H07).
    pub(crate) fn is_endpoint(&self, url: &str) -> bool {
        self.endpoint().is_some_and(|own| own.as_str() == url)
    }

    /// Returns the request for the value, with client authentication, to this server's own endpoint. No
    /// other function creates such requests (TOK-01, REV-05).
    pub(crate) fn request(
        &self,
        headers: &RequestHeaders,
        settings: &IssuerSettings,
        assertion: Option<&Secret>,
        proof: Option<&Secret>,
    ) -> Option<Outgoing> {
        let mut form = Form::with_capacity(512);
        self.held().encode(&mut form);
        match G::ENDPOINT {
            Endpoint::Token => form.push_further(settings.token_parameters()),
            Endpoint::PushedAuthorization => form.push_further(settings.authorization_parameters()),
            Endpoint::Revocation | Endpoint::Registration | Endpoint::DeviceAuthorization => {}
        }
        let client = self.held().client();
        let authorization = client.authenticate(&mut form, G::NAMES_CLIENT, assertion, settings);
        let body = form.into_body();
        let endpoint = self.endpoint()?;
        let mut outgoing = headers.post(endpoint, Body::Form, body, authorization);
        if let Some(proof) = proof.and_then(|proof| HeaderValue::try_from(proof.expose()).ok()) {
            let request = &mut outgoing.request;
            request.headers_mut().insert("dpop", proof);
        }
        Some(outgoing)
    }
}

impl AtIssuer<()> {
    /// Returns a registration request to this server, with the host's initial access token for it (REG-17,
    /// REG-29).
    pub(crate) fn registration_request(
        &self,
        headers: &RequestHeaders,
        body: String,
        settings: &IssuerSettings,
    ) -> Option<Outgoing> {
        let endpoint = self.registration_endpoint()?;
        let authorization = settings.initial_access_token().map(bearer);
        let body = Bytes::from(body);
        Some(headers.post(endpoint, Body::Json, body, authorization))
    }

    /// Returns true if a response came from the registration endpoint (H07).
    pub(crate) fn is_registration_endpoint(&self, url: &str) -> bool {
        let endpoint = self.registration_endpoint();
        endpoint.is_some_and(|endpoint| endpoint.as_str() == url)
    }

    fn registration_endpoint(&self) -> Option<CredentialEndpoint<'_>> {
        self.server().endpoint(Endpoint::Registration)
    }

    /// Returns the client that this server has just registered.
    pub(crate) fn registered(self, client: Registration) -> AtIssuer<Registration> {
        self.then(|()| client)
    }
}

impl AtIssuer<Redirected> {
    /// Returns the URL of the authorization request at this server's authorization endpoint (AUTHZ-01,
    /// AUTHZ-02).
    pub(crate) fn redirect_url(&self, settings: &IssuerSettings) -> Result<String, RequestError> {
        let Some(endpoint) = self.server().facts().endpoints.authorization() else {
            return Err(RequestError::NoEndpoint);
        };
        self.held().redirect_url(endpoint, settings)
    }

    /// Returns the URL of that endpoint with a reference to a pushed request.
    pub(crate) fn reference_url(&self, reference: &str) -> Result<String, RequestError> {
        let Some(endpoint) = self.server().facts().endpoints.authorization() else {
            return Err(RequestError::NoEndpoint);
        };
        self.held().reference_url(endpoint, reference)
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
