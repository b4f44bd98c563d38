//! The layer of `mcp-auth-server` with the tokens of a provider that runs: JWTs by its key set, which changes,
//! and opaque ones by its introspection endpoint; the command signs in to the server behind the layer.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::routing::post;
use axum::{Json, Router};
use http::{Request, Response};
use mcp_auth_server::{
    DpopAlgorithms, DpopUse, Fetch, FetchError, Guard, HttpFetch, IntrospectionRules,
    IntrospectionVerifier, JwtVerifier, KeyTimes, ProtectLayer, ProtectedResource, RequiredScopes,
    ScopePolicy, TokenRules, VerifyToken,
};
use mcp_auth_testing::free_port;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::{BROWSER, Desk, Provider, call_with};

const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/p256.pem");

/// Fetches, and counts.
struct Counted(HttpFetch, Arc<AtomicUsize>);

impl Fetch for Counted {
    async fn fetch(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, FetchError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.fetch(request).await
    }
}

/// An MCP server behind the layer; it serves until the runtime is dropped.
struct Server {
    runtime: Runtime,
    listener: TcpListener,
    url: String,
    fetches: Arc<AtomicUsize>,
}

impl Server {
    fn bind() -> Self {
        let _first = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("non-blocking");
        let url = format!("http://{}/mcp", listener.local_addr().expect("an address"));
        Self {
            runtime: Runtime::new().expect("a runtime"),
            listener,
            url,
            fetches: Arc::default(),
        }
    }

    fn fetch(&self) -> Counted {
        let fetch = HttpFetch::new(reqwest::Client::builder().no_proxy());
        Counted(fetch.expect("a client"), Arc::clone(&self.fetches))
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    fn serve(&self, issuer: &str, verifier: impl VerifyToken) {
        let needs = |scopes| RequiredScopes::parse(scopes).expect("scopes");
        let policy = ScopePolicy::new(needs("notes:read"))
            .open_tool("list")
            .tool("add", needs("notes:write"));
        let algorithms = DpopAlgorithms::new(["ES256"]).expect("an algorithm");
        let resource = ProtectedResource::new(&self.url, issuer).expect("a resource");
        let resource = resource.scopes("notes:read").expect("a scope");
        let resource = resource.dpop(algorithms, DpopUse::Supported);
        let guard = Guard::new(resource, policy).expect("a guard");
        let router = Router::new()
            .route("/mcp", post(answer))
            .layer(ProtectLayer::new(guard, verifier));
        let listener = self.listener.try_clone().expect("a listener");
        self.runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, router).await
        });
    }

    fn call(&self, token: &str, tool: &str) -> u16 {
        call_with(&self.url, &format!("authorization: Bearer {token}"), tool)
    }
}

/// The layer has decided already: every message has a result.
async fn answer(Json(message): Json<Value>) -> Json<Value> {
    Json(json!({ "jsonrpc": "2.0", "id": message["id"], "result": {} }))
}

#[test]
#[ignore = "needs npm; .ci/run does"]
fn rs_08_jwts_of_a_running_issuer_whose_keys_change() {
    let server = Server::bind();
    let port = free_port().expect("a free port").to_string();
    let options = [
        "--port",
        &port,
        "--tokens",
        "jwt",
        "--own-key",
        "--resource",
        &server.url,
        "--token-seconds",
        "10",
    ];
    let provider = Provider::start(&options);
    let keys = format!("{}/jwks", provider.issuer);
    let rules = TokenRules::rfc9068(&provider.issuer, &keys, &server.url).expect("rules");
    let times = KeyTimes {
        // A new key is fetched at once.
        pause: Duration::ZERO,
        ..KeyTimes::default()
    };
    let rules = rules.leeway(Duration::ZERO);
    server.serve(
        &provider.issuer,
        JwtVerifier::with_times(rules, server.fetch(), times),
    );

    // The command finds the provider by the metadata of the layer, and steps up.
    let desk = Desk::at(server.url.clone(), BROWSER.to_owned());
    desk.sign_in(&[]);
    let call = |headers: &str, tool| call_with(&server.url, headers, tool);
    assert_eq!(call(&desk.headers(), "list"), 200);
    assert_eq!(call(&desk.headers(), "add"), 403);
    desk.sign_in(&["--scope", "notes:read notes:write"]);
    assert_eq!(call(&desk.headers(), "add"), 200);
    assert_eq!(call(&desk.headers(), "other"), 403);
    assert_eq!(server.fetches(), 1, "one fetch of keys");

    // For another resource, and with another signature.
    let token = provider.service_token(&server.url, "notes:read");
    assert_eq!(server.call(&token, "list"), 200);
    assert_eq!(
        server.call(&provider.service_token(&provider.mcp, "notes:read"), "list"),
        401
    );
    let (signed, _) = token.rsplit_once('.').expect("a signature");
    assert_eq!(server.call(&format!("{signed}.AAAA"), "list"), 401);
    // Expired.
    std::thread::sleep(Duration::from_secs(11));
    assert_eq!(server.call(&token, "list"), 401);

    // Another key at the same issuer: fetched when its first token comes, and the old one is gone.
    let old = provider.service_token(&server.url, "notes:read");
    drop(provider);
    let provider = Provider::start(&options);
    let new = provider.service_token(&server.url, "notes:read");
    assert_eq!(server.call(&new, "list"), 200);
    assert_eq!(server.fetches(), 2);
    assert_eq!(server.call(&old, "list"), 401);
    // The known keys outlive their server.
    let last = provider.service_token(&server.url, "notes:read");
    drop(provider);
    assert_eq!(server.call(&last, "list"), 200);
}

#[test]
#[ignore = "needs npm; .ci/run does"]
fn rs_09_bound_jwts_of_a_running_issuer_need_their_key_and_a_new_proof() {
    let server = Server::bind();
    let options = ["--tokens", "jwt", "--resource", &server.url];
    let provider = Provider::start(&options);
    let keys = format!("{}/jwks", provider.issuer);
    let rules = TokenRules::rfc9068(&provider.issuer, &keys, &server.url).expect("rules");
    server.serve(&provider.issuer, JwtVerifier::new(rules, server.fetch()));
    let desk = Desk::at(server.url.clone(), BROWSER.to_owned());
    desk.sign_in(&["--dpop-key", KEY]);
    let headers = desk.headers();
    assert!(headers.contains("authorization: DPoP "), "{headers}");
    assert_eq!(call_with(&server.url, &headers, "list"), 200);
    assert_eq!(
        call_with(&server.url, &headers, "list"),
        401,
        "a proof is accepted once"
    );
    let bearer = desk.headers().replace("DPoP ", "Bearer ");
    assert_eq!(call_with(&server.url, &bearer, "list"), 401);
    assert_eq!(call_with(&server.url, &desk.headers(), "list"), 200);
}

#[test]
#[ignore = "needs npm; .ci/run does"]
fn rs_08_opaque_tokens_of_a_running_issuer_are_asked_about_and_remembered() {
    let server = Server::bind();
    let provider = Provider::start(&["--resource", &server.url]);
    let endpoint = format!("{}/token/introspection", provider.issuer);
    let (id, secret) = provider.inspector();
    let rules = IntrospectionRules::new(&provider.issuer, &endpoint, (id, secret), &server.url);
    let rules = rules.expect("rules").remembered(Duration::from_secs(3));
    server.serve(
        &provider.issuer,
        IntrospectionVerifier::new(rules, server.fetch()),
    );

    let desk = Desk::at(server.url.clone(), BROWSER.to_owned());
    desk.sign_in(&[]);
    let token = desk.token();
    assert_eq!(server.call(&token, "list"), 200);
    let asked = server.fetches();
    for _ in 0..5 {
        assert_eq!(server.call(&token, "list"), 200);
    }
    // Once more at most, on a machine that took three seconds for this.
    assert!(
        server.fetches() <= asked + 1,
        "{asked} {}",
        server.fetches()
    );
    assert_eq!(server.call(&token, "add"), 403);
    // A refresh token is active at the provider, and no access token.
    let account = desk.account();
    let refresh = account["tokens"]["refresh"].as_str().expect("a token");
    assert!(provider.is_active(refresh));
    assert_eq!(server.call(refresh, "list"), 401);
    assert_eq!(
        server.call(&provider.service_token(&provider.mcp, "notes:read"), "list"),
        401
    );
    assert_eq!(server.call("invented", "list"), 401);
    // Revoked: refused as soon as the answer is no longer remembered.
    assert_eq!(desk.json("logout", &[]).0, Some(0));
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(server.call(&token, "list"), 401);
    // During an outage, the token is neither valid nor invalid.
    drop(provider);
    assert_eq!(server.call("unheard-of", "list"), 503);
}
