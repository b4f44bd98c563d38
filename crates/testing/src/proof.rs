//! Checking proofs of possession (RS-09, AS-19): ES256 alone, which is all that is advertised.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcp_auth_machine::key::PublicKey;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The one algorithm.
pub const ALGORITHM: &str = "ES256";

/// The most proofs that are remembered; beyond it none is taken until older ones have expired.
const MAX_PROOFS: usize = 100_000;

/// How far the clocks may differ.
const SKEW_SECONDS: u64 = 300;

/// The proofs seen lately, so that none is taken twice.
#[derive(Debug, Default)]
pub struct Proofs(Mutex<HashMap<String, Instant>>);

/// What a proof has to be about.
pub struct Subject<'a> {
    /// The method of the request.
    pub method: &'a str,
    /// Its URL.
    pub url: &'a str,
    /// The access token it carries, except at the token endpoint.
    pub token: Option<&'a str>,
}

impl Proofs {
    /// The thumbprint of the key that made a proof for this request; `None` when it is no such proof.
    pub fn check(&self, proof: &str, subject: &Subject<'_>) -> Option<String> {
        let (input, signature) = proof.rsplit_once('.')?;
        let (header, claims) = input.split_once('.')?;
        let read = |part: &str| -> Option<Value> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        let (header, claims) = (read(header)?, read(claims)?);
        let key = header.get("jwk")?;
        let public = PublicKey::from_jwk(&key.to_string()).ok()?;
        let typed = header.get("typ")? == "dpop+jwt" && header.get("alg")? == ALGORITHM;
        // A header that must be understood, and is not (RFC 7515 section 4.1.11).
        if !typed || header.get("crit").is_some() {
            return None;
        }
        let mut point = vec![4];
        for name in ["x", "y"] {
            point.extend(URL_SAFE_NO_PAD.decode(key.get(name)?.as_str()?).ok()?);
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(input.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?)
            .ok()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        let ath = subject
            .token
            .map(|token| URL_SAFE_NO_PAD.encode(Sha256::digest(token)));
        let fits = claims.get("htm")? == subject.method
            && claims.get("htu")? == subject.url
            && claims.get("iat")?.as_u64()?.abs_diff(now) <= SKEW_SECONDS
            && claims.get("ath").and_then(Value::as_str) == ath.as_deref();
        let jti = claims.get("jti")?.as_str()?.to_owned();
        (fits && self.is_new(jti)).then(|| public.thumbprint())
    }

    fn is_new(&self, jti: String) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let window = Duration::from_secs(SKEW_SECONDS.saturating_mul(2));
        seen.retain(|_, at| at.elapsed() < window);
        seen.len() < MAX_PROOFS && seen.insert(jti, Instant::now()).is_none()
    }
}
