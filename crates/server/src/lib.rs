//! Helpers for servers: MCP servers that verify tokens, and authorization servers that issue them.
//!
//! Without features they are pure: texts and header values derived from validated values. Features add the
//! protection of an MCP server:
//!
//! | feature | contents |
//! |---|---|
//! | `jwt` | verification of access tokens and proofs, introspection, scope policies, the parts of a token endpoint |
//! | `tower` | [`ProtectLayer`]: all of that as one layer, for axum, rmcp and other services on tower |
//! | `reqwest` | [`HttpFetch`], which fetches keys |
//!
//! `docs/servers.md` begins with "I have an MCP server, and tokens from X".

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "jwt")]
mod access_token;
mod answers;
mod authorization;
mod authorization_error;
#[cfg(feature = "jwt")]
mod cimd;
#[cfg(feature = "jwt")]
mod claims;
#[cfg(feature = "jwt")]
mod client_auth;
#[cfg(feature = "jwt")]
mod client_request;
mod completion;
#[cfg(feature = "jwt")]
mod consent;
mod dpop;
#[cfg(feature = "reqwest")]
mod fetch;
#[cfg(feature = "jwt")]
mod grants;
#[cfg(feature = "jwt")]
mod guard;
mod http;
#[cfg(feature = "jwt")]
mod introspection;
mod issuer;
#[cfg(feature = "jwt")]
mod issuers;
#[cfg(feature = "jwt")]
mod jose;
#[cfg(feature = "jwt")]
mod keys;
#[cfg(feature = "tower")]
mod layer;
#[cfg(feature = "jwt")]
mod members;
#[cfg(feature = "jwt")]
mod message;
mod metadata;
mod pkce;
#[cfg(feature = "jwt")]
mod policy;
mod presented;
#[cfg(feature = "jwt")]
mod proof;
#[cfg(feature = "jwt")]
mod proxy;
mod redirect;
mod registration;
mod rejection;
#[cfg(feature = "jwt")]
mod replay;
mod resource;
mod response;
#[cfg(feature = "jwt")]
mod rules;
mod scopes;
#[cfg(feature = "jwt")]
mod upstream;
#[cfg(feature = "jwt")]
mod uri;
#[cfg(feature = "jwt")]
mod verifier;

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

#[cfg(feature = "jwt")]
pub use access_token::{AccessToken, TokenError};
pub use answers::{TokenAnswer, TokenEndpointError};
#[cfg(feature = "jwt")]
pub use cimd::{CimdClient, CimdError, MAX_CIMD_BYTES, cimd_request, may_connect};
#[cfg(feature = "jwt")]
pub use client_auth::{ClaimedClient, ClientSecret, MAX_TOKEN_REQUEST, TokenForm, UsedAssertion};
#[cfg(feature = "jwt")]
pub use client_request::ClientRequest;
#[cfg(feature = "reqwest")]
pub use fetch::HttpFetch;
#[cfg(feature = "jwt")]
pub use grants::{
    Approval, CODE_LIFETIME, CodeRecord, Family, Redeemed, Redemption, RefreshRequest,
    RefreshTokens, Refreshed,
};
#[cfg(feature = "jwt")]
pub use guard::{Authorized, Bound, Guard, GuardError, Misdirected};
#[cfg(feature = "jwt")]
pub use introspection::{IntrospectionCache, IntrospectionRules, MAX_INTROSPECTION_BYTES};
#[cfg(feature = "jwt")]
pub use jose::{ALGORITHMS, Algorithm, MAX_JWT_BYTES, VerifyingKey};
#[cfg(feature = "jwt")]
pub use keys::{KeyCache, KeyLookup, KeySetError, KeyTimes, MAX_JWKS_BYTES, MAX_KEYS, parse_keys};
#[cfg(feature = "tower")]
pub use layer::{MAX_BODY, Protect, ProtectLayer};
#[cfg(feature = "jwt")]
pub use message::{MAX_BATCH, MAX_DEPTH, McpMessage, McpMessages, MessageError};
#[cfg(feature = "jwt")]
pub use policy::ScopePolicy;
#[cfg(feature = "jwt")]
pub use proof::{
    NONCE_LIFETIME, NonceKey, PROOF_WINDOW, Proof, ProofChecker, ProofError, ProofSubject,
};
#[cfg(feature = "jwt")]
pub use proxy::{CONSENT_LIFETIME, ProxyError, UpstreamProxy};
#[cfg(feature = "jwt")]
pub use replay::{MAX_PROOFS, MemoryReplays, ReplayStore, ReplayWindow};
#[cfg(feature = "jwt")]
pub use rules::TokenRules;
#[cfg(feature = "jwt")]
pub use upstream::{PendingUpstream, UpstreamCode};
#[cfg(feature = "jwt")]
pub use verifier::{Fetch, FetchError, IntrospectionVerifier, JwtVerifier, NoFetch, VerifyToken};
