//! Each operation is answered once: an error or a question has the name of an operation only while that waits (USE-14).

use mcp_auth_machine::config::PreRegistered;
use mcp_auth_machine::error::Cause;
use mcp_auth_machine::{Action, Event};

use crate::support::*;
use crate::without_user::{machine_metadata, service};

/// The names of the errors and questions, in order; other actions stay.
fn told(host: &mut Host) -> Vec<Option<String>> {
    let mut names = Vec::new();
    let mut others = std::collections::VecDeque::new();
    while let Some(action) = host.actions.pop_front() {
        let operation = match &action {
            Action::Error(failure) => failure.operation.clone(),
            Action::NeedUser(need) => need.operation.clone(),
            _ => {
                others.push_back(action);
                continue;
            }
        };
        names.push(operation.map(|name| name.as_str().to_owned()));
    }
    host.actions = others;
    names
}

fn name(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// The user was asked for `tools/call x`, and agreed; that operation asks again while the authorization is prepared.
fn beside_a_click() -> Host {
    let mut host = Host::new(config());
    host.ask(&announcing());
    host.wanted("tools/call x");
    host
}

#[test]
fn use_14_a_cancel_answers_no_request_that_is_queued() {
    let mut host = beside_a_click();
    let _send = host.request();
    host.handle(Event::Abandoned(Default::default()));
    assert_eq!(told(&mut host), [None, name("tools/call x")]);
    host.quiet();
    // Not begun yet.
    let mut host = Host::signed_in(config(), &renewable_for("at-1", "rt-1", "60"));
    host.pass(60_000);
    host.wanted("tools/call x");
    let refresh = host.request();
    host.authorize();
    host.handle(Event::Abandoned(Default::default()));
    assert_eq!(told(&mut host), [None]);
    host.handle(refresh.response(response(200, &[], &renewable("at-2", "rt-2"))));
    host.ready();
    host.quiet();
}

#[test]
fn use_14_a_failed_authorization_answers_no_request_that_is_queued() {
    let mut host = beside_a_click();
    host.serve(PRM, 200, &prm().replace(MCP, "https://other.example"));
    assert_eq!(told(&mut host), [None, name("tools/call x")]);
    host.quiet();
}

/// The queued request has the answer of the one that waits; the next one is new.
#[test]
fn use_14_an_answer_serves_the_requests_of_its_operation_that_were_made_before() {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.wanted("two");
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let exchange = host.request();
    host.wanted("two");
    host.challenged_for("two", 401, &[], None);
    host.wanted("three");
    let refused = response(400, &[], r#"{"error":"invalid_request"}"#);
    host.handle(exchange.response(refused));
    assert_eq!(told(&mut host), [None, name("two"), name("three")]);
    host.quiet();
    host.wanted("two");
    assert_eq!(told(&mut host), [name("two")]);
    host.quiet();
}

/// The token is still usable when the server asks for patience, and has expired when that ends.
#[test]
fn use_14_a_refresh_that_goes_on_after_ready_answers_nobody() {
    for sets_aside in [false, true] {
        let mut host = Host::signed_in(config(), &renewable_for("at-1", "rt-1", "60"));
        host.pass(55_000);
        host.wanted("one");
        let busy = || response(503, &[("retry-after", "30")], "");
        let refresh = host.request();
        host.handle(refresh.response(busy()));
        host.ready();
        if sets_aside {
            // Gives way to a callback, and is continued afterwards.
            host.callback("code=x&state=AAAAAAAAAAAAAAAAAAAAAA");
        }
        host.wake();
        let refresh = host.request();
        host.handle(refresh.response(busy()));
        assert_eq!(told(&mut host), [None]);
        host.quiet();
    }
}

/// `Ready` presents the stored token, which is about to expire and is still renewed (USE-10).
#[test]
fn use_14_use_10_a_request_that_ready_has_answered_still_renews_the_token() {
    for refused in [false, true] {
        let host = Host::signed_in(config(), &renewable_for("at-1", "rt-1", "60"));
        let (mut store, mut now) = (host.store, host.now);
        now.wall.0 += 55_000;
        store.mode = StoreMode::Manual;
        let config = std::sync::Arc::new(config().build().unwrap());
        let mut next = Host::on(config, store);
        next.now = now;
        next.wanted("one");
        let Action::LoadSlot(load) = next.next() else {
            panic!("the account is read")
        };
        let found = next.store.slots.get(&load.slot().to_string()).cloned();
        next.store.mode = StoreMode::Works;
        next.handle(load.found(found));
        next.ready();
        if refused {
            next.serve(TOKEN, 400, r#"{"error":"invalid_grant"}"#);
            assert_eq!(told(&mut next), [None]);
        } else {
            next.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
            next.ready();
        }
        next.quiet();
    }
}

/// The wall clock is put forward for a moment: the stored token seems to have expired, and is the answer after all.
#[test]
fn use_14_a_request_without_a_token_is_answered_by_the_stored_one() {
    let host = Host::signed_in(config(), &token_answer("at-1"));
    let config = std::sync::Arc::new(config().build().unwrap());
    let mut next = Host::resumed(config, host.store, host.now, 40);
    next.ready();
    next.now.wall.0 += 24 * 3_600_000;
    next.challenged_for("one", 401, &["Bearer"], None);
    let send = next.request();
    next.now.wall.0 -= 24 * 3_600_000;
    next.handle(send.response(response(200, &[], &prm())));
    next.ready();
    next.quiet();
}

/// Too many wait beside an operation that asks again: the one answer is that.
#[test]
fn use_14_an_operation_that_is_turned_away_is_answered_once() {
    let mut host = Host::new(config());
    host.store.mode = StoreMode::Manual;
    host.wanted("one");
    let Action::LoadSlot(load) = host.next() else {
        panic!("the account is read")
    };
    for number in 0..64 {
        host.wanted(&number.to_string());
    }
    host.wanted("one");
    assert_eq!(told(&mut host), [name("one")]);
    host.store.mode = StoreMode::Works;
    host.handle(load.found(None));
    let names = told(&mut host);
    assert_eq!(names.len(), 65);
    assert!(!names.contains(&name("one")));
    host.quiet();
}

#[test]
fn use_14_an_erasure_that_fails_again_is_told_once_to_each_operation() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    host.store.mode = StoreMode::Manual;
    host.handle(Event::SignedOut);
    for operation in ["one", "two", "one"] {
        host.wanted(operation);
    }
    host.store.mode = StoreMode::WritesFail;
    while let Some(at) = host
        .actions
        .iter()
        .position(|action| matches!(action, Action::LoadSlot(_) | Action::PersistSlot(_)))
    {
        let event = match host.actions.remove(at) {
            Some(Action::LoadSlot(load)) => {
                let found = host.store.slots.get(&load.slot().to_string()).cloned();
                load.found(found)
            }
            Some(Action::PersistSlot(persist)) => persist.failed(),
            other => panic!("{other:?}"),
        };
        host.handle(event);
    }
    while let Some(at) = host
        .actions
        .iter()
        .position(|action| matches!(action, Action::SendRequest(_)))
    {
        let Some(Action::SendRequest(send)) = host.actions.remove(at) else {
            panic!()
        };
        host.handle(send.response(response(200, &[], "")));
    }
    let names: Vec<_> = told(&mut host).into_iter().flatten().collect();
    assert_eq!(names, ["one", "two"]);
    host.quiet();
}

/// A person's wish for a token without a user has no name, whoever asked before.
#[test]
fn use_14_a_click_of_a_client_without_a_user_answers_no_operation() {
    let settings = config()
        .pre_registered_unbound(service())
        .client_credentials();
    let mut host = Host::new(settings);
    for asks in ["one", ""] {
        match asks {
            "" => host.authorize(),
            operation => host.wanted(operation),
        }
        host.serve(PRM, 200, &prm());
        let document = machine_metadata(AS, r#""client_secret_basic""#, "");
        host.serve(META, 200, &document);
        host.serve(TOKEN, 400, r#"{"error":"unauthorized_client"}"#);
        let expected = (!asks.is_empty()).then(|| asks.to_owned());
        assert_eq!(told(&mut host), [expected]);
        host.quiet();
        host.pass(600_000);
    }
    // A sign-out ends it.
    host.authorize();
    let _send = host.request();
    host.handle(Event::SignedOut);
    assert_eq!(told(&mut host), [None]);
    host.quiet();
}

/// A failed revocation does not answer an `Authorize` for a token without a user.
#[test]
fn use_14_a_revocation_that_fails_does_not_answer_a_person_who_waits_for_a_token() {
    let settings = config().pre_registered(AS, service()).client_credentials();
    let mut host = Host::new(settings);
    let revocation = r#","revocation_endpoint":"https://as.example/revoke""#;
    let document = machine_metadata(AS, r#""client_secret_basic""#, revocation);
    let to_token = |host: &mut Host| {
        host.authorize();
        host.serve(PRM, 200, &prm());
        host.serve(META, 200, &document);
        host.request_to(TOKEN)
    };
    let late = to_token(&mut host);
    host.handle(Event::SignedOut);
    assert_eq!(told(&mut host), [None]);
    let busy = to_token(&mut host);
    host.handle(busy.response(response(503, &[], "")));
    // The tokens of the first request arrive after the sign-out, and are revoked.
    host.handle(late.response(response(200, &[], &token_answer("at-1"))));
    host.serve(
        "https://as.example/revoke",
        400,
        r#"{"error":"invalid_request"}"#,
    );
    assert_eq!(told(&mut host), [None]);
    host.handle(Event::SignedOut);
    assert_eq!(told(&mut host), [None]);
    host.quiet();
}

/// The user is asked again in the middle of an authorization, and no operation waits for that one.
#[test]
fn use_14_a_question_after_an_authorization_answers_no_operation() {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 400, r#"{"error":"invalid_client"}"#);
    assert_eq!(host.need_user().operation, None);
    host.quiet();
    // Its answer still counts for the operation: the third authorization that a refusal leads to is the last (STEP-07).
    let client = PreRegistered::new("pre");
    let mut host = Host::new(config().pre_registered_unbound(client));
    for _ in 0..3 {
        host.challenged(401, &[&announcing()]);
        assert!(host.need_user().operation.is_some());
        host.authorize();
        while let Some(Action::SendRequest(_)) = host.actions.front() {
            let send = host.request();
            let uri = send.request().uri().to_string();
            let body = if uri == PRM { prm() } else { metadata() };
            host.handle(send.response(response(200, &[], &body)));
        }
        let redirect = host.redirect();
        host.callback(&format!("error=server_error&state={}", state_of(&redirect)));
        assert_eq!(host.error().operation, None);
    }
    host.challenged(401, &[&announcing()]);
    let failure = host.error();
    assert_eq!(failure.operation.unwrap().as_str(), "tools/call x");
    assert!(matches!(failure.cause, Cause::OutOfPatience(_)));
    host.quiet();
}
