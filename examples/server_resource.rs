//! A protected MCP server with axum, built from `server::ProtectedResource`: metadata, and refusals
//! that say what is missing.
//!
//! ```sh
//! cargo run --features cli --example server_resource
//! ```
//!
//! Its tokens are texts in this file; a real server validates issuer, audience, expiry and signature,
//! or asks its authorization server.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use mcp_auth_machine::server::{Presented, ProtectedResource, Refused};
use mcp_auth_machine::wire::scopes::Scopes;

async fn metadata(State(resource): State<Arc<ProtectedResource>>) -> Response {
    ([(CONTENT_TYPE, "application/json")], resource.metadata()).into_response()
}

/// What a token stands for.
fn scopes_of(token: &str) -> Result<Scopes, Refused> {
    match token {
        "reader" => Ok(Scopes::parse("files:read")),
        "writer" => Ok(Scopes::parse("files:write")),
        "old" => Err(Refused::Expired),
        _unknown => Err(Refused::Invalid),
    }
}

fn check(resource: &ProtectedResource, headers: &HeaderMap) -> Result<(), Refused> {
    let held = match Presented::from_headers(headers)? {
        None => return Err(Refused::Missing),
        Some(Presented::Bearer(token)) => scopes_of(&token)?,
        // Proofs of possession are not checked here, so tokens bound to a key are not taken.
        Some(Presented::Dpop { .. }) => return Err(Refused::Invalid),
    };
    // Whoever may write may read.
    let implies = |held: &str, needed: &str| (held, needed) == ("files:write", "files:read");
    resource.allows(&held, &Scopes::parse("files:read"), implies)
}

async fn call(State(resource): State<Arc<ProtectedResource>>, headers: HeaderMap) -> Response {
    match check(&resource, &headers) {
        Ok(()) => "the file".into_response(),
        Err(refused) => {
            let answer = resource.answer(&refused);
            let challenge = [(WWW_AUTHENTICATE, answer.www_authenticate())];
            (answer.status(), challenge).into_response()
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}/mcp", listener.local_addr()?);
    let resource = ProtectedResource::new(&url, "https://as.example")
        .map_err(io::Error::other)?
        .scopes("files:read");
    println!("try: curl -i -X POST {url} -H 'authorization: Bearer reader'");
    let router = Router::new()
        .route(resource.metadata_path(), get(metadata))
        .route("/mcp", post(call))
        .with_state(Arc::new(resource));
    axum::serve(listener, router).await
}
