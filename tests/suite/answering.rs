//! Answers to a question that another machine asked: one that has ended, or one of another process (STEP-15).

use std::sync::Arc;

use mcp_auth_machine::action::{NeedUser, Redirect, Why};
use mcp_auth_machine::budget::Limited;
use mcp_auth_machine::error::Cause;
use mcp_auth_machine::event::Authorization;
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_machine::wire::url::UrlPolicy;
use mcp_auth_machine::{Config, IssuerId};

use crate::support::*;

const OTHER: &str = "https://b.example";
const OTHER_META: &str = "https://b.example/.well-known/oauth-authorization-server";
const THIRD: &str = "https://c.example";

fn issuer(text: &str) -> IssuerId {
    let (policy, _) = UrlPolicy::for_mcp_url(MCP).unwrap();
    IssuerId::new(text, &policy).unwrap()
}

fn need(why: Why) -> NeedUser {
    let operation = Some("tools/call x".into());
    NeedUser { why, operation }
}

/// A new process on the store of this one, which ends.
fn next_process(ended: Host, config: &Arc<Config>) -> Host {
    let mut next = Host::resumed(Arc::clone(config), ended.store, ended.now, 100);
    if next.machine.grant().is_some() {
        next.ready();
    }
    next
}

fn answer(host: &mut Host, need: &NeedUser) {
    let authorization = Authorization::new(host.next_seed()).answering(need);
    host.authorize_with(authorization);
}

fn built() -> Arc<Config> {
    Arc::new(config().build().unwrap())
}

/// An account with the scope `a`.
fn signed_in(config: &Arc<Config>) -> Host {
    let mut host = Host::on(Arc::clone(config), Store::default());
    host.ask(&format!("Bearer scope=\"a\", resource_metadata=\"{PRM}\""));
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    come_back(&mut host, &redirect);
    host.accepted("tools/call x");
    host
}

fn come_back(host: &mut Host, redirect: &Redirect) {
    host.callback(&format!("code=c&state={}", state_of(redirect)));
    host.serve(TOKEN, 200, &renewable("at-1", "rt-1"));
    host.ready();
}

#[test]
fn step_15_consent_to_a_moved_server_counts_in_the_next_process() {
    let config = built();
    let mut host = signed_in(&config);
    host.refused("Bearer");
    host.serve(PRM, 200, &prm().replace(AS, OTHER));
    let need = host.need_user();
    let mut next = next_process(host, &config);
    answer(&mut next, &need);
    next.serve(PRM, 200, &prm().replace(AS, OTHER));
    next.serve(OTHER_META, 200, &metadata_of(OTHER, ""));
    next.serve(&format!("{OTHER}/register"), 201, r#"{"client_id":"b-1"}"#);
    assert_eq!(next.redirect().issuer.as_str(), OTHER);
}

/// S34: the consent is for the servers that the user saw.
#[test]
fn step_15_consent_to_one_server_is_none_to_another() {
    let config = built();
    for (from, to) in [(AS, THIRD), (THIRD, OTHER)] {
        let mut host = next_process(signed_in(&config), &config);
        let (from, to) = (issuer(from), issuer(to));
        answer(&mut host, &need(Why::ServerChanged { from, to }));
        host.serve(PRM, 200, &prm().replace(AS, OTHER));
        host.serve(OTHER_META, 200, &metadata_of(OTHER, ""));
        let Why::ServerChanged { from, to } = host.need_user().why else {
            panic!()
        };
        assert_eq!((from.as_str(), to.as_str()), (AS, OTHER));
        host.quiet();
    }
}

#[test]
fn step_15_the_next_process_asks_for_the_scopes_that_were_missing() {
    let config = built();
    let mut host = signed_in(&config);
    let sent = host.token();
    let challenge = "Bearer error=\"insufficient_scope\", scope=\"b\"";
    host.challenged_for("tools/call x", 403, &[challenge], sent.as_deref());
    let need = host.need_user();
    let mut next = next_process(host, &config);
    answer(&mut next, &need);
    next.serve(PRM, 200, &prm());
    assert_eq!(next.redirect().scopes.as_str(), "a b");
    // A second click joins in, whichever of the two has the answer.
    let mut next = Host::resumed(config, next.store, next.now, 200);
    next.ready();
    next.authorize();
    next.serve(PRM, 200, &prm());
    let first = next.redirect();
    assert_eq!(first.scopes.as_str(), "a");
    answer(&mut next, &need);
    next.serve(PRM, 200, &prm());
    assert_eq!(next.redirect().scopes.as_str(), "a b");
}

#[test]
fn step_15_an_answer_counts_as_one_that_a_refusal_led_to() {
    let config = built();
    let mut host = next_process(signed_in(&config), &config);
    let scopes = Scopes::parse("b");
    let need = need(Why::ScopeMissing {
        scopes,
        description: None,
    });
    for _ in 0..3 {
        answer(&mut host, &need);
        host.serve(PRM, 200, &prm());
        let redirect = host.redirect();
        come_back(&mut host, &redirect);
    }
    answer(&mut host, &need);
    host.serve(PRM, 200, &prm());
    let cause = host.error().cause;
    assert_eq!(cause, Cause::OutOfPatience(Limited::Authorizations));
}

#[test]
fn step_15_the_next_process_leaves_out_the_method_that_was_refused() {
    let listed = metadata().replace(
        r#"["none"]"#,
        r#"["client_secret_basic","client_secret_post"]"#,
    );
    let config = built();
    let mut host = Host::on(Arc::clone(&config), Store::default());
    host.ask(&announcing());
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &listed);
    host.serve(REGISTER, 201, r#"{"client_id":"one","client_secret":"s"}"#);
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 401, r#"{"error":"invalid_client"}"#);
    let need = host.need_user();
    let Why::MethodRefused { next: method, .. } = need.why else {
        panic!()
    };
    let mut next = next_process(host, &config);
    answer(&mut next, &need);
    next.serve(PRM, 200, &prm());
    next.serve(META, 200, &listed);
    let request = next.serve(REGISTER, 201, r#"{"client_id":"two","client_secret":"s"}"#);
    let asked: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
    assert_eq!(asked["token_endpoint_auth_method"], method.as_str());
}

#[test]
fn step_15_the_next_process_does_not_ask_for_what_was_refused() {
    let config = built();
    let offline = r#","scopes_supported":["a","offline_access"]"#;
    for (why, expected) in [
        (None, "a offline_access"),
        (Some(Why::OfflineAccessRefused), "a"),
    ] {
        let mut host = Host::on(Arc::clone(&config), Store::default());
        match &why {
            None => host.authorize(),
            Some(why) => answer(&mut host, &need(why.clone())),
        }
        let listed = prm().replacen('{', r#"{"scopes_supported":["a"],"#, 1);
        host.serve(PRM, 200, &listed);
        host.serve(META, 200, &metadata_with(offline));
        host.serve(REGISTER, 201, r#"{"client_id":"one"}"#);
        assert_eq!(host.redirect().scopes.as_str(), expected);
    }
    // Without the scopes of earlier requests.
    let mut host = next_process(signed_in(&config), &config);
    let scopes = Scopes::parse("a");
    answer(&mut host, &need(Why::ScopesRefused { scopes }));
    host.serve(PRM, 200, &prm());
    assert_eq!(host.redirect().scopes.as_str(), "");
}

/// C08: one registration is replaced between successes, however many processes take part.
#[test]
fn step_15_the_next_process_replaces_a_forgotten_client_once() {
    let config = built();
    let mut host = Host::on(Arc::clone(&config), Store::default());
    answer(&mut host, &need(Why::ClientForgotten));
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"two"}"#);
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 400, r#"{"error":"invalid_client"}"#);
    host.error();
    host.quiet();
}
