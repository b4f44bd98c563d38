//! JSON-RPC messages, read as strictly as a decision needs: a text that two parsers may read in two ways
//! is refused.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};
use serde_json::value::RawValue;

use super::members::{Members, Names};

/// The largest number of messages in a batch (revision 2025-03-26).
pub const MAX_BATCH: usize = 64;

/// How deep values may be nested: what reads the body next may have a stack that ends.
pub const MAX_DEPTH: usize = 100;

/// The error for a body that is not one or more messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not a JSON-RPC message, or can be read in two ways")]
pub struct MessageError;

struct Envelope;

impl Names for Envelope {
    const NAMES: &'static [&'static str] =
        &["error", "id", "jsonrpc", "method", "params", "result"];
}

struct Parameters;

impl Names for Parameters {
    const NAMES: &'static [&'static str] = &["name", "uri"];
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

    /// Returns the parameter `name`.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns the parameter `uri`.
    pub(super) fn uri(&self) -> Option<&str> {
        self.uri.as_deref()
    }

    fn read(text: &RawValue) -> Result<Self, MessageError> {
        let envelope: Members<'_, Envelope> = parse(text)?;
        let method = envelope.text("method").map_err(|_| MessageError)?;
        // A request, a result or an error: two at once are read as either.
        let kinds = ["method", "result", "error"];
        let kinds = kinds.iter().filter(|kind| envelope.get(kind).is_some());
        if kinds.count() != 1 || envelope.get("method").is_some() != method.is_some() {
            return Err(MessageError);
        }
        let parameters = match envelope.get("params") {
            None => None,
            Some(null) if null.get() == "null" => None,
            // Parameters in a list have no names to decide by.
            Some(object) => Some(parse::<Parameters>(object)?),
        };
        let text = |name| match &parameters {
            Some(parameters) => parameters.text(name).map_err(|_| MessageError),
            None => Ok(None),
        };
        Ok(Self {
            name: text("name")?,
            uri: text("uri")?,
            method,
        })
    }
}

fn parse<N: Names>(text: &RawValue) -> Result<Members<'_, N>, MessageError> {
    serde_json::from_str(text.get()).map_err(|_| MessageError)
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
        if depth(whole) > MAX_DEPTH {
            return Err(MessageError);
        }
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

/// The deepest nesting of a text that is JSON.
fn depth(json: &RawValue) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_text, mut is_escaped) = (false, false);
    for byte in json.get().bytes() {
        match byte {
            _any if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_text,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth = depth.saturating_add(1);
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _other => {}
        }
    }
    deepest
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
