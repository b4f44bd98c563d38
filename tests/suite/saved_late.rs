//! Tokens that the store did not take: a timer saves them again, and what was saved late is used (TOK-16).

use mcp_auth_machine::error::{Cause, StoreFlaw};

use crate::instead::signs_in;
use mcp_auth_machine::Action;

use crate::support::*;

/// A refresh whose tokens the store did not take.
fn unsaved(lifetime: &str) -> Host {
    let mut host = Host::signed_in(config(), &renewable_for("at-1", "rt-1", "60"));
    host.pass(60_000);
    host.wanted("x");
    host.store.mode = StoreMode::WritesFail;
    host.serve(TOKEN, 200, &renewable_for("at-2", "rt-2", lifetime));
    assert_eq!(host.error().cause, Cause::NotPersisted(StoreFlaw::Write));
    host
}

#[test]
fn tok_16_a_timer_saves_again_after_waits_that_grow() {
    let mut host = unsaved("3600");
    assert_eq!((host.wake(), host.wake()), (200, 1_000));
    // These tries answer no caller.
    host.quiet();
    host.store.mode = StoreMode::Works;
    assert_eq!(host.wake(), 2_000);
    host.ready();
    host.quiet();
    assert!(
        host.store.of_kind("account")[0]
            .contents
            .expose()
            .contains("rt-2")
    );
    assert!(!host.machine.has_unsaved());
    assert_eq!(host.machine.deadline(), None);
}

#[test]
fn tok_16_the_tries_of_the_timer_are_bounded() {
    let mut host = unsaved("3600");
    let mut waits = Vec::new();
    while host.machine.deadline().is_some() {
        // An event that asks for a token saves too, and does not use up a try.
        if waits.len() < 3 {
            host.wanted("y");
            assert_eq!(host.error().operation.unwrap().as_str(), "y");
        }
        waits.push(host.wake());
    }
    assert_eq!(waits.len(), 14);
    assert!(waits.is_sorted());
    // While another process waits for the lease, a store that works again is found within 5 seconds.
    let mut before_the_end = 0;
    for wait in &waits {
        if before_the_end + 5_000 < 35_000 {
            assert!(*wait <= 5_000, "{waits:?}");
        }
        before_the_end += wait;
    }
    assert!(host.machine.has_unsaved());
    host.quiet();
    host.store.mode = StoreMode::Works;
    host.wanted("y");
    host.ready();
    assert!(!host.machine.has_unsaved());
}

/// Another process finds the tokens there when its turn comes.
#[test]
fn tok_16_tokens_saved_within_the_lease_are_those_of_every_process() {
    let mut host = unsaved("3600");
    host.store.mode = StoreMode::Works;
    host.wake();
    host.ready();
    host.pass(36_000);
    let config = std::sync::Arc::new(config().build().unwrap());
    let store = std::mem::take(&mut host.store);
    let mut other = Host::resumed(config, store, host.now, 40);
    other.ready();
    assert_eq!(other.token().as_deref(), Some("Bearer at-2"));
}

#[test]
fn tok_16_use_08_what_is_saved_after_its_end_is_refreshed() {
    for challenged in [false, true] {
        let mut host = unsaved("60");
        host.store.mode = StoreMode::Manual;
        host.pass(120_000);
        host.store.mode = StoreMode::Works;
        if challenged {
            host.challenged_for("y", 401, &[&announcing()], None);
            host.serve(PRM, 200, &prm());
        } else {
            host.wanted("y");
        }
        let form = body(&host.serve(TOKEN, 200, &renewable("at-3", "rt-3")));
        assert_eq!(get(&form, "refresh_token").as_deref(), Some("rt-2"));
        host.ready();
        host.quiet();
    }
    // By the timer, and a refusal later.
    let mut host = unsaved("60");
    host.pass(120_000);
    host.store.mode = StoreMode::Works;
    host.handle(mcp_auth_machine::Event::Timer);
    host.quiet();
    host.challenged_for("x", 401, &[&announcing()], Some("Bearer at-1"));
    host.serve(PRM, 200, &prm());
    let form = body(&host.serve(TOKEN, 200, &renewable("at-3", "rt-3")));
    assert_eq!(get(&form, "refresh_token").as_deref(), Some("rt-2"));
    host.ready();
}

/// Another instance has taken the callback of the redirect that is pending here, and the account holds tokens of a later
/// sign-in: tokens that were not saved yet do not replace them.
#[test]
fn iso_09_authz_18_what_is_saved_late_does_not_replace_the_result_of_a_redirect() {
    let mut host = Host::signed_in(config(), &renewable_for("at-1", "rt-1", "120"));
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.redirect();
    host.pass(120_000);
    host.wanted("x");
    host.store.mode = StoreMode::WritesFail;
    host.serve(TOKEN, 200, &renewable_for("at-2", "rt-2", "3600"));
    assert_eq!(host.error().cause, Cause::NotPersisted(StoreFlaw::Write));
    for _ in 0..10 {
        host.wake();
    }
    host.store.mode = StoreMode::Works;
    signs_in(&mut host, &token_answer("at-c"));
    host.store
        .slots
        .retain(|key, _| !key.starts_with("pending"));
    host.wake();
    host.ready();
    host.wanted("y");
    host.ready();
    host.quiet();
    assert_eq!(host.token().as_deref(), Some("Bearer at-c"));
    assert!(!host.machine.has_unsaved());
}

/// The first write was done, although the store reported a failure; another process has refreshed those tokens since, and its
/// answer named fewer scopes. The late save does not put the spent refresh token back.
#[test]
fn iso_09_refr_05_what_is_saved_late_does_not_replace_its_own_refresh() {
    let mut host = Host::new(config());
    let challenge = format!("Bearer resource_metadata=\"{PRM}\", scope=\"a b\"");
    let redirect = host.to_redirect_by(&challenge);
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let send = host.request_to(TOKEN);
    let mut store = std::mem::take(&mut host.store);
    host.store.mode = StoreMode::Manual;
    host.handle(send.response(response(200, &[], &renewable_for("at-1", "rt-1", "60"))));
    while let Some(action) = host.actions.pop_front() {
        if let Action::PersistSlot(persist) = action {
            if persist.slot().to_string().starts_with("account") {
                let slot = persist.slot().to_string();
                store.slots.insert(slot, persist.write().unwrap().clone());
            }
            host.handle(persist.failed());
        }
    }
    host.pass(60_000);
    let config = std::sync::Arc::new(config().build().unwrap());
    let mut other = Host::resumed(config, store, host.now, 60);
    other.wanted("y");
    let fewer = renewable("at-2", "rt-2").replacen('{', r#"{"scope":"a","#, 1);
    other.serve(TOKEN, 200, &fewer);
    other.ready();
    host.now = other.now;
    host.store = std::mem::take(&mut other.store);
    host.wanted("x");
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
    assert!(spelled_out(host.store.of_kind("account")[0].contents.expose()).contains("rt-2"));
}

/// The write of a refresh was done, although the store reported a failure. Another process has refreshed those tokens since, and
/// was refused: the refresh token that it spent is not put back. Where the server refused the token that was sent for these, they are
/// the tokens of the grant.
#[test]
fn refr_06_refr_05_what_is_saved_late_revives_no_refused_token() {
    for done in [false, true] {
        let mut host = Host::signed_in(config(), &renewable_for("at-1", "rt-1", "60"));
        host.pass(60_000);
        host.wanted("x");
        let send = host.request_to(TOKEN);
        let mut store = std::mem::take(&mut host.store);
        host.store.mode = StoreMode::Manual;
        host.handle(send.response(response(200, &[], &renewable_for("at-2", "rt-2", "600"))));
        let Action::PersistSlot(save) = host.next() else {
            panic!()
        };
        if done {
            let slot = save.slot().to_string();
            store.slots.insert(slot, save.write().unwrap().clone());
        }
        host.handle(save.failed());
        host.error();
        let config = std::sync::Arc::new(config().build().unwrap());
        host.pass(40_000);
        let mut other = Host::resumed(config, store, host.now, 60);
        if done {
            other.ready();
            let sent = other.token();
            other.challenged_for("y", 401, &[&announcing()], sent.as_deref());
            other.serve(PRM, 200, &prm());
        } else {
            other.wanted("y");
        }
        other.serve(TOKEN, 400, r#"{"error":"invalid_grant"}"#);
        other.need_user();
        host.now = other.now;
        host.store = std::mem::take(&mut other.store);
        host.wanted("x");
        let text = |host: &Host| spelled_out(host.store.of_kind("account")[0].contents.expose());
        if done {
            host.need_user();
            assert!(!text(&host).contains("rt-2"), "{}", text(&host));
            assert_eq!(host.token(), None);
        } else {
            host.ready();
            assert!(text(&host).contains("rt-2"));
        }
    }
}

/// The account that a sign-in is to replace was refreshed in another process meanwhile: it is still the earlier sign-in.
#[test]
fn iso_09_a_sign_in_that_is_saved_late_replaces_an_earlier_one_that_was_refreshed_since() {
    let mut host = Host::signed_in(config(), &renewable_for("at-1", "rt-1", "60"));
    host.accepted("tools/call x");
    host.pass(60_000);
    host.authorize();
    host.serve(PRM, 200, &prm());
    let redirect = host.redirect();
    host.callback(&format!("code=c-2&state={}", state_of(&redirect)));
    let send = host.request_to(TOKEN);
    let store = std::mem::take(&mut host.store);
    host.store.mode = StoreMode::WritesFail;
    host.handle(send.response(response(200, &[], &renewable("at-2", "rt-2"))));
    host.error();
    let config = std::sync::Arc::new(config().build().unwrap());
    host.pass(10_000);
    let mut other = Host::resumed(config, store, host.now, 60);
    other.wanted("y");
    other.serve(TOKEN, 200, &renewable("at-9", "rt-9"));
    other.ready();
    host.store = std::mem::take(&mut other.store);
    host.wanted("x");
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
}

/// The first write of a sign-in was done, although the store reported a failure, and another process refreshes those tokens: it
/// keeps its lease.
#[test]
fn refr_05_what_is_saved_late_leaves_the_lease_of_another_process() {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let send = host.request_to(TOKEN);
    let mut store = std::mem::take(&mut host.store);
    host.store.mode = StoreMode::Manual;
    host.handle(send.response(response(200, &[], &renewable_for("at-1", "rt-1", "90"))));
    let Action::PersistSlot(save) = host.next() else {
        panic!()
    };
    let slot = save.slot().to_string();
    store.slots.insert(slot, save.write().unwrap().clone());
    host.handle(save.failed());
    host.error();
    host.pass(85_000);
    let config = std::sync::Arc::new(config().build().unwrap());
    let mut other = Host::resumed(config, store, host.now, 60);
    other.ready();
    other.wanted("y");
    let refresh = other.request_to(TOKEN);
    host.store = std::mem::take(&mut other.store);
    host.wanted("x");
    host.ready();
    let text = spelled_out(host.store.of_kind("account")[0].contents.expose());
    assert!(text.contains("\"lease\""), "{text}");
    other.store = std::mem::take(&mut host.store);
    other.handle(refresh.response(response(200, &[], &renewable("at-2", "rt-2"))));
    other.ready();
    assert_eq!(other.token().as_deref(), Some("Bearer at-2"));
}

/// The store reports another account as a conflict, and fails when that one is replaced. The clock was set back since the user
/// signed in to it: the later try replaces it as well.
#[test]
fn iso_09_s08_what_replaces_an_account_replaces_it_when_it_is_saved_late() {
    let mut other = Host::new(config());
    other.seeds = 30;
    other.now.wall.0 += 24 * 3_600_000;
    let redirect = other.to_redirect();
    other.callback(&format!("code=c-7&state={}", state_of(&redirect)));
    other.serve(TOKEN, 200, &renewable("at-7", "rt-7"));
    other.ready();
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
    let send = host.request();
    host.store.mode = StoreMode::Manual;
    host.handle(send.response(response(200, &[], &renewable("at-1", "rt-1"))));
    let Action::PersistSlot(first) = host.next() else {
        panic!()
    };
    let theirs = other.store.of_kind("account")[0].clone();
    host.store
        .slots
        .insert(first.slot().to_string(), theirs.clone());
    host.handle(first.conflict(Some(theirs)));
    let second = match host.next() {
        Action::PersistSlot(second) => second,
        other => panic!("{other:?}"),
    };
    host.handle(second.failed());
    host.error();
    host.store.mode = StoreMode::Works;
    host.wake();
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
}

/// Two sign-ins at once: the tokens that were requested later are stored first, and stay.
#[test]
fn s63_iso_09_a_first_write_that_meets_a_later_sign_in_gives_way() {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
    let send = host.request();
    let mut other = Host::new(config());
    other.seeds = 30;
    other.pass(1_000);
    let redirect = other.to_redirect();
    other.callback(&format!("code=c-7&state={}", state_of(&redirect)));
    other.serve(TOKEN, 200, &renewable("at-7", "rt-7"));
    other.ready();
    host.store.slots.extend(other.store.slots);
    host.pass(2_000);
    host.handle(send.response(response(200, &[], &renewable("at-1", "rt-1"))));
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-7"));
}

/// The answer to a refresh gives way to another account, and the slot holds the refresh token that was sent again: the token
/// is spent.
#[test]
fn s60_a_refresh_token_whose_answer_was_taken_is_not_sent_again() {
    let mut host = Host::signed_in(config(), &renewable_for("at-1", "rt-1", "600"));
    let mut other = Host::new(config());
    other.seeds = 30;
    let redirect = other.to_redirect();
    other.callback(&format!("code=c-7&state={}", state_of(&redirect)));
    other.serve(TOKEN, 200, &renewable_for("at-7", "rt-7", "600"));
    other.ready();
    let earlier = host.store.of_kind("account")[0].clone();
    host.pass(600_000);
    host.wanted("x");
    let send = host.request_to(TOKEN);
    host.store.mode = StoreMode::Manual;
    host.handle(send.response(response(200, &[], &renewable("at-2", "rt-2"))));
    for stored in [other.store.of_kind("account")[0].clone(), earlier] {
        let Action::PersistSlot(persist) = host.next() else {
            panic!()
        };
        host.handle(persist.conflict(Some(stored)));
    }
    host.need_user();
    host.quiet();
}
