//! Text from a server, sanitised for display and logs.

use std::fmt;

/// Longest text that is kept, in characters (CB-10).
pub const MAX_TEXT_CHARS: usize = 512;

/// Splits a text at the first occurrence of a byte.
pub(crate) fn cut(text: &str, at: u8) -> (&str, Option<&str>) {
    debug_assert!(at.is_ascii());
    let place = first_byte(text.as_bytes(), |byte| byte == at);
    let before = place.and_then(|place| text.get(..place));
    let after = place.and_then(|place| text.get(place.saturating_add(1)..));
    (before.unwrap_or(text), after)
}

/// Lends the text of these parts to a function, from the stack if it is short.
pub(crate) fn joined<T>(parts: [&str; 3], lend: impl FnOnce(&str) -> T) -> T {
    let mut place = [0_u8; 128];
    let mut rest = place.as_mut_slice();
    let mut length = 0_usize;
    for part in parts {
        let Some((own, after)) = rest.split_at_mut_checked(part.len()) else {
            return lend(&parts.concat());
        };
        own.copy_from_slice(part.as_bytes());
        length = length.saturating_add(part.len());
        rest = after;
    }
    let text = place.get(..length).map(std::str::from_utf8);
    match text {
        Some(Ok(text)) => lend(text),
        Some(Err(_)) | None => lend(&parts.concat()),
    }
}

/// Returns true if every byte passes a test, which is branch-free: pieces of 16 bytes then compare at once. The last one
/// overlaps the one before; a shorter text is one of 8 or 4 bytes with its overlap, or single bytes.
#[inline]
pub(crate) fn all_bytes(text: &[u8], passes: impl Fn(u8) -> bool + Copy) -> bool {
    if let Some(last) = text.last_chunk::<16>() {
        let mut pieces = text.as_chunks::<16>().0.iter();
        pieces.all(|piece| all_of(piece, passes)) && all_of(last, passes)
    } else if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        all_of(first, passes) & all_of(last, passes)
    } else if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        all_of(first, passes) & all_of(last, passes)
    } else {
        text.iter().all(|byte| passes(*byte))
    }
}

/// The test is passed by value: a reference to it is not always followed by the compiler, which then calls it for each byte.
#[inline]
fn all_of<const N: usize>(piece: &[u8; N], passes: impl Fn(u8) -> bool + Copy) -> bool {
    piece.iter().fold(true, |all, byte| all & passes(*byte))
}

/// Returns the place of the first byte that passes a test, which is branch-free: pieces of 16 bytes without one are
/// skipped at once.
#[inline]
pub(crate) fn first_byte(text: &[u8], passes: impl Fn(u8) -> bool + Copy) -> Option<usize> {
    let fails = move |byte| !passes(byte);
    let (pieces, rest) = text.as_chunks::<16>();
    let skipped = match pieces.iter().position(|piece| !all_of(piece, fails)) {
        Some(piece) => piece,
        None if all_bytes(rest, fails) => return None,
        None => pieces.len(),
    };
    let skipped = skipped.saturating_mul(16);
    let mut rest = text.get(skipped..)?.iter();
    let place = rest.position(|byte| passes(*byte))?;
    Some(skipped.saturating_add(place))
}

/// The result of a test for each byte: for bytes that are tested one by one.
pub(crate) struct ByteTable([bool; 256]);

impl ByteTable {
    pub(crate) const fn new(passing: [bool; 256]) -> Self {
        Self(passing)
    }

    #[inline]
    pub(crate) fn has(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte)) == Some(&true)
    }
}

/// Makes the [`ByteTable`] of a constant function.
macro_rules! byte_table {
    ($test:path) => {{
        let mut passing = [false; 256];
        let (mut rest, mut byte) = (passing.as_mut_slice(), 0_u8);
        while let Some((place, others)) = rest.split_first_mut() {
            *place = $test(byte);
            rest = others;
            byte = byte.wrapping_add(1);
        }
        $crate::wire::text::ByteTable::new(passing)
    }};
}
pub(crate) use byte_table;

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
