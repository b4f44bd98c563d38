//! Writing JSON in one pass, for records and requests whose members are known here.
//!
//! Each member is written with its lead, the literal text before its value, such as `,"issuer":`. Members
//! without a value are omitted, which halves the size of most records.

use std::fmt::Write;

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

    fn push(&mut self, piece: &str) {
        self.make_room(piece.len());
        self.text.push_str(piece);
    }

    /// Makes room for so many bytes. A text that grows leaves no copy of itself behind, because it may contain secrets
    /// (I06).
    fn make_room(&mut self, bytes: usize) {
        if self.text.capacity().saturating_sub(self.text.len()) < bytes {
            self.grow(bytes);
        }
    }

    #[cold]
    fn grow(&mut self, bytes: usize) {
        let capacity = self.text.len().saturating_add(bytes).saturating_mul(2);
        let mut larger = String::with_capacity(capacity);
        larger.push_str(&self.text);
        let _cleared = Cleared::new(std::mem::replace(&mut self.text, larger));
    }

    /// Appends literal JSON.
    pub(crate) fn raw(&mut self, json: &'static str) {
        self.push(json);
    }

    /// Appends an object as it is, up to its closing brace.
    pub(crate) fn object_without_end(&mut self, object: &str) {
        let open = object.strip_suffix('}').unwrap_or(object);
        self.push(open);
    }

    /// Appends a string.
    pub(crate) fn text(&mut self, lead: &'static str, value: &str) {
        let quotes = lead.len().saturating_add(2);
        self.make_room(value.len().saturating_add(quotes));
        self.push(lead);
        self.push("\"");
        if has_special(value.as_bytes()) {
            value.chars().for_each(|c| self.escaped(c));
        } else {
            self.push(value);
        }
        self.push("\"");
    }

    /// Appends a string, if there is one.
    pub(crate) fn some(&mut self, lead: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(lead, value);
        }
    }

    /// Appends the spelling of a value, which needs no escapes.
    pub(crate) fn word(&mut self, lead: &'static str, spelling: &'static str) {
        self.push(lead);
        self.push("\"");
        self.push(spelling);
        self.push("\"");
    }

    /// Appends a number.
    pub(crate) fn number(&mut self, lead: &'static str, value: u64) {
        self.push(lead);
        // The digits from the last to the first, without the formatter's padding and sign.
        let mut digits = [b'0'; 20];
        let (mut rest, mut length) = (value, 0_usize);
        for place in digits.iter_mut().rev() {
            let digit = u8::try_from(rest.checked_rem(10).unwrap_or(0)).unwrap_or(0);
            *place = b'0'.saturating_add(digit);
            length = length.saturating_add(1);
            rest = rest.checked_div(10).unwrap_or(0);
            if rest == 0 {
                break;
            }
        }
        let digits = digits.get(20_usize.saturating_sub(length)..);
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        self.push(digits.unwrap_or("0"));
    }

    /// Appends a number, if there is one.
    pub(crate) fn some_number(&mut self, lead: &'static str, value: Option<u64>) {
        if let Some(value) = value {
            self.number(lead, value);
        }
    }

    /// Appends a boolean.
    pub(crate) fn flag(&mut self, lead: &'static str, value: bool) {
        self.push(lead);
        self.push(if value { "true" } else { "false" });
    }

    /// Appends the spellings of a list, if the document has the list.
    pub(crate) fn words<W: Word>(&mut self, lead: &'static str, words: Words<W>) {
        if !words.is_listed() {
            return;
        }
        self.push(lead);
        let mut before = "[";
        for (spelling, _) in words.iter() {
            self.push(before);
            self.push("\"");
            self.push(spelling);
            self.push("\"");
            before = ",";
        }
        self.push(if before == "[" { "[]" } else { "]" });
    }

    /// Appends a list of strings.
    pub(crate) fn texts<'a>(
        &mut self,
        lead: &'static str,
        items: impl IntoIterator<Item = &'a str>,
    ) {
        self.push(lead);
        let mut before = "[";
        for item in items {
            self.text(before, item);
            before = ",";
        }
        self.push(if before == "[" { "[]" } else { "]" });
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

/// Compares in pieces of a size that vectorises; the last piece overlaps the one before.
fn has_special(text: &[u8]) -> bool {
    let any = |piece: &[u8; 16]| {
        let bytes = piece.iter();
        bytes.fold(false, |any, byte| any | is_special(*byte))
    };
    match text.last_chunk::<16>() {
        Some(last) => text.as_chunks::<16>().0.iter().any(any) || any(last),
        None => text.iter().any(|byte| is_special(*byte)),
    }
}

fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}
