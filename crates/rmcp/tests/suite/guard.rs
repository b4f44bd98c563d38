//! rmcp's server behind a middleware that checks tokens.

use axum::extract::ConnectInfo;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, Method, StatusCode};
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_server::{Presented, ProofSubject, ProtectedResource, Rejection, RequiredScopes};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Barrier;

use mcp_auth_testing::BASE_SCOPE;
use mcp_auth_testing::authorization::TokenRegistry;
use mcp_auth_testing::proof::Proofs;

pub(crate) const TOOLS: [&str; 3] = ["read", "write", "announce"];

/// A request as received by the server.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) status: StatusCode,
    pub(crate) token: Option<String>,
    pub(crate) proof: Option<String>,
    pub(crate) last_event: Option<String>,
    /// The client's end of the connection.
    pub(crate) peer: SocketAddr,
}

/// A response in place of the server's own.
#[derive(Clone, Debug)]
pub(crate) enum Instead {
    Redirect(String),
    /// An error that repeats the request's headers.
    Echo(StatusCode),
    /// An error with a JSON body.
    Json(StatusCode, &'static str),
    /// A verbatim stream of server-sent events.
    Events(String),
    /// One response that the session does not exist.
    NoSession,
}

pub(crate) struct Guard {
    resource: ProtectedResource,
    tokens: TokenRegistry,
    proofs: Proofs,
    pub(crate) tool_scopes: Mutex<HashMap<String, String>>,
    pub(crate) instead: Mutex<Option<Instead>>,
    pub(crate) seen: Mutex<Vec<Seen>>,
    pub(crate) streams: AtomicUsize,
    /// Whether the server rejects `server/discover` with a page.
    pub(crate) old: AtomicBool,
    /// Refusals are delayed until this many are ready.
    pub(crate) gate: Mutex<Option<Arc<Barrier>>>,
}

impl Guard {
    pub(crate) async fn start(
        listener: TcpListener,
        issuer: &str,
        tokens: TokenRegistry,
    ) -> Arc<Self> {
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let resource = ProtectedResource::new(&url, issuer).unwrap();
        let guard = Arc::new(Self {
            resource: resource.scopes(BASE_SCOPE).unwrap(),
            tokens,
            proofs: Proofs::default(),
            tool_scopes: Mutex::default(),
            instead: Mutex::default(),
            seen: Mutex::default(),
            streams: AtomicUsize::new(0),
            old: AtomicBool::new(false),
            gate: Mutex::default(),
        });
        let service: StreamableHttpService<Notes, LocalSessionManager> = StreamableHttpService::new(
            || Ok(Notes),
            Arc::default(),
            StreamableHttpServerConfig::default(),
        );
        let document = guard.resource.metadata();
        let metadata = move || async move { ([(CONTENT_TYPE, "application/json")], document) };
        let router = Router::new()
            .nest_service("/mcp", service)
            .layer(from_fn_with_state(Arc::clone(&guard), check))
            .route(guard.resource.metadata_path(), get(metadata));
        tokio::spawn(async move {
            axum::serve(
                listener,
                router.into_make_service_with_connect_info::<SocketAddr>(),
            )
            .await
        });
        guard
    }

    /// Returns and clears the requests so far.
    pub(crate) fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    pub(crate) fn answer_instead(&self, instead: Instead) {
        *self.instead.lock().unwrap() = Some(instead);
    }

    fn judge(
        &self,
        method: &Method,
        presented: Option<&Presented>,
        body: &[u8],
    ) -> Result<(), Rejection> {
        let (token, key) = match presented {
            None => return Err(Rejection::Missing),
            Some(Presented::Bearer(token)) => (token, None),
            Some(Presented::Dpop { token, proof }) => {
                let subject = ProofSubject {
                    method: method.as_str(),
                    url: self.resource.identifier(),
                    token: Some(token),
                };
                let key = self.proofs.check(proof, &subject);
                (token, Some(key.ok_or(Rejection::Invalid)?))
            }
        };
        let held = self.tokens.lookup(token).filter(|info| info.key == key);
        let held = held.ok_or(Rejection::Invalid)?;
        let mut needed = RequiredScopes::parse(BASE_SCOPE).unwrap();
        if let Some(scope) = self.tool_scopes.lock().unwrap().get(&tool(body)) {
            needed = needed.and(&RequiredScopes::parse(scope).unwrap()).unwrap();
        }
        let held = Scopes::from_items(held.scopes.iter().map(String::as_str));
        self.resource.allows(&held, &needed, |_, _| false)
    }
}

fn tool(body: &[u8]) -> String {
    let message: Value = serde_json::from_slice(body).unwrap_or_default();
    let name = message["params"]["name"].as_str().unwrap_or_default();
    name.to_owned()
}

async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1024 * 1024).await.unwrap();
    let ConnectInfo(peer) = *parts.extensions.get::<ConnectInfo<SocketAddr>>().unwrap();
    let (method, headers) = (parts.method.clone(), parts.headers.clone());
    let presented = Presented::from_headers(&headers).unwrap();
    let response = match guard.judge(&method, presented.as_ref(), &body) {
        Err(refused) => {
            let gate = guard.gate.lock().unwrap().clone();
            if let Some(gate) = gate {
                gate.wait().await;
            }
            guard.resource.reject(&refused).into_http().map(Body::from)
        }
        Ok(()) => match instead(&guard, &headers, &body) {
            Some(response) => response,
            None => next.run(Request::from_parts(parts, Body::from(body))).await,
        },
    };
    let (token, proof) = match presented {
        None => (None, None),
        Some(Presented::Bearer(token)) => (Some(token.to_string()), None),
        Some(Presented::Dpop { token, proof }) => {
            (Some(token.to_string()), Some(proof.to_string()))
        }
    };
    let last_event = headers.get("last-event-id");
    let status = response.status();
    let opened = method == Method::GET && status.is_success();
    guard.seen.lock().unwrap().push(Seen {
        method,
        status,
        token,
        proof,
        last_event: last_event.map(|id| id.to_str().unwrap().to_owned()),
        peer,
    });
    if opened {
        guard.streams.fetch_add(1, Ordering::SeqCst);
    }
    response
}

/// Returns the response that replaces the server's: to tool calls, and to requests that an older server
/// does not know.
fn instead(guard: &Guard, headers: &HeaderMap, body: &Bytes) -> Option<Response> {
    let message: Value = serde_json::from_slice(body).unwrap_or_default();
    if message["method"] == "server/discover" && guard.old.load(Ordering::SeqCst) {
        return Some((StatusCode::BAD_REQUEST, "what is this?").into_response());
    }
    if message["method"] != "tools/call" {
        return None;
    }
    let mut planted = guard.instead.lock().unwrap();
    Some(match planted.clone()? {
        Instead::Redirect(to) => (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, to)]).into_response(),
        Instead::Echo(status) => (status, format!("{headers:?}")).into_response(),
        Instead::Json(status, body) => {
            (status, [(CONTENT_TYPE, "application/json")], body).into_response()
        }
        Instead::Events(text) => ([(CONTENT_TYPE, "text/event-stream")], text).into_response(),
        Instead::NoSession => {
            *planted = None;
            StatusCode::NOT_FOUND.into_response()
        }
    })
}

/// The MCP server.
pub(crate) struct Notes;

impl ServerHandler for Notes {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = || serde_json::from_str::<rmcp::model::JsonObject>(r#"{"type":"object"}"#);
        let tools = TOOLS.map(|name| Tool::new(name, "A tool.", schema().unwrap()));
        Ok(ListToolsResult::with_all_items(tools.into()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if request.name == "announce" {
            context.peer.notify_tool_list_changed().await.unwrap();
        }
        let text = format!("{} has been called", request.name);
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
    }
}
