//! rmcp's streamable HTTP server behind the layer of `mcp-auth-server`: one line, scopes by tool.

use std::sync::Arc;

use axum::Router;
use mcp_auth_client::MemoryStore;
use mcp_auth_client::asynchronous::Client;
use mcp_auth_client::signer::SoftwareKey;
use mcp_auth_machine::Config;
use mcp_auth_machine::config::{Dpop, DpopPolicy};
use mcp_auth_server::{
    DpopAlgorithms, DpopUse, Guard, NonceKey, ProtectLayer, ProtectedResource, RequiredScopes,
    ScopePolicy,
};
use mcp_auth_testing::BASE_SCOPE;
use mcp_auth_testing::authorization::{self, AuthorizationServer, Iss, Options};
use mcp_auth_testing::resource::RegistryVerifier;
use rmcp::ServiceExt as _;
use rmcp::model::CallToolRequestParams;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::TcpListener;

use crate::guard::Notes;
use crate::support::{Agreeing, direct};

async fn start(dpop: Option<DpopUse>) -> (AuthorizationServer, String) {
    let server = authorization::start(Options {
        iss: Iss::Honest,
        access_token_seconds: 300,
        ..Options::default()
    });
    let server = server.await.unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    server.allow_resource(url.clone());

    let needs = |scopes| RequiredScopes::parse(scopes).unwrap();
    let policy = ScopePolicy::new(needs(BASE_SCOPE))
        .open_tool("read")
        .tool("write", needs("notes:write"));
    let resource = ProtectedResource::new(&url, server.issuer()).unwrap();
    let mut resource = resource.scopes(BASE_SCOPE).unwrap();
    if let Some(required) = dpop {
        resource = resource.dpop(DpopAlgorithms::new(["ES256"]).unwrap(), required);
    }
    let guard = Guard::new(resource, policy).unwrap();
    let guard = guard.nonces(NonceKey::new(&[3; 32]));
    let verifier = RegistryVerifier::new(server.issuer(), &url, server.tokens());
    let service: StreamableHttpService<Notes, LocalSessionManager> = StreamableHttpService::new(
        || Ok(Notes),
        Arc::default(),
        StreamableHttpServerConfig::default(),
    );
    let router = Router::new()
        .nest_service("/mcp", service)
        .layer(ProtectLayer::new(guard, verifier));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (server, url)
}

#[tokio::test]
async fn a_tool_that_needs_more_is_allowed_by_a_step_up() {
    let (_server, url) = start(None).await;
    let user = Agreeing::default();
    let config = Config::builder(&url, "http://127.0.0.1:9/callback").build();
    let client = Client::builder(config.unwrap(), "alice", MemoryStore::default());
    let client = client.user(user.clone()).start().unwrap();
    let mcp = ().serve(direct(client).transport(url.as_str())).await.unwrap();
    for (tool, trips) in [("read", 1), ("write", 2), ("write", 2), ("read", 2)] {
        let called = mcp
            .call_tool(CallToolRequestParams::new(tool))
            .await
            .unwrap();
        assert!(called.content[0].as_text().is_some());
        assert_eq!(user.trips(), trips, "{tool}");
    }
    mcp.cancel().await.unwrap();
}

#[tokio::test]
async fn tokens_are_bound_to_a_key_and_proofs_hold_the_nonce_of_the_server() {
    let (_server, url) = start(Some(DpopUse::Required)).await;
    let user = Agreeing::default();
    let key = SoftwareKey::generate("device").unwrap();
    let config = Config::builder(&url, "http://127.0.0.1:9/callback");
    let dpop = Dpop::new(DpopPolicy::Require).key(key.describe().unwrap());
    let config = config.dpop(dpop).build().unwrap();
    let client = Client::builder(config, "alice", MemoryStore::default());
    let client = client.signer(key).user(user.clone()).start().unwrap();
    let mcp = ().serve(direct(client).transport(url.as_str())).await.unwrap();
    for tool in ["read", "write"] {
        let called = mcp
            .call_tool(CallToolRequestParams::new(tool))
            .await
            .unwrap();
        assert!(called.content[0].as_text().is_some());
    }
    assert_eq!(user.trips(), 2);
    mcp.cancel().await.unwrap();
}
