//! Text from a server, sanitised for display and logs.

use std::fmt;

/// Longest text that is kept, in characters (CB-10).
pub const MAX_TEXT_CHARS: usize = 512;

/// Splits a text at the first occurrence of a byte. A simple loop, because the texts are short.
pub(crate) fn cut(text: &str, at: u8) -> (&str, Option<&str>) {
    debug_assert!(at.is_ascii());
    let place = text.bytes().position(|byte| byte == at);
    let before = place.and_then(|place| text.get(..place));
    let after = place.and_then(|place| text.get(place.saturating_add(1)..));
    (before.unwrap_or(text), after)
}

/// Text that a server chose, reduced to printable ASCII of at most 512 characters. Not `Display`, so that
/// it is never mistaken for this crate's own text; `Debug` quotes and escapes it (CB-10, SEC-28).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Untrusted(Box<str>);

impl Untrusted {
    /// Creates a sanitised text: keeps printable ASCII, up to the limit.
    pub fn new(text: &str) -> Self {
        if text.len() <= MAX_TEXT_CHARS && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Self(text.into());
        }
        let kept: String = text
            .chars()
            .filter(|c| matches!(c, ' '..='~'))
            .take(MAX_TEXT_CHARS)
            .collect();
        Self(kept.into_boxed_str())
    }

    /// Returns the text, for display as plain text that is attributed to the server.
    pub fn as_plain(&self) -> &str {
        &self.0
    }

    /// Returns true if no character was kept.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
