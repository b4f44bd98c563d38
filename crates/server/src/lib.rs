//! Helpers for the other side: authorization servers and MCP servers that want to be understood.
//!
//! They are pure: texts and header values out of values that were checked once. A framework's handler
//! stays the framework's; the examples `server_authorization` and `server_resource` show both with
//! axum. What they cannot do for you is in `docs/servers.md`.

mod authorization;
mod authorization_error;
mod completion;
mod dpop;
mod http;
mod issuer;
mod metadata;
mod pkce;
mod presented;
mod redirect;
mod registration;
mod rejection;
mod resource;
mod response;
mod scopes;

pub use authorization::{AuthorizationServer, WithoutIss};
pub use authorization_error::AuthorizationError;
pub use completion::CompletionError;
pub use dpop::{AlgorithmError, DpopAlgorithms};
pub use issuer::IssuerError;
pub use metadata::{MemberError, MetadataBuilder};
pub use pkce::{CodeChallenge, PkceError};
pub use presented::{Presented, PresentedError, TokenScheme};
pub use redirect::{
    MAX_REDIRECT_URI_BYTES, RedirectRules, RedirectTarget, RedirectUri, RedirectUriError,
};
pub use registration::{
    MAX_REDIRECT_URIS, MAX_REGISTRATION_BYTES, RegistrationAnswer, RegistrationError,
    RegistrationRequest,
};
pub use rejection::{DPOP_NONCE, DpopNonce, Rejection, RejectionResponse};
pub use resource::{DpopUse, ProtectedResource, ResourceError};
pub use response::{AuthorizationResponse, Responding, ResponseError, ResponseMode};
pub use scopes::{MAX_ALTERNATIVES, RequiredScopes, ScopeError};
