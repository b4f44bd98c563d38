//! The pieces of a token endpoint (AS-05, AS-06, AS-09 to AS-11, AS-13, AS-14).

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_server::{
    Approval, CimdClient, CimdError, ClaimedClient, ClientSecret, CodeChallenge, CodeRecord,
    Family, Redeemed, Redemption, RedirectRules, RefreshRequest, RefreshTokens, Refreshed,
    TokenAnswer, TokenEndpointError, TokenForm, TokenScheme, VerifyingKey, cimd_request,
    may_connect,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::issuer::{Key, NOW};

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const ISSUER: &str = "https://as.example";

fn approval() -> Approval {
    Approval {
        subject: "alice".to_owned(),
        client_id: "c".to_owned(),
        scopes: "a b".to_owned(),
        resource: Some("https://mcp.example/mcp".to_owned()),
        key: None,
    }
}

fn code(approval: Approval) -> CodeRecord {
    let challenge = CodeChallenge::parse(CHALLENGE, Some("S256")).unwrap();
    let lifetime = Duration::from_secs(60);
    CodeRecord::new(approval, "https://c.example/cb", challenge, lifetime, NOW)
}

const REDEMPTION: Redemption<'_> = Redemption {
    client_id: "c",
    redirect_uri: Some("https://c.example/cb"),
    verifier: VERIFIER,
    resource: Some("https://mcp.example/mcp"),
    key: None,
};

#[test]
fn as_09_as_13_a_code_is_redeemed_once_by_its_client() {
    let refuse = |error| Redeemed::Refuse(error);
    let mut record = code(approval());
    for (asked, error) in [
        (
            Redemption {
                client_id: "d",
                ..REDEMPTION
            },
            TokenEndpointError::InvalidGrant,
        ),
        (
            Redemption {
                verifier: "short",
                ..REDEMPTION
            },
            TokenEndpointError::InvalidGrant,
        ),
        (
            Redemption {
                verifier: &VERIFIER.replace('d', "e"),
                ..REDEMPTION
            },
            TokenEndpointError::InvalidGrant,
        ),
        (
            Redemption {
                redirect_uri: Some("https://c.example/x"),
                ..REDEMPTION
            },
            TokenEndpointError::InvalidGrant,
        ),
        (
            Redemption {
                resource: Some("https://other.example"),
                ..REDEMPTION
            },
            TokenEndpointError::InvalidTarget,
        ),
    ] {
        let before = record.clone();
        assert_eq!(record.redeem(&asked, "f", NOW), refuse(error), "{asked:?}");
        assert_eq!(record, before);
    }
    let late = NOW + Duration::from_secs(60);
    assert_eq!(
        record.redeem(&REDEMPTION, "f", late),
        refuse(TokenEndpointError::InvalidGrant)
    );
    // As it is read from a store.
    let stored = serde_json::to_string(&record).unwrap();
    let mut record: CodeRecord = serde_json::from_str(&stored).unwrap();
    let bound = Redemption {
        key: Some("k"),
        ..REDEMPTION
    };
    let Redeemed::Issue(issued) = record.redeem(&bound, "f-1", NOW) else {
        panic!("not issued");
    };
    assert_eq!(issued.key.as_deref(), Some("k"));
    assert_eq!(
        record.redeem(&REDEMPTION, "f-2", NOW),
        Redeemed::Revoke("f-1".to_owned())
    );
    assert_eq!(
        record.redeem(&REDEMPTION, "f-2", late),
        Redeemed::Revoke("f-1".to_owned())
    );
    // A request without the verifier revokes no tokens.
    let guess = Redemption {
        verifier: &"x".repeat(43),
        ..REDEMPTION
    };
    assert_eq!(
        record.redeem(&guess, "f-2", NOW),
        refuse(TokenEndpointError::InvalidGrant)
    );
    let mut keyed = code(Approval {
        key: Some("k".to_owned()),
        ..approval()
    });
    assert_eq!(
        keyed.redeem(&REDEMPTION, "f", NOW),
        refuse(TokenEndpointError::InvalidGrant)
    );
}

const REFRESH: RefreshRequest<'_> = RefreshRequest {
    client_id: "c",
    scopes: None,
    resource: None,
    key: None,
};

fn next(tokens: &RefreshTokens, family: &mut Family, token: &str, now: Duration) -> String {
    match tokens.present(family, token, &REFRESH, now) {
        Refreshed::Issue { refresh_token, .. } => refresh_token,
        other => panic!("{other:?}"),
    }
}

#[test]
fn as_11_refresh_tokens_rotate_and_reuse_ends_the_family() {
    let tokens = RefreshTokens::new(&[1; 32]);
    let mut family = Family::new("f-1", approval(), NOW);
    let first = tokens.token(&family);
    assert_eq!(tokens.family_of(&first), Some("f-1"));
    assert_eq!(RefreshTokens::new(&[2; 32]).family_of(&first), None);
    assert_eq!(tokens.family_of(&first.replace(".0.", ".1.")), None);
    let second = next(&tokens, &mut family, &first, NOW);
    assert_ne!(first, second);
    // A race brings the one successor, and changes nothing.
    let before = family.clone();
    let soon = NOW + Duration::from_secs(9);
    assert_eq!(next(&tokens, &mut family, &first, soon), second);
    assert_eq!(family, before);
    let third = next(&tokens, &mut family, &second, soon);
    for (asked, error) in [
        (
            RefreshRequest {
                client_id: "d",
                ..REFRESH
            },
            TokenEndpointError::InvalidGrant,
        ),
        (
            RefreshRequest {
                key: Some("k"),
                ..REFRESH
            },
            TokenEndpointError::InvalidGrant,
        ),
        (
            RefreshRequest {
                scopes: Some("a c"),
                ..REFRESH
            },
            TokenEndpointError::InvalidScope,
        ),
        (
            RefreshRequest {
                scopes: Some(""),
                ..REFRESH
            },
            TokenEndpointError::InvalidScope,
        ),
        (
            RefreshRequest {
                resource: Some("https://o.example"),
                ..REFRESH
            },
            TokenEndpointError::InvalidTarget,
        ),
    ] {
        let before = family.clone();
        let found = tokens.present(&mut family, &third, &asked, soon);
        assert_eq!(found, Refreshed::Refuse(error), "{asked:?}");
        assert_eq!(family, before);
    }
    let narrow = RefreshRequest {
        scopes: Some("b"),
        ..REFRESH
    };
    let Refreshed::Issue {
        scopes,
        refresh_token,
    } = tokens.present(&mut family, &third, &narrow, soon)
    else {
        panic!("not issued");
    };
    assert_eq!(scopes.as_str(), "b");
    assert_eq!(
        tokens.present(&mut family, &first, &REFRESH, soon),
        Refreshed::Revoke
    );
    assert!(family.has_ended());
    let over = tokens.present(&mut family, &refresh_token, &REFRESH, soon);
    assert_eq!(over, Refreshed::Refuse(TokenEndpointError::InvalidGrant));
    // After the grace the one before is a reuse too, and an idle family ends.
    let mut family = Family::new("f-2", approval(), NOW);
    let first = tokens.token(&family);
    let second = next(&tokens, &mut family, &first, NOW);
    let month = NOW + Duration::from_secs(30 * 24 * 3600);
    let idle = tokens.present(&mut family, &second, &REFRESH, month);
    assert_eq!(idle, Refreshed::Refuse(TokenEndpointError::InvalidGrant));
    let late = NOW + Duration::from_secs(10);
    assert_eq!(
        tokens.present(&mut family, &first, &REFRESH, late),
        Refreshed::Revoke
    );
}

proptest! {
    /// In any order of presentations, at most one generation of a family continues, and a token that was
    /// refused as a reuse stays refused.
    #[test]
    fn as_11_a_family_has_one_branch(order in prop::collection::vec((0_usize..6, 0_u64..20), 1..20)) {
        let tokens = RefreshTokens::new(&[1; 32]);
        let mut family = Family::new("f", approval(), NOW);
        let mut known = vec![tokens.token(&family)];
        let mut now = NOW;
        for (which, pause) in order {
            now += Duration::from_secs(pause);
            let token = known[which % known.len()].clone();
            let ended = family.has_ended();
            match tokens.present(&mut family, &token, &REFRESH, now) {
                Refreshed::Issue { refresh_token, .. } => {
                    prop_assert!(!ended);
                    // The newest of all there were, or a new one.
                    if known.contains(&refresh_token) {
                        prop_assert_eq!(known.last(), Some(&refresh_token));
                    } else {
                        prop_assert_eq!(known.last(), Some(&token));
                        known.push(refresh_token);
                    }
                }
                Refreshed::Revoke => prop_assert!(family.has_ended()),
                Refreshed::Refuse(_) => prop_assert!(ended),
            }
        }
    }
}

#[test]
fn as_10_answers_are_json_that_is_not_cached() {
    let answer = TokenAnswer::new(
        "at",
        TokenScheme::Dpop,
        Duration::from_secs(60),
        Scopes::parse("a"),
    );
    assert!(!format!("{answer:?}").contains("at\""));
    let http = answer.refresh_token("rt").into_http();
    assert_eq!(http.headers()["cache-control"], "no-store");
    let body: Value = serde_json::from_str(http.body()).unwrap();
    assert_eq!(
        body,
        json!({
            "access_token": "at", "token_type": "DPoP", "expires_in": 60, "scope": "a", "refresh_token": "rt",
        })
    );
    let http = TokenEndpointError::InvalidClientHeader.into_http(None);
    assert_eq!(http.status(), StatusCode::UNAUTHORIZED);
    assert!(http.headers().contains_key("www-authenticate"));
    let http = TokenEndpointError::InvalidGrant.into_http(Some("the code has expired"));
    assert_eq!(http.status(), StatusCode::BAD_REQUEST);
    assert_eq!(http.headers()["cache-control"], "no-store");
    assert!(http.body().contains("invalid_grant"));
}

fn headers(authorization: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let form = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
    headers.insert("content-type", form);
    if let Some(value) = authorization {
        headers.insert("authorization", HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn authenticate(
    authorization: Option<&str>,
    body: &str,
    registered: &ClientSecret,
) -> Result<String, TokenEndpointError> {
    let headers = headers(authorization);
    let form = TokenForm::read(&headers, body.as_bytes())?;
    let client = ClaimedClient::read(&headers, &form)?;
    client.authenticate(registered, ISSUER, NOW)?;
    Ok(client.claimed_id().to_owned())
}

#[test]
fn as_10_as_14_a_client_authenticates_by_its_one_method() {
    let key = Key::new("k1");
    let hash = ClientSecret::hash("s:cret");
    let methods = [
        ClientSecret::Public,
        ClientSecret::Basic(hash),
        ClientSecret::Post(hash),
        ClientSecret::Keys(vec![VerifyingKey::from_jwk(&key.published()).unwrap()]),
    ];
    let claims = |changes: Value| {
        let mut all = json!({
            "iss": "c", "sub": "c", "aud": ISSUER, "jti": "j", "exp": NOW.as_secs() + 60,
        });
        for (name, value) in changes.as_object().unwrap() {
            all[name] = value.clone();
        }
        let header = json!({ "alg": "ES256", "typ": "client-authentication+jwt", "kid": "k1" });
        key.sign(&header, &all)
    };
    let asserted = |assertion: &str| {
        format!(
            "client_assertion={assertion}&client_assertion_type=\
             urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
        )
    };
    // c : s%3Acret
    let basic = "bAsIc  YzpzJTNBY3JldA==";
    let sent = [
        (None, "client_id=c".to_owned()),
        (Some(basic), String::new()),
        (None, "client_id=c&client_secret=s%3Acret".to_owned()),
        (None, asserted(&claims(json!({})))),
    ];
    for (mine, registered) in methods.iter().enumerate() {
        for (theirs, (field, body)) in sent.iter().enumerate() {
            let found = authenticate(*field, body, registered);
            assert_eq!(found.is_ok(), mine == theirs, "{registered:?} {body}");
        }
    }
    let [public, by_basic, by_post, by_key] = &methods;
    for (field, body, registered, error) in [
        (
            Some(basic),
            "client_secret=s%3Acret",
            by_basic,
            TokenEndpointError::InvalidRequest,
        ),
        (
            Some(basic),
            "client_id=d",
            by_basic,
            TokenEndpointError::InvalidRequest,
        ),
        (
            Some("Basic !"),
            "",
            by_basic,
            TokenEndpointError::InvalidClientHeader,
        ),
        (
            Some("Bearer x"),
            "client_id=c",
            public,
            TokenEndpointError::InvalidClientHeader,
        ),
        (
            None,
            "client_id=c&client_secret=wrong",
            by_post,
            TokenEndpointError::InvalidClient,
        ),
        (
            None,
            "client_id=c&client_assertion=a.b.c",
            by_key,
            TokenEndpointError::InvalidClient,
        ),
        (
            None,
            "client_id=c&client_id=c",
            public,
            TokenEndpointError::InvalidRequest,
        ),
        (None, "", public, TokenEndpointError::InvalidClient),
    ] {
        assert_eq!(
            authenticate(field, body, registered).unwrap_err(),
            error,
            "{body}"
        );
    }
    let thief = Key::new("k1");
    for assertion in [
        claims(json!({ "aud": "https://as.example/token" })),
        claims(json!({ "aud": [ISSUER, "https://other.example"] })),
        claims(json!({ "sub": "d" })),
        claims(json!({ "iss": "d" })),
        claims(json!({ "exp": NOW.as_secs() })),
        claims(json!({ "exp": NOW.as_secs() + 301 })),
        claims(json!({ "jti": null })),
        claims(json!({ "nbf": NOW.as_secs() + 61 })),
        claims(json!({ "iat": NOW.as_secs() + 61 })),
        claims(json!({ "nbf": "now" })),
        claims(json!({ "aud": [[ISSUER]] })),
        claims(json!({ "exp": (NOW.as_secs() + 60).to_string() })),
        thief.token(&json!({ "iss": "c", "sub": "c", "aud": ISSUER, "jti": "j", "exp": NOW.as_secs() + 60 })),
    ] {
        assert!(authenticate(None, &asserted(&assertion), by_key).is_err(), "{assertion}");
    }
    let sole = claims(json!({ "aud": [ISSUER] }));
    assert!(authenticate(None, &asserted(&sole), by_key).is_ok());
    let mut json = headers(None);
    json.insert("content-type", HeaderValue::from_static("application/json"));
    assert!(TokenForm::read(&json, b"client_id=c").is_err());
}

const CIMD: &str = "https://app.example/client.json";

fn document(changes: Value) -> Value {
    let mut all = json!({
        "client_id": CIMD, "client_name": "App", "redirect_uris": ["http://localhost/cb"],
        "token_endpoint_auth_method": "none",
    });
    for (name, value) in changes.as_object().unwrap() {
        all[name] = value.clone();
    }
    all
}

fn read_cimd(status: u16, cache: &str, body: &Value) -> Result<CimdClient, CimdError> {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("cache-control", HeaderValue::from_str(cache).unwrap());
    let status = StatusCode::from_u16(status).unwrap();
    let body = body.to_string();
    CimdClient::read(
        CIMD,
        status,
        &headers,
        body.as_bytes(),
        &RedirectRules::default(),
    )
}

#[test]
fn as_05_as_06_client_metadata_documents() {
    let client = read_cimd(200, "max-age=60", &document(json!({}))).unwrap();
    assert_eq!((client.client_id(), client.host()), (CIMD, "app.example"));
    assert!(client.is_local_only());
    for (cache, seconds) in [
        ("max-age=60", 60),
        ("public, MAX-AGE=999999", 86400),
        ("no-store", 0),
        ("max-age=60, no-cache", 0),
        ("private", 300),
    ] {
        let client = read_cimd(200, cache, &document(json!({}))).unwrap();
        assert_eq!(client.fresh(), Duration::from_secs(seconds), "{cache}");
    }
    let key = Key::new("k");
    let keyed = document(json!({
        "token_endpoint_auth_method": "private_key_jwt", "jwks": { "keys": [key.published()] },
    }));
    assert_eq!(read_cimd(200, "", &keyed).unwrap().keys().len(), 1);
    for (status, body, error) in [
        (301, document(json!({})), CimdError::Status(301)),
        (404, document(json!({})), CimdError::Status(404)),
        (200, json!([]), CimdError::NotAnObject),
        (
            200,
            document(json!({ "client_id": "https://app.example/Client.json" })),
            CimdError::ClientId,
        ),
        (
            200,
            document(json!({ "client_secret": "s" })),
            CimdError::Secret,
        ),
        (
            200,
            document(json!({ "token_endpoint_auth_method": "client_secret_basic" })),
            CimdError::Secret,
        ),
        (
            200,
            document(json!({ "token_endpoint_auth_method": "private_key_jwt" })),
            CimdError::Keys,
        ),
        (
            200,
            document(json!({ "redirect_uris": [] })),
            CimdError::RedirectUri(None),
        ),
        (
            200,
            document(json!({ "client_name": "x".repeat(6000) })),
            CimdError::TooLarge,
        ),
    ] {
        assert_eq!(read_cimd(status, "", &body).unwrap_err(), error, "{body}");
    }
    let script = document(json!({ "redirect_uris": ["javascript:alert(1)"] }));
    assert!(matches!(
        read_cimd(200, "", &script),
        Err(CimdError::RedirectUri(Some(_)))
    ));
    for url in [
        "http://app.example/c",
        "https://app.example",
        "https://app.example/a/../c",
        "x",
    ] {
        assert!(matches!(cimd_request(url), Err(CimdError::Url(_))), "{url}");
    }
    for (address, permitted) in [
        ("93.184.216.34", true),
        ("127.0.0.1", false),
        ("10.0.0.1", false),
        ("169.254.169.254", false),
        ("::1", false),
        ("::ffff:10.0.0.1", false),
        ("fd00::1", false),
    ] {
        let address: IpAddr = address.parse().unwrap();
        assert_eq!(may_connect(address), permitted, "{address}");
    }
}
