//! Token responses in other formats than JSON, as configured for one issuer (QUIRK-06, QUIRK-07).

use bytes::Bytes;

use crate::issuer::TokenAnswers;
use crate::wire::form::pairs;

/// Converts a response body to standard JSON.
pub(crate) fn standard_answer(spelled: TokenAnswers, body: Bytes) -> Bytes {
    let rewritten = match spelled {
        TokenAnswers::Json => None,
        TokenAnswers::Adapted(adapt) => adapt(&body),
        TokenAnswers::JsonOrForm => from_form(&body),
    };
    rewritten.map_or(body, Bytes::from)
}

fn from_form(body: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(body).ok()?;
    if text.trim_ascii_start().starts_with('{') {
        return None;
    }
    let mut members = serde_json::Map::new();
    for pair in pairs(text) {
        let (name, value) = pair.ok()?;
        if members
            .insert(name.into_owned(), value.into_owned().into())
            .is_some()
        {
            return None;
        }
    }
    serde_json::to_vec(&members).ok()
}
