//! Signed tokens in compact form (RFC 7515), verified with `ring`: a list of asymmetric algorithms, and
//! no way to name another.
//!
//! `jsonwebtoken` needs a crypto provider installed for the whole process, and panics without one. A
//! library must not make that choice for its program.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Longest token or proof, in bytes.
pub const MAX_JWT_BYTES: usize = 32 * 1024;

/// A supported signature algorithm. Symmetric ones and `none` cannot be expressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// Ed25519, also under its older name `EdDSA`.
    Ed25519,
}

/// All supported algorithms.
pub const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::Ed25519,
];

impl Algorithm {
    /// Returns the registered name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::Ed25519 => "Ed25519",
        }
    }

    /// Returns the algorithm with this name.
    pub fn parse(name: &str) -> Option<Self> {
        if name == "EdDSA" {
            return Some(Self::Ed25519);
        }
        ALGORITHMS.into_iter().find(|known| known.as_str() == name)
    }
}

/// A public key for signatures.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    kid: Option<String>,
    algorithm: Option<Algorithm>,
    material: Material,
}

#[derive(Clone, PartialEq, Eq)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256 { x: Vec<u8>, y: Vec<u8> },
    P384 { x: Vec<u8>, y: Vec<u8> },
    Ed25519 { x: Vec<u8> },
}

impl VerifyingKey {
    /// Parses a JSON Web Key. `None` for unsupported kinds of keys, for keys with another use than
    /// signatures, and for malformed members.
    pub fn from_jwk(jwk: &Value) -> Option<Self> {
        let jwk = jwk.as_object()?;
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let bytes = |name: &str| text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        if text("use").is_some_and(|usage| usage != "sig") {
            return None;
        }
        let operations = jwk.get("key_ops").and_then(Value::as_array);
        if operations.is_some_and(|all| !all.iter().any(|one| one == "verify")) {
            return None;
        }
        // A published private key proves nothing.
        if jwk.contains_key("d") || jwk.contains_key("k") {
            return None;
        }
        let material = match (text("kty")?, text("crv")) {
            ("RSA", _) => Material::Rsa {
                n: bytes("n")?,
                e: bytes("e")?,
            },
            ("EC", Some("P-256")) => Material::P256 {
                x: bytes("x").filter(|x| x.len() == 32)?,
                y: bytes("y").filter(|y| y.len() == 32)?,
            },
            ("EC", Some("P-384")) => Material::P384 {
                x: bytes("x").filter(|x| x.len() == 48)?,
                y: bytes("y").filter(|y| y.len() == 48)?,
            },
            ("OKP", Some("Ed25519")) => Material::Ed25519 {
                x: bytes("x").filter(|x| x.len() == 32)?,
            },
            (_, _) => return None,
        };
        let algorithm = match text("alg") {
            None => None,
            Some(name) => Some(Algorithm::parse(name)?),
        };
        Some(Self {
            kid: text("kid").map(str::to_owned),
            algorithm,
            material,
        })
    }

    /// Returns the key identifier.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Returns the SHA-256 thumbprint (RFC 7638).
    pub fn thumbprint(&self) -> String {
        let encode = |bytes: &Vec<u8>| URL_SAFE_NO_PAD.encode(bytes);
        // Members in lexical order; base64url needs no escapes.
        let members = match &self.material {
            Material::Rsa { n, e } => {
                format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, encode(e), encode(n))
            }
            Material::P256 { x, y } => {
                let (x, y) = (encode(x), encode(y));
                format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)
            }
            Material::P384 { x, y } => {
                let (x, y) = (encode(x), encode(y));
                format!(r#"{{"crv":"P-384","kty":"EC","x":"{x}","y":"{y}"}}"#)
            }
            Material::Ed25519 { x } => {
                format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(x))
            }
        };
        URL_SAFE_NO_PAD.encode(Sha256::digest(members))
    }

    /// Returns true if the key supports this algorithm, by its kind and its own `alg`.
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        self.algorithm.is_none_or(|own| own == algorithm) && self.has_kind(algorithm)
    }

    fn has_kind(&self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => matches!(self.material, Material::Rsa { .. }),
            Algorithm::ES256 => matches!(self.material, Material::P256 { .. }),
            Algorithm::ES384 => matches!(self.material, Material::P384 { .. }),
            Algorithm::Ed25519 => matches!(self.material, Material::Ed25519 { .. }),
        }
    }

    fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.fits(algorithm) {
            return false;
        }
        let rsa = |parameters: &'static RsaParameters| match &self.material {
            Material::Rsa { n, e } => RsaPublicKeyComponents { n, e }
                .verify(parameters, message, signature)
                .is_ok(),
            Material::P256 { .. } | Material::P384 { .. } | Material::Ed25519 { .. } => false,
        };
        let curve = |parameters: &'static dyn signature::VerificationAlgorithm| {
            let key = match &self.material {
                Material::P256 { x, y } | Material::P384 { x, y } => {
                    [&[4], x.as_slice(), y.as_slice()].concat()
                }
                Material::Ed25519 { x } => x.clone(),
                Material::Rsa { .. } => return false,
            };
            let key = UnparsedPublicKey::new(parameters, key);
            key.verify(message, signature).is_ok()
        };
        match algorithm {
            Algorithm::RS256 => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::RS384 => rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::RS512 => rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::PS256 => rsa(&signature::RSA_PSS_2048_8192_SHA256),
            Algorithm::PS384 => rsa(&signature::RSA_PSS_2048_8192_SHA384),
            Algorithm::PS512 => rsa(&signature::RSA_PSS_2048_8192_SHA512),
            Algorithm::ES256 => curve(&signature::ECDSA_P256_SHA256_FIXED),
            Algorithm::ES384 => curve(&signature::ECDSA_P384_SHA384_FIXED),
            Algorithm::Ed25519 => curve(&signature::ED25519),
        }
    }
}

impl std::fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// A parsed token with an unverified signature. Its claims are inaccessible.
pub(crate) struct Unverified<'a> {
    message: &'a [u8],
    claims: Map<String, Value>,
    signature: Vec<u8>,
    pub(crate) header: Map<String, Value>,
    pub(crate) algorithm: Algorithm,
}

impl<'a> Unverified<'a> {
    /// Parses a compact token. `None` for a malformed one, an unsupported algorithm, or a header with
    /// `crit` or `b64`, which change the meaning of the token (RFC 7515 section 4.1.11). Keys in the header,
    /// or at a URL that it names (`jwk`, `jku`, `x5c`, `x5u`), are ignored; proofs read `jwk` themselves.
    pub(crate) fn read(token: &'a str) -> Option<Self> {
        if token.len() > MAX_JWT_BYTES {
            return None;
        }
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let object = |part: &str| -> Option<Map<String, Value>> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        let header = object(header)?;
        if header.contains_key("crit") || header.contains_key("b64") {
            return None;
        }
        // A `kid` of another type would count as absent, so that any key could match.
        if header.get("kid").is_some_and(|kid| !kid.is_string()) {
            return None;
        }
        let algorithm = Algorithm::parse(header.get("alg")?.as_str()?)?;
        Some(Self {
            message: message.as_bytes(),
            claims: object(claims)?,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
            header,
            algorithm,
        })
    }

    pub(crate) fn header_text(&self, name: &str) -> Option<&str> {
        self.header.get(name).and_then(Value::as_str)
    }

    /// Returns the unverified issuer, to choose keys only.
    pub(crate) fn claimed_issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// Returns the claims if the key verifies the signature.
    pub(crate) fn verify(&self, key: &VerifyingKey) -> Option<&Map<String, Value>> {
        key.verifies(self.algorithm, self.message, &self.signature)
            .then_some(&self.claims)
    }
}
