//! The built-in authorization server with client assertions, against what it must refuse.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use mcp_auth_client::signer::SoftwareKey;
use mcp_auth_machine::wire::words::SigningAlgorithm;
use mcp_auth_testing::authorization::Options;
use mcp_auth_testing::servers::Servers;
use serde_json::{Value, json};

const ISSUER: &str = "https://as.example";
const NOW: u64 = 1_800_000_000;

fn signed(key: &SoftwareKey, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = key.sign(SigningAlgorithm::Es256, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.unwrap()))
}

async fn answer(servers: &Servers, more: &str, assertion: &str) -> (StatusCode, Value) {
    let body = format!(
        "grant_type=client_credentials&resource=https%3A%2F%2Fmcp.example%2Fmcp{more}\
         &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
         &client_assertion={assertion}"
    );
    let request = Request::builder()
        .method(Method::POST)
        .uri("https://as.example/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Bytes::from(body))
        .unwrap();
    let answer = servers.exchange(request, Duration::from_secs(10), 100_000);
    let answer = answer.await.unwrap();
    let body = serde_json::from_slice(answer.body()).unwrap();
    (answer.status(), body)
}

/// AS-14
#[tokio::test]
async fn the_built_in_server_verifies_assertions() {
    let key = SoftwareKey::generate("key").unwrap();
    let public = key.describe().unwrap();
    let jwk = public.public_key().unwrap().as_jwk().to_owned();
    let options = Options {
        service_keys: Some(("keyed".to_owned(), format!("{{\"keys\":[{jwk}]}}"))),
        ..Options::default()
    };
    let servers = Servers::builder()
        .options(options)
        .now(|| Duration::from_secs(NOW))
        .in_memory()
        .unwrap();
    let header = json!({ "alg": "ES256", "typ": "client-authentication+jwt" });
    let claims = |jti: &str, name: &str, value: Value| {
        let mut claims = json!({
            "iss": "keyed", "sub": "keyed", "aud": ISSUER, "iat": NOW, "exp": NOW + 60, "jti": jti,
        });
        claims[name] = value;
        claims
    };
    let good = signed(&key, &header, &claims("1", "aud", json!(ISSUER)));
    let (status, body) = answer(&servers, "", &good).await;
    assert_eq!(
        (status, body["token_type"].clone()),
        (StatusCode::OK, json!("Bearer"))
    );
    // The `typ` of older clients, and the identifier beside the assertion.
    let older = signed(
        &key,
        &json!({ "alg": "ES256", "typ": "JWT" }),
        &claims("2", "aud", json!(ISSUER)),
    );
    assert_eq!(
        answer(&servers, "&client_id=keyed", &older).await.0,
        StatusCode::OK
    );

    let other = SoftwareKey::generate("key").unwrap();
    let none = json!({ "alg": "none" });
    let refused = [
        ("used before", "", good),
        (
            "another key",
            "",
            signed(&other, &header, &claims("3", "aud", json!(ISSUER))),
        ),
        (
            "no algorithm",
            "",
            signed(&key, &none, &claims("4", "aud", json!(ISSUER))),
        ),
        (
            "audience",
            "",
            signed(
                &key,
                &header,
                &claims("5", "aud", json!("https://as.example/token")),
            ),
        ),
        (
            "audiences",
            "",
            signed(
                &key,
                &header,
                &claims("6", "aud", json!([ISSUER, "https://b.example"])),
            ),
        ),
        (
            "expired",
            "",
            signed(&key, &header, &claims("7", "exp", json!(NOW - 61))),
        ),
        (
            "too long",
            "",
            signed(&key, &header, &claims("8", "exp", json!(NOW + 86_400))),
        ),
        (
            "issuer",
            "",
            signed(&key, &header, &claims("9", "iss", json!("other"))),
        ),
        (
            "subject",
            "",
            signed(&key, &header, &claims("10", "sub", json!("other"))),
        ),
        (
            "no identifier",
            "",
            signed(&key, &header, &claims("11", "jti", Value::Null)),
        ),
        (
            "another client",
            "&client_id=other",
            signed(&key, &header, &claims("12", "aud", json!(ISSUER))),
        ),
        (
            "a secret beside it",
            "&client_secret=s",
            signed(&key, &header, &claims("13", "aud", json!(ISSUER))),
        ),
    ];
    for (why, more, assertion) in refused {
        let (status, body) = answer(&servers, more, &assertion).await;
        assert!(status.is_client_error(), "{why}: {body}");
        assert_eq!(body["error"], "invalid_client", "{why}: {body}");
    }
    assert_eq!(servers.authorization().assertions(), 2);
}
