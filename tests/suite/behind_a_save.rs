//! An `Authorize` that waits behind the repeated save of an account, or behind the callback of another redirect (S43, S46, S48, B25).

use std::sync::Arc;

use mcp_auth_machine::action::PersistSlot;
use mcp_auth_machine::error::Cause;
use mcp_auth_machine::event::{Abandon, Authorization};
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_machine::{Action, Event};

use crate::support::*;

const MORE: &str = r#"Bearer error="insufficient_scope", scope="admin""#;

/// Asks the user for more scopes.
fn asked(host: &mut Host) {
    host.accepted("tools/call x");
    let sent = host.token();
    host.challenged_for("tools/call x", 403, &[MORE], sent.as_deref());
    host.need_user();
}

/// Signed in, and asked for more scopes; the store did not take the tokens of a refresh for another operation.
fn asked_beside_an_unsaved_refresh() -> Host {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    asked(&mut host);
    host.pass(3_590_000);
    host.wanted("y");
    let send = host.request_to(TOKEN);
    host.store.mode = StoreMode::WritesFail;
    host.handle(send.response(response(200, &[], &renewable("at-2", "rt-2"))));
    host.error();
    host.store.mode = StoreMode::Works;
    host
}

/// The redirect for the scopes that the user agreed to.
fn goes_for_more(host: &mut Host) {
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    assert!(host.redirect().scopes.iter().any(|scope| scope == "admin"));
}

/// The `Authorize` waits for the save, which is under way.
fn behind_the_save() -> (Host, PersistSlot) {
    let mut host = asked_beside_an_unsaved_refresh();
    host.store.mode = StoreMode::Manual;
    host.authorize();
    match host.next() {
        Action::PersistSlot(persist) => (host, persist),
        other => panic!("{other:?}"),
    }
}

#[test]
fn s46_step_05_a_consent_behind_a_save_is_sent_for_what_was_agreed_to() {
    let mut host = asked_beside_an_unsaved_refresh();
    host.authorize();
    goes_for_more(&mut host);
}

#[test]
fn s43_use_14_a_sign_out_answers_a_consent_behind_a_save() {
    let (mut host, _) = behind_the_save();
    host.handle(Event::SignedOut);
    assert_eq!(host.error().cause, Cause::Abandoned);
}

#[test]
fn b25_authz_19_a_cancel_ends_a_consent_behind_a_save() {
    for done in [true, false] {
        let (mut host, persist) = behind_the_save();
        host.handle(Event::Abandoned(Abandon::Cancelled));
        assert_eq!(host.error().cause, Cause::Abandoned);
        host.handle(if done {
            persist.done()
        } else {
            persist.failed()
        });
        if done {
            host.ready();
        }
        host.quiet();
    }
}

/// The second consent joins the one that waits.
#[test]
fn use_14_a_second_consent_behind_a_save_joins_the_first() {
    let (mut host, persist) = behind_the_save();
    host.authorize();
    host.handle(persist.done());
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.next();
    host.quiet();
}

/// A sign-in that the store did not take at first, and then does, is what the person who clicks again wants.
#[test]
fn tok_16_a_click_after_a_sign_in_that_was_not_saved_is_served_by_the_save() {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let send = host.request_to(TOKEN);
    host.store.mode = StoreMode::WritesFail;
    host.handle(send.response(response(200, &[], &renewable("at-1", "rt-1"))));
    host.error();
    host.store.mode = StoreMode::Works;
    host.authorize();
    host.ready();
    host.quiet();
}

/// The user agrees to more scopes while the code of a sign-in that another process began is exchanged: those tokens lack them.
#[test]
fn s48_step_05_a_consent_behind_the_callback_of_another_redirect_is_sent_too() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    let built = Arc::new(config().build().unwrap());
    let mut other = Host::resumed(built, std::mem::take(&mut host.store), host.now, 50);
    other.ready();
    other.authorize();
    other.serve(PRM, 200, &prm());
    other.serve(META, 200, &metadata());
    let redirect = other.redirect();
    host.store = other.store;
    asked(&mut host);
    host.callback(&format!("code=c-2&state={}", state_of(&redirect)));
    let send = host.request_to(TOKEN);
    host.authorize();
    host.quiet();
    host.handle(send.response(response(200, &[], &renewable("at-2", "rt-2"))));
    host.ready();
    goes_for_more(&mut host);
}

/// The host names scopes while the documents of an attempt without them are read: the second consent follows the first.
#[test]
fn authz_18_scope_04_a_consent_to_more_scopes_does_not_vanish_in_an_attempt_under_way() {
    let mut host = Host::new(config());
    host.authorize();
    let seed = host.next_seed();
    host.authorize_with(Authorization::new(seed).scopes(Scopes::from_items(["admin"])));
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    host.redirect();
    goes_for_more(&mut host);
}
