//! The layer in front of an MCP server, with axum (RS-02 to RS-11).

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::routing;
use http::{HeaderMap, Method, Response, StatusCode};
use mcp_auth_server::{
    AccessToken, DpopAlgorithms, DpopUse, Guard, GuardError, JwtVerifier, McpMessages, NoFetch,
    NonceKey, Proof, ProofError, ProtectLayer, ProtectedResource, ReplayStore, RequiredScopes,
    ScopePolicy, TokenRules,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use tower_service::Service as _;

use crate::issuer::{Key, NOW, key_set, proof_claims};

pub(crate) const ISSUER: &str = "https://as.example";
pub(crate) const URL: &str = "https://mcp.example/mcp";

fn now() -> Duration {
    NOW
}

pub(crate) fn needs(scopes: &str) -> RequiredScopes {
    RequiredScopes::parse(scopes).unwrap()
}

pub(crate) fn resource() -> ProtectedResource {
    let resource = ProtectedResource::new(URL, ISSUER).unwrap();
    resource.scopes("files:read").unwrap()
}

pub(crate) fn policy() -> ScopePolicy {
    ScopePolicy::new(needs("files:read"))
        .open_tool("read")
        .tool("write", needs("files:write"))
        .tool(
            "purge",
            RequiredScopes::any_of(["files:admin", "root"]).unwrap(),
        )
        .method("resources/read", needs("files:raw"))
}

pub(crate) struct Server {
    key: Key,
    router: Router,
}

impl Server {
    pub(crate) fn new(guard: Guard) -> Self {
        let key = Key::new("k");
        let rules = TokenRules::rfc9068(ISSUER, "https://as.example/jwks", URL).unwrap();
        let verifier: JwtVerifier<NoFetch> =
            JwtVerifier::with_keys(rules, &key_set(&[&key])).unwrap();
        let layer = ProtectLayer::new(guard, verifier)
            .clock(now)
            .body_limit(10_000);
        let router = Router::new().route("/mcp", routing::any(echo)).layer(layer);
        Self { key, router }
    }

    pub(crate) fn plain() -> Self {
        Self::new(Guard::new(resource(), policy()).unwrap())
    }

    pub(crate) fn token(&self, scopes: &str) -> String {
        self.token_with(json!({ "scope": scopes }))
    }

    pub(crate) fn token_with(&self, more: Value) -> String {
        let mut claims = json!({
            "iss": ISSUER, "aud": URL, "sub": "alice", "client_id": "c",
            "iat": NOW.as_secs(), "exp": NOW.as_secs() + 300, "scope": "files:read",
        });
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.key.token(&claims)
    }

    pub(crate) async fn send(&self, request: Request) -> (StatusCode, HeaderMap, String) {
        let response: Response<Body> = self.router.clone().call(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 100_000).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        (parts.status, parts.headers, text)
    }

    pub(crate) async fn post(
        &self,
        fields: &[(&str, &str)],
        body: &str,
    ) -> (StatusCode, HeaderMap, String) {
        self.send(request(Method::POST, fields, body)).await
    }

    pub(crate) async fn status(&self, token: &str, body: &str) -> u16 {
        let bearer = format!("Bearer {token}");
        let (status, ..) = self.post(&[("authorization", &bearer)], body).await;
        status.as_u16()
    }
}

/// Says who it was called by; the token must be gone.
async fn echo(request: Request) -> String {
    assert!(!request.headers().contains_key("authorization"));
    assert!(!request.headers().contains_key("dpop"));
    let token = request.extensions().get::<AccessToken>().unwrap().clone();
    let body = to_bytes(request.into_body(), 100_000).await.unwrap();
    format!("{} {}", token.subject().unwrap(), body.len())
}

pub(crate) fn request(method: Method, fields: &[(&str, &str)], body: &str) -> Request {
    let mut request = http::Request::builder().method(method).uri("/mcp");
    if !fields.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "mcp.example");
    }
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Body::from(body.to_owned())).unwrap()
}

pub(crate) fn call(tool: &str) -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool } })
        .to_string()
}

pub(crate) const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

#[tokio::test]
async fn rs_04_rs_08_a_token_gets_through_and_stays_here() {
    let server = Server::plain();
    let bearer = format!("Bearer {}", server.token("files:read"));
    let (status, headers, text) = server.post(&[("authorization", &bearer)], LIST).await;
    assert_eq!((status, text.as_str()), (StatusCode::OK, "alice 46"));
    assert!(!headers.contains_key("dpop-nonce"));
    let (status, headers, _) = server.post(&[], LIST).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let challenge = headers["www-authenticate"].to_str().unwrap();
    assert_eq!(
        challenge,
        "Bearer scope=\"files:read\", resource_metadata=\
         \"https://mcp.example/.well-known/oauth-protected-resource/mcp\""
    );
    assert_eq!(headers["cache-control"], "no-store");
    for (field, status) in [
        ("Bearer x", 401),
        ("Bearer", 400),
        ("Basic YTpi", 401),
        (&bearer.replace("Bearer", "DPoP"), 401),
    ] {
        let found = server.post(&[("authorization", field)], LIST).await.0;
        assert_eq!(found.as_u16(), status, "{field}");
    }
    // Not from the query.
    let mut sent = request(Method::POST, &[], LIST);
    let token = server.token("files:read");
    *sent.uri_mut() = format!("/mcp?access_token={token}").parse().unwrap();
    assert_eq!(server.send(sent).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn rs_05_rs_06_scopes_by_method_and_tool_closed_by_default() {
    let server = Server::plain();
    let read = server.token("files:read");
    let bearer = format!("Bearer {read}");
    let auth = ("authorization", bearer.as_str());
    assert_eq!(server.status(&read, &call("read")).await, 200);
    // Everything that the operation needs, at once.
    let (status, headers, _) = server.post(&[auth], &call("write")).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let challenge = headers["www-authenticate"].to_str().unwrap();
    assert!(
        challenge.contains("error=\"insufficient_scope\""),
        "{challenge}"
    );
    assert!(
        challenge.contains("scope=\"files:read files:write\""),
        "{challenge}"
    );
    let (write, root) = (
        server.token("files:read files:write"),
        server.token("files:read root"),
    );
    assert_eq!(server.status(&write, &call("write")).await, 200);
    assert_eq!(
        server
            .status(&server.token("files:write"), &call("write"))
            .await,
        403
    );
    assert_eq!(server.status(&root, &call("purge")).await, 200);
    assert_eq!(server.status(&read, &call("purge")).await, 403);
    // An unnamed tool or method is rejected, and no scope would help.
    let (status, headers, _) = server.post(&[auth], &call("new")).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(!headers.contains_key("www-authenticate"));
    let other = LIST.replace("tools/list", "tools/List");
    assert_eq!(server.status(&read, &other).await, 403);
    // Each message of a batch counts, and a stream needs what every request needs.
    let batch = |tools: [&str; 2]| format!("[{},{}]", call(tools[0]), call(tools[1]));
    assert_eq!(server.status(&read, &batch(["read", "write"])).await, 403);
    assert_eq!(server.status(&write, &batch(["read", "write"])).await, 200);
    for (token, status) in [(server.token("mail:read"), 403), (read.clone(), 200)] {
        let bearer = format!("Bearer {token}");
        let stream = request(Method::GET, &[("authorization", &bearer)], "");
        assert_eq!(server.send(stream).await.0.as_u16(), status);
    }
}

#[tokio::test]
async fn rs_05_a_body_that_can_be_read_in_two_ways_is_refused() {
    let server = Server::plain();
    let read = server.token("files:read");
    for body in [
        "",
        "null",
        "[]",
        "[[]]",
        "{} {}",
        r#"{"method":"tools/list","method":"tools/call","params":{"name":"write"}}"#,
        r#"{"method":"tools/call","params":{"name":"read","name":"write"}}"#,
        r#"{"method":"tools/call","params":{"name":"read"},"params":{"name":"write"}}"#,
        r#"{"method":"tools/call","params":["write"]}"#,
        r#"{"method":"tools/call","params":{"name":1}}"#,
        r#"{"method":"tools/call","params":{}}"#,
        r#"{"method":"tools/call"}"#,
        r#"["2.0","tools/call",{"name":"write"}]"#,
        r#"{"method":1}"#,
        "\u{feff}{\"method\":\"tools/list\"}",
    ] {
        assert_eq!(server.status(&read, body).await, 400, "{body}");
    }
    // An escape does not name another tool.
    let escaped = r#"{"method":"tools/call","params":{"name":"wr\u0069te"}}"#;
    assert_eq!(server.status(&read, escaped).await, 403);
    let bearer = format!("Bearer {read}");
    let auth = ("authorization", bearer.as_str());
    for (name, value, status) in [
        ("content-encoding", "gzip", 400),
        ("mcp-method", "tools/call", 400),
        ("mcp-method", "tools/list", 200),
        ("mcp-name", "read", 400),
    ] {
        let found = server.post(&[auth, (name, value)], LIST).await.0;
        assert_eq!(found.as_u16(), status, "{name} {value}");
    }
    let fields = [auth, ("mcp-name", "=?base64?cmVhZA==?=")];
    let named = server.post(&fields, &call("read")).await;
    assert_eq!(named.0, StatusCode::OK);
    let long = format!("{}{}", LIST, " ".repeat(10_000));
    assert_eq!(server.status(&read, &long).await, 413);
    // Before anything of the body is read, the token.
    assert_eq!(server.status("x", &long).await, 401);
}

pub(crate) fn bound(required: DpopUse) -> Guard {
    let algorithms = DpopAlgorithms::new(["ES256"]).unwrap();
    Guard::new(resource().dpop(algorithms, required), policy()).unwrap()
}

#[tokio::test]
async fn rs_09_bound_tokens_with_their_key_once() {
    let server = Server::new(bound(DpopUse::Supported));
    let (key, thief) = (Key::new("client"), Key::new("thief"));
    let token = server.token_with(json!({ "cnf": { "jkt": key.thumbprint() } }));
    let dpop = format!("DPoP {token}");
    let send = async |proof: String| {
        let fields = [("authorization", dpop.as_str()), ("dpop", proof.as_str())];
        server.post(&fields, LIST).await
    };
    let claims = |jti| proof_claims("POST", URL, Some(&token), jti);
    let proof = key.proof(&claims("a"));
    assert_eq!(send(proof.clone()).await.0, StatusCode::OK);
    for proof in [
        proof,
        thief.proof(&claims("b")),
        key.proof(&proof_claims("GET", URL, Some(&token), "c")),
        key.proof(&proof_claims("POST", URL, Some("another"), "d")),
        "x".to_owned(),
    ] {
        let (status, headers, _) = send(proof.clone()).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        let challenge = headers["www-authenticate"].to_str().unwrap();
        assert!(
            challenge.starts_with("DPoP error=\"invalid_dpop_proof\""),
            "{challenge}"
        );
        assert!(challenge.contains("algs=\"ES256\""), "{challenge}");
    }
    // A thief has the token alone, or binds an unbound one to a key of theirs.
    assert_eq!(server.status(&token, LIST).await, 401);
    let other = server.token_with(json!({ "cnf": { "x5t#S256": "x" } }));
    assert_eq!(server.status(&other, LIST).await, 401);
    let free = server.token("files:read");
    let proof = thief.proof(&proof_claims("POST", URL, Some(&free), "e"));
    let dpop = format!("DPoP {free}");
    let fields = [("authorization", dpop.as_str()), ("dpop", proof.as_str())];
    assert_eq!(server.post(&fields, LIST).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(server.status(&free, LIST).await, 200);
    let required = Server::new(bound(DpopUse::Required));
    let free = required.token("files:read");
    assert_eq!(required.status(&free, LIST).await, 401);
    let weak = DpopAlgorithms::new(["ES512"]).unwrap();
    let weak = Guard::new(resource().dpop(weak, DpopUse::Required), policy());
    assert_eq!(weak.unwrap_err(), GuardError::Algorithm);
}

/// A store that two instances share, or that does not answer.
#[derive(Clone, Default)]
struct Store {
    seen: Arc<Mutex<HashSet<[u8; 32]>>>,
    is_away: bool,
}

impl ReplayStore for Store {
    async fn spend(&self, proof: &Proof, now: Duration) -> Result<(), ProofError> {
        // As an answer of another process would come: not at once.
        tokio::task::yield_now().await;
        assert!(proof.until() > now);
        match self.seen.lock().unwrap().insert(proof.id()) {
            _any if self.is_away => Err(ProofError::Unavailable),
            true => Ok(()),
            false => Err(ProofError::Replayed),
        }
    }
}

/// RS-10: instances that share a store accept a proof once, and without an answer of the store none.
#[tokio::test]
async fn rs_10_instances_share_their_memory_of_proofs() {
    let key = Key::new("client");
    let send = async |server: &Server, fields: [(&str, &str); 2]| {
        server.post(&fields, LIST).await.0.as_u16()
    };
    let mut one = Server::new(bound(DpopUse::Required));
    let token = one.token_with(json!({ "cnf": { "jkt": key.thumbprint() } }));
    let dpop = format!("DPoP {token}");
    let proof = |jti: &str| key.proof(&proof_claims("POST", URL, Some(&token), jti));
    let protect = |server: &Server, store: Store| {
        let rules = TokenRules::rfc9068(ISSUER, "https://as.example/jwks", URL).unwrap();
        let verifier = JwtVerifier::with_keys(rules, &key_set(&[&server.key])).unwrap();
        let layer = ProtectLayer::new(bound(DpopUse::Required), verifier).clock(now);
        let layer = layer.replays(store).body_limit(10_000);
        Router::new().route("/mcp", routing::any(echo)).layer(layer)
    };
    let store = Store::default();
    let mut two = Server::plain();
    two.router = protect(&one, store.clone());
    let away = Store {
        is_away: true,
        ..Store::default()
    };
    let mut three = Server::plain();
    three.router = protect(&one, away);
    one.router = protect(&one, store);
    let fresh = proof("a");
    let fields = [("authorization", dpop.as_str()), ("dpop", fresh.as_str())];
    assert_eq!(send(&one, fields).await, 200);
    assert_eq!(send(&two, fields).await, 401);
    assert_eq!(send(&one, fields).await, 401);
    let fresh = proof("b");
    let fields = [("authorization", dpop.as_str()), ("dpop", fresh.as_str())];
    assert_eq!(send(&three, fields).await, 503);
    assert_eq!(send(&two, fields).await, 200);
}

/// RS-09: a token that its issuer calls bound, but to no key, is invalid.
#[tokio::test]
async fn rs_09_a_token_that_is_bound_to_no_key_is_no_bearer_token() {
    let server = Server::plain();
    for claims in [
        json!({ "typ": "DPoP" }),
        json!({ "token_type": "dpop" }),
        json!({ "cnf": {} }),
        json!({ "cnf": "x" }),
        json!({ "cnf": { "jkt": 1 } }),
    ] {
        let token = server.token_with(claims.clone());
        assert_eq!(server.status(&token, LIST).await, 401, "{claims}");
    }
    let free = server.token_with(json!({ "typ": "Bearer", "cnf": null }));
    assert_eq!(server.status(&free, LIST).await, 200);
}

#[tokio::test]
async fn rs_10_a_nonce_is_asked_for_and_sent_along() {
    let server = Server::new(bound(DpopUse::Required).nonces(NonceKey::new(&[1; 32])));
    let key = Key::new("client");
    let token = server.token_with(json!({ "cnf": { "jkt": key.thumbprint() } }));
    let dpop = format!("DPoP {token}");
    let mut claims = proof_claims("POST", URL, Some(&token), "a");
    let fields = [
        ("authorization", dpop.as_str()),
        ("dpop", &key.proof(&claims)),
    ];
    let (status, headers, _) = server.post(&fields, LIST).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let challenge = headers["www-authenticate"].to_str().unwrap();
    assert!(
        challenge.contains("error=\"use_dpop_nonce\""),
        "{challenge}"
    );
    claims["nonce"] = json!(headers["dpop-nonce"].to_str().unwrap());
    let fields = [
        ("authorization", dpop.as_str()),
        ("dpop", &key.proof(&claims)),
    ];
    let (status, headers, _) = server.post(&fields, LIST).await;
    assert_eq!(status, StatusCode::OK);
    assert!(headers.contains_key("dpop-nonce"));
}

#[tokio::test]
async fn rs_11_hosts_origins_and_metadata() {
    let guard = Guard::new(resource(), policy()).unwrap();
    let guard = guard
        .origin("https://app.example")
        .unwrap()
        .host("internal:8080");
    let server = Server::new(guard.clone());
    let bearer = format!("Bearer {}", server.token("files:read"));
    let auth = ("authorization", bearer.as_str());
    for (fields, status) in [
        (vec![auth], 200),
        (vec![auth, ("host", "INTERNAL:8080")], 200),
        (vec![auth, ("host", "evil.example")], 403),
        (
            vec![auth, ("host", "mcp.example"), ("host", "mcp.example")],
            403,
        ),
        (vec![auth, ("host", "mcp.example:444")], 403),
        (vec![auth, ("origin", "https://mcp.example")], 200),
        (vec![auth, ("origin", "https://app.example")], 200),
        (
            vec![auth, ("origin", "https://app.example.evil.example")],
            403,
        ),
        (vec![auth, ("origin", "null")], 403),
        (vec![auth, ("origin", "http://app.example")], 403),
    ] {
        assert_eq!(
            server.post(&fields, LIST).await.0.as_u16(),
            status,
            "{fields:?}"
        );
    }
    let origin = ("origin", "https://app.example");
    let (status, headers, _) = server.post(&[origin], LIST).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        headers["access-control-allow-origin"],
        "https://app.example"
    );
    let exposed = headers["access-control-expose-headers"].to_str().unwrap();
    assert!(exposed.contains("www-authenticate"));
    let asked = ("access-control-request-method", "POST");
    let preflight = request(Method::OPTIONS, &[origin, asked], "");
    assert_eq!(server.send(preflight).await.0, StatusCode::NO_CONTENT);
    assert_eq!(
        server
            .send(request(Method::OPTIONS, &[], ""))
            .await
            .0
            .as_u16(),
        401
    );
    // Metadata is public, also for pages of other origins.
    let mut sent = request(Method::GET, &[("origin", "https://other.example")], "");
    let place = "/.well-known/oauth-protected-resource/mcp";
    *sent.uri_mut() = place.parse().unwrap();
    let (status, headers, text) = server.send(sent).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["access-control-allow-origin"], "*");
    assert_eq!(text, guard.resource().metadata());
    for origin in [
        "app.example",
        "https://app.example/",
        "https://app.example/x",
        "null",
        "*",
    ] {
        let added = guard.clone().origin(origin);
        assert!(matches!(added, Err(GuardError::Origin(_))), "{origin}");
    }
}

proptest! {
    /// Every body needs at least the scopes of every request; and if it names a protected
    /// tool in any way that JSON allows, it needs that tool's scopes too.
    #[test]
    fn rs_05_no_body_makes_the_policy_looser(
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..80),
            "\\{(\"(method|params|name|id)\":(\"(tools/call|tools/list|write|x)\"|\\{\"name\":\"write\"\\}|1),?){0,5}\\}".prop_map(String::into_bytes),
            "\\[?\\{\"method\": ?\"tools/(call|list)\", ?\"params\":\\{\"name\":\"(read|write|wr\\\\u0069te|new)\"\\}\\}\\]?".prop_map(String::into_bytes),
        ],
    ) {
        let policy = policy();
        let Ok(messages) = McpMessages::read(&body) else { return Ok(()) };
        let Ok(needed) = policy.needed(&messages) else { return Ok(()) };
        let needed = needed.expect("every request needs scopes");
        for scopes in needed.alternatives() {
            prop_assert!(scopes.contains("files:read"));
        }
        let read: Value = serde_json::from_slice(&body).unwrap();
        let all = read.as_array().cloned().unwrap_or_else(|| vec![read]);
        for message in all {
            if message["method"] == "tools/call" && message["params"]["name"] == "write" {
                prop_assert!(needed.alternatives().all(|all| all.contains("files:write")));
            }
        }
    }
}
