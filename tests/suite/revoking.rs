//! Signing out while tokens are being revoked, or are still on their way (REFR-12, REV).

use mcp_auth_machine::action::SendRequest;
use mcp_auth_machine::error::{Cause, Stage};
use mcp_auth_machine::{Action, Event, Phase};

use crate::sign_out::{REVOKE, revocable, signed_in_at};
use crate::support::*;

/// An authorization is pending while the machine revokes the tokens of a refresh, because another process erased the
/// account; a callback waits for the revocation.
fn revoking_before_a_callback() -> (Host, String) {
    let mut host = signed_in_at(
        config(),
        &revocable(""),
        &renewable_for("at-1", "rt-1", "60"),
    );
    host.pass(60_000);
    host.authorize();
    host.serve(PRM, 200, &prm());
    let redirect = host.redirect();
    host.wanted("x");
    let refresh = host.request();
    host.store.mode = StoreMode::WritesFail;
    host.handle(refresh.response(response(200, &[], &renewable("at-2", "rt-2"))));
    assert!(matches!(host.error().cause, Cause::NotPersisted(_)));
    host.store.mode = StoreMode::Works;
    host.store
        .slots
        .retain(|key, _| !key.starts_with("account"));
    let answer = format!("code=c-2&state={}", state_of(&redirect));
    host.callback(&answer);
    (host, answer)
}

#[test]
fn a_callback_that_waits_for_a_revocation_is_looked_at_afterwards() {
    let (mut host, _) = revoking_before_a_callback();
    host.serve(REVOKE, 200, "");
    host.serve(REVOKE, 200, "");
    // The authorization began beside the account, and ended with it.
    let failure = host.error();
    assert_eq!(
        (failure.stage, failure.cause),
        (Stage::Callback, Cause::Abandoned)
    );
    host.quiet();
}

#[test]
fn signing_out_during_a_revocation_ends_the_authorization_too() {
    let (mut host, answer) = revoking_before_a_callback();
    host.handle(Event::SignedOut);
    assert!(host.store.of_kind("pending").is_empty());
    host.serve(REVOKE, 200, "");
    assert_eq!(host.error().cause, Cause::Abandoned);
    host.serve(REVOKE, 200, "");
    host.quiet();
    host.callback(&answer);
    host.quiet();
    assert_eq!(host.machine.phase(), Phase::Resting);
}

#[test]
fn a_callback_from_before_signing_out_is_dropped_though_its_record_stays() {
    let (mut host, _) = revoking_before_a_callback();
    host.store.mode = StoreMode::WritesFail;
    host.handle(Event::SignedOut);
    assert_eq!(host.store.of_kind("pending").len(), 1);
    host.store.mode = StoreMode::Works;
    host.serve(REVOKE, 200, "");
    assert_eq!(host.error().cause, Cause::Abandoned);
    host.serve(REVOKE, 200, "");
    host.quiet();
}

/// A first token is asked for.
fn asking() -> (Host, SendRequest) {
    let mut host = Host::new(config());
    host.discover(&prm(), &revocable(""));
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let late = host.request();
    (host, late)
}

/// Signed in again, while a token request from before the last signing out is still under way.
fn signed_in_again() -> (Host, SendRequest) {
    let (mut host, late) = asking();
    host.handle(Event::SignedOut);
    assert_eq!(host.error().cause, Cause::Abandoned);
    host.ask("Bearer");
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &token_answer("at-2"));
    host.ready();
    (host, late)
}

#[track_caller]
fn revokes(host: &mut Host, token: &str) {
    let form = body(&host.serve(REVOKE, 200, ""));
    assert_eq!(get(&form, "token").as_deref(), Some(token));
}

#[test]
fn a_token_is_not_given_out_after_signing_out_during_a_revocation() {
    let (mut host, late) = signed_in_again();
    host.handle(late.response(response(200, &[], &token_answer("at-1"))));
    host.handle(Event::SignedOut);
    assert_eq!(host.token(), None);
    host.handle(Event::SignedOut);
    revokes(&mut host, "at-1");
    revokes(&mut host, "at-2");
    host.quiet();
    assert!(host.store.of_kind("account").is_empty());
}

#[test]
fn a_late_token_is_revoked_however_often_the_user_signs_out() {
    let (mut host, late) = asking();
    host.store.mode = StoreMode::Manual;
    host.handle(Event::SignedOut);
    assert_eq!(host.error().cause, Cause::Abandoned);
    let Action::LoadSlot(load) = host.next() else {
        panic!()
    };
    host.handle(late.response(response(200, &[], &token_answer("at-1"))));
    host.handle(Event::SignedOut);
    host.handle(load.found(None));
    // The second sign-out reads the slot again: the user may have signed in elsewhere since the first read.
    let Action::LoadSlot(again) = host.next() else {
        panic!()
    };
    host.handle(again.found(None));
    revokes(&mut host, "at-1");
    host.quiet();
}
