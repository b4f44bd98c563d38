//! Dynamic client registration (RFC 7591): request and response.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::{JsonFlaw, Text, Texts, object};
use super::json_writer::JsonWriter;
use super::scopes::Scopes;
use super::text::Untrusted;
use super::words::{AuthMethod, GrantType};
use crate::secret::Secret;

/// The body of a registration request; members without a value are omitted (REG-18).
#[derive(Debug)]
pub struct RegistrationRequest<'a> {
    /// The redirect URIs that the client uses. With the device authorization grant alone `None`; an empty list for servers
    /// that demand one (DEV-03).
    pub redirect_uris: Option<&'a [&'a str]>,
    /// `authorization_code` or that of the device authorization grant, and `refresh_token` if the host
    /// stores refresh tokens (REG-19, DEV-03).
    pub grant_types: &'a [&'a str],
    /// `code`; none with the device authorization grant alone, because an absent member means `code`.
    pub response_types: &'a [&'a str],
    /// The authentication method (REG-21).
    pub token_endpoint_auth_method: &'a str,
    /// The name that users see.
    pub client_name: &'a str,
    /// `native` or `web` (REG-20).
    pub application_type: &'a str,
    /// The scopes that the client may request (REG-22).
    pub scope: Option<&'a str>,
    /// The URL of a page about the client.
    pub client_uri: Option<&'a str>,
    /// The identifier of the software.
    pub software_id: Option<&'a str>,
    /// Optional members about the client.
    pub about: AboutClient<'a>,
    /// The public key for `private_key_jwt` (REG-21).
    pub jwks: Option<KeySet<'a>>,
}

/// Optional members about the client (RFC 7591 section 2).
#[derive(Clone, Copy, Debug, Default)]
pub struct AboutClient<'a> {
    /// The URL of a logo for the consent page.
    pub logo_uri: Option<&'a str>,
    /// Contacts for the client, usually mail addresses.
    pub contacts: &'a [String],
    /// The URL of the client's data use policy.
    pub policy_uri: Option<&'a str>,
    /// The URL of the client's terms of service.
    pub tos_uri: Option<&'a str>,
    /// A software statement, a signed JWT (RFC 7591 section 2.3).
    pub software_statement: Option<&'a str>,
}

/// A JSON Web Key Set with the client's public key.
#[derive(Debug)]
pub struct KeySet<'a> {
    /// The key as a JSON object.
    jwk: &'a str,
    kid: Option<&'a str>,
}

impl<'a> KeySet<'a> {
    /// Creates a set with one key, a JSON object.
    pub(crate) fn of_one(jwk: &'a str, kid: Option<&'a str>) -> Self {
        Self { jwk, kid }
    }

    fn write(&self, json: &mut JsonWriter) {
        json.raw(r#","jwks":{"keys":["#);
        // A public key is an object with string members only; two are added.
        json.object_without_end(self.jwk);
        json.raw(r#","use":"sig""#);
        json.some(r#","kid":""#, self.kid);
        json.raw("}]}");
    }
}

impl RegistrationRequest<'_> {
    /// Returns the body of the request.
    pub fn to_json(&self) -> String {
        let mut json = JsonWriter::after(String::with_capacity(512));
        json.texts(r#"{"grant_types":"#, self.grant_types.iter().copied());
        if let Some(uris) = self.redirect_uris {
            json.texts(r#","redirect_uris":"#, uris.iter().copied());
        }
        json.texts(r#","response_types":"#, self.response_types.iter().copied());
        json.text(
            r#","token_endpoint_auth_method":""#,
            self.token_endpoint_auth_method,
        );
        let name = Some(self.client_name).filter(|name| !name.is_empty());
        json.some(r#","client_name":""#, name);
        json.text(r#","application_type":""#, self.application_type);
        json.some(r#","scope":""#, self.scope);
        json.some(r#","client_uri":""#, self.client_uri);
        json.some(r#","software_id":""#, self.software_id);
        self.about.write(&mut json);
        if let Some(keys) = &self.jwks {
            keys.write(&mut json);
        }
        json.raw("}");
        json.into_text()
    }
}

impl AboutClient<'_> {
    fn write(&self, json: &mut JsonWriter) {
        json.some(r#","logo_uri":""#, self.logo_uri);
        if !self.contacts.is_empty() {
            json.texts(r#","contacts":"#, self.contacts.iter().map(String::as_str));
        }
        json.some(r#","policy_uri":""#, self.policy_uri);
        json.some(r#","tos_uri":""#, self.tos_uri);
        json.some(r#","software_statement":""#, self.software_statement);
    }
}

/// The members of the response that the client reads. `null` and empty strings count as absent (REG-23).
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct RegistrationDocument<'a> {
    #[serde(borrow)]
    client_id: Text<'a>,
    #[serde(borrow)]
    client_secret: Text<'a>,
    #[serde(borrow)]
    client_secret_expires_at: Option<&'a RawValue>,
    #[serde(borrow)]
    token_endpoint_auth_method: Text<'a>,
    #[serde(borrow)]
    grant_types: Texts<'a>,
    #[serde(borrow)]
    redirect_uris: Texts<'a>,
    #[serde(borrow)]
    scope: Text<'a>,
    #[serde(borrow)]
    error: Text<'a>,
    #[serde(borrow)]
    error_description: Text<'a>,
}

/// A parsed registration response.
#[derive(Debug)]
pub enum RegistrationAnswer<'a> {
    /// The client is registered.
    Registered(Registered<'a>),
    /// The server rejected the registration.
    Refused {
        /// The error code as sent, sanitised; `None` without one.
        code: Option<Untrusted>,
        /// The description, sanitised.
        description: Option<Untrusted>,
    },
}

/// A registered client, as the response describes it (RFC 7591 section 3.2.1, REG-24).
#[derive(Debug)]
pub struct Registered<'a> {
    /// The client identifier.
    pub client_id: &'a str,
    /// The client secret, if one was issued.
    pub client_secret: Option<Secret>,
    /// The expiry of the secret in Unix seconds; `None` for never or unknown (REG-25).
    pub secret_expires_at: Option<u64>,
    /// The registered method: `Ok(None)` without one, `Err` for an unknown one.
    pub method: Result<Option<AuthMethod>, Untrusted>,
    /// Whether the response lists grants without the one that the client uses.
    pub grant_missing: bool,
    /// Whether the response lists redirect URIs without the one in use.
    pub redirect_uri_missing: bool,
    /// The registered scopes; `None` when the response has none.
    pub scope: Option<Scopes>,
}

/// Shows no secret (TOK-24).
impl fmt::Debug for RegistrationDocument<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistrationDocument")
            .field("client_id", &self.client_id)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<'a> RegistrationDocument<'a> {
    /// Parses the body of a response.
    ///
    /// # Errors
    /// [`JsonFlaw`] (SEC-14).
    pub fn parse(body: &'a [u8]) -> Result<Self, JsonFlaw> {
        object(body)
    }

    /// Interprets the response to a registration for a grant, with a redirect URI where the grant uses one;
    /// `success`: the status was 200 or 201.
    ///
    /// # Errors
    /// [`MalformedRegistration`] when a success response is unusable.
    pub fn answer(
        &self,
        success: bool,
        grant: GrantType,
        redirect_uri: Option<&str>,
    ) -> Result<RegistrationAnswer<'_>, MalformedRegistration> {
        if !success || self.error.non_empty().is_some() {
            return Ok(RegistrationAnswer::Refused {
                code: self.error.non_empty().map(Untrusted::new),
                description: self.error_description.non_empty().map(Untrusted::new),
            });
        }
        if self.client_secret.is_of_another_type() {
            return Err(MalformedRegistration::Secret);
        }
        let client_id = self
            .client_id
            .non_empty()
            .ok_or(MalformedRegistration::NoClientId)?;
        if client_id.len() > MAX_CLIENT_ID_BYTES {
            return Err(MalformedRegistration::LongClientId);
        }
        let method = match self.token_endpoint_auth_method.non_empty() {
            None if self.token_endpoint_auth_method.is_of_another_type() => Err(Untrusted::new("")),
            None => Ok(None),
            Some(text) => AuthMethod::from_spelling(text)
                .map(Some)
                .ok_or_else(|| Untrusted::new(text)),
        };
        let lacks = |list: &Texts<'_>, wanted: &str| {
            list.get()
                .is_some_and(|items| !items.iter().any(|item| item == wanted))
        };
        Ok(RegistrationAnswer::Registered(Registered {
            client_id,
            client_secret: self.client_secret.non_empty().map(Secret::new),
            secret_expires_at: expiry(self.client_secret_expires_at)?,
            method,
            // An empty list counts as absent (QUIRK-13).
            grant_missing: lacks(&self.grant_types, grant.as_str())
                && self.grant_types.get().is_some_and(|list| !list.is_empty()),
            redirect_uri_missing: redirect_uri.is_some_and(|uri| lacks(&self.redirect_uris, uri)),
            scope: self
                .scope
                .non_empty()
                .map(Scopes::parse)
                .filter(|scopes| !scopes.is_empty()),
        }))
    }
}

/// Longest client identifier, in bytes: three times as much is left of the longest URL of a redirect when each byte is
/// escaped (AUTHZ-11).
pub const MAX_CLIENT_ID_BYTES: usize = 8 * 1024;

/// The flaw in a success response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum MalformedRegistration {
    /// It has no usable `client_id`.
    #[error("the registration response has no client_id")]
    NoClientId,
    /// `client_id` is too long for the URL of a redirect (AUTHZ-11).
    #[error("client_id is too long for the URL of an authorization request")]
    LongClientId,
    /// `client_secret` is not a string.
    #[error("client_secret is not a string")]
    Secret,
    /// `client_secret_expires_at` is not a time.
    #[error("client_secret_expires_at is not a number of seconds")]
    Expiry,
}

fn expiry(value: Option<&RawValue>) -> Result<Option<u64>, MalformedRegistration> {
    let text = value.map_or("null", RawValue::get);
    let digits = text.trim_matches('"');
    match digits {
        "null" | "0" | "" => Ok(None),
        _number => digits
            .parse()
            .map(Some)
            .map_err(|_| MalformedRegistration::Expiry),
    }
}
