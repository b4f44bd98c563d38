//! The scopes that the user agreed to stay requested when the client is registered again; those that were demanded long ago
//! do not join a step-up (STEP-02, STEP-03, STEP-12, SCOPE-04).

use std::sync::Arc;

use mcp_auth_machine::Event;
use mcp_auth_machine::action::{Redirect, Why};
use mcp_auth_machine::event::Abandon;

use crate::support::*;

const MINUTE: u64 = 60_000;

fn registered(number: u8, scopes: &str) -> String {
    format!(r#"{{"client_id":"dyn-{number}","scope":"{scopes}"}}"#)
}

#[track_caller]
fn signs_in(host: &mut Host, redirect: &Redirect) {
    host.callback(&format!("code=c-1&state={}", state_of(redirect)));
    host.serve(TOKEN, 200, &renewable("at-1", "rt-1"));
    host.ready();
}

/// Signed in with these scopes, by a client that is registered for them.
fn holding(scopes: &str) -> Host {
    let mut host = Host::new(config());
    host.ask(&format!("Bearer scope=\"{scopes}\""));
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, &registered(1, scopes));
    let redirect = host.redirect();
    signs_in(&mut host, &redirect);
    host
}

#[track_caller]
fn lacks(host: &mut Host, operation: &str, scopes: &str) {
    let line = format!("Bearer error=\"insufficient_scope\", scope=\"{scopes}\"");
    let sent = host.token();
    host.challenged_for(operation, 403, &[&line], sent.as_deref());
    let why = host.need_user().why;
    assert!(matches!(why, Why::ScopeMissing { .. }), "{why:?}");
}

#[track_caller]
fn reads(host: &mut Host) {
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
}

/// The user agrees; the client is registered for these scopes, and these are requested.
#[track_caller]
fn authorizes(host: &mut Host, number: u8, for_scopes: &str, requested: &str) -> Redirect {
    host.authorize();
    reads(host);
    let request = host.serve(REGISTER, 201, &registered(number, for_scopes));
    let request: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
    assert_eq!(request["scope"], for_scopes);
    let redirect = host.redirect();
    assert_eq!(redirect.scopes.as_str(), requested);
    redirect
}

/// A step-up for `w` that widened the registration; the user declined it.
fn declined() -> Host {
    let mut host = holding("r");
    lacks(&mut host, "w", "w");
    let redirect = authorizes(&mut host, 2, "r w", "r w");
    host.callback(&format!(
        "error=access_denied&state={}",
        state_of(&redirect)
    ));
    host.error();
    host
}

/// STEP-02, STEP-03
#[test]
fn step_02_step_03_a_declined_step_up_that_widened_the_registration_costs_no_scope() {
    let mut host = declined();
    lacks(&mut host, "v", "v");
    let redirect = authorizes(&mut host, 3, "r v w", "r v");
    signs_in(&mut host, &redirect);
    // In the next process, or at another instance, too.
    let mut first = declined();
    let store = std::mem::take(&mut first.store);
    let config = Arc::new(config().build().unwrap());
    let mut host = Host::resumed(config, store, first.now, 50);
    host.ready();
    lacks(&mut host, "v", "v");
    authorizes(&mut host, 3, "r v w", "r v");
}

/// STEP-02, STEP-03, TOK-19
#[test]
fn step_02_step_03_tok_19_a_forgotten_client_keeps_the_scopes_of_the_account() {
    let mut host = holding("r w");
    host.pass(60 * MINUTE);
    host.wanted("x");
    host.serve(META, 200, &metadata());
    host.serve(TOKEN, 401, r#"{"error":"invalid_client"}"#);
    assert_eq!(host.need_user().why, Why::ClientForgotten);
    authorizes(&mut host, 2, "r w", "r w");
    // Scopes that a new registration left out are not requested.
    let mut host = holding("r w");
    host.handle(Event::Abandoned(Abandon::ResetRegistration));
    assert_eq!(host.need_user().why, Why::ClientForgotten);
    host.authorize();
    reads(&mut host);
    host.serve(REGISTER, 201, &registered(2, "r"));
    assert_eq!(host.redirect().scopes.as_str(), "r");
}

/// STEP-12, SCOPE-04
#[test]
fn step_12_scope_04_what_was_demanded_long_ago_does_not_join_a_step_up() {
    for (minutes, requested) in [(9, "r admin v"), (10, "r v"), (2_880, "r v")] {
        let mut host = Host::signed_in_by(config(), "Bearer scope=\"r\"", &token_for_days());
        lacks(&mut host, "x", "admin");
        host.pass(minutes * MINUTE);
        lacks(&mut host, "y", "v");
        host.authorize();
        assert_eq!(host.redirect().scopes.as_str(), requested, "{minutes}");
    }
}

fn token_for_days() -> String {
    token_answer("at-1").replace("3600", "360000")
}

/// STEP-12, STEP-13: a question is answered by what it named, however late, and another question by its own.
#[test]
fn step_12_step_13_scope_04_an_answer_requests_what_its_question_named() {
    let mut host = Host::signed_in_by(config(), "Bearer scope=\"r\"", &token_for_days());
    lacks(&mut host, "x", "admin");
    host.pass(60 * MINUTE);
    host.authorize();
    assert_eq!(host.redirect().scopes.as_str(), "r admin");
    // The token ends days later, and the user is asked for that.
    let mut host = Host::signed_in_by(config(), "Bearer scope=\"r\"", &token_for_days());
    lacks(&mut host, "x", "admin");
    host.pass(3 * 2_880 * MINUTE);
    host.wanted("y");
    assert_eq!(host.need_user().why, Why::TokenOver);
    host.authorize();
    assert_eq!(host.redirect().scopes.as_str(), "r");
}

/// SCOPE-01, STEP-12: what a first sign-in needs stays necessary.
#[test]
fn scope_01_what_the_first_challenge_named_is_requested_however_late() {
    let mut host = Host::new(config());
    host.challenged(401, &["Bearer scope=\"a\""]);
    host.need_user();
    host.pass(60 * MINUTE);
    host.challenged(401, &["Bearer"]);
    host.need_user();
    host.authorize();
    reads(&mut host);
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    assert_eq!(host.redirect().scopes.as_str(), "a");
}
