//! URLs that are canonical as they are, found without the parser.

use std::sync::Arc;

use super::text::{all_bytes, first_byte, is_alphanumeric};

/// A URL of the simplest and most frequent kind: `https`, a lower-case name, no port, and a path of
/// unreserved characters without dot segments. The parser would return it unchanged, and is skipped.
pub(super) struct PlainUrl<'a> {
    text: &'a str,
    pub(super) host: &'a str,
    /// Without a path, the canonical text has a slash more.
    has_path: bool,
}

impl<'a> PlainUrl<'a> {
    #[inline]
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix("https://")?;
        let end = plain_name(rest.as_bytes())?;
        let (host, path) = rest.split_at_checked(end)?;
        is_plain_path(path.as_bytes()).then_some(Self {
            text,
            host,
            has_path: !path.is_empty(),
        })
    }

    /// Returns the canonical text.
    pub(super) fn canonical(&self) -> Arc<str> {
        if self.has_path {
            self.text.into()
        } else {
            [self.text, "/"].concat().into()
        }
    }
}

/// Returns the length of a name that is followed by a slash or the end of the text: DNS labels without encoding.
/// A last label that starts with a letter is not part of an address.
fn plain_name(text: &[u8]) -> Option<usize> {
    let (mut end, mut last_label) = (text.len(), 0_usize);
    // No label is empty or too long, starts or ends with a hyphen, or is in punycode, which has two hyphens.
    let mut after_letter = false;
    for (at, byte) in text.iter().enumerate() {
        after_letter = match byte {
            b'a'..=b'z' | b'0'..=b'9' => true,
            b'-' if after_letter => false,
            b'.' if after_letter && at.saturating_sub(last_label) <= 63 => {
                last_label = at.saturating_add(1);
                false
            }
            b'/' => {
                end = at;
                break;
            }
            _other => return None,
        };
    }
    let first = text.get(last_label).copied();
    let fits = end.saturating_sub(last_label) <= 63 && end <= 253;
    let whole = after_letter && fits && first.is_some_and(|byte| byte.is_ascii_lowercase());
    whole.then_some(end)
}

/// Returns true for a path that a parser returns unchanged.
#[inline]
pub(super) fn is_plain_path(path: &[u8]) -> bool {
    all_bytes(path, is_plain_in_path) && !has_dot_segment(path)
}

/// Returns true for a path with a segment that the parser may remove: a single dot, or anything that starts with two dots.
fn has_dot_segment(path: &[u8]) -> bool {
    let mut rest = path;
    while let Some(at) = first_byte(rest, |byte| byte == b'.') {
        let (before, dots) = rest.split_at_checked(at).unwrap_or_default();
        if before.ends_with(b"/") && matches!(dots, [_] | [_, b'.' | b'/', ..]) {
            return true;
        }
        rest = dots.get(1..).unwrap_or_default();
    }
    false
}

/// Returns true for a byte that a parser leaves in a path.
fn is_plain_in_path(byte: u8) -> bool {
    // From the hyphen to the slash: `-./`.
    let punctuation = (b'-'..=b'/').contains(&byte) | (byte == b'_') | (byte == b'~');
    is_alphanumeric(byte) | punctuation
}
