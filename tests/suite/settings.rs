//! The host's settings, and their effect on requests.

use mcp_auth_machine::config::{
    ApplicationType, Config, ConfigError, IssuerSettings, MetadataCache, PreRegistered,
};
use mcp_auth_machine::event::Authorization;
use mcp_auth_machine::wire::scopes::Scopes;
use serde_json::{Value, json};

use crate::support::*;

/// The registration request of a client.
fn registration(config: mcp_auth_machine::config::ConfigBuilder) -> Value {
    let mut host = Host::new(config);
    host.discover(&prm(), &metadata());
    let send = host.request();
    assert_eq!(*send.request().uri(), REGISTER);
    serde_json::from_slice(send.request().body()).unwrap()
}

#[test]
fn descriptive_metadata_of_the_client_is_registered() {
    let body = registration(
        config()
            .client_name("Notes")
            .client_uri("https://notes.example/about")
            .software_id("4f9c"),
    );
    assert_eq!(body["client_name"], "Notes");
    assert_eq!(body["client_uri"], "https://notes.example/about");
    assert_eq!(body["software_id"], "4f9c");
    let plain = registration(config());
    assert_eq!(plain.get("client_uri"), None);
    assert_eq!(plain.get("software_id"), None);
}

#[test]
fn the_type_of_application_follows_the_redirect_uri_unless_it_is_set() {
    let of = |config| registration(config)["application_type"].clone();
    assert_eq!(of(config()), "native");
    assert_eq!(of(config().application_type(ApplicationType::Web)), "web");
    let app = "com.example.notes:/callback";
    let body = registration(config().private_use_redirect_uri(app));
    assert_eq!(body["redirect_uris"], json!([app]));
    assert_eq!(body["application_type"], "native");
}

#[test]
fn scopes_that_the_host_names_are_the_ones_requested() {
    let mut host = Host::new(config());
    let challenge = format!("Bearer scope=\"read\", resource_metadata=\"{PRM}\"");
    host.challenged(401, &[&challenge]);
    host.need_user();
    let seed = host.next_seed();
    host.authorize_with(
        Authorization::new(seed).scopes(Scopes::new("files:write files:read").unwrap()),
    );
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    let asked = get(&query(redirect.url.as_str()), "scope").unwrap();
    assert_eq!(asked, "files:write files:read");
}

#[test]
fn without_a_cache_every_attempt_reads_the_documents() {
    let mut host = Host::new(config().metadata_cache(MetadataCache::Off));
    host.to_redirect();
    assert!(host.store.of_kind("metadata").is_empty());
    host.handle(mcp_auth_machine::Event::Abandoned(
        mcp_auth_machine::event::Abandon::Cancelled,
    ));
    host.error();
    host.authorize();
    host.serve(PRM, 200, &prm());
}

#[test]
fn settings_that_cannot_hold_are_refused_at_once() {
    let flaw = |config: mcp_auth_machine::config::ConfigBuilder| config.build().unwrap_err();
    let client = PreRegistered::new("pre");
    assert!(matches!(
        flaw(config().pre_registered("http://as.example", client.clone())),
        ConfigError::Issuer { issuer, .. } if issuer == "http://as.example"
    ));
    assert_eq!(
        flaw(config().pre_registered(AS, PreRegistered::new(""))),
        ConfigError::ClientId
    );
    let twice = config().pre_registered(AS, client.clone());
    assert_eq!(
        flaw(twice.pre_registered(AS, client.clone())),
        ConfigError::Twice(AS.into())
    );
    let settings = config().issuer_settings(AS, IssuerSettings::new());
    assert_eq!(
        flaw(settings.issuer_settings(AS, IssuerSettings::new())),
        ConfigError::Twice(AS.into())
    );
    let bound_and_not = config().pre_registered(AS, client.clone());
    assert_eq!(
        flaw(bound_and_not.pre_registered_unbound(client)),
        ConfigError::UnboundClient
    );
    assert!(
        Config::builder("ftp://mcp.example", REDIRECT)
            .build()
            .is_err()
    );
}
