//! Secret values: no `Display`, no `Deref`, a `Debug` without content, cleared on drop.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// A text that is cleared on drop, with its spare capacity. In bulk: `Zeroizing<String>` clears byte by byte, which
/// costs more than to write the text.
#[derive(Clone, Default)]
pub(crate) struct Cleared(String);

impl Cleared {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<[u8]> for Cleared {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Drop for Cleared {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        bytes.resize(bytes.capacity(), 0);
        bytes.as_mut_slice().zeroize();
    }
}

/// A secret text: a token, a client secret, an authorization code (TOK-24, SEC-32).
///
/// The public API cannot read it back; it leaves the machine only inside requests and records. Its memory
/// is cleared on drop.
#[derive(Clone)]
pub struct Secret(Cleared);

impl Secret {
    /// Creates a secret from a string of the host.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Cleared::new(text.into()))
    }

    pub(crate) fn expose(&self) -> &str {
        self.0.as_str()
    }

    /// Compares in time that depends on the lengths only (SEC-33).
    pub(crate) fn same(&self, other: &str) -> bool {
        same_bytes(self.expose().as_bytes(), other.as_bytes())
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Compares in time that depends on the lengths only; all comparisons of secrets end here. Not inlined, so
/// that no compiler merges the comparison with the branch on its result (SEC-33).
#[inline(never)]
pub(crate) fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}
