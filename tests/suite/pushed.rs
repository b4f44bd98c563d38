//! Pushed authorization requests (AUTHZ-20, AUTHZ-21).

use std::sync::atomic::{AtomicUsize, Ordering};

use mcp_auth_machine::action::{Purpose, Redirect};
use mcp_auth_machine::config::{
    ConfigBuilder, IssuerSettings, PreRegistered, PushedRequests, TokenAnswers,
};
use mcp_auth_machine::error::{Cause, Refusal, Stage};
use mcp_auth_machine::wire::token::OAuthError;

use crate::support::*;

const PAR: &str = "https://as.example/par";
const REQUIRED: &str = r#","require_pushed_authorization_requests":true,"pushed_authorization_request_endpoint":"https://as.example/par""#;
const OFFERED: &str = r#","pushed_authorization_request_endpoint":"https://as.example/par""#;
const PUSHED: &str = r#"{"request_uri":"urn:ietf:params:oauth:request_uri:abc","expires_in":60}"#;

fn to_push(config: ConfigBuilder, more: &str) -> Host {
    let mut host = Host::new(config);
    host.discover(&prm(), &metadata_with(more));
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    host
}

fn pushed(host: &mut Host) -> (Vec<(String, String)>, Redirect) {
    let form = body(&host.serve(PAR, 201, PUSHED));
    (form, host.redirect())
}

#[test]
fn authz_20_authz_21_the_browser_carries_a_reference_alone() {
    let settings = IssuerSettings::new()
        .authorization_parameter("prompt", "consent")
        .unwrap();
    let mut host = to_push(config().issuer_settings(AS, settings), REQUIRED);
    let (form, redirect) = pushed(&mut host);
    for name in [
        "response_type",
        "client_id",
        "redirect_uri",
        "state",
        "code_challenge",
        "code_challenge_method",
        "resource",
        "prompt",
    ] {
        assert!(get(&form, name).is_some(), "{name}");
    }
    let found = query(redirect.url.as_str());
    assert_eq!(found.len(), 2);
    assert_eq!(get(&found, "client_id").as_deref(), Some("dyn-1"));
    assert_eq!(
        get(&found, "request_uri").as_deref(),
        Some("urn:ietf:params:oauth:request_uri:abc")
    );
    // The record was durable before anything was pushed; the callback leg is as ever.
    let state = get(&form, "state").unwrap();
    host.callback(&format!("code=c&state={state}"));
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
}

#[test]
fn authz_20_where_it_is_only_offered_the_host_decides() {
    let mut host = to_push(config(), OFFERED);
    assert!(host.redirect().url.as_str().contains("code_challenge="));
    let mut host = to_push(
        config().pushed_requests(PushedRequests::WhenOffered),
        OFFERED,
    );
    pushed(&mut host);
}

#[test]
fn authz_21_a_reference_is_used_once() {
    let mut host = to_push(config(), REQUIRED);
    let (first, _) = pushed(&mut host);
    // Asked for again, the same request is pushed again.
    host.authorize();
    let send = host.request();
    assert_eq!(send.purpose(), Purpose::PushedAuthorization);
    assert_eq!(get(&body(send.request()), "state"), get(&first, "state"));
    let other = PUSHED.replace("abc", "def");
    host.handle(send.response(response(201, &[], &other)));
    assert!(host.redirect().url.as_str().ends_with("def"));
}

/// The repetition fails; the callback of the authorization that is open in the browser is still accepted.
#[test]
fn authz_18_authz_21_a_repetition_that_fails_leaves_the_open_authorization() {
    for status in [503, 202] {
        let mut host = to_push(config(), REQUIRED);
        let (form, _) = pushed(&mut host);
        host.authorize();
        host.serve(PAR, status, "");
        assert_eq!(host.error().stage, Stage::Authorization);
        host.quiet();
        assert_eq!(host.store.of_kind("pending").len(), 1);
        let state = get(&form, "state").unwrap();
        host.callback(&format!("code=c&state={state}"));
        host.serve(TOKEN, 200, &token_answer("at-1"));
        host.ready();
    }
    // A refusal by the server ends it.
    let mut host = to_push(config(), REQUIRED);
    pushed(&mut host);
    host.authorize();
    host.serve(PAR, 400, r#"{"error":"invalid_request"}"#);
    host.error();
    assert!(host.store.of_kind("pending").is_empty());
}

#[test]
fn authz_20_tok_05_the_client_authenticates_once() {
    let client = PreRegistered::new("pre").secret("s");
    let mut host = Host::new(config().pre_registered(AS, client));
    let document = metadata_with(REQUIRED).replace("[\"none\"]", "[\"client_secret_basic\"]");
    host.discover(&prm(), &document);
    let request = host.serve(PAR, 201, PUSHED);
    assert!(request.headers().contains_key("authorization"));
    let form = body(&request);
    assert_eq!(get(&form, "client_id").as_deref(), Some("pre"));
    assert_eq!(get(&form, "client_secret"), None);
    host.redirect();
}

#[test]
fn authz_21_a_refusal_sends_nobody_away_and_leaves_nothing() {
    for (status, answer) in [
        (
            400,
            r#"{"error":"invalid_request","error_description":"no"}"#,
        ),
        (500, ""),
        (201, "{}"),
        (201, "<html>"),
        (202, PUSHED),
        (307, ""),
    ] {
        let mut host = to_push(config(), REQUIRED);
        host.serve_with(
            PAR,
            status,
            &[("location", "https://evil.example/")],
            answer,
        );
        let failure = host.error();
        assert_eq!(failure.stage, Stage::Authorization);
        if status == 400 {
            assert!(matches!(
                failure.cause,
                Cause::Refused(Refusal::OAuth {
                    error: OAuthError::InvalidRequest,
                    ..
                })
            ));
        }
        host.quiet();
        assert!(host.store.of_kind("pending").is_empty());
        // The user can try again.
        host.authorize();
        host.serve(PRM, 200, &prm());
        pushed(&mut host);
    }
}

#[test]
fn quirk_07_an_adapter_sees_token_answers_alone_and_each_once() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    fn seen(body: &[u8]) -> Option<Vec<u8>> {
        assert_eq!(body, token_answer("at-1").as_bytes());
        SEEN.fetch_add(1, Ordering::Relaxed);
        None
    }
    let settings = IssuerSettings::new().token_answers(TokenAnswers::Adapted(seen));
    let mut host = to_push(config().issuer_settings(AS, settings), REQUIRED);
    let (form, _) = pushed(&mut host);
    let state = get(&form, "state").unwrap();
    host.callback(&format!("code=c&state={state}"));
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
    assert_eq!(SEEN.load(Ordering::Relaxed), 1);
}
