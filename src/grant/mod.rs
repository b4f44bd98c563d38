//! Grants: the parameters of token requests, with client authentication.

mod answer;
mod assertion;
mod client;
mod code;
mod device;
mod registered;
mod request;

pub(crate) use answer::standard_answer;
pub use assertion::SubjectTokenKind;
pub(crate) use assertion::{Asked, ClientCredentials, ID_JAG, JwtBearer, TokenExchange};
pub(crate) use client::Client;
pub use client::ClientOrigin;
pub use client::MethodFlaw;
pub(crate) use client::{AssertionKey, ClientMethod, choose_method, key_method};
pub(crate) use code::{
    CLOCK_SKEW_MILLIS, CallbackFlaw, CodeGrant, Resource, is_same_browser, plain,
};
pub(crate) use code::{Redirected, RedirectedParts};
pub(crate) use device::{DeviceGrant, DeviceRequest};
pub(crate) use registered::{
    RegisteredScopes, Registration, StoredRegistration, registered_method, registration_methods,
};
pub(crate) use request::RequestError;

use crate::issuer::Endpoint;
use crate::key::KeyBinding;
use crate::wire::form::Form;

/// A grant: the only source of secrets in a request body.
pub(crate) trait TokenGrant {
    /// The endpoint of the request.
    const ENDPOINT: Endpoint = Endpoint::Token;
    /// Whether the grant's own parameters contain `client_id`.
    const NAMES_CLIENT: bool = false;
    /// Adds the grant's parameters, except client authentication.
    fn encode(&self, form: &mut Form);
    /// Returns the client of the grant.
    fn client(&self) -> &Client;
    /// Returns the key that signs the DPoP proof, if the token will be bound to one.
    fn binding(&self) -> Option<&KeyBinding> {
        None
    }
}
