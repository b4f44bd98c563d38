//! The MCP server: one tool, protected by an authorization server that can be exchanged.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State as Extract;
use axum::http::header::{AUTHORIZATION, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::authorization::{TokenInfo, TokenRegistry};
use super::{BASE_SCOPE, lock};

/// The protocol versions `initialize` agrees to; the last one is offered to anyone else.
const VERSIONS: [&str; 3] = ["2025-03-26", "2025-06-18", LATEST];
const LATEST: &str = "2025-11-25";

/// A running MCP server; it serves until its runtime ends.
#[derive(Debug, Clone)]
pub(crate) struct McpServer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// `http://127.0.0.1:PORT`.
    base: String,
    /// The resource identifier, `http://127.0.0.1:PORT/mcp`.
    url: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    trusted: Option<(String, TokenRegistry)>,
    tool_scopes: HashMap<String, String>,
}

/// Starts an MCP server on a free port of 127.0.0.1. It trusts no authorization server yet.
pub(crate) async fn start_mcp() -> std::io::Result<McpServer> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    // RS-11: built from the configuration, never from request headers.
    let base = format!("http://127.0.0.1:{}", listener.local_addr()?.port());
    let shared = Arc::new(Shared {
        url: format!("{base}/mcp"),
        base,
        state: Mutex::new(State::default()),
    });
    // Any other method on /mcp is 405.
    let router = Router::new()
        .route("/.well-known/oauth-protected-resource/mcp", get(metadata))
        .route("/mcp", post(call))
        .with_state(Arc::clone(&shared));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(McpServer { shared })
}

impl McpServer {
    /// The endpoint, which is also the resource identifier.
    pub(crate) fn url(&self) -> String {
        self.shared.url.clone()
    }

    /// Names this authorization server in the metadata and takes its tokens, and no other's.
    /// Called again, it moves the resource to another authorization server.
    pub(crate) fn trust(&self, issuer: String, tokens: TokenRegistry) {
        lock(&self.shared.state).trusted = Some((issuer, tokens));
    }

    /// Makes calls of a tool need this scope, besides `mcp:tools`.
    pub(crate) fn set_tool_scope(&self, tool: impl Into<String>, scope: impl Into<String>) {
        lock(&self.shared.state)
            .tool_scopes
            .insert(tool.into(), scope.into());
    }
}

/// RFC 9728 metadata (RS-01, RS-07).
async fn metadata(Extract(shared): Extract<Arc<Shared>>) -> Json<Value> {
    let issuers: Vec<String> = lock(&shared.state)
        .trusted
        .iter()
        .map(|(issuer, _)| issuer.clone())
        .collect();
    Json(json!({
        "resource": shared.url,
        "authorization_servers": issuers,
        "scopes_supported": [BASE_SCOPE],
        "bearer_methods_supported": ["header"],
    }))
}

/// The MCP endpoint: the token first, then the message (RS-04, RS-08).
async fn call(Extract(shared): Extract<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    // A browser page of another origin has no business here (DNS rebinding).
    if headers
        .get(ORIGIN)
        .is_some_and(|origin| origin.as_bytes() != shared.base.as_bytes())
    {
        return StatusCode::FORBIDDEN.into_response();
    }
    let info = match authenticated(&shared, &headers) {
        Ok(info) => info,
        Err(error) => {
            return challenged(&shared, StatusCode::UNAUTHORIZED, error, BASE_SCOPE);
        }
    };
    let message = match serde_json::from_slice::<Value>(&body) {
        Ok(message) if message.is_object() => message,
        Ok(_) => return malformed(-32600, "Invalid Request"),
        Err(_) => return malformed(-32700, "Parse error"),
    };
    let method = message.get("method").and_then(Value::as_str);
    // RS-05: everything the operation needs, at once.
    let needed = needed(&shared, method, &message);
    if !needed.iter().all(|scope| info.scopes.contains(scope)) {
        return challenged(
            &shared,
            StatusCode::FORBIDDEN,
            Some("insufficient_scope"),
            &needed.join(" "),
        );
    }
    let (Some(method), Some(id)) = (method, message.get("id")) else {
        // A notification, or a response to a request nobody made.
        return StatusCode::ACCEPTED.into_response();
    };
    let answer = match answered(method, message.get("params").unwrap_or(&Value::Null)) {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err((code, text)) => json!({
            "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": text },
        }),
    };
    Json(answer).into_response()
}

/// What the request's token stands for; `Err` has the `error` of the challenge.
fn authenticated(shared: &Shared, headers: &HeaderMap) -> Result<TokenInfo, Option<&'static str>> {
    const INVALID: Option<&str> = Some("invalid_token");
    let mut sent = headers.get_all(AUTHORIZATION).iter();
    let header = sent.next().ok_or(None)?;
    if sent.next().is_some() {
        return Err(INVALID);
    }
    let header = header.to_str().map_err(|_| INVALID)?;
    let (scheme, token) = header.split_once(' ').ok_or(None)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(None);
    }
    let trusted = lock(&shared.state).trusted.clone();
    let (_, tokens) = trusted.ok_or(INVALID)?;
    tokens
        .lookup(token.trim())
        // RS-08: a token for another resource is no token here.
        .filter(|info| info.resource == shared.url)
        .ok_or(INVALID)
}

/// The scopes a message needs.
fn needed(shared: &Shared, method: Option<&str>, message: &Value) -> Vec<String> {
    let mut needed = vec![BASE_SCOPE.to_owned()];
    if method == Some("tools/call") {
        let tool = message.pointer("/params/name").and_then(Value::as_str);
        let state = lock(&shared.state);
        if let Some(scope) = tool.and_then(|tool| state.tool_scopes.get(tool)) {
            for scope in scope.split_whitespace() {
                if !needed.iter().any(|held| held == scope) {
                    needed.push(scope.to_owned());
                }
            }
        }
    }
    needed
}

/// A refusal with one challenge, each parameter once (RS-02, RS-03, RS-05).
fn challenged(shared: &Shared, status: StatusCode, error: Option<&str>, scope: &str) -> Response {
    let mut challenge = String::from("Bearer ");
    if let Some(error) = error {
        challenge.push_str(&format!("error={}, ", quoted(error)));
    }
    let metadata = format!("{}/.well-known/oauth-protected-resource/mcp", shared.base);
    challenge.push_str(&format!(
        "resource_metadata={}, scope={}",
        quoted(&metadata),
        quoted(scope)
    ));
    (status, [(WWW_AUTHENTICATE, challenge)]).into_response()
}

/// A quoted-string of RFC 9110 §5.6.4.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn malformed(code: i32, text: &str) -> Response {
    (
        StatusCode::BAD_REQUEST,
        Json(json!({
            "jsonrpc": "2.0", "id": null, "error": { "code": code, "message": text },
        })),
    )
        .into_response()
}

/// The result of a request, or a JSON-RPC error.
fn answered(method: &str, params: &Value) -> Result<Value, (i32, &'static str)> {
    match method {
        "initialize" => {
            let asked = params.get("protocolVersion").and_then(Value::as_str);
            let version = asked
                .filter(|asked| VERSIONS.contains(asked))
                .unwrap_or(LATEST);
            Ok(json!({
                "protocolVersion": version,
                "capabilities": { "tools": {} },
                "serverInfo": { "name": "mcp-auth-demo", "version": env!("CARGO_PKG_VERSION") },
            }))
        }
        "tools/list" => Ok(json!({
            "tools": [{
                "name": "echo",
                "description": "Returns the text it is given.",
                "inputSchema": {
                    "type": "object",
                    "properties": { "text": { "type": "string" } },
                    "required": ["text"],
                },
            }],
        })),
        "tools/call" => {
            if params.get("name").and_then(Value::as_str) != Some("echo") {
                return Err((-32602, "Unknown tool"));
            }
            let Some(text) = params.pointer("/arguments/text").and_then(Value::as_str) else {
                return Err((-32602, "echo needs the argument text, a string"));
            };
            Ok(json!({ "content": [{ "type": "text", "text": text }], "isError": false }))
        }
        _ => Err((-32601, "Method not found")),
    }
}
