//! Every caller is answered under its own name: those that joined a sign-in that fails, those that wait at a sign-out,
//! and those that meet a store that fails (USE-14).

use mcp_auth_machine::error::{Cause, Stage, StoreFlaw};
use mcp_auth_machine::event::Abandon;
use mcp_auth_machine::slot::{Slot, SlotContents, Stored};
use mcp_auth_machine::{Action, Event};

use crate::support::*;

/// The operations that are answered with an error or a question, in order; other actions stay.
#[track_caller]
fn answered(host: &mut Host) -> Vec<String> {
    let mut names = Vec::new();
    let mut others = std::collections::VecDeque::new();
    while let Some(action) = host.actions.pop_front() {
        let operation = match &action {
            Action::Error(failure) => failure.operation.clone(),
            Action::NeedUser(need) => need.operation.clone(),
            _ => None,
        };
        match operation {
            Some(operation) => names.push(operation.as_str().to_owned()),
            None => others.push_back(action),
        }
    }
    host.actions = others;
    names.sort();
    names
}

/// The operations that wait for the redirect. The first one was told that the user is needed, which was its answer.
const JOINED: [&str; 2] = ["three", "two"];

/// The person and each operation that waits for the redirect receive its end.
#[track_caller]
fn all_are_told(host: &mut Host, end: &str) {
    assert_eq!(answered(host), JOINED, "{end}");
    let nameless = match host.next() {
        Action::Error(failure) => failure.operation,
        Action::NeedUser(need) => need.operation,
        other => panic!("{end}: {other:?}"),
    };
    assert_eq!(nameless, None, "{end}");
}

/// A pending redirect, for whose result two further operations wait; and its `state`.
fn joined() -> (Host, String) {
    let mut host = Host::new(config());
    let redirect = host.to_redirect_by(&announcing());
    host.challenged_for("two", 401, &[&announcing()], None);
    host.wanted("three");
    host.quiet();
    let state = state_of(&redirect);
    (host, state)
}

#[test]
fn use_14_every_operation_hears_how_the_sign_in_that_it_joined_ended() {
    let (mut host, state) = joined();
    host.callback(&format!("code=c&state={state}"));
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
    host.quiet();
    // The user declines, the server fails, or it is another server.
    for end in [
        "error=access_denied",
        "error=server_error",
        "code=c&iss=https%3A%2F%2Fb.example",
    ] {
        let (mut host, state) = joined();
        host.callback(&format!("{end}&state={state}"));
        all_are_told(&mut host, end);
        host.quiet();
        assert_eq!(host.machine.deadline(), None);
    }
    // The code is refused, or the store fails.
    let (mut host, state) = joined();
    host.callback(&format!("code=c&state={state}"));
    host.serve(TOKEN, 400, r#"{"error":"invalid_request"}"#);
    all_are_told(&mut host, "invalid_request");
    let (mut host, state) = joined();
    host.store.mode = StoreMode::WritesFail;
    host.callback(&format!("code=c&state={state}"));
    all_are_told(&mut host, "the store fails");
    // The user does not return, or gives up.
    let (mut host, _) = joined();
    while host.actions.is_empty() {
        host.wake();
    }
    all_are_told(&mut host, "the time has passed");
    let (mut host, _) = joined();
    host.handle(Event::Abandoned(Abandon::Cancelled));
    all_are_told(&mut host, "cancelled");
    // The client is replaced: a question, for each of them.
    let (mut host, _) = joined();
    host.handle(Event::Abandoned(Abandon::ResetRegistration));
    all_are_told(&mut host, "reset");
    assert_eq!(host.need_user().operation, None);
    host.quiet();
}

#[test]
fn use_14_a_sign_in_that_another_instance_ended_leaves_nobody_waiting() {
    let (mut host, _) = joined();
    host.store
        .slots
        .retain(|key, _| !key.starts_with("pending"));
    host.wanted("four");
    while host.actions.is_empty() {
        host.wake();
    }
    assert_eq!(answered(&mut host), ["four", "three", "two"]);
    assert_eq!(host.machine.deadline(), None);
}

#[test]
fn use_14_ready_answers_nobody_for_whom_its_token_was_refused() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    let challenge = "Bearer error=\"insufficient_scope\", scope=\"w\"";
    let sent = host.token();
    host.challenged_for("tools/call x", 403, &[challenge], sent.as_deref());
    host.need_user();
    host.authorize();
    let redirect = host.redirect();
    host.challenged_for("two", 403, &[challenge], sent.as_deref());
    host.wanted("three");
    host.ready();
    host.quiet();
    host.callback(&format!(
        "error=access_denied&state={}",
        state_of(&redirect)
    ));
    assert_eq!(answered(&mut host), ["two"]);
    assert_eq!(host.error().operation, None);
    host.quiet();
}

/// The account cannot be read for a moment, and then holds the same token: an operation that was refused with that token still
/// waits.
#[test]
fn use_14_a_damaged_read_makes_no_token_a_new_one() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    let challenge = "Bearer error=\"insufficient_scope\", scope=\"w\"";
    let sent = host.token();
    host.challenged_for("tools/call x", 403, &[challenge], sent.as_deref());
    host.need_user();
    host.authorize();
    let redirect = host.redirect();
    host.challenged_for("two", 403, &[challenge], sent.as_deref());
    host.quiet();
    let key = Slot::account("alice", MCP).to_string();
    let good = host.store.slots.get(&key).cloned().unwrap();
    let damaged = Stored {
        contents: SlotContents::new("damaged"),
        revision: good.revision,
    };
    host.store.slots.insert(key.clone(), damaged);
    host.challenged_for("three", 401, &["Bearer"], sent.as_deref());
    host.quiet();
    assert_eq!(host.token(), None);
    host.store.slots.insert(key, good);
    host.challenged_for("four", 401, &["Bearer"], None);
    host.ready();
    assert_eq!(host.token(), sent);
    host.quiet();
    host.callback(&format!(
        "error=access_denied&state={}",
        state_of(&redirect)
    ));
    assert_eq!(answered(&mut host), ["three", "two"]);
    assert_eq!(host.error().operation, None);
    host.quiet();
}

#[test]
fn use_14_a_sign_out_answers_everybody_who_waits() {
    // A redirect is out.
    let (mut host, _) = joined();
    host.handle(Event::SignedOut);
    all_are_told(&mut host, "signed out");
    host.quiet();
    // The documents are read; the code is exchanged.
    let mut host = Host::new(config());
    host.ask(&announcing());
    let _first = host.request();
    host.wanted("two");
    host.handle(Event::SignedOut);
    assert_eq!(answered(&mut host), ["two"]);
    assert_eq!(host.error().operation, None);
    let (mut host, state) = joined();
    host.callback(&format!("code=c&state={state}"));
    let _exchange = host.request();
    host.wanted("four");
    host.handle(Event::SignedOut);
    assert_eq!(answered(&mut host), ["four", "three", "two"]);
    assert_eq!(host.error().operation, None);
    // A token is refreshed; the server asks for patience.
    for busy in [false, true] {
        let mut host = Host::signed_in(config(), &renewable_for("at-1", "rt-1", "60"));
        host.pass(60_000);
        host.wanted("one");
        let refresh = host.request();
        if busy {
            host.handle(refresh.response(response(503, &[], "")));
        }
        host.wanted("two");
        host.handle(Event::SignedOut);
        assert_eq!(answered(&mut host), ["one", "two"]);
        host.quiet();
    }
    // The account is read, and being erased.
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    host.store.mode = StoreMode::Manual;
    host.refused(&announcing());
    host.handle(Event::SignedOut);
    assert_eq!(answered(&mut host), ["tools/call x"]);
    host.wanted("late");
    host.handle(Event::SignedOut);
    assert_eq!(answered(&mut host), ["late"]);
}

#[test]
fn use_14_a_store_that_fails_is_told_to_each_operation() {
    let mut host = Host::new(config());
    host.store.mode = StoreMode::LoadsFail;
    host.challenged_for("one", 401, &[], None);
    let failure = host.error();
    assert_eq!(failure.cause, Cause::NotPersisted(StoreFlaw::Load));
    assert_eq!(failure.operation.unwrap().as_str(), "one");
    host.wanted("two");
    assert_eq!(answered(&mut host), ["two"]);
    host.quiet();
}

#[test]
fn use_14_tokens_that_are_not_saved_are_told_to_who_asks() {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.store.mode = StoreMode::WritesFail;
    host.serve(TOKEN, 200, &token_answer("at-1"));
    assert_eq!(host.error().operation, None);
    host.wanted("other");
    assert_eq!(answered(&mut host), ["other"]);
    host.challenged_for("third", 401, &[], None);
    assert_eq!(answered(&mut host), ["third"]);
    host.quiet();
    host.store.mode = StoreMode::Works;
    host.challenged_for("third", 401, &[], None);
    host.ready();
    host.quiet();
}

/// The error of a callback of another instance concerns no operation here.
#[test]
fn use_14_an_error_without_an_operation_answers_no_operation() {
    let (mut host, state) = joined();
    let stage = |host: &mut Host| {
        let failure = host.error();
        (failure.stage, failure.operation)
    };
    host.store.mode = StoreMode::LoadsFail;
    // The record of another authorization cannot be read.
    host.callback("code=x&state=AAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(stage(&mut host), (Stage::Callback, None));
    host.quiet();
    host.store.mode = StoreMode::Works;
    host.callback(&format!("error=access_denied&state={state}"));
    all_are_told(&mut host, "access_denied");
}

/// USE-14: a refusal of the current token waits on beside the `Ready` that answers the refusal of an older one.
#[test]
fn use_14_a_refusal_waits_while_the_account_is_read_whoever_receives_ready() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    let sent = host.token();
    host.store.mode = StoreMode::Manual;
    host.challenged_for("one", 401, &[&announcing()], sent.as_deref());
    let Action::LoadSlot(load) = host.next() else {
        panic!("the account is read");
    };
    host.challenged_for("two", 401, &[&announcing()], Some("Bearer at-0"));
    host.ready();
    host.quiet();
    host.handle(load.failed());
    assert_eq!(answered(&mut host), ["one"]);
    host.quiet();
}

/// A request of an operation waits for the authorization, and another one is under way at the sign-out.
#[test]
fn use_14_a_sign_out_answers_an_operation_once() {
    let mut host = Host::signed_in(config(), &renewable_for("at-1", "rt-1", "60"));
    host.challenged_for(
        "x",
        403,
        &[r#"Bearer error="insufficient_scope", scope="b""#],
        Some("Bearer at-1"),
    );
    host.need_user();
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.redirect();
    host.challenged_for(
        "x",
        403,
        &[r#"Bearer error="insufficient_scope", scope="b""#],
        Some("Bearer at-1"),
    );
    host.quiet();
    host.challenged_for("x", 401, &[&announcing()], Some("Bearer at-1"));
    host.handle(Event::SignedOut);
    let answers = answered(&mut host);
    let of_x = answers.iter().filter(|operation| *operation == "x");
    assert_eq!(of_x.count(), 1, "{answers:?}");
}
