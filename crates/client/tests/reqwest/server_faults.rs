//! The built-in servers fail closed, also for other clients.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use url::form_urlencoded::Serializer;

use crate::support::{SERVICE, World};
use mcp_auth_testing::authorization::{self, Iss, Options};

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const REDIRECT: &str = "https://127.0.0.1:9/callback";

fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

fn form(pairs: &[(&str, &str)]) -> String {
    Serializer::new(String::new()).extend_pairs(pairs).finish()
}

async fn json_of(request: RequestBuilder) -> (StatusCode, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let body = answer.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

impl World {
    async fn register(&self, body: Value) -> (StatusCode, Value) {
        let to = format!("{}/register", self.server.issuer());
        let request = self.http.post(to).header(CONTENT_TYPE, "application/json");
        json_of(request.body(body.to_string())).await
    }

    async fn registered(&self, more: Value) -> String {
        let mut body = json!({
            "redirect_uris": [REDIRECT],
            "grant_types": ["authorization_code", "refresh_token"],
        });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let (status, answer) = self.register(body).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        answer["client_id"].as_str().unwrap().to_owned()
    }

    fn authorize(&self, client: &str, challenge: &str, more: &[(&str, &str)]) -> String {
        let mut pairs = vec![
            ("response_type", "code"),
            ("client_id", client),
            ("redirect_uri", REDIRECT),
            ("code_challenge", challenge),
            ("code_challenge_method", "S256"),
            ("resource", &self.url),
        ];
        pairs.extend(more);
        format!("{}/authorize?{}", self.server.issuer(), form(&pairs))
    }

    /// Returns a parameter of the response to an authorization request.
    async fn asked(&self, url: String, name: &str) -> Option<String> {
        let answer = self.http.get(url).send().await.unwrap();
        let location = answer.headers()[LOCATION].to_str().unwrap();
        let location = url::Url::parse(location).unwrap();
        let mut pairs = location.query_pairs();
        pairs.find(|(n, _)| n == name).map(|(_, v)| v.into_owned())
    }

    async fn code(&self, client: &str, challenge: &str) -> String {
        let url = self.authorize(client, challenge, &[]);
        self.asked(url, "code").await.unwrap()
    }

    fn token_request(&self, pairs: &[(&str, &str)]) -> RequestBuilder {
        let request = self.http.post(format!("{}/token", self.server.issuer()));
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        request.body(form(pairs))
    }

    async fn redeem(&self, client: &str, verifier: &str, more: &[(&str, &str)]) -> Value {
        let code = self.code(client, &challenge(verifier)).await;
        let mut pairs = vec![
            ("grant_type", "authorization_code"),
            ("client_id", client),
            ("code", &code),
            ("redirect_uri", REDIRECT),
            ("code_verifier", verifier),
            ("resource", &self.url),
        ];
        pairs.extend(more);
        json_of(self.token_request(&pairs)).await.1
    }

    async fn refresh(&self, client: &str, token: &str) -> Value {
        let pairs = [
            ("grant_type", "refresh_token"),
            ("client_id", client),
            ("refresh_token", token),
            ("resource", &self.url),
        ];
        json_of(self.token_request(&pairs)).await.1
    }
}

#[tokio::test]
async fn redirect_uris_on_this_machine_alone_are_registered() {
    let world = World::start().await;
    for uri in [
        "http://127.1/cb",
        "http://2130706433/cb",
        "https://c.example/cb",
        "javascript:x",
    ] {
        let (status, answer) = world.register(json!({ "redirect_uris": [uri] })).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{uri}");
        assert_eq!(answer["error"], "invalid_redirect_uri", "{uri}");
    }
    world.registered(json!({})).await;
    let long = json!({ "redirect_uris": [REDIRECT], "client_name": "a".repeat(100_000) });
    assert_eq!(world.register(long).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_client_that_registered_for_bound_tokens_gets_no_others() {
    let world = World::start().await;
    let bound = world
        .registered(json!({ "dpop_bound_access_tokens": true }))
        .await;
    let answer = world.redeem(&bound, VERIFIER, &[]).await;
    assert_eq!(answer["error"], "invalid_dpop_proof");
    assert!(answer.get("access_token").is_none());
    let free = world.registered(json!({})).await;
    assert_eq!(
        world.redeem(&free, VERIFIER, &[]).await["token_type"],
        "Bearer"
    );
}

#[tokio::test]
async fn verifiers_and_assertions_are_judged() {
    let world = World::start().await;
    let client = world.registered(json!({})).await;
    for verifier in ["short", &"a".repeat(129), &format!("{VERIFIER}=")] {
        let answer = world.redeem(&client, verifier, &[]).await;
        assert_eq!(answer["error"], "invalid_grant", "{verifier}");
    }
    let assertion = [("client_assertion", "a.b.c")];
    let answer = world.redeem(&client, VERIFIER, &assertion).await;
    assert_eq!(answer["error"], "invalid_client");
}

#[tokio::test]
async fn the_headers_alone_bring_no_code_and_modes_are_as_advertised() {
    let world = World::start().await;
    let client = world.registered(json!({})).await;
    let url = world.authorize(&client, &challenge(VERIFIER), &[]);
    let answer = world.http.head(&url).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(!answer.headers().contains_key(LOCATION));
    for more in [
        ("response_mode", "fragment"),
        ("scope", " "),
        ("dpop_jkt", "x"),
    ] {
        let url = world.authorize(&client, &challenge(VERIFIER), &[more]);
        let error = world.asked(url, "error").await.unwrap();
        assert!(error.starts_with("invalid_"), "{more:?}");
    }
    let place = format!(
        "{}/.well-known/oauth-authorization-server",
        world.server.issuer()
    );
    let (_, document) = json_of(world.http.get(place)).await;
    assert_eq!(document["response_modes_supported"], json!(["query"]));
}

#[tokio::test]
async fn secrets_are_taken_where_that_is_advertised() {
    let world = World::start().await;
    let (id, secret) = SERVICE;
    let basic = STANDARD.encode(format!("{id}:{}", secret.replace(' ', "+")));
    let pairs = [
        ("grant_type", "client_credentials"),
        ("resource", &world.url),
    ];
    for scheme in ["Basic", "basic", "BASIC "] {
        let request = world.token_request(&pairs);
        let request = request.header(AUTHORIZATION, format!("{scheme} {basic}"));
        assert_eq!(json_of(request).await.0, StatusCode::OK, "{scheme}");
    }
    let options = |service| Options {
        iss: Iss::Honest,
        access_token_seconds: 300,
        service,
        ..Options::default()
    };
    let service = Some((id.to_owned(), secret.to_owned()));
    let public = json!(["none"]);
    for (options, methods) in [
        (options(None), public),
        (options(service), json!(["none", "client_secret_basic"])),
        (
            Options {
                registers_keys: true,
                ..Options::default()
            },
            json!(["none", "private_key_jwt"]),
        ),
    ] {
        let server = authorization::start(options).await.unwrap();
        let place = format!("{}/.well-known/oauth-authorization-server", server.issuer());
        let (_, document) = json_of(world.http.get(place)).await;
        for endpoint in ["token", "revocation"] {
            let name = format!("{endpoint}_endpoint_auth_methods_supported");
            assert_eq!(document[name], methods);
        }
        let grants = document["grant_types_supported"].as_array().unwrap();
        let for_itself = grants.contains(&json!("client_credentials"));
        let methods = methods.as_array().unwrap();
        assert_eq!(for_itself, methods.contains(&json!("client_secret_basic")));
        let has_keys = methods.contains(&json!("private_key_jwt"));
        let algorithms = &document["token_endpoint_auth_signing_alg_values_supported"];
        assert_eq!(algorithms.is_array(), has_keys);
    }
}

#[tokio::test]
async fn a_family_of_refresh_tokens_has_one_branch() {
    let world = World::start().await;
    let client = world.registered(json!({})).await;
    let first = world.redeem(&client, VERIFIER, &[]).await;
    let first = first["refresh_token"].as_str().unwrap();
    // Two processes race: both receive the same successor.
    let one = world.refresh(&client, first).await;
    let two = world.refresh(&client, first).await;
    assert_eq!(one["refresh_token"], two["refresh_token"]);
    assert_ne!(one["access_token"], two["access_token"]);
    let second = one["refresh_token"].as_str().unwrap();
    let third = world.refresh(&client, second).await;
    let third = third["refresh_token"].as_str().unwrap();
    // Reuse of the first one after its successor was used rules out a race: the family is revoked.
    assert_eq!(
        world.refresh(&client, first).await["error"],
        "invalid_grant"
    );
    assert_eq!(
        world.refresh(&client, third).await["error"],
        "invalid_grant"
    );
}

fn mcp(world: &World, fields: &[(&str, &str)], message: &Value) -> RequestBuilder {
    let mut request = world.http.request(Method::POST, &world.url);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(message.to_string())
}

#[tokio::test]
async fn the_mcp_server_judges_host_revision_and_proof() {
    let world: Arc<World> = World::start().await;
    let client = world.registered(json!({})).await;
    let answer = world.redeem(&client, VERIFIER, &[]).await;
    let bearer = format!("Bearer {}", answer["access_token"].as_str().unwrap());
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let token = ("authorization", bearer.as_str());
    let elsewhere = mcp(&world, &[token], &list).header(HOST, "evil.example");
    assert_eq!(json_of(elsewhere).await.0, StatusCode::FORBIDDEN);
    assert_eq!(
        json_of(mcp(&world, &[token], &list)).await.0,
        StatusCode::OK
    );

    let version = |version| ("mcp-protocol-version", version);
    let (status, answer) = json_of(mcp(&world, &[token, version("2024-01-01")], &list)).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (StatusCode::BAD_REQUEST, &json!(-32022))
    );
    let (status, answer) = json_of(mcp(&world, &[token, version("2026-07-28")], &list)).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (StatusCode::BAD_REQUEST, &json!(-32602))
    );
    let with_meta = |method: &str, version: &str| {
        json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": { "_meta": {
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientCapabilities": {},
        }}})
    };
    for (method, claimed, status, member) in [
        ("server/discover", "2026-07-28", StatusCode::OK, "result"),
        ("tools/list", "2026-07-28", StatusCode::OK, "result"),
        ("tools/list", "2025-11-25", StatusCode::BAD_REQUEST, "error"),
        ("initialize", "2026-07-28", StatusCode::NOT_FOUND, "error"),
    ] {
        let message = with_meta(method, claimed);
        let answer = json_of(mcp(&world, &[token, version("2026-07-28")], &message)).await;
        assert_eq!(answer.0, status, "{method}");
        assert!(answer.1.get(member).is_some(), "{method}");
    }
    let bound = bearer.replace("Bearer", "DPoP");
    let fields = [("authorization", bound.as_str()), ("dpop", "a.b.c")];
    let answer = mcp(&world, &fields, &list).send().await.unwrap();
    let challenge = answer.headers()[WWW_AUTHENTICATE].to_str().unwrap();
    assert!(
        challenge.starts_with("DPoP ") && challenge.contains("algs=\"ES256\""),
        "{challenge}"
    );
    // The token is not bound to a key, and a proof does not bind it.
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
}

#[tokio::test]
async fn a_scope_that_is_misspelt_protects_no_tool() {
    let world = World::start().await;
    for scope in ["", " ", "files:write\t", "files:\u{fc}", "\"files\""] {
        assert!(
            world.mcp.set_tool_scope("read", scope).is_err(),
            "{scope:?}"
        );
    }
}
