//! Events that are queued while the machine is busy, and the account slot that they find.

use mcp_auth_machine::budget::Limited;
use mcp_auth_machine::error::{Cause, Next, StoreFlaw};
use mcp_auth_machine::{Action, Event};

use crate::support::*;

/// A machine whose account slot is being read.
fn busy() -> Host {
    let manual = Store {
        mode: StoreMode::Manual,
        ..Store::default()
    };
    Host::on(std::sync::Arc::new(config().build().unwrap()), manual)
}

#[track_caller]
fn load(host: &mut Host) -> mcp_auth_machine::action::LoadSlot {
    match host.next() {
        Action::LoadSlot(load) => load,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn persist(host: &mut Host) -> mcp_auth_machine::action::PersistSlot {
    match host.next() {
        Action::PersistSlot(persist) => persist,
        other => panic!("{other:?}"),
    }
}

/// Each operation that waits has a place; one for which there is none is answered.
#[test]
fn use_14_an_operation_for_which_there_is_no_place_is_answered() {
    let mut host = busy();
    for number in 0..64 {
        host.wanted(&number.to_string());
    }
    // Those that wait already, and what the user does, have their places.
    host.wanted("7");
    host.challenged_for("8", 401, &[], None);
    host.authorize();
    assert_eq!(host.reported("event_dropped"), 0);
    host.wanted("one more");
    assert_eq!(host.reported("event_dropped"), 1);
    let event = load(&mut host).found(None);
    let failure = host.error();
    assert_eq!(failure.operation.as_ref().unwrap().as_str(), "one more");
    assert_eq!(failure.cause, Cause::OutOfPatience(Limited::Callers));
    assert_eq!(failure.next(), Next::RetryLater(None));
    // Each operation has one answer.
    host.handle(event);
    let mut asked = Vec::new();
    while let Some(Action::NeedUser(_)) = host.actions.front() {
        asked.extend(host.need_user().operation);
    }
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), 64);
    assert!(matches!(host.next(), Action::SendRequest(_)));
    host.quiet();
}

#[test]
fn giving_up_ends_the_wish_to_authorize_and_no_other() {
    let mut host = busy();
    host.wanted("tools/call x");
    host.authorize();
    host.handle(Event::Abandoned(Default::default()));
    let event = load(&mut host).found(None);
    // The click is answered.
    assert_eq!(host.error().cause, Cause::Abandoned);
    host.handle(event);
    let operation = host.need_user().operation.unwrap();
    assert_eq!(operation.as_str(), "tools/call x");
    host.quiet();
}

#[test]
fn a_waiting_caller_receives_one_ready_although_a_callback_follows() {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
    host.store.mode = StoreMode::WritesFail;
    host.serve(TOKEN, 200, &token_answer("at-1"));
    assert_eq!(host.error().cause, Cause::NotPersisted(StoreFlaw::Write));
    // The account is saved again before a callback is processed, while a caller waits for a token.
    host.store.mode = StoreMode::Manual;
    host.callback("code=x&state=AAAAAAAAAAAAAAAAAAAAAA");
    host.wanted("tools/call x");
    let event = persist(&mut host).done();
    host.handle(event);
    host.ready();
    let event = load(&mut host).found(None);
    host.handle(event);
    assert_eq!(host.reported("callback_ignored"), 1);
    host.quiet();
}

#[test]
fn a_renewal_replaces_the_account_that_still_holds_the_token_sent() {
    let mut host = Host::signed_in(config(), &renewable_for("at-1", "rt-1", "600"));
    let mut store = std::mem::take(&mut host.store);
    let without_lease = store.slots.clone();
    host.store.mode = StoreMode::Manual;
    host.pass(600_000);
    host.wanted("x");
    host.share(&mut store);
    let send = host.request();
    // Another revision, as before the lease, with the same refresh token.
    store.slots = without_lease;
    host.handle(send.response(response(200, &[], &renewable("at-2", "rt-2"))));
    host.share(&mut store);
    host.ready();
    host.quiet();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
    let kept = store.of_kind("account")[0].contents.expose();
    assert!(kept.contains("rt-2") && !kept.contains("rt-1"));
}

#[test]
fn an_account_slot_that_was_erased_is_known_to_be_empty() {
    let mut host = Host::new(config());
    host.sign_in();
    host.handle(Event::SignedOut);
    host.quiet();
    host.store.mode = StoreMode::Manual;
    host.authorize();
    host.serve(PRM, 200, &prm());
}

/// The token is kept by the machine when the store has changed under it again and again.
#[test]
fn tok_16_a_store_that_never_stands_still_is_asked_three_times() {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.store.mode = StoreMode::Manual;
    host.serve(TOKEN, 200, &token_answer("at-1"));
    for _ in 0..3 {
        let write = persist(&mut host);
        host.handle(write.conflict(None));
    }
    let cause = host.error().cause;
    assert_eq!(cause, Cause::NotPersisted(StoreFlaw::Conflict));
    host.quiet();
    host.store.mode = StoreMode::Works;
    host.wanted("x");
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
}
