//! Pre-registered clients (REG-03).

use crate::key::SigningKey;
use crate::secret::Secret;
use crate::wire::words::AuthMethod;

/// A client that is registered out of band. A secret that ships inside a distributed program protects
/// nothing: configure such a client as public (REG-32).
#[derive(Clone, Debug)]
pub struct PreRegistered {
    pub(crate) client_id: Box<str>,
    pub(crate) secret: Option<Secret>,
    pub(crate) method: Option<AuthMethod>,
    pub(crate) key: Option<SigningKey>,
    pub(crate) assertion: Option<Secret>,
}

impl PreRegistered {
    /// Creates a public client, without credentials.
    pub fn new(client_id: impl Into<String>) -> Self {
        Self {
            client_id: client_id.into().into_boxed_str(),
            secret: None,
            method: None,
            key: None,
            assertion: None,
        }
    }

    /// Sets the client secret.
    #[must_use]
    pub fn secret(mut self, secret: impl Into<Secret>) -> Self {
        self.secret = Some(secret.into());
        self
    }

    /// Sets the key for `private_key_jwt`, used where the server lists that method, in preference to a
    /// secret (TOK-08).
    #[must_use]
    pub fn key(mut self, key: SigningKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Sets a client assertion that another party signed for this client.
    #[must_use]
    pub fn assertion(mut self, jwt: impl Into<Secret>) -> Self {
        self.assertion = Some(jwt.into());
        self
    }

    /// Returns true if the client cannot authenticate.
    pub(crate) fn is_public(&self) -> bool {
        let nothing = self.secret.is_none() && self.key.is_none() && self.assertion.is_none();
        nothing || self.method == Some(AuthMethod::None)
    }

    /// Sets the authentication method, instead of choosing from the server's list (TOK-04).
    #[must_use]
    pub fn method(mut self, method: AuthMethod) -> Self {
        self.method = Some(method);
        self
    }
}
