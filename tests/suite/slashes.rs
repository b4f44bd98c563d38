//! Settings and records of an issuer under another spelling: one terminating slash may differ, in strict mode
//! none (QUIRK-01, ISO-01).

use std::sync::Arc;

use mcp_auth_machine::config::{
    ConfigBuilder, ConfigError, IssuerSettings, PreRegistered, Strictness,
};
use mcp_auth_machine::error::{Cause, Misconfiguration};

use crate::support::*;

const SLASH: &str = "https://as.example/";

/// The configured issuer, and whether it names the server that calls itself [`AS`].
const CASES: [(Strictness, &str, bool); 4] = [
    (Strictness::Tolerant, AS, true),
    (Strictness::Tolerant, SLASH, true),
    (Strictness::Strict, AS, true),
    (Strictness::Strict, SLASH, false),
];

fn settings() -> IssuerSettings {
    IssuerSettings::new()
        .authorization_parameter("audience", "a")
        .unwrap()
}

#[test]
fn settings_are_for_the_issuer_that_they_name() {
    for (strictness, issuer, is_it) in CASES {
        let config = config()
            .strictness(strictness)
            .issuer_settings(issuer, settings());
        let redirect = Host::new(config).to_redirect();
        let sent = get(&query(redirect.url.as_str()), "audience");
        assert_eq!(sent.is_some(), is_it, "{strictness:?} {issuer}");
    }
}

#[test]
fn settings_are_given_once_for_each_issuer() {
    let with = |issuer: &str| {
        let first = config().issuer_settings(AS, settings());
        first.issuer_settings(issuer, settings()).build()
    };
    assert!(with("https://b.example").is_ok());
    assert!(matches!(with(AS), Err(ConfigError::Twice(of)) if of == AS));
}

#[test]
fn a_configured_client_is_for_the_issuer_that_it_names() {
    for (strictness, issuer, is_it) in CASES {
        let config = config()
            .strictness(strictness)
            .pre_registered(issuer, PreRegistered::new("own"));
        let mut host = Host::new(config);
        host.discover(&prm(), &metadata());
        if is_it {
            assert_eq!(&*host.redirect().client_id, "own");
        } else {
            assert!(matches!(
                host.error().cause,
                Cause::Misconfigured(Misconfiguration::OtherIssuer { .. })
            ));
        }
        host.quiet();
    }
}

#[test]
fn iso_01_where_both_spellings_are_configured_the_exact_one_counts() {
    let named = |issuer: &str| {
        let settings = IssuerSettings::new().authorization_parameter("audience", issuer);
        (PreRegistered::new(issuer), settings.unwrap())
    };
    for (first, second) in [(AS, SLASH), (SLASH, AS)] {
        let ((client, settings), (other, others)) = (named(first), named(second));
        let config = config()
            .pre_registered(first, client)
            .pre_registered(second, other)
            .issuer_settings(first, settings)
            .issuer_settings(second, others);
        let mut host = Host::new(config.clone());
        host.discover(&prm(), &metadata());
        let redirect = host.redirect();
        assert_eq!(&*redirect.client_id, AS);
        let sent = query(redirect.url.as_str());
        assert_eq!(get(&sent, "audience").as_deref(), Some(AS));
        host.callback(&format!("code=c&state={}", state_of(&redirect)));
        let form = body(&host.serve(TOKEN, 200, &token_answer("at-1")));
        assert_eq!(get(&form, "client_id").as_deref(), Some(AS));
        host.ready();
        // A later process holds the account to be that client's.
        let mut later = process(config, host.store);
        assert_eq!(later.token().as_deref(), Some("Bearer at-1"));
    }
}

fn process(config: ConfigBuilder, store: Store) -> Host {
    let mut host = Host::on(Arc::new(config.build().unwrap()), store);
    host.seeds = 50;
    host
}

#[test]
fn an_account_of_another_client_is_not_used_however_the_issuer_is_spelled() {
    for (strictness, issuer, _) in CASES.into_iter().filter(|(.., is_it)| *is_it) {
        let with = |id: &str| {
            let client = PreRegistered::new(id);
            config()
                .strictness(strictness)
                .pre_registered(issuer, client)
        };
        let mut host = Host::new(with("one"));
        host.discover(&prm(), &metadata());
        let redirect = host.redirect();
        host.callback(&format!("code=c&state={}", state_of(&redirect)));
        host.serve(TOKEN, 200, &token_answer("at-1"));
        host.ready();
        let mut same = process(with("one"), std::mem::take(&mut host.store));
        assert_eq!(same.token().as_deref(), Some("Bearer at-1"));
        let other = process(with("two"), std::mem::take(&mut same.store)).token();
        assert_eq!(other, None, "{strictness:?} {issuer}");
    }
}

/// Signed in at a server that the resource lists with a slash more than it calls itself.
fn listed_with_a_slash() -> Host {
    let mut host = Host::new(config());
    host.discover(&prm().replace(AS, SLASH), &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    assert_eq!(redirect.issuer.as_str(), AS);
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &renewable("at-1", "rt-1"));
    host.ready();
    host.accepted("tools/call x");
    host
}

#[test]
fn a_server_listed_with_a_slash_more_is_no_change_of_server() {
    let mut host = listed_with_a_slash();
    host.refused("Bearer");
    host.serve(PRM, 200, &prm().replace(AS, SLASH));
    let form = body(&host.serve(TOKEN, 200, &renewable("at-2", "rt-2")));
    assert_eq!(get(&form, "refresh_token").as_deref(), Some("rt-1"));
    host.ready();
    host.quiet();
}

#[test]
fn cached_metadata_is_judged_like_the_document() {
    let document = metadata().replace("none", "client_secret_post");
    let service = |strictness| {
        let client = PreRegistered::new("service").secret("s3cret");
        config()
            .strictness(strictness)
            .pre_registered(AS, client)
            .client_credentials()
    };
    let mut first = process(service(Strictness::Tolerant), Store::default());
    first.wanted("x");
    first.serve(PRM, 200, &prm().replace(AS, SLASH));
    first.serve(META, 200, &document);
    let slots = first.store.slots;
    for (strictness, next) in [(Strictness::Tolerant, TOKEN), (Strictness::Strict, META)] {
        let store = Store {
            slots: slots.clone(),
            ..Store::default()
        };
        let mut later = process(service(strictness), store);
        later.wanted("x");
        assert_eq!(*later.request().request().uri(), *next);
    }
}
