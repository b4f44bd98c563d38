//! Retries: nonces, rejections, and back-off (DPOP-10, DPOP-11, USE-08, TOK-22, D01).

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use mcp_auth_machine::Event;
use mcp_auth_machine::action::Why;
use mcp_auth_machine::config::DpopPolicy;
use mcp_auth_machine::error::{Cause, Next, Refusal};
use mcp_auth_machine::event::Challenge;
use mcp_auth_machine::wire::token::OAuthError;

use crate::dpop;
use crate::support::*;
use crate::without_user::{machine_metadata, service, to_token};

const NONCE: &[(&str, &str)] = &[("dpop-nonce", "n-1")];

fn m2m() -> Host {
    let config = config().pre_registered(AS, service()).client_credentials();
    to_token(
        config,
        &machine_metadata(AS, r#""client_secret_basic""#, ""),
    )
}

#[track_caller]
fn refused_with(host: &mut Host, wanted: OAuthError) {
    match host.error().cause {
        Cause::Refused(Refusal::OAuth { error, .. }) => assert_eq!(error, wanted),
        other => panic!("{other:?}"),
    }
    host.quiet();
}

#[test]
fn a_nonce_alone_is_no_reason_to_send_a_code_again() {
    let to_token = || {
        let metadata = metadata_with(dpop::LISTED);
        dpop::to_token(dpop::with(DpopPolicy::Require), &metadata).0
    };
    let mut host = to_token();
    host.serve_with(TOKEN, 200, NONCE, &dpop::bound("at-1"));
    host.ready();
    host.quiet();
    let mut host = to_token();
    host.serve_with(TOKEN, 400, NONCE, r#"{"error":"invalid_grant"}"#);
    refused_with(&mut host, OAuthError::InvalidGrant);
    // `use_dpop_nonce` is not retried when the request had no proof.
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve_with(TOKEN, 400, NONCE, r#"{"error":"use_dpop_nonce"}"#);
    refused_with(&mut host, OAuthError::UseDpopNonce);
}

#[test]
fn a_bound_token_that_is_refused_for_another_reason_is_renewed() {
    for nonce in [Some("rs-1"), None] {
        let mut host = dpop::signed_in();
        let mut headers = HeaderMap::new();
        let challenge = HeaderValue::from_static("DPoP error=\"invalid_token\"");
        headers.insert("www-authenticate", challenge);
        if let Some(nonce) = nonce {
            headers.insert("dpop-nonce", HeaderValue::from_static(nonce));
        }
        let challenge = Challenge::new("tools/call x", 401, headers).sent("DPoP at-1");
        host.handle(Event::Challenged(challenge));
        host.serve(PRM, 200, &prm());
        host.signs();
        host.serve(TOKEN, 200, &dpop::bound("at-2"));
        host.ready();
    }
}

#[test]
fn a_token_that_was_just_refreshed_is_not_refreshed_for_another_operation() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    host.refused("Bearer");
    host.serve(PRM, 200, &prm());
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
    let sent = host.token();
    host.challenged_for("other", 401, &["Bearer"], sent.as_deref());
    host.serve(PRM, 200, &prm());
    assert_eq!(host.need_user().why, Why::TokenOver);
    host.quiet();
    // A while later it is not just refreshed any more.
    host.pass(6 * 60_000);
    host.challenged_for("third", 401, &["Bearer"], sent.as_deref());
    host.serve(PRM, 200, &prm());
    host.serve(TOKEN, 200, &renewable("at-3", "rt-3"));
    host.ready();
}

/// Another process on what is in the store now.
fn beside(host: &Host, later: u64) -> Host {
    let store = Store {
        slots: host.store.slots.clone(),
        served: host.store.served.clone(),
        ..Store::default()
    };
    let mut now = host.now;
    now.wall.0 += later;
    Host::resumed(
        Arc::new(config().build().unwrap()),
        store,
        now,
        host.seeds + 50,
    )
}

/// A refresh is due, and its request is out.
fn due() -> Host {
    let mut host = Host::signed_in(config(), &renewable_for("at-1", "rt-1", "60"));
    host.pass(60_000);
    host.wanted("x");
    host
}

#[test]
fn the_refresh_token_is_not_kept_from_others_for_a_long_wait() {
    for (asked, kept) in [("5", true), ("6", false), ("60", false)] {
        let mut host = due();
        host.serve_with(TOKEN, 503, &[("retry-after", asked)], "");
        let mut other = beside(&host, 0);
        other.wanted("x");
        if kept {
            other.quiet();
        } else {
            other.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
            other.ready();
        }
    }
}

#[test]
fn a_process_that_slept_past_its_lease_does_not_send_beside_the_next_one() {
    let mut host = due();
    host.serve(TOKEN, 503, "");
    let mut other = beside(&host, 36_000);
    other.wanted("x");
    let send = other.request();
    host.store.slots.clone_from(&other.store.slots);
    host.pass(37_000);
    host.handle(Event::Timer);
    host.quiet();
    other.handle(send.response(response(200, &[], &renewable("at-2", "rt-2"))));
    other.ready();
    host.store.slots.clone_from(&other.store.slots);
    host.wake();
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
}

#[test]
fn a_server_is_left_alone_for_the_whole_pause_and_no_longer() {
    let mut host = m2m();
    host.serve_with(TOKEN, 503, &[("retry-after", "7")], "");
    // Other events do not shorten the wait.
    host.pass(1_000);
    host.callback("code=c&state=AAAAAAAAAAAAAAAAAAAAAA");
    host.quiet();
    assert_eq!(host.wake(), 6_000);
    host.request();
    let mut host = m2m();
    host.serve_with(TOKEN, 503, &[("retry-after", "7")], "");
    host.pass(20_000);
    host.handle(Event::Timer);
    host.request();
}

#[test]
fn one_delayed_retry_without_a_user_and_then_the_time_that_is_told() {
    let mut host = m2m();
    let wait = &[("retry-after", "7")];
    host.serve_with(TOKEN, 503, wait, "");
    host.quiet();
    assert_eq!(host.wake(), 7_000);
    host.serve_with(TOKEN, 503, wait, "");
    let Next::RetryLater(Some(at)) = host.error().next() else {
        panic!()
    };
    assert_eq!(at.0, host.now.wall.0 + 7_000);
    host.pass(6_999);
    host.wanted("x");
    host.error();
    host.pass(1);
    host.wanted("x");
    host.serve(PRM, 200, &prm());
    host.request();
}
