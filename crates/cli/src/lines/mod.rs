//! The line protocol (docs/design.md, section 8): the machine for other languages, and the format of bug
//! reports.

pub(crate) mod actions;
pub(crate) mod config;
pub(crate) mod drive;
mod entropy;
mod events;
pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod session;
mod strict;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use strict::Strict;

/// The error for a malformed line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misunderstood(String);

impl Misunderstood {
    fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

type Members = Map<String, Value>;

/// Parses the members of one line.
fn members(line: &[u8]) -> Result<Members, Misunderstood> {
    match serde_json::from_slice(line) {
        Ok(Strict(Value::Object(members))) => Ok(members),
        Ok(Strict(_)) => Err(Misunderstood::new("a line is one JSON object")),
        Err(flaw) => Err(Misunderstood::new(format!("not JSON: {flaw}"))),
    }
}

/// Deserializes the remaining members; unknown ones are an error.
fn read<T: DeserializeOwned>(members: Members) -> Result<T, Misunderstood> {
    serde_json::from_value(Value::Object(members))
        .map_err(|flaw| Misunderstood::new(flaw.to_string()))
}

/// Decodes base64url without padding.
fn decoded(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

fn bytes<const N: usize>(name: &str, text: &str) -> Result<[u8; N], Misunderstood> {
    decoded(text)
        .and_then(|found| found.try_into().ok())
        .ok_or_else(|| {
            Misunderstood::new(format!(
                "`{name}` must be {N} bytes in base64url without padding"
            ))
        })
}
