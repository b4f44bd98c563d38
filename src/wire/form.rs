//! `application/x-www-form-urlencoded`: a strict parser and a writer (CB-02).

use std::borrow::Cow;
use std::fmt;

use super::text::cut;

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
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let (piece, after) = cut(rest?, b'&');
        rest = after;
        Some(piece)
    })
    .filter(|piece| !piece.is_empty())
    .map(|piece| {
        let (name, value) = cut(piece, b'=');
        Ok((decode(name)?, decode(value.unwrap_or_default())?))
    })
}

fn decode(text: &str) -> Result<Cow<'_, str>, FormFlaw> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next(), bytes.next()].map(|d| d.and_then(hex));
                match digits {
                    [Some(high), Some(low)] => high << 4 | low,
                    [_, _] => return Err(FormFlaw::Escape),
                }
            }
            other => other,
        });
    }
    String::from_utf8(out)
        .map(Cow::Owned)
        .map_err(|_| FormFlaw::Utf8)
}

/// The bytes that need no escape. A table, because every byte of a request is looked up.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let (mut rest, mut byte) = (plain.as_mut_slice(), 0_u8);
    while let Some((place, others)) = rest.split_first_mut() {
        *place =
            matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_');
        rest = others;
        byte = byte.wrapping_add(1);
    }
    plain
};

fn is_plain(byte: u8) -> bool {
    PLAIN.get(usize::from(byte)).copied().unwrap_or_default()
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(digit.wrapping_sub(b'a').wrapping_add(10)),
        b'A'..=b'F' => Some(digit.wrapping_sub(b'A').wrapping_add(10)),
        _other => None,
    }
}

/// A form to be sent, perhaps as the query of a URL. Its values may be secret: `Debug` shows names only.
pub struct Form {
    text: String,
    /// The length of the URL before the form.
    start: usize,
}

impl Form {
    /// Creates an empty form with this capacity in bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            text: String::with_capacity(bytes),
            start: 0,
        }
    }

    /// Creates an empty form behind the start of a URL.
    pub(crate) fn after(url: String) -> Self {
        let start = url.len();
        Self { text: url, start }
    }

    /// Appends pairs, except those whose name is present already.
    pub fn push_further<'a>(&mut self, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
        for (name, value) in pairs {
            self.push_once(name, value);
        }
    }

    /// Appends a pair, unless its name is present already.
    pub fn push_once(&mut self, name: &str, value: &str) {
        let mut rest = Some(self.as_str());
        while let Some(pairs) = rest {
            let (pair, after) = cut(pairs, b'&');
            let value = pair.strip_prefix(name);
            if value.is_some_and(|value| value.is_empty() || value.starts_with('=')) {
                return;
            }
            rest = after;
        }
        self.push(name, value);
    }

    /// Appends a pair.
    pub fn push(&mut self, name: &str, value: &str) {
        self.separate();
        self.encode(name);
        self.text.push('=');
        self.encode(value);
    }

    /// Appends a parameter whose name needs no escapes.
    pub(crate) fn parameter(&mut self, name: &'static str, value: &str) {
        debug_assert!(name.bytes().all(is_plain));
        self.separate();
        self.text.push_str(name);
        self.text.push('=');
        self.encode(value);
    }

    fn separate(&mut self) {
        if self.text.len() > self.start {
            self.text.push('&');
        }
    }

    /// Appends an escaped text, copying runs without escapes at once.
    fn encode(&mut self, mut rest: &str) {
        loop {
            let plain = rest.bytes().position(|byte| !is_plain(byte));
            let (run, after) = rest
                .split_at_checked(plain.unwrap_or(rest.len()))
                .unwrap_or((rest, ""));
            self.text.push_str(run);
            let Some(first) = after.chars().next() else {
                return;
            };
            let end = first.len_utf8();
            let (special, after) = after.split_at_checked(end).unwrap_or((after, ""));
            special.bytes().for_each(|byte| self.escape(byte));
            rest = after;
        }
    }

    fn escape(&mut self, byte: u8) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        if byte == b' ' {
            return self.text.push('+');
        }
        self.text.push('%');
        for nibble in [byte >> 4, byte & 0x0F] {
            let digit = DIGITS.get(usize::from(nibble)).copied();
            self.text.push(char::from(digit.unwrap_or(b'0')));
        }
    }

    /// Returns the form so far.
    pub fn as_str(&self) -> &str {
        self.text.get(self.start..).unwrap_or_default()
    }

    /// Returns the finished form, behind its URL if it has one.
    pub fn into_string(self) -> String {
        self.text
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
