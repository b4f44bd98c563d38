//! Records of every version that was ever written are read for ever.

use std::sync::Arc;

use mcp_auth_machine::slot::{Slot, SlotContents, Stored};

use crate::support::*;

const ACCOUNT: &str = include_str!("../golden/account.v1.txt");
const LEFT: &str = include_str!("../golden/account_left.v1.txt");
const PENDING: &str = include_str!("../golden/pending.v1.txt");
const REGISTRATION: &str = include_str!("../golden/registration.v1.txt");
const REGISTERED: &str = include_str!("../golden/registration_registered.v1.txt");
const NAMED: &str = include_str!("../golden/registration_named.v1.txt");
const LEFT_OUT: &str = include_str!("../golden/registration_left_out.v1.txt");

fn stored(golden: &str) -> Stored {
    let text = golden.trim_end();
    let revision = text.split('.').nth(1).unwrap().parse().unwrap();
    let contents = SlotContents::new(text);
    Stored { contents, revision }
}

/// What the present version writes in the same flow.
fn written(kind: &str) -> String {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    if kind == "account" {
        host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
        host.serve(TOKEN, 200, &token_answer("at-1"));
    }
    host.store.of_kind(kind)[0].contents.expose().to_owned()
}

#[test]
fn v1_is_what_is_written() {
    assert_eq!(written("account"), ACCOUNT.trim_end());
    assert_eq!(written("pending"), PENDING.trim_end());
    assert_eq!(written("registration"), REGISTERED.trim_end());
}

#[test]
fn v1_account_is_read() {
    let mut store = Store::default();
    let key = Slot::account("alice", MCP).to_string();
    store.slots.insert(key, stored(ACCOUNT));
    let mut host = Host::on(Arc::new(config().build().unwrap()), store);
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
}

/// An account whose issuer the resource no longer lists has one member more.
#[test]
fn v1_an_account_that_was_left_is_written_and_read() {
    let mut host = Host::signed_in(config(), &token_answer("at-1"));
    host.refused("Bearer");
    host.serve(PRM, 200, &prm().replace(AS, "https://b.example"));
    host.need_user();
    let written = host.store.of_kind("account")[0].contents.expose();
    assert_eq!(written, LEFT.trim_end());
    let mut store = Store::default();
    let key = Slot::account("alice", MCP).to_string();
    store.slots.insert(key, stored(LEFT));
    let mut host = Host::on(Arc::new(config().build().unwrap()), store);
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
    // A version that does not know the member reads no account there, and refreshes nothing.
    let unknown = LEFT.replacen("left_for", "left_4or", 1);
    let json = unknown.trim_end().splitn(3, '.').nth(2).unwrap();
    let mut store = Store::default();
    let key = Slot::account("alice", MCP).to_string();
    store.slots.insert(key, sealed(json));
    let mut host = Host::on(Arc::new(config().build().unwrap()), store);
    assert_eq!(host.token(), None);
}

#[test]
fn v1_pending_and_registration_are_read() {
    let mut reference = Host::new(config());
    let redirect = reference.to_redirect();
    let mut store = Store::default();
    for key in reference.store.slots.keys() {
        if key.starts_with("pending") {
            store.slots.insert(key.clone(), stored(PENDING));
        }
        if key.starts_with("registration") {
            store.slots.insert(key.clone(), stored(REGISTRATION));
        }
    }
    let mut host = Host::on(Arc::new(config().build().unwrap()), store);
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 400, r#"{"error":"invalid_grant"}"#);
    host.error();
    host.seeds = 9;
    host.discover(&prm(), &metadata());
    assert_eq!(&*host.redirect().client_id, "dyn-1");
}

#[test]
fn v1_a_registration_for_less_than_was_asked_is_written_and_read() {
    let listed = prm().replace('}', r#","scopes_supported":["a","b"]}"#);
    let mut host = Host::new(config());
    host.discover(&listed, &metadata());
    let register = format!("{AS}/register");
    host.serve(&register, 201, r#"{"client_id":"dyn-1","scope":"a"}"#);
    host.redirect();
    let written = &host.store.of_kind("registration")[0];
    assert_eq!(written.contents.expose(), NAMED.trim_end());
    for golden in [LEFT_OUT, NAMED] {
        let mut store = Store::default();
        for key in host.store.slots.keys() {
            if key.starts_with("registration") {
                store.slots.insert(key.clone(), stored(golden));
            }
        }
        let mut later = Host::on(Arc::new(config().build().unwrap()), store);
        later.seeds = 9;
        later.discover(&listed, &metadata());
        assert_eq!(later.redirect().scopes.as_str(), "a");
    }
}
