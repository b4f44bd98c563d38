//! Helpers for the other side: authorization servers and MCP servers that want to be understood.
//!
//! They are pure: texts and header values out of values that were checked once. A framework's handler
//! stays the framework's; the examples `server_authorization` and `server_resource` show both with
//! axum. What they cannot do for you is in `docs/servers.md`.

mod authorization;
mod issuer;
mod metadata;
mod presented;
mod redirect;
mod registration;
mod resource;

pub use authorization::{
    AuthorizationError, AuthorizationResponse, AuthorizationServer, Responding, ResponseMode,
    WithoutIss,
};
pub use issuer::ServerIssuerFlaw;
pub use metadata::{MetadataBuilder, ReservedMember};
pub use presented::{Presented, PresentedFlaw};
pub use redirect::RedirectTarget;
pub use registration::{RegistrationAnswer, RegistrationFlaw, RegistrationRequest};
pub use resource::{Answer, ProtectedResource, Refused, ResourceFlaw};
