//! Several authorizations at once: of one user, of two, at two resources (1.B).

use std::sync::Arc;

use mcp_auth_machine::action::Redirect;
use mcp_auth_machine::error::{Cause, Violation};
use mcp_auth_machine::event::Authorization;
use mcp_auth_machine::wire::callback::{BrowserBinding, Callback, IssFlaw};
use mcp_auth_machine::{Config, Event};

use super::*;

const NO_STORE: &[(&str, &str)] = &[("cache-control", "no-store")];

/// Another process of the same user takes the store over.
fn next_process(host: &mut Host) -> Host {
    let store = std::mem::take(&mut host.store);
    let config = Arc::new(config().build().unwrap());
    Host::resumed(config, store, host.now, host.seeds)
}

#[test]
fn b09_the_metadata_at_the_redirect_decides() {
    let first_then = |first: &str, then: &str| {
        let mut host = Host::new(config());
        asked(&mut host);
        host.serve(PRM, 200, &prm());
        host.serve_with(META, 200, NO_STORE, &metadata_with(first));
        host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
        let redirect = host.redirect();
        let mut later = next_process(&mut host);
        asked(&mut later);
        later.serve(PRM, 200, &prm());
        later.serve_with(META, 200, NO_STORE, &metadata_with(then));
        later.redirect();
        later.callback(&format!("code=c&state={}", state_of(&redirect)));
        later
    };
    let mut downgraded = first_then(ADVERTISED, "");
    assert_eq!(
        downgraded.error().cause,
        Cause::Violation(Violation::Iss(IssFlaw::Missing))
    );
    downgraded.quiet();
    let mut upgraded = first_then("", ADVERTISED);
    assert_eq!(upgraded.request().request().uri().to_string(), TOKEN);
}

#[test]
fn b19_two_flows_at_once_keep_their_own_verifiers() {
    let mut host = Host::new(config());
    let first = host.to_redirect();
    let mut host = next_process(&mut host);
    asked(&mut host);
    host.serve(PRM, 200, &prm());
    let second = host.redirect();
    assert_ne!(state_of(&first), state_of(&second));
    for (number, redirect, other) in [(1, &first, &second), (2, &second, &first)] {
        host.callback(&format!("code=c-{number}&state={}", state_of(redirect)));
        let form = body(&host.serve(TOKEN, 200, &token_answer(&format!("at-{number}"))));
        assert!(verifies(&form, redirect) && !verifies(&form, other));
        host.ready();
        assert_eq!(host.token(), Some(format!("Bearer at-{number}")));
    }
}

/// A gateway: one store, users with browsers of their own.
fn gateway(store: Store, user: &str, seeds: u8) -> (Host, Redirect) {
    let mut host = Host::for_user(Arc::new(config().build().unwrap()), store, user);
    host.seeds = seeds;
    host.challenged(401, &[&announcing()]);
    host.need_user();
    let seed = host.next_seed();
    host.authorize_with(Authorization::new(seed).browser(BrowserBinding::new(user.as_bytes())));
    while requests(&host) > 0 {
        let send = host.request();
        let url = send.request().uri().to_string();
        let (status, text) = match url.as_str() {
            PRM => (200, prm()),
            META => (200, metadata()),
            _ => (201, r#"{"client_id":"dyn-1"}"#.to_owned()),
        };
        host.handle(send.response(response(status, &[], &text)));
    }
    let redirect = host.redirect();
    (host, redirect)
}

#[test]
fn b12_a_code_and_a_state_of_two_users_never_meet() {
    let (mut alice, hers) = gateway(Store::default(), "alice", 0);
    let store = std::mem::take(&mut alice.store);
    let (mut mallory, his) = gateway(store, "mallory", 20);
    let back = |code: &str, redirect: &Redirect, browser: &str| {
        let url = format!("{REDIRECT}?code={code}&state={}", state_of(redirect));
        let browser = BrowserBinding::new(browser.as_bytes());
        Event::CallbackParams(Callback::from_url(url).in_browser(browser))
    };
    mallory.handle(back("code-a", &hers, "mallory"));
    mallory.handle(back("code-a", &hers, "alice"));
    mallory.handle(back("code-m", &his, "alice"));
    mallory.quiet();
    alice.store = std::mem::take(&mut mallory.store);
    alice.handle(back("code-m", &his, "alice"));
    alice.handle(back("code-m", &hers, "mallory"));
    alice.quiet();
    assert_eq!(alice.store.of_kind("pending").len(), 2);
    alice.handle(back("code-a", &hers, "alice"));
    let form = body(&alice.serve(TOKEN, 200, &token_answer("at-a")));
    assert!(verifies(&form, &hers) && !verifies(&form, &his));
    alice.ready();
    mallory.store = std::mem::take(&mut alice.store);
    mallory.handle(back("code-m", &his, "mallory"));
    let form = body(&mallory.serve(TOKEN, 200, &token_answer("at-m")));
    assert!(verifies(&form, &his));
    assert_eq!(get(&form, "code").as_deref(), Some("code-m"));
}

#[test]
fn b20_the_answer_for_one_resource_is_nobodys_at_another() {
    const TOOLKIT: &str = "https://toolkit.example/mcp";
    let place = "https://toolkit.example/.well-known/oauth-protected-resource/mcp";
    let honest = Arc::new(config().build().unwrap());
    let toolkit = Arc::new(Config::builder(TOOLKIT, REDIRECT).build().unwrap());
    // The same server behind both.
    let mut evil = Host::on(toolkit, Store::default());
    evil.ask("Bearer");
    evil.serve(place, 200, &prm().replace(MCP, TOOLKIT));
    evil.serve(META, 200, &metadata());
    evil.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = evil.redirect();
    let mut host = Host::on(honest, std::mem::take(&mut evil.store));
    host.seeds = 20;
    asked(&mut host);
    host.serve(PRM, 200, &prm());
    let own = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.quiet();
    assert_eq!(host.token(), None);
    evil.store = std::mem::take(&mut host.store);
    evil.callback(&format!("code=c&state={}", state_of(&own)));
    evil.quiet();
    // The callback for the toolkit yields a token for the toolkit only.
    evil.callback(&format!("code=c&state={}", state_of(&redirect)));
    let form = body(&evil.serve(TOKEN, 200, &token_answer("at-t")));
    assert_eq!(get(&form, "resource").as_deref(), Some(TOOLKIT));
    evil.ready();
    assert!(evil.machine.bearer(evil.now, MCP).is_err());
    assert!(evil.machine.bearer(evil.now, TOOLKIT).is_ok());
}

#[test]
fn b23_a_request_that_leaked_is_of_no_use_after_it_was_given_up() {
    let mut host = Host::new(config());
    let leaked = host.to_redirect();
    host.handle(Event::Abandoned(Default::default()));
    host.error();
    asked(&mut host);
    host.serve(PRM, 200, &prm());
    let mut seen = vec![leaked];
    for _ in 0..2 {
        seen.push(host.redirect());
        host.handle(Event::Abandoned(Default::default()));
        host.error();
        host.accepted("tools/call x");
        asked(&mut host);
        if requests(&host) > 0 {
            host.serve(PRM, 200, &prm());
        }
    }
    let last = host.redirect();
    for redirect in &seen {
        assert_ne!(state_of(redirect), state_of(&last));
        host.callback(&format!("code=c&state={}", state_of(redirect)));
        host.quiet();
    }
    host.callback(&format!("code=c&state={}", state_of(&last)));
    let form = body(host.request().request());
    assert!(verifies(&form, &last));
    assert!(!seen.iter().any(|redirect| verifies(&form, redirect)));
}
