//! A store that reports a conflict where no other process wrote: bounded tries, and the store is the responsible party.

use mcp_auth_machine::Action;
use mcp_auth_machine::error::{Cause, Next, Party, Stage, StoreFlaw};

use crate::support::*;

#[test]
fn refr_05_a_store_that_reports_a_conflict_each_time_is_written_three_times() {
    let mut host = Host::signed_in(config(), &renewable_for("at-1", "rt-1", "60"));
    host.pass(60_000);
    host.store.mode = StoreMode::Manual;
    host.wanted("x");
    let stored = host.store.of_kind("account")[0].clone();
    let mut writes = 0;
    let failure = loop {
        match host.next() {
            Action::LoadSlot(load) => host.handle(load.found(Some(stored.clone()))),
            Action::PersistSlot(persist) => {
                writes += 1;
                host.handle(persist.conflict(Some(stored.clone())));
            }
            Action::Error(failure) => break failure,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(writes, 3);
    assert_eq!(failure.cause, Cause::NotPersisted(StoreFlaw::Conflict));
    assert_eq!(
        (failure.stage, failure.party()),
        (Stage::Slots, Party::Store)
    );
    assert_eq!(failure.next(), Next::RetryLater(None));
    host.quiet();
}

/// The client of the store repeats a write whose response was lost.
#[test]
fn a_conflict_with_the_very_record_of_a_redirect_is_its_confirmation() {
    let mut host = Host::new(config());
    host.discover(&prm(), &metadata());
    host.store.mode = StoreMode::Manual;
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let Action::PersistSlot(registration) = host.next() else {
        panic!()
    };
    host.handle(registration.done());
    let Action::PersistSlot(pending) = host.next() else {
        panic!()
    };
    let written = pending.write().cloned();
    host.handle(pending.conflict(written));
    host.redirect();
    host.quiet();
}
