//! Authorization server metadata that matches the server (AS-03, AS-04).

use serde_json::{Map, Value, json};

use super::dpop::DpopAlgorithms;

/// The reason why a member cannot be set directly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemberError {
    /// The member is derived from the server, or has its own method.
    #[error("the member `{0}` is made by the server's own values or methods")]
    Reserved(String),
    /// `none` is not allowed as an algorithm for client authentication (RFC 8414 section 2).
    #[error("the member `{0}` holds the algorithm `none`")]
    NoneAlgorithm(String),
}

const RESERVED: &[&str] = &[
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "response_types_supported",
    "response_modes_supported",
    "code_challenge_methods_supported",
    "authorization_response_iss_parameter_supported",
    "registration_endpoint",
    "revocation_endpoint",
    "scopes_supported",
    "grant_types_supported",
    "token_endpoint_auth_methods_supported",
    "client_id_metadata_document_supported",
    "dpop_signing_alg_values_supported",
];

/// A builder for a metadata document. It always contains `S256`, and never `none` or `plain`.
#[derive(Clone, Debug)]
pub struct MetadataBuilder {
    members: Map<String, Value>,
}

/// The members that are derived from the server.
pub(super) struct ServerFacts<'a> {
    pub(super) issuer: &'a str,
    pub(super) iss: bool,
    pub(super) response_modes: Vec<&'static str>,
}

impl MetadataBuilder {
    pub(super) fn new(facts: &ServerFacts<'_>, authorization: &str, token: &str) -> Self {
        let mut members = Map::new();
        let mut set = |name: &str, value: Value| members.insert(name.to_owned(), value);
        set("issuer", json!(facts.issuer));
        set("authorization_endpoint", json!(authorization));
        set("token_endpoint", json!(token));
        set("response_types_supported", json!(["code"]));
        set("response_modes_supported", json!(facts.response_modes));
        set("code_challenge_methods_supported", json!(["S256"]));
        if facts.iss {
            set(
                "authorization_response_iss_parameter_supported",
                json!(true),
            );
        }
        Self { members }
    }

    fn set(mut self, name: &str, value: Value) -> Self {
        self.members.insert(name.to_owned(), value);
        self
    }

    fn set_list<'a>(self, name: &str, items: impl IntoIterator<Item = &'a str>) -> Self {
        let items: Vec<&str> = items.into_iter().collect();
        self.set(name, json!(items))
    }

    /// Sets the registration endpoint (RFC 7591).
    #[must_use]
    pub fn registration_endpoint(self, url: &str) -> Self {
        self.set("registration_endpoint", json!(url))
    }

    /// Sets the revocation endpoint (RFC 7009).
    #[must_use]
    pub fn revocation_endpoint(self, url: &str) -> Self {
        self.set("revocation_endpoint", json!(url))
    }

    /// Sets `scopes_supported`.
    #[must_use]
    pub fn scopes<'a>(self, scopes: impl IntoIterator<Item = &'a str>) -> Self {
        self.set_list("scopes_supported", scopes)
    }

    /// Sets `grant_types_supported`.
    #[must_use]
    pub fn grant_types<'a>(self, grants: impl IntoIterator<Item = &'a str>) -> Self {
        self.set_list("grant_types_supported", grants)
    }

    /// Sets the client authentication methods of the token endpoint. For other endpoints use
    /// [`MetadataBuilder::member`].
    #[must_use]
    pub fn token_auth_methods<'a>(self, methods: impl IntoIterator<Item = &'a str>) -> Self {
        self.set_list("token_endpoint_auth_methods_supported", methods)
    }

    /// Advertises client ID metadata documents, which the server must fetch and validate (AS-05).
    #[must_use]
    pub fn client_id_metadata_documents(self) -> Self {
        self.set("client_id_metadata_document_supported", json!(true))
    }

    /// Sets the algorithms of DPoP proofs, which the server must verify (AS-19).
    #[must_use]
    pub fn dpop_algorithms(self, algorithms: &DpopAlgorithms) -> Self {
        self.set_list("dpop_signing_alg_values_supported", algorithms.iter())
    }

    /// Sets any other member.
    ///
    /// # Errors
    /// [`MemberError`] for a member that cannot be set directly.
    pub fn member(self, name: &str, value: Value) -> Result<Self, MemberError> {
        if RESERVED.contains(&name) {
            return Err(MemberError::Reserved(name.to_owned()));
        }
        let holds_none = value.as_array().is_some_and(|items| {
            let mut names = items.iter().filter_map(Value::as_str);
            names.any(|name| name.eq_ignore_ascii_case("none"))
        });
        if name.ends_with("_endpoint_auth_signing_alg_values_supported") && holds_none {
            return Err(MemberError::NoneAlgorithm(name.to_owned()));
        }
        Ok(self.set(name, value))
    }

    /// Returns the document.
    pub fn to_json(&self) -> String {
        Value::Object(self.members.clone()).to_string()
    }
}
