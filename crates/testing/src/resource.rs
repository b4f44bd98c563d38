//! The MCP server: a few tools behind the layer of `mcp-auth-server`, with an authorization server that can
//! be changed.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State as Extract};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_server::{
    AccessToken, DpopAlgorithms, DpopUse, Guard, ProtectLayer, ProtectedResource, RequiredScopes,
    ScopeError, ScopePolicy, TokenError, VerifyToken,
};
use serde_json::{Map, json};

use super::authorization::TokenRegistry;
use super::proof::ALGORITHM;
use super::protocol::Message;
use super::{BASE_SCOPE, lock};

/// A running MCP server, until its runtime ends.
#[derive(Debug, Clone)]
pub struct McpServer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The resource identifier, such as `http://127.0.0.1:PORT/mcp`.
    url: String,
    tools: Arc<[Tool]>,
    state: Mutex<State>,
}

/// A tool that returns its input text.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// The name of the tool.
    pub name: &'static str,
    /// The description of the tool in `tools/list`.
    pub description: &'static str,
}

/// The tool of the demo.
pub const ECHO: Tool = Tool {
    name: "echo",
    description: "Returns the text it is given.",
};

#[derive(Debug, Default)]
struct State {
    trusted: Option<(ProtectedResource, TokenRegistry)>,
    tool_scopes: HashMap<String, RequiredScopes>,
    /// Rebuilt when another member changes.
    router: Option<Router>,
}

/// Verifies tokens by a lookup at their authorization server.
#[derive(Debug)]
pub struct RegistryVerifier {
    issuer: Box<str>,
    audience: Box<str>,
    tokens: TokenRegistry,
}

impl RegistryVerifier {
    /// Creates a verifier for the tokens of one authorization server with one audience.
    pub fn new(issuer: &str, audience: &str, tokens: TokenRegistry) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            tokens,
        }
    }
}

impl VerifyToken for RegistryVerifier {
    async fn verify(&self, token: &str, _now: Duration) -> Result<AccessToken, TokenError> {
        let info = self.tokens.lookup(token).ok_or(TokenError::Inactive)?;
        // RS-08: a token for another resource is rejected.
        if *info.resource != *self.audience {
            return Err(TokenError::Audience);
        }
        let mut claims = Map::new();
        claims.insert("client_id".to_owned(), json!(info.client_id));
        if let Some(key) = &info.key {
            claims.insert("cnf".to_owned(), json!({ "jkt": key }));
        }
        let scopes = Scopes::from_items(info.scopes.iter().map(String::as_str));
        Ok(AccessToken::new(&self.issuer, scopes, claims))
    }
}

/// Starts an MCP server on a free port of 127.0.0.1, without an authorization server.
pub async fn start_mcp(tools: &[Tool]) -> io::Result<McpServer> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let (server, router) = McpServer::at(format!("http://{}/mcp", listener.local_addr()?), tools);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(server)
}

impl McpServer {
    /// Creates a server with this endpoint.
    pub(super) fn at(url: String, tools: &[Tool]) -> (Self, Router) {
        // RS-11: built from the configuration, never from request headers.
        let shared = Arc::new(Shared {
            url,
            tools: tools.into(),
            state: Mutex::new(State::default()),
        });
        let router = Router::new()
            .fallback(present)
            .with_state(Arc::clone(&shared));
        (Self { shared }, router)
    }

    /// Returns the endpoint, which is also the resource identifier.
    pub fn url(&self) -> String {
        self.shared.url.clone()
    }

    /// Names this authorization server in the metadata and accepts its tokens only. A second call moves the
    /// resource to another authorization server.
    ///
    /// # Errors
    /// When the text is not an issuer (RS-01).
    pub fn trust(&self, issuer: &str, tokens: TokenRegistry) -> io::Result<()> {
        let resource =
            ProtectedResource::new(&self.shared.url, issuer).map_err(io::Error::other)?;
        let resource = resource.scopes(BASE_SCOPE).map_err(io::Error::other)?;
        let algorithms = DpopAlgorithms::new([ALGORITHM]).map_err(io::Error::other)?;
        let resource = resource.dpop(algorithms, DpopUse::Supported);
        let mut state = lock(&self.shared.state);
        state.trusted = Some((resource, tokens));
        self.shared.protect(&mut state)
    }

    /// Requires these scopes, separated by spaces, for calls of a tool, in addition to `mcp:tools`.
    ///
    /// # Errors
    /// When one of them is malformed, because every token would then be accepted.
    pub fn set_tool_scope(&self, tool: impl Into<String>, scopes: &str) -> Result<(), ScopeError> {
        let needed = RequiredScopes::parse(scopes)?;
        let mut state = lock(&self.shared.state);
        state.tool_scopes.insert(tool.into(), needed);
        if self.shared.protect(&mut state).is_err() {
            state.router = None;
        }
        Ok(())
    }
}

impl Shared {
    fn protect(&self, state: &mut State) -> io::Result<()> {
        let Some((resource, tokens)) = &state.trusted else {
            return Ok(());
        };
        let base = RequiredScopes::parse(BASE_SCOPE).map_err(io::Error::other)?;
        // An unknown tool or method is an error of the protocol, not of the token.
        let mut policy = ScopePolicy::new(base)
            .open_other_tools()
            .open_other_methods();
        for (tool, scopes) in &state.tool_scopes {
            policy = policy.tool(tool, scopes.clone());
        }
        let issuer = resource.issuers().next().unwrap_or_default();
        let verifier = RegistryVerifier::new(issuer, &self.url, tokens.clone());
        let guard = Guard::new(resource.clone(), policy).map_err(io::Error::other)?;
        // Any other method on /mcp is 405.
        let router = Router::new()
            .route("/mcp", post(call))
            .layer(ProtectLayer::new(guard, verifier))
            .with_state(Arc::clone(&self.tools));
        state.router = Some(router);
        Ok(())
    }
}

/// Passes a request to the current router.
async fn present(Extract(shared): Extract<Arc<Shared>>, request: Request) -> Response {
    let router = lock(&shared.state).router.clone();
    match router {
        Some(mut router) => {
            let answer = tower_service::Service::call(&mut router, request).await;
            answer.unwrap_or_else(|never| match never {})
        }
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// The MCP endpoint for authorized requests.
async fn call(Extract(tools): Extract<Arc<[Tool]>>, headers: HeaderMap, body: Bytes) -> Response {
    match Message::read(&headers, &body) {
        Ok(message) => message.answered(&tools),
        Err(malformed) => malformed.into_response(),
    }
}
