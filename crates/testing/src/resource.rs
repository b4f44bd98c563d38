//! The MCP server: one tool, protected by an authorization server that can be exchanged.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State as Extract;
use axum::http::header::{CONTENT_TYPE, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_server::{
    DpopAlgorithms, DpopUse, Presented, ProtectedResource, Rejection, RequiredScopes, ScopeError,
    TokenScheme,
};

use super::authorization::{TokenInfo, TokenRegistry};
use super::proof::{ALGORITHM, Proofs, Subject};
use super::protocol::{Message, is_for};
use super::{BASE_SCOPE, lock};

/// A running MCP server; it serves until its runtime ends.
#[derive(Debug, Clone)]
pub struct McpServer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// `http://127.0.0.1:PORT`.
    base: String,
    /// `127.0.0.1:PORT`.
    authority: String,
    /// The resource identifier, `http://127.0.0.1:PORT/mcp`.
    url: String,
    tools: Vec<Tool>,
    proofs: Proofs,
    state: Mutex<State>,
}

/// A tool: it answers with the text it is given.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// Its name.
    pub name: &'static str,
    /// Its purpose.
    pub description: &'static str,
}

/// The one tool of the demo.
pub const ECHO: Tool = Tool {
    name: "echo",
    description: "Returns the text it is given.",
};

#[derive(Debug, Default)]
struct State {
    trusted: Option<(ProtectedResource, TokenRegistry)>,
    tool_scopes: HashMap<String, RequiredScopes>,
}

/// Starts an MCP server on a free port of 127.0.0.1. It trusts no authorization server yet.
pub async fn start_mcp(tools: &[Tool]) -> std::io::Result<McpServer> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    // RS-11: built from the configuration, never from request headers.
    let authority = listener.local_addr()?.to_string();
    let base = format!("http://{authority}");
    let shared = Arc::new(Shared {
        url: format!("{base}/mcp"),
        base,
        authority,
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
    pub fn url(&self) -> String {
        self.shared.url.clone()
    }

    /// Names this authorization server in the metadata and takes its tokens, and no other's.
    /// Called again, it moves the resource to another authorization server.
    ///
    /// # Errors
    /// When the issuer is none (RS-01).
    pub fn trust(&self, issuer: &str, tokens: TokenRegistry) -> std::io::Result<()> {
        let resource = ProtectedResource::new(&self.shared.url, issuer)
            .map_err(std::io::Error::other)?
            .scopes(BASE_SCOPE)
            .map_err(std::io::Error::other)?;
        let algorithms = DpopAlgorithms::new([ALGORITHM]).map_err(std::io::Error::other)?;
        let resource = resource.dpop(algorithms, DpopUse::Supported);
        lock(&self.shared.state).trusted = Some((resource, tokens));
        Ok(())
    }

    /// Makes calls of a tool need these scopes, separated by spaces, besides `mcp:tools`.
    ///
    /// # Errors
    /// When one of them is none: the tool would be everybody's.
    pub fn set_tool_scope(&self, tool: impl Into<String>, scopes: &str) -> Result<(), ScopeError> {
        let needed = base_scope()?.and(&RequiredScopes::parse(scopes)?)?;
        lock(&self.shared.state)
            .tool_scopes
            .insert(tool.into(), needed);
        Ok(())
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
    // A browser page of another origin has no business here, under whatever name it reached this
    // address (DNS rebinding).
    let mut origins = headers.get_all(ORIGIN).iter();
    if !is_for(&headers, &shared.authority)
        || origins.any(|origin| origin.as_bytes() != shared.base.as_bytes())
    {
        return StatusCode::FORBIDDEN.into_response();
    }
    let Some((resource, tokens)) = lock(&shared.state).trusted.clone() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let info = match authenticated(&shared, &resource, &tokens, &headers) {
        Ok(info) => info,
        Err((rejection, scheme)) => return refuse(&resource, &rejection, scheme),
    };
    let message = match Message::read(&headers, &body) {
        Ok(message) => message,
        Err(malformed) => return malformed.into_response(),
    };
    // RS-05: everything the operation needs, at once. No scope includes another here (RS-06).
    let Ok(needed) = needed(&shared, &message) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let held = Scopes::from_items(info.scopes.iter().map(String::as_str));
    if let Err(rejection) = resource.allows(&held, &needed, |_, _| false) {
        let scheme = match info.key {
            Some(_) => TokenScheme::Dpop,
            None => TokenScheme::Bearer,
        };
        return refuse(&resource, &rejection, scheme);
    }
    message.answered(&shared.tools)
}

/// What the request's token stands for.
fn authenticated(
    shared: &Shared,
    resource: &ProtectedResource,
    tokens: &TokenRegistry,
    headers: &HeaderMap,
) -> Result<TokenInfo, (Rejection, TokenScheme)> {
    let presented = match Presented::from_headers(headers) {
        Ok(Some(presented)) => presented,
        Ok(None) => return Err((Rejection::Missing, TokenScheme::Bearer)),
        Err(error) => return Err((error.into(), TokenScheme::Bearer)),
    };
    let scheme = presented.scheme();
    let (token, key) = match presented {
        Presented::Bearer(token) => (token, None),
        Presented::Dpop { token, proof } => {
            let subject = Subject {
                method: "POST",
                url: resource.identifier(),
                token: Some(&token),
            };
            let key = shared.proofs.check(&proof, &subject);
            (token, Some(key.ok_or((Rejection::InvalidProof, scheme))?))
        }
    };
    let info = tokens
        .lookup(&token)
        // RS-08: a token for another resource is no token here.
        .filter(|info| info.resource == resource.identifier())
        .ok_or((Rejection::Invalid, scheme))?;
    // RS-09: with the key that it is bound to, or with none.
    match (info.key == key, scheme) {
        (true, _) => Ok(info),
        (false, TokenScheme::Bearer) => Err((Rejection::NotBound, scheme)),
        (false, TokenScheme::Dpop) => Err((Rejection::InvalidProof, scheme)),
    }
}

fn base_scope() -> Result<RequiredScopes, ScopeError> {
    RequiredScopes::parse(BASE_SCOPE)
}

/// The scopes a message needs.
fn needed(shared: &Shared, message: &Message) -> Result<RequiredScopes, ScopeError> {
    if message.method() == Some("tools/call")
        && let Some(tool) = message.tool()
        && let Some(scopes) = lock(&shared.state).tool_scopes.get(tool)
    {
        return Ok(scopes.clone());
    }
    base_scope()
}

/// A refusal with its challenge (RS-02 to RS-05).
fn refuse(resource: &ProtectedResource, rejection: &Rejection, scheme: TokenScheme) -> Response {
    resource
        .reject_as(rejection, scheme)
        .into_http()
        .map(Body::from)
}
