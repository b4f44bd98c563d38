//! The MCP server: one tool, protected by an authorization server that can be exchanged.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State as Extract;
use axum::http::header::{CONTENT_TYPE, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use mcp_auth_machine::server::{Presented, ProtectedResource, Refused, ResourceFlaw};
use mcp_auth_machine::wire::scopes::Scopes;
use serde_json::{Value, json};

use super::authorization::{TokenInfo, TokenRegistry};
use super::proof::{Proofs, Subject};
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
    tools: Vec<Tool>,
    proofs: Proofs,
    state: Mutex<State>,
}

/// A tool: it answers with the text it is given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
}

/// The one tool of the demo.
pub(crate) const ECHO: Tool = Tool {
    name: "echo",
    description: "Returns the text it is given.",
};

#[derive(Debug, Default)]
struct State {
    trusted: Option<(ProtectedResource, TokenRegistry)>,
    tool_scopes: HashMap<String, String>,
}

/// Starts an MCP server on a free port of 127.0.0.1. It trusts no authorization server yet.
pub(crate) async fn start_mcp(tools: &[Tool]) -> std::io::Result<McpServer> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    // RS-11: built from the configuration, never from request headers.
    let base = format!("http://127.0.0.1:{}", listener.local_addr()?.port());
    let shared = Arc::new(Shared {
        url: format!("{base}/mcp"),
        base,
        tools: tools.to_vec(),
        proofs: Proofs::default(),
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
    ///
    /// # Errors
    /// When the issuer is none (RS-01).
    pub(crate) fn trust(&self, issuer: &str, tokens: TokenRegistry) -> Result<(), ResourceFlaw> {
        let resource = ProtectedResource::new(&self.shared.url, issuer)?.scopes(BASE_SCOPE);
        lock(&self.shared.state).trusted = Some((resource, tokens));
        Ok(())
    }

    /// Makes calls of a tool need this scope, besides `mcp:tools`.
    pub(crate) fn set_tool_scope(&self, tool: impl Into<String>, scope: impl Into<String>) {
        lock(&self.shared.state)
            .tool_scopes
            .insert(tool.into(), scope.into());
    }
}

/// RFC 9728 metadata (RS-01, RS-07).
async fn metadata(Extract(shared): Extract<Arc<Shared>>) -> Response {
    match &lock(&shared.state).trusted {
        Some((resource, _)) => {
            ([(CONTENT_TYPE, "application/json")], resource.metadata()).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
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
    let Some((resource, tokens)) = lock(&shared.state).trusted.clone() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let info = match authenticated(&shared, &resource, &tokens, &headers) {
        Ok(info) => info,
        Err(refused) => return refuse(&resource, &refused),
    };
    let message = match serde_json::from_slice::<Value>(&body) {
        Ok(message) if message.is_object() => message,
        Ok(_) => return malformed(-32600, "Invalid Request"),
        Err(_) => return malformed(-32700, "Parse error"),
    };
    let method = message.get("method").and_then(Value::as_str);
    // RS-05: everything the operation needs, at once. No scope includes another here (RS-06).
    let needed = needed(&shared, method, &message);
    let held = Scopes::from_items(info.scopes.iter().map(String::as_str));
    if let Err(refused) = resource.allows(&held, &needed, |_, _| false) {
        return refuse(&resource, &refused);
    }
    let (Some(method), Some(id)) = (method, message.get("id")) else {
        // A notification, or a response to a request nobody made.
        return StatusCode::ACCEPTED.into_response();
    };
    let answer = match answered(
        &shared.tools,
        method,
        message.get("params").unwrap_or(&Value::Null),
    ) {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err((code, text)) => json!({
            "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": text },
        }),
    };
    Json(answer).into_response()
}

/// What the request's token stands for.
fn authenticated(
    shared: &Shared,
    resource: &ProtectedResource,
    tokens: &TokenRegistry,
    headers: &HeaderMap,
) -> Result<TokenInfo, Refused> {
    let (token, key) = match Presented::from_headers(headers)? {
        None => return Err(Refused::Missing),
        Some(Presented::Bearer(token)) => (token, None),
        Some(Presented::Dpop { token, proof }) => {
            let subject = Subject {
                method: "POST",
                url: resource.identifier(),
                token: Some(&token),
            };
            let key = shared.proofs.check(&proof, &subject);
            (token, Some(key.ok_or(Refused::Invalid)?))
        }
    };
    tokens
        .lookup(&token)
        // RS-09: with the key that it is bound to, or with none.
        .filter(|info| info.key == key)
        // RS-08: a token for another resource is no token here.
        .filter(|info| info.resource == resource.identifier())
        .ok_or(Refused::Invalid)
}

/// The scopes a message needs.
fn needed(shared: &Shared, method: Option<&str>, message: &Value) -> Scopes {
    let base = Scopes::parse(BASE_SCOPE);
    if method != Some("tools/call") {
        return base;
    }
    let tool = message.pointer("/params/name").and_then(Value::as_str);
    let state = lock(&shared.state);
    match tool.and_then(|tool| state.tool_scopes.get(tool)) {
        Some(scope) => base.union(&Scopes::parse(scope)),
        None => base,
    }
}

/// A refusal with its challenge (RS-02 to RS-05).
fn refuse(resource: &ProtectedResource, refused: &Refused) -> Response {
    let answer = resource.answer(refused);
    let challenge = [(WWW_AUTHENTICATE, answer.www_authenticate())];
    (answer.status(), challenge).into_response()
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
fn answered(tools: &[Tool], method: &str, params: &Value) -> Result<Value, (i32, &'static str)> {
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
        "tools/list" => {
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
            Ok(json!({ "tools": listed.collect::<Vec<_>>() }))
        }
        "tools/call" => {
            let name = params.get("name").and_then(Value::as_str);
            if !tools.iter().any(|tool| Some(tool.name) == name) {
                return Err((-32602, "Unknown tool"));
            }
            let Some(text) = params.pointer("/arguments/text").and_then(Value::as_str) else {
                return Err((-32602, "the tool needs the argument text, a string"));
            };
            Ok(json!({ "content": [{ "type": "text", "text": text }], "isError": false }))
        }
        _ => Err((-32601, "Method not found")),
    }
}
