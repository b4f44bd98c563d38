//! How a registered or configured client authenticates, in the less usual cases (TOK-04, TOK-06).

use mcp_auth_machine::MethodFlaw;
use mcp_auth_machine::config::PreRegistered;
use mcp_auth_machine::error::{Cause, Misconfiguration, Violation};
use mcp_auth_machine::key::SigningKey;
use mcp_auth_machine::wire::words::SigningAlgorithm;

use crate::registration::{authentication, methods, registered, token_request};
use crate::support::*;

const BASIC: &str = r#"["client_secret_basic"]"#;
const POST: &str = r#"["client_secret_post"]"#;
const BOTH: &str = r#"["client_secret_basic","client_secret_post"]"#;

/// Header, identifier and secret of the token request of a client that was registered so.
fn after(
    list: &str,
    secret: Option<&str>,
    method: &str,
) -> (Option<String>, Option<String>, Option<String>) {
    let secret = secret.map_or(String::new(), |secret| {
        format!(r#","client_secret":"{secret}""#)
    });
    let answer = format!(r#"{{"client_id":"c"{secret},"token_endpoint_auth_method":"{method}"}}"#);
    authentication(&registered(list, &answer).unwrap())
}

fn basic(text: &str) -> (Option<String>, Option<String>, Option<String>) {
    (Some(format!("Basic {text}")), None, None)
}

fn post(secret: &str) -> (Option<String>, Option<String>, Option<String>) {
    (None, Some("c".to_owned()), Some(secret.to_owned()))
}

fn public() -> (Option<String>, Option<String>, Option<String>) {
    (None, Some("c".to_owned()), None)
}

#[test]
fn without_a_secret_a_client_is_public_where_no_method_with_one_is_listed() {
    for method in ["client_secret_basic", "client_secret_post"] {
        assert_eq!(after(r#"["none"]"#, None, method), public(), "{method}");
        for list in [BASIC, POST, BOTH, "null"] {
            let answer = format!(r#"{{"client_id":"c","token_endpoint_auth_method":"{method}"}}"#);
            let flaw = Violation::RegistrationMethod(MethodFlaw::NoSecret);
            let failure = registered(list, &answer).unwrap_err();
            assert_eq!(failure.cause, Cause::Violation(flaw), "{list}");
        }
    }
}

#[test]
fn a_registered_method_that_is_not_listed_gives_way_to_one_that_is() {
    assert_eq!(after(BASIC, Some("s"), "none"), basic("Yzpz"));
    assert_eq!(after(POST, Some("s"), "none"), post("s"));
    assert_eq!(after(POST, Some("s"), "client_secret_basic"), post("s"));
    assert_eq!(after(BASIC, Some("s"), "client_secret_post"), basic("Yzpz"));
}

#[test]
fn a_registered_method_that_is_listed_stays_whatever_is_to_be_encoded() {
    // base64("c:p%40ss")
    let encoded = basic("YzpwJTQwc3M=");
    assert_eq!(after(BOTH, Some("p@ss"), "client_secret_basic"), encoded);
    assert_eq!(
        after(BOTH, Some("p@ss"), "client_secret_post"),
        post("p@ss")
    );
}

#[test]
fn the_body_is_preferred_where_the_encoding_changes_either_part() {
    for (id, secret, in_body) in [
        ("c", "s", false),
        ("c", "p@ss", true),
        ("c:1", "s", true),
        ("c:1", "p@ss", true),
    ] {
        let client = PreRegistered::new(id).secret(secret);
        let mut host = Host::new(config().pre_registered(AS, client));
        host.discover(&prm(), &methods(BOTH));
        let (header, ..) = authentication(&token_request(host).unwrap());
        assert_eq!(header.is_none(), in_body, "{id} {secret}");
    }
}

#[test]
fn a_registration_for_a_key_that_nobody_has_is_of_no_use() {
    for secret in ["", r#","client_secret":"s""#] {
        let method = r#","token_endpoint_auth_method":"private_key_jwt""#;
        let answer = format!(r#"{{"client_id":"c"{secret}{method}}}"#);
        let flaw = Violation::RegistrationMethod(MethodFlaw::Unsupported);
        let failure = registered(BOTH, &answer).unwrap_err();
        assert_eq!(failure.cause, Cause::Violation(flaw), "{secret}");
    }
}

#[test]
fn tok_08_a_key_is_of_use_where_assertions_are_listed() {
    let key = SigningKey::new("k", [SigningAlgorithm::Es256]);
    let client = PreRegistered::new("c").key(key);
    let mut host = Host::new(config().pre_registered(AS, client));
    host.discover(&prm(), &methods(BOTH));
    let flaw = Misconfiguration::ClientMethod(MethodFlaw::NothingListed);
    assert_eq!(host.error().cause, Cause::Misconfigured(flaw));
    host.quiet();
}

#[test]
fn reg_21_where_nothing_that_a_registration_can_use_is_listed_it_asks_to_be_public() {
    let mut host = Host::new(config());
    host.discover(&prm(), &methods(r#"["private_key_jwt"]"#));
    let send = host.request();
    let asked: serde_json::Value = serde_json::from_slice(send.request().body()).unwrap();
    assert_eq!(asked["token_endpoint_auth_method"], "none");
}
