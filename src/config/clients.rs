//! Clients that the host registered by other means (REG-03).

use crate::key::SigningKey;
use crate::secret::Secret;
use crate::wire::words::AuthMethod;

pub use crate::grant::BasicEncoding;

/// A client registered out of band. A secret shipped inside a distributed program is no secret: such
/// a client is public (REG-32).
#[derive(Clone, Debug)]
pub struct PreRegistered {
    pub(crate) client_id: Box<str>,
    pub(crate) secret: Option<Secret>,
    pub(crate) method: Option<AuthMethod>,
    pub(crate) key: Option<SigningKey>,
    pub(crate) assertion: Option<Secret>,
}

impl PreRegistered {
    /// A public client.
    pub fn new(client_id: impl Into<String>) -> Self {
        Self {
            client_id: client_id.into().into_boxed_str(),
            secret: None,
            method: None,
            key: None,
            assertion: None,
        }
    }

    /// Adds the secret that the server issued.
    #[must_use]
    pub fn secret(mut self, secret: impl Into<Secret>) -> Self {
        self.secret = Some(secret.into());
        self
    }

    /// A key of the host with which the client authenticates by `private_key_jwt` wherever the server
    /// lists that (TOK-08); it comes before a secret.
    #[must_use]
    pub fn key(mut self, key: SigningKey) -> Self {
        self.key = Some(key);
        self
    }

    /// A client assertion that somebody else made for this client.
    #[must_use]
    pub fn assertion(mut self, jwt: impl Into<Secret>) -> Self {
        self.assertion = Some(jwt.into());
        self
    }

    /// Fixes the authentication method instead of choosing it from the server's list (TOK-04).
    #[must_use]
    pub fn method(mut self, method: AuthMethod) -> Self {
        self.method = Some(method);
        self
    }
}
