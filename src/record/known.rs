//! The known values of a metadata list in a record: one number, with a bit for each value.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

use crate::wire::words::{Word, Words};

/// A list of a record, read from its number, or from the spellings that versions 1 and 2 wrote.
pub(super) struct Known<W>(pub(super) Words<W>);

impl<W: Word> Default for Known<W> {
    fn default() -> Self {
        Self(Words::ABSENT)
    }
}

impl<'de, W: Word> Deserialize<'de> for Known<W> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<W>(PhantomData<W>);
        impl<'de, W: Word> Visitor<'de> for Either<W> {
            type Value = Known<W>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of registered values")
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Known::default())
            }
            fn visit_u64<E: serde::de::Error>(self, bits: u64) -> Result<Self::Value, E> {
                let bits = u16::try_from(bits).map_err(E::custom)?;
                Ok(Known(Words::from_bits(bits)))
            }
            fn visit_seq<S: SeqAccess<'de>>(self, items: S) -> Result<Self::Value, S::Error> {
                Words::deserialize(SeqAccessDeserializer::new(items)).map(Known)
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}
