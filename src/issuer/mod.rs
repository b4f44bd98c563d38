//! Issuers, their servers, and the values bound to them.

mod at;
mod endpoint;
mod id;
mod request;
mod server;
mod settings;

pub(crate) use at::{AtIssuer, IssuerBound};
pub(crate) use endpoint::{CredentialEndpoint, Endpoint, Endpoints, SecretOrigins};
pub use id::{IssuerFlaw, IssuerId};
pub(crate) use request::{Body, Outgoing, RequestHeaders, bearer, bound, stored_bearer};
pub(crate) use server::{Audience, Facts, Server, SlashRule};
pub use server::{MetadataFlaw, ServerSource};
pub use settings::{
    AssertionAudience, BasicEncoding, IssParameter, IssuerSettings, JwtBearerSupport, PkceSupport,
    RefreshScopes, ReservedName, ResourceParameter, TokenAnswers,
};
