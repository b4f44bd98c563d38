//! An MCP server with an authorization server of its own in front of one that registers nobody (AS-16):
//! clients register here, the user consents here to each of them, and signs in upstream.
//!
//! ```sh
//! cargo run -p mcp-auth-server --features tower,reqwest --example upstream_proxy -- \
//!     https://up.example https://up.example/authorize https://up.example/token CLIENT_ID
//! ```
//!
//! It listens on a free port, whose `/callback` is the redirect URI upstream, and prints the URL of the MCP
//! server. Everything is kept in memory. The token of the upstream server stays here: clients get tokens of
//! this server, which are good for nothing else.

mod endpoints;
mod store;

use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use mcp_auth_server::{
    AccessToken, AuthorizationServer, Guard, MAX_REGISTRATION_BYTES, ProtectLayer,
    ProtectedResource, RequiredScopes, ResponseMode, ScopePolicy, UpstreamProxy,
};
use serde_json::{Value, json};

use store::{Store, Tokens};

/// The scope of this server, and the one that is asked for upstream.
pub(crate) const SCOPE: &str = "notes";

pub(crate) struct Proxy {
    pub(crate) server: AuthorizationServer,
    pub(crate) upstream: UpstreamProxy,
    pub(crate) token_endpoint: String,
    pub(crate) client_id: String,
    pub(crate) resource: String,
    pub(crate) http: reqwest::Client,
    pub(crate) store: Arc<Store>,
}

impl Proxy {
    /// The redirect URI that is registered upstream.
    pub(crate) fn callback(&self) -> String {
        format!("{}/callback", self.server.issuer())
    }
}

/// The time since the Unix epoch.
pub(crate) fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Fresh random bytes.
pub(crate) fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes)
        .map_err(|_| io::Error::other("no random bytes"))?;
    Ok(bytes)
}

/// The one tool. The layer has decided already that the caller may.
async fn call(Extension(token): Extension<AccessToken>, Json(message): Json<Value>) -> Json<Value> {
    let text = format!("hello {}", token.client_id().unwrap_or("client"));
    let result = json!({ "content": [{ "type": "text", "text": text }], "isError": false });
    Json(json!({ "jsonrpc": "2.0", "id": message.get("id"), "result": result }))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let _first = rustls::crypto::ring::default_provider().install_default();
    let mut arguments = std::env::args().skip(1);
    let mut argument = |name: &str| arguments.next().ok_or(format!("{name} is missing"));
    let upstream = argument("the upstream issuer")?;
    let authorize = argument("its authorization endpoint")?;
    let token_endpoint = argument("its token endpoint")?;
    let client_id = argument("the client that it knows")?;

    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let issuer = format!("http://{}", listener.local_addr()?);
    let url = format!("{issuer}/mcp");
    let callback = format!("{issuer}/callback");
    let server = AuthorizationServer::new(&issuer)?.with_response_mode(ResponseMode::FormPost);
    let resource = ProtectedResource::new(&url, &issuer)?.scopes(SCOPE)?;
    let policy = ScopePolicy::new(RequiredScopes::parse(SCOPE)?).open_tool("hello");
    let store = Arc::new(Store::default());
    let tokens = Tokens::new(&issuer, &url, Arc::clone(&store));
    let layer = ProtectLayer::new(Guard::new(resource, policy)?, tokens);

    let paths = server.metadata_paths();
    let proxy = Arc::new(Proxy {
        upstream: UpstreamProxy::new(&upstream, &authorize, &client_id, &callback, &random()?)?,
        server,
        token_endpoint,
        client_id,
        resource: url.clone(),
        http: reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(10))
            .build()?,
        store,
    });
    // A request for the headers alone must not begin or end anything.
    let no_head = async || StatusCode::METHOD_NOT_ALLOWED;
    let mut routes = Router::new()
        .route("/register", post(endpoints::register))
        .route("/authorize", get(endpoints::authorize).head(no_head))
        .route("/consent", post(endpoints::consent))
        .route("/callback", get(endpoints::callback).head(no_head))
        .route("/token", post(endpoints::token))
        .layer(DefaultBodyLimit::max(MAX_REGISTRATION_BYTES));
    for path in paths {
        routes = routes.route(&path, get(endpoints::metadata));
    }
    let protected = Router::new().route("/mcp", post(call)).layer(layer.clone());
    // The layer serves the metadata of the resource, wherever it is put.
    let well_known = Router::new()
        .route("/.well-known/oauth-protected-resource/mcp", get(no_head))
        .layer(layer);
    println!("MCP server {url}");
    let router = routes.with_state(proxy).merge(protected).merge(well_known);
    Ok(axum::serve(listener, router).await?)
}
