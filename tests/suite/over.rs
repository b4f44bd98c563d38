//! The result of a redirect has expired when it is seen: it is renewed like any other token. The account is read before the user
//! is asked at the end of a wait (AUTHZ-18, S43, S53, S54).

use mcp_auth_machine::action::{LoadSlot, Redirect, Why};
use mcp_auth_machine::error::{Cause, StoreFlaw};
use mcp_auth_machine::{Action, Event};

use crate::elsewhere::{faster, other};
use crate::instead::signs_in;
use crate::support::*;

/// A pending redirect, the operations that wait for it, and its callback.
fn waiting(operations: &[&str]) -> (Host, String) {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    for operation in operations {
        host.wanted(operation);
        host.quiet();
    }
    let callback = callback_of(&redirect);
    (host, callback)
}

fn callback_of(redirect: &Redirect) -> String {
    format!("code=c&state={}", state_of(redirect))
}

/// The callback reaches another instance, whose tokens are those of this answer.
fn completes(host: &mut Host, callback: &str, answer: &str) {
    let mut second = other(host, callback);
    std::mem::swap(&mut host.store, &mut second.store);
    second.serve(TOKEN, 200, answer);
    second.ready();
    std::mem::swap(&mut host.store, &mut second.store);
}

/// A process that sleeps, and is woken after this time.
fn sleeps(host: &mut Host, millis: u64) {
    host.pass(millis);
    host.handle(Event::Timer);
}

fn refreshes(host: &mut Host) {
    let sent = host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    assert_eq!(get(&body(&sent), "refresh_token").as_deref(), Some("rt-1"));
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
    host.quiet();
}

#[test]
fn authz_18_s43_expired_tokens_of_another_instance_are_refreshed_for_all_that_wait() {
    for operations in [&["two"][..], &["two", "three"], &[]] {
        let (mut host, callback) = waiting(operations);
        completes(&mut host, &callback, &renewable_for("at-1", "rt-1", "30"));
        sleeps(&mut host, 600_000);
        refreshes(&mut host);
        assert_eq!(host.machine.deadline(), None);
    }
}

/// The same where the question of an operation waits too.
#[test]
fn authz_18_s43_a_question_that_waits_is_answered_by_a_refresh() {
    let (mut host, callback) = waiting(&["two"]);
    let mut second = other(&mut host, &callback);
    host.challenged_for("three", 401, &["Bearer"], None);
    host.quiet();
    std::mem::swap(&mut host.store, &mut second.store);
    second.serve(TOKEN, 200, &renewable_for("at-1", "rt-1", "0"));
    second.ready();
    std::mem::swap(&mut host.store, &mut second.store);
    host.wake();
    refreshes(&mut host);
}

/// Without a refresh token the user is asked at once, and for what is the case: a token has expired.
#[test]
fn authz_18_s43_expired_tokens_without_a_refresh_token_lead_to_the_question() {
    let (mut host, callback) = waiting(&["two", "three"]);
    let short = token_answer("at-1").replace("3600", "30");
    completes(&mut host, &callback, &short);
    sleeps(&mut host, 500_000);
    for operation in ["two", "three"] {
        let need = host.need_user();
        assert_eq!(need.why, Why::TokenOver);
        assert_eq!(need.operation.unwrap().as_str(), operation);
    }
    host.quiet();
    assert_eq!(host.machine.deadline(), None);
}

/// The callback was taken by a faster instance, and its tokens have expired when this one sees them.
#[test]
fn cb_06_authz_18_expired_tokens_of_the_faster_instance_are_refreshed() {
    let (mut host, callback) = waiting(&[]);
    let mut second = faster(&mut host, &callback);
    second.serve(TOKEN, 200, &renewable_for("at-1", "rt-1", "0"));
    second.ready();
    let mut store = std::mem::take(&mut second.store);
    host.share(&mut store);
    host.store = store;
    host.store.mode = StoreMode::Works;
    refreshes(&mut host);
}

/// The user has signed in at a third instance, and its tokens have expired when they are seen: they are renewed beside the redirect,
/// which stays, and at the end of the user's time.
#[test]
fn authz_18_s54_expired_tokens_beside_a_redirect_are_refreshed() {
    for sleep in [1_000, 700_000] {
        let (mut host, _) = waiting(&["two", "three"]);
        signs_in(&mut host, &renewable_for("at-1", "rt-1", "0"));
        sleeps(&mut host, sleep);
        refreshes(&mut host);
    }
}

/// A refresh beside a redirect that fails ends no redirect, and is not repeated at each look.
#[test]
fn authz_18_s53_a_refresh_beside_a_redirect_is_tried_once() {
    let (mut host, callback) = waiting(&["two"]);
    signs_in(&mut host, &renewable_for("at-1", "rt-1", "0"));
    sleeps(&mut host, 1_000);
    host.serve(TOKEN, 400, r#"{"error":"invalid_grant"}"#);
    host.quiet();
    for _ in 0..3 {
        host.wake();
        host.quiet();
    }
    host.callback(&callback);
    host.serve(TOKEN, 200, &token_answer("at-3"));
    host.ready();
    host.quiet();
}

/// The record of the redirect is read for a question; the account was empty when it was read.
fn asks_for_three(host: &mut Host) -> LoadSlot {
    let mut store = std::mem::take(&mut host.store);
    host.store.mode = StoreMode::Manual;
    host.wanted("three");
    assert!(host.share_one(&mut store));
    host.store = store;
    match host.next() {
        Action::LoadSlot(load) => load,
        action => panic!("{action:?}"),
    }
}

/// The answer to that read is handled.
fn record_is_read(host: &mut Host, load: LoadSlot) {
    let found = host.store.slots.get(&load.slot().to_string()).cloned();
    host.handle(load.found(found));
}

#[test]
fn authz_18_s53_s54_the_account_is_read_before_a_question_at_the_end_of_the_users_time() {
    for answer in [Some(token_answer("at-1")), None] {
        let (mut host, _) = waiting(&["two"]);
        let load = asks_for_three(&mut host);
        if let Some(answer) = &answer {
            signs_in(&mut host, answer);
        }
        host.pass(700_000);
        record_is_read(&mut host, load);
        match answer {
            Some(_) => {
                host.ready();
            }
            None => {
                for operation in ["three", "two"] {
                    let need = host.need_user();
                    assert_eq!(need.why, Why::NoCredentials);
                    assert_eq!(need.operation.unwrap().as_str(), operation);
                }
            }
        }
        host.quiet();
        assert!(host.store.of_kind("pending").is_empty());
    }
}

/// The same where the redirect was cancelled meanwhile.
#[test]
fn authz_18_authz_19_the_account_is_read_before_a_question_after_a_cancel() {
    let (mut host, _) = waiting(&[]);
    let load = asks_for_three(&mut host);
    signs_in(&mut host, &token_answer("at-1"));
    host.handle(Event::Abandoned(Default::default()));
    assert_eq!(host.error().cause, Cause::Abandoned);
    record_is_read(&mut host, load);
    host.ready();
    host.quiet();
}

/// The account cannot be read at the end of a wait: the tokens may be there, so the failure names the store.
#[test]
fn authz_18_s53_an_account_that_is_unreadable_at_the_end_leads_to_no_question() {
    for taken in [true, false] {
        let (mut host, callback) = waiting(&["two"]);
        let _second = taken.then(|| other(&mut host, &callback));
        host.wanted("three");
        host.quiet();
        host.wake();
        host.store.mode = StoreMode::LoadsFail;
        while host.actions.is_empty() {
            host.wake();
        }
        let failed = |action: &Action| match action {
            Action::Error(failure) => failure.cause == Cause::NotPersisted(StoreFlaw::Load),
            _ => false,
        };
        assert!(host.actions.iter().all(failed), "{:?}", host.actions);
        let named = host.actions.iter().filter(|action| match action {
            Action::Error(failure) => failure.operation.is_some(),
            _ => false,
        });
        assert_eq!(named.count(), 2);
    }
}

/// A wait that gives way to a callback reads the account again before it ends.
#[test]
fn authz_18_cb_06_a_wait_that_gave_way_does_not_end_by_what_was_read_before() {
    let (mut host, callback) = waiting(&["two"]);
    let mut second = other(&mut host, &callback);
    host.wake();
    host.wake();
    host.quiet();
    std::mem::swap(&mut host.store, &mut second.store);
    second.serve(TOKEN, 200, &token_answer("at-1"));
    second.ready();
    std::mem::swap(&mut host.store, &mut second.store);
    host.pass(40_000);
    host.callback("code=c&state=unknown");
    host.ready();
    host.quiet();
}

/// The account was unreadable for one read. The token that it holds was refused for the operation, so the user is not told that
/// there is none.
#[test]
fn authz_18_s67_a_question_for_want_of_an_account_that_is_there_is_not_asked() {
    let mut host = Host::signed_in(config(), &token_answer("at-1"));
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.redirect();
    let sent = host.token();
    host.pass(700_000);
    let mut store = std::mem::take(&mut host.store);
    host.store.mode = StoreMode::Manual;
    host.challenged_for("y", 401, &["Bearer"], sent.as_deref());
    let Action::LoadSlot(load) = host.next() else {
        panic!()
    };
    host.handle(load.found(None));
    std::mem::swap(&mut host.store, &mut store);
    let Action::LoadSlot(load) = host.next() else {
        panic!()
    };
    record_is_read(&mut host, load);
    host.serve(PRM, 200, &prm());
    let need = host.need_user();
    assert_eq!(need.why, Why::TokenOver);
    assert_eq!(need.operation.unwrap().as_str(), "y");
    host.quiet();
}
