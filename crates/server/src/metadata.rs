//! Authorization server metadata that says what is true (AS-03, AS-04).

use serde_json::{Map, Value, json};

use super::dpop::DpopAlgorithms;

/// Why a member cannot be set by hand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemberError {
    /// It follows from the server's own values, or has a method of its own that checks it.
    #[error("the member `{0}` is made by the server's own values or methods")]
    Reserved(String),
    /// Endpoints that authenticate clients never take `none` as an algorithm (RFC 8414 section 2).
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

/// A metadata document in the making. `S256` is always in it; `none` and `plain` cannot be.
#[derive(Clone, Debug)]
pub struct MetadataBuilder {
    members: Map<String, Value>,
}

/// The facts that are the server's own, and not its author's to set.
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

    /// Where clients register (RFC 7591).
    #[must_use]
    pub fn registration_endpoint(self, url: &str) -> Self {
        self.set("registration_endpoint", json!(url))
    }

    /// Where tokens are revoked (RFC 7009).
    #[must_use]
    pub fn revocation_endpoint(self, url: &str) -> Self {
        self.set("revocation_endpoint", json!(url))
    }

    /// The scopes worth naming.
    #[must_use]
    pub fn scopes<'a>(self, scopes: impl IntoIterator<Item = &'a str>) -> Self {
        self.set_list("scopes_supported", scopes)
    }

    /// The grants.
    #[must_use]
    pub fn grant_types<'a>(self, grants: impl IntoIterator<Item = &'a str>) -> Self {
        self.set_list("grant_types_supported", grants)
    }

    /// How clients authenticate at the token endpoint, and at no other endpoint unless
    /// [`MetadataBuilder::member`] says so.
    #[must_use]
    pub fn token_auth_methods<'a>(self, methods: impl IntoIterator<Item = &'a str>) -> Self {
        self.set_list("token_endpoint_auth_methods_supported", methods)
    }

    /// Client ID Metadata Documents are fetched and checked (AS-05).
    #[must_use]
    pub fn client_id_metadata_documents(self) -> Self {
        self.set("client_id_metadata_document_supported", json!(true))
    }

    /// Proofs of possession are checked with these algorithms (AS-19).
    #[must_use]
    pub fn dpop_algorithms(self, algorithms: &DpopAlgorithms) -> Self {
        self.set_list("dpop_signing_alg_values_supported", algorithms.iter())
    }

    /// Any other member.
    ///
    /// # Errors
    /// [`MemberError`].
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

    /// The document.
    pub fn to_json(&self) -> String {
        Value::Object(self.members.clone()).to_string()
    }
}
