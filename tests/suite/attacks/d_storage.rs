//! Slots that were tampered with, rolled back or mixed up, and stores that fail (1.D).

use std::sync::Arc;

use mcp_auth_machine::action::Why;
use mcp_auth_machine::error::Cause;
use mcp_auth_machine::slot::{Slot, SlotContents, Stored};
use mcp_auth_machine::{Config, Event};

use super::*;

const OTHER_MCP: &str = "https://other.example/mcp";

fn clone_of(store: &Store) -> Store {
    Store {
        slots: store.slots.clone(),
        mode: store.mode,
        served: store.served.clone(),
    }
}

fn resumed(store: Store, like: &Host) -> Host {
    let config = Arc::new(config().build().unwrap());
    Host::resumed(config, store, like.now, like.seeds)
}

/// The account slot holds this text, under the revision it claims.
fn with_account(text: &str) -> Store {
    let sealed = text.split('.').nth(1).unwrap();
    let digest = sealed.split('~').next().unwrap();
    let stored = Stored {
        revision: digest.parse().unwrap(),
        contents: SlotContents::new(text),
    };
    let mut store = Store::default();
    store
        .slots
        .insert(Slot::account("alice", MCP).to_string(), stored);
    store
}

/// The one up to the last place of a mark in its frame, and the other from there on.
fn mixed(one: &str, two: &str, mark: char) -> String {
    let at = |text: &str| {
        let frame = text.find('{').unwrap();
        text[..frame].rfind(mark).unwrap()
    };
    format!("{}{}", &one[..at(one)], &two[at(two)..])
}

#[test]
fn d21_parts_of_two_accounts_make_no_third() {
    let one = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    let two = Host::signed_in(config(), &renewable("at-2", "rt-2"));
    let (one_text, two_text) = (account(&one), account(&two));
    let mixtures = [
        one_text.replace("rt-1", "rt-2"),
        one_text.replace(AS, B),
        // The checksum of the one, the contents of the other.
        mixed(&one_text, &two_text, '.'),
        // The revision of the one, the key and the contents of the other.
        mixed(&one_text, &two_text, '~'),
    ];
    for text in mixtures {
        let mut host = resumed(with_account(&text), &one);
        assert_eq!(host.token(), None, "{text}");
        assert_eq!(host.reported("record_unusable"), 1);
        host.wanted("x");
        assert_eq!(host.need_user().why, Why::NoCredentials);
        host.quiet();
    }
}

#[test]
fn d22_a_refresh_token_that_was_rolled_back_is_refused_once_and_that_is_all() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    let before = clone_of(&host.store);
    host.refused("Bearer");
    host.serve(PRM, 200, &prm());
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
    let mut later = resumed(before, &host);
    later.actions.clear();
    later.pass(HOUR);
    later.wanted("x");
    later.serve(META, 200, &metadata());
    let form = body(&later.serve(TOKEN, 400, r#"{"error":"invalid_grant"}"#));
    assert_eq!(get(&form, "refresh_token").as_deref(), Some("rt-1"));
    assert_eq!(later.need_user().why, Why::TokenOver);
    for _ in 0..3 {
        later.wanted("x");
        later.need_user();
        later.quiet();
    }
}

#[test]
fn d23_the_account_of_another_resource_is_not_taken() {
    let host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    let foreign = host.store.of_kind("account")[0].clone();
    let config = Arc::new(Config::builder(OTHER_MCP, REDIRECT).build().unwrap());
    let mut store = Store::default();
    store
        .slots
        .insert(Slot::account("alice", OTHER_MCP).to_string(), foreign);
    let mut other = Host::on(config, store);
    assert!(other.machine.bearer(other.now, OTHER_MCP).is_err());
    assert!(other.machine.bearer(other.now, MCP).is_err());
    assert_eq!(other.reported("record_unusable"), 1);
    other.wanted("x");
    assert_eq!(other.need_user().why, Why::NoCredentials);
    other.quiet();
}

#[test]
fn d23_a_pending_record_of_another_user_is_nobodys() {
    let mut alice = Host::new(config());
    let hers = alice.to_redirect();
    let mut bob = Host::for_user(Arc::new(config().build().unwrap()), Store::default(), "bob");
    bob.store.mode = StoreMode::Manual;
    bob.callback(&format!("code=c&state={}", state_of(&hers)));
    let Action::LoadSlot(load) = bob.next() else {
        panic!()
    };
    // A store that mixes its keys up.
    let foreign = alice.store.of_kind("pending")[0].clone();
    bob.handle(load.found(Some(foreign)));
    bob.quiet();
}

#[test]
fn d24_an_older_account_is_not_guessed_at_and_stays_until_a_new_one_is_made() {
    let host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    for version in ["v0", "V2", "2", ""] {
        let text = account(&host).replacen("v3", version, 1);
        let mut later = resumed(with_account(&text), &host);
        assert_eq!(later.token(), None, "{version}");
        assert_eq!(account(&later), text);
        later.wanted("x");
        assert_eq!(later.need_user().why, Why::NoCredentials);
        later.quiet();
        later.authorize();
        later.serve(PRM, 200, &prm());
        later.serve(META, 200, &metadata());
        let register = later.serve(REGISTER, 201, r#"{"client_id":"dyn-2"}"#);
        assert!(!String::from_utf8_lossy(register.body()).contains("rt-1"));
        let redirect = later.redirect();
        later.callback(&format!("code=c&state={}", state_of(&redirect)));
        later.serve(TOKEN, 200, &renewable("at-9", "rt-9"));
        later.ready();
        assert!(account(&later).contains("rt-9"));
    }
}

#[test]
fn d25_a_conflict_before_a_request_is_read_and_never_written_over() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    let winner = Host::signed_in(config(), &renewable_for("at-9", "rt-9", "86400"));
    let theirs = winner.store.of_kind("account")[0].clone();
    host.pass(HOUR);
    host.store.mode = StoreMode::Manual;
    host.wanted("x");
    let mut conflicts = 0;
    loop {
        match host.next() {
            Action::LoadSlot(load) => {
                let found = host.store.slots.get(&load.slot().to_string()).cloned();
                host.handle(load.found(found));
            }
            Action::PersistSlot(persist) if persist.slot().to_string().starts_with("account") => {
                conflicts += 1;
                host.handle(persist.conflict(Some(theirs.clone())));
            }
            Action::PersistSlot(persist) => host.handle(persist.done()),
            Action::SendRequest(send) => {
                assert_eq!(send.request().uri().to_string(), META);
                host.handle(send.response(response(200, &[], &metadata())));
            }
            Action::Ready(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(conflicts, 1);
    host.quiet();
    assert_eq!(host.token().as_deref(), Some("Bearer at-9"));
}

#[test]
fn d25_no_refresh_and_no_redirect_without_a_record_of_it() {
    let mut host = Host::signed_in(config(), &renewable_for("at-1", "rt-1", "60"));
    host.pass(60_000);
    host.store.mode = StoreMode::WritesFail;
    host.wanted("x");
    assert!(matches!(host.error().cause, Cause::NotPersisted(_)));
    host.quiet();
    let mut host = Host::new(config());
    host.to_redirect();
    host.handle(Event::Abandoned(Default::default()));
    host.error();
    // The registration is known already: the record of the attempt is all that is written.
    host.store.mode = StoreMode::WritesFail;
    asked(&mut host);
    host.serve(PRM, 200, &prm());
    assert!(matches!(host.error().cause, Cause::NotPersisted(_)));
    host.quiet();
}

#[test]
fn d03_a_code_is_not_sent_by_two_processes_that_both_see_the_callback() {
    let mut one = Host::new(config());
    let redirect = one.to_redirect();
    let store = clone_of(&one.store);
    let mut two = resumed(store, &one);
    one.store.mode = StoreMode::Manual;
    two.store.mode = StoreMode::Manual;
    let callback = format!("code=c&state={}", state_of(&redirect));
    one.callback(&callback);
    two.callback(&callback);
    let Action::LoadSlot(load) = two.next() else {
        panic!()
    };
    let pending = two.store.of_kind("pending")[0].clone();
    two.handle(load.found(Some(pending)));
    let (Action::PersistSlot(first), Action::PersistSlot(second)) = (one.next(), two.next()) else {
        panic!()
    };
    assert!(first.write().is_none() && second.write().is_none());
    one.handle(first.done());
    two.handle(second.conflict(None));
    assert_eq!((requests(&one), requests(&two)), (1, 0));
}
