//! A sign-in at a third instance while a redirect is pending here: what it brings serves the operations that wait (AUTHZ-18).

use std::sync::Arc;

use mcp_auth_machine::Action;
use mcp_auth_machine::action::Redirect;
use mcp_auth_machine::budget::Limited;
use mcp_auth_machine::error::Cause;
use mcp_auth_machine::slot::{Slot, Stored};

use crate::brought::{looks_on, named};
use crate::elsewhere::other;
use crate::support::*;

/// A further instance signs in by a redirect of its own.
pub(crate) fn signs_in(host: &mut Host, answer: &str) {
    let store = std::mem::take(&mut host.store);
    let mut third = Host::resumed(Arc::new(config().build().unwrap()), store, host.now, 30);
    third.actions.clear();
    third.authorize();
    third.serve(PRM, 200, &prm());
    third.serve(META, 200, &metadata());
    if third
        .actions
        .iter()
        .any(|action| matches!(action, Action::SendRequest(_)))
    {
        third.serve(&format!("{AS}/register"), 201, r#"{"client_id":"dyn-3"}"#);
    }
    let redirect = third.redirect();
    third.callback(&format!("code=c&state={}", state_of(&redirect)));
    third.serve(TOKEN, 200, answer);
    third.ready();
    host.store = std::mem::take(&mut third.store);
}

/// A redirect is pending, and the requests of two operations were refused with the token of the earlier sign-in.
fn behind_a_refusal() -> (Host, Redirect) {
    let mut host = Host::signed_in(config(), &token_answer("at-1"));
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    let redirect = host.redirect();
    host.pass(5_000);
    let sent = host.token();
    for operation in ["y", "z"] {
        host.challenged_for(operation, 401, &["Bearer"], sent.as_deref());
        host.serve(PRM, 200, &prm());
        host.quiet();
    }
    (host, redirect)
}

/// The user signs in at a third instance instead of following the redirect: the operation that waits for the redirect has its
/// token at the next read, and the redirect is not pending any more.
#[test]
fn authz_18_use_14_a_sign_in_elsewhere_serves_the_operations_that_wait_for_a_redirect() {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.wanted("x");
    host.quiet();
    signs_in(&mut host, &token_answer("at-c"));
    assert_eq!(host.wake(), 1_000);
    host.ready();
    host.quiet();
    assert_eq!(host.token().as_deref(), Some("Bearer at-c"));
    assert_eq!(host.machine.deadline(), None);
    assert!(host.store.of_kind("pending").is_empty());
    // The page that is still open leads nowhere.
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.quiet();
}

/// The token of the third instance was refused for the operation: the redirect stays pending, and ends with the user's time.
#[test]
fn authz_18_use_14_a_sign_in_elsewhere_whose_token_was_refused_ends_no_redirect() {
    let mut host = Host::new(config());
    host.to_redirect();
    signs_in(&mut host, &token_answer("at-c"));
    host.challenged_for("z", 401, &["Bearer"], Some("Bearer at-c"));
    host.serve(PRM, 200, &prm());
    host.quiet();
    let begin = host.now.mono.0;
    looks_on(&mut host);
    assert!(host.now.mono.0 - begin > 590_000);
    let failure = host.error();
    assert_eq!(failure.cause, Cause::OutOfPatience(Limited::UserTime));
    // Each has the end under its own name.
    while let Some(action) = host.actions.pop_front() {
        let Action::Error(failure) = action else {
            panic!("{action:?}")
        };
        assert_eq!(failure.operation.unwrap().as_str(), "z");
    }
}

/// The tokens of the earlier sign-in were refreshed elsewhere: they serve an operation that waits, and the redirect stays.
#[test]
fn authz_18_a_refresh_elsewhere_serves_an_operation_and_ends_no_redirect() {
    let (mut host, _) = behind_a_refusal();
    let key = Slot::account("alice", MCP).to_string();
    let text = spelled_out(host.store.slots[&key].contents.expose());
    let refreshed: Stored = sealed(&text.replace("at-1", "at-2"));
    host.store.slots.insert(key, refreshed);
    assert_eq!(host.wake(), 1_000);
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
    host.quiet();
    assert_eq!(host.store.of_kind("pending").len(), 1);
}

/// The account holds the token that was refused for an operation, under another name: the user is asked for that operation
/// as for any other whose token is refused.
#[test]
fn authz_18_use_14_an_operation_that_the_result_does_not_serve_is_not_abandoned() {
    let (mut host, redirect) = behind_a_refusal();
    drop(other(
        &mut host,
        &format!("code=c&state={}", state_of(&redirect)),
    ));
    let key = Slot::account("alice", MCP).to_string();
    let text = spelled_out(host.store.slots[&key].contents.expose());
    let old = named(&host.store).unwrap();
    let text = text.replace(&old.to_string(), &(old ^ 1).to_string());
    host.store.slots.insert(key, sealed(&text));
    host.wake();
    host.ready();
    for operation in ["y", "z"] {
        host.serve(PRM, 200, &prm());
        let need = host.need_user();
        assert_eq!(need.operation.unwrap().as_str(), operation);
    }
    host.quiet();
}

/// Two instances ask the user, who signs in at the other one and then requests a sign-in here: the tokens are there already.
#[test]
fn authz_18_refr_12_a_click_reads_the_account_anew_after_a_second() {
    let mut host = Host::new(config());
    host.wanted("x");
    host.need_user();
    signs_in(&mut host, &token_answer("at-c"));
    host.pass(1_000);
    host.authorize();
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-c"));
    host.quiet();
}
