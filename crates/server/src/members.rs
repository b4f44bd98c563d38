//! The members of a JSON object, read so that no other parser can read them in another way.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The names that decide something in an object.
pub(super) trait Names {
    const NAMES: &'static [&'static str];
}

/// The named members of an object. Reading fails when any name comes twice, because parsers differ in which
/// of the two counts; and when a name differs from a named one in case, spaces or control characters alone,
/// because some parsers overlook that (`encoding/json` of Go takes `METHOD` for `method`).
pub(super) struct Members<'a, N> {
    found: Vec<(&'static str, &'a RawValue)>,
    names: PhantomData<N>,
}

impl<'a, N: Names> Members<'a, N> {
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let mut found = self.found.iter().filter(|(known, _)| *known == name);
        found.next().map(|(_, value)| *value)
    }

    /// A text; `None` when it is absent or `null`.
    pub(super) fn text(&self, name: &str) -> Result<Option<Box<str>>, serde_json::Error> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let text: Option<String> = serde_json::from_str(value.get())?;
        if text.as_deref().is_some_and(has_control) {
            return Err(serde_json::Error::custom("a control character"));
        }
        Ok(text.map(Into::into))
    }
}

/// Programs in C end a text at NUL; others drop characters that cannot be seen.
fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

/// The form in which a careless parser would compare names.
fn folded(name: &str) -> String {
    let seen = name
        .chars()
        .filter(|c| !c.is_control() && !c.is_whitespace());
    // Some letters, such as the long s, reach their ASCII form through the capital alone.
    let capitals = seen.flat_map(char::to_uppercase);
    capitals.flat_map(char::to_lowercase).collect()
}

impl<'de, N: Names> Deserialize<'de> for Members<'de, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor(PhantomData))
    }
}

struct MembersVisitor<N>(PhantomData<N>);

impl<'de, N: Names> Visitor<'de> for MembersVisitor<N> {
    type Value = Members<'de, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with each name once")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut seen: HashSet<Cow<'de, str>> = HashSet::new();
        let mut found = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            let value: &RawValue = map.next_value()?;
            if let Some(known) = N::NAMES.iter().find(|known| **known == name) {
                found.push((*known, value));
            } else if N::NAMES.contains(&&*folded(&name)) {
                return Err(A::Error::custom("a name that can be taken for another"));
            }
            if !seen.insert(name) {
                return Err(A::Error::custom("a name that comes twice"));
            }
        }
        Ok(Members {
            found,
            names: PhantomData,
        })
    }
}

/// A name, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
