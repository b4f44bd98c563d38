//! Seven lifecycles by name, as playbooks: what a host does and is asked to do, from the first refusal
//! to the end. The snapshots beside this file are meant to be read.

use std::sync::Arc;

use mcp_auth_machine::action::Why;
use mcp_auth_machine::config::PreRegistered;
use mcp_auth_machine::error::{Cause, Misconfiguration};
use mcp_auth_machine::{Config, Event};

use crate::support::*;

const B: &str = "https://b.example";
const B_META: &str = "https://b.example/.well-known/oauth-authorization-server";
const B_TOKEN: &str = "https://b.example/token";
const CIMD: &str = "https://client.example/client.json";
const CIMD_FLAG: &str = r#","client_id_metadata_document_supported":true"#;

fn playbook(host: &Host) -> String {
    host.playbook.text()
}

fn prm_of(issuer: &str) -> String {
    prm().replace(AS, issuer)
}

fn challenge() -> String {
    announcing()
}

/// Everything that was sent to a host name.
fn sent_to(host: &Host, name: &str) -> Vec<String> {
    let of = |line: &&str| line.starts_with('<') && line.contains(name) && line.contains('=');
    let text = host.playbook.text();
    text.lines().filter(of).map(str::to_owned).collect()
}

/// A client identifier that is valid at every server does not make the code and its verifier portable (A01).
#[test]
fn a01_cimd_code_verifier() {
    let mut host = Host::new(config().client_metadata_url(CIMD));
    host.chapter("the user is sent to A");
    host.ask(&challenge());
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata_with(CIMD_FLAG));
    let redirect = host.redirect();
    assert_eq!(&*redirect.client_id, CIMD);
    host.chapter("the resource names B; the code arrives from A");
    host.challenged(401, &[&challenge()]);
    host.callback(&format!("code=code-a&state={}", state_of(&redirect)));
    let request = host.serve(TOKEN, 200, &renewable("at-1", "rt-1"));
    assert_eq!(get(&body(&request), "code").as_deref(), Some("code-a"));
    assert_eq!(host.ready().issuer.as_str(), AS);
    host.accepted("tools/call x");
    host.chapter(
        "the token is refused: the user is asked about B, and B receives no credential of A",
    );
    host.refused(&challenge());
    host.serve(PRM, 200, &prm_of(B));
    host.need_user();
    host.authorize();
    host.serve(B_META, 200, &metadata_of(B, CIMD_FLAG));
    let redirect = host.redirect();
    assert_eq!((redirect.issuer.as_str(), &*redirect.client_id), (B, CIMD));
    assert!(sent_to(&host, "b.example/token").is_empty());
    insta::assert_snapshot!(playbook(&host));
}

/// A refresh token never follows the resource to another server, however often that is tried (A02).
#[test]
fn a02_two_call_refresh() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    host.playbook.clear();
    for (number, documents) in [(1, true), (2, false)] {
        host.chapter(&format!("call {number}: the resource names B"));
        host.refused(&challenge());
        host.serve(PRM, 200, &prm_of(B));
        assert!(matches!(host.need_user().why, Why::ServerChanged { .. }));
        host.authorize();
        if documents {
            host.serve(B_META, 200, &metadata_of(B, ""));
            host.serve(&format!("{B}/register"), 201, r#"{"client_id":"b-1"}"#);
        }
        assert_eq!(host.redirect().issuer.as_str(), B);
        host.handle(Event::Abandoned(Default::default()));
        host.error();
        host.accepted("tools/call x");
    }
    host.chapter("the resource names A again: the token is refreshed at A");
    host.refused(&challenge());
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    let request = host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    assert_eq!(
        get(&body(&request), "refresh_token").as_deref(),
        Some("rt-1")
    );
    host.ready();
    assert!(sent_to(&host, "b.example/token").is_empty());
    insta::assert_snapshot!(playbook(&host));
}

/// A store that answers for the wrong key: the value's own stamp decides (A03).
#[test]
fn a03_issuer_keyed_map() {
    let config = Arc::new(config().build().unwrap());
    // The registration at A is stored under the key of B.
    let mut at_a = Host::on(Arc::clone(&config), Store::default());
    at_a.to_redirect();
    let at_a = at_a.store.of_kind("registration")[0].clone();
    let key_of_b = {
        let mut host = Host::on(Arc::clone(&config), Store::default());
        host.ask(&challenge());
        host.serve(PRM, 200, &prm_of(B));
        host.serve(B_META, 200, &metadata_of(B, ""));
        host.serve(&format!("{B}/register"), 201, r#"{"client_id":"b-1"}"#);
        let mut keys = host.store.slots.keys();
        keys.find(|key| key.starts_with("registration"))
            .cloned()
            .unwrap()
    };
    let mut store = Store::default();
    store.slots.insert(key_of_b, at_a);
    let mut host = Host::on(config, store);
    host.ask(&challenge());
    host.serve(PRM, 200, &prm_of(B));
    host.serve(B_META, 200, &metadata_of(B, ""));
    // B finds no registration of its own and registers a client.
    host.serve(&format!("{B}/register"), 201, r#"{"client_id":"b-1"}"#);
    assert_eq!(&*host.redirect().client_id, "b-1");
    assert_eq!(host.reported("record_unusable"), 0);
    insta::assert_snapshot!(playbook(&host));
}

/// A secret configured for A goes to A only, also on first contact (A04).
#[test]
fn a04_m2m_first_contact() {
    let client = PreRegistered::new("service").secret("for A alone");
    let mut host = Host::new(config().pre_registered(AS, client));
    host.ask(&challenge());
    host.serve(PRM, 200, &prm_of(B));
    let document = metadata_of(B, "").replace("[\"none\"]", "[\"client_secret_basic\"]");
    host.serve(B_META, 200, &document);
    let Cause::Misconfigured(Misconfiguration::OtherIssuer { configured, found }) =
        host.error().cause
    else {
        panic!()
    };
    assert_eq!((configured[0].as_str(), found.as_str()), (AS, B));
    host.quiet();
    assert!(sent_to(&host, "b.example").is_empty());
    insta::assert_snapshot!(playbook(&host));
}

/// Metadata poisoned before and after the redirect, on first contact: the callback leg performs no discovery (A05).
#[test]
fn a05_flip_flip() {
    let mut host = Host::new(config());
    host.chapter("the resource names B first; the user cancels");
    host.ask(&challenge());
    host.serve(PRM, 200, &prm_of(B));
    host.serve(B_META, 200, &metadata_of(B, ""));
    host.serve(&format!("{B}/register"), 201, r#"{"client_id":"b-1"}"#);
    host.redirect();
    host.handle(Event::Abandoned(Default::default()));
    host.error();
    host.chapter("then A, and the user signs in");
    host.ask(&challenge());
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"a-1"}"#);
    let redirect = host.redirect();
    host.chapter("the callback: straight to A's token endpoint");
    host.callback(&format!("code=code-a&state={}", state_of(&redirect)));
    let form = body(&host.serve(TOKEN, 200, &renewable("at-1", "rt-1")));
    assert_eq!(get(&form, "client_id").as_deref(), Some("a-1"));
    assert_eq!(host.ready().issuer.as_str(), AS);
    host.quiet();
    insta::assert_snapshot!(playbook(&host));
}

/// A resource that moves permanently: the user consents, the flow completes, and no old credential is used (A06, L02).
#[test]
fn a06_legitimate_migration() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    host.playbook.clear();
    host.chapter("the resource has moved to B");
    host.refused(&challenge());
    host.serve(PRM, 200, &prm_of(B));
    host.need_user();
    host.authorize();
    host.serve(B_META, 200, &metadata_of(B, ""));
    host.serve(&format!("{B}/register"), 201, r#"{"client_id":"b-1"}"#);
    let redirect = host.redirect();
    assert!(redirect.new_issuer);
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
    host.callback(&format!("code=code-b&state={}", state_of(&redirect)));
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
    host.serve(B_TOKEN, 200, &renewable("bt-1", "brt-1"));
    assert_eq!(host.ready().issuer.as_str(), B);
    assert_eq!(host.token().as_deref(), Some("Bearer bt-1"));
    host.accepted("tools/call x");
    host.chapter("another process finds B's account and refreshes there");
    let (now, seeds) = (host.now, host.seeds);
    let store = std::mem::take(&mut host.store);
    let before = playbook(&host);
    assert!(sent_to(&host, "as.example").is_empty());
    let config: Arc<Config> = Arc::new(config().build().unwrap());
    let mut later = Host::resumed(config, store, now, seeds);
    later.ready();
    later.refused(&challenge());
    later.serve(PRM, 200, &prm_of(B));
    let form = body(&later.serve(B_TOKEN, 200, &renewable("bt-2", "brt-2")));
    assert_eq!(get(&form, "refresh_token").as_deref(), Some("brt-1"));
    later.ready();
    assert!(sent_to(&later, "as.example").is_empty());
    insta::assert_snapshot!(before + &playbook(&later));
}

/// The attacker flips again while a real migration is under way (A07).
#[test]
fn a07_attacker_flips_again() {
    const EVIL: &str = "https://evil.example";
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    host.playbook.clear();
    host.refused(&challenge());
    host.serve(PRM, 200, &prm_of(B));
    host.need_user();
    host.authorize();
    host.serve(B_META, 200, &metadata_of(B, ""));
    host.serve(&format!("{B}/register"), 201, r#"{"client_id":"b-1"}"#);
    let redirect = host.redirect();
    host.chapter("the code of B is in transit; the next challenge would name another server");
    host.callback(&format!("code=code-b&state={}", state_of(&redirect)));
    let exchange = host.request();
    host.challenged_for("other", 401, &[&challenge()], Some("Bearer at-1"));
    assert_eq!(exchange.request().uri().to_string(), B_TOKEN);
    host.handle(exchange.response(response(200, &[], &renewable("bt-1", "brt-1"))));
    assert_eq!(host.ready().issuer.as_str(), B);
    host.quiet();
    host.accepted("tools/call x");
    host.chapter("when it does, the user is asked");
    host.refused(&challenge());
    host.serve(PRM, 200, &prm_of(EVIL));
    assert!(matches!(host.need_user().why, Why::ServerChanged { .. }));
    host.quiet();
    assert!(sent_to(&host, "evil.example").is_empty());
    insta::assert_snapshot!(playbook(&host));
}
