//! Verification of access tokens (RS-08): the rules of RFC 9068, dialects of issuers, keys that change,
//! outages and introspection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, Response, StatusCode};
use mcp_auth_server::{
    AccessToken, Algorithm, Fetch, FetchError, IntrospectionRules, IntrospectionVerifier,
    JwtVerifier, KeyTimes, NoFetch, TokenError, TokenRules, VerifyToken, parse_keys,
};
use serde_json::{Value, json};

use crate::issuer::{Key, NOW, ed25519, encode, key_set};

const ISSUER: &str = "https://as.example";
const JWKS: &str = "https://as.example/jwks";
const AUDIENCE: &str = "https://mcp.example/mcp";

fn rules() -> TokenRules {
    TokenRules::rfc9068(ISSUER, JWKS, AUDIENCE).unwrap()
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "client_id": "c-1", "jti": "j-1",
        "iat": NOW.as_secs(), "exp": NOW.as_secs() + 300, "scope": "files:read files:write",
    })
}

fn with(changes: Value) -> Value {
    let mut all = claims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => all.as_object_mut().unwrap().remove(name),
            value => all
                .as_object_mut()
                .unwrap()
                .insert(name.clone(), value.clone()),
        };
    }
    all
}

fn verifier(rules: TokenRules, keys: &[&Key]) -> JwtVerifier<NoFetch> {
    JwtVerifier::with_keys(rules, &key_set(keys)).unwrap()
}

async fn verify<F: Fetch>(with: &JwtVerifier<F>, token: &str) -> Result<AccessToken, TokenError> {
    with.verify(token, NOW).await
}

#[tokio::test]
async fn rs_08_a_token_of_rfc_9068() {
    let key = Key::new("k1");
    let verifier = verifier(rules(), &[&key]);
    let token = verify(&verifier, &key.token(&claims())).await.unwrap();
    assert_eq!(token.issuer(), ISSUER);
    assert_eq!(token.subject(), Some("alice"));
    assert_eq!(token.client_id(), Some("c-1"));
    assert_eq!(token.scopes().as_str(), "files:read files:write");
    assert_eq!(token.expires(), Some(NOW + Duration::from_secs(300)));
    assert_eq!(token.key(), None);
    assert!(!format!("{token:?}").contains("alice"));
    // One of several audiences, and none beside the exact text.
    let several = key.token(&with(json!({ "aud": ["https://other.example", AUDIENCE] })));
    assert!(verify(&verifier, &several).await.is_ok());
    for (changes, error) in [
        (json!({ "iss": "https://as.example/" }), TokenError::Issuer),
        (json!({ "iss": null }), TokenError::Issuer),
        (
            json!({ "aud": "https://mcp.example/mcp/" }),
            TokenError::Audience,
        ),
        (
            json!({ "aud": "https://mcp.example" }),
            TokenError::Audience,
        ),
        (json!({ "aud": [] }), TokenError::Audience),
        (json!({ "aud": null }), TokenError::Audience),
        (json!({ "aud": 1 }), TokenError::Audience),
        (json!({ "exp": null }), TokenError::Expired),
        (json!({ "exp": "never" }), TokenError::Expired),
        (json!({ "exp": NOW.as_secs() - 61 }), TokenError::Expired),
        (json!({ "nbf": NOW.as_secs() + 61 }), TokenError::NotYet),
        (json!({ "iat": NOW.as_secs() + 61 }), TokenError::NotYet),
        (json!({ "nbf": "x" }), TokenError::NotYet),
    ] {
        let token = key.token(&with(changes.clone()));
        assert_eq!(
            verify(&verifier, &token).await.unwrap_err(),
            error,
            "{changes}"
        );
    }
    // Clocks differ by a minute, and numbers may have a fraction.
    let late = with(json!({ "exp": (NOW.as_secs() - 59) as f64 + 0.5 }));
    assert!(verify(&verifier, &key.token(&late)).await.is_ok());
}

#[tokio::test]
async fn rs_08_what_is_no_access_token() {
    let (key, other) = (Key::new("k1"), Key::new("k1"));
    let verifier = verifier(rules(), &[&key]);
    let header = |header: Value| key.sign(&header, &claims());
    let good = key.token(&claims());
    let (input, signature) = good.rsplit_once('.').unwrap();
    let unsigned = json!({ "alg": "none", "typ": "at+jwt" });
    for (token, error) in [
        (String::new(), TokenError::Malformed),
        ("a.b".to_owned(), TokenError::Malformed),
        (format!("{good}."), TokenError::Malformed),
        (
            format!("{}.{}.", encode(&unsigned), encode(&claims())),
            TokenError::Malformed,
        ),
        (
            header(json!({ "alg": "HS256", "typ": "at+jwt", "kid": "k1" })),
            TokenError::Malformed,
        ),
        (
            header(json!({ "alg": "ES256", "typ": "at+jwt", "crit": ["x"] })),
            TokenError::Malformed,
        ),
        (
            header(json!({ "alg": "ES256", "typ": "at+jwt", "b64": false })),
            TokenError::Malformed,
        ),
        (
            header(json!({ "alg": "RS512", "typ": "at+jwt" })),
            TokenError::Algorithm,
        ),
        (
            header(json!({ "alg": "RS256", "typ": "at+jwt", "kid": "k1" })),
            TokenError::Signature,
        ),
        (
            header(json!({ "alg": "ES256", "typ": "JWT" })),
            TokenError::Type,
        ),
        (
            header(json!({ "alg": "ES256", "typ": "dpop+jwt" })),
            TokenError::Type,
        ),
        (header(json!({ "alg": "ES256" })), TokenError::Type),
        (
            header(json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k2" })),
            TokenError::Signature,
        ),
        (other.token(&claims()), TokenError::Signature),
        (
            format!("{input}.{}", &signature[2..]),
            TokenError::Signature,
        ),
        // The key in the header of the token is not used.
        (
            other.sign(
                &json!({ "alg": "ES256", "typ": "at+jwt", "jwk": other.jwk() }),
                &claims(),
            ),
            TokenError::Signature,
        ),
        ("a".repeat(40_000), TokenError::Malformed),
    ] {
        assert_eq!(
            verify(&verifier, &token).await.unwrap_err(),
            error,
            "{token}"
        );
    }
    for typ in ["application/at+jwt", "AT+JWT"] {
        let token = header(json!({ "alg": "ES256", "typ": typ, "kid": "k1" }));
        assert!(verify(&verifier, &token).await.is_ok(), "{typ}");
    }
    // Another issuer's key does not count for this one.
    let both = JwtVerifier::with_keys(rules(), &key_set(&[&key])).unwrap();
    let elsewhere = TokenRules::rfc9068("https://b.example", "https://b.example/jwks", AUDIENCE);
    let both = both.and(elsewhere.unwrap());
    let theirs = key.token(&with(json!({ "iss": "https://b.example" })));
    assert_eq!(
        verify(&both, &theirs).await.unwrap_err(),
        TokenError::Unavailable
    );
}

#[tokio::test]
async fn rs_08_ed25519_and_keys_that_are_none() {
    let (pair, jwk) = ed25519();
    let set = json!({ "keys": [jwk] }).to_string();
    let verifier = JwtVerifier::with_keys(rules(), set.as_bytes()).unwrap();
    for alg in ["EdDSA", "Ed25519"] {
        let header = json!({ "alg": alg, "typ": "at+jwt", "kid": "ed" });
        let input = format!("{}.{}", encode(&header), encode(&claims()));
        let signature = URL_SAFE_NO_PAD.encode(pair.sign(input.as_bytes()));
        assert!(
            verify(&verifier, &format!("{input}.{signature}"))
                .await
                .is_ok(),
            "{alg}"
        );
    }
    let key = Key::new("k");
    let changed = |name: &str, value: Value| {
        let mut jwk = key.published();
        jwk[name] = value;
        json!({ "keys": [jwk] }).to_string()
    };
    for set in [
        "[]".to_owned(),
        "{}".to_owned(),
        r#"{"keys":[]}"#.to_owned(),
        json!({ "keys": [{ "kty": "oct", "k": "AAAA" }] }).to_string(),
        changed("use", json!("enc")),
        changed("key_ops", json!(["sign"])),
        changed("d", json!("AAAA")),
        changed("alg", json!("HS256")),
        changed("x", json!("AAAA")),
        changed("crv", json!("P-521")),
    ] {
        assert!(parse_keys(set.as_bytes()).is_err(), "{set}");
    }
    let many: Vec<Value> = (0..100).map(|_| key.published()).collect();
    let many = json!({ "keys": many }).to_string();
    assert_eq!(parse_keys(many.as_bytes()).unwrap().len(), 64);
}

/// The claims of a recorded token, signed with a key of ours.
fn recorded(name: &str, key: &Key, changes: Value) -> String {
    let path = format!("{}/tests/tokens/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let (mut header, mut claims) = (document["header"].clone(), document["claims"].clone());
    header["alg"] = json!("ES256");
    header["kid"] = json!(key.kid);
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let at = claims["exp"].as_u64().unwrap() - 60;
    // The recordings keep their times: they are moved to now.
    for name in ["iat", "nbf", "exp", "auth_time"] {
        if let Some(time) = claims[name].as_u64() {
            claims[name] = json!(time + NOW.as_secs() - at);
        }
    }
    key.sign(&header, &claims)
}

#[tokio::test]
async fn rs_08_tokens_of_keycloak_entra_auth0_and_cognito() {
    let key = Key::new("k");
    let es = |rules: TokenRules| verifier(rules.only([Algorithm::ES256]), &[&key]);
    let tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47";
    let api = "ef1da9d4-ff77-4c3e-a005-840c3f830745";
    let keycloak = es(TokenRules::keycloak(
        "https://sso.example/realms/acme",
        "https://mcp.example/mcp",
    )
    .unwrap());
    let entra = es(TokenRules::entra(tenant, api).unwrap());
    let entra_app = es(TokenRules::entra(tenant, api).unwrap().scopes_from("roles"));
    let entra_v1 = es(TokenRules::entra_v1(tenant, "api://mcp-files").unwrap());
    let auth0 = es(TokenRules::auth0("acme.eu.auth0.com", "https://mcp.example/mcp").unwrap());
    let permissions = es(
        TokenRules::auth0("acme.eu.auth0.com", "https://mcp.example/mcp")
            .unwrap()
            .scopes_from("permissions"),
    );
    let cognito =
        es(
            TokenRules::cognito("eu-central-1", "eu-central-1_Example", ["1example23456789"])
                .unwrap(),
        );
    for (name, verifier, scopes) in [
        ("keycloak", &keycloak, "openid profile files:read"),
        ("entra_v2_user", &entra, "Files.Read Files.Write"),
        ("entra_v2_app", &entra_app, "Files.Read.All"),
        ("entra_v1_user", &entra_v1, "Files.Read"),
        ("auth0", &auth0, "openid files:read offline_access"),
        (
            "auth0",
            &permissions,
            "openid files:read offline_access files:write",
        ),
        ("cognito", &cognito, "mcp/files.read openid"),
    ] {
        let token = verify(verifier, &recorded(name, &key, json!({}))).await;
        let token = token.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(token.scopes().as_str(), scopes, "{name}");
        assert!(token.client_id().is_some(), "{name}");
    }
    // Roles of users are no scopes unless the author says so.
    let app = verify(&entra, &recorded("entra_v2_app", &key, json!({})))
        .await
        .unwrap();
    assert_eq!(app.scopes().as_str(), "");
    // ID tokens and refresh tokens of the same issuers, and tokens for others.
    for (name, verifier, changes) in [
        ("keycloak", &keycloak, json!({ "typ": "ID" })),
        ("keycloak", &keycloak, json!({ "typ": "Refresh" })),
        ("keycloak", &keycloak, json!({ "aud": "account" })),
        ("entra_v2_id_token", &entra, json!({})),
        (
            "entra_v2_id_token",
            &entra,
            json!({ "roles": ["Files.Read.All"] }),
        ),
        ("entra_v2_user", &entra, json!({ "tid": "another" })),
        (
            "entra_v2_user",
            &entra,
            json!({ "aud": "00000003-0000-0000-c000-000000000000" }),
        ),
        ("entra_v1_user", &entra, json!({})),
        ("auth0", &auth0, json!({ "aud": "a-client-id" })),
        ("cognito", &cognito, json!({ "token_use": "id" })),
        ("cognito", &cognito, json!({ "client_id": "another" })),
    ] {
        let token = recorded(name, &key, changes.clone());
        assert!(verify(verifier, &token).await.is_err(), "{name} {changes}");
    }
}

/// Answers with what is planted, and counts.
#[derive(Clone, Default)]
struct Planted {
    body: Arc<Mutex<Option<Vec<u8>>>>,
    fetches: Arc<AtomicUsize>,
}

impl Planted {
    fn plant(&self, body: Option<Vec<u8>>) {
        *self.body.lock().unwrap() = body;
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

impl Fetch for Planted {
    async fn fetch(&self, _request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, FetchError> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        // Others come in meanwhile.
        tokio::task::yield_now().await;
        let body = self.body.lock().unwrap().clone().ok_or(FetchError)?;
        Ok(Response::new(body))
    }
}

fn times(fresh: u64, pause: u64) -> KeyTimes {
    KeyTimes {
        fresh: Duration::from_secs(fresh),
        usable: Duration::from_secs(3600),
        pause: Duration::from_secs(pause),
    }
}

#[tokio::test]
async fn rs_08_keys_are_fetched_once_for_many_and_survive_an_outage() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let planted = Planted::default();
    planted.plant(Some(key_set(&[&old])));
    // Every look is due: the pause ends at once.
    let verifier = JwtVerifier::with_times(rules(), planted.clone(), times(3600, 0));
    let token = old.token(&claims());
    let all: Vec<_> = (0..20).map(|_| verify(&verifier, &token)).collect();
    for answer in futures(all).await {
        assert!(answer.is_ok());
    }
    assert_eq!(planted.fetches(), 1);
    // A new key is fetched when its first token comes; the old one goes with the set.
    planted.plant(Some(key_set(&[&new])));
    assert!(verify(&verifier, &new.token(&claims())).await.is_ok());
    assert_eq!(planted.fetches(), 2);
    assert_eq!(
        verify(&verifier, &token).await.unwrap_err(),
        TokenError::Signature
    );
    // Away, or talking nonsense: the known keys continue.
    for broken in [
        None,
        Some(b"{}".to_vec()),
        Some(b"<html>".to_vec()),
        Some(vec![b' '; 300_000]),
    ] {
        planted.plant(broken);
        let stale = JwtVerifier::with_times(rules(), planted.clone(), times(0, 0));
        assert_eq!(
            verify(&stale, &token).await.unwrap_err(),
            TokenError::Unavailable
        );
        assert_eq!(
            verify(&verifier, &old.token(&claims())).await.unwrap_err(),
            TokenError::Signature
        );
        assert!(verify(&verifier, &new.token(&claims())).await.is_ok());
    }
    // Stale keys are used while a fetch fails.
    planted.plant(Some(key_set(&[&new])));
    let stale = JwtVerifier::with_times(rules(), planted.clone(), times(0, 0));
    assert!(verify(&stale, &new.token(&claims())).await.is_ok());
    planted.plant(None);
    assert!(verify(&stale, &new.token(&claims())).await.is_ok());
}

async fn futures<F: Future>(all: Vec<F>) -> Vec<F::Output> {
    let mut all: Vec<_> = all.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in all.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(context)
            {
                *done = Some(output);
            }
        }
        if done.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.into_iter().map(Option::unwrap).collect()
}

#[tokio::test]
async fn rs_08_invented_keys_and_issuers_cause_no_fetches() {
    let key = Key::new("k");
    let planted = Planted::default();
    planted.plant(Some(key_set(&[&key])));
    let verifier = JwtVerifier::with_times(rules(), planted.clone(), times(3600, 3600));
    for n in 0..50 {
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": format!("invented-{n}") });
        let refused = verify(&verifier, &key.sign(&header, &claims())).await;
        assert_eq!(refused.unwrap_err(), TokenError::Signature);
    }
    for token in [
        "x.y.z".to_owned(),
        key.token(&with(json!({ "iss": "https://evil.example" }))),
        key.sign(&json!({ "alg": "ES256", "typ": "JWT" }), &claims()),
    ] {
        assert!(verify(&verifier, &token).await.is_err());
    }
    assert_eq!(planted.fetches(), 1);
    assert!(verify(&verifier, &key.token(&claims())).await.is_ok());
}

fn introspection() -> IntrospectionRules {
    let endpoint = "https://as.example/introspect";
    IntrospectionRules::new(ISSUER, endpoint, ("mcp server", "s&cret"), AUDIENCE).unwrap()
}

#[test]
fn rs_08_introspection_asks_and_judges() {
    let request = introspection().request("t-1").unwrap();
    assert_eq!(request.uri(), "https://as.example/introspect");
    assert_eq!(
        request.headers()["authorization"],
        "Basic bWNwK3NlcnZlcjpzJTI2Y3JldA=="
    );
    let body = std::str::from_utf8(request.body()).unwrap();
    assert_eq!(body, "token=t-1&token_type_hint=access_token");
    assert!(introspection().request("a b").is_none());
    assert!(!format!("{:?}", introspection()).contains("cret"));
    let read = |body: Value| introspection().read(StatusCode::OK, body.to_string().as_bytes(), NOW);
    let active = |changes: Value| {
        let mut all = json!({ "active": true, "aud": AUDIENCE, "scope": "a b" });
        for (name, value) in changes.as_object().unwrap() {
            all[name] = value.clone();
        }
        read(all)
    };
    assert_eq!(active(json!({})).unwrap().scopes().as_str(), "a b");
    for (changes, error) in [
        (json!({ "active": false }), TokenError::Inactive),
        (json!({ "active": "true" }), TokenError::Unavailable),
        (json!({ "active": 1 }), TokenError::Unavailable),
        (
            json!({ "aud": "https://other.example" }),
            TokenError::Audience,
        ),
        (json!({ "aud": null }), TokenError::Audience),
        (json!({ "iss": "https://evil.example" }), TokenError::Issuer),
        (json!({ "exp": NOW.as_secs() - 61 }), TokenError::Expired),
        (json!({ "token_type": "refresh_token" }), TokenError::Type),
    ] {
        assert_eq!(active(changes.clone()).unwrap_err(), error, "{changes}");
    }
    assert_eq!(read(json!({})).unwrap_err(), TokenError::Unavailable);
    let unauthorized = introspection().read(StatusCode::UNAUTHORIZED, b"{}", NOW);
    assert_eq!(unauthorized.unwrap_err(), TokenError::Unavailable);
    let rules = IntrospectionRules::new(ISSUER, "http://as.example/i", ("a", "b"), AUDIENCE);
    assert!(rules.is_err());
}

#[tokio::test]
async fn rs_08_introspection_remembers_for_a_moment_and_no_longer_than_the_token() {
    let planted = Planted::default();
    let verifier = IntrospectionVerifier::new(introspection(), planted.clone());
    let after = |seconds| NOW + Duration::from_secs(seconds);
    // An outage is not an answer.
    assert_eq!(
        verifier.verify("t", NOW).await.unwrap_err(),
        TokenError::Unavailable
    );
    let body = json!({ "active": true, "aud": AUDIENCE, "exp": NOW.as_secs() + 20 });
    planted.plant(Some(body.to_string().into_bytes()));
    assert!(verifier.verify("t", NOW).await.is_ok());
    planted.plant(Some(br#"{"active":false}"#.to_vec()));
    assert!(verifier.verify("t", after(19)).await.is_ok());
    assert_eq!(planted.fetches(), 2);
    assert_eq!(
        verifier.verify("t", after(20)).await.unwrap_err(),
        TokenError::Inactive
    );
    assert_eq!(
        verifier.verify("other", NOW).await.unwrap_err(),
        TokenError::Inactive
    );
    assert_eq!(planted.fetches(), 4);
}

#[tokio::test]
async fn rs_08_rsa_signatures() {
    let text = include_str!("../tokens/rsa.json");
    let document: Value = serde_json::from_str(text).unwrap();
    let names = ["RS256", "RS384", "PS256", "PS512"];
    let all = names.map(|name| Algorithm::parse(name).unwrap());
    let keys = document["jwks"].to_string();
    let verifier = JwtVerifier::with_keys(rules().only(all), keys.as_bytes()).unwrap();
    for name in names {
        let token = document[name].as_str().unwrap();
        assert!(verify(&verifier, token).await.is_ok(), "{name}");
        // The signature of one algorithm is none of another.
        let (_, rest) = token.split_once('.').unwrap();
        for other in names.iter().filter(|other| **other != name) {
            let header = json!({ "alg": other, "typ": "at+jwt", "kid": "r1" });
            let forged = format!("{}.{rest}", encode(&header));
            assert_eq!(
                verify(&verifier, &forged).await.unwrap_err(),
                TokenError::Signature
            );
        }
    }
}
