//! A client at one authorization server, and its authentication (TOK-04 to TOK-07).

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use serde::{Deserialize, Serialize};
use url::form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

use crate::issuer::{BasicEncoding, IssuerSettings};
use crate::key::SigningKey;
use crate::secret::Secret;
use crate::wire::form::Form;
use crate::wire::words::{AuthMethod, SigningAlgorithm, Words};

/// The `client_assertion_type` (RFC 7523 section 2.2).
const CLIENT_ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The origin of a client identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientOrigin {
    /// Configured by the host for this issuer.
    PreRegistered,
    /// A client ID metadata document, valid at every server that supports them.
    MetadataDocument,
    /// Registered by the machine.
    Dynamic,
}

impl ClientOrigin {
    /// Returns the name in records.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::PreRegistered => "pre_registered",
            Self::MetadataDocument => "metadata_document",
            Self::Dynamic => "dynamic",
        }
    }
}

/// The authentication method of a client, with a secret only where the method uses one.
#[derive(Clone)]
pub(crate) enum ClientMethod {
    None,
    Basic(Secret, BasicEncoding),
    Post(Secret),
    /// A JWT that the host's key signs for each request (TOK-08).
    PrivateKeyJwt(Box<AssertionKey>),
    /// A JWT that the host supplied.
    StaticAssertion(Secret),
    /// No identifier: the assertion grant identifies the client (WIF-03).
    Unnamed,
}

/// The host's key for client assertions, and its algorithm.
#[derive(Clone)]
pub(crate) struct AssertionKey {
    pub(crate) name: std::sync::Arc<str>,
    pub(crate) algorithm: SigningAlgorithm,
    pub(crate) kid: Option<Box<str>>,
}

impl ClientMethod {
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::None => AuthMethod::None.as_str(),
            Self::Basic(..) => AuthMethod::ClientSecretBasic.as_str(),
            Self::Post(_) => AuthMethod::ClientSecretPost.as_str(),
            Self::PrivateKeyJwt(_) | Self::StaticAssertion(_) => AuthMethod::PrivateKeyJwt.as_str(),
            Self::Unnamed => "unnamed",
        }
    }

    /// Returns the registered method name; `None` for a client without an identifier.
    pub(crate) fn word(&self) -> Option<AuthMethod> {
        match self {
            Self::None => Some(AuthMethod::None),
            Self::Basic(..) => Some(AuthMethod::ClientSecretBasic),
            Self::Post(_) => Some(AuthMethod::ClientSecretPost),
            Self::PrivateKeyJwt(_) | Self::StaticAssertion(_) => Some(AuthMethod::PrivateKeyJwt),
            Self::Unnamed => None,
        }
    }
}

/// A client identifier with its authentication, at one server.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) id: Arc<str>,
    pub(crate) origin: ClientOrigin,
    pub(crate) method: ClientMethod,
    /// The expiry in Unix seconds; `None` for never or unknown (REG-25).
    pub(crate) secret_expires_at: Option<u64>,
}

impl Client {
    /// Adds the identifier, unless the request is `named` already, and at most one authentication (TOK-05).
    pub(crate) fn authenticate(
        &self,
        form: &mut Form,
        named: bool,
        assertion: Option<&Secret>,
        settings: &IssuerSettings,
    ) -> Option<HeaderValue> {
        let identify = |form: &mut Form| {
            if !named {
                form.parameter("client_id", &self.id);
            }
        };
        let mut assert = |token: &Secret| {
            if settings.client_id_with_assertion {
                identify(form);
            }
            form.parameter("client_assertion_type", CLIENT_ASSERTION_TYPE);
            form.parameter("client_assertion", token.expose());
            None
        };
        match &self.method {
            ClientMethod::PrivateKeyJwt(_) => assertion.and_then(assert),
            ClientMethod::StaticAssertion(token) => assert(token),
            ClientMethod::Unnamed => None,
            ClientMethod::None => {
                identify(form);
                None
            }
            ClientMethod::Post(secret) => {
                identify(form);
                form.parameter("client_secret", secret.expose());
                None
            }
            ClientMethod::Basic(secret, encoding) => Some(basic(&self.id, secret, *encoding)),
        }
    }

    /// Returns the secret or static assertion, if the method uses one.
    pub(crate) fn secret(&self) -> Option<&str> {
        match &self.method {
            ClientMethod::Basic(secret, _)
            | ClientMethod::Post(secret)
            | ClientMethod::StaticAssertion(secret) => Some(secret.expose()),
            ClientMethod::None | ClientMethod::PrivateKeyJwt(_) | ClientMethod::Unnamed => None,
        }
    }

    /// Returns true if both are the same client, with the same credential.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let secret = match (self.secret(), other.secret()) {
            (Some(own), Some(other)) => crate::secret::same_bytes(own.as_bytes(), other.as_bytes()),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        secret
            && self.id == other.id
            && self.origin == other.origin
            && self.method.as_str() == other.method.as_str()
    }

    /// Returns the client with a listed authentication method. Revocation endpoints have a list of their
    /// own (REV-01); without one, Basic is the default (META-13).
    pub(crate) fn fitting(&self, listed: Words<AuthMethod>) -> Self {
        let method = match &self.method {
            ClientMethod::Basic(secret, _)
                if !listed.accepts(AuthMethod::ClientSecretBasic)
                    && listed.accepts(AuthMethod::ClientSecretPost) =>
            {
                ClientMethod::Post(secret.clone())
            }
            ClientMethod::Post(secret)
                if !listed.accepts(AuthMethod::ClientSecretPost)
                    && listed.accepts(AuthMethod::ClientSecretBasic) =>
            {
                ClientMethod::Basic(secret.clone(), BasicEncoding::Form)
            }
            own @ (ClientMethod::None
            | ClientMethod::Basic(..)
            | ClientMethod::Post(_)
            | ClientMethod::PrivateKeyJwt(_)
            | ClientMethod::StaticAssertion(_)
            | ClientMethod::Unnamed) => own.clone(),
        };
        Self {
            method,
            ..self.clone()
        }
    }

    /// Returns true if the secret has expired.
    pub(crate) fn is_expired(&self, unix_seconds: u64) -> bool {
        self.secret_expires_at
            .is_some_and(|expires| expires <= unix_seconds)
    }
}

fn encoded(text: &str) -> Cow<'_, str> {
    byte_serialize(text.as_bytes()).collect()
}

fn basic(id: &str, secret: &Secret, encoding: BasicEncoding) -> HeaderValue {
    let (id, secret) = match encoding {
        BasicEncoding::Form => (encoded(id), encoded(secret.expose())),
        BasicEncoding::Raw => (Cow::Borrowed(id), Cow::Borrowed(secret.expose())),
    };
    let pair = Zeroizing::new([&id, ":", &secret].concat());
    let mut text = String::from("Basic ");
    STANDARD.encode_string(pair.as_bytes(), &mut text);
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The reason why no authentication method is usable (TOK-04, REG-23).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum MethodFlaw {
    /// The client has a secret, but the server lists no method that uses one.
    #[error("the server offers no way to use the client secret")]
    NothingListed,
    /// The registered method requires a secret, but none was issued.
    #[error("the method of the registration needs a secret, and none was issued")]
    NoSecret,
    /// The client does not support the registered method.
    #[error("the method of the registration is not supported")]
    Unsupported,
    /// The key and the server have no signing algorithm in common (TOK-09).
    #[error("the key supports none of the server's signing algorithms")]
    Algorithm,
    /// A client without a user must authenticate (M2M-08).
    #[error("a client without a user needs a secret or a key")]
    Public,
    /// The revocation endpoint lists the methods that it accepts, and refused a client with another one
    /// (REV-01).
    #[error("the server revokes no token of a client with this method")]
    NotForRevocation,
}

/// Returns the assertion method for a key, if the server accepts it (TOK-08, TOK-09).
pub(crate) fn key_method(
    key: &SigningKey,
    listed: Words<AuthMethod>,
    algorithms: Words<SigningAlgorithm>,
) -> Result<ClientMethod, MethodFlaw> {
    if !listed.has(AuthMethod::PrivateKeyJwt) {
        return Err(MethodFlaw::NothingListed);
    }
    let algorithm = key
        .algorithms
        .iter()
        .copied()
        .find(|a| algorithms.allows(*a));
    let key = AssertionKey {
        name: std::sync::Arc::clone(&key.name),
        algorithm: algorithm.ok_or(MethodFlaw::Algorithm)?,
        kid: key.kid.clone(),
    };
    Ok(ClientMethod::PrivateKeyJwt(Box::new(key)))
}

/// Chooses the authentication method, once per client (TOK-04, TOK-06).
pub(crate) fn choose_method(
    id: &str,
    secret: Option<Secret>,
    fixed: Option<AuthMethod>,
    listed: Words<AuthMethod>,
    encoding: BasicEncoding,
) -> Result<ClientMethod, MethodFlaw> {
    let Some(secret) = secret else {
        return match fixed {
            Some(AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost)
                if listed.allows(AuthMethod::ClientSecretBasic)
                    || listed.has(AuthMethod::ClientSecretPost) =>
            {
                Err(MethodFlaw::NoSecret)
            }
            Some(AuthMethod::PrivateKeyJwt) => Err(MethodFlaw::Unsupported),
            Some(
                AuthMethod::None | AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost,
            )
            | None => Ok(ClientMethod::None),
        };
    };
    match fixed {
        Some(AuthMethod::None) if listed.allows(AuthMethod::None) => return Ok(ClientMethod::None),
        Some(AuthMethod::ClientSecretBasic) if listed.allows(AuthMethod::ClientSecretBasic) => {
            return Ok(ClientMethod::Basic(secret, encoding));
        }
        Some(AuthMethod::ClientSecretPost) if listed.allows(AuthMethod::ClientSecretPost) => {
            return Ok(ClientMethod::Post(secret));
        }
        Some(AuthMethod::PrivateKeyJwt) => return Err(MethodFlaw::Unsupported),
        Some(AuthMethod::None | AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost)
        | None => {}
    }
    let disputed = encoding == BasicEncoding::Form
        && (encoded(id) != id || encoded(secret.expose()) != secret.expose());
    let post = listed.has(AuthMethod::ClientSecretPost);
    if listed.allows(AuthMethod::ClientSecretBasic) && !(disputed && post) {
        Ok(ClientMethod::Basic(secret, encoding))
    } else if post {
        Ok(ClientMethod::Post(secret))
    } else if listed.has(AuthMethod::None) {
        Ok(ClientMethod::None)
    } else {
        Err(MethodFlaw::NothingListed)
    }
}
