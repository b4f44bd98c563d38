//! Authorization server metadata that says what is true (AS-03, AS-04).

use serde_json::{Map, Value, json};

/// A member that follows from the server's own values and cannot be set by hand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the member `{0}` follows from the server's own values")]
pub struct ReservedMember(pub String);

const RESERVED: &[&str] = &[
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "response_types_supported",
    "code_challenge_methods_supported",
    "authorization_response_iss_parameter_supported",
];

/// A metadata document in the making. `S256` is always in it; `none` and `plain` cannot be.
#[derive(Clone, Debug)]
pub struct MetadataBuilder {
    members: Map<String, Value>,
}

impl MetadataBuilder {
    pub(super) fn new(issuer: &str, iss: bool, authorization: &str, token: &str) -> Self {
        let mut members = Map::new();
        let mut set = |name: &str, value: Value| members.insert(name.to_owned(), value);
        set("issuer", json!(issuer));
        set("authorization_endpoint", json!(authorization));
        set("token_endpoint", json!(token));
        set("response_types_supported", json!(["code"]));
        set("code_challenge_methods_supported", json!(["S256"]));
        if iss {
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
        let scopes: Vec<&str> = scopes.into_iter().collect();
        self.set("scopes_supported", json!(scopes))
    }

    /// The grants.
    #[must_use]
    pub fn grant_types<'a>(self, grants: impl IntoIterator<Item = &'a str>) -> Self {
        let grants: Vec<&str> = grants.into_iter().collect();
        self.set("grant_types_supported", json!(grants))
    }

    /// How clients authenticate at the token endpoint.
    #[must_use]
    pub fn token_auth_methods<'a>(self, methods: impl IntoIterator<Item = &'a str>) -> Self {
        let methods: Vec<&str> = methods.into_iter().collect();
        self.set("token_endpoint_auth_methods_supported", json!(methods))
    }

    /// Client ID Metadata Documents are fetched and checked (AS-05).
    #[must_use]
    pub fn client_id_metadata_documents(self) -> Self {
        self.set("client_id_metadata_document_supported", json!(true))
    }

    /// Proofs of possession are checked with these algorithms (AS-19). `none` and symmetric ones are
    /// left out.
    #[must_use]
    pub fn dpop_algorithms<'a>(self, algorithms: impl IntoIterator<Item = &'a str>) -> Self {
        let asymmetric: Vec<&str> = algorithms
            .into_iter()
            .filter(|name| *name != "none" && !name.starts_with("HS"))
            .collect();
        self.set("dpop_signing_alg_values_supported", json!(asymmetric))
    }

    /// Any other member.
    ///
    /// # Errors
    /// [`ReservedMember`] for one that follows from the server's own values.
    pub fn member(self, name: &str, value: Value) -> Result<Self, ReservedMember> {
        if RESERVED.contains(&name) {
            return Err(ReservedMember(name.to_owned()));
        }
        Ok(self.set(name, value))
    }

    /// The document.
    pub fn to_json(&self) -> String {
        Value::Object(self.members.clone()).to_string()
    }
}
