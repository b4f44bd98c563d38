//! A new registration and the pending record of its client are written together; the redirect waits for both.

use std::sync::Arc;

use mcp_auth_machine::action::PersistSlot;
use mcp_auth_machine::error::{Cause, Failure, Stage, StoreFlaw};
use mcp_auth_machine::event::Abandon;
use mcp_auth_machine::slot::SlotKind;
use mcp_auth_machine::{Action, Event};

use crate::support::*;

#[track_caller]
fn write(host: &mut Host, kind: SlotKind) -> PersistSlot {
    match host.next() {
        Action::PersistSlot(persist) if persist.slot().kind() == kind => persist,
        other => panic!("{other:?}"),
    }
}

/// A client that was just registered, with its two writes.
fn registered() -> (Host, PersistSlot, PersistSlot) {
    let mut host = Host::new(config());
    host.discover(&prm(), &metadata());
    host.store.mode = StoreMode::Manual;
    host.serve(REGISTER, 201, r#"{"client_id":"one"}"#);
    let registration = write(&mut host, SlotKind::Registration);
    let pending = write(&mut host, SlotKind::Pending);
    host.quiet();
    (host, registration, pending)
}

#[track_caller]
fn fails(host: &mut Host, at: Stage, flaw: StoreFlaw) -> Failure {
    let failure = host.error();
    assert_eq!(failure.stage, at);
    assert_eq!(failure.cause, Cause::NotPersisted(flaw));
    failure
}

/// REG-28, S16
#[test]
fn reg_28_s16_the_redirect_waits_for_the_registration_and_the_pending_record() {
    for registration_first in [true, false] {
        let (mut host, registration, pending) = registered();
        let (first, second) = match registration_first {
            true => (registration, pending),
            false => (pending, registration),
        };
        host.handle(first.done());
        host.quiet();
        host.handle(second.done());
        assert_eq!(&*host.redirect().client_id, "one");
        host.quiet();
    }
}

/// The pending record is erased, because its redirect is never sent.
#[test]
fn reg_28_no_redirect_without_the_registration() {
    for pending_first in [true, false] {
        let (mut host, registration, pending) = registered();
        let (slot, written) = (pending.slot(), pending.write().unwrap().revision);
        if pending_first {
            host.handle(pending.done());
            host.quiet();
            host.handle(registration.failed());
        } else {
            host.handle(registration.failed());
            // The machine ignores the result of the other write.
            let erased = host.machine.phase();
            host.handle(pending.done());
            assert_eq!(host.machine.phase(), erased);
        }
        let erases = write(&mut host, SlotKind::Pending);
        assert_eq!(erases.slot(), slot);
        assert_eq!(erases.expected(), Some(written));
        assert!(erases.write().is_none());
        fails(&mut host, Stage::Registration, StoreFlaw::Write);
        host.quiet();
    }
}

/// REG-28, D25
#[test]
fn reg_28_d25_no_redirect_without_the_pending_record() {
    for registration_first in [true, false] {
        for conflict in [true, false] {
            let (mut host, registration, pending) = registered();
            let (event, flaw) = match conflict {
                true => (pending.conflict(None), StoreFlaw::Conflict),
                false => (pending.failed(), StoreFlaw::Write),
            };
            if registration_first {
                host.handle(registration.done());
                host.quiet();
                host.handle(event);
            } else {
                host.handle(event);
                host.quiet();
                host.handle(registration.done());
            }
            fails(&mut host, Stage::Authorization, flaw);
            host.quiet();
        }
    }
}

/// A store that answers one of the two writes is waited for no longer than for any other write.
#[test]
fn reg_28_the_time_of_both_writes_is_limited() {
    for registration_answers in [true, false] {
        let (mut host, registration, pending) = registered();
        host.handle(match registration_answers {
            true => registration.done(),
            false => pending.done(),
        });
        host.pass(29_999);
        host.handle(Event::Timer);
        host.quiet();
        host.pass(1);
        host.handle(Event::Timer);
        if registration_answers {
            fails(&mut host, Stage::Authorization, StoreFlaw::Write);
        } else {
            let _erases = write(&mut host, SlotKind::Pending);
            fails(&mut host, Stage::Registration, StoreFlaw::Write);
        }
        host.quiet();
    }
}

/// A cancel, and a sign-out, erase the pending record whose redirect was not sent.
#[test]
fn authz_19_refr_12_what_ends_the_attempt_meanwhile_erases_the_record() {
    for event in [Event::Abandoned(Abandon::Cancelled), Event::SignedOut] {
        let (mut host, registration, pending) = registered();
        let slot = pending.slot();
        host.handle(event);
        let erases = |action: &Action| matches!(action, Action::PersistSlot(persist) if persist.slot() == slot && persist.write().is_none());
        assert!(host.actions.iter().any(erases));
        host.handle(registration.done());
        host.handle(pending.done());
        assert!(
            !host
                .actions
                .iter()
                .any(|action| matches!(action, Action::Redirect(_)))
        );
    }
}

/// Two processes register at the same time: each completes its sign-in with its own client, and the registration that was
/// stored first serves from then on.
#[test]
fn reg_28_the_registration_that_was_stored_first_serves_later_authorizations() {
    let config = Arc::new(config().build().unwrap());
    let mut first = Host::on(Arc::clone(&config), Store::default());
    let mut second = Host::on(config, Store::default());
    second.seeds = 9;
    first.discover(&prm(), &metadata());
    second.discover(&prm(), &metadata());
    first.serve(REGISTER, 201, r#"{"client_id":"one"}"#);
    assert_eq!(&*first.redirect().client_id, "one");
    second.store.slots.extend(first.store.slots.clone());
    second.serve(REGISTER, 201, r#"{"client_id":"two"}"#);
    let redirect = second.redirect();
    assert_eq!(&*redirect.client_id, "two");
    second.callback(&format!("code=c&state={}", state_of(&redirect)));
    let exchange = second.request();
    let form = std::str::from_utf8(exchange.request().body()).unwrap();
    assert!(form.contains("client_id=two"));
    second.handle(exchange.response(response(200, &[], &token_answer("at-1"))));
    second.ready();
    second.authorize();
    second.serve(PRM, 200, &prm());
    second.serve(META, 200, &metadata());
    assert_eq!(&*second.redirect().client_id, "one");
}

#[test]
fn reg_31_a_crash_between_the_two_writes_loses_nothing() {
    let config = Arc::new(config().build().unwrap());
    for registration_stored in [true, false] {
        let (mut host, registration, pending) = registered();
        let now = host.now;
        host.store.mode = StoreMode::Works;
        let stored = match registration_stored {
            true => registration,
            false => pending,
        };
        host.store.persist(stored);
        let store = std::mem::take(&mut host.store);
        let mut next = Host::resumed(Arc::clone(&config), store, now, 30);
        next.discover(&prm(), &metadata());
        if !registration_stored {
            next.serve(REGISTER, 201, r#"{"client_id":"two"}"#);
        }
        let redirect = next.redirect();
        let expected = if registration_stored { "one" } else { "two" };
        assert_eq!(&*redirect.client_id, expected);
        next.quiet();
    }
}
