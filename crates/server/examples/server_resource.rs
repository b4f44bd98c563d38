//! A protected MCP server with axum, built from `mcp_auth_server::ProtectedResource`: metadata, and
//! challenges that name the missing scopes.
//!
//! ```sh
//! cargo run -p mcp-auth-server --example server_resource
//! ```
//!
//! Its tokens are fixed texts; a real server validates issuer, audience, expiry and signature, or
//! introspects the token.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_server::{Presented, ProtectedResource, Rejection, RequiredScopes};

struct Server {
    resource: ProtectedResource,
    reading: RequiredScopes,
}

async fn metadata(State(server): State<Arc<Server>>) -> Response {
    let document = server.resource.metadata();
    ([(CONTENT_TYPE, "application/json")], document).into_response()
}

/// Returns the scopes of a token.
fn scopes_of(token: &str) -> Result<Scopes, Rejection> {
    match token {
        "reader" => Ok(Scopes::parse("files:read")),
        "writer" => Ok(Scopes::parse("files:write")),
        "old" => Err(Rejection::Expired),
        _unknown => Err(Rejection::Invalid),
    }
}

fn check(server: &Server, headers: &HeaderMap) -> Result<(), Rejection> {
    let held = match Presented::from_headers(headers)? {
        None => return Err(Rejection::Missing),
        Some(Presented::Bearer(token)) => scopes_of(&token)?,
        // Proofs are not verified here, so bound tokens are rejected.
        Some(Presented::Dpop { .. }) => return Err(Rejection::Invalid),
    };
    // The scope for writing includes reading.
    let implies = |held: &str, needed: &str| (held, needed) == ("files:write", "files:read");
    server.resource.allows(&held, &server.reading, implies)
}

async fn call(State(server): State<Arc<Server>>, headers: HeaderMap) -> Response {
    match check(&server, &headers) {
        Ok(()) => "the file".into_response(),
        Err(rejection) => server
            .resource
            .reject(&rejection)
            .into_http()
            .map(Body::from),
    }
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

async fn run() -> io::Result<()> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}/mcp", listener.local_addr()?);
    let resource = ProtectedResource::new(&url, "https://as.example")
        .map_err(io::Error::other)?
        .scopes("files:read")
        .map_err(io::Error::other)?;
    let reading = RequiredScopes::parse("files:read").map_err(io::Error::other)?;
    println!("try: curl -i -X POST {url} -H 'authorization: Bearer reader'");
    let router = Router::new()
        .route(resource.metadata_path(), get(metadata))
        .route("/mcp", post(call))
        .with_state(Arc::new(Server { resource, reading }));
    axum::serve(listener, router).await
}
