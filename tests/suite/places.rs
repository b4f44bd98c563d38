//! Where documents are looked for, and what is kept of them (DISC, META, CHAL).

use std::sync::Arc;

use mcp_auth_machine::MetadataFlaw;
use mcp_auth_machine::config::{ConfigBuilder, DpopPolicy, MetadataCache, MetadataOrigin};
use mcp_auth_machine::config::{DynamicRegistration, PreRegistered};
use mcp_auth_machine::error::{Cause, Misconfiguration, PlaceFlaw, Violation};
use mcp_auth_machine::slot::SlotContents;
use mcp_auth_machine::wire::json::MAX_BODY_BYTES;
use mcp_auth_machine::wire::url::UrlFlaw;

use crate::dpop;
use crate::support::*;
use crate::without_user::OTHER;

const ROOT_PRM: &str = "https://mcp.example/.well-known/oauth-protected-resource";

/// Refused with this challenge, and the user agrees.
fn begun(config: ConfigBuilder, challenge: &str) -> Host {
    begun_on(config, Store::default(), challenge)
}

fn begun_on(config: ConfigBuilder, store: Store, challenge: &str) -> Host {
    let now = mcp_auth_testing::moment(1_800_000_000_000, 1_000);
    let mut host = Host::resumed(Arc::new(config.build().unwrap()), store, now, 50);
    host.ask(challenge);
    host
}

#[test]
fn a_place_at_the_mcp_server_itself_is_of_the_same_origin() {
    let own = "https://mcp.example/own";
    let config = || config().metadata_origin(MetadataOrigin::SameOrigin);
    for named in [own, "/own"] {
        let challenge = format!("Bearer resource_metadata=\"{named}\"");
        let mut host = begun(config(), &challenge);
        host.serve(own, 200, &prm());
    }
    let elsewhere = "Bearer resource_metadata=\"https://cdn.example/own\"";
    begun(config(), elsewhere).serve(PRM, 200, &prm());
}

#[test]
fn an_entry_with_a_configured_client_comes_before_one_without() {
    let client = PreRegistered::new("pre");
    let config = config()
        .pre_registered(AS, client)
        .dynamic_registration(DynamicRegistration::Always);
    let mut host = begun(config, "Bearer");
    let both = format!("\"{OTHER}\",\"{AS}\"");
    host.serve(PRM, 200, &prm().replace(&format!("\"{AS}\""), &both));
    host.serve(META, 200, &metadata());
    assert_eq!(host.redirect().issuer.as_str(), AS);
}

#[test]
fn every_place_that_is_tried_is_reported() {
    let mut host = begun(config(), "Bearer");
    host.serve(PRM, 404, "");
    assert_eq!(host.reported("place_tried"), 1);
    host.serve(ROOT_PRM, 200, &prm());
    assert_eq!(host.reported("place_tried"), 2);
    host.serve(META, 200, &metadata());
    assert_eq!(host.reported("place_tried"), 3);
}

/// A document, and white space up to the largest body that is read.
fn padded(document: &str) -> String {
    format!("{document}{}", " ".repeat(MAX_BODY_BYTES - document.len()))
}

#[test]
fn bodies_of_the_largest_size_are_read() {
    let mut host = begun(config(), "Bearer");
    host.serve(PRM, 200, &padded(&prm()));
    host.serve(META, 200, &padded(&metadata()));
    let client = r#"{"client_id":"dyn-1"}"#;
    host.serve(REGISTER, 201, &padded(client));
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &padded(&token_answer("at-1")));
    host.ready();
}

#[test]
fn a_challenge_may_name_offline_access_itself() {
    let mut host = begun(config(), "Bearer scope=\"a offline_access\"");
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let found = query(host.redirect().url.as_str());
    assert_eq!(get(&found, "scope").as_deref(), Some("a offline_access"));
}

#[track_caller]
fn flaw(first: &str, second: &str) -> MetadataFlaw {
    let mut host = begun(config(), "Bearer");
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, first);
    host.serve(OPENID, 200, second);
    match host.error().cause {
        Cause::Violation(Violation::Metadata(flaw)) => flaw,
        other => panic!("{other:?}"),
    }
}

#[test]
fn of_several_documents_that_break_rules_the_first_wrong_issuer_is_told() {
    let of = |issuer: &str| metadata_of(issuer, "");
    let incomplete = format!(r#"{{"issuer":"{AS}"}}"#);
    let twice = format!(r#"{{"issuer":"{AS}","issuer":"{AS}"}}"#);
    let named = |found: MetadataFlaw| match found {
        MetadataFlaw::Issuer { got, .. } => got.as_plain().to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        named(flaw(&of("https://e.example"), &of(OTHER))),
        "https://e.example"
    );
    assert_eq!(named(flaw(&incomplete, &of(OTHER))), OTHER);
    assert_eq!(named(flaw(&of(OTHER), &incomplete)), OTHER);
    assert_eq!(flaw(&incomplete, &twice), MetadataFlaw::NoTokenEndpoint);
    assert_eq!(flaw(&twice, &incomplete), MetadataFlaw::Malformed);
}

#[test]
fn the_cache_is_empty_where_the_host_switches_it_off() {
    let mut host = begun(config().metadata_cache(MetadataCache::Off), "Bearer");
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    assert!(host.store.of_kind("metadata").is_empty());
}

/// A client that acts for itself: what it reads is kept.
fn service(config: ConfigBuilder) -> ConfigBuilder {
    let client = PreRegistered::new("service").secret("s3cret");
    config.pre_registered(AS, client).client_credentials()
}

/// Metadata for a client with a secret.
fn for_service(metadata: &str) -> String {
    metadata.replace("none", "client_secret_post")
}

/// A service on this store that requests a token.
fn wanted_on(config: ConfigBuilder, store: Store) -> Host {
    let now = mcp_auth_testing::moment(1_800_000_000_000, 1_000);
    let config = service(config).build().unwrap();
    let mut host = Host::resumed(Arc::new(config), store, now, 50);
    host.wanted("x");
    host
}

/// A store that holds both documents, and the names of their slots.
fn cached(config: ConfigBuilder, prm: &str, metadata: &str) -> (Store, String, String) {
    let mut host = wanted_on(config, Store::default());
    let names = |host: &Host| -> Vec<String> {
        let slots = host.store.slots.keys();
        slots
            .filter(|key| key.starts_with("metadata"))
            .cloned()
            .collect()
    };
    host.serve(PRM, 200, prm);
    let resource = names(&host).remove(0);
    host.serve(META, 200, &for_service(metadata));
    let server = names(&host).into_iter().find(|key| *key != resource);
    (std::mem::take(&mut host.store), resource, server.unwrap())
}

#[test]
fn a_cached_document_of_a_newer_version_stays_and_a_damaged_one_is_replaced() {
    for newer in [true, false] {
        let (mut store, resource, server) = cached(config(), &prm(), &metadata());
        let text = if newer { "v4.x.{}" } else { "v3.x.{}" };
        for key in [&resource, &server] {
            store.slots.get_mut(key).unwrap().contents = SlotContents::new(text);
        }
        let mut host = wanted_on(config(), store);
        host.serve(PRM, 200, &prm());
        host.serve(META, 200, &for_service(&metadata()));
        for key in [&resource, &server] {
            let stayed = host.store.slots[key].contents.expose() == text;
            assert_eq!(stayed, newer);
        }
    }
}

#[test]
fn a_cached_document_that_requires_bound_tokens_is_obeyed() {
    let required = prm().replace('}', r#","dpop_bound_access_tokens_required":true}"#);
    let able = dpop::with(DpopPolicy::IfSupported);
    let (store, ..) = cached(able, &required, &metadata_with(dpop::LISTED));
    let mut host = wanted_on(config(), store);
    assert_eq!(
        host.error().cause,
        Cause::Misconfigured(Misconfiguration::DpopRequired)
    );
    host.quiet();
}

#[test]
fn disc_20_disc_18_where_the_host_names_the_place_no_other_is_tried() {
    let place = "https://mcp.example/elsewhere";
    let config = || config().resource_metadata_url(place);
    let mut host = begun(config(), "Bearer");
    host.serve(place, 404, "");
    host.error();
    host.quiet();
    // After a refused token it is read there again.
    let mut host = begun(config(), "Bearer");
    host.serve(place, 200, &prm());
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &renewable("at-1", "rt-1"));
    host.ready();
    host.accepted("tools/call x");
    host.refused("Bearer");
    host.serve(place, 200, &prm());
}

/// Another challenge announces the well-known place while the first one is being read: it is tried in its turn.
#[test]
fn disc_11_a_challenge_during_the_search_hides_no_place() {
    let mut host = begun(
        config(),
        "Bearer resource_metadata=\"https://mcp.example/first\"",
    );
    let send = host.request();
    host.challenged(401, &[&announcing()]);
    host.handle(send.response(response(404, &[], "")));
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
}

/// The longest issuer leaves no room for a well-known path: the machine sends no request and reports why.
#[test]
fn sec_01_an_issuer_whose_places_are_too_long_is_refused() {
    let long = format!("{OTHER}/{}", "i".repeat(8 * 1024 - OTHER.len() - 1));
    let mut host = begun(config(), "Bearer");
    host.serve(PRM, 200, &prm().replace(AS, &long));
    let Cause::Violation(Violation::PlaceRefused { flaw, .. }) = host.error().cause else {
        panic!()
    };
    assert_eq!(flaw, PlaceFlaw::Url(UrlFlaw::TooLong));
    host.quiet();
}
