//! Accessors of actions, answers and values for hosts and drivers.

use std::sync::Arc;

use mcp_auth_machine::config::{Dpop, DpopPolicy, WorkloadIdentity};
use mcp_auth_machine::event::Operation;
use mcp_auth_machine::key::{PublicKey, SigningKey};
use mcp_auth_machine::slot::{Revision, SlotKind};
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::wire::words::SigningAlgorithm;
use mcp_auth_machine::{Action, Event};

use crate::dpop::{JWK, LISTED, bound, key};
use crate::support::*;
use crate::without_user::{HOUR, JWT_BEARER, machine_metadata};

/// The kind and the number of an action that is answered.
fn number(action: &Action) -> Option<(&'static str, u64)> {
    Some(match action {
        Action::SendRequest(send) => ("send", send.id()),
        Action::LoadSlot(load) => ("load", load.id()),
        Action::PersistSlot(persist) => ("persist", persist.id()),
        Action::Sign(sign) => ("sign", sign.id()),
        Action::ObtainAssertion(asked) => ("obtain", asked.id()),
        _ => return None,
    })
}

/// Answers everything; the numbers of what was asked.
fn answer_all(host: &mut Host, store: &mut Store) -> Vec<(&'static str, u64)> {
    let mut numbers = Vec::new();
    while let Some(action) = host.actions.pop_front() {
        numbers.extend(number(&action));
        let event = match action {
            Action::LoadSlot(load) => {
                let found = store.slots.get(&load.slot().to_string()).cloned();
                load.found(found)
            }
            Action::PersistSlot(persist) => store.persist(persist),
            Action::ObtainAssertion(asked) => asked.workload("w.l.1"),
            Action::Sign(sign) => sign.prepare([7; 16]).signature(&[7; 64]),
            Action::SendRequest(send) => {
                let text = match send.request().uri().to_string().as_str() {
                    PRM => prm(),
                    META => {
                        let more = format!(r#"{LISTED},"grant_types_supported":["{JWT_BEARER}"]"#);
                        machine_metadata(AS, r#""none""#, &more)
                    }
                    TOKEN => bound("at-1"),
                    other => panic!("{other}"),
                };
                let id = send.id();
                let event = send.response(response(200, &[], &text));
                let Event::HttpResponse(reply) = &event else {
                    panic!()
                };
                assert_eq!(reply.id(), id);
                assert_eq!(reply.response().unwrap().body(), text.as_bytes());
                event
            }
            _ => continue,
        };
        host.handle(event);
    }
    numbers
}

#[test]
fn every_action_that_is_answered_has_a_number_of_its_own() {
    let manual = Store {
        mode: StoreMode::Manual,
        ..Store::default()
    };
    let config = config()
        .workload_identity(WorkloadIdentity::at(AS))
        .dpop(Dpop::new(DpopPolicy::Require).key(key()));
    let mut host = Host::on(std::sync::Arc::new(config.build().unwrap()), manual);
    let mut store = Store::default();
    host.challenged(401, &[&announcing()]);
    let mut numbers = answer_all(&mut host, &mut store);
    host.pass(HOUR);
    host.wanted("x");
    numbers.extend(answer_all(&mut host, &mut store));
    for kind in ["send", "load", "persist", "sign", "obtain"] {
        let of_kind = numbers.iter().filter(|(of, _)| *of == kind).count();
        assert!(of_kind > 1, "{kind}: {of_kind}");
    }
    let mut different: Vec<u64> = numbers.iter().map(|(_, number)| *number).collect();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), numbers.len(), "{numbers:?}");
}

#[test]
fn a_reply_without_an_answer_shows_none() {
    let mut host = Host::new(config());
    host.ask("Bearer");
    let Event::HttpResponse(reply) = host.request().maybe_sent() else {
        panic!()
    };
    assert!(reply.response().is_none());
}

#[test]
fn a_store_is_told_until_when_a_record_is_of_use() {
    let mut host = Host::new(config());
    host.discover(&prm(), &metadata());
    let mut store = std::mem::take(&mut host.store);
    host.store.mode = StoreMode::Manual;
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let mut seen = Vec::new();
    loop {
        match host.next() {
            Action::PersistSlot(persist) => {
                seen.push((persist.slot().kind(), persist.expires()));
                host.handle(store.persist(persist));
            }
            Action::LoadSlot(load) => host.handle(load.found(None)),
            Action::Redirect(redirect) => {
                seen.retain(|(kind, _)| *kind != SlotKind::Metadata);
                let wanted = [
                    (SlotKind::Registration, None),
                    (SlotKind::Pending, Some(redirect.expires)),
                ];
                assert_eq!(seen, wanted);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_grant_that_is_held_can_be_seen_at_any_time() {
    let mut host = Host::new(config());
    assert_eq!(host.machine.grant(), None);
    let grant = host.sign_in();
    assert_eq!(grant.issuer.as_str(), AS);
    assert_eq!(host.machine.grant(), Some(grant.clone()));
    host.pass(2 * HOUR);
    assert_eq!(host.machine.grant(), Some(grant));
    host.handle(Event::SignedOut);
    assert_eq!(host.machine.grant(), None);
}

#[test]
fn values_give_back_what_they_were_made_of() {
    assert_eq!(Operation::new("tools/call x").as_str(), "tools/call x");
    let long = "é".repeat(300);
    assert_eq!(Operation::new(&long).as_str(), "é".repeat(256));

    let algorithms = [SigningAlgorithm::EdDsa, SigningAlgorithm::Es256];
    let signing = SigningKey::new("key-1", algorithms);
    assert_eq!(signing.name(), "key-1");
    assert_eq!(signing.algorithms(), algorithms);
    assert_eq!(signing.public_key(), None);
    let public = PublicKey::from_jwk(JWK).unwrap();
    assert_eq!(signing.public(public.clone()).public_key(), Some(&public));

    let text = "AAECAwQFBgcICQoLDA0ODw";
    let revision: Revision = text.parse().unwrap();
    assert_eq!(revision.to_string(), text);
}

#[test]
fn a_report_names_the_method_by_which_the_client_authenticates() {
    for method in ["client_secret_basic", "client_secret_post", "none"] {
        let mut host = Host::new(config());
        let document = metadata().replace("[\"none\"]", &format!("[\"{method}\"]"));
        host.discover(&prm(), &document);
        let answer = r#"{"client_id":"c","client_secret":"s"}"#;
        host.serve(REGISTER, 201, answer);
        let named = |decision: &mcp_auth_machine::report::Decision| {
            let value = serde_json::to_value(decision).unwrap();
            value["method"].as_str().map(str::to_owned)
        };
        let found: Vec<String> = host.reports.iter().filter_map(named).collect();
        assert_eq!(found, [method]);
    }
}

#[test]
fn a_sign_in_and_its_callback_name_the_same_slot_for_whose_it_is() {
    let mut routes = Vec::new();
    for seeds in [0, 9] {
        let now = mcp_auth_testing::moment(1_800_000_000_000, 1_000);
        let config = Arc::new(config().build().unwrap());
        let mut host = Host::resumed(config, Store::default(), now, seeds);
        let redirect = host.to_redirect();
        let (_, state) = redirect.url.as_str().split_once("state=").unwrap();
        let state = state.split('&').next().unwrap();
        let route = redirect.route();
        assert_eq!(route.kind(), SlotKind::Pending);
        assert!(!route.to_string().contains(state));
        // The machine keeps nothing there.
        assert!(!host.store.of_kind("pending").is_empty());
        assert!(!host.store.slots.contains_key(&route.to_string()));
        for callback in [
            Callback::from_url(format!("{REDIRECT}?code=x&state={state}#y")),
            Callback::from_query(format!("state={state}&error=access_denied")),
            Callback::from_form(format!("code=x&state={state}").as_bytes()),
        ] {
            assert_eq!(callback.route(), Some(route));
        }
        // A server may escape characters that need no escape.
        let first = state.bytes().next().unwrap();
        let escaped = format!("code=x&st%61te=%{first:02x}{}", &state[1..]);
        assert_eq!(Callback::from_query(escaped).route(), Some(route));
        routes.push(route);
    }
    assert_ne!(routes.first(), routes.last());
    for stray in [
        "",
        "code=x",
        "state=",
        "state=short",
        "state=AAAAAAAAAAAAAAAAAAAAA%4",
        "state=AAAAAAAAAAAAAAAAAAAAA%00",
    ] {
        assert_eq!(Callback::from_query(stray).route(), None, "{stray}");
    }
}
