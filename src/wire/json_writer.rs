//! Writing JSON in one pass, for records and requests whose members are known here.
//!
//! Each member is written with its lead, the literal text before its value, such as `,"issuer":`. Members
//! without a value are omitted, which halves the size of most records.

use std::fmt::Write;

use super::words::{Word, Words};

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

    /// Appends literal JSON.
    pub(crate) fn raw(&mut self, json: &'static str) {
        self.text.push_str(json);
    }

    /// Appends an object as it is, up to its closing brace.
    pub(crate) fn object_without_end(&mut self, object: &str) {
        let open = object.strip_suffix('}').unwrap_or(object);
        self.text.push_str(open);
    }

    /// Appends a string.
    pub(crate) fn text(&mut self, lead: &'static str, value: &str) {
        let quotes = lead.len().saturating_add(2);
        self.text.reserve(value.len().saturating_add(quotes));
        self.text.push_str(lead);
        self.text.push('"');
        if has_special(value.as_bytes()) {
            value.chars().for_each(|c| self.escaped(c));
        } else {
            self.text.push_str(value);
        }
        self.text.push('"');
    }

    /// Appends a string, if there is one.
    pub(crate) fn some(&mut self, lead: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(lead, value);
        }
    }

    /// Appends the spelling of a value, which needs no escapes.
    pub(crate) fn word(&mut self, lead: &'static str, spelling: &'static str) {
        self.text.push_str(lead);
        self.text.push('"');
        self.text.push_str(spelling);
        self.text.push('"');
    }

    /// Appends a number.
    pub(crate) fn number(&mut self, lead: &'static str, value: u64) {
        self.text.push_str(lead);
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
        self.text.push_str(digits.unwrap_or("0"));
    }

    /// Appends a number, if there is one.
    pub(crate) fn some_number(&mut self, lead: &'static str, value: Option<u64>) {
        if let Some(value) = value {
            self.number(lead, value);
        }
    }

    /// Appends a boolean.
    pub(crate) fn flag(&mut self, lead: &'static str, value: bool) {
        self.text.push_str(lead);
        self.text.push_str(if value { "true" } else { "false" });
    }

    /// Appends the spellings of a list, if the document has the list.
    pub(crate) fn words<W: Word>(&mut self, lead: &'static str, words: Words<W>) {
        if !words.is_listed() {
            return;
        }
        self.text.push_str(lead);
        let mut before = '[';
        for (spelling, _) in words.iter() {
            self.text.push(before);
            self.text.push('"');
            self.text.push_str(spelling);
            self.text.push('"');
            before = ',';
        }
        self.text.push_str(if before == '[' { "[]" } else { "]" });
    }

    /// Appends a list of strings.
    pub(crate) fn texts<'a>(
        &mut self,
        lead: &'static str,
        items: impl IntoIterator<Item = &'a str>,
    ) {
        self.text.push_str(lead);
        let mut before = "[";
        for item in items {
            self.text(before, item);
            before = ",";
        }
        self.text.push_str(if before == "[" { "[]" } else { "]" });
    }

    fn escaped(&mut self, c: char) {
        match c {
            '"' => self.text.push_str("\\\""),
            '\\' => self.text.push_str("\\\\"),
            '\0'..='\x1F' => {
                let written = write!(self.text, "\\u{:04x}", u32::from(c));
                debug_assert!(written.is_ok());
            }
            other => self.text.push(other),
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
