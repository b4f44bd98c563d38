//! PKCE with S256 (RFC 7636), and the entropy of one authorization attempt.

use std::fmt;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::text::{all_bytes, is_alphanumeric};
use crate::secret::same_bytes;
use crate::slot::{RevisionKey, StateDigest, base64url};

const VERIFIER_CHARS: usize = 43;
const STATE_CHARS: usize = 22;

/// The entropy of one authorization attempt: 64 bytes from a cryptographic random source, or 48 bytes
/// without a key for records. Not `Clone`: an attempt consumes it (PKCE-03, AUTHZ-04, SEC-34).
pub struct Seed {
    attempt: Zeroizing<[u8; 48]>,
    key: Option<RevisionKey>,
}

impl Seed {
    /// Creates a seed from 48 random bytes. The attempt's records then use unkeyed digests as revisions.
    ///
    /// # Errors
    /// [`WeakSeed`] when all bytes are equal, as in an unfilled buffer.
    pub fn new(bytes: [u8; 48]) -> Result<Self, WeakSeed> {
        Self::of(&bytes, None)
    }

    /// Creates a seed from 64 random bytes. The last 16 are the key for the revisions of records, which is
    /// faster than digests and unknown to servers.
    ///
    /// # Errors
    /// [`WeakSeed`] when the first 48 bytes are all equal, or the last 16, as in an unfilled buffer.
    pub fn with_key(bytes: [u8; 64]) -> Result<Self, WeakSeed> {
        let bytes = Zeroizing::new(bytes);
        let (attempt, key) = bytes.split_first_chunk::<48>().ok_or(WeakSeed)?;
        let key = key.first_chunk::<16>().ok_or(WeakSeed)?;
        if all_equal(key) {
            return Err(WeakSeed);
        }
        Self::of(attempt, Some(RevisionKey::new(*key)))
    }

    fn of(bytes: &[u8; 48], key: Option<RevisionKey>) -> Result<Self, WeakSeed> {
        if all_equal(bytes) {
            return Err(WeakSeed);
        }
        let attempt = Zeroizing::new(*bytes);
        Ok(Self { attempt, key })
    }

    pub(crate) fn split(self) -> (Verifier, State) {
        let (verifier, state) = self.attempt.split_at(32);
        (
            Verifier(Zeroizing::new(base64url(verifier))),
            State(Zeroizing::new(base64url(state))),
        )
    }

    /// Returns the key for the attempt's records, if the seed contains one.
    pub(crate) fn revision_key(&self) -> Option<RevisionKey> {
        self.key
    }
}

fn all_equal(bytes: &[u8]) -> bool {
    let first = bytes.first().copied().unwrap_or_default();
    all_bytes(bytes, |byte| byte == first)
}

impl TryFrom<&[u8]> for Seed {
    type Error = WeakSeed;

    fn try_from(bytes: &[u8]) -> Result<Self, WeakSeed> {
        match (bytes.try_into(), bytes.try_into()) {
            (Ok(bytes), _) => Self::with_key(bytes),
            (Err(_), Ok(bytes)) => Self::new(bytes),
            (Err(_), Err(_)) => Err(WeakSeed),
        }
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[seed]")
    }
}

/// The error for a seed that is not 64 or 48 bytes long, or plainly not random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a seed is 64 bytes, or 48 bytes, from a cryptographic random source")]
pub struct WeakSeed;

fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// A code verifier: 43 characters from 32 random bytes (PKCE-03).
#[derive(Clone)]
pub struct Verifier(Zeroizing<[u8; VERIFIER_CHARS]>);

impl Verifier {
    /// Creates a verifier from the 43 unreserved characters of a record.
    pub fn from_text(text: &str) -> Option<Self> {
        exact(text).map(|chars| Self(Zeroizing::new(chars)))
    }

    pub(crate) fn expose(&self) -> &str {
        ascii(&*self.0)
    }

    pub(crate) fn expose_bytes(&self) -> &[u8] {
        &*self.0
    }

    /// Returns the S256 challenge of this verifier (PKCE-04).
    pub fn challenge(&self) -> Challenge {
        Challenge(base64url(&Sha256::digest(*self.0)))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[verifier]")
    }
}

/// An S256 code challenge, which is public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge([u8; VERIFIER_CHARS]);

impl Challenge {
    /// Returns the 43 characters of the `code_challenge` parameter.
    pub fn as_str(&self) -> &str {
        ascii(&self.0)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The `state` of one authorization request: 22 characters from 16 random bytes (AUTHZ-04).
#[derive(Clone)]
pub struct State(Zeroizing<[u8; STATE_CHARS]>);

impl State {
    /// Creates a state from text; `None` for text of another length.
    pub fn from_text(text: &str) -> Option<Self> {
        exact(text).map(|chars| Self(Zeroizing::new(chars)))
    }

    pub(crate) fn expose(&self) -> &str {
        ascii(&*self.0)
    }

    pub(crate) fn expose_bytes(&self) -> &[u8] {
        &*self.0
    }

    /// Compares in constant time (CB-05).
    pub fn same(&self, other: &Self) -> bool {
        same_bytes(&*self.0, &*other.0)
    }

    /// Returns a digest that names this state's slot without revealing the state.
    pub(crate) fn digest(&self) -> StateDigest {
        StateDigest::of(&*self.0)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[state]")
    }
}

fn exact<const N: usize>(text: &str) -> Option<[u8; N]> {
    let chars: [u8; N] = text.as_bytes().try_into().ok()?;
    let punctuation = |c: u8| (c == b'-') | (c == b'_') | (c == b'.') | (c == b'~');
    all_bytes(&chars, |c| is_alphanumeric(c) | punctuation(c)).then_some(chars)
}
