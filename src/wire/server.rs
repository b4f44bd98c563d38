//! Authorization server metadata (RFC 8414, OpenID Connect Discovery): the members that are read.

use serde::Deserialize;

use super::json::{Flag, JsonFlaw, Text, object};
use super::words::{
    AuthMethod, ChallengeMethod, GrantProfile, GrantType, KnownScope, ResponseType,
    SigningAlgorithm, Words,
};

/// A metadata document before any rule was applied to it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServerDocument<'a> {
    #[serde(borrow)]
    pub(crate) issuer: Text<'a>,
    #[serde(borrow)]
    pub(crate) authorization_endpoint: Text<'a>,
    #[serde(borrow)]
    pub(crate) token_endpoint: Text<'a>,
    #[serde(borrow)]
    pub(crate) registration_endpoint: Text<'a>,
    #[serde(borrow)]
    pub(crate) revocation_endpoint: Text<'a>,
    #[serde(borrow)]
    pub(crate) pushed_authorization_request_endpoint: Text<'a>,
    pub(crate) require_pushed_authorization_requests: Flag,
    pub(crate) authorization_response_iss_parameter_supported: Flag,
    pub(crate) client_id_metadata_document_supported: Flag,
    pub(crate) response_types_supported: Words<ResponseType>,
    pub(crate) grant_types_supported: Words<GrantType>,
    pub(crate) scopes_supported: Words<KnownScope>,
    pub(crate) code_challenge_methods_supported: Words<ChallengeMethod>,
    pub(crate) token_endpoint_auth_methods_supported: Words<AuthMethod>,
    pub(crate) revocation_endpoint_auth_methods_supported: Words<AuthMethod>,
    pub(crate) token_endpoint_auth_signing_alg_values_supported: Words<SigningAlgorithm>,
    pub(crate) dpop_signing_alg_values_supported: Words<SigningAlgorithm>,
    pub(crate) authorization_grant_profiles_supported: Words<GrantProfile>,
}

impl<'a> ServerDocument<'a> {
    /// Reads a document.
    ///
    /// # Errors
    /// [`JsonFlaw`] (SEC-14).
    pub fn parse(body: &'a [u8]) -> Result<Self, JsonFlaw> {
        object(body)
    }

    /// The `issuer` member as received; a document without one is no metadata (QUIRK-15).
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.get()
    }
}
