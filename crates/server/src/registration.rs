//! Client registration: requests, and responses with every registered value (AS-15).

use std::borrow::Cow;
use std::fmt;

use http::{Response, StatusCode};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value, json};
use url::Url;

use super::http::private_json;
use super::redirect::{RedirectRules, RedirectUri, RedirectUriError};

/// Largest registration request, in bytes.
pub const MAX_REGISTRATION_BYTES: usize = 64 * 1024;
/// The largest number of redirect URIs per client.
pub const MAX_REDIRECT_URIS: usize = 32;

/// The reason why a registration request is rejected (RFC 7591 section 3.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistrationError {
    /// The body is not a JSON object.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// The body is larger than [`MAX_REGISTRATION_BYTES`], or has more than [`MAX_REDIRECT_URIS`] redirect
    /// URIs.
    #[error("the registration is too large")]
    TooLarge,
    /// A member that only the server sets.
    #[error("the member {0} cannot be set")]
    Reserved(&'static str),
    /// A member with a wrong type.
    #[error("the member {0} has the wrong type")]
    Type(&'static str),
    /// A member that must be the URL of a page or of a document: `https`, or `http` for a page.
    #[error("the member {0} must be an https URL")]
    Url(&'static str),
    /// No redirect URI, although a grant of the client needs one.
    #[error("redirect_uris is missing, and the grants of this client need it")]
    NoRedirectUri,
    /// An invalid redirect URI.
    #[error("{0}")]
    RedirectUri(RedirectUriError),
}

impl RegistrationError {
    /// Returns the error code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotAnObject
            | Self::TooLarge
            | Self::Reserved(_)
            | Self::Type(_)
            | Self::Url(_) => "invalid_client_metadata",
            Self::NoRedirectUri | Self::RedirectUri(_) => "invalid_redirect_uri",
        }
    }

    /// Returns the body of the 400 response.
    pub fn to_json(self) -> String {
        json!({ "error": self.code(), "error_description": self.to_string() }).to_string()
    }

    /// Returns the complete response: 400, never cached.
    pub fn into_http(self) -> Response<String> {
        private_json(StatusCode::BAD_REQUEST, self.to_json())
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
const LISTS: &[&str] = &["grant_types", "response_types", "contacts"];
const DPOP: &str = "dpop_bound_access_tokens";
const KEYS: &str = "jwks";
const REDIRECT_URIS: &str = "redirect_uris";
/// Members set by the server, or by [`RegistrationRequest::parse`].
const OWN: &[&str] = &[
    "client_id",
    "client_id_issued_at",
    "client_secret",
    "client_secret_expires_at",
    "redirect_uris",
];

/// Returns true for a URL that a server may show as a link, or for a document that it may fetch.
fn is_page(name: &str, text: &str) -> bool {
    let scheme = Url::parse(text).map(|url| url.scheme().to_owned());
    match scheme.as_deref() {
        Ok("https") => true,
        Ok("http") => name != "jwks_uri",
        Ok(_) | Err(_) => false,
    }
}

/// The members of a request that are read. The others are skipped without being stored.
struct Known(Map<String, Value>);

impl<'de> Deserialize<'de> for Known {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Known;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Known, A::Error> {
                let mut known = Map::new();
                while let Some(name) = map.next_key::<Cow<'_, str>>()? {
                    let is_read = [DPOP, KEYS, REDIRECT_URIS].contains(&&*name)
                        || TEXTS.contains(&&*name)
                        || LISTS.contains(&&*name);
                    if is_read {
                        known.insert(name.into_owned(), map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Known(known))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A parsed registration request, with the members and defaults of RFC 7591 and OpenID Connect. Other
/// members are dropped.
#[derive(Clone, Debug)]
pub struct RegistrationRequest {
    members: Map<String, Value>,
    redirect_uris: Vec<RedirectUri>,
}

impl RegistrationRequest {
    /// Parses a body. Redirect URIs must follow the rules; they may be missing if no grant of the client
    /// redirects, as with client credentials.
    ///
    /// # Errors
    /// [`RegistrationError`] with the first flaw.
    pub fn parse(body: &[u8], rules: &RedirectRules) -> Result<Self, RegistrationError> {
        if body.len() > MAX_REGISTRATION_BYTES {
            return Err(RegistrationError::TooLarge);
        }
        let Ok(Known(mut sent)) = serde_json::from_slice(body) else {
            return Err(RegistrationError::NotAnObject);
        };
        let mut members = Map::new();
        for name in TEXTS {
            match sent.remove(*name) {
                None | Some(Value::Null) => {}
                Some(Value::String(text)) if text.is_empty() => {}
                Some(Value::String(text)) if name.ends_with("_uri") && !is_page(name, &text) => {
                    return Err(RegistrationError::Url(name));
                }
                Some(value @ Value::String(_)) => {
                    members.insert((*name).to_owned(), value);
                }
                Some(_) => return Err(RegistrationError::Type(name)),
            }
        }
        for name in LISTS {
            match sent.remove(*name) {
                None | Some(Value::Null) => {}
                Some(Value::Array(items)) if items.is_empty() => {}
                Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
                    members.insert((*name).to_owned(), Value::Array(items));
                }
                Some(_) => return Err(RegistrationError::Type(name)),
            }
        }
        match sent.remove(DPOP) {
            None | Some(Value::Null) => {}
            Some(value @ Value::Bool(_)) => {
                members.insert(DPOP.to_owned(), value);
            }
            Some(_) => return Err(RegistrationError::Type(DPOP)),
        }
        if let Some(keys) = sent.remove(KEYS).filter(Value::is_object) {
            members.insert(KEYS.to_owned(), keys);
        }
        let defaults = [
            ("grant_types", json!(["authorization_code"])),
            ("response_types", json!(["code"])),
            ("token_endpoint_auth_method", json!("client_secret_basic")),
        ];
        for (name, value) in defaults {
            members.entry(name).or_insert(value);
        }
        let mut request = Self {
            members,
            redirect_uris: redirect_uris(sent.get(REDIRECT_URIS), rules)?,
        };
        let mut grants = request.list("grant_types");
        let redirects = grants.any(|grant| matches!(grant, "authorization_code" | "implicit"));
        drop(grants);
        if redirects && request.redirect_uris.is_empty() {
            return Err(RegistrationError::NoRedirectUri);
        }
        if !redirects {
            // The default of a client that redirects (RFC 7591 section 2.1).
            request.members.remove("response_types");
        }
        Ok(request)
    }

    /// Returns the validated redirect URIs.
    pub fn redirect_uris(&self) -> &[RedirectUri] {
        &self.redirect_uris
    }

    /// Returns a string member.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.members.get(name)?.as_str()
    }

    /// Returns a member that is a list of strings; empty without it.
    pub fn list(&self, name: &str) -> impl Iterator<Item = &str> {
        self.members
            .get(name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
    }

    /// Registers another value than requested; the response contains it.
    ///
    /// # Errors
    /// [`RegistrationError::Reserved`] for redirect URIs, identifiers and secrets.
    pub fn register_instead(mut self, name: &str, value: Value) -> Result<Self, RegistrationError> {
        if let Some(own) = OWN.iter().find(|own| **own == name) {
            return Err(RegistrationError::Reserved(own));
        }
        self.members.insert(name.to_owned(), value);
        Ok(self)
    }

    /// Returns true if the client requires bound tokens: the token endpoint must then reject its requests
    /// without a proof (RFC 9449 section 5.2, AS-19).
    pub fn requires_dpop(&self) -> bool {
        self.members.get("dpop_bound_access_tokens") == Some(&Value::Bool(true))
    }

    /// Registers the client as requested.
    pub fn accept(self, client_id: &str) -> RegistrationAnswer {
        let mut members = self.members;
        members.insert("client_id".to_owned(), json!(client_id));
        if !self.redirect_uris.is_empty() {
            let uris: Vec<&str> = self.redirect_uris.iter().map(RedirectUri::as_str).collect();
            members.insert("redirect_uris".to_owned(), json!(uris));
        }
        RegistrationAnswer { members }
    }
}

fn redirect_uris(
    sent: Option<&Value>,
    rules: &RedirectRules,
) -> Result<Vec<RedirectUri>, RegistrationError> {
    const WRONG: RegistrationError = RegistrationError::Type("redirect_uris");
    let items = match sent {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(WRONG),
    };
    if items.len() > MAX_REDIRECT_URIS {
        return Err(RegistrationError::TooLarge);
    }
    let read = |item: &Value| {
        let text = item.as_str().ok_or(WRONG)?;
        rules.parse(text).map_err(RegistrationError::RedirectUri)
    };
    items.iter().map(read).collect()
}

/// The response to a registration, with every registered value. Send it with status 201.
#[derive(Clone)]
pub struct RegistrationAnswer {
    members: Map<String, Value>,
}

impl RegistrationAnswer {
    /// Sets the time of issue of the identifier, in Unix seconds.
    #[must_use]
    pub fn issued_at(mut self, unix_seconds: u64) -> Self {
        let value = json!(unix_seconds);
        self.members.insert("client_id_issued_at".to_owned(), value);
        self
    }

    /// Sets a secret and its expiry in Unix seconds; 0: never.
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

    /// Returns the body, which may contain a secret.
    pub fn to_json(&self) -> String {
        Value::Object(self.members.clone()).to_string()
    }

    /// Returns the complete response: 201, never cached.
    pub fn into_http(self) -> Response<String> {
        private_json(StatusCode::CREATED, self.to_json())
    }
}

impl std::fmt::Debug for RegistrationAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[registration answer]")
    }
}
