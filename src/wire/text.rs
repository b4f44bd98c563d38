//! Text from a peer, made safe to carry around.

use std::fmt;

/// Longest peer text kept, in characters (CB-10).
pub const MAX_TEXT_CHARS: usize = 512;

/// The text before a byte, and what comes after it. Byte by byte: the texts are short.
pub(crate) fn cut(text: &str, at: u8) -> (&str, Option<&str>) {
    debug_assert!(at.is_ascii());
    let place = text.bytes().position(|byte| byte == at);
    let before = place.and_then(|place| text.get(..place));
    let after = place.and_then(|place| text.get(place.saturating_add(1)..));
    (before.unwrap_or(text), after)
}

/// Text that a peer chose: printable ASCII only, at most 512 characters (CB-10, SEC-28). It has no
/// `Display`, so that it is never mistaken for our own words; `Debug` quotes and escapes it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Untrusted(Box<str>);

impl Untrusted {
    /// Keeps the printable ASCII characters of a text, up to the limit.
    pub fn new(text: &str) -> Self {
        let kept: String = text
            .chars()
            .filter(|c| matches!(c, ' '..='~'))
            .take(MAX_TEXT_CHARS)
            .collect();
        Self(kept.into_boxed_str())
    }

    /// The text, for display as plain text that is attributed to the peer.
    pub fn as_plain(&self) -> &str {
        &self.0
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
