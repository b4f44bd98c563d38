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

/// Returns true if every byte passes a test, which is branch-free: pieces of 16 bytes then compare at once. The last one
/// overlaps the one before; a short text is filled up with its first byte.
pub(crate) fn all_bytes(text: &[u8], passes: impl Fn(u8) -> bool) -> bool {
    let all = |piece: &[u8; 16]| piece.iter().fold(true, |all, byte| all & passes(*byte));
    match (text.last_chunk::<16>(), text.first()) {
        (Some(last), _) => text.as_chunks::<16>().0.iter().all(all) && all(last),
        (None, Some(first)) => {
            let mut piece = [*first; 16];
            if let Some(start) = piece.get_mut(..text.len()) {
                start.copy_from_slice(text);
            }
            all(&piece)
        }
        (None, None) => true,
    }
}

/// Returns true for a letter or a digit, without a branch.
pub(crate) const fn is_alphanumeric(byte: u8) -> bool {
    (byte | 0x20).is_ascii_lowercase() | byte.is_ascii_digit()
}

/// Text that a server chose, reduced to printable ASCII of at most 512 characters. Not `Display`, so that
/// it is never mistaken for this crate's own text; `Debug` quotes and escapes it (CB-10, SEC-28).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Untrusted(Box<str>);

impl Untrusted {
    /// Creates a sanitised text: keeps printable ASCII, up to the limit.
    pub fn new(text: &str) -> Self {
        let printable = |byte: u8| matches!(byte, b' '..=b'~');
        if text.len() <= MAX_TEXT_CHARS && all_bytes(text.as_bytes(), printable) {
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
