//! The envelope of one JSON-RPC message. The message itself passes through as it is.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The key of the protocol version in a request's `_meta` (revision 2026-07-28).
const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// The notification that follows the answer to `initialize`.
pub(super) const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// The members of a message that decide where it goes.
#[derive(Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow, default)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) method: Option<String>,
    #[serde(borrow, default)]
    pub(super) params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) error: Option<&'a RawValue>,
}

/// The kind of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    Notification,
    Response,
}

impl<'a> Envelope<'a> {
    /// Reads the envelope; `None` for anything but a single JSON-RPC message.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        // serde reads a struct from an array as well.
        let object = text.trim_start().starts_with('{');
        object.then(|| serde_json::from_str(text).ok()).flatten()
    }

    pub(super) fn kind(&self) -> Option<Kind> {
        match (&self.method, self.id, self.result.or(self.error)) {
            (Some(_), Some(_), _) => Some(Kind::Request),
            (Some(_), None, _) => Some(Kind::Notification),
            (None, _, Some(_)) => Some(Kind::Response),
            (None, _, None) => None,
        }
    }

    /// The parameters as a value.
    pub(super) fn parameters(&self) -> Value {
        let params = self.params.map(|raw| serde_json::from_str(raw.get()));
        params.and_then(Result::ok).unwrap_or(Value::Null)
    }
}

/// The protocol version that a request names for itself.
pub(super) fn version_of(params: &Value) -> Option<&str> {
    params.get("_meta")?.get(META_VERSION)?.as_str()
}

/// Returns true for a JSON-RPC message, or a batch of them (revision 2025-03-26).
pub(super) fn is_message(text: &str) -> bool {
    let batch = || text.trim_start().starts_with('[');
    match Envelope::of(text) {
        Some(message) => message.kind().is_some(),
        None => batch() && serde_json::from_str::<&RawValue>(text).is_ok(),
    }
}

/// The text on one line. A line break inside JSON stands between tokens, where a space means the same.
pub(super) fn on_one_line(text: &str) -> String {
    text.trim().replace(['\n', '\r'], " ")
}

/// An error that the bridge itself gives as the answer to a request.
pub(super) fn failure(id: &RawValue, message: &str, data: Option<Value>) -> String {
    let mut error = json!({ "code": -32_000, "message": message });
    if let (Some(data), Some(members)) = (data, error.as_object_mut()) {
        members.insert("data".to_owned(), data);
    }
    // The identifier goes back as it came.
    format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, id.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_a_message_is_read_from_its_members() {
        for (text, kind) in [
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
                Some(Kind::Request),
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
                Some(Kind::Notification),
            ),
            (
                r#"{"jsonrpc":"2.0","id":"a","result":{}}"#,
                Some(Kind::Response),
            ),
            (
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#,
                Some(Kind::Response),
            ),
            (r#"{"jsonrpc":"2.0","id":1}"#, None),
        ] {
            assert_eq!(
                Envelope::of(text).and_then(|message| message.kind()),
                kind,
                "{text}"
            );
        }
        assert!(Envelope::of("[]").is_none());
        assert!(Envelope::of("{").is_none());
    }

    #[test]
    fn an_error_carries_the_identifier_as_it_came() {
        let envelope = Envelope::of(r#"{"id": 1.0e2, "method": "x"}"#).and_then(|m| m.id);
        let text = envelope.map(|id| failure(id, "a \"word\"", None));
        assert_eq!(
            text.as_deref(),
            Some(r#"{"jsonrpc":"2.0","id":1.0e2,"error":{"code":-32000,"message":"a \"word\""}}"#)
        );
    }

    #[test]
    fn a_message_of_several_lines_becomes_one() {
        assert_eq!(
            on_one_line("{\r\n  \"a\": \"\\n\"\n}\n"),
            "{    \"a\": \"\\n\" }"
        );
    }
}
