//! An MCP endpoint on axum that accepts signed tokens of one issuer:
//!
//! ```sh
//! cargo run -p mcp-auth-server --features tower,reqwest --example protected -- \
//!     https://sso.example/realms/acme https://sso.example/realms/acme/protocol/openid-connect/certs
//! ```
//!
//! Every token of that issuer for this server with the scope `files:read` may call the tool `read`; the
//! tool `write` also requires `files:write`.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use axum::routing::post;
use axum::{Extension, Json, Router};
use mcp_auth_server::{
    AccessToken, Guard, HttpFetch, JwtVerifier, ProtectLayer, ProtectedResource, RequiredScopes,
    ScopePolicy, TokenRules,
};
use serde_json::{Value, json};

/// The handler receives the verified token; the layer has already authorized the request.
async fn call(Extension(token): Extension<AccessToken>, Json(message): Json<Value>) -> Json<Value> {
    let text = format!("hello {}", token.subject().unwrap_or("client"));
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
    let mut arguments = std::env::args().skip(1);
    let issuer = arguments.next().ok_or("the issuer is missing")?;
    let keys = arguments.next().ok_or("the URL of its keys is missing")?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}/mcp", listener.local_addr()?);

    let resource = ProtectedResource::new(&url, &issuer)?.scopes("files:read")?;
    let policy = ScopePolicy::new(RequiredScopes::parse("files:read")?)
        .open_tool("read")
        .tool("write", RequiredScopes::parse("files:write")?);
    let rules = TokenRules::rfc9068(&issuer, &keys, &url)?.any_type();
    let verifier = JwtVerifier::new(rules, HttpFetch::new(http()?)?);
    let layer = ProtectLayer::new(Guard::new(resource, policy)?, verifier);
    let router = Router::new().route("/mcp", post(call)).layer(layer);

    println!("{url}");
    Ok(axum::serve(listener, router).await?)
}

/// TLS by `rustls` with the linked provider and the trust store of the platform.
fn http() -> Result<reqwest::ClientBuilder, Box<dyn Error>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(rustls_platform_verifier::Verifier::new(
            provider,
        )?))
        .with_no_client_auth();
    Ok(reqwest::Client::builder().tls_backend_preconfigured(tls))
}
