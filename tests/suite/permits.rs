//! Effects and questions that are used up once: a registration that is being forgotten goes whatever comes meanwhile
//! (TOK-19, QUIRK-14, REV-03), and the answer of a person is one answer (S40, STEP-07).

use std::sync::Arc;

use mcp_auth_machine::action::Why;
use mcp_auth_machine::config::{ConfigBuilder, PushedRequests};
use mcp_auth_machine::error::{Cause, Misconfiguration, StoreFlaw};
use mcp_auth_machine::event::Abandon;
use mcp_auth_machine::{Action, Event};

use crate::support::*;

const HOUR: u64 = 3_600_000;
const PAR: &str = "https://as.example/par";
const OTHER: &str = "https://b.example";

fn refused(code: &str) -> String {
    format!(r#"{{"error":"{code}"}}"#)
}

fn reset(host: &mut Host) {
    host.handle(Event::Abandoned(Abandon::ResetRegistration));
}

/// Answers this many of the slot actions that wait, one after the other.
fn answer_some(host: &mut Host, store: &mut Store, mut count: usize) {
    while count > 0 {
        let is_slot = |a: &Action| matches!(a, Action::LoadSlot(_) | Action::PersistSlot(_));
        let Some(at) = host.actions.iter().position(is_slot) else {
            return;
        };
        let event = match host.actions.remove(at) {
            Some(Action::LoadSlot(load)) => {
                let found = store.slots.get(&load.slot().to_string()).cloned();
                load.found(found)
            }
            Some(Action::PersistSlot(persist)) => store.persist(persist),
            other => panic!("{other:?}"),
        };
        host.handle(event);
        count -= 1;
    }
}

/// Signed in; the refresh is refused because the server does not know the client. The store is apart, and has answered
/// nothing since.
fn forgetting() -> (Host, Store) {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    host.pass(HOUR);
    host.wanted("x");
    host.serve(META, 200, &metadata());
    let send = host.request();
    let store = std::mem::take(&mut host.store);
    host.store.mode = StoreMode::Manual;
    host.handle(send.response(response(401, &[], &refused("invalid_client"))));
    (host, store)
}

fn is_empty(store: &Store) -> bool {
    store.of_kind("account").is_empty() && store.of_kind("registration").is_empty()
}

#[test]
fn tok_19_rev_03_a_sign_out_takes_over_the_forgetting_of_a_registration() {
    for answered in 0..6 {
        let (mut host, mut store) = forgetting();
        answer_some(&mut host, &mut store, answered);
        host.handle(Event::SignedOut);
        // A second one changes nothing, in whatever step of the first.
        for again in 0..4 {
            answer_some(&mut host, &mut store, again);
            host.handle(Event::SignedOut);
        }
        host.share(&mut store);
        assert!(is_empty(&store), "{answered}");
        let asked = |a: &Action| matches!(a, Action::NeedUser(_));
        // A user who has signed out is asked for nothing more.
        let before = usize::from(answered > 3);
        let asked = host.actions.iter().filter(|a| asked(a)).count();
        assert!(asked <= before, "{answered}: {:?}", host.actions);
    }
}

#[test]
fn quirk_14_rev_03_a_sign_out_does_not_lose_a_reset() {
    // Queued behind a request, or begun, or not begun because the account is not read yet.
    for answered in 0..4 {
        let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
        let mut store = std::mem::take(&mut host.store);
        host.store.mode = StoreMode::Manual;
        reset(&mut host);
        answer_some(&mut host, &mut store, answered);
        host.handle(Event::SignedOut);
        host.share(&mut store);
        assert!(is_empty(&store), "{answered}");
    }
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    let mut store = std::mem::take(&mut host.store);
    let manual = Store {
        mode: StoreMode::Manual,
        ..Store::default()
    };
    let built = Arc::new(config().build().unwrap());
    let mut later = Host::resumed(built, manual, host.now, 20);
    reset(&mut later);
    later.handle(Event::SignedOut);
    later.share(&mut store);
    assert!(is_empty(&store));
    later.quiet();
}

/// The reset reads the account first, because an earlier read failed.
#[test]
fn a_sign_out_takes_over_a_reset_that_reads_the_account() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    let mut store = std::mem::take(&mut host.store);
    let manual = Store {
        mode: StoreMode::Manual,
        ..Store::default()
    };
    let built = Arc::new(config().build().unwrap());
    let mut later = Host::resumed(built, manual, host.now, 20);
    let Action::LoadSlot(load) = later.next() else {
        panic!("the account is read at the start");
    };
    later.handle(load.failed());
    reset(&mut later);
    later.handle(Event::SignedOut);
    later.share(&mut store);
    assert!(is_empty(&store));
}

#[test]
fn quirk_14_a_reset_before_a_sign_out_holds_for_the_next_sign_in() {
    // The new process does not know the registration that is stored.
    let mut host = Host::new(config());
    host.to_redirect();
    let store = std::mem::take(&mut host.store);
    let built = Arc::new(config().build().unwrap());
    let mut later = Host::resumed(built, store, host.now, 9);
    reset(&mut later);
    later.need_user();
    later.handle(Event::SignedOut);
    later.authorize();
    later.serve(PRM, 200, &prm());
    later.serve(META, 200, &metadata());
    later.serve(REGISTER, 201, r#"{"client_id":"two"}"#);
    assert_eq!(&*later.redirect().client_id, "two");
}

#[test]
fn tok_19_rev_03_a_sign_out_tries_again_what_the_store_could_not_forget() {
    for mode in [StoreMode::LoadsFail, StoreMode::WritesFail] {
        let (mut host, store) = forgetting();
        host.store = store;
        host.store.mode = mode;
        // The load that waits is not answered in its time.
        host.actions.clear();
        host.pass(31_000);
        host.handle(Event::Timer);
        let failure = host.error();
        assert_eq!(failure.cause, Cause::NotPersisted(StoreFlaw::Load));
        host.store.mode = StoreMode::Works;
        host.handle(Event::SignedOut);
        assert!(is_empty(&host.store));
        // A second failure is reported, and the client is not used again.
        let (mut host, store) = forgetting();
        host.store = store;
        host.store.mode = StoreMode::Works;
        host.actions.clear();
        host.pass(31_000);
        host.handle(Event::Timer);
        host.error();
        host.store.mode = mode;
        host.handle(Event::SignedOut);
        while !host.actions.is_empty() {
            let failure = host.error();
            assert!(matches!(failure.cause, Cause::NotPersisted(_)));
        }
        host.store.mode = StoreMode::Works;
        host.authorize();
        host.serve(PRM, 200, &prm());
        host.serve(META, 200, &metadata());
        host.serve(REGISTER, 201, r#"{"client_id":"two"}"#);
        assert_eq!(&*host.redirect().client_id, "two");
    }
}

#[test]
fn quirk_14_a_reset_forgets_the_account_client_and_the_one_used_last() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    // The resource moves, and the user gives up at the new server.
    host.refused("Bearer");
    host.serve(PRM, 200, &prm().replace(AS, OTHER));
    host.need_user();
    host.authorize();
    registers_there(&mut host, "other");
    host.redirect();
    assert_eq!(host.store.of_kind("registration").len(), 2);
    reset(&mut host);
    host.error();
    host.need_user();
    assert!(host.store.of_kind("registration").is_empty());
}

#[test]
fn quirk_14_a_reset_holds_at_every_server_until_it_has_a_new_client() {
    let other = format!("{OTHER}/.well-known/oauth-authorization-server");
    let mut host = Host::new(config());
    host.to_redirect();
    let store = std::mem::take(&mut host.store);
    let built = Arc::new(config().build().unwrap());
    let mut later = Host::resumed(built, store, host.now, 9);
    reset(&mut later);
    later.need_user();
    // The resource has moved meanwhile.
    later.authorize();
    later.serve(PRM, 200, &prm().replace(AS, OTHER));
    later.serve(&other, 200, &metadata_of(OTHER, ""));
    later.serve(
        &format!("{OTHER}/register"),
        201,
        r#"{"client_id":"other"}"#,
    );
    later.redirect();
    later.handle(Event::Abandoned(Abandon::Cancelled));
    later.error();
    // Back at the first one, whose old client was to be replaced as well; the new ones are kept.
    for made in [true, false] {
        later.authorize();
        later.serve(PRM, 200, &prm());
        later.serve(META, 200, &metadata());
        if made {
            later.serve(REGISTER, 201, r#"{"client_id":"two"}"#);
        }
        assert_eq!(&*later.redirect().client_id, "two");
        later.handle(Event::Abandoned(Abandon::Cancelled));
        later.error();
    }
}

// ---- A question is answered once

/// One authorization for an operation, and no step-up.
fn once() -> ConfigBuilder {
    config().step_ups_per_operation(0)
}

/// The callback carries an error of the server: the authorization counts where it was asked for.
fn fails_at_the_server(host: &mut Host) {
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    if let Some(Action::SendRequest(_)) = host.actions.front() {
        host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
    }
    let redirect = host.redirect();
    host.callback(&format!("error=server_error&state={}", state_of(&redirect)));
    host.error();
}

#[test]
fn s40_step_07_a_question_that_was_given_up_makes_no_later_click_a_step_up() {
    let mut host = Host::new(once());
    host.challenged(401, &[&announcing()]);
    host.need_user();
    host.handle(Event::Abandoned(Abandon::Cancelled));
    // A person's own wish, later.
    host.authorize();
    fails_at_the_server(&mut host);
    host.challenged(401, &[&announcing()]);
    host.need_user();
}

#[test]
fn s40_step_07_a_question_that_ready_has_answered_makes_no_later_click_a_step_up() {
    let brief = r#"{"access_token":"at-1","token_type":"Bearer","expires_in":60}"#;
    let mut elsewhere = Host::signed_in(config(), brief);
    let mut host = Host::new(once());
    host.challenged(401, &[&announcing()]);
    host.need_user();
    // Another instance has signed in.
    host.store = std::mem::take(&mut elsewhere.store);
    host.wanted("x");
    host.ready();
    host.authorize();
    fails_at_the_server(&mut host);
    host.pass(61_000);
    host.wanted("tools/call x");
    host.need_user();
}

#[test]
fn s40_step_07_a_click_answers_one_question_even_where_ready_absorbs_it() {
    let built = Arc::new(once().build().unwrap());
    let mut elsewhere = Host::on(Arc::clone(&built), Store::default());
    let redirect = elsewhere.to_redirect();
    let store = std::mem::take(&mut elsewhere.store);
    let mut host = Host::resumed(built, store, elsewhere.now, 20);
    host.challenged(401, &[&announcing()]);
    host.need_user();
    // The callback of the other instance comes to this one, which cannot save the token at first.
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let send = host.request();
    host.store.mode = StoreMode::WritesFail;
    let brief = r#"{"access_token":"at-1","token_type":"Bearer","expires_in":60}"#;
    host.handle(send.response(response(200, &[], brief)));
    host.error();
    host.store.mode = StoreMode::Works;
    // The answer needs no redirect any more.
    host.authorize();
    host.ready();
    host.quiet();
    host.authorize();
    fails_at_the_server(&mut host);
    host.pass(61_000);
    host.wanted("tools/call x");
    host.need_user();
}

#[test]
fn s40_iso_09_a_click_that_leads_to_another_server_stays_a_persons_own() {
    let other = format!("{OTHER}/.well-known/oauth-authorization-server");
    let mut host = Host::signed_in(once(), &renewable("at-1", "rt-1"));
    host.authorize();
    host.serve(PRM, 200, &prm().replace(AS, OTHER));
    host.serve(&other, 200, &metadata_of(OTHER, ""));
    assert!(matches!(host.need_user().why, Why::ServerChanged { .. }));
    host.authorize();
    host.serve(PRM, 200, &prm().replace(AS, OTHER));
    registers_there(&mut host, "other");
    let redirect = host.redirect();
    host.callback(&format!("error=server_error&state={}", state_of(&redirect)));
    host.error();
    // The operation was not authorized because of a refusal before.
    host.refused("Bearer");
    host.serve(PRM, 200, &prm().replace(AS, OTHER));
    host.need_user();
    host.authorize();
    host.serve(&other, 200, &metadata_of(OTHER, ""));
    host.redirect();
}

/// The machine reads the metadata of the other server, and registers there.
fn registers_there(host: &mut Host, client: &str) {
    let place = format!("{OTHER}/.well-known/oauth-authorization-server");
    host.serve(&place, 200, &metadata_of(OTHER, ""));
    let answer = format!(r#"{{"client_id":"{client}"}}"#);
    host.serve(&format!("{OTHER}/register"), 201, &answer);
}

/// The user agrees to a move while a registration is being forgotten, and then to a new registration: the second consent joins
/// the first, and the attempts that failed before do not end it.
#[test]
fn s40_step_07_a_consent_to_a_repair_joins_one_that_waits() {
    let mut host = Host::signed_in(once(), &renewable("at-1", "rt-1"));
    let moved = |host: &mut Host| {
        host.refused("Bearer");
        host.serve(PRM, 200, &prm().replace(AS, OTHER));
        assert!(matches!(host.need_user().why, Why::ServerChanged { .. }));
    };
    moved(&mut host);
    host.authorize();
    registers_there(&mut host, "other");
    let redirect = host.redirect();
    host.callback(&format!("error=server_error&state={}", state_of(&redirect)));
    host.error();
    moved(&mut host);
    let mut store = std::mem::take(&mut host.store);
    host.store.mode = StoreMode::Manual;
    reset(&mut host);
    host.authorize();
    while !matches!(host.actions.front(), Some(Action::NeedUser(_))) {
        answer_some(&mut host, &mut store, 1);
    }
    assert_eq!(host.need_user().why, Why::ClientForgotten);
    host.authorize();
    host.share(&mut store);
    host.store = store;
    host.store.mode = StoreMode::Works;
    registers_there(&mut host, "another");
    host.redirect();
}

// ---- What the machine mends does not cost the operation

fn pushing() -> (ConfigBuilder, String) {
    let more = format!(r#","pushed_authorization_request_endpoint":"{PAR}""#);
    let config = once().pushed_requests(PushedRequests::WhenOffered);
    (config, metadata_with(&more))
}

/// A consent, with a new client, up to the pushed request.
#[track_caller]
fn consent(host: &mut Host, document: &str, status: u16, answer: &str) {
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, document);
    host.serve(REGISTER, 201, r#"{"client_id":"another"}"#);
    host.serve(PAR, status, answer);
}

#[test]
fn step_07_authz_21_a_client_forgotten_at_a_pushed_request_does_not_lock_the_operation() {
    let (config, document) = pushing();
    let mut host = Host::new(config);
    host.challenged(401, &[&announcing()]);
    host.need_user();
    // Twice: the server is not itself for a while.
    consent(&mut host, &document, 401, &refused("invalid_client"));
    assert_eq!(host.need_user().why, Why::ClientForgotten);
    // Another request of the operation is refused before the user answers.
    host.challenged(401, &[&announcing()]);
    host.need_user();
    consent(&mut host, &document, 401, &refused("invalid_client"));
    host.error();
    // Mended.
    host.challenged(401, &[&announcing()]);
    host.need_user();
    let reference = r#"{"request_uri":"urn:x","expires_in":60}"#;
    consent(&mut host, &document, 201, reference);
    host.redirect();
}

#[test]
fn step_07_tok_19_a_store_that_fails_while_a_client_is_forgotten_does_not_lock_the_operation() {
    let (config, document) = pushing();
    let mut host = Host::new(config);
    host.challenged(401, &[&announcing()]);
    host.need_user();
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &document);
    host.serve(REGISTER, 201, r#"{"client_id":"one"}"#);
    let send = host.request();
    host.store.mode = StoreMode::LoadsFail;
    host.handle(send.response(response(401, &[], &refused("invalid_client"))));
    let failure = host.error();
    assert_eq!(failure.cause, Cause::NotPersisted(StoreFlaw::Load));
    host.store.mode = StoreMode::Works;
    host.challenged(401, &[&announcing()]);
    host.need_user();
}

#[test]
fn step_07_a_user_who_was_not_sent_away_does_not_cost_the_operation() {
    // The server of pushed requests needs a rest.
    let (config, document) = pushing();
    let mut host = Host::new(config);
    host.challenged(401, &[&announcing()]);
    host.need_user();
    consent(&mut host, &document, 503, "");
    host.error();
    host.challenged(401, &[&announcing()]);
    host.need_user();
    // The record of the attempt could not be stored.
    let mut host = Host::new(once());
    host.to_redirect();
    host.handle(Event::Abandoned(Abandon::Cancelled));
    host.error();
    host.store.served.clear();
    host.challenged(401, &[&announcing()]);
    host.need_user();
    host.authorize();
    host.serve(PRM, 200, &prm());
    let send = host.request();
    host.store.mode = StoreMode::WritesFail;
    host.handle(send.response(response(200, &[], &metadata())));
    let failure = host.error();
    assert_eq!(failure.cause, Cause::NotPersisted(StoreFlaw::Write));
    host.store.mode = StoreMode::Works;
    host.challenged(401, &[&announcing()]);
    host.need_user();
}

#[test]
fn step_07_scopes_that_are_refused_once_do_not_lock_the_operation() {
    let document = metadata_with(r#","scopes_supported":["offline_access"]"#);
    let mut host = Host::new(once());
    host.ask(&format!("Bearer scope=\"a\", resource_metadata=\"{PRM}\""));
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &document);
    host.serve(REGISTER, 201, r#"{"client_id":"one"}"#);
    let redirect = host.redirect();
    assert!(redirect.scopes.as_str().contains("offline_access"));
    host.callback(&format!(
        "error=invalid_scope&state={}",
        state_of(&redirect)
    ));
    assert_eq!(host.need_user().why, Why::OfflineAccessRefused);
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &document);
    assert_eq!(host.redirect().scopes.as_str(), "a");
}

#[test]
fn iso_12_a_principal_without_a_name_has_no_account() {
    let built = Arc::new(config().build().unwrap());
    let mut host = Host::for_user(built, Store::default(), "");
    let of_nobody = |host: &mut Host| {
        let cause = host.error().cause;
        let found = Misconfiguration::NoPrincipal;
        assert_eq!(cause, Cause::Misconfigured(found));
        host.quiet();
        assert!(host.store.slots.is_empty());
    };
    host.store.mode = StoreMode::Manual;
    host.quiet();
    host.challenged(401, &[&announcing()]);
    of_nobody(&mut host);
    host.wanted("x");
    of_nobody(&mut host);
    host.authorize();
    of_nobody(&mut host);
    host.callback("code=c&state=0123456789abcdef0123456789abcdef");
    of_nobody(&mut host);
    host.handle(Event::SignedOut);
    of_nobody(&mut host);
    assert_eq!(host.token(), None);
}
