//! Registration requests, and answers that return every registered value (AS-15).

use serde_json::{Map, Value, json};

/// Why a registration request is refused (RFC 7591 section 3.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistrationFlaw {
    /// Not a JSON object.
    #[error("the body is no JSON object")]
    NotAnObject,
    /// A member of another type than it must have.
    #[error("the member {0} has the wrong type")]
    Type(&'static str),
    /// No redirect URI, or one that is no absolute URI or has a fragment.
    #[error("redirect_uris must hold absolute URIs without fragment")]
    RedirectUri,
}

impl RegistrationFlaw {
    /// The error code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotAnObject | Self::Type(_) => "invalid_client_metadata",
            Self::RedirectUri => "invalid_redirect_uri",
        }
    }

    /// The body of a 400 answer.
    pub fn to_json(self) -> String {
        json!({ "error": self.code(), "error_description": self.to_string() }).to_string()
    }
}

const TEXTS: &[&str] = &[
    "token_endpoint_auth_method",
    "client_name",
    "client_uri",
    "logo_uri",
    "scope",
    "tos_uri",
    "policy_uri",
    "jwks_uri",
    "software_id",
    "software_version",
    "application_type",
];
const LISTS: &[&str] = &["redirect_uris", "grant_types", "response_types", "contacts"];

/// A registration request, read: the members that RFC 7591 and OpenID Connect name, with their
/// defaults. Others are not registered.
#[derive(Clone, Debug)]
pub struct RegistrationRequest {
    members: Map<String, Value>,
}

impl RegistrationRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// [`RegistrationFlaw`].
    pub fn parse(body: &[u8]) -> Result<Self, RegistrationFlaw> {
        let Ok(Value::Object(sent)) = serde_json::from_slice::<Value>(body) else {
            return Err(RegistrationFlaw::NotAnObject);
        };
        let mut members = Map::new();
        for name in TEXTS {
            match sent.get(*name) {
                None | Some(Value::Null) => {}
                Some(Value::String(text)) if text.is_empty() => {}
                Some(value @ Value::String(_)) => {
                    members.insert((*name).to_owned(), value.clone());
                }
                Some(_) => return Err(RegistrationFlaw::Type(name)),
            }
        }
        for name in LISTS {
            match sent.get(*name) {
                None | Some(Value::Null) => {}
                Some(Value::Array(items)) if items.is_empty() => {}
                Some(value @ Value::Array(items)) if items.iter().all(Value::is_string) => {
                    members.insert((*name).to_owned(), value.clone());
                }
                Some(_) => return Err(RegistrationFlaw::Type(name)),
            }
        }
        match sent.get("dpop_bound_access_tokens") {
            None | Some(Value::Null) => {}
            Some(value @ Value::Bool(_)) => {
                members.insert("dpop_bound_access_tokens".to_owned(), value.clone());
            }
            Some(_) => return Err(RegistrationFlaw::Type("dpop_bound_access_tokens")),
        }
        if let Some(keys) = sent.get("jwks").filter(|keys| keys.is_object()) {
            members.insert("jwks".to_owned(), keys.clone());
        }
        let defaults = [
            ("grant_types", json!(["authorization_code"])),
            ("response_types", json!(["code"])),
            ("token_endpoint_auth_method", json!("client_secret_basic")),
        ];
        for (name, value) in defaults {
            members.entry(name).or_insert(value);
        }
        let request = Self { members };
        let uris: Vec<&str> = request.list("redirect_uris").collect();
        let usable = |uri: &&str| url::Url::parse(uri).is_ok_and(|url| url.fragment().is_none());
        if uris.is_empty() || !uris.iter().all(usable) {
            return Err(RegistrationFlaw::RedirectUri);
        }
        Ok(request)
    }

    /// A member that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.members.get(name)?.as_str()
    }

    /// A member that is a list of texts; empty when it is absent.
    pub fn list(&self, name: &str) -> impl Iterator<Item = &str> {
        self.members
            .get(name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
    }

    /// Registers something else than was asked for; the answer says so.
    #[must_use]
    pub fn register_instead(mut self, name: &str, value: Value) -> Self {
        self.members.insert(name.to_owned(), value);
        self
    }

    /// The client is registered as read.
    pub fn accept(self, client_id: &str) -> RegistrationAnswer {
        let mut members = self.members;
        members.insert("client_id".to_owned(), json!(client_id));
        RegistrationAnswer { members }
    }
}

/// The answer to a registration, to be sent with status 201. It holds every registered value.
#[derive(Clone)]
pub struct RegistrationAnswer {
    members: Map<String, Value>,
}

impl RegistrationAnswer {
    /// When the identifier was issued, in Unix seconds.
    #[must_use]
    pub fn issued_at(mut self, unix_seconds: u64) -> Self {
        let value = json!(unix_seconds);
        self.members.insert("client_id_issued_at".to_owned(), value);
        self
    }

    /// A secret, and when it expires in Unix seconds; 0 for never.
    #[must_use]
    pub fn secret(mut self, secret: &str, expires_at: u64) -> Self {
        let pairs = [
            ("client_secret", json!(secret)),
            ("client_secret_expires_at", json!(expires_at)),
        ];
        for (name, value) in pairs {
            self.members.insert(name.to_owned(), value);
        }
        self
    }

    /// The body. It may hold a secret.
    pub fn to_json(&self) -> String {
        Value::Object(self.members.clone()).to_string()
    }
}

impl std::fmt::Debug for RegistrationAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[registration answer]")
    }
}
