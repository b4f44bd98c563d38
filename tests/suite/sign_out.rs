//! Signing out (REV, REFR-12).

use mcp_auth_machine::action::Purpose;
use mcp_auth_machine::config::PreRegistered;
use mcp_auth_machine::error::{Cause, Misconfiguration, Refusal, Stage, StoreFlaw};
use mcp_auth_machine::wire::token::OAuthError;
use mcp_auth_machine::{Action, Event, MethodFlaw, Phase};

use crate::support::*;

pub const REVOKE: &str = "https://as.example/revoke";

pub fn revocable(more: &str) -> String {
    metadata_with(&format!(r#","revocation_endpoint":"{REVOKE}"{more}"#))
}

pub fn signed_in_at(
    config: mcp_auth_machine::config::ConfigBuilder,
    document: &str,
    answer: &str,
) -> Host {
    let mut host = Host::new(config);
    host.discover(&prm(), document);
    if host
        .actions
        .front()
        .is_some_and(|a| matches!(a, Action::SendRequest(_)))
    {
        host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    }
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, answer);
    host.ready();
    host
}

fn signed_in() -> Host {
    signed_in_at(config(), &revocable(""), &renewable("at-1", "rt-1"))
}

#[test]
fn rev_01_rev_02_rev_03_rev_05_refresh_token_then_access_token_after_the_erasure() {
    let mut host = signed_in();
    host.handle(Event::SignedOut);
    // Erased already, before any server is asked.
    assert!(host.store.of_kind("account").is_empty());
    assert_eq!(host.token(), None);
    let send = host.request();
    assert_eq!(send.purpose(), Purpose::Revocation);
    assert_eq!(send.request().uri().to_string(), REVOKE);
    let form = body(send.request());
    assert_eq!(get(&form, "token").as_deref(), Some("rt-1"));
    assert_eq!(
        get(&form, "token_type_hint").as_deref(),
        Some("refresh_token")
    );
    assert_eq!(get(&form, "client_id").as_deref(), Some("dyn-1"));
    host.handle(send.response(response(200, &[], "whatever")));
    let request = host.serve(REVOKE, 200, "");
    let form = body(&request);
    assert_eq!(get(&form, "token").as_deref(), Some("at-1"));
    assert_eq!(
        get(&form, "token_type_hint").as_deref(),
        Some("access_token")
    );
    host.quiet();
    assert_eq!(host.machine.phase(), Phase::Resting);
    assert_eq!(host.reported("revoked"), 2);
}

#[test]
fn rev_01_where_nothing_can_be_revoked_it_is_erased_all_the_same() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    host.handle(Event::SignedOut);
    host.quiet();
    assert!(host.store.of_kind("account").is_empty());
    // The registration stays: it belongs to the client, not to the user's session (REV-06).
    assert_eq!(host.store.of_kind("registration").len(), 1);
}

#[test]
fn rev_01_the_method_fits_the_list_of_the_revocation_endpoint() {
    let client = PreRegistered::new("pre").secret("s3cret");
    let document =
        revocable(r#","revocation_endpoint_auth_methods_supported":["client_secret_post"]"#)
            .replace("[\"none\"]", "[\"client_secret_basic\"]");
    let mut host = signed_in_at(
        config().pre_registered(AS, client),
        &document,
        &renewable("at-1", "rt-1"),
    );
    host.handle(Event::SignedOut);
    let request = host.serve(REVOKE, 200, "");
    let form = body(&request);
    assert_eq!(get(&form, "client_secret").as_deref(), Some("s3cret"));
    assert!(!request.headers().contains_key("authorization"));
    // The opposite case.
    let client = PreRegistered::new("pre").secret("s3cret");
    let document =
        revocable(r#","revocation_endpoint_auth_methods_supported":["client_secret_basic"]"#)
            .replace("[\"none\"]", "[\"client_secret_post\"]");
    let mut host = signed_in_at(
        config().pre_registered(AS, client),
        &document,
        &renewable("at-1", "rt-1"),
    );
    host.handle(Event::SignedOut);
    let request = host.serve(REVOKE, 200, "");
    assert!(request.headers().contains_key("authorization"));
    assert_eq!(get(&body(&request), "client_secret"), None);
}

/// Servers let only clients with a secret revoke, and say `invalid_client` to others: that is about the method.
#[test]
fn rev_01_a_refusal_of_a_method_that_is_not_listed_says_nothing_of_the_client() {
    let refused = r#"{"error":"invalid_client"}"#;
    let list = |listed| format!(r#","revocation_endpoint_auth_methods_supported":["{listed}"]"#);
    for (list, of_the_method) in [
        (list("client_secret_basic"), true),
        (String::new(), true),
        (list("none"), false),
    ] {
        let mut host = signed_in_at(config(), &revocable(&list), &renewable("at-1", "rt-1"));
        host.handle(Event::SignedOut);
        host.serve(REVOKE, 401, refused);
        host.serve(REVOKE, 401, refused);
        let flaw = Misconfiguration::ClientMethod(MethodFlaw::NotForRevocation);
        assert_eq!(
            host.error().cause == Cause::Misconfigured(flaw),
            of_the_method,
            "{list}"
        );
        assert_eq!(host.store.of_kind("registration").len(), 1);
    }
}

#[test]
fn rev_03_rev_04_a_refusal_is_told_and_changes_nothing() {
    let mut host = signed_in();
    host.handle(Event::SignedOut);
    host.serve(REVOKE, 400, r#"{"error":"unsupported_token_type"}"#);
    // Not repeated with that type; the other one is tried.
    let request = host.serve(REVOKE, 200, "");
    assert_eq!(get(&body(&request), "token").as_deref(), Some("at-1"));
    let failure = host.error();
    assert_eq!(failure.stage, Stage::Revocation);
    assert!(matches!(
        failure.cause,
        Cause::Refused(Refusal::OAuth {
            error: OAuthError::UnsupportedTokenType,
            ..
        })
    ));
    host.quiet();
    assert!(host.store.of_kind("account").is_empty());
    // 200 with an error in its body: nothing was revoked, whatever the status says.
    let mut host = signed_in();
    host.handle(Event::SignedOut);
    let answer = r#"{"error":"invalid_request","error_description":"Missing client_id"}"#;
    host.serve(REVOKE, 200, answer);
    host.serve(REVOKE, 200, r#"{"ok":true}"#);
    let failure = host.error();
    assert_eq!(failure.stage, Stage::Revocation);
    let text = failure.to_string();
    assert!(text.contains("refused to revoke a token"), "{text}");
    assert!(text.contains("saying \"Missing client_id\""), "{text}");
    host.quiet();
    // Not reachable.
    let mut host = signed_in();
    host.handle(Event::SignedOut);
    let send = host.request();
    host.handle(send.response(response(503, &[("retry-after", "7")], "")));
    host.serve(REVOKE, 200, "");
    let failure = host.error();
    let Cause::Unreachable(unreachable) = failure.cause else {
        panic!("{failure:?}")
    };
    assert_eq!(unreachable.retry_at.unwrap().0, host.now.wall.0 + 7_000);
    // Redirected: not followed.
    let mut host = signed_in();
    host.handle(Event::SignedOut);
    host.serve_with(REVOKE, 307, &[("location", "https://evil.example/")], "");
    host.serve(REVOKE, 200, "");
    assert_eq!(host.error().cause.code(), "redirected");
    host.quiet();
}

#[test]
fn rev_03_a_store_that_fails_does_not_stop_the_revocation() {
    for mode in [StoreMode::WritesFail, StoreMode::LoadsFail] {
        let mut host = signed_in();
        host.store.mode = mode;
        host.handle(Event::SignedOut);
        if mode == StoreMode::WritesFail {
            assert!(matches!(host.error().cause, Cause::NotPersisted(_)));
        }
        host.serve(REVOKE, 200, "");
        host.serve(REVOKE, 200, "");
        host.quiet();
        assert_eq!(host.token(), None);
        if mode == StoreMode::LoadsFail {
            // The record was unreadable, and was erased.
            assert!(host.store.of_kind("account").is_empty());
        }
    }
}

#[test]
fn refr_12_an_answer_under_way_is_discarded_and_what_it_brings_revoked() {
    let mut host = signed_in_at(
        config(),
        &revocable(""),
        &renewable_for("at-1", "rt-1", "60"),
    );
    host.pass(60_000);
    host.wanted("x");
    let refresh = host.request();
    host.handle(Event::SignedOut);
    assert_eq!(host.error().cause, Cause::Abandoned);
    host.serve(REVOKE, 200, "");
    host.serve(REVOKE, 200, "");
    host.handle(refresh.response(response(200, &[], &renewable("at-2", "rt-2"))));
    assert_eq!(host.token(), None);
    assert!(host.store.of_kind("account").is_empty());
    assert_eq!(
        get(&body(&host.serve(REVOKE, 200, "")), "token").as_deref(),
        Some("rt-2")
    );
    assert_eq!(
        get(&body(&host.serve(REVOKE, 200, "")), "token").as_deref(),
        Some("at-2")
    );
    host.quiet();
    // The same with a code exchange.
    let mut host = Host::new(config());
    host.discover(&prm(), &revocable(""));
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let exchange = host.request();
    host.handle(Event::SignedOut);
    assert_eq!(host.error().cause, Cause::Abandoned);
    host.quiet();
    host.handle(exchange.response(response(200, &[], &token_answer("at-1"))));
    assert_eq!(
        get(&body(&host.serve(REVOKE, 200, "")), "token").as_deref(),
        Some("at-1")
    );
    host.quiet();
    assert_eq!(host.token(), None);
}

#[test]
fn rev_02_tokens_that_another_process_stored_meanwhile_are_revoked() {
    let mut host = signed_in();
    let mut other = Host::for_user(
        std::sync::Arc::new(config().build().unwrap()),
        std::mem::take(&mut host.store),
        "alice",
    );
    other.ready();
    other.refused("Bearer");
    other.serve(PRM, 200, &prm());
    other.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    other.ready();
    host.store = std::mem::take(&mut other.store);
    host.handle(Event::SignedOut);
    assert!(host.store.of_kind("account").is_empty());
    assert_eq!(
        get(&body(&host.serve(REVOKE, 200, "")), "token").as_deref(),
        Some("rt-2")
    );
}

#[test]
fn rev_02_signing_out_twice_revokes_once_and_all_of_it() {
    let mut host = signed_in();
    host.store.mode = StoreMode::Manual;
    host.handle(Event::SignedOut);
    host.handle(Event::SignedOut);
    let Action::LoadSlot(load) = host.next() else {
        panic!()
    };
    host.quiet();
    let stored = host.store.of_kind("account")[0].clone();
    host.handle(load.found(Some(stored)));
    host.handle(Event::SignedOut);
    let Action::PersistSlot(erase) = host.next() else {
        panic!()
    };
    host.store.mode = StoreMode::Works;
    let erased = host.store.persist(erase);
    host.handle(erased);
    host.handle(Event::SignedOut);
    host.serve(REVOKE, 200, "");
    host.serve(REVOKE, 200, "");
    host.quiet();
}

#[test]
fn h10_after_sign_out_everything_can_begin_again() {
    let mut host = signed_in();
    host.handle(Event::SignedOut);
    // A new authorization waits for the revocation, and is not lost.
    host.challenged(401, &[&announcing()]);
    host.serve(REVOKE, 200, "");
    host.serve(REVOKE, 200, "");
    host.need_user();
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.redirect();
}

#[test]
fn an_erasure_that_others_keep_overtaking_ends_and_the_tokens_are_revoked() {
    let mut host = signed_in();
    let stored = host.store.of_kind("account")[0].clone();
    host.store.mode = StoreMode::Manual;
    host.handle(Event::SignedOut);
    let Action::LoadSlot(load) = host.next() else {
        panic!()
    };
    host.handle(load.found(Some(stored.clone())));
    for _ in 0..3 {
        let Action::PersistSlot(erase) = host.next() else {
            panic!()
        };
        assert!(erase.write().is_none());
        host.handle(erase.conflict(Some(stored.clone())));
    }
    let failure = host.error();
    assert_eq!(failure.cause, Cause::NotPersisted(StoreFlaw::Conflict));
    host.serve(REVOKE, 200, "");
    host.serve(REVOKE, 200, "");
    host.quiet();
}

#[test]
fn refr_12_a_refresh_rejected_after_the_sign_out_leaves_no_token_to_revoke() {
    for answer in [r#"{"error":"invalid_grant"}"#, "<html>"] {
        let mut host = Host::new(config());
        host.discover(&prm(), &revocable(""));
        host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
        let redirect = host.redirect();
        host.callback(&format!("code=c&state={}", state_of(&redirect)));
        let send = host.request();
        host.handle(Event::SignedOut);
        assert_eq!(host.error().cause, Cause::Abandoned);
        host.handle(send.response(response(400, &[], answer)));
        host.quiet();
        assert_eq!(host.machine.phase(), Phase::Resting);
    }
}

#[test]
fn rev_01_a_refresh_token_that_a_new_sign_in_supersedes_is_not_revoked() {
    let mut host = signed_in();
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &revocable(""));
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
    host.quiet();
}
