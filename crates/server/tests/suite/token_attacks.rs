//! Tokens of an attacker who has some, but not the one that is needed (RS-08): headers that name their own
//! keys, algorithms that mean something else, claims of odd types, and documents of keys that were poisoned.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use mcp_auth_server::{
    IntrospectionRules, JwtVerifier, TokenError, TokenRules, VerifyToken as _, parse_keys,
};
use ring::hmac;
use serde_json::{Value, json};

use crate::issuer::{Key, NOW, encode, key_set};

const ISSUER: &str = "https://as.example";
const AUDIENCE: &str = "https://mcp.example/mcp";

fn rules() -> TokenRules {
    TokenRules::rfc9068(ISSUER, "https://as.example/jwks", AUDIENCE).unwrap()
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "client_id": "c-1",
        "iat": NOW.as_secs(), "exp": NOW.as_secs() + 300, "scope": "files:read",
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut all = claims();
    all[name] = value;
    all
}

async fn result(set: &[u8], token: &str) -> Option<TokenError> {
    let verifier = JwtVerifier::with_keys(rules(), set).unwrap();
    verifier.verify(token, NOW).await.err()
}

/// RS-08: keys and algorithms are those of the issuer, whatever the header says.
#[tokio::test]
async fn rs_08_no_header_brings_a_key_or_changes_an_algorithm() {
    let (issuer, thief) = (Key::new("k1"), Key::new("k1"));
    let set = key_set(&[&issuer]);
    let honest = json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k1" });
    assert_eq!(result(&set, &issuer.sign(&honest, &claims())).await, None);
    let header = |name: &str, value: Value| {
        let mut header = honest.clone();
        header[name] = value;
        header
    };
    // Signed by the thief, with a header that vouches for the thief's key.
    let theirs = thief.jwk();
    for header in [
        honest.clone(),
        header("jwk", theirs.clone()),
        header("jku", json!("https://evil.example/jwks")),
        header("x5u", json!("https://evil.example/chain")),
        header("x5c", json!(["AAAA"])),
        header("kid", json!("../../../../dev/null")),
        header("kid", json!("https://evil.example/jwks#k1")),
        header("kid", json!("k1' OR '1'='1")),
        header("kid", json!("")),
        header("kid", json!(["k1"])),
        header("kid", json!({ "k1": "k1" })),
        header("kid", json!(1)),
        header("kid", Value::Null),
        header("alg", json!("ES384")),
        header("alg", json!("es256")),
        header("alg", json!("ES256 ")),
        header("alg", json!(["ES256"])),
        header("alg", Value::Null),
        header("alg", json!("ES256K")),
        header("alg", json!("none")),
        header("alg", json!("None")),
        header("alg", json!("nOnE")),
        header("alg", json!("")),
        header("alg", json!("HS256")),
        header("alg", json!("RS256")),
        header("alg", json!("EdDSA")),
    ] {
        let token = thief.sign(&header, &claims());
        assert!(result(&set, &token).await.is_some(), "{header}");
        let unsigned = format!("{}.{}.", encode(&header), encode(&claims()));
        assert!(result(&set, &unsigned).await.is_some(), "{header}");
    }
    // Signed by the issuer, with a header that changes what is signed, or that is of another kind.
    for header in [
        header("crit", json!(["exp"])),
        header("crit", json!([])),
        header("b64", json!(false)),
        header("b64", json!(true)),
        header("typ", json!("JWT")),
        header("typ", json!("dpop+jwt")),
        header("typ", json!("at+jwt ")),
        header("typ", json!("text/at+jwt")),
        header("typ", json!(["at+jwt"])),
        header("typ", Value::Null),
        header("kid", json!(["k1"])),
        header("kid", Value::Null),
        header("kid", json!("K1")),
    ] {
        let token = issuer.sign(&header, &claims());
        assert!(result(&set, &token).await.is_some(), "{header}");
    }
}

/// RS-08: the public key of the issuer cannot serve as a secret for HMAC.
#[tokio::test]
async fn rs_08_a_public_key_is_no_shared_secret() {
    let issuer = Key::new("k1");
    let set = key_set(&[&issuer]);
    let (jwk, rsa) = (issuer.published(), include_str!("../tokens/rsa.json"));
    let rsa: Value = serde_json::from_str(rsa).unwrap();
    let rsa_set = rsa["jwks"].to_string();
    let secrets = [
        set.clone(),
        jwk.to_string().into_bytes(),
        URL_SAFE_NO_PAD.decode(jwk["x"].as_str().unwrap()).unwrap(),
        rsa_set.clone().into_bytes(),
        URL_SAFE_NO_PAD
            .decode(rsa["jwks"]["keys"][0]["n"].as_str().unwrap())
            .unwrap(),
        Vec::new(),
    ];
    for secret in secrets {
        for (alg, kind) in [
            ("HS256", hmac::HMAC_SHA256),
            ("HS384", hmac::HMAC_SHA384),
            ("HS512", hmac::HMAC_SHA512),
            ("RS256", hmac::HMAC_SHA256),
            ("ES256", hmac::HMAC_SHA256),
        ] {
            let kid = rsa["jwks"]["keys"][0]["kid"].clone();
            for (kid, set) in [(json!("k1"), &*set), (kid, rsa_set.as_bytes())] {
                let header = json!({ "alg": alg, "typ": "at+jwt", "kid": kid });
                let input = format!("{}.{}", encode(&header), encode(&claims()));
                let tag = hmac::sign(&hmac::Key::new(kind, &secret), input.as_bytes());
                let token = format!("{input}.{}", URL_SAFE_NO_PAD.encode(tag));
                assert!(result(set, &token).await.is_some(), "{header}");
            }
        }
    }
}

/// RS-08: signatures that verify for careless libraries.
#[tokio::test]
async fn rs_08_signatures_are_whole_and_of_this_text() {
    let key = Key::new("k1");
    let set = key_set(&[&key]);
    let token = key.token(&claims());
    let (input, signature) = token.rsplit_once('.').unwrap();
    let (header, body) = input.split_once('.').unwrap();
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let zero = URL_SAFE_NO_PAD.encode([0; 64]);
    let short = URL_SAFE_NO_PAD.encode(&raw[..63]);
    let long = URL_SAFE_NO_PAD.encode([raw.as_slice(), &[0]].concat());
    for forged in [
        input.to_owned(),
        format!("{input}."),
        format!("{input}.{zero}"),
        format!("{input}.{short}"),
        format!("{input}.{long}"),
        format!("{input}.{signature}="),
        format!("{input}.{signature}."),
        format!("{input}.{signature}.{signature}"),
        format!(".{input}.{signature}"),
        format!("{input}.{}", signature.to_ascii_uppercase()),
        format!("{header}.{body} .{signature}"),
        format!("{header} .{body}.{signature}"),
        format!(
            "{header}.{}.{signature}",
            encode(&with("sub", json!("root")))
        ),
        format!("{header}..{signature}"),
        format!("{body}.{header}.{signature}"),
        format!("{token}\u{0}"),
        format!("{}.{body}.{signature}", "A".repeat(40_000)),
        r#"{"payload":"x","signatures":[]}"#.to_owned(),
    ] {
        assert!(result(&set, &forged).await.is_some(), "{forged}");
    }
}

/// RS-08: times that are no times, and audiences that are no texts.
#[tokio::test]
async fn rs_08_claims_of_odd_types_permit_nothing() {
    let key = Key::new("k1");
    let set = key_set(&[&key]);
    let now = NOW.as_secs();
    for (name, value, error) in [
        ("exp", json!((now + 300).to_string()), TokenError::Expired),
        ("exp", json!(-1), TokenError::Expired),
        ("exp", json!(0), TokenError::Expired),
        ("exp", json!(1e300), TokenError::Expired),
        ("exp", Value::Null, TokenError::Expired),
        ("exp", json!(true), TokenError::Expired),
        ("exp", json!([now + 300]), TokenError::Expired),
        ("exp", json!({ "value": now + 300 }), TokenError::Expired),
        ("exp", json!(now - 60), TokenError::Expired),
        ("nbf", json!(now + 61), TokenError::NotYet),
        ("nbf", json!(u64::MAX), TokenError::NotYet),
        ("nbf", json!("0"), TokenError::NotYet),
        ("nbf", json!(-5), TokenError::NotYet),
        ("nbf", Value::Null, TokenError::NotYet),
        ("iat", json!(now + 61), TokenError::NotYet),
        ("iat", json!("now"), TokenError::NotYet),
        ("iat", json!([]), TokenError::NotYet),
        ("aud", json!([[AUDIENCE]]), TokenError::Audience),
        ("aud", json!({ AUDIENCE: AUDIENCE }), TokenError::Audience),
        ("aud", json!([]), TokenError::Audience),
        ("aud", json!(""), TokenError::Audience),
        ("aud", json!(null), TokenError::Audience),
        ("aud", json!("*"), TokenError::Audience),
        ("aud", json!(format!("{AUDIENCE}/")), TokenError::Audience),
        ("aud", json!(format!(" {AUDIENCE}")), TokenError::Audience),
        (
            "aud",
            json!(format!("https://x {AUDIENCE}")),
            TokenError::Audience,
        ),
        (
            "aud",
            json!("https://MCP.example/mcp"),
            TokenError::Audience,
        ),
        ("aud", json!("https://mcp.example"), TokenError::Audience),
        ("iss", json!([ISSUER]), TokenError::Issuer),
        ("iss", json!("https://as.example/"), TokenError::Issuer),
        ("iss", json!("https://AS.example"), TokenError::Issuer),
        ("iss", Value::Null, TokenError::Issuer),
    ] {
        let token = key.token(&with(name, value.clone()));
        assert_eq!(result(&set, &token).await, Some(error), "{name} {value}");
    }
    for (name, value) in [
        ("exp", json!(now as f64 + 0.5)),
        ("exp", json!(1e15)),
        ("exp", json!(u64::MAX)),
        ("iat", json!(now as f64 + 59.5)),
        ("aud", json!(["https://x", AUDIENCE, 1])),
    ] {
        let token = key.token(&with(name, value.clone()));
        assert_eq!(result(&set, &token).await, None, "{name} {value}");
    }
    // No audience was named by whoever wrote this: none is taken.
    let open = TokenRules::rfc9068(ISSUER, "https://as.example/jwks", "").unwrap();
    let open = JwtVerifier::with_keys(open.also_for(""), &set).unwrap();
    for aud in [json!(""), json!([""]), json!(null)] {
        let token = key.token(&with("aud", aud));
        let refused = open.verify(&token, NOW).await.unwrap_err();
        assert_eq!(refused, TokenError::Audience);
    }
}

/// RS-05: scopes of odd types are no scopes.
#[tokio::test]
async fn rs_05_scope_claims_of_odd_types_hold_nothing() {
    let key = Key::new("k1");
    let verifier = JwtVerifier::with_keys(rules(), &key_set(&[&key])).unwrap();
    for (scope, held) in [
        (json!("a b"), "a b"),
        (json!(["a", "b"]), "a b"),
        (json!(["a", ["b"], { "c": 1 }, 2, null]), "a"),
        (json!([["a"]]), ""),
        (json!({ "a": true }), ""),
        (json!(true), ""),
        (json!(null), ""),
        (json!("*"), "*"),
        (json!("a\tb"), ""),
        (json!("a\u{a0}b"), ""),
        (json!(["a b"]), ""),
        (json!("A"), "A"),
    ] {
        let token = key.token(&with("scope", scope.clone()));
        let token = verifier.verify(&token, NOW).await.unwrap();
        assert_eq!(token.scopes().as_str(), held, "{scope}");
    }
}

/// RS-08: a document of keys in which somebody else could write.
#[tokio::test]
async fn rs_08_poisoned_key_sets_add_no_key_of_another_kind() {
    let (issuer, thief) = (Key::new("k1"), Key::new("k1"));
    let theirs = thief.published();
    let changed = |name: &str, value: Value| {
        let mut jwk = theirs.clone();
        jwk[name] = value;
        jwk
    };
    for poison in [
        changed("kty", json!("RSA")),
        changed("kty", json!("oct")),
        changed("crv", json!("secp256k1")),
        changed("crv", json!("P-384")),
        changed("use", json!("enc")),
        changed("alg", json!("none")),
        changed("alg", json!("HS256")),
        changed("alg", json!("ES384")),
        changed("key_ops", json!(["sign"])),
        changed("kid", json!("other")),
        changed("x", json!("AAAA")),
        changed("d", json!("AAAA")),
        json!([theirs]),
        json!(null),
    ] {
        let set = json!({ "keys": [poison, issuer.published()] }).to_string();
        let token = thief.token(&claims());
        assert!(result(set.as_bytes(), &token).await.is_some(), "{set}");
        assert_eq!(result(set.as_bytes(), &issuer.token(&claims())).await, None);
    }
    // A point that is not on the curve, and RSA that is too small to trust.
    let off = changed("y", theirs["x"].clone());
    let weak = json!({ "kty": "RSA", "kid": "k1", "n": "AQAB", "e": "AQAB" });
    for jwk in [off, weak] {
        let set = json!({ "keys": [jwk] }).to_string();
        assert!(parse_keys(set.as_bytes()).is_ok());
        assert!(
            result(set.as_bytes(), &thief.token(&claims()))
                .await
                .is_some()
        );
    }
    for url in [
        "http://as.example/jwks",
        "ftp://127.0.0.1/jwks",
        "file:///etc/passwd",
        "https://user@as.example/jwks",
        "data:application/json,{}",
        "jwks",
    ] {
        assert!(TokenRules::rfc9068(ISSUER, url, AUDIENCE).is_err(), "{url}");
        let introspection = IntrospectionRules::new(ISSUER, url, ("a", "b"), AUDIENCE);
        assert!(introspection.is_err(), "{url}");
    }
}

/// RS-08, RS-09: answers about tokens that say more than they should.
#[test]
fn rs_08_rs_09_introspection_of_tokens_of_another_kind() {
    let endpoint = "https://as.example/introspect";
    let rules = IntrospectionRules::new(ISSUER, endpoint, ("mcp", "secret"), AUDIENCE).unwrap();
    let read = |status: StatusCode, body: &str| rules.read(status, body.as_bytes(), NOW);
    let active = |more: &str| {
        read(
            StatusCode::OK,
            &format!(r#"{{"active":true,"aud":"{AUDIENCE}"{more}}}"#),
        )
    };
    assert!(active("").is_ok());
    assert!(active(r#","token_use":"access_token","typ":"Bearer""#).is_ok());
    for more in [
        r#","token_type":"refresh_token""#,
        r#","token_type":"N_A""#,
        r#","token_type":["Bearer"]"#,
        r#","token_use":"refresh_token""#,
        r#","token_use":["access"]"#,
        r#","typ":"Refresh""#,
        r#","typ":"ID""#,
        r#","exp":"9999999999""#,
        r#","exp":null"#,
        r#","nbf":9999999999"#,
        r#","iss":["https://as.example"]"#,
        r#","iss":null"#,
    ] {
        assert!(active(more).is_err(), "{more}");
    }
    for body in [
        "",
        "true",
        "[true]",
        r#"{"active":"true"}"#,
        r#"{"active":1}"#,
        r#"{"Active":true}"#,
        r#"[{"active":true}]"#,
        "<html>active</html>",
    ] {
        let answer = read(StatusCode::OK, body);
        assert_eq!(answer.unwrap_err(), TokenError::Unavailable, "{body}");
    }
    let good = format!(r#"{{"active":true,"aud":"{AUDIENCE}"}}"#);
    for status in [201, 204, 302, 400, 401, 403, 404, 500] {
        let status = StatusCode::from_u16(status).unwrap();
        assert!(read(status, &good).is_err(), "{status}");
    }
    let large = format!("{good}{}", " ".repeat(70_000));
    assert!(read(StatusCode::OK, &large).is_err());
}

/// RS-08: a request that is dropped while keys are fetched does not lift the pause between fetches.
#[test]
fn rs_08_a_fetch_that_was_dropped_counts() {
    use mcp_auth_server::{Algorithm, KeyCache, KeyTimes};
    let key = Key::new("k1");
    let second = Duration::from_secs(1);
    let mut cache = KeyCache::new(KeyTimes::default());
    let due = |cache: &KeyCache, now| {
        let found = cache.lookup(Some("other"), Algorithm::ES256, now);
        found.is_fetch_due
    };
    // Before there are keys, the next request fetches at once.
    cache.started(Duration::ZERO);
    assert!(due(&cache, Duration::ZERO));
    cache.fetched(&key_set(&[&key]), Duration::ZERO).unwrap();
    assert!(!due(&cache, second * 9));
    assert!(due(&cache, second * 10));
    cache.started(second * 10);
    assert!(!due(&cache, second * 11));
    assert!(due(&cache, second * 20));
}
