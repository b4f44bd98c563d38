//! The keys of an issuer: bounded, fetched by one at a time, and kept through outages (RS-08).
//!
//! This module does no I/O: [`KeyCache`] reports when a fetch is due, and takes its result.

use std::time::Duration;

use serde_json::Value;

use super::jose::{Algorithm, VerifyingKey};

/// Largest key set, in bytes.
pub const MAX_JWKS_BYTES: usize = 256 * 1024;
/// The largest number of keys of one issuer; further ones are ignored.
pub const MAX_KEYS: usize = 64;

/// The lifetimes of keys, and the interval of fetches.
#[derive(Clone, Copy, Debug)]
pub struct KeyTimes {
    /// The age at which keys are fetched again; they stay in use until that succeeds.
    pub fresh: Duration,
    /// The age at which keys are no longer used without a successful fetch.
    pub usable: Duration,
    /// The minimum time between two fetches, successful or not. Limits the fetches that tokens with
    /// invented key identifiers cause.
    pub pause: Duration,
}

impl Default for KeyTimes {
    fn default() -> Self {
        Self {
            fresh: Duration::from_secs(600),
            usable: Duration::from_secs(24 * 3600),
            pause: Duration::from_secs(10),
        }
    }
}

/// The flaw in a key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// The key set is larger than [`MAX_JWKS_BYTES`].
    #[error("the key set is larger than {MAX_JWKS_BYTES} bytes")]
    TooLarge,
    /// The document is not a JSON object with a list `keys`.
    #[error("the key set is not a JSON object with the list `keys`")]
    NotAKeySet,
    /// The key set has no key of a supported kind.
    #[error("the key set holds no usable key")]
    NoKey,
}

/// Parses a JSON Web Key Set (RFC 7517 section 5); keys of unknown kinds are skipped.
///
/// # Errors
/// [`KeySetError`] with the flaw.
pub fn parse_keys(body: &[u8]) -> Result<Vec<VerifyingKey>, KeySetError> {
    if body.len() > MAX_JWKS_BYTES {
        return Err(KeySetError::TooLarge);
    }
    let document: Value = serde_json::from_slice(body).map_err(|_| KeySetError::NotAKeySet)?;
    let keys = document.get("keys").and_then(Value::as_array);
    let keys = keys.ok_or(KeySetError::NotAKeySet)?;
    let keys: Vec<VerifyingKey> = keys
        .iter()
        .filter_map(VerifyingKey::from_jwk)
        .take(MAX_KEYS)
        .collect();
    if keys.is_empty() {
        Err(KeySetError::NoKey)
    } else {
        Ok(keys)
    }
}

/// The result of a lookup.
#[derive(Debug)]
pub struct KeyLookup<'a> {
    /// The keys that may verify the signature.
    pub keys: Vec<&'a VerifyingKey>,
    /// Whether a fetch is due: perform it, report it to [`KeyCache::fetched`] or [`KeyCache::failed`], and
    /// look up again. The present keys may be used meanwhile.
    pub is_fetch_due: bool,
    /// Whether any keys are usable, so that a token with an unknown key is invalid.
    pub is_usable: bool,
}

/// The keys of one issuer.
#[derive(Clone, Debug, Default)]
pub struct KeyCache {
    times: KeyTimes,
    keys: Vec<VerifyingKey>,
    fetched: Option<Duration>,
    tried: Option<Duration>,
}

impl KeyCache {
    /// Creates an empty cache.
    pub fn new(times: KeyTimes) -> Self {
        Self {
            times,
            ..Self::default()
        }
    }

    /// Looks up the keys for a token with this header. Times are durations since any fixed point.
    pub fn lookup(&self, kid: Option<&str>, algorithm: Algorithm, now: Duration) -> KeyLookup<'_> {
        let age = |at: Option<Duration>| at.map(|at| now.saturating_sub(at));
        let may_fetch = age(self.tried).is_none_or(|age| age >= self.times.pause);
        let age = age(self.fetched);
        let is_usable = age.is_some_and(|age| age < self.times.usable);
        let stale = age.is_none_or(|age| age >= self.times.fresh);
        let keys = self
            .keys
            .iter()
            .filter(|key| is_usable && key.fits(algorithm));
        // A token that names a key is verified with that key only.
        let keys: Vec<_> = keys
            .filter(|key| kid.is_none_or(|kid| key.kid() == Some(kid)))
            .collect();
        KeyLookup {
            is_fetch_due: may_fetch && (stale || keys.is_empty()),
            keys,
            is_usable,
        }
    }

    /// Replaces the keys by those of a fetched key set.
    ///
    /// # Errors
    /// [`KeySetError`]; the previous keys are kept.
    pub fn fetched(&mut self, body: &[u8], now: Duration) -> Result<(), KeySetError> {
        self.tried = Some(now);
        self.keys = parse_keys(body)?;
        self.fetched = Some(now);
        Ok(())
    }

    /// A fetch begins. While there are keys, the pause begins with it, whether or not the result arrives.
    pub fn started(&mut self, now: Duration) {
        if self.fetched.is_some() {
            self.tried = Some(now);
        }
    }

    /// Records a failed fetch; the previous keys are kept.
    pub fn failed(&mut self, now: Duration) {
        self.tried = Some(now);
    }
}
