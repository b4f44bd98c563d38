//! Keys that stay with the host: what the machine knows of them (TOK-08, TOK-09, DPOP-19).

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::wire::words::SigningAlgorithm;

/// A key of the host: a name by which it is asked for signatures, and what others may know of it.
///
/// The private part never comes near the machine. For client assertions name and algorithms are
/// enough; proofs of possession need the public key too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey {
    pub(crate) name: Arc<str>,
    pub(crate) algorithms: Vec<SigningAlgorithm>,
    pub(crate) kid: Option<Box<str>>,
    pub(crate) public: Option<PublicKey>,
}

impl SigningKey {
    /// A key by the host's name for it, and the algorithms that it can do, the preferred one first.
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

    /// The key identifier that the server knows it by.
    #[must_use]
    pub fn kid(mut self, kid: &str) -> Self {
        self.kid = Some(kid.into());
        self
    }

    /// The public key: needed for proofs of possession.
    #[must_use]
    pub fn public(mut self, key: PublicKey) -> Self {
        self.public = Some(key);
        self
    }

    /// The host's name for it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The algorithms that it can do, the preferred one first.
    pub fn algorithms(&self) -> &[SigningAlgorithm] {
        &self.algorithms
    }

    /// The public key, where it is known.
    pub fn public_key(&self) -> Option<&PublicKey> {
        self.public.as_ref()
    }
}

/// A public key as a JSON Web Key: the members that its thumbprint is made of, and no others
/// (DPOP-03, RFC 7638).
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    jwk: Box<str>,
}

/// Why a text is no public key that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PublicKeyFlaw {
    /// Not a JSON object, or a member is missing or no text.
    #[error("not a JSON Web Key")]
    Malformed,
    /// A key type other than EC on P-256, OKP with Ed25519, and RSA.
    #[error("not a P-256, Ed25519 or RSA key")]
    Kind,
    /// It holds private members; they must not leave the host's signer.
    #[error("the key holds private members")]
    Private,
}

impl PublicKey {
    /// Reads a JSON Web Key. Members that say how it is used are left out.
    ///
    /// # Errors
    /// [`PublicKeyFlaw`]; a key with private members is refused, not cut down.
    pub fn from_jwk(json: &str) -> Result<Self, PublicKeyFlaw> {
        let members: Map<String, Value> =
            serde_json::from_str(json).map_err(|_| PublicKeyFlaw::Malformed)?;
        if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"]
            .iter()
            .any(|private| members.contains_key(*private))
        {
            return Err(PublicKeyFlaw::Private);
        }
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        // In lexical order, as RFC 7638 wants it.
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

    /// The key as JSON, in the form of which the thumbprint is made.
    pub fn as_jwk(&self) -> &str {
        &self.jwk
    }

    /// The SHA-256 thumbprint (RFC 7638).
    pub fn thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.jwk.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.jwk)
    }
}

/// Which key a token is bound to, and with which algorithm its proofs are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyBinding {
    pub(crate) thumbprint: Box<str>,
    pub(crate) algorithm: SigningAlgorithm,
    /// A token that is not bound is not taken.
    pub(crate) required: bool,
}
