//! Servers of 2025-03-26, that publish no metadata of the resource (LEG).

use mcp_auth_machine::config::{ConfigBuilder, Legacy, PreRegistered, ResourceParameter};
use mcp_auth_machine::error::{Cause, Misconfiguration, Violation};
use mcp_auth_machine::{Config, Event};

use crate::support::*;

const BASE: &str = "https://old.example:8443";
const META: &str = "https://old.example:8443/.well-known/oauth-authorization-server";
const REGISTER: &str = "https://old.example:8443/register";
const CLIENT: &str = r#"{"client_id":"c"}"#;
const ROOT_PRM: &str = "https://mcp.example/.well-known/oauth-protected-resource";

fn on(resource: ResourceParameter) -> Legacy {
    Legacy::On { resource }
}

fn legacy(resource: ResourceParameter) -> ConfigBuilder {
    Config::builder("https://old.example:8443/v1/mcp?x", REDIRECT).legacy(on(resource))
}

/// Refused with this challenge; no place has metadata of the resource.
fn enter(config: ConfigBuilder, challenge: &str) -> Host {
    let mut host = Host::new(config);
    host.ask(challenge);
    for place in ["/v1/mcp?x", "/v1/mcp", ""] {
        let url = format!("{BASE}/.well-known/oauth-protected-resource{place}");
        host.serve(&url, 404, "");
    }
    host
}

fn entered() -> Host {
    enter(legacy(ResourceParameter::Send), "Bearer scope=\"a\"")
}

/// Checks that missing metadata fails, and that no legacy server is assumed.
#[track_caller]
fn nothing_is_assumed(mut host: Host) {
    host.serve(PRM, 404, "");
    host.serve(ROOT_PRM, 404, "");
    assert_eq!(
        host.error().cause,
        Cause::Misconfigured(Misconfiguration::ServerUnknown)
    );
    host.quiet();
}

#[test]
fn leg_03_leg_04_leg_05_metadata_is_asked_for_at_the_origin() {
    let mut host = entered();
    let request = host.serve(META, 200, &metadata_of(BASE, ""));
    assert_eq!(request.headers()["mcp-protocol-version"], "2025-03-26");
    host.serve(REGISTER, 201, CLIENT);
    assert_eq!(host.redirect().issuer.as_str(), BASE);
    // One slash more is tolerated, another issuer is not, and nothing else is asked.
    let mut host = entered();
    host.serve(
        META,
        200,
        &metadata_of(BASE, "").replacen(BASE, &format!("{BASE}/"), 1),
    );
    host.serve(REGISTER, 201, CLIENT);
    assert_eq!(host.redirect().issuer.as_str(), format!("{BASE}/"));
    let mut host = entered();
    host.serve(META, 200, &metadata_of("https://evil.example", ""));
    assert!(matches!(
        host.error().cause,
        Cause::Violation(Violation::Metadata(_))
    ));
    host.quiet();
}

#[test]
fn leg_06_leg_10_default_endpoints_only_where_metadata_is_absent() {
    let mut host = entered();
    host.serve(META, 404, "");
    host.serve(REGISTER, 201, CLIENT);
    let redirect = host.redirect();
    let url = redirect.url.as_str();
    assert!(url.starts_with(&format!("{BASE}/authorize?")), "{url}");
    assert_eq!(redirect.issuer.as_str(), BASE);
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(&format!("{BASE}/token"), 200, &token_answer("at-1"));
    assert_eq!(host.ready().issuer.as_str(), BASE);
    // Not readable just now: no defaults.
    let mut host = entered();
    host.serve(META, 503, "");
    assert!(matches!(host.error().cause, Cause::Unreachable(_)));
    host.quiet();
    // Published metadata is not completed by legacy defaults.
    let without = metadata_of(BASE, "").replace("\"registration_endpoint\"", "\"x\"");
    let mut host = entered();
    host.serve(META, 200, &without);
    assert!(matches!(
        host.error().cause,
        Cause::Misconfigured(Misconfiguration::NoClient { .. })
    ));
    host.quiet();
}

#[test]
fn leg_01_leg_06_published_metadata_only() {
    let published = |resource| {
        let legacy = Legacy::Published { resource };
        Config::builder("https://old.example:8443/v1/mcp?x", REDIRECT).legacy(legacy)
    };
    for (parameter, sent) in [
        (
            ResourceParameter::Send,
            Some("https://old.example:8443/v1/mcp"),
        ),
        (ResourceParameter::Omit, None),
    ] {
        let mut host = enter(published(parameter), "Bearer");
        host.serve(META, 200, &metadata_of(BASE, ""));
        host.serve(REGISTER, 201, CLIENT);
        let redirect = host.redirect();
        assert_eq!(redirect.issuer.as_str(), BASE);
        let asked = query(redirect.url.as_str());
        assert_eq!(get(&asked, "resource").as_deref(), sent);
    }
    // No endpoint is assumed.
    let mut host = enter(published(ResourceParameter::Send), "Bearer");
    host.serve(META, 404, "");
    let failure = host.error();
    assert_eq!(
        failure.cause,
        Cause::Misconfigured(Misconfiguration::ServerUnknown)
    );
    host.quiet();
    // Another issuer is rejected, and an answer that may pass is an error.
    let mut host = enter(published(ResourceParameter::Send), "Bearer");
    host.serve(META, 200, &metadata_of("https://evil.example", ""));
    assert!(matches!(
        host.error().cause,
        Cause::Violation(Violation::Metadata(_))
    ));
    host.quiet();
    let mut host = enter(published(ResourceParameter::Send), "Bearer");
    host.serve(META, 503, "");
    assert!(matches!(host.error().cause, Cause::Unreachable(_)));
    host.quiet();
}

#[test]
fn leg_07_pkce_and_state_hold_unchanged() {
    for (status, document) in [(404, String::new()), (200, metadata_of(BASE, ""))] {
        let mut host = entered();
        host.serve(META, status, &document);
        host.serve(REGISTER, 201, CLIENT);
        let redirect = host.redirect();
        let sent = query(redirect.url.as_str());
        assert_eq!(get(&sent, "code_challenge_method").as_deref(), Some("S256"));
        assert_eq!(get(&sent, "redirect_uri").as_deref(), Some(REDIRECT));
        host.callback("code=c&state=AAAAAAAAAAAAAAAAAAAAAA");
        host.quiet();
        host.callback(&format!("code=c&state={}", state_of(&redirect)));
        let form = body(&host.serve(&format!("{BASE}/token"), 200, &token_answer("at-1")));
        assert_eq!(get(&form, "code_verifier").unwrap().len(), 43);
    }
    // Metadata that does not promise S256 is refused here too.
    let mut host = entered();
    let silent = metadata_of(BASE, "").replace("code_challenge_methods_supported", "x");
    host.serve(META, 200, &silent);
    assert_eq!(host.error().cause, Cause::Violation(Violation::NoPkce));
    host.quiet();
}

#[test]
fn leg_08_leg_09_scopes_of_the_challenge_and_the_resource_unless_switched_off() {
    for (challenge, scope) in [("Bearer scope=\"a\"", Some("a")), ("Bearer", None)] {
        for (resource, sent) in [
            (
                ResourceParameter::Send,
                Some("https://old.example:8443/v1/mcp"),
            ),
            (ResourceParameter::Omit, None),
        ] {
            let mut host = enter(legacy(resource), challenge);
            host.serve(META, 404, "");
            host.serve(REGISTER, 201, CLIENT);
            let asked = query(host.redirect().url.as_str());
            assert_eq!(get(&asked, "scope").as_deref(), scope);
            assert_eq!(get(&asked, "resource").as_deref(), sent);
        }
    }
}

#[test]
fn iss_12_without_metadata_the_base_is_the_issuer() {
    for (iss, accepted) in [
        ("", true),
        ("&iss=https://old.example:8443", true),
        ("&iss=https://old.example:8443/", false),
        ("&iss=https://evil.example", false),
    ] {
        let mut host = entered();
        host.serve(META, 404, "");
        host.serve(REGISTER, 201, CLIENT);
        let redirect = host.redirect();
        host.callback(&format!("code=c&state={}{iss}", state_of(&redirect)));
        if accepted {
            host.serve(&format!("{BASE}/token"), 200, &token_answer("at-1"));
            host.ready();
        } else {
            assert!(matches!(
                host.error().cause,
                Cause::Violation(Violation::Iss(_))
            ));
        }
        host.quiet();
    }
}

/// A host that allows legacy servers and has asked for the first place.
fn asked(challenge: &str) -> Host {
    let mut host = Host::new(config().legacy(on(ResourceParameter::Send)));
    host.ask(challenge);
    host
}

#[test]
fn leg_02_sec_20_an_announced_document_rules_legacy_out() {
    let host = asked(&announcing());
    nothing_is_assumed(host);
}

#[test]
fn leg_02_a_document_that_is_invalid_or_refused_rules_legacy_out() {
    let mut host = asked("Bearer");
    host.serve(PRM, 200, &prm().replace(MCP, "https://evil.example/mcp"));
    assert!(matches!(
        host.error().cause,
        Cause::Violation(Violation::OtherResource { .. })
    ));
    host.quiet();
    let mut host = asked("Bearer");
    host.serve_with(PRM, 302, &[("location", "https://evil.example/")], "");
    host.serve(ROOT_PRM, 404, "");
    assert!(matches!(
        host.error().cause,
        Cause::Violation(Violation::PlaceRefused { .. })
    ));
    host.quiet();
}

#[test]
fn leg_02_a_server_that_had_metadata_once_does_not_become_a_legacy_one() {
    let mut host = asked("Bearer");
    host.serve(PRM, 200, &prm());
    host.serve(crate::support::META, 200, &metadata());
    host.serve(&format!("{AS}/register"), 201, CLIENT);
    host.redirect();
    host.handle(Event::Abandoned(Default::default()));
    host.error();
    host.pass(2 * 3_600_000);
    host.authorize();
    nothing_is_assumed(host);
}

#[test]
fn substitutes_for_resource_metadata_are_not_cached() {
    let mut host = entered();
    host.serve(META, 200, &metadata_of(BASE, ""));
    host.serve(REGISTER, 201, CLIENT);
    host.redirect();
    assert!(host.store.of_kind("metadata").is_empty());
}

#[test]
fn a_legacy_server_stays_one_for_the_next_authorization() {
    let mut host = entered();
    host.serve(META, 404, "");
    host.serve(REGISTER, 201, CLIENT);
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(&format!("{BASE}/token"), 200, &token_answer("at-1"));
    host.ready();
    host.pass(3_600_000);
    host.wanted("x");
    host.need_user();
    host.authorize();
    for place in ["/v1/mcp?x", "/v1/mcp", ""] {
        let url = format!("{BASE}/.well-known/oauth-protected-resource{place}");
        host.serve(&url, 404, "");
    }
    host.serve(META, 404, "");
    assert_eq!(host.redirect().issuer.as_str(), BASE);
}

#[test]
fn an_account_at_a_server_with_metadata_rules_legacy_out() {
    let mut host = Host::signed_in(config(), &token_answer("at-1"));
    let mut store = std::mem::take(&mut host.store);
    store.slots.retain(|key, _| key.starts_with("account"));
    let config = config().legacy(on(ResourceParameter::Send));
    let mut host = Host::resumed(config.build().unwrap().into(), store, host.now, 50);
    host.ready();
    host.authorize();
    nothing_is_assumed(host);
}

#[test]
fn meta_18_leg_06_metadata_that_a_server_never_had_is_not_in_doubt() {
    let client = PreRegistered::new("pre");
    for (status, document) in [(404, String::new()), (200, metadata_of(BASE, ""))] {
        let configured = legacy(ResourceParameter::Send).pre_registered(BASE, client.clone());
        let mut host = enter(configured, "Bearer");
        host.serve(META, status, &document);
        host.to_refresh(BASE);
        let url = format!("{BASE}/token");
        host.serve(&url, 401, r#"{"error":"invalid_client"}"#);
        host.renewal_refused();
        host.pass(60_000);
        host.wanted("x");
        host.serve(&url, 200, &renewable("at-2", "rt-2"));
        host.ready();
    }
}
