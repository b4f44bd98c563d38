//! Issuers, their servers, and the values bound to them.

mod at;
mod endpoint;
mod id;
mod request;
mod server;

pub(crate) use at::{AtIssuer, IssuerBound, RequestError, StoredRegistration};
pub(crate) use endpoint::{CredentialEndpoint, CredentialEndpoints, Endpoint, SecretOrigins};
pub use id::{IssuerFlaw, IssuerId};
pub(crate) use request::{bearer, bound, discovery_request};
pub(crate) use server::{Audience, Facts, Server, SlashRule};
pub use server::{MetadataFlaw, ServerSource};
