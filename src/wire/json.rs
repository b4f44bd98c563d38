//! JSON from the network: UTF-8, with bounded nesting and no repeated member, tolerating wrong types where
//! the requirements allow it (SEC-14, DISC-17).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::few::Few;

/// Largest body of a metadata, registration or token response, in bytes (SEC-13).
pub const MAX_BODY_BYTES: usize = 256 * 1024;
/// Deepest nesting of arrays and objects (SEC-14).
pub const MAX_DEPTH: usize = 32;
/// Largest number of list items that are read (SEC-14).
pub const MAX_ITEMS: usize = 256;

/// The flaw in a JSON body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum JsonFlaw {
    /// It is not a JSON object, but for example an error page, the page of a captive portal, or plain text.
    #[error("not a JSON object")]
    NotAnObject,
    /// It is a JSON object with too deep nesting, or with a repeated member that is read.
    #[error("a JSON object with a repeated member or nested too deeply")]
    Malformed,
}

/// Parses one JSON object.
///
/// # Errors
/// [`JsonFlaw`] when the body is not a JSON object, is nested too deeply, or repeats a member that `T`
/// reads.
pub fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, JsonFlaw> {
    let text = std::str::from_utf8(body).map_err(|_| JsonFlaw::NotAnObject)?;
    // A byte order mark is ignored, as by the parsers of browsers and of Python (RFC 8259 section 8.1).
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if !text.trim_ascii_start().starts_with('{') {
        return Err(JsonFlaw::NotAnObject);
    }
    if too_deep(text) {
        return Err(JsonFlaw::Malformed);
    }
    serde_json::from_str(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => JsonFlaw::Malformed,
        serde_json::error::Category::Syntax
        | serde_json::error::Category::Eof
        | serde_json::error::Category::Io => JsonFlaw::NotAnObject,
    })
}

/// The JSON type of a member by its specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    List,
    Flag,
}

impl Kind {
    fn is_of(self, value: &RawValue) -> bool {
        let first: &[char] = match self {
            Self::Text => &['"', 'n'],
            Self::List => &['[', 'n'],
            Self::Flag => &['t', 'f', 'n'],
        };
        value.get().starts_with(first)
    }
}

/// Returns the members of a document with a wrong type; `null` counts as absent (DISC-17).
pub(crate) fn of_another_type(body: &[u8], members: &[(&'static str, Kind)]) -> Vec<&'static str> {
    let found: BTreeMap<String, &RawValue> = object(body).unwrap_or_default();
    members
        .iter()
        .filter(|(name, kind)| found.get(*name).is_some_and(|value| !kind.is_of(value)))
        .map(|(name, _)| *name)
        .collect()
}

/// Counts opening brackets and braces, in small integers that vectorise: most bodies need no other check.
fn openings(text: &[u8]) -> usize {
    text.chunks(usize::from(u8::MAX))
        .map(|chunk| {
            let count = |sum: u8, byte: &u8| sum.wrapping_add(u8::from(byte | 0x20 == b'{'));
            usize::from(chunk.iter().fold(0, count))
        })
        .fold(0, usize::saturating_add)
}

fn too_deep(text: &str) -> bool {
    if openings(text.as_bytes()) <= MAX_DEPTH {
        return false;
    }
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match (quoted, escaped, byte) {
            (true, true, _) => escaped = false,
            (true, false, b'\\') => escaped = true,
            (true, false, b'"') => quoted = false,
            (true, false, _) => {}
            (false, _, b'"') => quoted = true,
            (false, _, b'{' | b'[') => {
                depth = depth.saturating_add(1);
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            (false, _, b'}' | b']') => depth = depth.saturating_sub(1),
            (false, _, _) => {}
        }
    }
    false
}

/// A string member. A missing or `null` one is absent; one of another type has no text, and its reader
/// decides about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text<'a>(Found<'a>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Found<'a> {
    #[default]
    Absent,
    Text(Cow<'a, str>),
    OtherType,
}

impl<'a> Text<'a> {
    /// Returns the text, if there is one.
    pub fn get(&self) -> Option<&str> {
        match &self.0 {
            Found::Text(text) => Some(text),
            Found::Absent | Found::OtherType => None,
        }
    }

    /// Returns true for a value that is not a string.
    pub fn is_of_another_type(&self) -> bool {
        self.0 == Found::OtherType
    }

    fn into_text(self) -> Option<Cow<'a, str>> {
        match self.0 {
            Found::Text(text) => Some(text),
            Found::Absent | Found::OtherType => None,
        }
    }

    /// Returns the text, unless it is missing or empty.
    pub fn non_empty(&self) -> Option<&str> {
        self.get().filter(|text| !text.is_empty())
    }
}

/// A boolean that grants something: true only for the JSON literal `true` (META-20).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flag(pub bool);

/// A boolean that requires something: true for every value except `false`, `null` and the string `false`. A
/// server that spells `true` in another way is held to it, because the default would be the weaker check
/// (META-20).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand(pub bool);

/// A list of strings. Absent when missing or `null`; empty when not an array. Items of other types are
/// skipped, and at most [`MAX_ITEMS`] are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts<'a>(Option<Few<Cow<'a, str>>>);

impl<'a> Texts<'a> {
    const EMPTY: Self = Self(Some(Few::new()));

    /// Returns the items, if there was a value.
    pub fn get(&self) -> Option<&[Cow<'a, str>]> {
        self.0.as_deref()
    }
}

/// Deserializes a value of any type; the given functions handle the expected type.
macro_rules! lenient {
    ($de:lifetime, $a:lifetime, $ty:ty, $absent:expr, $other:expr, { $($own:tt)* }) => {
        impl<$de: $a, $a> Deserialize<$de> for $ty {
            fn deserialize<D: Deserializer<$de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Lenient<$a>(PhantomData<&$a ()>);
                impl<$de: $a, $a> Visitor<$de> for Lenient<$a> {
                    type Value = $ty;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("any value")
                    }
                    fn visit_unit<E>(self) -> Result<$ty, E> {
                        Ok($absent)
                    }
                    fn visit_i64<E>(self, _: i64) -> Result<$ty, E> {
                        Ok($other)
                    }
                    fn visit_u64<E>(self, _: u64) -> Result<$ty, E> {
                        Ok($other)
                    }
                    fn visit_f64<E>(self, _: f64) -> Result<$ty, E> {
                        Ok($other)
                    }
                    fn visit_map<M: MapAccess<$de>>(self, mut map: M) -> Result<$ty, M::Error> {
                        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                        Ok($other)
                    }
                    $($own)*
                }
                deserializer.deserialize_any(Lenient(PhantomData))
            }
        }
    };
}

fn drain<'de, S: SeqAccess<'de>>(mut seq: S) -> Result<(), S::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

lenient!('de, 'a, Text<'a>, Text(Found::Absent), Text(Found::OtherType), {
    fn visit_bool<E>(self, _: bool) -> Result<Text<'a>, E> {
        Ok(Text(Found::OtherType))
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'a>, E> {
        Ok(Text(Found::Text(Cow::Borrowed(text))))
    }
    fn visit_str<E>(self, text: &str) -> Result<Text<'a>, E> {
        Ok(Text(Found::Text(Cow::Owned(text.to_owned()))))
    }
    fn visit_seq<S: SeqAccess<'de>>(self, seq: S) -> Result<Text<'a>, S::Error> {
        drain(seq).map(|()| Text(Found::OtherType))
    }
});

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Set(set, _) = Set::deserialize(deserializer)?;
        Ok(Self(set == Value::True))
    }
}

impl<'de> Deserialize<'de> for Demand {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Set(set, _) = Set::deserialize(deserializer)?;
        Ok(Self(set != Value::False))
    }
}

/// The value of a boolean, with the lifetime that deserialization requires.
struct Set<'a>(Value, PhantomData<&'a ()>);

#[derive(PartialEq, Eq)]
enum Value {
    True,
    /// Also for a missing value, `null`, and the string `false`.
    False,
    Other,
}

lenient!('de, 'a, Set<'a>, Set(Value::False, PhantomData), Set(Value::Other, PhantomData), {
    fn visit_bool<E>(self, set: bool) -> Result<Set<'a>, E> {
        Ok(Set(if set { Value::True } else { Value::False }, PhantomData))
    }
    fn visit_str<E>(self, text: &str) -> Result<Set<'a>, E> {
        let no = text.eq_ignore_ascii_case("false");
        Ok(Set(if no { Value::False } else { Value::Other }, PhantomData))
    }
    fn visit_seq<S: SeqAccess<'de>>(self, seq: S) -> Result<Set<'a>, S::Error> {
        drain(seq).map(|()| Set(Value::Other, PhantomData))
    }
});

lenient!('de, 'a, Texts<'a>, Texts(None), Texts::EMPTY, {
    fn visit_bool<E>(self, _: bool) -> Result<Texts<'a>, E> {
        Ok(Texts::EMPTY)
    }
    fn visit_str<E>(self, _: &str) -> Result<Texts<'a>, E> {
        Ok(Texts::EMPTY)
    }
    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Texts<'a>, S::Error> {
        let (mut items, mut seen) = (Few::new(), 0_usize);
        while let Some(item) = seq.next_element::<Text<'a>>()? {
            seen = seen.saturating_add(1);
            items.extend(item.into_text().filter(|_| seen <= MAX_ITEMS));
        }
        Ok(Texts(Some(items)))
    }
});
