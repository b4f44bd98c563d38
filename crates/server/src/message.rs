//! JSON-RPC messages for authorization decisions, parsed strictly: a text that parsers may read differently
//! is rejected.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// The largest number of messages in a batch (revision 2025-03-26).
pub const MAX_BATCH: usize = 64;

/// The error for a body that is not one or more messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not a JSON-RPC message, or can be read in two ways")]
pub struct MessageError;

// A repeated field is an error of `serde`; other parsers differ in which one counts.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(rename = "id")]
    _id: Option<IgnoredAny>,
    #[serde(rename = "result")]
    _result: Option<IgnoredAny>,
    #[serde(rename = "error")]
    _error: Option<IgnoredAny>,
    #[serde(rename = "jsonrpc")]
    _version: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
struct Parameters<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    uri: Option<Cow<'a, str>>,
}

/// The parts of a message that decisions need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpMessage {
    method: Option<Box<str>>,
    name: Option<Box<str>>,
    uri: Option<Box<str>>,
}

impl McpMessage {
    /// Returns the method; `None` for a response.
    pub fn method(&self) -> Option<&str> {
        self.method.as_deref()
    }

    /// Returns the name of the tool or prompt, or the URI of the resource.
    pub fn target(&self) -> Option<&str> {
        match self.method() {
            Some("tools/call" | "prompts/get") => self.name.as_deref(),
            Some("resources/read" | "resources/subscribe" | "resources/unsubscribe") => {
                self.uri.as_deref()
            }
            Some(_) | None => self.name.as_deref().or(self.uri.as_deref()),
        }
    }

    fn read(text: &RawValue) -> Result<Self, MessageError> {
        // A list would be read as the fields in order.
        if !text.get().starts_with('{') {
            return Err(MessageError);
        }
        let read: Envelope<'_> = serde_json::from_str(text.get()).map_err(|_| MessageError)?;
        let parameters: Parameters<'_> = match read.params {
            Some(object) if object.get().starts_with('{') => {
                serde_json::from_str(object.get()).map_err(|_| MessageError)?
            }
            Some(_) if read.method.as_deref() == Some("tools/call") => return Err(MessageError),
            Some(_) | None => Parameters::default(),
        };
        let text = |text: Option<Cow<'_, str>>| text.map(|text| text.into_owned().into());
        Ok(Self {
            method: text(read.method),
            name: text(parameters.name),
            uri: text(parameters.uri),
        })
    }
}

/// The messages of one body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpMessages(Vec<McpMessage>);

impl McpMessages {
    /// Parses a body: one message, or a batch.
    ///
    /// # Errors
    /// [`MessageError`] for any other body.
    pub fn read(body: &[u8]) -> Result<Self, MessageError> {
        let whole: &RawValue = serde_json::from_slice(body).map_err(|_| MessageError)?;
        if !whole.get().starts_with('[') {
            return Ok(Self(vec![McpMessage::read(whole)?]));
        }
        let batch: Vec<&RawValue> = serde_json::from_str(whole.get()).map_err(|_| MessageError)?;
        if batch.is_empty() || batch.len() > MAX_BATCH {
            return Err(MessageError);
        }
        let messages: Result<Vec<_>, _> = batch.into_iter().map(McpMessage::read).collect();
        Ok(Self(messages?))
    }

    /// Returns each message.
    pub fn iter(&self) -> impl Iterator<Item = &McpMessage> {
        self.0.iter()
    }

    /// Returns true if the header fields for method and name match the body, because servers may route by
    /// either.
    pub fn agree_with(&self, headers: &HeaderMap) -> bool {
        const METHOD: HeaderName = HeaderName::from_static("mcp-method");
        const NAME: HeaderName = HeaderName::from_static("mcp-name");
        let says = |name: HeaderName, value: Option<&str>| {
            let mut fields = headers.get_all(name).iter();
            fields.all(|field| field.to_str().ok().map(decoded) == value.map(Cow::Borrowed))
        };
        match self.0.as_slice() {
            [one] => says(METHOD, one.method()) && says(NAME, one.target()),
            _batch => !headers.contains_key(METHOD) && !headers.contains_key(NAME),
        }
    }
}

/// Decodes a field; text that a field cannot carry is encoded as `=?base64?…?=`.
fn decoded(field: &str) -> Cow<'_, str> {
    use base64::Engine;
    let inner = field.strip_prefix("=?base64?");
    let inner = inner.and_then(|rest| rest.strip_suffix("?="));
    let bytes = inner.and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok());
    match bytes.and_then(|bytes| String::from_utf8(bytes).ok()) {
        Some(text) => Cow::Owned(text),
        None => Cow::Borrowed(field),
    }
}
