//! A sign-out of one process, and what another one has received and not stored (REFR-12, REV-02); and what a drop of
//! tokens may replace (S20).

use mcp_auth_machine::action::Why;
use mcp_auth_machine::error::{Cause, StoreFlaw};
use mcp_auth_machine::event::{Abandon, Authorization, Operation};
use mcp_auth_machine::slot::{Revision, SlotContents, Stored};
use mcp_auth_machine::{Action, Event, Phase};

use crate::sign_out::{REVOKE, revocable, signed_in_at};
use crate::support::*;
use crate::without_user::{machine_metadata, service, to_token};

const HOUR: u64 = 3_600_000;

/// The store loses its account: another process has signed the user out.
fn signed_out_elsewhere(host: &mut Host) {
    let slots = &mut host.store.slots;
    slots.retain(|key, _| !key.starts_with("account/"));
}

#[track_caller]
fn revokes(host: &mut Host, tokens: &[&str]) {
    for token in tokens {
        let form = body(&host.serve(REVOKE, 200, ""));
        assert_eq!(get(&form, "token").as_deref(), Some(*token));
    }
}

#[track_caller]
fn not_persisted(host: &mut Host) {
    assert!(matches!(host.error().cause, Cause::NotPersisted(_)));
}

/// Signed in, and a step-up away from a second token; the code is out.
fn signing_in_again() -> Host {
    let mut host = signed_in_at(config(), &revocable(""), &renewable("at-1", "rt-1"));
    host.accepted("tools/call x");
    comes_back(&mut host);
    host
}

fn comes_back(host: &mut Host) {
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &revocable(""));
    let redirect = host.redirect();
    host.callback(&format!("code=c-2&state={}", state_of(&redirect)));
}

fn signs_in_again(host: &mut Host) {
    comes_back(host);
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
}

const DEVICE: &str = "https://as.example/device";

/// Signed in, and a user code on the screen for a second authorization.
fn showing_a_code() -> Host {
    let offered = revocable(r#","device_authorization_endpoint":"https://as.example/device""#);
    let mut host = signed_in_at(config(), &offered, &renewable("at-1", "rt-1"));
    host.accepted("tools/call x");
    let seed = host.next_seed();
    host.authorize_with(Authorization::new(seed).on_other_device());
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &offered);
    host.serve(REGISTER, 201, r#"{"client_id":"dev-1"}"#);
    let codes = r#"{"device_code":"dc-1","user_code":"WDJB-MJHT",
        "verification_uri":"https://as.example/code","expires_in":300,"interval":5}"#;
    host.serve(DEVICE, 200, codes);
    host.code();
    host
}

#[test]
fn refr_12_a_device_authorization_does_not_outlive_a_sign_out() {
    for reads in [false, true] {
        let mut host = showing_a_code();
        signed_out_elsewhere(&mut host);
        if reads {
            // A request of another operation finds that the slot is empty.
            host.pass(2 * HOUR / 60);
            let sent = host.token();
            host.challenged_for(
                "y",
                401,
                &["Bearer error=\"invalid_token\""],
                sent.as_deref(),
            );
        }
        while host.actions.is_empty() {
            host.wake();
        }
        host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
        assert_eq!(host.need_user().why, Why::NoCredentials);
        revokes(&mut host, &["rt-2", "at-2"]);
        if reads {
            let need = host.need_user();
            assert_eq!(need.operation.unwrap().as_str(), "y");
        }
        host.quiet();
        assert!(host.store.of_kind("account").is_empty());
        assert_eq!(host.token(), None);
    }
}

#[test]
fn refr_12_an_authorization_that_is_saved_late_does_not_outlive_a_sign_out() {
    let mut host = signing_in_again();
    host.store.mode = StoreMode::WritesFail;
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    not_persisted(&mut host);
    host.store.mode = StoreMode::Works;
    signed_out_elsewhere(&mut host);
    host.pass(2 * HOUR);
    host.wanted("y");
    assert_eq!(host.need_user().why, Why::NoCredentials);
    revokes(&mut host, &["rt-2", "at-2"]);
    host.quiet();
    assert!(host.store.of_kind("account").is_empty());
    assert_eq!(host.token(), None);
}

/// As in one process, a sign-out ends the authorizations that began before it.
#[test]
fn refr_12_a_sign_out_elsewhere_ends_an_authorization_that_began_beside_the_account() {
    let mut host = signing_in_again();
    signed_out_elsewhere(&mut host);
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    assert_eq!(host.need_user().why, Why::NoCredentials);
    revokes(&mut host, &["rt-2", "at-2"]);
    host.quiet();
    // A new process, whose slot is empty: the code is not sent.
    let mut first = signed_in_at(config(), &revocable(""), &renewable("at-1", "rt-1"));
    first.accepted("tools/call x");
    first.authorize();
    first.serve(PRM, 200, &prm());
    first.serve(META, 200, &revocable(""));
    let redirect = first.redirect();
    signed_out_elsewhere(&mut first);
    let config = std::sync::Arc::new(config().build().unwrap());
    let mut host = Host::resumed(config, first.store, first.now, 50);
    host.callback(&format!("code=c-2&state={}", state_of(&redirect)));
    assert_eq!(host.error().cause, Cause::Abandoned);
    host.quiet();
    assert!(host.store.of_kind("pending").is_empty());
}

/// The user completes a sign-in that another process began, and has signed out meanwhile. That ended the redirect of this process
/// too: what waits for it is asked for the user.
#[test]
fn refr_12_authz_18_s53_a_sign_out_elsewhere_ends_the_own_redirect_too() {
    let more = "Bearer error=\"insufficient_scope\", scope=\"admin\"";
    let refused = |host: &mut Host| {
        let sent = host.token();
        host.challenged_for("tools/call x", 403, &[more], sent.as_deref());
    };
    let asks = |host: &mut Host| {
        refused(host);
        host.need_user();
        host.authorize();
        host.serve(PRM, 200, &prm());
        host.serve(META, 200, &revocable(""));
        host.redirect()
    };
    let mut host = signed_in_at(config(), &revocable(""), &renewable("at-1", "rt-1"));
    host.accepted("tools/call x");
    let own = asks(&mut host);
    refused(&mut host);
    host.quiet();
    let built = std::sync::Arc::new(config().build().unwrap());
    let mut other = Host::resumed(built, std::mem::take(&mut host.store), host.now, 50);
    other.ready();
    let theirs = asks(&mut other);
    host.store = other.store;
    host.callback(&format!("code=c-2&state={}", state_of(&theirs)));
    signed_out_elsewhere(&mut host);
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    assert_eq!(host.need_user().operation, Some("tools/call x".into()));
    revokes(&mut host, &["rt-2", "at-2"]);
    host.quiet();
    assert!(host.store.of_kind("pending").is_empty());
    host.callback(&format!("code=c-3&state={}", state_of(&own)));
    host.quiet();
}

/// The redirect began before there was an account, and can still end: the caller of a refresh that a sign-out elsewhere undid waits
/// for it.
#[test]
fn refr_12_authz_18_a_refresh_that_was_undone_waits_for_an_open_redirect() {
    let document = revocable("");
    let mut host = Host::new(config());
    host.discover(&prm(), &document);
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let own = host.redirect();
    let mut other = signed_in_at(config(), &document, &renewable_for("at-1", "rt-1", "60"));
    let slots = std::mem::take(&mut other.store.slots).into_iter();
    let accounts = slots.filter(|(key, _)| key.starts_with("account/"));
    host.store.slots.extend(accounts);
    host.pass(61_000);
    host.wanted("y");
    let send = host.request_to(TOKEN);
    signed_out_elsewhere(&mut host);
    host.handle(send.response(response(200, &[], &renewable("at-2", "rt-2"))));
    revokes(&mut host, &["rt-2", "at-2"]);
    host.quiet();
    host.callback(&format!("code=c&state={}", state_of(&own)));
    host.serve(TOKEN, 200, &renewable("at-3", "rt-3"));
    host.ready();
}

/// The record was gone before the user asked to sign in; this process had not looked since.
#[test]
fn refr_12_a_sign_in_that_began_after_a_sign_out_elsewhere_is_saved() {
    let mut host = signed_in_at(config(), &revocable(""), &renewable("at-1", "rt-1"));
    host.accepted("tools/call x");
    host.pass(120_000);
    signed_out_elsewhere(&mut host);
    comes_back(&mut host);
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
    assert_eq!(host.store.of_kind("account").len(), 1);
}

/// The first write met a record, and the second one an empty slot: the user signed out after the consent.
#[test]
fn refr_12_a_sign_out_between_two_writes_of_an_authorization_ends_it() {
    let mut host = signed_in_at(config(), &revocable(""), &renewable("at-1", "rt-1"));
    host.accepted("tools/call x");
    host.pass(120_000);
    comes_back(&mut host);
    let other = Host::signed_in(config(), &renewable("at-7", "rt-7"));
    let theirs = other.store.of_kind("account")[0].clone();
    let send = host.request();
    host.store.mode = StoreMode::Manual;
    host.handle(send.response(response(200, &[], &renewable("at-2", "rt-2"))));
    let Action::PersistSlot(first) = host.next() else {
        panic!()
    };
    host.handle(first.conflict(Some(theirs)));
    let Action::PersistSlot(second) = host.next() else {
        panic!()
    };
    host.handle(second.conflict(None));
    assert_eq!(host.need_user().why, Why::NoCredentials);
    revokes(&mut host, &["rt-2", "at-2"]);
    host.quiet();
}

/// A callback that waited behind the save is the user's later word.
#[test]
fn refr_12_l04_a_callback_behind_a_save_that_a_sign_out_undid_is_not_lost() {
    let mut host = signing_in_again();
    host.store.mode = StoreMode::WritesFail;
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    not_persisted(&mut host);
    host.store.mode = StoreMode::Works;
    // Another process began a sign-in.
    let mut other = Host::new(config());
    let redirect = other.to_redirect();
    host.store.slots.extend(other.store.slots);
    signed_out_elsewhere(&mut host);
    host.callback(&format!("code=c-3&state={}", state_of(&redirect)));
    revokes(&mut host, &["rt-2", "at-2"]);
    host.serve(TOKEN, 200, &renewable("at-3", "rt-3"));
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-3"));
}

/// A client without a user requests a token whenever it needs one: the late one is as good as the next.
#[test]
fn refr_12_m2m_02_a_client_without_a_user_keeps_what_it_saves_late() {
    let client = config().pre_registered(AS, service()).client_credentials();
    let mut host = to_token(
        client,
        &machine_metadata(AS, r#""client_secret_basic""#, ""),
    );
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
    host.pass(HOUR);
    host.wanted("x");
    host.store.mode = StoreMode::WritesFail;
    let mut send = host.request();
    while *send.request().uri() != TOKEN {
        let url = send.request().uri().to_string();
        let document = host.store.served[&url].clone();
        host.handle(send.response(response(200, &[], &document)));
        send = host.request();
    }
    host.handle(send.response(response(200, &[], &token_answer("at-2"))));
    not_persisted(&mut host);
    host.store.mode = StoreMode::Works;
    signed_out_elsewhere(&mut host);
    host.wanted("x");
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
}

/// A late save that gives way to a newer account whose token has expired refreshes that.
#[test]
fn iso_09_a_late_save_that_gives_way_goes_on_with_the_other_account() {
    let mut host = signing_in_again();
    host.store.mode = StoreMode::WritesFail;
    host.serve(TOKEN, 200, &renewable_for("at-2", "rt-2", "60"));
    not_persisted(&mut host);
    host.store.mode = StoreMode::Works;
    let mut other = Host::new(config());
    other.seeds = 90;
    other.pass(60_000);
    let redirect = other.to_redirect();
    other.callback(&format!("code=c-2&state={}", state_of(&redirect)));
    other.serve(TOKEN, 200, &renewable_for("at-7", "rt-7", "60"));
    other.ready();
    let theirs = other.store.slots.into_iter();
    let account = theirs.filter(|(key, _)| key.starts_with("account/"));
    host.store.slots.extend(account);
    host.pass(HOUR);
    host.wanted("x");
    let form = body(&host.serve(TOKEN, 200, &renewable("at-8", "rt-8")));
    assert_eq!(get(&form, "refresh_token").as_deref(), Some("rt-7"));
    host.ready();
}

/// Signed in; a refresh brought new tokens that the store did not keep.
fn with_unsaved() -> Host {
    let answer = renewable_for("at-1", "rt-1", "60");
    let mut host = signed_in_at(config(), &revocable(""), &answer);
    host.pass(60_000);
    host.wanted("x");
    let send = host.request();
    host.store.mode = StoreMode::WritesFail;
    host.handle(send.response(response(200, &[], &renewable("at-2", "rt-2"))));
    not_persisted(&mut host);
    host.store.mode = StoreMode::Works;
    host
}

#[test]
fn rev_02_refr_12_tokens_that_the_store_did_not_keep_are_revoked_too() {
    let mut host = with_unsaved();
    host.handle(Event::SignedOut);
    assert!(host.store.of_kind("account").is_empty());
    revokes(&mut host, &["rt-1", "at-1", "rt-2", "at-2"]);
    host.quiet();
    assert_eq!(host.machine.phase(), Phase::Resting);
    // A sign-out while they are being saved.
    let mut host = signing_in_again();
    let send = host.request();
    host.store.mode = StoreMode::Manual;
    host.handle(send.response(response(200, &[], &renewable("at-2", "rt-2"))));
    let Action::PersistSlot(save) = host.next() else {
        panic!()
    };
    host.store.mode = StoreMode::Works;
    host.handle(Event::SignedOut);
    assert_eq!(host.error().cause, Cause::Abandoned);
    host.handle(save.failed());
    revokes(&mut host, &["rt-1", "at-1", "rt-2", "at-2"]);
    host.quiet();
    assert!(host.store.of_kind("account").is_empty());
}

/// The store kept them, and said that it did not.
#[test]
fn rev_02_tokens_that_the_store_kept_after_all_are_revoked_once() {
    let mut host = signing_in_again();
    let send = host.request();
    host.store.mode = StoreMode::Manual;
    host.handle(send.response(response(200, &[], &renewable("at-2", "rt-2"))));
    let Action::PersistSlot(save) = host.next() else {
        panic!()
    };
    let stored = save.write().cloned().unwrap();
    let key = save.slot().to_string();
    host.handle(save.failed());
    not_persisted(&mut host);
    host.store.slots.insert(key, stored);
    host.store.mode = StoreMode::Works;
    host.handle(Event::SignedOut);
    revokes(&mut host, &["rt-2", "at-2"]);
    host.quiet();
}

/// The record in the slot has no tokens any more: its registration is still erased with a reset.
#[test]
fn rev_03_quirk_14_a_reset_in_a_sign_out_erases_the_registration_of_an_account_without_tokens() {
    let mut first = signed_in_at(config(), &revocable(""), &renewable("at-1", "rt-1"));
    first.accepted("tools/call x");
    first.pass(2 * HOUR);
    first.wanted("x");
    first.serve(META, 200, &revocable(""));
    first.serve(TOKEN, 400, r#"{"error":"invalid_grant"}"#);
    first.need_user();
    assert_eq!(first.store.of_kind("registration").len(), 1);
    // A new process, which has read nothing when the user signs out.
    let config = std::sync::Arc::new(config().build().unwrap());
    let store = Store {
        mode: StoreMode::Manual,
        ..first.store
    };
    let mut host = Host::resumed(config, store, first.now, 50);
    let Action::LoadSlot(_) = host.next() else {
        panic!()
    };
    host.handle(Event::Abandoned(Abandon::ResetRegistration));
    host.handle(Event::SignedOut);
    host.store.mode = StoreMode::Works;
    // The next actions are answered by the store.
    while let Some(action) = host.actions.pop_front() {
        match action {
            Action::LoadSlot(load) => {
                let found = host.store.slots.get(&load.slot().to_string()).cloned();
                host.handle(load.found(found));
            }
            Action::PersistSlot(persist) => {
                let event = host.store.persist(persist);
                host.handle(event);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(host.store.of_kind("account").is_empty());
    assert!(host.store.of_kind("registration").is_empty());
}

/// The second sign-out does not forget the request that the first one left behind.
#[test]
fn refr_12_a_late_token_is_revoked_after_a_second_sign_out_at_rest() {
    let answer = renewable_for("at-1", "rt-1", "60");
    let mut host = signed_in_at(config(), &revocable(""), &answer);
    host.pass(60_000);
    host.wanted("x");
    let late = host.request();
    host.handle(Event::SignedOut);
    assert_eq!(host.error().cause, Cause::Abandoned);
    revokes(&mut host, &["rt-1", "at-1"]);
    host.handle(Event::SignedOut);
    host.quiet();
    host.handle(late.response(response(200, &[], &renewable("at-2", "rt-2"))));
    revokes(&mut host, &["rt-2", "at-2"]);
    host.quiet();
}

/// The server does not know the client, and then it does: another process has newer tokens of that client.
#[test]
fn s20_tok_19_a_refused_client_does_not_end_tokens_that_came_later() {
    let answer = renewable_for("at-1", "rt-1", "60");
    let mut host = signed_in_at(config(), &revocable(""), &answer);
    host.pass(60_000);
    host.wanted("x");
    let refused = host.request();
    let theirs = Host::signed_in(config(), &renewable("at-7", "rt-7"));
    let theirs = theirs.store.of_kind("account")[0].clone();
    let slots = &mut host.store.slots;
    let (_, stored) = slots
        .iter_mut()
        .find(|(key, _)| key.starts_with("account/"))
        .unwrap();
    *stored = theirs;
    host.handle(refused.response(response(401, &[], r#"{"error":"invalid_client"}"#)));
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-7"));
    assert_eq!(host.store.of_kind("account").len(), 1);
}

/// A sign-out that the store did not confirm is repeated before anything else; until then nothing is handed out.
#[test]
fn rev_03_a_sign_out_that_the_store_did_not_confirm_is_repeated() {
    let mut host = signed_in_at(config(), &revocable(""), &renewable("at-1", "rt-1"));
    host.store.mode = StoreMode::WritesFail;
    host.handle(Event::SignedOut);
    not_persisted(&mut host);
    revokes(&mut host, &["rt-1", "at-1"]);
    for _ in 0..2 {
        host.wanted("x");
        // The erasure fails again, and so does the operation.
        not_persisted(&mut host);
        revokes(&mut host, &["rt-1", "at-1"]);
        let failure = host.error();
        assert_eq!(failure.operation, Some(Operation::new("x")));
        assert!(matches!(failure.cause, Cause::NotPersisted(_)));
        host.quiet();
        assert_eq!(host.token(), None);
    }
    host.store.mode = StoreMode::Works;
    host.wanted("x");
    revokes(&mut host, &["rt-1", "at-1"]);
    assert_eq!(host.need_user().why, Why::NoCredentials);
    host.quiet();
    assert!(host.store.of_kind("account").is_empty());
}

/// Two processes have sent one refresh token, and the refusal of the loser is stored first: the winner's tokens count.
#[test]
fn refr_05_d02_l05_the_tokens_of_a_refresh_replace_an_account_that_its_refusal_emptied() {
    let answer = renewable_for("at-1", "rt-1", "60");
    let mut loser = signed_in_at(config(), &revocable(""), &answer);
    loser.pass(60_000);
    let store = Store {
        slots: loser.store.slots.clone(),
        ..Store::default()
    };
    let config = std::sync::Arc::new(config().build().unwrap());
    let mut winner = Host::resumed(config, store, loser.now, 50);
    winner.wanted("x");
    let send = winner.request();
    loser.wanted("x");
    loser.serve(TOKEN, 400, r#"{"error":"invalid_grant"}"#);
    loser.need_user();
    winner.store = loser.store;
    winner.handle(send.response(response(200, &[], &renewable("at-2", "rt-2"))));
    winner.ready();
    assert_eq!(winner.token().as_deref(), Some("Bearer at-2"));
    let kept = winner.store.of_kind("account");
    assert!(kept[0].contents.expose().contains("rt-2"));
}

/// A record that cannot be read does not count as a sign-out: what was refreshed replaces it.
#[test]
fn refr_12_s26_a_damaged_record_does_not_end_a_refresh() {
    let answer = renewable_for("at-1", "rt-1", "60");
    let mut host = signed_in_at(config(), &revocable(""), &answer);
    host.pass(60_000);
    host.wanted("x");
    let send = host.request();
    host.store.damage("account");
    host.handle(send.response(response(200, &[], &renewable("at-2", "rt-2"))));
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
}

/// A new sign-in of another process is not what the first sign-out was about.
#[test]
fn rev_03_a_repeated_sign_out_erases_no_later_sign_in() {
    // By the same clock, and within a second by one that is ahead: another authorization.
    for (signed_in, repeated) in [(1_000, 2_000), (2_500, 500)] {
        let mut host = signed_in_at(config(), &revocable(""), &renewable("at-1", "rt-1"));
        host.store.mode = StoreMode::WritesFail;
        host.handle(Event::SignedOut);
        not_persisted(&mut host);
        revokes(&mut host, &["rt-1", "at-1"]);
        host.store.mode = StoreMode::Works;
        let mut other = Host::new(config());
        other.seeds = 90;
        other.pass(signed_in);
        let redirect = other.to_redirect();
        other.callback(&format!("code=c&state={}", state_of(&redirect)));
        other.serve(TOKEN, 200, &renewable("at-7", "rt-7"));
        host.store.slots = std::mem::take(&mut other.store.slots);
        host.pass(repeated);
        host.wanted("x");
        host.ready();
        assert_eq!(host.token().as_deref(), Some("Bearer at-7"));
    }
}

/// The account was erased in another process before the user agreed to sign in: nothing ends that authorization.
#[test]
fn refr_12_a_sign_in_that_began_after_the_sign_out_is_kept() {
    for asked in [false, true] {
        let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
        if asked {
            let sent = host.token();
            let challenge = "Bearer error=\"insufficient_scope\", scope=\"w\"";
            host.challenged_for("x", 403, &[challenge], sent.as_deref());
            host.need_user();
        }
        // Another process signs out, and the user returns to this one.
        host.store
            .slots
            .retain(|key, _| !key.starts_with("account"));
        host.pass(70_000);
        host.authorize();
        host.serve(PRM, 200, &prm());
        let redirect = host.redirect();
        host.callback(&format!("code=c&state={}", state_of(&redirect)));
        host.serve(TOKEN, 200, &token_answer("at-2"));
        host.ready();
        assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
    }
}

/// A new process, whose store cannot be read.
fn without_reading(store: Store, now: mcp_auth_machine::Moment) -> Host {
    let config = std::sync::Arc::new(config().build().unwrap());
    let store = Store {
        mode: StoreMode::LoadsFail,
        ..store
    };
    let mut host = Host::resumed(config, store, now, 60);
    not_persisted(&mut host);
    host
}

/// In a process that has not read the account yet, the store fails at the sign-out: what it holds is not used, and erased once
/// it can be read.
#[test]
fn rev_03_a_sign_out_whose_read_fails_is_repeated() {
    for again in [false, true] {
        let mut first = signed_in_at(config(), &revocable(""), &renewable("at-1", "rt-1"));
        let store = std::mem::take(&mut first.store);
        let mut host = without_reading(store, first.now);
        host.handle(Event::SignedOut);
        not_persisted(&mut host);
        host.wanted("x");
        // It was repeated, and the operation is answered.
        for operation in [None, Some("x")] {
            let failure = host.error();
            assert_eq!(failure.cause, Cause::NotPersisted(StoreFlaw::Load));
            assert_eq!(
                failure.operation.as_ref().map(|own| own.as_str()),
                operation
            );
        }
        if again {
            host.handle(Event::SignedOut);
            not_persisted(&mut host);
        }
        host.store.mode = StoreMode::Works;
        host.wanted("x");
        revokes(&mut host, &["rt-1", "at-1"]);
        host.need_user();
        host.quiet();
        assert!(host.store.of_kind("account").is_empty());
    }
}

/// A sign-in of another process after that sign-out stays. Within the time by which the clocks of two hosts differ, it cannot be
/// told from an earlier one.
#[test]
fn rev_03_a_sign_out_that_was_not_read_erases_no_later_sign_in() {
    for (seconds, suspended, stays) in [(40, 0, true), (40, 3_600, true), (30, 0, false)] {
        signs_in_after_an_unread_sign_out(seconds * 1_000, suspended * 1_000, stays);
    }
}

/// A process that signs out, and is slow or suspended; the user signs in elsewhere meanwhile, `wait` milliseconds later.
fn slow_sign_out(wait: u64, cleared: bool) -> Host {
    let mut host = signed_in_at(config(), &revocable(""), &renewable("at-1", "rt-1"));
    host.store.mode = StoreMode::Manual;
    host.handle(Event::SignedOut);
    let Action::LoadSlot(load) = host.next() else {
        panic!()
    };
    let before = host.store.slots.clone();
    let mut other = Host::new(config());
    other.seeds = 90;
    other.now = host.now;
    other.pass(wait);
    let redirect = other.to_redirect();
    other.callback(&format!("code=c&state={}", state_of(&redirect)));
    other.serve(TOKEN, 200, &renewable("at-7", "rt-7"));
    other.ready();
    host.now = other.now;
    let theirs = other.store.of_kind("account")[0].clone();
    if cleared {
        let own = before.iter().find(|(key, _)| key.starts_with("account"));
        host.handle(load.found(own.map(|(_, stored)| stored.clone())));
        let Action::PersistSlot(clear) = host.next() else {
            panic!()
        };
        host.store.slots = other.store.slots.clone();
        host.store.mode = StoreMode::Works;
        host.handle(clear.conflict(Some(theirs)));
    } else {
        host.store.slots = other.store.slots.clone();
        host.store.mode = StoreMode::Works;
        host.handle(load.found(Some(theirs)));
    }
    host
}

/// A sign-in that came well after the sign-out stays, also where the sign-out is still under way. The tokens that this process
/// knew are revoked.
#[test]
fn rev_03_a_slow_sign_out_erases_no_later_sign_in() {
    for cleared in [false, true] {
        let mut host = slow_sign_out(40_000, cleared);
        revokes(&mut host, &["rt-1", "at-1"]);
        host.quiet();
        host.wanted("x");
        host.ready();
        assert_eq!(host.token().as_deref(), Some("Bearer at-7"), "{cleared}");
    }
    // A sign-in that was under way ends (REV-07).
    for cleared in [false, true] {
        let mut host = slow_sign_out(30_000, cleared);
        host.quiet();
        host.wanted("x");
        host.need_user();
        assert!(host.store.of_kind("account").is_empty(), "{cleared}");
    }
}

/// The time of the sign-out counts, and not that at which its read failed.
#[test]
fn rev_03_a_sign_out_whose_read_is_slow_erases_no_later_sign_in() {
    let mut first = signed_in_at(config(), &revocable(""), &renewable("at-1", "rt-1"));
    let mut host = without_reading(Store::default(), first.now);
    host.store.mode = StoreMode::Manual;
    host.handle(Event::SignedOut);
    let Action::LoadSlot(load) = host.next() else {
        panic!()
    };
    first.pass(40_000);
    signs_in_again(&mut first);
    // The host passes the failure in before the timer.
    first.pass(5_000);
    host.now = first.now;
    host.handle(load.failed());
    not_persisted(&mut host);
    host.store = std::mem::take(&mut first.store);
    host.wanted("x");
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
}

fn signs_in_after_an_unread_sign_out(wait: u64, suspended: u64, stays: bool) {
    let mut first = signed_in_at(config(), &revocable(""), &renewable("at-1", "rt-1"));
    let store = std::mem::take(&mut first.store);
    let config = std::sync::Arc::new(config().build().unwrap());
    let mut host = Host::resumed(config, store, first.now, 40);
    host.ready();
    let mut other = without_reading(Store::default(), host.now);
    other.handle(Event::SignedOut);
    not_persisted(&mut other);
    // A clock that does not count the suspension of the host.
    let asleep = suspended;
    host.pass(wait);
    host.now.wall.0 += asleep;
    signs_in_again(&mut host);
    other.now = host.now;
    other.store = std::mem::take(&mut host.store);
    other.wanted("x");
    if stays {
        other.ready();
        assert_eq!(other.token().as_deref(), Some("Bearer at-2"));
    } else {
        revokes(&mut other, &["rt-2", "at-2"]);
        other.need_user();
    }
}

/// The record as it was written before accounts said when the user had authorized them.
fn without_time(stored: &Stored) -> Stored {
    let (_frame, json) = stored.contents.expose().split_once(".{").unwrap();
    let (before, after) = json.split_once(",\"ad\":").unwrap();
    let json = format!("{{{before},{}", after.split_once(',').unwrap().1);
    let revision = Revision::of(json.as_bytes());
    let contents = SlotContents::new(format!("v3.{revision}.{json}"));
    Stored { contents, revision }
}

/// Another process refreshes the tokens after a sign-out that could not be read: the authorization is that of the sign-out.
#[test]
fn rev_03_a_sign_out_that_was_not_read_erases_a_refresh_that_came_since() {
    // The record says when the user authorized, or does not.
    for old in [false, true] {
        let mut first = signed_in_at(config(), &revocable(""), &renewable("at-1", "rt-1"));
        first.pass(HOUR);
        let store = std::mem::take(&mut first.store);
        let config = std::sync::Arc::new(config().build().unwrap());
        let mut host = without_reading(Store::default(), first.now);
        host.handle(Event::SignedOut);
        not_persisted(&mut host);
        let mut other = Host::resumed(config, store, host.now, 40);
        other.pass(120_000);
        other.wanted("y");
        other.serve(META, 200, &revocable(""));
        other.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
        other.ready();
        host.now = other.now;
        host.store = std::mem::take(&mut other.store);
        if old {
            for (key, stored) in &mut host.store.slots {
                if key.starts_with("account") {
                    *stored = without_time(stored);
                }
            }
        }
        host.wanted("x");
        revokes(&mut host, &["rt-2", "at-2"]);
        host.need_user();
        host.quiet();
        assert!(host.store.of_kind("account").is_empty());
    }
}

/// Another account was there already when the user signed out: this process had read the one before it.
#[test]
fn rev_03_a_repeated_sign_out_erases_an_account_that_it_had_not_read() {
    let mut host = signed_in_at(config(), &revocable(""), &renewable("at-1", "rt-1"));
    host.accepted("tools/call x");
    // The user signs in again in another process.
    let config = std::sync::Arc::new(config().build().unwrap());
    let mut other = Host::resumed(config, std::mem::take(&mut host.store), host.now, 40);
    other.ready();
    other.pass(60_000);
    signs_in_again(&mut other);
    // The store fails while the user signs out here.
    host.now = other.now;
    host.store.mode = StoreMode::Manual;
    host.handle(Event::SignedOut);
    let Action::LoadSlot(load) = host.next() else {
        panic!()
    };
    host.handle(load.failed());
    let Action::PersistSlot(erase) = host.next() else {
        panic!()
    };
    host.handle(erase.failed());
    not_persisted(&mut host);
    revokes(&mut host, &["rt-1", "at-1"]);
    host.store = std::mem::take(&mut other.store);
    host.pass(60_000);
    host.wanted("x");
    revokes(&mut host, &["rt-2", "at-2"]);
    host.need_user();
    assert!(host.store.of_kind("account").is_empty());
}

/// Another process has leased the refresh token since: the record is another one, and its tokens are those of the sign-out.
#[test]
fn rev_03_a_repeated_sign_out_erases_what_another_process_has_leased() {
    let mut host = signed_in_at(config(), &revocable(""), &renewable("at-1", "rt-1"));
    host.pass(3_600_000);
    let store = Store {
        slots: host.store.slots.clone(),
        ..Store::default()
    };
    let mut other = Host::resumed(
        std::sync::Arc::new(config().build().unwrap()),
        store,
        host.now,
        40,
    );
    host.store.mode = StoreMode::WritesFail;
    host.handle(Event::SignedOut);
    not_persisted(&mut host);
    revokes(&mut host, &["rt-1", "at-1"]);
    other.wanted("y");
    other.serve(META, 200, &revocable(""));
    let _refresh = other.request_to(TOKEN);
    host.store = std::mem::take(&mut other.store);
    host.wanted("x");
    revokes(&mut host, &["rt-1", "at-1"]);
    host.need_user();
    host.quiet();
    assert!(host.store.of_kind("account").is_empty());
}

/// The repetition reads the account, and another process refreshes it before it is erased: it is the same account.
#[test]
fn rev_03_a_repeated_sign_out_erases_a_refresh_of_the_same_authorization() {
    let mut first = signed_in_at(config(), &revocable(""), &renewable("at-1", "rt-1"));
    first.pass(3_600_000);
    let mut store = std::mem::take(&mut first.store);
    let config = std::sync::Arc::new(config().build().unwrap());
    let copy = Store {
        slots: store.slots.clone(),
        ..Store::default()
    };
    let mut other = Host::resumed(config, copy, first.now, 40);
    let mut host = without_reading(Store::default(), first.now);
    host.handle(Event::SignedOut);
    not_persisted(&mut host);
    host.store.mode = StoreMode::Manual;
    host.pass(10_000);
    host.wanted("x");
    host.share_one(&mut store);
    other.now = host.now;
    other.wanted("y");
    other.serve(META, 200, &revocable(""));
    other.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    other.ready();
    store.slots = std::mem::take(&mut other.store.slots);
    host.share(&mut store);
    let mut revoked = Vec::new();
    while let Some(mcp_auth_machine::Action::SendRequest(_)) = host.actions.front() {
        revoked.push(get(&body(&host.serve(REVOKE, 200, "")), "token").unwrap());
        host.share(&mut store);
    }
    assert!(revoked.iter().any(|token| token == "rt-2"), "{revoked:?}");
    host.need_user();
    assert!(store.of_kind("account").is_empty());
}
