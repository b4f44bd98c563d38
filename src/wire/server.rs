//! Authorization server metadata (RFC 8414, OpenID Connect Discovery): the members that the client reads.

use serde::Deserialize;

use super::json::{Demand, Flag, JsonFlaw, Kind, Text, object};
use super::words::{
    AuthMethod, ChallengeMethod, GrantProfile, GrantType, KnownScope, ResponseType,
    SigningAlgorithm, Words,
};

/// A parsed metadata document, before validation.
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
    #[serde(borrow)]
    pub(crate) device_authorization_endpoint: Text<'a>,
    pub(crate) require_pushed_authorization_requests: Flag,
    pub(crate) authorization_response_iss_parameter_supported: Demand,
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

/// The members that count as absent with a wrong type.
pub(crate) const OPTIONAL: &[(&str, Kind)] = &[
    ("authorization_endpoint", Kind::Text),
    ("registration_endpoint", Kind::Text),
    ("revocation_endpoint", Kind::Text),
    ("pushed_authorization_request_endpoint", Kind::Text),
    ("device_authorization_endpoint", Kind::Text),
    ("require_pushed_authorization_requests", Kind::Flag),
    ("client_id_metadata_document_supported", Kind::Flag),
    ("response_types_supported", Kind::List),
    ("grant_types_supported", Kind::List),
    ("scopes_supported", Kind::List),
    ("code_challenge_methods_supported", Kind::List),
    ("token_endpoint_auth_methods_supported", Kind::List),
    ("revocation_endpoint_auth_methods_supported", Kind::List),
    (
        "token_endpoint_auth_signing_alg_values_supported",
        Kind::List,
    ),
    ("dpop_signing_alg_values_supported", Kind::List),
    ("authorization_grant_profiles_supported", Kind::List),
];

impl<'a> ServerDocument<'a> {
    /// Parses a document.
    ///
    /// # Errors
    /// [`JsonFlaw`] (SEC-14).
    pub fn parse(body: &'a [u8]) -> Result<Self, JsonFlaw> {
        object(body)
    }

    /// Returns the `issuer` member as received. A document without one is not metadata (QUIRK-15).
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.get()
    }
}
