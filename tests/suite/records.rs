//! Records read from slots: intact, altered, foreign, newer (S26, D21 to D25).

use std::sync::Arc;

use mcp_auth_machine::config::PreRegistered;
use mcp_auth_machine::error::{Cause, Next, StoreFlaw};
use mcp_auth_machine::key::SigningKey;
use mcp_auth_machine::slot::{Slot, SlotContents, Stored};
use mcp_auth_machine::wire::words::SigningAlgorithm;
use mcp_auth_machine::{Event, NoBearer, RecordFlaw};

use crate::support::*;

fn signed_in() -> (Arc<mcp_auth_machine::Config>, Store) {
    let config = Arc::new(config().build().unwrap());
    let mut host = Host::on(Arc::clone(&config), Store::default());
    host.sign_in();
    (config, std::mem::take(&mut host.store))
}

fn account_key(store: &Store) -> String {
    let key = store.slots.keys().find(|key| key.starts_with("account"));
    key.unwrap().clone()
}

fn copy_store(store: &Store) -> Store {
    Store {
        slots: store.slots.clone(),
        mode: store.mode,
        served: store.served.clone(),
    }
}

/// Puts other contents under the revision that is there.
fn replace(store: &mut Store, key: &str, text: impl Into<String>) {
    let contents = SlotContents::new(text);
    let revision = store.slots[key].revision;
    let stored = Stored { contents, revision };
    store.slots.insert(key.to_owned(), stored);
}

#[test]
fn d21_an_altered_account_counts_as_absent_at_every_byte() {
    let (config, store) = signed_in();
    let key = account_key(&store);
    let stored = store.slots[&key].clone();
    let text = stored.contents.expose().to_owned();
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
        let Ok(altered) = String::from_utf8(bytes) else {
            continue;
        };
        let mut store = copy_store(&store);
        replace(&mut store, &key, altered);
        let mut host = Host::on(Arc::clone(&config), store);
        host.quiet();
        assert_eq!(host.token(), None, "byte {at}");
        assert_eq!(host.reported("record_unusable"), 1, "byte {at}");
    }
}

#[test]
fn d21_a_truncated_account_counts_as_absent() {
    let (config, store) = signed_in();
    let key = account_key(&store);
    let stored = store.slots[&key].clone();
    let text = stored.contents.expose().to_owned();
    for end in 0..text.len() {
        let mut store = copy_store(&store);
        replace(&mut store, &key, &text[..end]);
        let mut host = Host::on(Arc::clone(&config), store);
        assert_eq!(host.token(), None, "{end} bytes");
    }
}

#[test]
fn d23_another_users_account_is_not_taken() {
    let (config, store) = signed_in();
    let foreign = store.slots[&account_key(&store)].clone();
    // A store that mixes keys up hands alice's record to bob.
    let mut bob = Host::for_user(Arc::clone(&config), Store::default(), "bob");
    bob.store.mode = StoreMode::Manual;
    bob.challenged(401, &["Bearer"]);
    match bob.next() {
        mcp_auth_machine::Action::LoadSlot(load) => bob.handle(load.found(Some(foreign))),
        other => panic!("{other:?}"),
    }
    assert_eq!(bob.token(), None);
    assert_eq!(bob.reported("record_unusable"), 1);
    bob.need_user();
}

#[test]
fn d24_a_newer_account_is_neither_used_nor_overwritten() {
    let (config, store) = signed_in();
    let key = account_key(&store);
    let stored = store.slots[&key].clone();
    let newer = stored.contents.expose().replacen("v3.", "v4.", 1);
    let mut changed = copy_store(&store);
    replace(&mut changed, &key, &newer);
    let mut host = Host::on(config, changed);
    let failure = host.error();
    let flaw = StoreFlaw::Record(RecordFlaw::Newer);
    assert_eq!(failure.cause, Cause::NotPersisted(flaw));
    host.challenged(401, &["Bearer"]);
    assert_eq!(host.error().cause, Cause::NotPersisted(flaw));
    assert_eq!(host.store.slots[&key].contents.expose(), newer);
}

#[test]
fn beside_a_newer_account_no_authorization_is_begun() {
    let (config, mut store) = signed_in();
    let key = account_key(&store);
    let text = store.slots[&key].contents.expose().to_owned();
    let newer = text.replacen("v3.", "v4.", 1);
    replace(&mut store, &key, &newer);
    let mut host = Host::on(config, store);
    let cause = Cause::NotPersisted(StoreFlaw::Record(RecordFlaw::Newer));
    assert_eq!(host.error().cause, cause);
    host.seeds = 50;
    host.authorize();
    assert_eq!(host.error().cause, cause);
    host.quiet();
    assert_eq!(host.store.slots[&key].contents.expose(), newer);
}

#[test]
fn a_version_that_is_spelled_otherwise_is_no_newer_one() {
    let (config, store) = signed_in();
    let key = account_key(&store);
    let text = store.slots[&key].contents.expose().to_owned();
    for (version, newer) in [
        ("v03.", false),
        ("v+3.", false),
        ("v0.", false),
        ("v1.", false),
        ("4.", false),
        ("v4.", true),
    ] {
        let mut changed = copy_store(&store);
        replace(&mut changed, &key, text.replacen("v3.", version, 1));
        let host = Host::on(Arc::clone(&config), changed);
        assert_eq!(!host.actions.is_empty(), newer, "{version}");
    }
}

#[test]
fn d25_no_redirect_without_its_record() {
    let mut host = Host::new(config());
    host.discover(&prm(), &metadata());
    host.store.mode = StoreMode::WritesFail;
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let failure = host.error();
    assert_eq!(failure.cause, Cause::NotPersisted(StoreFlaw::Write));
    assert_eq!(failure.next(), Next::RetryLater(None));
    host.quiet();
}

#[test]
fn s16_no_code_is_sent_before_its_record_is_gone() {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.store.mode = StoreMode::WritesFail;
    host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
    assert_eq!(host.error().cause, Cause::NotPersisted(StoreFlaw::Write));
    host.quiet();
}

#[test]
fn tok_16_a_token_that_is_not_stored_is_not_used_and_not_lost() {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
    host.store.mode = StoreMode::WritesFail;
    assert!(!host.machine.has_unsaved());
    host.serve(TOKEN, 200, &token_answer("at-1"));
    assert_eq!(host.error().cause, Cause::NotPersisted(StoreFlaw::Write));
    assert_eq!(host.token(), None);
    assert!(host.machine.has_unsaved());
    // The store works again: the next event that needs a token saves it, without the user.
    host.store.mode = StoreMode::Works;
    host.handle(Event::Wanted("tools/call x".into()));
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
    assert!(!host.machine.has_unsaved());
    host.quiet();
}

#[test]
fn d22_a_rolled_back_pending_record_sends_one_refused_code_at_worst() {
    let config = Arc::new(config().build().unwrap());
    let mut host = Host::on(Arc::clone(&config), Store::default());
    let redirect = host.to_redirect();
    let before = copy_store(&host.store);
    let callback = format!("code=c-1&state={}", state_of(&redirect));
    host.callback(&callback);
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
    let mut again = Host::on(config, before);
    again.callback(&callback);
    again.serve(TOKEN, 400, r#"{"error":"invalid_grant"}"#);
    assert_eq!(again.error().next(), Next::AskUser);
    again.quiet();
}

/// A store that confuses its keys: the same contents under another key.
fn under(key: &str, stored: &Stored) -> Store {
    let mut store = Store::default();
    store.slots.insert(key.to_owned(), stored.clone());
    store
}

#[test]
fn tok_17_iso_01_a_record_of_another_mcp_server_is_not_taken() {
    let (config, store) = signed_in();
    let stored = store.slots[&account_key(&store)].clone();
    assert!(Host::on(config, store).token().is_some());
    // The token's resource covers the other URL, and still it is another server's record.
    let other = "https://mcp.example/mcp/other";
    let config = Arc::new(
        mcp_auth_machine::Config::builder(other, REDIRECT)
            .build()
            .unwrap(),
    );
    let key = Slot::account("alice", other).to_string();
    let mut host = Host::on(config, under(&key, &stored));
    assert_eq!(host.machine.bearer(host.now, other), Err(NoBearer::NotHeld));
    assert_eq!(host.reported("record_unusable"), 1);
    host.quiet();
}

#[test]
fn iso_12_a_registration_or_an_attempt_of_another_user_is_not_taken() {
    let config = Arc::new(config().build().unwrap());
    let mut alice = Host::on(Arc::clone(&config), Store::default());
    let redirect = alice.to_redirect();
    let of_alice = |kind: &str| alice.store.of_kind(kind)[0].clone();
    // The keys under which bob's would be.
    let mut bob = Host::for_user(Arc::clone(&config), Store::default(), "bob");
    bob.to_redirect();
    let key = |kind: &str| {
        let mut keys = bob.store.slots.keys();
        keys.find(|key| key.starts_with(kind)).unwrap().clone()
    };
    let store = under(&key("registration"), &of_alice("registration"));
    let mut later = Host::for_user(Arc::clone(&config), store, "bob");
    later.discover(&prm(), &metadata());
    later.serve(REGISTER, 201, r#"{"client_id":"bobs"}"#);
    assert_eq!(&*later.redirect().client_id, "bobs");
    // The state of alice's attempt, in bob's session.
    let store = under(&key("pending"), &of_alice("pending"));
    let mut later = Host::for_user(config, store, "bob");
    later.callback(&format!("code=c&state={}", state_of(&redirect)));
    later.quiet();
    assert_eq!(later.reported("callback_ignored"), 1);
}

#[test]
fn a_key_is_used_by_the_next_process_as_it_was_agreed() {
    use SigningAlgorithm::{EdDsa, Es256, Ps256, Rs256};
    for algorithm in [Es256, EdDsa, Ps256, Rs256] {
        let client = PreRegistered::new("c").key(SigningKey::new("k", [algorithm]).kid("k1"));
        let config = Arc::new(config().pre_registered(AS, client).build().unwrap());
        let mut host = Host::on(Arc::clone(&config), Store::default());
        host.discover(
            &prm(),
            &metadata().replace("[\"none\"]", "[\"private_key_jwt\"]"),
        );
        let redirect = host.redirect();
        let mut later = Host::on(config, std::mem::take(&mut host.store));
        later.callback(&format!("code=c&state={}", state_of(&redirect)));
        let (header, claims) = later.signs();
        assert_eq!(header["alg"], algorithm.as_str());
        assert_eq!(header["kid"], "k1");
        assert_eq!(claims["aud"], AS);
    }
}
