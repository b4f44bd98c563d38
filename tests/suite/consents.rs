//! Consents that reach a machine at odd moments: the answer to a question of another machine, one beside an attempt under way, one
//! after a redirect that was declined (STEP-15, S46, S47, S48, STEP-12).

use std::sync::Arc;

use mcp_auth_machine::action::NeedUser;
use mcp_auth_machine::event::Authorization;
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_machine::{Action, Event};

use crate::support::*;

/// The question for these scopes.
fn asked_for(host: &mut Host, scopes: &str) -> NeedUser {
    let sent = host.token();
    let challenge = format!(r#"Bearer error="insufficient_scope", scope="{scopes}""#);
    host.challenged_for("tools/call x", 403, &[&challenge], sent.as_deref());
    host.need_user()
}

/// A question of another machine of the same account.
fn asked_elsewhere(scopes: &str) -> NeedUser {
    let mut other = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    other.accepted("tools/call x");
    asked_for(&mut other, scopes)
}

fn answers(host: &mut Host, need: NeedUser) {
    let seed = host.next_seed();
    host.authorize_with(Authorization::new(seed).answering(&need));
}

/// The next redirect, which asks for these scopes.
fn goes_for(host: &mut Host, scopes: &[&str]) {
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    let redirect = host.redirect();
    for scope in scopes {
        assert!(redirect.scopes.iter().any(|asked| asked == *scope));
    }
}

/// This machine has asked for want of an account, which another process has stored since.
#[test]
fn step_15_s46_the_answer_to_a_question_of_another_machine_is_not_taken_for_that_to_its_own() {
    let mut host = Host::new(config());
    host.challenged(401, &["Bearer"]);
    host.need_user();
    let other = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    host.store = other.store;
    host.pass(2_000);
    answers(&mut host, asked_elsewhere("admin"));
    goes_for(&mut host, &["admin"]);
}

#[test]
fn step_15_s47_the_answer_to_a_question_of_another_machine_joins_an_attempt_with_its_scopes() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    host.authorize();
    answers(&mut host, asked_elsewhere("admin"));
    goes_for(&mut host, &["admin"]);
    host.quiet();
}

#[test]
fn step_15_two_answers_while_the_account_is_read_are_both_kept() {
    let mut host = Host::new(config());
    let mut store = Host::signed_in(config(), &renewable("at-1", "rt-1")).store;
    host.store.mode = StoreMode::Manual;
    host.pass(2_000);
    answers(&mut host, asked_elsewhere("admin"));
    answers(&mut host, asked_elsewhere("write"));
    host.share(&mut store);
    host.store = store;
    goes_for(&mut host, &["admin", "write"]);
}

/// The host names the scopes of the attempt under way: the consent to others follows it.
#[test]
fn s46_step_12_a_consent_follows_an_attempt_for_which_the_host_named_scopes() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    host.accepted("tools/call x");
    let need = asked_for(&mut host, "admin");
    let seed = host.next_seed();
    host.authorize_with(Authorization::new(seed).scopes(Scopes::parse("write")));
    answers(&mut host, need);
    goes_for(&mut host, &["write"]);
    goes_for(&mut host, &["admin"]);
}

/// The question was put while an `Authorize` waited, whose redirect the user declines, and then thinks again.
#[test]
fn step_15_s46_a_question_can_be_answered_after_its_redirect_was_declined() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    host.accepted("tools/call x");
    let mut store = std::mem::take(&mut host.store);
    host.store.mode = StoreMode::Manual;
    let sent = host.token();
    let challenge = r#"Bearer error="insufficient_scope", scope="admin""#;
    host.challenged_for("tools/call x", 403, &[challenge], sent.as_deref());
    host.authorize();
    host.share(&mut store);
    host.store = store;
    let need = host.need_user();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    let redirect = host.redirect();
    host.callback(&format!(
        "error=access_denied&state={}",
        state_of(&redirect)
    ));
    host.error();
    answers(&mut host, need);
    goes_for(&mut host, &["admin"]);
}

/// At the limit of callers, the refusal of an operation stays, and not its request for any token.
#[test]
fn s52_use_14_a_full_queue_drops_no_refusal_for_a_request_for_any_token() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    host.accepted("tools/call x");
    let sent = host.token();
    let mut store = std::mem::take(&mut host.store);
    host.store.mode = StoreMode::Manual;
    host.pass(2_000);
    host.authorize();
    host.challenged_for("refused", 401, &["Bearer"], sent.as_deref());
    host.wanted("refused");
    for number in 1..mcp_auth_machine::budget::EVENTS_QUEUED {
        host.wanted(&format!("other {number}"));
    }
    host.share(&mut store);
    host.store = store;
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.redirect();
    // The refusal is handled by a refresh; the resource's metadata has just been read.
    while !matches!(host.actions.front(), None | Some(Action::SendRequest(_))) {
        host.next();
    }
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
}

/// A refresh counts as just made from its request, however long the store takes.
#[test]
fn use_08_a_refresh_that_was_stored_late_was_not_just_made() {
    let answer = |token: &str| {
        format!(r#"{{"access_token":"{token}","token_type":"Bearer","refresh_token":"rt"}}"#)
    };
    let mut host = Host::signed_in(config(), &answer("at-1"));
    host.accepted("tools/call x");
    host.refused("Bearer");
    host.serve(PRM, 200, &prm());
    let send = host.request_to(TOKEN);
    let mut store = std::mem::take(&mut host.store);
    host.store.mode = StoreMode::Manual;
    host.handle(send.response(response(200, &[], &answer("at-2"))));
    host.move_clocks(std::time::Duration::from_secs(3_700));
    host.share(&mut store);
    host.store = store;
    host.ready();
    let sent = host.token();
    host.challenged_for("y", 401, &["Bearer"], sent.as_deref());
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.serve(TOKEN, 200, &answer("at-3"));
    host.ready();
}

/// The user signs in elsewhere after the first sign-out has read the slot, and signs out again.
#[test]
fn rev_03_s62_a_second_sign_out_reads_the_slot_again() {
    let mut host = Host::new(config());
    host.store.mode = StoreMode::Manual;
    host.handle(Event::SignedOut);
    let Action::LoadSlot(first) = host.next() else {
        panic!()
    };
    let other = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    let mut store = other.store;
    host.handle(Event::SignedOut);
    host.handle(first.found(None));
    host.share(&mut store);
    assert!(store.of_kind("account").is_empty());
    let built = Arc::new(config().build().unwrap());
    let mut later = Host::resumed(built, store, host.now, 50);
    later.wanted("x");
    later.need_user();
}
