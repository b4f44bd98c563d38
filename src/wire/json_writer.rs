//! Writing JSON in one pass, for records and requests whose members are known here.
//!
//! Each member is written with its lead, the literal text before its value, such as `,"issuer":`; the lead of a string
//! ends with the opening quote. Members without a value are omitted, which halves the size of most records.

use std::fmt::Write;

use super::text::all_bytes;
use super::words::{Word, Words};
use crate::secret::Cleared;

/// A text to which JSON is appended.
#[derive(Default)]
pub(crate) struct JsonWriter {
    text: String,
}

impl JsonWriter {
    /// Appends to an existing text.
    pub(crate) fn after(text: String) -> Self {
        Self { text }
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }

    /// Appends a piece. Inlined, because most pieces are leads of a known length: their copy is a move or two.
    #[inline(always)]
    fn push(&mut self, piece: &str) {
        if self.lacks(piece.len()) {
            return self.push_to_larger(piece);
        }
        self.text.push_str(piece);
    }

    /// The condition on which `String` grows, so that it is checked once.
    #[inline(always)]
    fn lacks(&self, bytes: usize) -> bool {
        bytes > self.text.capacity().wrapping_sub(self.text.len())
    }

    #[cold]
    fn push_to_larger(&mut self, piece: &str) {
        self.make_room(piece.len());
        self.push(piece);
    }

    /// Makes room for so many bytes. A text that grows leaves no copy of itself behind, because it may contain secrets
    /// (I06).
    pub(crate) fn make_room(&mut self, bytes: usize) {
        if self.lacks(bytes) {
            let capacity = self.text.len().saturating_add(bytes).saturating_mul(2);
            let mut larger = String::with_capacity(capacity);
            larger.push_str(&self.text);
            let _cleared = Cleared::new(std::mem::replace(&mut self.text, larger));
        }
    }

    /// Appends literal JSON.
    #[inline]
    pub(crate) fn raw(&mut self, json: &'static str) {
        self.push(json);
    }

    /// Appends an object as it is, up to its closing brace.
    pub(crate) fn object_without_end(&mut self, object: &str) {
        let open = object.strip_suffix('}').unwrap_or(object);
        self.push(open);
    }

    /// Appends a string. The lead ends with its opening quote.
    #[inline]
    pub(crate) fn text(&mut self, lead: &'static str, value: &str) {
        debug_assert!(lead.ends_with('"'));
        self.push(lead);
        if all_bytes(value.as_bytes(), is_plain) {
            self.push(value);
        } else {
            value.chars().for_each(|c| self.escaped(c));
        }
        self.push("\"");
    }

    /// Appends a string, if there is one.
    #[inline]
    pub(crate) fn some(&mut self, lead: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(lead, value);
        }
    }

    /// Appends a string of a kind that needs no escapes: the spelling of a value, scopes, a URL that passed the policy. The
    /// lead ends with the opening quote.
    #[inline]
    pub(crate) fn word(&mut self, lead: &'static str, word: &str) {
        debug_assert!(lead.ends_with('"') && all_bytes(word.as_bytes(), is_plain));
        self.push(lead);
        self.push(word);
        self.push("\"");
    }

    /// Same as [`word`](Self::word), if there is one.
    #[inline]
    pub(crate) fn some_word(&mut self, lead: &'static str, word: Option<&str>) {
        if let Some(word) = word {
            self.word(lead, word);
        }
    }

    /// Appends a number.
    #[inline]
    pub(crate) fn number(&mut self, lead: &'static str, value: u64) {
        self.push(lead);
        self.push(itoa::Buffer::new().format(value));
    }

    /// Appends a number, if there is one.
    #[inline]
    pub(crate) fn some_number(&mut self, lead: &'static str, value: Option<u64>) {
        if let Some(value) = value {
            self.number(lead, value);
        }
    }

    /// Appends a boolean.
    #[inline]
    pub(crate) fn flag(&mut self, lead: &'static str, value: bool) {
        self.push(lead);
        self.push(if value { "true" } else { "false" });
    }

    /// Appends the number of a list, if the document has the list.
    #[inline]
    pub(crate) fn words<W: Word>(&mut self, lead: &'static str, words: Words<W>) {
        self.some_number(lead, words.bits().map(u64::from));
    }

    /// Appends a list of strings.
    pub(crate) fn texts<'a>(
        &mut self,
        lead: &'static str,
        items: impl IntoIterator<Item = &'a str>,
    ) {
        self.push(lead);
        let mut before = "[\"";
        for item in items {
            self.text(before, item);
            before = ",\"";
        }
        self.push(if before == "[\"" { "[]" } else { "]" });
    }

    fn escaped(&mut self, c: char) {
        match c {
            '"' => self.push("\\\""),
            '\\' => self.push("\\\\"),
            '\0'..='\x1F' => {
                self.make_room(6);
                let written = write!(self.text, "\\u{:04x}", u32::from(c));
                debug_assert!(written.is_ok());
            }
            other => self.push(other.encode_utf8(&mut [0; 4])),
        }
    }
}

/// Returns true for a byte that a string contains as it is.
fn is_plain(byte: u8) -> bool {
    (byte >= 0x20) & (byte != b'"') & (byte != b'\\')
}
