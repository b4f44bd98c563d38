//! Dynamic client registration (RFC 7591): the request body and the answer.

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

/// What a client asks to be registered with; members without a value are left out (REG-18).
#[derive(Debug, Serialize)]
pub struct RegistrationRequest<'a> {
    /// Exactly the redirect URIs that will be used.
    pub redirect_uris: &'a [&'a str],
    /// `authorization_code`, and `refresh_token` when the host keeps refresh tokens (REG-19).
    pub grant_types: &'a [&'a str],
    /// `code`.
    pub response_types: &'a [&'a str],
    /// The method chosen by REG-21.
    pub token_endpoint_auth_method: &'a str,
    /// The name that people see.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub client_name: &'a str,
    /// `native` or `web` (REG-20).
    pub application_type: &'a str,
    /// The scopes that the client may come to request (REG-22).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<&'a str>,
    /// A page about the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_uri: Option<&'a str>,
    /// The software, for servers that group registrations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_id: Option<&'a str>,
    /// The description of the host beside its name.
    #[serde(flatten)]
    pub about: AboutClient<'a>,
    /// The key with which the client authenticates, for `private_key_jwt` (REG-21).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<KeySet<'a>>,
}

/// Optional members about the client (RFC 7591 section 2).
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct AboutClient<'a> {
    /// A logo for the consent page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logo_uri: Option<&'a str>,
    /// Persons responsible for the client, usually by mail address.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub contacts: &'a [String],
    /// A page on how the client uses the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_uri: Option<&'a str>,
    /// The client's terms of service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tos_uri: Option<&'a str>,
    /// A signed statement about the software (RFC 7591 section 2.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_statement: Option<&'a str>,
}

/// A JSON Web Key Set with the one public key of the client.
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
    /// The set of one key; `None` where the host did not give its public part.
    pub fn of(key: &'a SigningKey) -> Option<Self> {
        let public = key.public_key()?;
        let key = PublishedKey {
            // A public key is an object of texts alone.
            members: serde_json::from_str(public.as_jwk()).ok()?,
            purpose: "sig",
            kid: key.kid.as_deref(),
        };
        Some(Self { keys: [key] })
    }
}

/// The members of the answer that the client reads. `null` and empty texts count as absent (REG-23).
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

/// What a registration answer said.
#[derive(Debug)]
pub enum RegistrationAnswer<'a> {
    /// The client is registered.
    Registered(Registered<'a>),
    /// The server refused.
    Refused {
        /// The error code as sent, sanitised; `None` when the body had none.
        code: Option<Untrusted>,
        /// The description, sanitised.
        description: Option<Untrusted>,
    },
}

/// A registered client as the answer describes it (REG-24).
#[derive(Debug)]
pub struct Registered<'a> {
    /// The identifier.
    pub client_id: &'a str,
    /// The secret, if one was issued.
    pub client_secret: Option<Secret>,
    /// When the secret expires, in Unix seconds; `None` for never or unknown (REG-25).
    pub secret_expires_at: Option<u64>,
    /// The method registered: `Ok(None)` when the answer has none, `Err` when it is one not known here.
    pub method: Result<Option<AuthMethod>, Untrusted>,
    /// Whether the answer lists grants and these lack the authorization code.
    pub code_grant_missing: bool,
    /// Whether the answer lists redirect URIs and these lack the one to be used.
    pub redirect_uri_missing: bool,
    /// What the client may ask for; `None` when the answer does not say.
    pub scope: Option<Scopes>,
}

/// Without the secret (TOK-24).
impl fmt::Debug for RegistrationDocument<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistrationDocument")
            .field("client_id", &self.client_id)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<'a> RegistrationDocument<'a> {
    /// Reads an answer body.
    ///
    /// # Errors
    /// [`JsonFlaw`] (SEC-14).
    pub fn parse(body: &'a [u8]) -> Result<Self, JsonFlaw> {
        object(body)
    }

    /// Interprets the answer; `success` says whether the status was 201 or 200.
    ///
    /// # Errors
    /// [`MalformedRegistration`] when a success answer cannot be used.
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
            // An empty list says nothing (QUIRK-13).
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

/// A success answer that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum MalformedRegistration {
    /// No usable `client_id`.
    #[error("the registration answer has no client_id")]
    NoClientId,
    /// `client_secret` is not a text.
    #[error("client_secret is not a text")]
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
