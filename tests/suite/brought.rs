//! Which tokens a redirect has brought: the account names the authorization that they came from (AUTHZ-18).

use std::sync::Arc;

use mcp_auth_machine::Action;
use mcp_auth_machine::config::PreRegistered;
use mcp_auth_machine::error::{Cause, StoreFlaw};
use mcp_auth_machine::event::Operation;
use mcp_auth_machine::slot::{Slot, Stored};

use crate::elsewhere::other;
use crate::support::*;

/// The authorization that the account names.
pub(crate) fn named(store: &Store) -> Option<u64> {
    let account = spelled_out(store.of_kind("account")[0].contents.expose());
    let record: serde_json::Value = serde_json::from_str(&account).unwrap();
    record["authorization"].as_u64()
}

/// The other instance's code is exchanged for these tokens.
fn completes(host: &mut Host, second: &mut Host, answer: &str) {
    std::mem::swap(&mut host.store, &mut second.store);
    second.serve(TOKEN, 200, answer);
    second.ready();
    std::mem::swap(&mut host.store, &mut second.store);
}

/// Lets time pass until the machine gives up waiting for the other instance, or has its tokens.
pub(crate) fn looks_on(host: &mut Host) {
    while host.actions.is_empty() {
        host.wake();
    }
}

/// The redirect ends without a result, and so does the operation that waits for it.
fn is_abandoned_with_z(host: &mut Host) {
    for operation in [None, Some("z")] {
        let failure = host.error();
        assert_eq!(failure.operation.as_ref().map(Operation::as_str), operation);
        assert_eq!(failure.cause, Cause::Abandoned);
    }
}

/// An instance that has loaded no account has emitted a redirect. Then it learns of the tokens of an earlier sign-in
/// with the same scopes, and a request with these tokens is refused: it waits for the result of the redirect.
fn behind_an_earlier_sign_in() -> (Host, String) {
    let config = || config().pre_registered(AS, PreRegistered::new("c"));
    let mut host = Host::new(config());
    host.ask(&announcing());
    host.serve(PRM, 200, &prm());
    let fetches = host.request();
    let store = std::mem::take(&mut host.store);
    let mut first = Host::resumed(Arc::new(config().build().unwrap()), store, host.now, 30);
    first.discover(&prm(), &metadata());
    let redirect = first.redirect();
    first.callback(&format!("code=c-1&state={}", state_of(&redirect)));
    first.serve(TOKEN, 200, &token_answer("at-1"));
    first.ready();
    host.store = std::mem::take(&mut first.store);
    host.pass(1_000);
    host.handle(fetches.response(response(200, &[], &metadata())));
    let redirect = host.redirect();
    host.pass(5_000);
    host.challenged_for("y", 401, &["Bearer"], None);
    host.ready();
    let sent = host.token();
    host.challenged_for("z", 401, &["Bearer"], sent.as_deref());
    host.serve(PRM, 200, &prm());
    host.quiet();
    (host, format!("code=c&state={}", state_of(&redirect)))
}

/// The name stays while the tokens are refreshed, and another authorization has another name.
#[test]
fn authz_18_the_account_names_the_authorization_that_brought_its_tokens() {
    let mut host = Host::signed_in(config(), &renewable_for("at-1", "rt-1", "60"));
    let first = named(&host.store);
    assert!(first.is_some());
    host.pass(60_000);
    host.wanted("x");
    host.serve(TOKEN, 200, &renewable_for("at-2", "rt-2", "3600"));
    host.ready();
    assert_eq!(named(&host.store), first);
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &renewable("at-3", "rt-3"));
    host.ready();
    assert!(named(&host.store).is_some_and(|second| Some(second) != first));
}

/// The timer finds the record gone, while the code is exchanged at the other instance.
#[test]
fn authz_18_the_timer_does_not_take_tokens_of_an_earlier_sign_in_for_the_result() {
    for ends in [true, false] {
        let (mut host, callback) = behind_an_earlier_sign_in();
        let mut second = other(&mut host, &callback);
        second.ready();
        host.wake();
        host.quiet();
        if ends {
            completes(&mut host, &mut second, &token_answer("at-2"));
            host.wake();
            host.ready();
            assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
        } else {
            let begin = host.now.mono.0;
            looks_on(&mut host);
            assert!(host.now.mono.0 - begin >= 29_000);
            is_abandoned_with_z(&mut host);
        }
        host.quiet();
    }
}

/// The record is gone when the documents of a repetition have been read.
#[test]
fn authz_18_a_repetition_does_not_take_tokens_of_an_earlier_sign_in_for_the_result() {
    let (mut host, callback) = behind_an_earlier_sign_in();
    host.store.served.clear();
    host.authorize();
    let send = host.request();
    let mut second = other(&mut host, &callback);
    second.ready();
    assert_eq!(*send.request().uri(), *META);
    host.handle(send.response(response(200, &[], &metadata())));
    host.quiet();
    completes(&mut host, &mut second, &token_answer("at-2"));
    host.wake();
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
    host.quiet();
}

/// Both instances receive the callback, and the other one is faster.
#[test]
fn authz_18_cb_06_a_lost_callback_does_not_take_tokens_of_an_earlier_sign_in_for_its_result() {
    for ends in [true, false] {
        let (mut host, callback) = behind_an_earlier_sign_in();
        host.store.mode = StoreMode::Manual;
        host.callback(&callback);
        let mut store = std::mem::take(&mut host.store);
        store.mode = StoreMode::Works;
        let mut second = Host::resumed(Arc::new(config().build().unwrap()), store, host.now, 40);
        second.ready();
        second.callback(&callback);
        let mut store = std::mem::take(&mut second.store);
        host.store.mode = StoreMode::Manual;
        host.share(&mut store);
        host.quiet();
        if ends {
            second.store = store;
            second.serve(TOKEN, 200, &token_answer("at-2"));
            second.ready();
            store = std::mem::take(&mut second.store);
            host.wake();
            host.share(&mut store);
            host.ready();
            assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
        } else {
            while host.actions.is_empty() {
                host.wake();
                host.share(&mut store);
            }
            let lost = Cause::NotPersisted(StoreFlaw::Conflict);
            assert_eq!(host.error().cause, lost);
            assert_eq!(host.error().operation.unwrap().as_str(), "z");
        }
        host.quiet();
    }
}

/// Signs in, then emits a second redirect for the scopes that the account has. Returns the query of its callback.
fn again() -> (Host, String) {
    let mut host = Host::signed_in_by(config(), "Bearer scope=\"r\"", &renewable("at-1", "rt-1"));
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    let redirect = host.redirect();
    host.pass(5_000);
    (host, format!("code=c&state={}", state_of(&redirect)))
}

/// A further instance, whose clock differs, refreshes the tokens after a refusal; this one learns of it.
fn refreshes(host: &mut Host, ahead: i64, answer: &str) {
    let sent = host.token();
    let store = std::mem::take(&mut host.store);
    let mut now = host.now;
    now.wall.0 = now.wall.0.checked_add_signed(ahead).unwrap();
    let mut third = Host::resumed(Arc::new(config().build().unwrap()), store, now, 60);
    third.actions.clear();
    third.refused("Bearer");
    third.serve(PRM, 200, &prm());
    third.serve(TOKEN, 200, answer);
    third.ready();
    host.store = std::mem::take(&mut third.store);
    host.challenged_for("y", 401, &["Bearer"], sent.as_deref());
    host.ready();
}

fn lacks_scope(host: &mut Host) {
    let sent = host.token();
    let line = "Bearer error=\"insufficient_scope\", scope=\"w\"";
    host.challenged_for("x", 403, &[line], sent.as_deref());
}

/// Tokens that another instance refreshed since the redirect are young, and still of the earlier sign-in (S49).
#[test]
fn authz_18_s49_a_refresh_elsewhere_is_not_what_came_of_a_redirect() {
    for ahead in [0, 60_000] {
        let (mut host, callback) = again();
        refreshes(&mut host, ahead, &renewable("at-2", "rt-2"));
        let mut second = other(&mut host, &callback);
        second.ready();
        lacks_scope(&mut host);
        host.quiet();
        completes(&mut host, &mut second, &renewable("at-3", "rt-3"));
        host.wake();
        assert_eq!(host.need_user().operation.unwrap().as_str(), "x");
        host.ready();
        host.quiet();
    }
}

/// The tokens of the redirect were refreshed since, by an instance whose clock is behind, equal or ahead: `NeedUser`
/// is emitted at once.
#[test]
fn authz_18_tokens_of_a_redirect_are_known_after_a_refresh_by_any_clock() {
    for ahead in [-600_000, 0, 30_000] {
        let (mut host, callback) = again();
        let mut second = other(&mut host, &callback);
        second.ready();
        completes(&mut host, &mut second, &renewable("at-2", "rt-2"));
        let sent = host.token();
        host.challenged_for("y", 401, &["Bearer"], sent.as_deref());
        host.ready();
        refreshes(&mut host, ahead, &renewable("at-3", "rt-3"));
        lacks_scope(&mut host);
        assert_eq!(host.need_user().operation.unwrap().as_str(), "x", "{ahead}");
        host.quiet();
    }
}

/// An account of an older version names no authorization: it is not the result of a redirect of this one.
#[test]
fn authz_18_an_account_without_a_name_is_not_what_came_of_a_redirect() {
    let (mut host, callback) = again();
    let key = Slot::account("alice", MCP).to_string();
    let text = spelled_out(host.store.slots[&key].contents.expose());
    let name = format!(r#""authorization":{},"#, named(&host.store).unwrap());
    let older: Stored = sealed(&text.replace(&name, "").replace("at-1", "at-0"));
    let mut second = other(&mut host, &callback);
    second.ready();
    host.store.slots.insert(key, older);
    let sent = host.token();
    host.challenged_for("y", 401, &["Bearer"], sent.as_deref());
    host.ready();
    lacks_scope(&mut host);
    host.quiet();
    let begin = host.now.mono.0;
    looks_on(&mut host);
    assert_eq!(host.now.mono.0 - begin, 30_000);
    assert_eq!(host.need_user().operation.unwrap().as_str(), "x");
    host.quiet();
}

/// The tokens of the other instance lack a scope for one operation, and serve another one that waits: each has its answer.
#[test]
fn authz_18_use_14_a_missing_scope_of_one_operation_does_not_keep_ready_from_the_others() {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.wanted("x");
    host.quiet();
    let mut second = other(&mut host, &format!("code=c&state={}", state_of(&redirect)));
    completes(&mut host, &mut second, &token_answer("at-1"));
    let line = "Bearer error=\"insufficient_scope\", scope=\"w\"";
    host.challenged_for("y", 403, &[line], Some("Bearer at-1"));
    assert_eq!(host.need_user().operation.unwrap().as_str(), "y");
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
    host.quiet();
}

/// A redirect ends without a result, but a later sign-in has brought a token meanwhile: it serves the operation that it was not
/// refused for.
#[test]
fn authz_18_use_14_a_redirect_without_a_result_ends_with_the_token_that_is_there() {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.wanted("x");
    host.quiet();
    let store = std::mem::take(&mut host.store);
    let mut third = Host::resumed(Arc::new(config().build().unwrap()), store, host.now, 30);
    third.discover(&prm(), &metadata());
    let again = third.redirect();
    third.callback(&format!("code=c&state={}", state_of(&again)));
    third.serve(TOKEN, 200, &token_answer("at-c"));
    third.ready();
    host.store = std::mem::take(&mut third.store);
    host.challenged_for("z", 401, &["Bearer"], Some("Bearer at-c"));
    host.serve(PRM, 200, &prm());
    host.quiet();
    drop(other(
        &mut host,
        &format!("code=c&state={}", state_of(&redirect)),
    ));
    looks_on(&mut host);
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-c"));
    is_abandoned_with_z(&mut host);
    host.quiet();
}

/// The account says that the code was exchanged: a question does not wait for the record, which cannot be read.
#[test]
fn authz_18_a_question_about_the_result_needs_no_record() {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    let mut second = other(&mut host, &format!("code=c&state={}", state_of(&redirect)));
    completes(&mut host, &mut second, &token_answer("at-1"));
    let line = "Bearer error=\"insufficient_scope\", scope=\"w\"";
    host.store.mode = StoreMode::Manual;
    host.challenged_for("y", 403, &[line], Some("Bearer at-1"));
    let Action::LoadSlot(load) = host.next() else {
        panic!("the account is read")
    };
    let account = host.store.slots.get(&load.slot().to_string()).cloned();
    host.handle(load.found(account));
    let Action::LoadSlot(load) = host.next() else {
        panic!("the record of the redirect is read")
    };
    host.handle(load.failed());
    assert_eq!(host.need_user().operation.unwrap().as_str(), "y");
    host.quiet();
}

/// The pending redirect was used up elsewhere and brought nothing; another process has refreshed the tokens that were there before.
#[test]
fn authz_18_refr_05_a_refresh_elsewhere_is_not_the_result_of_a_redirect() {
    let mut host = Host::signed_in(config(), &renewable_for("at-1", "rt-1", "120"));
    host.accepted("tools/call x");
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.redirect();
    let config = std::sync::Arc::new(config().build().unwrap());
    let mut other = Host::resumed(config, std::mem::take(&mut host.store), host.now, 40);
    other.ready();
    other.pass(120_000);
    other.wanted("y");
    other.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    other.ready();
    host.now = other.now;
    host.store = std::mem::take(&mut other.store);
    let slots = &mut host.store.slots;
    slots.retain(|key, _| !key.starts_with("pending"));
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.redirect();
    host.quiet();
}
