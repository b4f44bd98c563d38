//! Serializing a record as JSON, in memory.
//!
//! Names of members and variants are Rust identifiers and need no escapes. Members without a value are
//! omitted, which halves the size of most records.

use std::fmt::{Error, Write};

use serde::ser::{Impossible, Serialize, SerializeSeq, SerializeStruct, SerializeStructVariant};

/// A text to which a JSON value is appended.
pub(super) struct Json {
    text: String,
}

impl Json {
    /// Appends to an existing text.
    pub(super) fn after(text: String) -> Self {
        Self { text }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn name(&mut self, name: &str, first: bool) {
        self.text.push_str(if first { "{\"" } else { ",\"" });
        self.text.push_str(name);
        self.text.push_str("\":");
    }

    fn text(&mut self, text: &str) {
        self.text.push('"');
        if has_special(text.as_bytes()) {
            text.chars().for_each(|c| self.escaped(c));
        } else {
            self.text.push_str(text);
        }
        self.text.push('"');
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

/// Compares in pieces of a size that vectorises.
fn has_special(text: &[u8]) -> bool {
    let (pieces, rest) = text.as_chunks::<16>();
    let any = |piece: &[u8; 16]| {
        let bytes = piece.iter();
        bytes.fold(false, |any, byte| any | is_special(*byte))
    };
    pieces.iter().any(any) || rest.iter().any(|byte| is_special(*byte))
}

fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// An object or a list in progress.
pub(super) struct Members<'a> {
    json: &'a mut Json,
    first: bool,
    end: &'static str,
}

impl Members<'_> {
    fn member<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let before = self.json.text.len();
        self.json.name(name, self.first);
        let named = self.json.text.len();
        value.serialize(&mut *self.json)?;
        if self.json.text.len() == named {
            self.json.text.truncate(before);
        } else {
            self.first = false;
        }
        Ok(())
    }

    fn close(self) -> Result<(), Error> {
        if self.first {
            self.json.text.push('{');
        }
        self.json.text.push_str(self.end);
        Ok(())
    }
}

impl SerializeStruct for Members<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.member(name, value)
    }

    fn end(self) -> Result<(), Error> {
        self.close()
    }
}

impl SerializeStructVariant for Members<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.member(name, value)
    }

    fn end(self) -> Result<(), Error> {
        self.close()
    }
}

/// A list in progress.
pub(super) struct Items<'a> {
    json: &'a mut Json,
    next: char,
}

impl SerializeSeq for Items<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.json.text.push(self.next);
        self.next = ',';
        value.serialize(&mut *self.json)
    }

    fn end(self) -> Result<(), Error> {
        if self.next == '[' {
            self.json.text.push('[');
        }
        self.json.text.push(']');
        Ok(())
    }
}

/// Kinds of values that no record contains.
macro_rules! absent {
    ($($method:ident($($kind:ty),*))*) => {
        $(fn $method(self, $(_: $kind),*) -> Result<(), Error> {
            Err(Error)
        })*
    };
}

impl<'a> serde::Serializer for &'a mut Json {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Items<'a>;
    type SerializeTuple = Impossible<(), Error>;
    type SerializeTupleStruct = Impossible<(), Error>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeMap = Impossible<(), Error>;
    type SerializeStruct = Members<'a>;
    type SerializeStructVariant = Members<'a>;

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.text.push_str(if value { "true" } else { "false" });
        Ok(())
    }

    fn serialize_u64(self, value: u64) -> Result<(), Error> {
        write!(self.text, "{value}")
    }

    fn serialize_str(self, value: &str) -> Result<(), Error> {
        self.text(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Error> {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit_variant(
        self,
        _kind: &'static str,
        _at: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.text.push('"');
        self.text.push_str(variant);
        self.text.push('"');
        Ok(())
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Items<'a>, Error> {
        Ok(Items {
            json: self,
            next: '[',
        })
    }

    fn serialize_struct(self, _kind: &'static str, _len: usize) -> Result<Members<'a>, Error> {
        Ok(Members {
            json: self,
            first: true,
            end: "}",
        })
    }

    fn serialize_struct_variant(
        self,
        _kind: &'static str,
        _at: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Members<'a>, Error> {
        self.name(variant, true);
        Ok(Members {
            json: self,
            first: true,
            end: "}}",
        })
    }

    absent! {
        serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32)
        serialize_f32(f32) serialize_f64(f64) serialize_char(char) serialize_bytes(&[u8])
        serialize_unit() serialize_unit_struct(&'static str)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _kind: &'static str,
        _value: &T,
    ) -> Result<(), Error> {
        Err(Error)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _kind: &'static str,
        _at: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<(), Error> {
        Err(Error)
    }

    fn serialize_tuple(self, _len: usize) -> Result<Self::SerializeTuple, Error> {
        Err(Error)
    }

    fn serialize_tuple_struct(
        self,
        _kind: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeTupleStruct, Error> {
        Err(Error)
    }

    fn serialize_tuple_variant(
        self,
        _kind: &'static str,
        _at: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        Err(Error)
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Self::SerializeMap, Error> {
        Err(Error)
    }
}
