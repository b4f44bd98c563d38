//! Keys of the host: names, algorithms and public parts (TOK-08, TOK-09, DPOP-19).

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::wire::registration::KeySet;
use crate::wire::words::SigningAlgorithm;

/// A key of the host: the name for signature requests, and its public properties.
///
/// The machine never has the private part. Client assertions need the name and the algorithms only; DPoP
/// proofs also need the public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey {
    pub(crate) name: Arc<str>,
    pub(crate) algorithms: Vec<SigningAlgorithm>,
    pub(crate) kid: Option<Box<str>>,
    pub(crate) public: Option<PublicKey>,
}

impl SigningKey {
    /// Creates a key from the host's name for it and its algorithms, the preferred one first.
    pub fn new(
        name: impl Into<Arc<str>>,
        algorithms: impl IntoIterator<Item = SigningAlgorithm>,
    ) -> Self {
        Self {
            name: name.into(),
            algorithms: algorithms.into_iter().collect(),
            kid: None,
            public: None,
        }
    }

    /// Sets the key identifier, as the server knows it.
    #[must_use]
    pub fn kid(mut self, kid: &str) -> Self {
        self.kid = Some(kid.into());
        self
    }

    /// Sets the public key, which DPoP proofs require.
    #[must_use]
    pub fn public(mut self, key: PublicKey) -> Self {
        self.public = Some(key);
        self
    }

    /// Returns the host's name for the key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the algorithms, the preferred one first.
    pub fn algorithms(&self) -> &[SigningAlgorithm] {
        &self.algorithms
    }

    /// Returns the public key, if set.
    pub fn public_key(&self) -> Option<&PublicKey> {
        self.public.as_ref()
    }

    /// Returns the key set of a registration; `None` without the public key.
    pub(crate) fn key_set(&self) -> Option<KeySet<'_>> {
        let jwk = self.public.as_ref()?.as_jwk();
        Some(KeySet::of_one(jwk, self.kid.as_deref()))
    }
}

/// A public key as a JSON Web Key, reduced to the members of its thumbprint (RFC 7638, DPOP-03).
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    jwk: Box<str>,
}

/// The flaw in a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PublicKeyFlaw {
    /// It is not a JSON object, or a member is missing or not a string.
    #[error("not a JSON Web Key")]
    Malformed,
    /// Its type is not EC on P-256, OKP with Ed25519, or RSA.
    #[error("not a P-256, Ed25519 or RSA key")]
    Kind,
    /// It contains private members, which must not leave the host's signer.
    #[error("the key holds private members")]
    Private,
}

impl PublicKey {
    /// Parses a JSON Web Key. Members other than those of the thumbprint are dropped.
    ///
    /// # Errors
    /// [`PublicKeyFlaw`], also for a key with private members.
    pub fn from_jwk(json: &str) -> Result<Self, PublicKeyFlaw> {
        let members: Map<String, Value> =
            serde_json::from_str(json).map_err(|_| PublicKeyFlaw::Malformed)?;
        if has_private_members(&members) {
            return Err(PublicKeyFlaw::Private);
        }
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        // In lexical order, as RFC 7638 requires.
        let names: &[&str] = match (text("kty"), text("crv")) {
            (Some("EC"), Some("P-256")) => &["crv", "kty", "x", "y"],
            (Some("OKP"), Some("Ed25519")) => &["crv", "kty", "x"],
            (Some("RSA"), _) => &["e", "kty", "n"],
            (Some(_), _) => return Err(PublicKeyFlaw::Kind),
            (None, _) => return Err(PublicKeyFlaw::Malformed),
        };
        let mut jwk = String::from("{");
        for (at, name) in names.iter().enumerate() {
            let value = text(name).ok_or(PublicKeyFlaw::Malformed)?;
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            if value.is_empty() || !value.bytes().all(plain) {
                return Err(PublicKeyFlaw::Malformed);
            }
            if at > 0 {
                jwk.push(',');
            }
            for part in ["\"", name, "\":\"", value, "\""] {
                jwk.push_str(part);
            }
        }
        jwk.push('}');
        Ok(Self { jwk: jwk.into() })
    }

    /// Returns the JWK in the form that the thumbprint is computed from.
    pub fn as_jwk(&self) -> &str {
        &self.jwk
    }

    /// Returns the SHA-256 thumbprint (RFC 7638).
    pub fn thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.jwk.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.jwk)
    }
}

/// The key that a token is bound to, and the algorithm of its proofs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyBinding {
    pub(crate) thumbprint: Box<str>,
    pub(crate) algorithm: SigningAlgorithm,
    /// Whether a token that is not bound is rejected.
    pub(crate) required: bool,
}

/// Returns true if a JWK has private or symmetric key material (RFC 7518 section 6).
pub(crate) fn has_private_members(members: &Map<String, Value>) -> bool {
    const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
    PRIVATE.iter().any(|name| members.contains_key(*name))
}
