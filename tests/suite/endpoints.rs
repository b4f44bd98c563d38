//! Endpoints as servers spell them: answers come from them (H07), and parameters are added to them
//! (AUTHZ-02, AUTHZ-11).

use mcp_auth_machine::Action;
use mcp_auth_machine::config::IssuerSettings;
use mcp_auth_machine::error::{Cause, Violation};

use crate::support::*;

/// Answers the next request, as if the answer had come from this URL.
fn answer_from(host: &mut Host, url: &str, status: u16, text: &str) {
    let send = host.request();
    let answer = response(status, &[("content-type", "application/json")], text);
    host.handle(send.response_from(answer, url));
}

#[test]
fn answers_are_taken_from_the_endpoint_that_was_asked() {
    let mut host = Host::new(config());
    host.discover(&prm(), &metadata());
    answer_from(&mut host, REGISTER, 201, r#"{"client_id":"c"}"#);
    let redirect = host.redirect();
    host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
    answer_from(&mut host, TOKEN, 200, &token_answer("at-1"));
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
}

#[test]
fn a_registration_answer_from_elsewhere_is_refused() {
    for url in [
        "https://evil.example/register",
        TOKEN,
        "https://as.example/",
    ] {
        let mut host = Host::new(config());
        host.discover(&prm(), &metadata());
        answer_from(&mut host, url, 201, r#"{"client_id":"c"}"#);
        assert_eq!(host.error().cause, Cause::Violation(Violation::Redirected));
        assert!(host.store.of_kind("registration").is_empty());
        host.quiet();
    }
}

#[test]
fn parameters_are_appended_to_a_query_of_any_shape() {
    for (own, joined) in [
        ("", "?response_type=code&"),
        ("?", "?response_type=code&"),
        ("?a=b", "?a=b&response_type=code&"),
        ("?a=b&", "?a=b&response_type=code&"),
    ] {
        let endpoint = "https://as.example/authorize";
        let document =
            metadata().replace(&format!("\"{endpoint}\""), &format!("\"{endpoint}{own}\""));
        let mut host = Host::new(config());
        host.discover(&prm(), &document);
        host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
        let redirect = host.redirect();
        let url = redirect.url.as_str();
        assert!(url.starts_with(&format!("{endpoint}{joined}")), "{url}");
    }
}

/// The action after the registration when an authorization parameter has this length.
fn with_parameter(length: usize) -> Action {
    let settings = IssuerSettings::new()
        .authorization_parameter("hint", &"x".repeat(length))
        .unwrap();
    let mut host = Host::new(config().issuer_settings(AS, settings));
    host.discover(&prm(), &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
    host.next()
}

#[test]
fn a_url_of_32_kib_is_opened_and_none_that_is_longer() {
    let Action::Redirect(shortest) = with_parameter(1) else {
        panic!()
    };
    let longest = 1 + 32 * 1024 - shortest.url.as_str().len();
    let Action::Redirect(redirect) = with_parameter(longest) else {
        panic!()
    };
    assert_eq!(redirect.url.as_str().len(), 32 * 1024);
    assert!(matches!(with_parameter(longest + 1), Action::Error(_)));
}
