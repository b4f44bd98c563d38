//! JSON Web Tokens that the client creates: client assertions (RFC 7523) and DPoP proofs (RFC 9449). Only
//! the signing input is built here; the host signs.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::words::SigningAlgorithm;

/// Longest signature accepted from a host, in bytes.
pub const MAX_SIGNATURE_BYTES: usize = 1_024;
/// The lifetime of a client assertion, in seconds; TOK-08 allows 300.
pub const ASSERTION_SECONDS: u64 = 60;
/// Longest nonce accepted from a server, in bytes (DPOP-12).
pub const MAX_NONCE_BYTES: usize = 512;

#[derive(Serialize)]
struct AssertionHeader<'a> {
    typ: &'a str,
    alg: SigningAlgorithm,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
}

#[derive(Serialize)]
struct AssertionClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: u64,
    exp: u64,
    jti: &'a str,
}

/// Returns the signing input of a client assertion (TOK-08).
pub(crate) fn assertion(
    client_id: &str,
    audience: &str,
    algorithm: SigningAlgorithm,
    kid: Option<&str>,
    unix_seconds: u64,
    jti: &str,
) -> Vec<u8> {
    let header = AssertionHeader {
        typ: "client-authentication+jwt",
        alg: algorithm,
        kid,
    };
    let claims = AssertionClaims {
        iss: client_id,
        sub: client_id,
        aud: audience,
        iat: unix_seconds,
        exp: unix_seconds.saturating_add(ASSERTION_SECONDS),
        jti,
    };
    input(&header, &claims)
}

#[derive(Serialize)]
struct ProofHeader<'a> {
    typ: &'a str,
    alg: SigningAlgorithm,
    jwk: &'a serde_json::value::RawValue,
}

#[derive(Serialize)]
struct ProofClaims<'a> {
    jti: &'a str,
    htm: &'a str,
    htu: &'a str,
    iat: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ath: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
}

/// The claims of a DPoP proof (RFC 9449 section 4.2, DPOP-04).
#[derive(Clone, Debug)]
pub(crate) struct ProofSubject {
    pub(crate) jwk: Box<str>,
    pub(crate) algorithm: SigningAlgorithm,
    /// The method of the request.
    pub(crate) method: Box<str>,
    /// The URL of the request; the proof omits its query and fragment (DPOP-05).
    pub(crate) url: Box<str>,
    /// The digest of the access token, when the request carries one.
    pub(crate) ath: Option<Box<str>>,
    pub(crate) nonce: Option<Box<str>>,
    pub(crate) unix_seconds: u64,
}

impl ProofSubject {
    pub(crate) fn input(&self, jti: &str) -> Vec<u8> {
        let end = self.url.find(['?', '#']).unwrap_or(self.url.len());
        let Ok(jwk) = serde_json::value::RawValue::from_string(self.jwk.to_string()) else {
            return Vec::new();
        };
        let header = ProofHeader {
            typ: "dpop+jwt",
            alg: self.algorithm,
            jwk: &jwk,
        };
        let claims = ProofClaims {
            jti,
            htm: &self.method,
            htu: self.url.get(..end).unwrap_or_default(),
            iat: self.unix_seconds,
            ath: self.ath.as_deref(),
            nonce: self.nonce.as_deref(),
        };
        input(&header, &claims)
    }
}

/// Returns the `ath` of an access token (DPOP-06).
pub(crate) fn ath(token: &str) -> Box<str> {
    URL_SAFE_NO_PAD
        .encode(Sha256::digest(token.as_bytes()))
        .into()
}

/// Returns a `jti` of 128 random bits.
pub(crate) fn jti(random: [u8; 16]) -> String {
    URL_SAFE_NO_PAD.encode(random)
}

fn input<H: Serialize, C: Serialize>(header: &H, claims: &C) -> Vec<u8> {
    // Serializing plain structs of strings and numbers cannot fail.
    let header = serde_json::to_vec(header).unwrap_or_default();
    let claims = serde_json::to_vec(claims).unwrap_or_default();
    let mut text = URL_SAFE_NO_PAD.encode(header);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(claims, &mut text);
    text.into_bytes()
}

/// Returns the signed token; `None` when the signature's length is implausible.
pub(crate) fn signed(input: &[u8], signature: &[u8]) -> Option<Zeroizing<String>> {
    if !(32..=MAX_SIGNATURE_BYTES).contains(&signature.len()) {
        return None;
    }
    let mut text = String::from_utf8(input.to_vec()).ok()?;
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut text);
    Some(Zeroizing::new(text))
}

/// Returns true if a text is a valid nonce (RFC 9449 section 8, DPOP-12).
pub fn is_nonce(text: &str) -> bool {
    let allowed = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    !text.is_empty() && text.len() <= MAX_NONCE_BYTES && text.bytes().all(allowed)
}
