//! The MCP of the demo's server: revisions, methods, and one kind of tool.

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::resource::Tool;

/// Revisions with `initialize`; clients that request another one are offered the last.
const STATEFUL: [&str; 3] = ["2025-03-26", "2025-06-18", LATEST];
const LATEST: &str = "2025-11-25";
/// The revision in which every request names its revision.
const STATELESS: &str = "2026-07-28";

const VERSION_FIELD: &str = "mcp-protocol-version";
const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";

const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;
const PARSE_ERROR: i32 = -32700;
const HEADER_MISMATCH: i32 = -32020;
const UNSUPPORTED_VERSION: i32 = -32022;

/// The wire format of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    Stateful,
    Stateless,
}

/// A rejected message.
#[derive(Debug)]
pub(super) struct Malformed {
    id: Value,
    status: StatusCode,
    code: i32,
    text: &'static str,
    data: Option<Value>,
}

impl Malformed {
    fn new(code: i32, text: &'static str) -> Self {
        Self {
            id: Value::Null,
            status: StatusCode::BAD_REQUEST,
            code,
            text,
            data: None,
        }
    }
}

impl IntoResponse for Malformed {
    fn into_response(self) -> Response {
        let mut error = json!({ "code": self.code, "message": self.text });
        if let (Some(error), Some(data)) = (error.as_object_mut(), self.data) {
            error.insert("data".to_owned(), data);
        }
        let body = json!({ "jsonrpc": "2.0", "id": self.id, "error": error });
        (self.status, Json(body)).into_response()
    }
}

/// A parsed message.
#[derive(Debug)]
pub(super) struct Message {
    value: Value,
    wire: Wire,
}

impl Message {
    /// Parses the body, and rejects an unknown or contradictory revision.
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Malformed> {
        let value = match serde_json::from_slice::<Value>(body) {
            Ok(value) if value.is_object() => value,
            Ok(_) => return Err(Malformed::new(INVALID_REQUEST, "Invalid Request")),
            Err(_) => return Err(Malformed::new(PARSE_ERROR, "Parse error")),
        };
        let wire = wire(headers, &value).map_err(|malformed| Malformed {
            id: value.get("id").cloned().unwrap_or_default(),
            ..malformed
        })?;
        Ok(Self { value, wire })
    }

    fn method(&self) -> Option<&str> {
        self.value.get("method").and_then(Value::as_str)
    }

    /// Returns the response of a server with these tools.
    pub(super) fn answered(&self, tools: &[Tool]) -> Response {
        let (Some(method), Some(id)) = (self.method(), self.value.get("id")) else {
            // A notification, or a response without a request.
            return StatusCode::ACCEPTED.into_response();
        };
        let params = self.value.get("params").unwrap_or(&Value::Null);
        let result = match self.wire {
            Wire::Stateful => stateful(tools, method, params),
            Wire::Stateless => stateless(tools, method, params),
        };
        match result {
            Ok(result) => {
                Json(json!({ "jsonrpc": "2.0", "id": id, "result": result })).into_response()
            }
            Err((code, text)) => {
                let status = match (self.wire, code) {
                    (Wire::Stateless, METHOD_NOT_FOUND) => StatusCode::NOT_FOUND,
                    (Wire::Stateless | Wire::Stateful, _) => StatusCode::OK,
                };
                let refused = Malformed {
                    id: id.clone(),
                    status,
                    ..Malformed::new(code, text)
                };
                refused.into_response()
            }
        }
    }
}

fn wire(headers: &HeaderMap, message: &Value) -> Result<Wire, Malformed> {
    const DIFFERS: Malformed = Malformed {
        id: Value::Null,
        status: StatusCode::BAD_REQUEST,
        code: HEADER_MISMATCH,
        text: "the header fields and the message differ",
        data: None,
    };
    let mut fields = headers.get_all(VERSION_FIELD).iter();
    let (sent, repeated) = (fields.next(), fields.next().is_some());
    let meta = message.pointer("/params/_meta");
    let claimed = meta.and_then(|meta| meta.get(VERSION_KEY));
    let Some(sent) = sent else {
        // Clients of the first revisions send none.
        return match claimed {
            None => Ok(Wire::Stateful),
            Some(_) => Err(DIFFERS),
        };
    };
    let sent = sent.to_str().unwrap_or_default();
    if repeated || sent != STATELESS && !STATEFUL.contains(&sent) {
        let supported: Vec<&str> = STATEFUL.into_iter().chain([STATELESS]).collect();
        return Err(Malformed {
            data: Some(json!({ "supported": supported, "requested": sent })),
            ..Malformed::new(UNSUPPORTED_VERSION, "Unsupported protocol version")
        });
    }
    if claimed.is_some_and(|claimed| claimed.as_str() != Some(sent)) {
        return Err(DIFFERS);
    }
    let named = [
        ("mcp-method", message.get("method")),
        ("mcp-name", message.pointer("/params/name")),
    ];
    for (field, value) in named {
        let mut sent = headers.get_all(field).iter();
        let text = value.and_then(Value::as_str).unwrap_or_default();
        if sent.any(|sent| sent.as_bytes() != text.as_bytes()) {
            return Err(DIFFERS);
        }
    }
    if sent != STATELESS {
        return Ok(Wire::Stateful);
    }
    let capable = meta.and_then(|meta| meta.get(CAPABILITIES_KEY)?.as_object());
    if message.get("id").is_some() && (claimed.is_none() || capable.is_none()) {
        return Err(Malformed::new(
            INVALID_PARAMS,
            "_meta must hold the protocol version and the client's capabilities",
        ));
    }
    Ok(Wire::Stateless)
}

type Answered = Result<Value, (i32, &'static str)>;

const NOT_FOUND: (i32, &str) = (METHOD_NOT_FOUND, "Method not found");

fn information() -> Value {
    json!({ "name": "mcp-auth-demo", "version": env!("CARGO_PKG_VERSION") })
}

fn stateful(tools: &[Tool], method: &str, params: &Value) -> Answered {
    match method {
        "initialize" => {
            let asked = params.get("protocolVersion").and_then(Value::as_str);
            let version = asked
                .filter(|asked| STATEFUL.contains(asked))
                .unwrap_or(LATEST);
            Ok(json!({
                "protocolVersion": version,
                "capabilities": { "tools": {} },
                "serverInfo": information(),
            }))
        }
        "ping" => Ok(json!({})),
        "tools/list" => Ok(json!({ "tools": listed(tools) })),
        "tools/call" => called(tools, params),
        _other => Err(NOT_FOUND),
    }
}

fn stateless(tools: &[Tool], method: &str, params: &Value) -> Answered {
    let mut result = match method {
        "server/discover" => json!({
            "supportedVersions": [STATELESS],
            "capabilities": { "tools": {} },
            "_meta": { "io.modelcontextprotocol/serverInfo": information() },
        }),
        "tools/list" => json!({ "tools": listed(tools) }),
        "tools/call" => called(tools, params)?,
        _other => return Err(NOT_FOUND),
    };
    if let Some(members) = result.as_object_mut() {
        members.insert("resultType".to_owned(), json!("complete"));
        if method != "tools/call" {
            members.insert("ttlMs".to_owned(), json!(0));
            members.insert("cacheScope".to_owned(), json!("private"));
        }
    }
    Ok(result)
}

fn listed(tools: &[Tool]) -> Vec<Value> {
    let listed = tools.iter().map(|tool| {
        json!({
            "name": tool.name,
            "description": tool.description,
            "inputSchema": {
                "type": "object",
                "properties": { "text": { "type": "string" } },
                "required": ["text"],
            },
        })
    });
    listed.collect()
}

fn called(tools: &[Tool], params: &Value) -> Answered {
    let name = params.get("name").and_then(Value::as_str);
    if !tools.iter().any(|tool| Some(tool.name) == name) {
        return Err((INVALID_PARAMS, "Unknown tool"));
    }
    let Some(text) = params.pointer("/arguments/text").and_then(Value::as_str) else {
        let text = "the tool needs the argument text, a string";
        return Err((INVALID_PARAMS, text));
    };
    Ok(json!({ "content": [{ "type": "text", "text": text }], "isError": false }))
}
