//! Tokens bound to a key (DPOP).

use http::{HeaderMap, HeaderValue, Method};
use mcp_auth_machine::config::{ConfigBuilder, ConfigError, Dpop, DpopPolicy};
use mcp_auth_machine::error::{Cause, Misconfiguration, Refusal, Violation};
use mcp_auth_machine::event::Observed;
use mcp_auth_machine::key::{PublicKey, PublicKeyFlaw, SigningKey};
use mcp_auth_machine::present::Presentation;
use mcp_auth_machine::wire::jwt::is_nonce;
use mcp_auth_machine::wire::token::{OAuthError, UnexpectedToken};
use mcp_auth_machine::wire::words::SigningAlgorithm;
use mcp_auth_machine::{Event, NoBearer};
use serde_json::{Value, json};

use crate::support::*;

pub const LISTED: &str = r#","dpop_signing_alg_values_supported":["RS256","ES256"]"#;

pub const JWK: &str = r#"{"kty":"EC","crv":"P-256","use":"sig","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA"}"#;
pub const THUMBPRINT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

pub fn key() -> SigningKey {
    SigningKey::new("key-1", [SigningAlgorithm::Es256]).public(PublicKey::from_jwk(JWK).unwrap())
}

pub fn with(policy: DpopPolicy) -> ConfigBuilder {
    config().dpop(Dpop::new(policy).key(key()))
}

pub fn bound(token: &str) -> String {
    format!(
        r#"{{"access_token":"{token}","token_type":"DPoP","expires_in":3600,"refresh_token":"rt-1"}}"#
    )
}

/// Up to the token request, which is signed for.
pub fn to_token(config: ConfigBuilder, metadata: &str) -> (Host, Value, Value) {
    let mut host = Host::new(config);
    host.discover(&prm(), metadata);
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    let found = query(redirect.url.as_str());
    assert_eq!(get(&found, "dpop_jkt").as_deref(), Some(THUMBPRINT));
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let (header, claims) = host.signs();
    (host, header, claims)
}

pub fn signed_in() -> Host {
    let (mut host, _, _) = to_token(with(DpopPolicy::IfSupported), &metadata_with(LISTED));
    host.serve(TOKEN, 200, &bound("at-1"));
    host.ready();
    host.accepted("tools/call x");
    host
}

/// Presents the token for one request: scheme and token, header and claims of the proof.
fn present(host: &mut Host, method: &Method, url: &str) -> (String, Value, Value) {
    let Presentation::Bound(proof) = host.machine.present(host.now, method, url).unwrap() else {
        panic!("not bound")
    };
    assert_eq!(proof.key(), "key-1");
    host.signatures += 1;
    let prepared = proof.prepare([host.signatures; 16]);
    let (header, claims) = decoded(std::str::from_utf8(prepared.input()).unwrap());
    let headers = prepared.signature(&[7; 64]).unwrap();
    assert!(headers.authorization.is_sensitive() && headers.dpop.is_sensitive());
    (
        headers.authorization.to_str().unwrap().to_owned(),
        header,
        claims,
    )
}

#[test]
fn dpop_03_dpop_04_dpop_07_dpop_17_the_proof_of_a_token_request() {
    let (mut host, header, claims) = to_token(with(DpopPolicy::Require), &metadata_with(LISTED));
    let public: Value = serde_json::from_str(
        r#"{"crv":"P-256","kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA"}"#,
    )
    .unwrap();
    assert_eq!(
        header,
        json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": public })
    );
    let claims = claims.as_object().unwrap();
    assert_eq!(claims["htm"], "POST");
    assert_eq!(claims["htu"], TOKEN);
    assert_eq!(claims["iat"], 1_800_000_000);
    assert!(claims["jti"].as_str().unwrap().len() >= 22);
    assert_eq!(claims.len(), 4, "{claims:?}");
    let request = host.serve(TOKEN, 200, &bound("at-1"));
    assert_eq!(request.headers().get_all("dpop").iter().count(), 1);
    host.ready();
}

#[test]
fn dpop_05_dpop_06_dpop_08_dpop_09_a_fresh_proof_for_each_request() {
    let mut host = signed_in();
    let (scheme, _, first) = present(&mut host, &Method::POST, MCP);
    assert_eq!(scheme, "DPoP at-1");
    assert_eq!(
        (&first["htm"], &first["htu"]),
        (&json!("POST"), &json!(MCP))
    );
    // base64url(SHA-256("at-1"))
    assert_eq!(first["ath"].as_str().unwrap().len(), 43);
    let (_, _, second) = present(&mut host, &Method::GET, "https://MCP.example:443/mcp?x=1");
    assert_eq!(
        (&second["htm"], &second["htu"]),
        (&json!("GET"), &json!(MCP))
    );
    assert_ne!(first["jti"], second["jti"]);
    assert_eq!(first["ath"], second["ath"]);
}

#[test]
fn dpop_06_rfc_9449_the_vectors() {
    assert_eq!(PublicKey::from_jwk(JWK).unwrap().thumbprint(), THUMBPRINT);
    // The digest of the access token of RFC 9449 section 7.1.
    let token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
    let (mut host, _, _) = to_token(with(DpopPolicy::IfSupported), &metadata_with(LISTED));
    host.serve(TOKEN, 200, &bound(token));
    host.ready();
    let (_, _, claims) = present(&mut host, &Method::POST, MCP);
    assert_eq!(claims["ath"], "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo");
}

#[test]
fn dpop_03_keys_that_are_none() {
    for (jwk, flaw) in [
        ("{}", PublicKeyFlaw::Malformed),
        ("[]", PublicKeyFlaw::Malformed),
        (r#"{"kty":"oct","k":"x"}"#, PublicKeyFlaw::Private),
        (r#"{"kty":"oct"}"#, PublicKeyFlaw::Kind),
        (
            r#"{"kty":"EC","crv":"P-384","x":"x","y":"y"}"#,
            PublicKeyFlaw::Kind,
        ),
        (
            r#"{"kty":"EC","crv":"P-256","x":"x"}"#,
            PublicKeyFlaw::Malformed,
        ),
        (
            r#"{"kty":"EC","crv":"P-256","x":"x","y":"y","d":"secret"}"#,
            PublicKeyFlaw::Private,
        ),
        (
            r#"{"kty":"EC","crv":"P-256","x":"\"","y":"y"}"#,
            PublicKeyFlaw::Malformed,
        ),
    ] {
        assert_eq!(PublicKey::from_jwk(jwk).unwrap_err(), flaw, "{jwk}");
    }
    for jwk in [
        r#"{"kty":"OKP","crv":"Ed25519","x":"abc"}"#,
        r#"{"kty":"RSA","n":"abc","e":"AQAB"}"#,
    ] {
        PublicKey::from_jwk(jwk).unwrap();
    }
    let unknown = SigningKey::new("k", [SigningAlgorithm::Es256]);
    let dpop = Dpop::new(DpopPolicy::Require).key(unknown);
    assert!(matches!(
        config().dpop(dpop).build(),
        Err(ConfigError::PublicKey(_))
    ));
}

#[test]
fn dpop_01_dpop_02_dpop_16_when_proofs_are_used() {
    // Never: no proof, whatever the server lists.
    let mut host = Host::new(config());
    host.discover(&prm(), &metadata_with(LISTED));
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    assert!(!host.redirect().url.as_str().contains("dpop_jkt"));
    // If supported: nothing in common, no proof.
    for more in ["", r#","dpop_signing_alg_values_supported":["PS256"]"#] {
        let mut host = Host::new(with(DpopPolicy::IfSupported));
        host.discover(&prm(), &metadata_with(more));
        host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
        assert!(!host.redirect().url.as_str().contains("dpop_jkt"));
        // Required by the host, or by the resource: an error before any redirect.
        let required = prm().replace('}', r#","dpop_bound_access_tokens_required":true}"#);
        for (config, prm) in [
            (with(DpopPolicy::Require), prm()),
            (with(DpopPolicy::IfSupported), required),
        ] {
            let mut host = Host::new(config);
            host.discover(&prm, &metadata_with(more));
            host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
            assert_eq!(
                host.error().cause,
                Cause::Misconfigured(Misconfiguration::DpopUnavailable)
            );
            host.quiet();
        }
    }
    // The resource's own list counts too.
    let listed = prm().replace('}', r#","dpop_signing_alg_values_supported":["RS256"]}"#);
    let mut host = Host::new(with(DpopPolicy::IfSupported));
    host.discover(&listed, &metadata_with(LISTED));
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    assert!(!host.redirect().url.as_str().contains("dpop_jkt"));
}

#[test]
fn dpop_02_dpop_22_a_challenge_with_that_scheme_alone() {
    let challenge = format!("DPoP algs=\"ES256\", scope=\"a\", resource_metadata=\"{PRM}\"");
    let mut host = Host::new(config());
    host.challenged(401, &[&challenge]);
    assert_eq!(
        host.error().cause,
        Cause::Misconfigured(Misconfiguration::DpopRequired)
    );
    let mut host = Host::new(with(DpopPolicy::IfSupported));
    host.ask(&challenge);
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata_with(LISTED));
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    assert_eq!(host.redirect().scopes.as_str(), "a");
}

#[test]
fn dpop_14_a_bound_token_is_never_a_bearer_token() {
    let mut host = signed_in();
    assert_eq!(host.machine.bearer(host.now, MCP), Err(NoBearer::Bound));
    let other = host
        .machine
        .present(host.now, &Method::POST, "https://other.example/");
    assert_eq!(other.unwrap_err(), NoBearer::OutsideResource);
    // An ordinary token is presented without a proof, by the same call.
    let mut host = Host::signed_in(config(), &token_answer("at-1"));
    let presented = host.machine.present(host.now, &Method::POST, MCP).unwrap();
    assert!(matches!(presented, Presentation::Bearer(value) if value == "Bearer at-1"));
}

#[test]
fn dpop_10_the_servers_nonce_is_put_in_once_with_the_same_code() {
    let (mut host, _, first) = to_token(with(DpopPolicy::Require), &metadata_with(LISTED));
    let refused = r#"{"error":"use_dpop_nonce"}"#;
    let before = host.serve_with(TOKEN, 400, &[("dpop-nonce", "n-1")], refused);
    let (_, again) = host.signs();
    assert_eq!(again["nonce"], "n-1");
    assert_ne!(again["jti"], first["jti"]);
    let after = host.serve_with(TOKEN, 200, &[("dpop-nonce", "n-2")], &bound("at-1"));
    assert_eq!(get(&body(&before), "code"), get(&body(&after), "code"));
    host.ready();
    // The nonce of a success is used from the next request on (DPOP-12).
    host.pass(3_600_000);
    host.wanted("x");
    host.serve(META, 200, &metadata_with(LISTED));
    let (_, next) = host.signs();
    assert_eq!(next["nonce"], "n-2");
    // A second time, or without a usable nonce: the end.
    for nonces in [
        &[("dpop-nonce", "n-3")][..],
        &[],
        &[("dpop-nonce", "a b")],
        &[("dpop-nonce", "a"), ("dpop-nonce", "b")],
    ] {
        let (mut host, _, _) = to_token(with(DpopPolicy::Require), &metadata_with(LISTED));
        host.serve_with(TOKEN, 400, nonces, refused);
        if nonces.len() == 1 && nonces[0].1 == "n-3" {
            host.signs();
            host.serve_with(TOKEN, 400, nonces, refused);
        }
        assert!(matches!(
            host.error().cause,
            Cause::Refused(Refusal::OAuth {
                error: OAuthError::UseDpopNonce,
                ..
            })
        ));
        host.quiet();
    }
}

#[test]
fn dpop_11_the_resources_nonce_is_no_reason_to_authorize() {
    let mut host = signed_in();
    let refuse = |host: &mut Host, nonce: &str| {
        let mut headers = HeaderMap::new();
        let challenge = HeaderValue::from_static("DPoP error=\"use_dpop_nonce\"");
        headers.insert("www-authenticate", challenge);
        headers.insert("dpop-nonce", HeaderValue::from_str(nonce).unwrap());
        let challenge = mcp_auth_machine::event::Challenge::new("tools/call x", 401, headers);
        host.handle(Event::Challenged(challenge.sent("DPoP at-1")));
    };
    refuse(&mut host, "rs-1");
    host.ready();
    host.quiet();
    let (_, _, claims) = present(&mut host, &Method::POST, MCP);
    assert_eq!(claims["nonce"], "rs-1");
    // Again for the same request: the end, and the token stays.
    refuse(&mut host, "rs-2");
    assert!(matches!(host.error().cause, Cause::Refused(_)));
    host.quiet();
    host.accepted("tools/call x");
    refuse(&mut host, "rs-3");
    host.ready();
    // A proof that is refused: check the clock; nothing is renewed (12.1).
    host.challenged_for(
        "y",
        401,
        &["DPoP error=\"invalid_dpop_proof\""],
        Some("DPoP at-1"),
    );
    assert!(matches!(
        host.error().cause,
        Cause::Refused(Refusal::OAuth {
            error: OAuthError::InvalidDpopProof,
            ..
        })
    ));
    host.quiet();
}

/// Requests in parallel: none of them could carry the nonce that the first refusal brought.
#[test]
fn dpop_11_a_refusal_of_a_request_from_before_the_nonce_is_not_a_second_one() {
    let mut host = signed_in();
    for nonce in ["rs-1", "rs-1", "rs-2"] {
        let mut headers = HeaderMap::new();
        let challenge = HeaderValue::from_static("DPoP error=\"use_dpop_nonce\"");
        headers.insert("www-authenticate", challenge);
        headers.insert("dpop-nonce", HeaderValue::from_str(nonce).unwrap());
        let challenge = mcp_auth_machine::event::Challenge::new("tools/call x", 401, headers);
        host.handle(Event::Challenged(challenge.sent("DPoP at-1")));
        host.ready();
    }
    let (_, _, claims) = present(&mut host, &Method::POST, MCP);
    assert_eq!(claims["nonce"], "rs-2");
}

/// A server that wants another nonce for each request, or the same one each time: the host reports each response before
/// its refusal.
#[test]
fn dpop_11_a_nonce_that_never_suffices_ends_also_where_the_host_reports_each_response() {
    for nonces in [["rs-1", "rs-2"], ["rs-1", "rs-1"]] {
        let mut host = signed_in();
        let refuse = |host: &mut Host, nonce: &'static str| {
            let mut headers = HeaderMap::new();
            let challenge = HeaderValue::from_static("DPoP error=\"use_dpop_nonce\"");
            headers.insert("www-authenticate", challenge);
            headers.insert("dpop-nonce", HeaderValue::from_static(nonce));
            host.handle(Event::Observed(Observed::new(MCP, &headers)));
            let challenge = mcp_auth_machine::event::Challenge::new("tools/call x", 401, headers);
            host.handle(Event::Challenged(challenge.sent("DPoP at-1")));
        };
        let [first, second] = nonces;
        refuse(&mut host, first);
        host.ready();
        // Another request, which was sent before the nonce was known.
        refuse(&mut host, first);
        host.ready();
        present(&mut host, &Method::POST, MCP);
        refuse(&mut host, second);
        assert!(matches!(host.error().cause, Cause::Refused(_)));
        host.quiet();
        // The token stays.
        present(&mut host, &Method::POST, MCP);
    }
}

/// A request is refused for want of another nonce while the loss of the refresh token waits to be stored. The store had done that
/// before: the token stays, and no `Ready` is emitted for it beside the error.
#[test]
fn use_14_dpop_11_a_saved_account_with_the_refused_token_is_not_ready() {
    let mut host = signed_in();
    host.pass(3_590_000);
    let refuse = |host: &mut Host, nonce: &'static str| {
        let mut headers = HeaderMap::new();
        let challenge = HeaderValue::from_static("DPoP error=\"use_dpop_nonce\"");
        headers.insert("www-authenticate", challenge);
        headers.insert("dpop-nonce", HeaderValue::from_static(nonce));
        let challenge = mcp_auth_machine::event::Challenge::new("z", 401, headers);
        host.handle(Event::Challenged(challenge.sent("DPoP at-1")));
    };
    refuse(&mut host, "rs-1");
    host.ready();
    present(&mut host, &Method::POST, MCP);
    host.wanted("x");
    host.signs();
    let send = host.request_to(TOKEN);
    let mut store = std::mem::take(&mut host.store);
    host.store.mode = StoreMode::Manual;
    let unusable = bound("at-2").replace("rt-1", "rt-2").replace("DPoP", "mac");
    host.handle(send.response(response(200, &[], &unusable)));
    let mcp_auth_machine::Action::PersistSlot(persist) = host.next() else {
        panic!("the account is written")
    };
    let slot = persist.slot().to_string();
    store.slots.insert(slot, persist.write().unwrap().clone());
    host.handle(persist.failed());
    assert!(matches!(host.error().cause, Cause::NotPersisted(_)));
    host.store = store;
    refuse(&mut host, "rs-2");
    let failure = host.error();
    assert!(matches!(failure.cause, Cause::Refused(_)));
    assert_eq!(failure.operation.unwrap().as_str(), "z");
    host.quiet();
}

/// Many servers offer bearer tokens as well, and list that challenge first.
#[test]
fn dpop_11_dpop_12_the_error_of_a_proof_counts_beside_a_bearer_challenge() {
    let mut host = signed_in();
    let refuse = |host: &mut Host, error: &str, nonce: Option<&'static str>| {
        let mut headers = HeaderMap::new();
        let dpop = format!("DPoP error=\"{error}\", algs=\"ES256\"");
        for line in [announcing(), dpop] {
            headers.append("www-authenticate", HeaderValue::from_str(&line).unwrap());
        }
        if let Some(nonce) = nonce {
            headers.insert("dpop-nonce", HeaderValue::from_static(nonce));
        }
        let challenge = mcp_auth_machine::event::Challenge::new("tools/call x", 401, headers);
        host.handle(Event::Challenged(challenge.sent("DPoP at-1")));
    };
    refuse(&mut host, "use_dpop_nonce", Some("rs-1"));
    host.ready();
    let (_, _, claims) = present(&mut host, &Method::POST, MCP);
    assert_eq!(claims["nonce"], "rs-1");
    host.accepted("tools/call x");
    refuse(&mut host, "invalid_dpop_proof", None);
    assert!(matches!(
        host.error().cause,
        Cause::Refused(Refusal::OAuth {
            error: OAuthError::InvalidDpopProof,
            ..
        })
    ));
    host.quiet();
}

#[test]
fn dpop_12_nonces_stay_with_their_server() {
    let mut host = signed_in();
    let mut headers = HeaderMap::new();
    headers.insert("dpop-nonce", HeaderValue::from_static("of-the-resource"));
    host.handle(Event::Observed(Observed::new(MCP, &headers)));
    let (_, _, claims) = present(&mut host, &Method::POST, MCP);
    assert_eq!(claims["nonce"], "of-the-resource");
    host.pass(3_600_000);
    host.wanted("x");
    host.serve(META, 200, &metadata_with(LISTED));
    let (_, claims) = host.signs();
    assert_eq!(claims.get("nonce"), None);
    for (text, good) in [
        ("a", true),
        ("!#[]~", true),
        ("", false),
        ("a\"b", false),
        ("a\\b", false),
        ("a b", false),
    ] {
        assert_eq!(is_nonce(text), good, "{text}");
    }
    assert!(is_nonce(&"x".repeat(512)) && !is_nonce(&"x".repeat(513)));
}

#[test]
fn dpop_13_the_type_of_the_received_token() {
    // Required, and a bearer token came: discarded.
    let (mut host, _, _) = to_token(with(DpopPolicy::Require), &metadata_with(LISTED));
    host.serve(TOKEN, 200, &token_answer("at-1"));
    assert_eq!(
        host.error().cause,
        Cause::Violation(Violation::TokenNotBound)
    );
    assert!(host.machine.present(host.now, &Method::POST, MCP).is_err());
    assert!(host.store.of_kind("account").is_empty());
    // If supported: used as what it is.
    let (mut host, _, _) = to_token(with(DpopPolicy::IfSupported), &metadata_with(LISTED));
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
    assert_eq!(host.reported("token_not_bound"), 1);
    // The same applies to the refresh of a bound token.
    let mut host = signed_in();
    host.pass(3_600_000);
    host.wanted("x");
    host.serve(META, 200, &metadata_with(LISTED));
    host.signs();
    host.serve(TOKEN, 200, &token_answer("at-2"));
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
    // A token of an unknown type does not count as bound.
    let (mut host, _, _) = to_token(with(DpopPolicy::IfSupported), &metadata_with(LISTED));
    host.serve(TOKEN, 200, &bound("at-1").replace("DPoP", "mac"));
    assert_eq!(
        host.error().cause,
        Cause::Violation(Violation::Token(UnexpectedToken::TokenType))
    );
    // The client did not request a bound token.
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &bound("at-1"));
    assert_eq!(
        host.error().cause,
        Cause::Violation(Violation::Token(UnexpectedToken::TokenType))
    );
}

#[test]
fn dpop_15_refr_10_a_refresh_proves_the_key_of_the_issuance() {
    let mut host = signed_in();
    host.pass(3_600_000);
    host.wanted("x");
    host.serve(META, 200, &metadata_with(LISTED));
    let (header, claims) = host.signs();
    assert_eq!(
        header["jwk"]["x"],
        "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs"
    );
    assert_eq!(claims["htu"], TOKEN);
    assert_eq!(claims.get("ath"), None);
    let request = host.serve(TOKEN, 200, &bound("at-2"));
    assert!(request.headers().contains_key("dpop"));
    host.ready();
    // Without that key the token is of no use, and says so; it is not lost.
    let (now, seeds) = (host.now, host.seeds);
    let store = std::mem::take(&mut host.store);
    let mut later = Host::resumed(
        std::sync::Arc::new(config().build().unwrap()),
        store,
        now,
        seeds,
    );
    // No `ready` of a token with which no request can be made (TOK-16).
    later.quiet();
    // The remedy is the key, and no new sign-in.
    let refused = later.machine.present(now, &Method::POST, MCP).err();
    assert_eq!(refused, Some(NoBearer::KeyMissing));
    later.wanted("x");
    // Another authorization binds its tokens to the key that there is, if any.
    assert_eq!(
        later.renewal_refused(),
        Cause::Misconfigured(Misconfiguration::KeyMissing)
    );
    later.quiet();
    assert!(
        later.store.of_kind("account")[0]
            .contents
            .expose()
            .contains("at-2")
    );
}

#[test]
fn dpop_19_a_signer_that_fails_ends_the_attempt_and_spends_nothing() {
    let mut host = Host::new(with(DpopPolicy::Require));
    host.discover(&prm(), &metadata_with(LISTED));
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let mcp_auth_machine::Action::Sign(sign) = host.next() else {
        panic!()
    };
    let shown = format!("{sign:?}");
    assert!(
        shown.contains("proof") && !shown.contains("code"),
        "{shown}"
    );
    host.handle(sign.failed());
    assert_eq!(
        host.error().cause,
        Cause::Misconfigured(Misconfiguration::SignerFailed)
    );
    host.quiet();
    // One that never answers is not waited for.
    let mut host = signed_in();
    host.pass(3_600_000);
    host.wanted("x");
    host.serve(META, 200, &metadata_with(LISTED));
    host.next();
    assert_eq!(host.wake(), 30_000);
    assert!(matches!(host.error().cause, Cause::Misconfigured(_)));
    assert!(
        host.store.of_kind("account")[0]
            .contents
            .expose()
            .contains("rt-1")
    );
}

#[test]
fn dpop_20_a_refused_proof_shows_how_the_clocks_differ_and_is_not_repeated() {
    let refused = r#"{"error":"invalid_dpop_proof"}"#;
    let (mut host, _, _) = to_token(with(DpopPolicy::Require), &metadata_with(LISTED));
    // 1_800_000_000 is 2027-01-15 08:00:00.
    let date = [("date", "Fri, 15 Jan 2027 08:10:00 GMT")];
    host.serve_with(TOKEN, 400, &date, refused);
    assert!(matches!(
        host.error().cause,
        Cause::Refused(Refusal::OAuth {
            error: OAuthError::InvalidDpopProof,
            ..
        })
    ));
    host.quiet();
    assert!(host.reports.iter().any(|decision| matches!(
        decision,
        mcp_auth_machine::report::Decision::ClockDiffers { seconds: 600 }
    )));
}

#[test]
fn dpop_20_clocks_that_show_the_same_time_are_not_the_cause_of_a_refusal() {
    // The host's clock stands at 08:00:00, and `Date` has whole seconds.
    for (date, reported) in [
        ("Fri, 15 Jan 2027 08:00:00 GMT", None),
        ("Fri, 15 Jan 2027 07:59:58 GMT", None),
        ("Fri, 15 Jan 2027 08:00:03 GMT", Some(3)),
        ("Fri, 15 Jan 2027 07:59:57 GMT", Some(-3)),
    ] {
        let (mut host, _, _) = to_token(with(DpopPolicy::Require), &metadata_with(LISTED));
        let refused = r#"{"error":"invalid_dpop_proof"}"#;
        host.serve_with(TOKEN, 400, &[("date", date)], refused);
        host.error();
        let found = host.reports.iter().find_map(|decision| match decision {
            mcp_auth_machine::report::Decision::ClockDiffers { seconds } => Some(*seconds),
            _ => None,
        });
        assert_eq!(found, reported, "{date}");
    }
}

#[test]
fn iso_13_a_key_for_each_server() {
    let other = JWK.replace("l8tF", "m8tF");
    let own = SigningKey::new("own", [SigningAlgorithm::Es256])
        .public(PublicKey::from_jwk(&other).unwrap());
    let dpop = Dpop::new(DpopPolicy::Require).key(key()).key_for(AS, own);
    let mut host = Host::new(config().dpop(dpop));
    host.discover(&prm(), &metadata_with(LISTED));
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let thumbprint = PublicKey::from_jwk(&other).unwrap().thumbprint();
    let found = query(host.redirect().url.as_str());
    assert_eq!(get(&found, "dpop_jkt"), Some(thumbprint));
}

#[test]
fn dpop_12_the_nonces_of_eight_origins_are_kept() {
    for (others, kept) in [(7, true), (8, false)] {
        let mut host = signed_in();
        let mut observe = |url: &str, nonce: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("dpop-nonce", HeaderValue::from_static(nonce));
            host.handle(Event::Observed(Observed::new(url, &headers)));
        };
        observe(MCP, "of-the-resource");
        for number in 0..others {
            observe(&format!("https://n{number}.example/"), "another");
        }
        let (_, _, claims) = present(&mut host, &Method::POST, MCP);
        assert_eq!(claims.get("nonce").is_some(), kept, "{others}");
    }
}
