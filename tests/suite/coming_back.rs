//! Callbacks at another process, after the time limit, or with an error; a client whose registration is
//! erased (CB, AUTHZ-17, TOK-19).

use std::sync::Arc;

use mcp_auth_machine::action::{Redirect, Why};
use mcp_auth_machine::config::RedirectUri;
use mcp_auth_machine::error::{Cause, Refusal, StoreFlaw};
use mcp_auth_machine::event::Authorization;
use mcp_auth_machine::slot::Stored;
use mcp_auth_machine::wire::callback::{BrowserBinding, Callback};
use mcp_auth_machine::wire::token::OAuthError;
use mcp_auth_machine::{Action, Config, Event, Phase};

use crate::support::*;

const MINUTES: u64 = 60_000;

fn shared() -> Arc<Config> {
    Arc::new(config().build().unwrap())
}

fn redirected() -> (Host, Redirect) {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    (host, redirect)
}

fn answer(redirect: &Redirect) -> String {
    format!("code=c-1&state={}", state_of(redirect))
}

fn refusal(redirect: &Redirect, code: &str) -> String {
    format!("error={code}&state={}", state_of(redirect))
}

#[track_caller]
fn one(store: &Store, kind: &str) -> (String, Stored) {
    let mut found = store.slots.iter().filter(|(key, _)| key.starts_with(kind));
    let (key, stored) = found.next().unwrap();
    assert!(found.next().is_none());
    (key.clone(), stored.clone())
}

#[test]
fn another_process_clears_a_record_that_is_over_and_no_other() {
    let (mut host, redirect) = redirected();
    let store = std::mem::take(&mut host.store);
    let mut other = Host::resumed(shared(), store, host.now, 50);
    // Not at our redirect URI: the record stays for the callback that is.
    let query = answer(&redirect);
    let elsewhere = Callback::from_url(format!("http://127.0.0.1:3000/other?{query}"));
    other.handle(Event::CallbackParams(elsewhere));
    other.quiet();
    assert_eq!(other.store.of_kind("pending").len(), 1);
    other.pass(10 * MINUTES);
    other.callback(&query);
    other.quiet();
    assert!(other.store.of_kind("pending").is_empty());
}

#[test]
fn the_time_of_an_authorization_ends_though_the_wall_clock_stands_still() {
    let (mut host, redirect) = redirected();
    let until = host.machine.deadline().unwrap();
    host.now = mcp_auth_testing::moment(host.now.wall.0, until.0);
    host.callback(&answer(&redirect));
    host.quiet();
}

#[test]
fn a_process_that_came_second_takes_the_token_of_the_first() {
    for first_is_done in [true, false] {
        let (mut first, redirect) = redirected();
        let manual = || Store {
            mode: StoreMode::Manual,
            ..Store::default()
        };
        let mut store = std::mem::replace(&mut first.store, manual());
        let mut second = Host::resumed(shared(), manual(), first.now, 50);
        second.share(&mut store);
        second.callback(&answer(&redirect));
        let Action::LoadSlot(load) = second.next() else {
            panic!()
        };
        let found = store.slots.get(&load.slot().to_string()).cloned();
        second.handle(load.found(found));
        let Action::PersistSlot(take) = second.next() else {
            panic!()
        };
        first.callback(&answer(&redirect));
        first.share(&mut store);
        if first_is_done {
            first.serve(TOKEN, 200, &token_answer("at-1"));
            first.share(&mut store);
            first.ready();
        }
        let late = store.persist(take);
        second.handle(late);
        second.share(&mut store);
        if first_is_done {
            second.ready();
            assert_eq!(second.token().as_deref(), Some("Bearer at-1"));
        } else {
            // No token arrives, and the machine does not report one.
            while second.actions.is_empty() {
                second.wake();
                second.share(&mut store);
            }
            assert_eq!(
                second.error().cause,
                Cause::NotPersisted(StoreFlaw::Conflict)
            );
        }
        second.quiet();
    }
}

#[test]
fn a_refused_scope_is_the_end_where_none_was_added() {
    let (mut host, redirect) = redirected();
    host.callback(&refusal(&redirect, "invalid_scope"));
    assert!(matches!(
        host.error().cause,
        Cause::Refused(Refusal::OAuth {
            error: OAuthError::InvalidScope,
            ..
        })
    ));
    host.quiet();
}

#[test]
fn a_registration_that_another_process_made_since_is_not_forgotten() {
    let (mut host, redirect) = redirected();
    let mut other = Host::new(config());
    other.discover(&prm(), &metadata());
    other.serve(REGISTER, 201, r#"{"client_id":"dyn-2"}"#);
    let (key, newer) = one(&other.store, "registration");
    host.store.slots.insert(key, newer.clone());
    host.callback(&refusal(&redirect, "unauthorized_client"));
    assert_eq!(host.need_user().why, Why::ClientForgotten);
    assert_eq!(one(&host.store, "registration").1, newer);
    host.authorize();
    host.serve(PRM, 200, &prm());
    assert_eq!(&*host.redirect().client_id, "dyn-2");
}

#[test]
fn the_tokens_of_another_client_outlive_one_that_is_forgotten() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    let (key, _) = one(&host.store, "registration");
    host.store.slots.remove(&key);
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-2"}"#);
    let redirect = host.redirect();
    host.callback(&refusal(&redirect, "unauthorized_client"));
    assert_eq!(host.need_user().why, Why::ClientForgotten);
    host.quiet();
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
    let (_, account) = one(&host.store, "account");
    assert!(account.contents.expose().contains("rt-1"));
}

/// A redirect is repeated for the browser and the redirect URI that it was made for.
#[test]
fn authz_18_cb_14_authz_09_a_click_from_elsewhere_gets_a_redirect_of_its_own() {
    let from = |host: &mut Host, browser: &[u8]| {
        let binding = BrowserBinding::new(browser);
        let click = Authorization::from(host.next_seed()).browser(binding);
        host.authorize_with(click);
    };
    let mut host = Host::new(config());
    from(&mut host, b"one");
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let first = host.redirect();
    from(&mut host, b"one");
    assert_eq!(host.redirect().url.as_str(), first.url.as_str());
    from(&mut host, b"two");
    let second = host.redirect();
    assert_ne!(state_of(&second), state_of(&first));
    let port = RedirectUri::new("http://127.0.0.1:5002/callback").unwrap();
    let click = Authorization::from(host.next_seed()).redirect_uri(port);
    host.authorize_with(click);
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-2"}"#);
    let third = host.redirect();
    assert!(third.url.as_str().contains("5002"), "{:?}", third.url);
    assert_eq!(host.store.of_kind("pending").len(), 1);
}

/// The next write of the account; others are done, and loads answered.
#[track_caller]
fn account_write(host: &mut Host) -> mcp_auth_machine::action::PersistSlot {
    loop {
        match host.next() {
            Action::LoadSlot(load) => {
                let found = host.store.slots.get(&load.slot().to_string()).cloned();
                host.handle(load.found(found));
            }
            Action::PersistSlot(write) if write.slot().to_string().starts_with("account") => {
                return write;
            }
            Action::PersistSlot(write) => {
                let event = host.store.persist(write);
                host.handle(event);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The server does not know the client any more; the write that erases its tokens is not answered yet.
fn forgetting() -> (Host, Stored, mcp_auth_machine::action::PersistSlot) {
    let mut host = Host::signed_in(config(), &renewable_for("at-1", "rt-1", "60"));
    let (_, signed_in) = one(&host.store, "account");
    host.pass(60_000);
    host.wanted("x");
    let send = host.request();
    host.store.mode = StoreMode::Manual;
    host.handle(send.response(response(401, &[], r#"{"error":"invalid_client"}"#)));
    // The lease is given back first.
    account_write(&mut host);
    let erase = account_write(&mut host);
    assert!(!erase.write().unwrap().contents.expose().contains("rt-1"));
    (host, signed_in, erase)
}

#[test]
fn tokens_of_a_forgotten_client_go_also_where_another_process_wrote_meanwhile() {
    let (mut host, same_client, erase) = forgetting();
    host.handle(erase.conflict(Some(same_client.clone())));
    let again = account_write(&mut host);
    assert_eq!(again.expected(), Some(same_client.revision));
    assert!(!again.write().unwrap().contents.expose().contains("rt-1"));
    host.handle(again.done());
    assert_eq!(host.need_user().why, Why::ClientForgotten);
    host.quiet();
}

#[test]
fn an_account_of_a_newer_client_is_adopted_instead() {
    let (mut host, _, erase) = forgetting();
    let mut other = Host::new(config());
    other.discover(&prm(), &metadata());
    other.serve(REGISTER, 201, r#"{"client_id":"dyn-2"}"#);
    let redirect = other.redirect();
    other.callback(&answer(&redirect));
    other.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    other.ready();
    host.handle(erase.conflict(Some(one(&other.store, "account").1)));
    host.ready();
    host.quiet();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
}

/// Two instances on one store; the first one has sent the user away.
fn instances(challenge: &str) -> (Host, Host, Redirect) {
    let built = Arc::new(config().build().unwrap());
    let mut first = Host::on(Arc::clone(&built), Store::default());
    first.ask(challenge);
    first.serve(PRM, 200, &prm());
    first.serve(META, 200, &metadata());
    first.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = first.redirect();
    let second = Host::resumed(built, Store::default(), first.now, 50);
    (first, second, redirect)
}

#[test]
fn authz_18_a_user_who_came_back_elsewhere_is_not_sent_away_with_what_is_spent() {
    let (mut first, mut second, redirect) = instances("Bearer");
    second.store = std::mem::take(&mut first.store);
    second.callback(&format!("code=c&state={}", state_of(&redirect)));
    second.serve(TOKEN, 200, &token_answer("at-1"));
    second.ready();
    // The account has what the first instance wants.
    first.store = std::mem::take(&mut second.store);
    first.authorize();
    first.ready();
    assert_eq!(first.token().as_deref(), Some("Bearer at-1"));
    first.quiet();
    // When the second instance's code was rejected, the first one starts a new attempt.
    let (mut first, mut second, redirect) = instances("Bearer");
    second.store = std::mem::take(&mut first.store);
    second.callback(&format!("code=c&state={}", state_of(&redirect)));
    second.serve(TOKEN, 400, r#"{"error":"invalid_grant"}"#);
    second.error();
    first.store = std::mem::take(&mut second.store);
    first.authorize();
    first.serve(PRM, 200, &prm());
    first.serve(META, 200, &metadata());
    let again = first.redirect();
    assert_ne!(state_of(&again), state_of(&redirect));
}

#[test]
fn authz_18_step_12_needed_scopes_are_compared_with_the_requested_ones() {
    let (mut host, _, redirect) = instances("Bearer scope=\"a\"");
    assert_eq!(redirect.scopes.as_str(), "a");
    // The same, and less, is the same redirect.
    host.challenged(401, &["Bearer scope=\"a\""]);
    host.authorize();
    assert_eq!(state_of(&host.redirect()), state_of(&redirect));
    // More takes its place.
    host.challenged(401, &["Bearer scope=\"a b\""]);
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    let more = host.redirect();
    assert_eq!(more.scopes.as_str(), "a b");
    assert_eq!(host.store.of_kind("pending").len(), 1);
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.quiet();
    host.callback(&format!("code=c&state={}", state_of(&more)));
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
}

#[test]
fn authz_18_a_refusal_is_told_where_the_redirect_that_is_out_came_to_nothing() {
    let (mut first, mut second, redirect) = instances("Bearer");
    // The authorization is pending: there is nothing more to ask.
    first.challenged(401, &["Bearer"]);
    first.quiet();
    second.store = std::mem::take(&mut first.store);
    second.callback(&format!(
        "error=access_denied&state={}",
        state_of(&redirect)
    ));
    second.error();
    first.store = std::mem::take(&mut second.store);
    first.challenged(401, &["Bearer scope=\"b\""]);
    // The other instance may be exchanging a code.
    first.quiet();
    while first.actions.is_empty() {
        first.wake();
    }
    let asked = first.need_user();
    assert_eq!(asked.operation.unwrap().as_str(), "tools/call x");
    assert_eq!(first.machine.phase(), Phase::Resting);
    first.authorize();
    first.serve(PRM, 200, &prm());
    first.serve(META, 200, &metadata());
    assert_eq!(first.redirect().scopes.as_str(), "b");
    // A store that cannot be read says nothing about it.
    first.store.mode = StoreMode::LoadsFail;
    first.challenged(401, &["Bearer"]);
    first.error();
    first.quiet();
}

#[test]
fn authz_18_step_13_a_step_up_is_asked_for_where_the_redirect_that_is_out_is_spent() {
    let mut first = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    first.authorize();
    let redirect = first.redirect();
    let lacks = "Bearer error=\"insufficient_scope\", scope=\"b\"";
    let sent = first.token();
    first.challenged_for("y", 403, &[lacks], sent.as_deref());
    first.quiet();
    let built = Arc::new(config().build().unwrap());
    let store = std::mem::take(&mut first.store);
    let mut second = Host::resumed(built, store, first.now, 50);
    second.ready();
    second.callback(&format!(
        "error=access_denied&state={}",
        state_of(&redirect)
    ));
    second.error();
    first.store = std::mem::take(&mut second.store);
    first.challenged_for("y", 403, &[lacks], sent.as_deref());
    while first.actions.is_empty() {
        first.wake();
    }
    let asked = first.need_user();
    assert!(matches!(asked.why, Why::ScopeMissing { .. }));
    first.authorize();
    assert_eq!(first.redirect().scopes.as_str(), "b");
}

#[test]
fn tok_16_l01_a_token_that_expired_while_it_was_saved_replaces_none_that_is_good() {
    let (mut first, mut second, redirect) = instances("Bearer");
    let mut store = std::mem::take(&mut first.store);
    first.store.mode = StoreMode::Manual;
    first.callback(&format!("code=c&state={}", state_of(&redirect)));
    first.share(&mut store);
    first.serve(TOKEN, 200, &renewable_for("at-1", "rt-1", "60"));
    // Its save takes long; another instance signs in meanwhile.
    second.store = store;
    second.challenged(401, &["Bearer"]);
    second.need_user();
    second.authorize();
    second.serve(PRM, 200, &prm());
    second.serve(META, 200, &metadata());
    let redirect = second.redirect();
    second.callback(&format!("code=c&state={}", state_of(&redirect)));
    second.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    second.ready();
    let mut store = std::mem::take(&mut second.store);
    first.pass(61_000);
    first.share(&mut store);
    first.ready();
    first.quiet();
    assert_eq!(first.token().as_deref(), Some("Bearer at-2"));
    assert!(
        store.of_kind("account")[0]
            .contents
            .expose()
            .contains("rt-2")
    );
}
