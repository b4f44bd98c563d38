//! Invalid records with a valid checksum: planted by an attacker with write access, or returned by a store that
//! confuses its keys (S26).

use std::sync::Arc;

use mcp_auth_machine::config::PreRegistered;
use mcp_auth_machine::error::{Cause, Misconfiguration};
use mcp_auth_machine::event::Authorization;
use mcp_auth_machine::wire::callback::{BrowserBinding, Callback};
use mcp_auth_machine::{Config, Event};

use crate::support::*;

/// The one record of this kind with this text has another in its place.
#[track_caller]
fn says(store: &mut Store, kind: &str, find: &str, put: &str) {
    let mut changed = 0;
    for (key, stored) in &mut store.slots {
        let json = spelled_out(stored.contents.expose());
        if key.starts_with(kind) && json.contains(find) {
            *stored = sealed(&json.replace(find, put));
            changed += 1;
        }
    }
    assert_eq!(changed, 1, "{kind}: {find}");
}

fn built() -> Arc<Config> {
    Arc::new(config().build().unwrap())
}

#[test]
fn s26_an_account_whose_parts_disagree_is_not_used() {
    let bearer = r#""tokens":{"kind":"bearer""#;
    for (find, put, used) in [
        (bearer, bearer, true),
        (bearer, r#""tokens":{"kind":"dpop""#, false),
        (r#""access":"at-1""#, r#""access":"\u00e9at-1""#, false),
        (r#""access":"at-1""#, r#""access":"at-1\r\nx: y""#, false),
        (r#""access":"at-1""#, r#""access":"""#, false),
        (r#""mcp_url":"#, r#""mcp_uri":"#, false),
        (r#""principal":"alice""#, r#""principal":"mallory""#, false),
    ] {
        let mut store = Host::signed_in(config(), &renewable("at-1", "rt-1")).store;
        says(&mut store, "account", find, put);
        let mut host = Host::on(built(), store);
        assert_eq!(host.token().is_some(), used, "{put}");
        assert_eq!(host.reported("record_unusable"), usize::from(!used));
    }
}

/// A cached document of another server is refetched.
#[test]
fn s26_disc_19_metadata_of_somebody_else_is_not_taken_from_the_cache() {
    let service = || {
        let client = PreRegistered::new("service").secret("s3cret");
        config().pre_registered(AS, client).client_credentials()
    };
    let document = metadata().replace("none", "client_secret_post");
    let other = "https://b.example";
    let mcp = format!(r#""mcp_url":"{MCP}""#);
    let resource = format!(r#""resource":"{MCP}""#);
    let asked = format!(r#""asked":"{AS}""#);
    for (find, put, read) in [
        (mcp.as_str(), mcp.clone(), None),
        (
            &mcp,
            mcp.replace("alice", "").replace(MCP, other),
            Some(PRM),
        ),
        (&resource, resource.replace(MCP, other), Some(PRM)),
        (&asked, asked.replace(AS, other), Some(META)),
    ] {
        let mut first = Host::new(service());
        first.wanted("x");
        first.serve(PRM, 200, &prm());
        first.serve(META, 200, &document);
        says(&mut first.store, "metadata", find, &put);
        let built = Arc::new(service().build().unwrap());
        let store = std::mem::take(&mut first.store);
        let mut host = Host::resumed(built, store, first.now, 50);
        host.wanted("x");
        assert_eq!(
            *host.request().request().uri(),
            *read.unwrap_or(TOKEN),
            "{put}"
        );
        assert_eq!(
            host.reported("record_unusable"),
            usize::from(read.is_some())
        );
    }
}

#[test]
fn s26_cb_14_an_attempt_whose_browser_cannot_be_read_is_nobodys() {
    let binding = BrowserBinding::new(b"alices session cookie");
    for damaged in [false, true] {
        let mut first = Host::new(config());
        first.challenged(401, &[&announcing()]);
        first.need_user();
        let seed = first.next_seed();
        first.authorize_with(Authorization::new(seed).browser(binding));
        first.serve(PRM, 200, &prm());
        first.serve(META, 200, &metadata());
        first.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
        let redirect = first.redirect();
        if damaged {
            says(
                &mut first.store,
                "pending",
                r#""browser":""#,
                r#""browser":"AA"#,
            );
        }
        let mut host = Host::on(built(), std::mem::take(&mut first.store));
        let url = format!("{REDIRECT}?code=c&state={}", state_of(&redirect));
        let callback = Callback::from_url(url).in_browser(binding);
        host.handle(Event::CallbackParams(callback));
        if damaged {
            host.quiet();
            assert_eq!(host.reported("record_unusable"), 1);
            assert_eq!(host.reported("callback_ignored"), 1);
        } else {
            host.request();
        }
    }
}

/// The binding of a client without an issuer says which client it is of.
#[test]
fn s26_reg_04_the_binding_of_another_client_binds_nothing() {
    let config = || {
        let client = PreRegistered::new("u").secret("s");
        Arc::new(config().pre_registered_unbound(client).build().unwrap())
    };
    let listed = metadata().replace("[\"none\"]", "[\"client_secret_basic\"]");
    let mut first = Host::on(config(), Store::default());
    first.discover(&prm(), &listed);
    let redirect = first.redirect();
    first.callback(&format!("code=c&state={}", state_of(&redirect)));
    first.request();
    let mut store = std::mem::take(&mut first.store);
    says(
        &mut store,
        "registration",
        r#""client_id":"u""#,
        r#""client_id":"v""#,
    );
    let mut later = Host::on(config(), store);
    later.ask(&announcing());
    later.serve(PRM, 200, &prm());
    assert!(matches!(
        later.error().cause,
        Cause::Misconfigured(Misconfiguration::BindingUnreadable { .. })
    ));
    later.quiet();
}
