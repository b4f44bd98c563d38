//! Secret values: no `Display`, no `Deref`, a `Debug` without content, cleared on drop.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret text: a token, a client secret, an authorization code (TOK-24, SEC-32).
///
/// The public API cannot read it back; it leaves the machine only inside requests and records. Its memory
/// is cleared on drop.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Creates a secret from a string of the host.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Compares in time that depends on the lengths only (SEC-33).
    pub(crate) fn same(&self, other: &str) -> bool {
        same_bytes(self.0.as_bytes(), other.as_bytes())
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
