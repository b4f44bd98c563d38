//! An authorization requests the scopes that its user agreed to, whatever the MCP server refuses meanwhile (STEP-12, STEP-13).

use std::sync::Arc;

use mcp_auth_machine::action::Why;

use crate::support::*;

/// A refusal with status 401 that names this scope, for another operation.
fn names(host: &mut Host, operation: &str, scope: &str) {
    let sent = host.token();
    let line = format!("Bearer scope=\"{scope}\"");
    host.challenged_for(operation, 401, &[&line], sent.as_deref());
}

fn documents(host: &mut Host) {
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
}

/// STEP-12, STEP-13
#[test]
fn step_12_step_13_a_refusal_beside_an_authorization_keeps_the_scopes_that_the_user_agreed_to() {
    // A first sign-in: the documents are read, or the account.
    for early in [true, false] {
        let mut host = Host::new(config());
        host.challenged(401, &["Bearer scope=\"a b\""]);
        host.need_user();
        host.authorize();
        if early {
            names(&mut host, "y", "c");
        }
        host.serve(PRM, 200, &prm());
        if !early {
            names(&mut host, "y", "c");
        }
        host.serve(META, 200, &metadata());
        host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
        assert_eq!(host.redirect().scopes.as_str(), "a b c");
        host.quiet();
    }
    // A step-up; once the redirect is out, another click requests everything.
    let mut host = Host::signed_in_by(config(), "Bearer scope=\"r\"", &renewable("at-1", "rt-1"));
    let sent = host.token();
    let line = "Bearer error=\"insufficient_scope\", scope=\"w\"";
    host.challenged_for("x", 403, &[line], sent.as_deref());
    let why = host.need_user().why;
    assert!(matches!(why, Why::ScopeMissing { .. }), "{why:?}");
    host.authorize();
    assert_eq!(host.redirect().scopes.as_str(), "r w");
    names(&mut host, "y", "v");
    host.quiet();
    host.authorize();
    assert_eq!(host.redirect().scopes.as_str(), "r w v");
}

/// STEP-12: two operations are refused before the user is asked.
#[test]
fn step_12_refusals_at_once_are_answered_by_one_authorization() {
    let mut host = Host::new(config());
    host.store.mode = StoreMode::Manual;
    // The account is read for the first.
    host.wanted("w");
    names(&mut host, "x", "a");
    names(&mut host, "y", "b");
    let mut store = Store::default();
    host.share(&mut store);
    for _ in ["w", "x", "y"] {
        host.need_user();
    }
    host.store.mode = StoreMode::Works;
    host.authorize();
    documents(&mut host);
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    assert_eq!(host.redirect().scopes.as_str(), "a b");
}

/// STEP-12: a refusal for want of scopes while the authorization is being prepared.
#[test]
fn step_12_a_refusal_for_want_of_scopes_joins_the_authorization_that_is_being_prepared() {
    let lacks = |host: &mut Host, operation: &str, scope: &str| {
        let sent = host.token();
        let line = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
        host.challenged_for(operation, 403, &[&line], sent.as_deref());
    };
    // Beside a token: the resource's metadata, or the server's, is being read.
    for early in [true, false] {
        let mut host =
            Host::signed_in_by(config(), "Bearer scope=\"r\"", &renewable("at-1", "rt-1"));
        lacks(&mut host, "x", "w");
        host.need_user();
        host.authorize();
        if early {
            lacks(&mut host, "y", "v");
        }
        host.serve(PRM, 200, &prm());
        if !early {
            lacks(&mut host, "y", "v");
        }
        host.serve(META, 200, &metadata());
        let redirect = host.redirect();
        assert_eq!(redirect.scopes.as_str(), "r w v");
        host.quiet();
        host.callback(&format!("code=c&state={}", state_of(&redirect)));
        host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
        host.ready();
        host.quiet();
    }
    // A first sign-in.
    let mut host = Host::new(config());
    host.challenged(401, &["Bearer scope=\"a\""]);
    host.need_user();
    host.authorize();
    lacks(&mut host, "y", "b");
    documents(&mut host);
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    assert_eq!(host.redirect().scopes.as_str(), "a b");
    host.quiet();
    // Where no step-up is allowed, the refusal is only reported, and adds nothing.
    let reports = config().step_up(mcp_auth_machine::config::StepUp::Report);
    let mut host = Host::signed_in_by(reports, "Bearer scope=\"r\"", &renewable("at-1", "rt-1"));
    host.authorize();
    lacks(&mut host, "y", "v");
    documents(&mut host);
    let redirect = host.redirect();
    assert_eq!(redirect.scopes.as_str(), "r");
}

/// STEP-12, STEP-13: a sign-in with fewer scopes, which another instance began, leaves the question for more.
#[test]
fn step_12_step_13_a_question_for_scopes_stays_until_the_account_has_them() {
    for reads in [true, false] {
        let mut host =
            Host::signed_in_by(config(), "Bearer scope=\"r\"", &renewable("at-1", "rt-1"));
        let built = Arc::new(config().build().unwrap());
        let store = std::mem::take(&mut host.store);
        let mut second = Host::resumed(built, store, host.now, 50);
        second.ready();
        second.authorize();
        documents(&mut second);
        let redirect = second.redirect();
        assert_eq!(redirect.scopes.as_str(), "r");
        host.store = std::mem::take(&mut second.store);
        let sent = host.token();
        let line = "Bearer error=\"insufficient_scope\", scope=\"w\"";
        host.challenged_for("x", 403, &[line], sent.as_deref());
        host.need_user();
        host.callback(&format!("code=c&state={}", state_of(&redirect)));
        host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
        host.ready();
        if reads {
            // Another operation finds the token.
            host.wanted("y");
            host.ready();
        }
        host.authorize();
        documents(&mut host);
        let redirect = host.redirect();
        assert_eq!(redirect.scopes.as_str(), "r w");
        host.callback(&format!("code=c&state={}", state_of(&redirect)));
        host.serve(TOKEN, 200, &renewable("at-3", "rt-3"));
        host.ready();
        host.quiet();
    }
}
