//! Dynamic client registration (RFC 7591): request and response.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::json::{JsonFlaw, Text, Texts, object};
use super::scopes::Scopes;
use super::text::Untrusted;
use super::words::AuthMethod;
use crate::key::SigningKey;
use crate::secret::Secret;

/// The body of a registration request; members without a value are omitted (REG-18).
#[derive(Debug, Serialize)]
pub struct RegistrationRequest<'a> {
    /// The redirect URIs that the client uses.
    pub redirect_uris: &'a [&'a str],
    /// `authorization_code`, and `refresh_token` if the host stores refresh tokens (REG-19).
    pub grant_types: &'a [&'a str],
    /// `code`.
    pub response_types: &'a [&'a str],
    /// The authentication method (REG-21).
    pub token_endpoint_auth_method: &'a str,
    /// The name that users see.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub client_name: &'a str,
    /// `native` or `web` (REG-20).
    pub application_type: &'a str,
    /// The scopes that the client may request (REG-22).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<&'a str>,
    /// The URL of a page about the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_uri: Option<&'a str>,
    /// The identifier of the software.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_id: Option<&'a str>,
    /// Optional members about the client.
    #[serde(flatten)]
    pub about: AboutClient<'a>,
    /// The public key for `private_key_jwt` (REG-21).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<KeySet<'a>>,
}

/// Optional members about the client (RFC 7591 section 2).
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct AboutClient<'a> {
    /// The URL of a logo for the consent page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logo_uri: Option<&'a str>,
    /// Contacts for the client, usually mail addresses.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub contacts: &'a [String],
    /// The URL of the client's data use policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_uri: Option<&'a str>,
    /// The URL of the client's terms of service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tos_uri: Option<&'a str>,
    /// A software statement, a signed JWT (RFC 7591 section 2.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_statement: Option<&'a str>,
}

/// A JSON Web Key Set with the client's public key.
#[derive(Debug, Serialize)]
pub struct KeySet<'a> {
    keys: [PublishedKey<'a>; 1],
}

#[derive(Debug, Serialize)]
struct PublishedKey<'a> {
    #[serde(flatten)]
    members: BTreeMap<String, String>,
    #[serde(rename = "use")]
    purpose: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
}

impl<'a> KeySet<'a> {
    /// Creates a set with one key; `None` when the host did not supply the public part.
    pub fn of(key: &'a SigningKey) -> Option<Self> {
        let public = key.public_key()?;
        let key = PublishedKey {
            // A public key is an object with string members only.
            members: serde_json::from_str(public.as_jwk()).ok()?,
            purpose: "sig",
            kid: key.kid.as_deref(),
        };
        Some(Self { keys: [key] })
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
    /// Whether the response lists grants without the authorization code grant.
    pub code_grant_missing: bool,
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

    /// Interprets the response; `success`: the status was 200 or 201.
    ///
    /// # Errors
    /// [`MalformedRegistration`] when a success response is unusable.
    pub fn answer(
        &self,
        success: bool,
        redirect_uri: &str,
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
            code_grant_missing: lacks(&self.grant_types, "authorization_code")
                && self.grant_types.get().is_some_and(|list| !list.is_empty()),
            redirect_uri_missing: lacks(&self.redirect_uris, redirect_uri),
            scope: self
                .scope
                .non_empty()
                .map(Scopes::parse)
                .filter(|scopes| !scopes.is_empty()),
        }))
    }
}

/// The flaw in a success response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum MalformedRegistration {
    /// It has no usable `client_id`.
    #[error("the registration response has no client_id")]
    NoClientId,
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
