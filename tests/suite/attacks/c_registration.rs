//! Registration answers that lie, and keys (1.C).

use std::sync::Arc;

use mcp_auth_machine::Config;
use mcp_auth_machine::action::Why;
use mcp_auth_machine::config::{ConfigBuilder, PreRegistered};
use mcp_auth_machine::error::{Cause, Violation};
use mcp_auth_machine::key::SigningKey;
use mcp_auth_machine::wire::json::MAX_BODY_BYTES;
use mcp_auth_machine::wire::registration::MalformedRegistration;
use mcp_auth_machine::wire::words::SigningAlgorithm;

use super::*;

const CIMD: &str = "https://client.example/client.json";

fn with_secrets(document: &str) -> String {
    document.replace("[\"none\"]", "[\"client_secret_post\"]")
}

fn registered(id: &str, secret: &str) -> String {
    format!(
        r#"{{"client_id":"{id}","client_secret":"{secret}","token_endpoint_auth_method":"client_secret_post"}}"#
    )
}

/// Signed in at A with a client that A registered.
fn at_a(config: ConfigBuilder, id: &str) -> Host {
    let mut host = Host::new(config);
    host.discover(&prm(), &with_secrets(&metadata()));
    host.serve(REGISTER, 201, &registered(id, "secret-a"));
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let form = body(&host.serve(TOKEN, 200, &renewable("at-1", "rt-1")));
    assert_eq!(get(&form, "client_secret").as_deref(), Some("secret-a"));
    host.ready();
    host.accepted("tools/call x");
    host
}

fn to_b(host: &mut Host, more: &str) {
    host.refused("Bearer");
    host.serve(PRM, 200, &prm_of(B));
    assert!(matches!(host.need_user().why, Why::ServerChanged { .. }));
    host.authorize();
    host.serve(B_META, 200, &with_secrets(&metadata_of(B, more)));
}

#[test]
fn c03_an_identifier_that_b_copied_from_a_is_another_client() {
    let mut host = at_a(config(), "dyn-1");
    to_b(&mut host, "");
    host.serve(B_REGISTER, 201, &registered("dyn-1", "secret-b"));
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let form = body(&host.serve(B_TOKEN, 200, &renewable("bt-1", "brt-1")));
    assert_eq!(get(&form, "client_id").as_deref(), Some("dyn-1"));
    assert_eq!(get(&form, "client_secret").as_deref(), Some("secret-b"));
    host.ready();
    host.accepted("tools/call x");
    host.refused("Bearer");
    host.serve(PRM, 200, &prm());
    host.need_user();
    host.authorize();
    host.serve(META, 200, &with_secrets(&metadata()));
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let form = body(&host.serve(TOKEN, 200, &renewable("at-2", "rt-2")));
    assert_eq!(get(&form, "client_secret").as_deref(), Some("secret-a"));
    // B forgets its client: A's registration of the same name stays.
    assert_eq!(host.store.of_kind("registration").len(), 2);
}

#[test]
fn c03_our_metadata_url_as_a_registered_identifier_stays_a_name_at_b() {
    let flag = r#","client_id_metadata_document_supported":true"#;
    let mut host = Host::new(config().client_metadata_url(CIMD));
    asked(&mut host);
    host.serve(PRM, 200, &prm_of(B));
    host.serve(B_META, 200, &with_secrets(&metadata_of(B, "")));
    host.serve(B_REGISTER, 201, &registered(CIMD, "secret-b"));
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let form = body(&host.serve(B_TOKEN, 200, &renewable("bt-1", "brt-1")));
    assert_eq!(get(&form, "client_secret").as_deref(), Some("secret-b"));
    host.ready();
    host.accepted("tools/call x");
    host.refused("Bearer");
    host.serve(PRM, 200, &prm());
    host.need_user();
    host.authorize();
    host.serve(META, 200, &metadata_with(flag));
    let redirect = host.redirect();
    assert_eq!(&*redirect.client_id, CIMD);
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let form = body(&host.serve(TOKEN, 200, &renewable("at-1", "rt-1")));
    assert_eq!(get(&form, "client_secret"), None);
}

#[test]
fn c05_the_management_of_a_registration_is_left_alone() {
    let mut host = Host::new(config());
    host.discover(&prm(), &metadata());
    let answer = r#"{"client_id":"dyn-1","registration_client_uri":"https://evil.example/manage","registration_access_token":"SENTINEL"}"#;
    host.serve(REGISTER, 201, answer);
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let request = host.serve(TOKEN, 401, r#"{"error":"invalid_client"}"#);
    assert!(!String::from_utf8_lossy(request.body()).contains("SENTINEL"));
    assert!(!request.headers().contains_key("authorization"));
    // Not even to forget the registration.
    assert_eq!(host.need_user().why, Why::ClientForgotten);
    host.quiet();
    let stored: String = host
        .store
        .slots
        .values()
        .map(|s| s.contents.expose())
        .collect();
    let shown = format!("{stored} {:?} {:?}", host.reports, host.machine);
    assert!(!shown.contains("SENTINEL") && !shown.contains("evil.example"));
}

#[test]
fn c06_an_answer_that_is_too_large_or_too_deep_is_no_registration() {
    let outcome = |answer: &str| {
        let mut host = Host::new(config());
        host.discover(&prm(), &metadata());
        host.serve(REGISTER, 201, answer);
        let cause = host.error().cause;
        host.quiet();
        assert!(host.store.of_kind("registration").is_empty());
        cause
    };
    let huge = format!(r#"{{"client_id":"c","x":"{}"}}"#, "x".repeat(10 << 20));
    assert_eq!(outcome(&huge), Cause::Violation(Violation::TooLarge));
    let flaw = Violation::Registration(MalformedRegistration::NoClientId);
    for depth in [33, 100_000] {
        let deep = format!(
            r#"{{"client_id":"c","x":{}{}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        );
        assert_eq!(outcome(&deep), Cause::Violation(flaw.clone()));
    }
    let unclosed = format!(
        r#"{{"client_id":"c","x":{}"#,
        "[".repeat(MAX_BODY_BYTES - 30)
    );
    assert_eq!(outcome(&unclosed), Cause::Violation(flaw));
    let mut host = Host::new(config());
    host.discover(&prm(), &metadata());
    let send = host.request();
    assert_eq!(send.body_limit(), MAX_BODY_BYTES);
    host.handle(send.too_large());
    assert_eq!(host.error().cause, Cause::Violation(Violation::TooLarge));
}

#[test]
fn c09_a_registration_for_another_callback_is_replaced_by_one_for_this() {
    let mut host = Host::new(config());
    host.to_redirect();
    let moved = "http://127.0.0.1:4000/callback";
    let config = Config::builder(MCP, moved).build().unwrap();
    let mut later = Host::resumed(
        Arc::new(config),
        std::mem::take(&mut host.store),
        host.now,
        host.seeds,
    );
    asked(&mut later);
    later.serve(PRM, 200, &prm());
    let request = later.serve(REGISTER, 201, r#"{"client_id":"dyn-2"}"#);
    assert!(String::from_utf8_lossy(request.body()).contains(moved));
    let redirect = later.redirect();
    assert_eq!(&*redirect.client_id, "dyn-2");
    let found = query(redirect.url.as_str());
    assert_eq!(get(&found, "redirect_uri").as_deref(), Some(moved));
    // Once: from here on it is known.
    later.handle(mcp_auth_machine::Event::Abandoned(Default::default()));
    later.error();
    later.authorize();
    if requests(&later) > 0 {
        later.serve(PRM, 200, &prm());
    }
    assert_eq!(&*later.redirect().client_id, "dyn-2");
}

#[test]
fn c12_the_key_of_one_server_does_not_sign_for_another() {
    let key = |name: &str| SigningKey::new(name, [SigningAlgorithm::Es256]);
    let config = || {
        config()
            .pre_registered(AS, PreRegistered::new("at-a").key(key("key-a")))
            .pre_registered(B, PreRegistered::new("at-b").key(key("key-b")))
    };
    for (issuer, meta, token, name, client) in [
        (AS, META, TOKEN, "key-a", "at-a"),
        (B, B_META, B_TOKEN, "key-b", "at-b"),
    ] {
        let mut host = Host::new(config());
        asked(&mut host);
        host.serve(PRM, 200, &prm_of(issuer));
        let document = metadata_of(issuer, "").replace("[\"none\"]", "[\"private_key_jwt\"]");
        host.serve(meta, 200, &document);
        let redirect = host.redirect();
        host.callback(&format!("code=c&state={}", state_of(&redirect)));
        let Some(Action::Sign(sign)) = host.actions.front() else {
            panic!()
        };
        assert_eq!(sign.key(), name);
        let (_, claims) = host.signs();
        assert_eq!(
            (&claims["aud"], &claims["sub"]),
            (&issuer.into(), &client.into())
        );
        host.serve(token, 200, &token_answer("t"));
        host.ready();
    }
    // A server for which no key was configured gets none.
    let mut host = Host::new(config());
    asked(&mut host);
    let other = "https://c.example";
    host.serve(PRM, 200, &prm_of(other));
    let document = metadata_of(other, "").replace("[\"none\"]", "[\"private_key_jwt\"]");
    host.serve(
        &format!("{other}/.well-known/oauth-authorization-server"),
        200,
        &document,
    );
    assert!(matches!(host.error().cause, Cause::Misconfigured(_)));
    host.quiet();
}
