//! A callback that another instance took or completed: the account is read before anything is reported (AUTHZ-18, CB-06).

use std::sync::Arc;

use mcp_auth_machine::budget::Limited;
use mcp_auth_machine::error::{Cause, Next, Stage, StoreFlaw};

use crate::support::*;

/// A pending redirect with an operation that waits for it, and its callback.
fn waiting() -> (Host, String) {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.wanted("two");
    host.quiet();
    let callback = format!("code=c&state={}", state_of(&redirect));
    (host, callback)
}

/// Another instance on the store of this one, up to its token request.
pub(crate) fn other(host: &mut Host, callback: &str) -> Host {
    let store = std::mem::take(&mut host.store);
    let config = Arc::new(config().build().unwrap());
    let mut other = Host::resumed(config, store, host.now, 40);
    other.callback(callback);
    host.store = std::mem::take(&mut other.store);
    other
}

/// Another instance on the store of this one, which was faster with the same callback. The store is there.
pub(crate) fn faster(host: &mut Host, callback: &str) -> Host {
    host.store.mode = StoreMode::Manual;
    host.callback(callback);
    let mut store = std::mem::take(&mut host.store);
    store.mode = StoreMode::Works;
    let config = Arc::new(config().build().unwrap());
    let mut second = Host::resumed(config, store, host.now, 40);
    second.callback(callback);
    host.store.mode = StoreMode::Manual;
    second
}

#[test]
fn authz_18_a_sign_in_that_another_instance_completes_is_noticed_soon() {
    let (mut host, callback) = waiting();
    // The callers wait: the record is looked at.
    assert_eq!(host.wake(), 1_000);
    host.quiet();
    let mut second = other(&mut host, &callback);
    // The code is being exchanged there.
    assert_eq!(host.wake(), 2_000);
    host.quiet();
    std::mem::swap(&mut host.store, &mut second.store);
    second.serve(TOKEN, 200, &token_answer("at-1"));
    second.ready();
    std::mem::swap(&mut host.store, &mut second.store);
    assert_eq!(host.wake(), 100);
    host.ready();
    host.quiet();
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
    // No error follows.
    assert_eq!(host.machine.deadline(), None);
}

#[test]
fn authz_18_without_callers_the_record_is_looked_at_when_the_time_has_passed() {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    let callback = format!("code=c&state={}", state_of(&redirect));
    let mut second = other(&mut host, &callback);
    std::mem::swap(&mut host.store, &mut second.store);
    second.serve(TOKEN, 200, &token_answer("at-1"));
    std::mem::swap(&mut host.store, &mut second.store);
    assert_eq!(host.wake(), 600_000);
    host.ready();
    host.quiet();
    // The record is there: the user has not returned.
    let mut host = Host::new(config());
    host.to_redirect();
    host.wake();
    let failure = host.error();
    assert_eq!(failure.cause, Cause::OutOfPatience(Limited::UserTime));
    host.quiet();
}

#[test]
fn authz_18_a_sign_in_that_fails_at_another_instance_ends_for_the_callers() {
    let (mut host, callback) = waiting();
    let _second = other(&mut host, &callback);
    let begin = host.now.mono.0;
    while host.actions.is_empty() {
        host.wake();
    }
    assert_eq!(host.now.mono.0 - begin, 31_000);
    for name in [None, Some("two")] {
        let failure = host.error();
        assert_eq!(
            failure.operation.map(|own| own.to_string()),
            name.map(|own| format!("{own:?}"))
        );
        assert_eq!(
            (failure.stage, failure.cause),
            (Stage::Authorization, Cause::Abandoned)
        );
    }
    host.quiet();
    assert_eq!(host.machine.deadline(), None);
}

/// The browser loads the callback twice, at two instances.
#[test]
fn cb_06_the_second_of_two_instances_waits_for_the_tokens_of_the_first() {
    for completes in [true, false] {
        let (mut host, callback) = waiting();
        let mut second = faster(&mut host, &callback);
        let mut store = std::mem::take(&mut second.store);
        store.mode = StoreMode::Works;
        host.share(&mut store);
        host.quiet();
        if completes {
            second.store = store;
            second.serve(TOKEN, 200, &token_answer("at-1"));
            second.ready();
            store = std::mem::take(&mut second.store);
            host.wake();
            host.share(&mut store);
            host.ready();
        } else {
            while host.actions.is_empty() {
                host.wake();
                host.share(&mut store);
            }
            let failure = host.error();
            assert_eq!(failure.cause, Cause::NotPersisted(StoreFlaw::Conflict));
            assert_eq!(failure.next(), Next::AskUser);
            host.error();
        }
        host.quiet();
    }
}

/// A step-up whose redirect is out, and a refresh here since; its callback.
fn widening() -> (Host, String) {
    let mut host = Host::signed_in_by(
        config(),
        "Bearer scope=\"r\"",
        &renewable_for("at-1", "rt-1", "300"),
    );
    lacks(&mut host);
    host.need_user();
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    let redirect = host.redirect();
    assert_eq!(redirect.scopes.as_str(), "r w");
    host.pass(299_000);
    host.wanted("z");
    host.serve(TOKEN, 200, &renewable_for("at-2", "rt-2", "3600"));
    host.ready();
    let callback = format!("code=c&state={}", state_of(&redirect));
    (host, callback)
}

fn lacks(host: &mut Host) {
    let sent = host.token();
    let line = "Bearer error=\"insufficient_scope\", scope=\"w\"";
    host.challenged_for("x", 403, &[line], sent.as_deref());
}

/// A refresh brings no scopes: it is not what came of a step-up.
#[test]
fn authz_18_step_05_a_refresh_here_is_not_the_token_of_a_step_up_elsewhere() {
    let (mut host, callback) = widening();
    lacks(&mut host);
    host.quiet();
    let mut second = other(&mut host, &callback);
    second.ready();
    // The code is being exchanged there.
    host.wake();
    host.quiet();
    std::mem::swap(&mut host.store, &mut second.store);
    second.serve(TOKEN, 200, &renewable("at-3", "rt-3"));
    second.ready();
    std::mem::swap(&mut host.store, &mut second.store);
    host.wake();
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-3"));
    host.quiet();
}

/// The account has what was asked for, though its tokens were refreshed here since.
#[test]
fn authz_18_step_12_tokens_of_a_step_up_elsewhere_that_were_refreshed_here_answer_it() {
    let (mut host, callback) = widening();
    let mut second = other(&mut host, &callback);
    second.ready();
    std::mem::swap(&mut host.store, &mut second.store);
    second.serve(TOKEN, 200, &renewable_for("at-3", "rt-3", "300"));
    second.ready();
    std::mem::swap(&mut host.store, &mut second.store);
    let sent = host.token();
    host.challenged_for("y", 401, &["Bearer"], sent.as_deref());
    host.ready();
    host.pass(299_000);
    host.wanted("z");
    host.serve(TOKEN, 200, &renewable("at-4", "rt-4"));
    host.ready();
    host.authorize();
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-4"));
    host.quiet();
}

/// A caller for whom the user is needed, while the code is being exchanged at another instance.
#[test]
fn authz_18_a_question_waits_for_the_tokens_of_another_instance() {
    for completes in [true, false] {
        let (mut host, callback) = waiting();
        let mut second = other(&mut host, &callback);
        host.challenged_for("three", 401, &["Bearer"], None);
        host.wanted("four");
        host.quiet();
        if completes {
            std::mem::swap(&mut host.store, &mut second.store);
            second.serve(TOKEN, 200, &token_answer("at-1"));
            second.ready();
            std::mem::swap(&mut host.store, &mut second.store);
            host.wake();
            host.ready();
        } else {
            let begin = host.now.mono.0;
            while host.actions.is_empty() {
                host.wake();
            }
            assert_eq!(host.now.mono.0 - begin, 30_000);
            let mut asked = Vec::new();
            for _ in 0..3 {
                asked.push(host.need_user().operation.unwrap().as_str().to_owned());
            }
            asked.sort();
            assert_eq!(asked, ["four", "three", "two"]);
        }
        host.quiet();
    }
}

/// The tokens come, and the account lacks the scopes that the question is about.
#[test]
fn authz_18_step_12_a_question_is_put_for_scopes_that_another_instance_did_not_request() {
    let mut host = Host::signed_in_by(config(), "Bearer scope=\"r\"", &renewable("at-1", "rt-1"));
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    let redirect = host.redirect();
    let callback = format!("code=c&state={}", state_of(&redirect));
    let mut second = other(&mut host, &callback);
    second.ready();
    lacks(&mut host);
    host.quiet();
    std::mem::swap(&mut host.store, &mut second.store);
    second.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    second.ready();
    std::mem::swap(&mut host.store, &mut second.store);
    host.wake();
    let asked = host.need_user();
    assert_eq!(asked.operation.unwrap().as_str(), "x");
    host.ready();
    host.quiet();
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    assert_eq!(host.redirect().scopes.as_str(), "r w");
}

/// The person signs in again meanwhile: the caller waits for that.
#[test]
fn authz_18_a_question_that_waited_joins_the_next_redirect() {
    let (mut host, callback) = waiting();
    let _second = other(&mut host, &callback);
    host.challenged_for("three", 401, &["Bearer"], None);
    host.quiet();
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    let redirect = host.redirect();
    let begin = host.now.mono.0;
    while host.now.mono.0 - begin < 40_000 {
        host.wake();
        assert!(
            !host
                .actions
                .iter()
                .any(|action| matches!(action, mcp_auth_machine::Action::NeedUser(_))),
            "{:?}",
            host.actions
        );
    }
    host.quiet();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
    host.quiet();
}

/// The tokens have come already, and the MCP server refuses them: there is nothing to wait for.
#[test]
fn authz_18_a_question_about_the_tokens_that_came_is_put_at_once() {
    let (mut host, callback) = waiting();
    host.pass(900);
    let mut second = other(&mut host, &callback);
    std::mem::swap(&mut host.store, &mut second.store);
    second.serve(TOKEN, 200, &token_answer("at-1"));
    second.ready();
    std::mem::swap(&mut host.store, &mut second.store);
    host.challenged_for("y", 401, &["Bearer"], None);
    host.ready();
    let sent = host.token();
    host.challenged_for("y", 401, &["Bearer"], sent.as_deref());
    host.serve(PRM, 200, &prm());
    assert_eq!(host.need_user().operation.unwrap().as_str(), "y");
    host.quiet();
}

/// An instance that knew of no account sends the user away, and only then reads the tokens of an earlier sign-in with the same
/// scopes. They are not what came of its redirect, also where the clock was set back in between (S49).
#[test]
fn authz_18_s49_tokens_of_an_earlier_sign_in_are_not_what_came_of_a_redirect() {
    const DAY: u64 = 86_400_000;
    for set_back in [0, DAY] {
        let mut host = Host::new(config());
        host.discover(&prm(), &metadata());
        let registers = host.request();
        let store = std::mem::take(&mut host.store);
        let mut first = Host::resumed(Arc::new(config().build().unwrap()), store, host.now, 30);
        first.sign_in();
        host.store = std::mem::take(&mut first.store);
        host.pass(1_000);
        host.now.wall.0 -= set_back;
        host.handle(registers.response(response(201, &[], r#"{"client_id":"dyn-2"}"#)));
        let redirect = host.redirect();
        assert_eq!(&*redirect.client_id, "dyn-2");
        host.pass(5_000);
        host.challenged_for("y", 401, &["Bearer"], None);
        host.ready();
        let callback = format!("code=c&state={}", state_of(&redirect));
        let mut second = other(&mut host, &callback);
        second.ready();
        lacks(&mut host);
        host.quiet();
        // The code is being exchanged there.
        host.wake();
        host.quiet();
        std::mem::swap(&mut host.store, &mut second.store);
        second.serve(TOKEN, 200, &token_answer("at-2"));
        second.ready();
        std::mem::swap(&mut host.store, &mut second.store);
        host.wake();
        let asked = host.need_user();
        assert_eq!(asked.operation.unwrap().as_str(), "x");
        host.ready();
        host.quiet();
    }
}

/// The record is looked at once more when the documents have been read again: the redirect is not repeated after another
/// instance has used it up (S16).
#[test]
fn authz_18_s16_a_redirect_that_is_used_up_while_documents_are_read_is_not_repeated() {
    for completes in [true, false] {
        let mut host = Host::new(config());
        let redirect = host.to_redirect();
        let callback = format!("code=c&state={}", state_of(&redirect));
        host.pass(6_000);
        host.store.served.clear();
        host.authorize();
        let send = host.request();
        let mut second = other(&mut host, &callback);
        host.handle(send.response(response(200, &[], &prm())));
        host.serve(META, 200, &metadata());
        host.quiet();
        if completes {
            std::mem::swap(&mut host.store, &mut second.store);
            second.serve(TOKEN, 200, &token_answer("at-1"));
            second.ready();
            std::mem::swap(&mut host.store, &mut second.store);
            host.wake();
            host.ready();
        } else {
            while host.actions.is_empty() {
                host.wake();
            }
            let failure = host.error();
            assert_eq!((failure.operation, failure.cause), (None, Cause::Abandoned));
        }
        host.quiet();
    }
}

/// The user is sent away again while the machine waits for the tokens of another instance: the end of that wait is not the end
/// of the new authorization.
#[test]
fn authz_18_a_new_redirect_outlives_the_wait_for_another_instance() {
    let (mut host, callback) = waiting();
    let _second = other(&mut host, &callback);
    host.wake();
    host.quiet();
    host.pass(6_000);
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    let redirect = host.redirect();
    for _ in 0..40 {
        host.wake();
        host.quiet();
    }
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &token_answer("at-2"));
    host.ready();
    host.quiet();
}
