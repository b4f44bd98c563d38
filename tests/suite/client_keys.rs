//! Clients with a key of their own, in the flow with a user (TOK-04, TOK-08, REG-11, REG-21).

use mcp_auth_machine::config::{ConfigBuilder, ConfigError, PushedRequests};
use mcp_auth_machine::error::{Cause, Misconfiguration};
use mcp_auth_machine::key::{PublicKey, SigningKey};
use mcp_auth_machine::wire::words::SigningAlgorithm;
use mcp_auth_machine::{Action, MethodFlaw};
use serde_json::{Value, json};

use crate::registration::methods;
use crate::support::*;

const CIMD: &str = "https://client.example/client.json";
const JWT_ONLY: &str = r#"["private_key_jwt"]"#;

fn key() -> SigningKey {
    let jwk = r#"{"kty":"EC","crv":"P-256","x":"eA","y":"eQ"}"#;
    SigningKey::new("k", [SigningAlgorithm::Es256])
        .kid("k-1")
        .public(PublicKey::from_jwk(jwk).unwrap())
}

fn documented() -> ConfigBuilder {
    config()
        .client_metadata_url(CIMD)
        .client_metadata_key(key())
}

fn supporting(list: &str) -> String {
    methods(list).replacen('{', r#"{"client_id_metadata_document_supported":true,"#, 1)
}

/// The body of the registration request, which is answered with this method.
fn registers(host: &mut Host, method: &str) -> Value {
    let answer = format!(r#"{{"client_id":"dyn","token_endpoint_auth_method":"{method}"}}"#);
    let request = host.serve(REGISTER, 201, &answer);
    serde_json::from_slice(request.body()).unwrap()
}

/// Signs the assertion, checks it, and has the token request answered.
fn exchanges(host: &mut Host, client: &str) {
    let redirect = host.redirect();
    assert_eq!(&*redirect.client_id, client);
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let (header, claims) = host.signs();
    assert_eq!(
        (&header["alg"], &header["kid"]),
        (&json!("ES256"), &json!("k-1"))
    );
    assert_eq!(
        (&claims["sub"], &claims["aud"]),
        (&json!(client), &json!(AS))
    );
    let request = host.serve(TOKEN, 200, &token_answer("at-1"));
    let form = body(&request);
    assert!(get(&form, "client_assertion").is_some());
    assert_eq!(get(&form, "client_secret"), None);
    assert!(!request.headers().contains_key("authorization"));
    host.ready();
}

#[test]
fn tok_04_reg_11_a_documented_client_with_a_key_sends_an_assertion() {
    for list in [JWT_ONLY, r#"["none","private_key_jwt"]"#] {
        let mut host = Host::new(documented());
        host.discover(&prm(), &supporting(list));
        exchanges(&mut host, CIMD);
    }
    // Pushed requests are authenticated in the same way.
    let mut host = Host::new(documented().pushed_requests(PushedRequests::WhenOffered));
    let par = "https://as.example/par";
    let more = format!(r#"{{"pushed_authorization_request_endpoint":"{par}","#);
    host.discover(&prm(), &supporting(JWT_ONLY).replacen('{', &more, 1));
    host.signs();
    let form = body(&host.serve(par, 201, r#"{"request_uri":"urn:x","expires_in":60}"#));
    assert!(get(&form, "client_assertion").is_some());
    host.redirect();
}

#[test]
fn tok_04_reg_11_where_no_assertion_is_listed_the_document_alone_identifies_the_client() {
    let mut host = Host::new(documented());
    host.discover(&prm(), &supporting(r#"["none"]"#));
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let form = body(&host.serve(TOKEN, 200, &token_answer("at-1")));
    assert_eq!(get(&form, "client_id").as_deref(), Some(CIMD));
    // With a list that has neither, nothing is sent (TOK-04 case 6).
    let mut host = Host::new(documented());
    host.discover(&prm(), &supporting(r#"["client_secret_basic"]"#));
    let flaw = Misconfiguration::ClientMethod(MethodFlaw::NothingListed);
    assert_eq!(host.error().cause, Cause::Misconfigured(flaw));
    host.quiet();
}

#[test]
fn reg_21_tok_08_a_registration_with_a_key_carries_its_public_part() {
    let mut host = Host::new(config().client_metadata_key(key()));
    host.discover(&prm(), &methods(r#"["none","private_key_jwt"]"#));
    let asked = registers(&mut host, "private_key_jwt");
    assert_eq!(asked["token_endpoint_auth_method"], "private_key_jwt");
    assert_eq!(
        asked["jwks"],
        json!({"keys": [{"kty": "EC", "crv": "P-256", "x": "eA", "y": "eQ", "use": "sig", "kid": "k-1"}]})
    );
    exchanges(&mut host, "dyn");
}

#[test]
fn reg_21_without_a_list_or_a_public_part_no_key_is_registered() {
    let private = SigningKey::new("k", [SigningAlgorithm::Es256]);
    for (key, list) in [(key(), "null"), (private, r#"["none","private_key_jwt"]"#)] {
        let mut host = Host::new(config().client_metadata_key(key));
        host.discover(&prm(), &methods(list));
        let asked = registers(&mut host, "none");
        assert_eq!(asked["token_endpoint_auth_method"], "none");
        assert!(asked.get("jwks").is_none());
    }
}

#[test]
fn reg_18_descriptive_metadata_is_sent_unchanged() {
    let about = config()
        .logo_uri("https://client.example/logo.png")
        .contact("ops@client.example")
        .contact("sec@client.example")
        .policy_uri("https://client.example/policy")
        .tos_uri("https://client.example/terms")
        .software_statement("e30.e30.c2ln");
    let mut host = Host::new(about);
    host.discover(&prm(), &metadata());
    let asked = registers(&mut host, "none");
    assert_eq!(asked["logo_uri"], "https://client.example/logo.png");
    assert_eq!(
        asked["contacts"],
        json!(["ops@client.example", "sec@client.example"])
    );
    assert_eq!(asked["policy_uri"], "https://client.example/policy");
    assert_eq!(asked["tos_uri"], "https://client.example/terms");
    assert_eq!(asked["software_statement"], "e30.e30.c2ln");
}

#[test]
fn sec_24_reg_18_links_in_a_registration_are_https() {
    type Set = fn(ConfigBuilder, &str) -> ConfigBuilder;
    let settings: [(&str, Set); 3] = [
        ("logo_uri", |b, u| b.logo_uri(u)),
        ("policy_uri", |b, u| b.policy_uri(u)),
        ("tos_uri", |b, u| b.tos_uri(u)),
    ];
    for (name, set) in settings {
        for bad in ["javascript:alert(1)", "http://client.example/", ""] {
            let built = set(config(), bad).build();
            let is_it =
                matches!(&built, Err(ConfigError::ClientLink { member, .. }) if *member == name);
            assert!(is_it, "{name} {bad}");
        }
    }
}

/// The machine asks the host for the signature; a key stays where it is.
#[test]
fn tok_08_a_host_that_cannot_sign_ends_the_attempt_and_nothing_is_sent() {
    let mut host = Host::new(documented());
    host.discover(&prm(), &supporting(JWT_ONLY));
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let Action::Sign(sign) = host.next() else {
        panic!()
    };
    host.handle(sign.failed());
    let flaw = Misconfiguration::SignerFailed;
    assert_eq!(host.error().cause, Cause::Misconfigured(flaw));
    host.quiet();
}
