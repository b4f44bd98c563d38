//! Software keys. Prefer a key store of the operating system or a hardware key (DPOP-19): this module is
//! for tests, for services whose platform supplies a key file, and for keys with the lifetime of the
//! process.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaKeyPair,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;

use mcp_auth_machine::key::{PublicKey, SigningKey};
use mcp_auth_machine::wire::words::SigningAlgorithm;

/// The reason why a key is unusable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SoftwareKeyFlaw {
    /// The text is not a PKCS #8 private key in PEM, or the key is encrypted.
    #[error(
        "not a PKCS #8 private key in PEM; `openssl pkcs8 -topk8 -nocrypt -in FILE` makes one of other forms"
    )]
    Pem,
    /// The key is not P-256, Ed25519, or RSA of at least 2048 bits.
    #[error("not a P-256, Ed25519 or RSA key")]
    Kind,
    /// The system has no random bytes.
    #[error("the system has no random bytes")]
    Random,
    /// The key does not support the algorithm.
    #[error("the key cannot sign with that algorithm")]
    Algorithm,
}

enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// A private key in memory.
pub struct SoftwareKey {
    name: String,
    pair: Pair,
}

impl SoftwareKey {
    /// Parses a PKCS #8 private key in PEM.
    ///
    /// # Errors
    /// [`SoftwareKeyFlaw`].
    pub fn from_pem(name: impl Into<String>, pem: &str) -> Result<Self, SoftwareKeyFlaw> {
        let der =
            PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| SoftwareKeyFlaw::Pem)?;
        Self::from_der(name.into(), der.secret_pkcs8_der())
    }

    /// Generates a P-256 key with the lifetime of this value.
    ///
    /// # Errors
    /// [`SoftwareKeyFlaw::Random`].
    pub fn generate(name: impl Into<String>) -> Result<Self, SoftwareKeyFlaw> {
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                .map_err(|_| SoftwareKeyFlaw::Random)?;
        Self::from_der(name.into(), document.as_ref())
    }

    fn from_der(name: String, der: &[u8]) -> Result<Self, SoftwareKeyFlaw> {
        let p256 =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &SystemRandom::new());
        let pair = p256
            .map(Pair::P256)
            .or_else(|_| Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Pair::Ed25519))
            .or_else(|_| RsaKeyPair::from_pkcs8(der).map(Pair::Rsa))
            .map_err(|_| SoftwareKeyFlaw::Kind)?;
        Ok(Self { name, pair })
    }

    /// Returns the key's description for the machine: name, algorithms, public key.
    ///
    /// # Errors
    /// [`SoftwareKeyFlaw::Kind`] when the public part cannot be encoded.
    pub fn describe(&self) -> Result<SigningKey, SoftwareKeyFlaw> {
        use SigningAlgorithm::{Ed25519, EdDsa, Es256, Ps256, Rs256};
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (algorithms, jwk) = match &self.pair {
            Pair::P256(pair) => {
                // The byte 0x04, then both coordinates.
                let point = pair.public_key().as_ref();
                let (x, y) = point
                    .split_first()
                    .filter(|(first, rest)| **first == 4 && rest.len() == 64)
                    .map(|(_, rest)| rest.split_at(32))
                    .ok_or(SoftwareKeyFlaw::Kind)?;
                let jwk = serde_json::json!({
                    "kty": "EC", "crv": "P-256", "x": text(x), "y": text(y),
                });
                (vec![Es256], jwk)
            }
            Pair::Ed25519(pair) => {
                let x = text(pair.public_key().as_ref());
                let jwk = serde_json::json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
                (vec![Ed25519, EdDsa], jwk)
            }
            Pair::Rsa(pair) => {
                let parts = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                let jwk = serde_json::json!({
                    "kty": "RSA", "n": text(&parts.n), "e": text(&parts.e),
                });
                (vec![Ps256, Rs256], jwk)
            }
        };
        let public = PublicKey::from_jwk(&jwk.to_string()).map_err(|_| SoftwareKeyFlaw::Kind)?;
        Ok(SigningKey::new(self.name.as_str(), algorithms).public(public))
    }

    /// Returns the host's name for the key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Signs `input`.
    ///
    /// # Errors
    /// [`SoftwareKeyFlaw::Algorithm`] and [`SoftwareKeyFlaw::Random`].
    pub fn sign(
        &self,
        algorithm: SigningAlgorithm,
        input: &[u8],
    ) -> Result<Vec<u8>, SoftwareKeyFlaw> {
        let random = SystemRandom::new();
        let rsa = |pair: &RsaKeyPair, padding: &'static dyn ring::signature::RsaEncoding| {
            let mut signature = vec![0; pair.public().modulus_len()];
            pair.sign(padding, &random, input, &mut signature)
                .map_err(|_| SoftwareKeyFlaw::Random)?;
            Ok(signature)
        };
        match (&self.pair, algorithm) {
            (Pair::P256(pair), SigningAlgorithm::Es256) => pair
                .sign(&random, input)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| SoftwareKeyFlaw::Random),
            (Pair::Ed25519(pair), SigningAlgorithm::Ed25519 | SigningAlgorithm::EdDsa) => {
                Ok(pair.sign(input).as_ref().to_vec())
            }
            (Pair::Rsa(pair), SigningAlgorithm::Ps256) => rsa(pair, &RSA_PSS_SHA256),
            (Pair::Rsa(pair), SigningAlgorithm::Rs256) => rsa(pair, &RSA_PKCS1_SHA256),
            (Pair::P256(_) | Pair::Ed25519(_) | Pair::Rsa(_), _) => Err(SoftwareKeyFlaw::Algorithm),
        }
    }
}

#[cfg(any(feature = "ureq", feature = "reqwest"))]
impl crate::Signer for SoftwareKey {
    fn sign(
        &mut self,
        key: &str,
        algorithm: SigningAlgorithm,
        input: &[u8],
    ) -> Result<Vec<u8>, crate::Refused> {
        if key != self.name {
            return Err(crate::Refused);
        }
        Self::sign(self, algorithm, input).map_err(|_| crate::Refused)
    }
}

impl fmt::Debug for SoftwareKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftwareKey({:?})", self.name)
    }
}
