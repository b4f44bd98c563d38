//! `application/x-www-form-urlencoded`: a strict parser and a writer (CB-02).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::text::{ByteTable, all_bytes, byte_table, cut, is_alphanumeric};

/// The flaw in a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FormFlaw {
    /// A percent sign is not followed by two hexadecimal digits.
    #[error("a broken percent escape")]
    Escape,
    /// The decoded text is not UTF-8.
    #[error("not UTF-8")]
    Utf8,
}

/// A decoded name and value.
pub type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Returns the pairs of a form in order. Only `&` separates pairs; empty ones are skipped.
pub fn pairs(text: &str) -> impl Iterator<Item = Result<Pair<'_>, FormFlaw>> {
    encoded_pairs(text).map(|(name, value)| Ok((decode(name)?, decode(value)?)))
}

/// Same as [`pairs`], as sent.
pub(crate) fn encoded_pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let (piece, after) = cut(rest?, b'&');
        rest = after;
        Some(piece)
    })
    .filter(|piece| !piece.is_empty())
    .map(|piece| {
        let (name, value) = cut(piece, b'=');
        (name, value.unwrap_or_default())
    })
}

pub(crate) fn decode(text: &str) -> Result<Cow<'_, str>, FormFlaw> {
    if all_bytes(text.as_bytes(), |byte| (byte != b'%') & (byte != b'+')) {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        let (decoded, after) = match (byte, after) {
            (b'+', after) => (b' ', after),
            (b'%', [high, low, after @ ..]) => {
                (escaped(*high, *low).ok_or(FormFlaw::Escape)?, after)
            }
            (b'%', _) => return Err(FormFlaw::Escape),
            (other, after) => (*other, after),
        };
        out.push(decoded);
        rest = after;
    }
    String::from_utf8(out)
        .map(Cow::Owned)
        .map_err(|_| FormFlaw::Utf8)
}

/// Returns the decoded text. An expected text is borrowed if it is that.
pub(crate) fn decode_as<'a>(text: &'a str, expected: &'a str) -> Result<Cow<'a, str>, FormFlaw> {
    if is_escape_of(text.as_bytes(), expected.as_bytes()) {
        Ok(Cow::Borrowed(expected))
    } else {
        decode(text)
    }
}

/// Returns true for a form of an expected text: each of its bytes as it is, or escaped.
fn is_escape_of(mut text: &[u8], expected: &[u8]) -> bool {
    for byte in expected {
        text = match text {
            [b'%', high, low, after @ ..] if escaped(*high, *low) == Some(*byte) => after,
            [b'%' | b'+', ..] => return false,
            [own, after @ ..] if own == byte => after,
            _other => return false,
        };
    }
    text.is_empty()
}

/// Returns the byte that these digits stand for.
fn escaped(high: u8, low: u8) -> Option<u8> {
    Some(hex(high)? << 4 | hex(low)?)
}

/// Returns true for a byte that needs no escape.
const fn is_plain(byte: u8) -> bool {
    is_alphanumeric(byte) | (byte == b'-') | (byte == b'.') | (byte == b'_') | (byte == b'*')
}

static PLAIN: ByteTable = byte_table!(is_plain);

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(digit.wrapping_sub(b'a').wrapping_add(10)),
        b'A'..=b'F' => Some(digit.wrapping_sub(b'A').wrapping_add(10)),
        _other => None,
    }
}

/// A text with its escaped form, made once for what every flow of a configuration sends: its resource and redirect URI.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct FormText(Arc<FormTexts>);

#[derive(PartialEq, Eq, Hash)]
struct FormTexts {
    text: Arc<str>,
    escaped: Box<str>,
}

impl FormText {
    pub(crate) fn new(text: Arc<str>) -> Self {
        let mut form = Form::with_capacity(text.len().saturating_mul(3));
        form.encode(text.as_bytes());
        let escaped = form.as_str().into();
        Self(Arc::new(FormTexts { text, escaped }))
    }

    /// Returns a text: a shared copy of this one if they are equal.
    pub(crate) fn shared_as(&self, text: &str) -> Self {
        if *text == *self.as_str() {
            self.clone()
        } else {
            Self::new(text.into())
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Returns the text itself, shared.
    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0.text)
    }
}

impl fmt::Debug for FormText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// A form to be sent, perhaps as the query of a URL. Its values may be secret: `Debug` shows names only.
pub struct Form {
    /// UTF-8: the start of a URL, and ASCII behind it.
    text: Vec<u8>,
    /// The length of the URL before the form.
    start: usize,
}

impl Form {
    /// Creates an empty form with this capacity in bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            text: Vec::with_capacity(bytes),
            start: 0,
        }
    }

    /// Creates an empty form behind the start of a URL.
    pub(crate) fn after(url: String) -> Self {
        let start = url.len();
        let text = url.into_bytes();
        Self { text, start }
    }

    /// Appends pairs, except those whose name is present already.
    pub fn push_further<'a>(&mut self, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
        for (name, value) in pairs {
            self.push_once(name, value);
        }
    }

    /// Appends a pair, unless its name is present already.
    pub fn push_once(&mut self, name: &str, value: &str) {
        if !self.has(name) {
            self.push(name, value);
        }
    }

    /// Returns true if there is a pair with this name, which needs no escapes.
    fn has(&self, name: &str) -> bool {
        let mut pairs = self.pairs().split(|byte| *byte == b'&');
        pairs.any(|pair| {
            let value = pair.strip_prefix(name.as_bytes());
            matches!(value, Some([] | [b'=', ..]))
        })
    }

    /// Appends a pair.
    pub fn push(&mut self, name: &str, value: &str) {
        self.separate();
        self.encode(name.as_bytes());
        self.text.push(b'=');
        self.encode(value.as_bytes());
    }

    /// Appends a parameter whose name needs no escapes.
    pub(crate) fn parameter(&mut self, name: &'static str, value: &str) {
        self.name(name);
        self.encode(value.as_bytes());
    }

    /// Same as [`parameter`](Self::parameter), for a value of unreserved characters, which need no escapes.
    pub(crate) fn unreserved(&mut self, name: &'static str, value: &[u8]) {
        debug_assert!(value.iter().all(|byte| PLAIN.has(*byte) || *byte == b'~'));
        self.name(name);
        self.text.extend_from_slice(value);
    }

    /// Same as [`parameter`](Self::parameter), for a value that was escaped before.
    pub(crate) fn escaped(&mut self, name: &'static str, value: &FormText) {
        self.name(name);
        self.text.extend_from_slice(value.0.escaped.as_bytes());
    }

    fn name(&mut self, name: &'static str) {
        debug_assert!(name.bytes().all(is_plain));
        self.separate();
        self.text.extend_from_slice(name.as_bytes());
        self.text.push(b'=');
    }

    fn separate(&mut self) {
        if self.text.len() > self.start {
            self.text.push(b'&');
        }
    }

    /// Appends an escaped text.
    fn encode(&mut self, text: &[u8]) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
        if all_bytes(text, is_plain) {
            return self.text.extend_from_slice(text);
        }
        for byte in text {
            match byte {
                plain if PLAIN.has(*plain) => self.text.push(*plain),
                b' ' => self.text.push(b'+'),
                byte => {
                    let escape = [b'%', digit(byte >> 4), digit(byte & 0x0F)];
                    self.text.extend_from_slice(&escape);
                }
            }
        }
    }

    fn pairs(&self) -> &[u8] {
        self.text.get(self.start..).unwrap_or_default()
    }

    /// Returns the form so far.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.pairs()).unwrap_or_default()
    }

    /// Returns the finished form, behind its URL if it has one.
    pub fn into_string(self) -> String {
        String::from_utf8(self.text).unwrap_or_default()
    }

    /// Returns the finished form as the body of a request.
    pub(crate) fn into_body(self) -> Bytes {
        Bytes::from(self.text)
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.as_str().split('&').map(|pair| {
            let name = pair.split('=').next();
            name.unwrap_or_default()
        });
        f.debug_list().entries(names).finish()
    }
}
