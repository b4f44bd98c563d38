//! Protected resource metadata (DISC) and server metadata (META).

use mcp_auth_machine::config::{
    ConfigBuilder, Legacy, MetadataOrigin, PreRegistered, ResourceParameter, Strictness,
};
use mcp_auth_machine::error::{Cause, Misconfiguration, Next, PlaceFlaw, Violation};
use mcp_auth_machine::wire::json::MAX_BODY_BYTES;
use mcp_auth_machine::wire::resource::{canonical_identifier, covers};
use mcp_auth_machine::wire::text::Untrusted;
use mcp_auth_machine::wire::url::{UrlFlaw, UrlPolicy};
use mcp_auth_machine::wire::well_known::{resource_locations, server_locations};
use mcp_auth_machine::{Failure, MetadataFlaw};

use crate::support::*;

const ROOT_PRM: &str = "https://mcp.example/.well-known/oauth-protected-resource";

/// A host that has asked for the first document; announced or not.
fn asked(config: ConfigBuilder, challenge: &str) -> Host {
    let mut host = Host::new(config);
    host.ask(challenge);
    host
}

fn announced() -> Host {
    asked(config(), &announcing())
}

#[test]
fn disc_02_disc_04_disc_05_disc_06_worked_locations() {
    let rows: &[(&str, &[&str])] = &[
        ("https://h/a/b?x", &["/a/b?x", "/a/b", ""]),
        ("https://h/mcp", &["/mcp", ""]),
        ("https://h/a/b/", &["/a/b/", "/a/b", ""]),
        ("https://h", &[""]),
        ("https://h/", &[""]),
        ("https://h/?x", &["?x", ""]),
    ];
    for (mcp_url, tails) in rows {
        let (_, url) = UrlPolicy::for_mcp_url(mcp_url).unwrap();
        let found: Vec<_> = resource_locations(&url).collect();
        let wanted: Vec<_> = tails
            .iter()
            .map(|tail| {
                format!("https://h/.well-known/oauth-protected-resource{tail}").into_boxed_str()
            })
            .collect();
        assert_eq!(found, wanted, "{mcp_url}");
    }
    let (_, url) = UrlPolicy::for_mcp_url("https://H:8443/mcp#f").unwrap();
    let first = resource_locations(&url).next().unwrap();
    assert_eq!(
        &*first,
        "https://h:8443/.well-known/oauth-protected-resource/mcp"
    );
}

#[test]
fn disc_12_disc_13_quirk_20_worked_coverage() {
    let rows = [
        ("https://h/mcp", "https://h/mcp", true),
        ("https://h/mcp", "https://h", true),
        ("https://h/mcp", "https://h/", true),
        ("https://h/mcp", "https://H:443/mcp", true),
        ("https://h/mcp", "https://h/mcp/", false),
        ("https://h/mcp/", "https://h/mcp", true),
        ("https://h/mcp", "https://h/mc", false),
        ("https://h/mcp", "https://evil.example/mcp", false),
        ("https://h/mcp?k=v", "https://h/mcp", true),
        ("https://h/mcp?k=v", "https://h/mcp?k=w", false),
        ("https://h/a%2Fb", "https://h/a/b", false),
        ("https://h/a%2fb", "https://h/a%2Fb", true),
        ("https://h/%61/b", "https://h/a", true),
        ("https://h/api/v10", "https://h/api/v1", false),
        ("https://h/api/V1", "https://h/api/v1", false),
        ("https://h:8443/mcp", "https://h/mcp", false),
        ("https://h/mcp", "https://h/x/../mcp", true),
        ("https://h/mcp", "https://h/mcp/%2e%2e/other", false),
        ("https://h/mcp/../other", "https://h/mcp", false),
    ];
    for (mcp_url, resource, wanted) in rows {
        let (policy, url) = UrlPolicy::for_mcp_url(mcp_url).unwrap();
        assert_eq!(
            covers(resource, &url, &policy),
            Ok(wanted),
            "{resource} for {mcp_url}"
        );
    }
    let (policy, url) = UrlPolicy::for_mcp_url("https://h/mcp").unwrap();
    assert_eq!(covers("http://h/mcp", &url, &policy), Err(UrlFlaw::Scheme));
    assert_eq!(
        covers("https://h/mcp#f", &url, &policy),
        Err(UrlFlaw::Fragment)
    );
    assert_eq!(
        covers("https://u@h/mcp", &url, &policy),
        Err(UrlFlaw::UserInfo)
    );
    assert_eq!(covers("h/mcp", &url, &policy), Err(UrlFlaw::NotAbsolute));
}

#[test]
fn disc_01_disc_03_the_announced_place_comes_first_and_ends_the_search() {
    let mut host = announced();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    assert!(
        host.request()
            .request()
            .uri()
            .to_string()
            .ends_with("/register")
    );
}

#[test]
fn disc_07_meta_06_sec_12_requests_carry_nothing_of_the_user() {
    let mut host = announced();
    let request = host.serve(PRM, 200, &prm());
    let names: Vec<_> = request.headers().keys().map(|n| n.as_str()).collect();
    assert_eq!(
        (request.method().as_str(), names),
        ("GET", vec!["accept", "accept-encoding", "user-agent"])
    );
    assert_eq!(request.headers()["accept"], "application/json");
    let request = host.serve(META, 200, &metadata());
    let names: Vec<_> = request.headers().keys().map(|n| n.as_str()).collect();
    assert_eq!(
        (request.method().as_str(), names),
        ("GET", vec!["accept", "accept-encoding", "user-agent"])
    );
}

#[test]
fn disc_08_disc_09_quirk_15_absent_places_lead_on_to_the_next() {
    for (status, body) in [
        (404, ""),
        (400, "{}"),
        (401, ""),
        (403, "no"),
        (200, "<html>app</html>"),
        (200, "[1]"),
        (200, ""),
        (204, ""),
    ] {
        let mut host = announced();
        host.serve(PRM, status, body);
        host.serve(ROOT_PRM, 200, &prm());
        host.serve(META, 200, &metadata());
    }
}

#[test]
fn disc_09_leg_02_a_transient_answer_is_never_no_server() {
    for status in [408, 425, 429, 500, 502, 503] {
        let legacy = Legacy::On {
            resource: ResourceParameter::Send,
        };
        let mut host = asked(config().legacy(legacy), "Bearer");
        host.serve(PRM, status, "");
        host.serve(ROOT_PRM, 404, "");
        let failure = host.error();
        assert!(matches!(failure.cause, Cause::Unreachable(_)), "{status}");
        assert_eq!(failure.next(), Next::RetryLater(None));
        host.quiet();
    }
    let mut host = announced();
    let send = host.request();
    host.handle(send.never_sent());
    host.serve(ROOT_PRM, 404, "");
    assert!(matches!(host.error().cause, Cause::Unreachable(_)));
}

#[test]
fn disc_10_disc_11_a14_a_document_that_fails_ends_the_search() {
    let other =
        r#"{"resource":"https://evil.example/mcp","authorization_servers":["https://as.example"]}"#;
    for challenge in ["Bearer".to_owned(), announcing()] {
        let mut host = asked(config(), &challenge);
        host.serve(PRM, 200, other);
        let failure = host.error();
        assert!(matches!(
            failure.cause,
            Cause::Violation(Violation::OtherResource { .. })
        ));
        assert_eq!(failure.next(), Next::DoNotTrust);
        host.quiet();
    }
    // Without `resource`: invalid where announced, absent at a well-known place.
    let mut host = announced();
    host.serve(PRM, 200, "{}");
    assert_eq!(host.error().cause, Cause::Violation(Violation::NoResource));
    let mut host = asked(config(), "Bearer");
    host.serve(PRM, 200, "{}");
    host.serve(ROOT_PRM, 200, &prm());
}

#[test]
fn disc_14_strict_mode_wants_the_identifier_itself() {
    let strict = || config().strictness(Strictness::Strict);
    let document =
        |resource: &str| format!(r#"{{"resource":"{resource}","authorization_servers":["{AS}"]}}"#);
    for (resource, accepted) in [
        (MCP, true),
        ("https://mcp.example", false),
        ("https://MCP.example:443/mcp", false),
    ] {
        let mut host = asked(strict(), "Bearer");
        host.serve(PRM, 200, &document(resource));
        assert_eq!(
            matches!(host.next(), mcp_auth_machine::Action::SendRequest(_)),
            accepted
        );
    }
    let mut host = asked(strict(), "Bearer");
    host.serve(PRM, 404, "");
    host.serve(ROOT_PRM, 200, &document("https://mcp.example"));
    host.serve(META, 200, &metadata());
}

#[test]
fn disc_15_disc_17_quirk_28_entries_must_be_usable_issuers() {
    for servers in [
        "[]",
        "null",
        "\"https://as.example\"",
        "[1,{}]",
        r#"["http://as.example","ftp://as.example","as.example"]"#,
        r#"["https://as.example?x=1","https://as.example#f","https://u@as.example"]"#,
        r#"["https://AS.example","https://as.example/a/../b","https://10.0.0.1"]"#,
    ] {
        let mut host = announced();
        host.serve(
            PRM,
            200,
            &format!(r#"{{"resource":"{MCP}","authorization_servers":{servers}}}"#),
        );
        let failure = host.error();
        assert_eq!(
            failure.cause,
            Cause::Violation(Violation::NoAuthorizationServer),
            "{servers}"
        );
    }
    let mut host = announced();
    let body = format!(
        r#"{{"resource":"{MCP}","authorization_servers":["https://as.example"],"scopes_supported":"x","unknown":[1],"resource_name":null}}"#
    );
    host.serve(PRM, 200, &body);
    host.serve(META, 200, &metadata());
}

#[test]
fn disc_16_the_next_entry_only_after_an_absent_one() {
    let two =
        format!(r#"{{"resource":"{MCP}","authorization_servers":["https://x.example","{AS}"]}}"#);
    let locate = |host: &mut Host, status: u16| {
        host.serve(PRM, 200, &two);
        host.serve(
            "https://x.example/.well-known/oauth-authorization-server",
            status,
            "",
        );
        host.serve(
            "https://x.example/.well-known/openid-configuration",
            404,
            "",
        );
    };
    let mut host = announced();
    locate(&mut host, 404);
    host.serve(META, 200, &metadata());
    // A first sign-in passes over one that is down, or that cannot be used.
    let mut host = announced();
    locate(&mut host, 500);
    assert_eq!(host.reported("server_passed_over"), 1);
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
    assert_eq!(host.redirect().issuer.as_str(), AS);
    let x = "https://x.example";
    let x_meta = format!("{x}/.well-known/oauth-authorization-server");
    for unusable in [
        metadata_of(x, "").replace("S256", "plain"),
        metadata_of(x, "").replace("registration_endpoint", "x"),
    ] {
        let mut host = announced();
        host.serve(PRM, 200, &two);
        host.serve(&x_meta, 200, &unusable);
        host.serve(META, 200, &metadata());
        host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
        assert_eq!(host.redirect().issuer.as_str(), AS);
    }
    // Where none can be used, the first one is the reason.
    let mut host = announced();
    locate(&mut host, 500);
    host.serve(META, 404, "");
    host.serve(OPENID, 404, "");
    assert!(matches!(host.error().cause, Cause::Unreachable(_)));
    host.quiet();
    // An account does not move because its server is down.
    let mut host = Host::signed_in(config(), &token_answer("at-1"));
    let other_way = two.replace("https://x.example", AS);
    let other_way = other_way.replacen(&format!("\"{AS}\"]"), "\"https://x.example\"]", 1);
    host.authorize();
    host.serve(PRM, 200, &other_way);
    host.serve(META, 500, "");
    host.serve(OPENID, 404, "");
    assert!(matches!(host.error().cause, Cause::Unreachable(_)));
    host.quiet();
    // The host's own preference comes before document order.
    let mut host = asked(config().prefer_issuer(AS), &announcing());
    host.serve(PRM, 200, &two);
    host.serve(META, 200, &metadata());
}

#[test]
fn disc_16_a13_the_server_in_use_comes_first() {
    let mut host = Host::new(config());
    host.sign_in();
    host.accepted("tools/call x");
    host.challenged_for("tools/call x", 401, &[&announcing()], Some("Bearer at-1"));
    let two =
        format!(r#"{{"resource":"{MCP}","authorization_servers":["https://x.example","{AS}"]}}"#);
    host.serve(PRM, 200, &two);
    host.need_user();
    host.authorize();
    // The stored registration is used.
    host.serve(META, 200, &metadata());
    assert_eq!(host.redirect().issuer.as_str(), AS);
}

#[test]
fn disc_19_meta_18_documents_are_kept_for_their_time() {
    let client = PreRegistered::new("service").secret("s3cret");
    let mut host = Host::new(config().pre_registered(AS, client).client_credentials());
    let document = metadata().replace("none", "client_secret_post");
    host.wanted("x");
    host.serve_with(PRM, 200, &[("cache-control", "max-age=600")], &prm());
    host.serve_with(META, 200, &[("cache-control", "max-age=100")], &document);
    let answer = r#"{"access_token":"at-1","token_type":"Bearer","expires_in":101}"#;
    host.serve(TOKEN, 200, answer);
    host.ready();
    host.pass(101_000);
    host.wanted("x");
    // The resource's document is fresh, the server's is not.
    host.serve(META, 200, &document);
    host.serve(TOKEN, 200, answer);
    host.ready();
}

#[test]
fn disc_20_the_host_may_supply_a_step_and_the_rest_holds() {
    let mut host = asked(config().issuer(AS), "Bearer");
    host.serve(META, 200, &metadata_of("https://evil.example", ""));
    host.serve(OPENID, 404, "");
    assert!(matches!(
        host.error().cause,
        Cause::Violation(Violation::Metadata(_))
    ));
    let mut host = asked(config().server_metadata(AS, metadata()), "Bearer");
    host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
    assert_eq!(
        get(&query(host.redirect().url.as_str()), "resource").as_deref(),
        Some(MCP)
    );
    let lie = metadata_of("https://evil.example", "");
    let mut host = asked(config().server_metadata(AS, lie), "Bearer");
    assert!(matches!(
        host.error().cause,
        Cause::Violation(Violation::Metadata(_))
    ));
    let place = "https://mcp.example/elsewhere";
    let mut host = asked(config().resource_metadata_url(place), "Bearer");
    host.serve(place, 200, &prm());
    host.serve(META, 200, &metadata());
}

#[test]
fn disc_21_leg_01_no_metadata_anywhere_is_a_clear_end() {
    let mut host = asked(config(), "Bearer");
    host.serve(PRM, 404, "");
    host.serve(ROOT_PRM, 404, "");
    let failure = host.error();
    assert_eq!(
        failure.cause,
        Cause::Misconfigured(Misconfiguration::ServerUnknown)
    );
    assert_eq!(failure.next(), Next::FixConfiguration);
    host.quiet();
}

#[test]
fn disc_24_tokens_in_the_header_or_not_at_all() {
    let body =
        |more: &str| format!(r#"{{"resource":"{MCP}","authorization_servers":["{AS}"],{more}}}"#);
    let mut host = announced();
    host.serve(
        PRM,
        200,
        &body(r#""bearer_methods_supported":["query","body"]"#),
    );
    assert_eq!(
        host.error().cause,
        Cause::Violation(Violation::NoHeaderMethod)
    );
    // Names that are not defined say nothing.
    for methods in [r#"["authorization_header"]"#, "[]", r#"["body","header"]"#] {
        let mut host = announced();
        let document = body(&format!("\"bearer_methods_supported\":{methods}"));
        host.serve(PRM, 200, &document);
        host.serve(META, 200, &metadata());
    }
    let mut host = announced();
    host.serve(
        PRM,
        200,
        &body(r#""dpop_bound_access_tokens_required":true"#),
    );
    assert_eq!(
        host.error().cause,
        Cause::Misconfigured(Misconfiguration::DpopRequired)
    );
}

#[test]
fn meta_02_meta_03_meta_05_worked_candidates() {
    let rows: &[(&str, &[&str])] = &[
        (
            "https://as.example",
            &[
                "/.well-known/oauth-authorization-server",
                "/.well-known/openid-configuration",
            ],
        ),
        (
            "https://as.example/",
            &[
                "/.well-known/oauth-authorization-server",
                "/.well-known/openid-configuration",
            ],
        ),
        (
            "https://as.example/tenant1",
            &[
                "/.well-known/oauth-authorization-server/tenant1",
                "/.well-known/openid-configuration/tenant1",
                "/tenant1/.well-known/openid-configuration",
            ],
        ),
        (
            "https://as.example/tenant1/",
            &[
                "/.well-known/oauth-authorization-server/tenant1",
                "/.well-known/openid-configuration/tenant1",
                "/tenant1/.well-known/openid-configuration",
            ],
        ),
        (
            "https://as.example/a/b",
            &[
                "/.well-known/oauth-authorization-server/a/b",
                "/.well-known/openid-configuration/a/b",
                "/a/b/.well-known/openid-configuration",
            ],
        ),
    ];
    for (issuer, tails) in rows {
        let found: Vec<_> = server_locations(issuer).collect();
        let wanted: Vec<_> = tails
            .iter()
            .map(|tail| format!("https://as.example{tail}").into_boxed_str())
            .collect();
        assert_eq!(found, wanted, "{issuer}");
    }
}

/// Discovery with these documents at the two places of the issuer; how it ends.
fn with_metadata(config: ConfigBuilder, documents: &[(u16, &str)]) -> Result<Host, Failure> {
    let mut host = asked(config, &announcing());
    host.serve(PRM, 200, &prm());
    for ((status, body), place) in documents.iter().zip([META, OPENID]) {
        host.serve(place, *status, body);
    }
    match host.actions.front() {
        Some(mcp_auth_machine::Action::Error(_)) => Err(host.error()),
        _ => Ok(host),
    }
}

#[test]
fn meta_01_meta_07_meta_10_each_candidate_is_judged_on_its_own() {
    let lie = metadata_of("https://evil.example", "");
    assert!(with_metadata(config(), &[(404, ""), (200, &metadata())]).is_ok());
    assert!(with_metadata(config(), &[(200, "<html>"), (200, &metadata())]).is_ok());
    assert!(with_metadata(config(), &[(200, "{}"), (200, &metadata())]).is_ok());
    assert!(with_metadata(config(), &[(500, ""), (200, &metadata())]).is_ok());
    assert!(with_metadata(config(), &[(200, &lie), (200, &metadata())]).is_ok());
    let failure = with_metadata(config(), &[(500, ""), (404, "")])
        .err()
        .unwrap();
    assert!(matches!(failure.cause, Cause::Unreachable(_)));
    for rest in [
        (404, ""),
        (500, ""),
        (200, "{\"issuer\":\"https://as.example\"}"),
    ] {
        let failure = with_metadata(config(), &[(200, &lie), rest]).err().unwrap();
        let Cause::Violation(Violation::Metadata(MetadataFlaw::Issuer { expected, got })) =
            failure.cause
        else {
            panic!("{failure:?}")
        };
        assert_eq!(
            (expected.as_str(), got.as_plain()),
            (AS, "https://evil.example")
        );
    }
}

#[test]
fn meta_10_another_issuer_is_what_is_told_whatever_else_is_wrong() {
    let lie = metadata_of("https://evil.example", "");
    let flawed = metadata().replace("\"token_endpoint\"", "\"x\"");
    for documents in [
        [(200, &*lie), (200, &*flawed)],
        [(200, &flawed), (200, &lie)],
    ] {
        let failure = with_metadata(config(), &documents).err().unwrap();
        assert!(matches!(
            failure.cause,
            Cause::Violation(Violation::Metadata(MetadataFlaw::Issuer { .. }))
        ));
        assert!(!format!("{failure:?}").contains("evil.example/"));
    }
}

#[test]
fn meta_08_meta_09_a24_quirk_02_issuers_are_compared_as_bytes() {
    for named in [
        "https://as.example/tenant",
        "https://AS.example",
        "https://as.example:443",
        "https://as.example//",
        "https://as.exam\\u0070le.evil",
    ] {
        let document = metadata().replace(
            "\"issuer\":\"https://as.example\"",
            &format!("\"issuer\":\"{named}\""),
        );
        let failure = with_metadata(config(), &[(200, &document), (404, "")])
            .err()
            .unwrap();
        assert_eq!(failure.next(), Next::DoNotTrust, "{named}");
    }
    // JSON escapes are undone before.
    let escaped = metadata().replace(
        "\"issuer\":\"https://as.example\"",
        "\"issuer\":\"https:\\/\\/as.exam\\u0070le\"",
    );
    assert!(with_metadata(config(), &[(200, &escaped)]).is_ok());
}

#[test]
fn quirk_01_meta_11_one_slash_is_tolerated_named_and_off_in_strict_mode() {
    let slash = metadata().replace(
        "\"issuer\":\"https://as.example\"",
        "\"issuer\":\"https://as.example/\"",
    );
    let mut host = with_metadata(config(), &[(200, &slash)]).unwrap();
    assert_eq!(host.reported("slash_tolerated"), 1);
    host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
    // The document's own spelling counts from then on.
    assert_eq!(host.redirect().issuer.as_str(), "https://as.example/");
    let strict = config().strictness(Strictness::Strict);
    assert!(with_metadata(strict, &[(200, &slash), (404, "")]).is_err());
}

#[test]
fn quirk_02_a20_a_pin_names_the_expected_issuer_exactly() {
    let named = metadata_of("https://login.example", "");
    let pinned = || config().pin(AS, "https://login.example");
    let mut host = with_metadata(pinned(), &[(200, &named)]).unwrap();
    host.serve(
        "https://login.example/register",
        201,
        r#"{"client_id":"c"}"#,
    );
    let redirect = host.redirect();
    assert_eq!(redirect.issuer.as_str(), "https://login.example");
    // The pin holds on the callback too, errors included.
    host.callback(&format!(
        "error=access_denied&state={}&iss={AS}",
        state_of(&redirect)
    ));
    assert!(matches!(
        host.error().cause,
        Cause::Violation(Violation::Iss(_))
    ));
    assert!(with_metadata(pinned(), &[(200, &metadata()), (404, "")]).is_err());
}

#[test]
fn meta_12_d13_f01_f07_quirk_28_endpoints_must_be_acceptable() {
    for (member, value) in [
        ("token_endpoint", "http://as.example/token"),
        ("authorization_endpoint", "javascript:alert(1)"),
        ("authorization_endpoint", "https://as.example/a#f"),
        ("registration_endpoint", "https://user:pw@as.example/r"),
        ("token_endpoint", "https://169.254.169.254/token"),
        ("token_endpoint", "/token"),
    ] {
        let old = format!(
            "\"{member}\":\"{AS}/{}\"",
            member
                .trim_end_matches("_endpoint")
                .replace("registration", "register")
                .replace("authorization", "authorize")
        );
        let document = metadata().replace(&old, &format!("\"{member}\":\"{value}\""));
        assert!(document.contains(value));
        let failure = with_metadata(config(), &[(200, &document), (404, "")])
            .err()
            .unwrap();
        let Cause::Violation(Violation::Metadata(MetadataFlaw::Endpoint {
            member: found,
            got,
            ..
        })) = failure.cause
        else {
            panic!("{failure:?}")
        };
        assert_eq!((found, got.as_plain()), (member, value));
    }
    let missing = metadata().replace("\"token_endpoint\"", "\"other\"");
    let failure = with_metadata(config(), &[(200, &missing), (404, "")])
        .err()
        .unwrap();
    assert_eq!(
        failure.cause,
        Cause::Violation(Violation::Metadata(MetadataFlaw::NoTokenEndpoint))
    );
    let null = metadata().replace("\"https://as.example/authorize\"", "null");
    let failure = with_metadata(config(), &[(200, &null)]).err().unwrap();
    assert_eq!(
        failure.cause,
        Cause::Violation(Violation::NoAuthorizationEndpoint)
    );
}

#[test]
fn meta_14_a_list_without_our_value_is_refused() {
    let other_grant = metadata_with(r#","grant_types_supported":["client_credentials"]"#);
    let failure = with_metadata(config(), &[(200, &other_grant)])
        .err()
        .unwrap();
    assert_eq!(failure.cause, Cause::Violation(Violation::NoCodeGrant));
    let token_only = metadata().replace("[\"code\"]", "[\"token\"]");
    let failure = with_metadata(config(), &[(200, &token_only)])
        .err()
        .unwrap();
    assert_eq!(failure.cause, Cause::Violation(Violation::NoCodeGrant));
    let absent = metadata().replace("\"response_types_supported\":[\"code\"],", "");
    assert!(with_metadata(config(), &[(200, &absent)]).is_ok());
}

#[test]
fn meta_16_meta_04_a17_missing_endpoints_are_not_invented() {
    let failure = with_metadata(config(), &[(404, ""), (404, "")])
        .err()
        .unwrap();
    assert_eq!(failure.cause, Cause::Violation(Violation::NoServerMetadata));
}

#[test]
fn meta_17_one_issuer_is_configured_once() {
    let client = || mcp_auth_machine::config::PreRegistered::new("c");
    let twice = config()
        .pre_registered(AS, client())
        .pre_registered(AS, client())
        .build();
    assert!(matches!(
        twice,
        Err(mcp_auth_machine::config::ConfigError::Twice(_))
    ));
}

#[test]
fn meta_19_sec_14_g03_repeated_members_spoil_a_document() {
    let twice = metadata_with(r#","token_endpoint":"https://evil.example/token""#);
    let failure = with_metadata(config(), &[(200, &twice), (404, "")])
        .err()
        .unwrap();
    assert_eq!(
        failure.cause,
        Cause::Violation(Violation::Metadata(MetadataFlaw::Malformed))
    );
    let unknown_twice = metadata_with(r#","x":1,"x":2,"signed_metadata":"a.b.c""#);
    assert!(with_metadata(config(), &[(200, &unknown_twice)]).is_ok());
    let deep = metadata_with(&format!(r#","x":{}1{}"#, "[".repeat(40), "]".repeat(40)));
    assert!(with_metadata(config(), &[(200, &deep), (404, "")]).is_err());
    let mut host = announced();
    host.serve(
        PRM,
        200,
        &format!(r#"{{"resource":"{MCP}","resource":"{MCP}"}}"#),
    );
    assert_eq!(
        host.error().cause,
        Cause::Violation(Violation::ResourceMetadataMalformed)
    );
}

#[test]
fn sec_13_g01_larger_bodies_are_refused_not_cut() {
    let mut host = announced();
    assert_eq!(host.request().body_limit(), MAX_BODY_BYTES);
    let mut host = announced();
    let padded = format!("{}{}", prm(), " ".repeat(MAX_BODY_BYTES));
    host.serve(PRM, 200, &padded);
    host.serve(ROOT_PRM, 404, "");
    let too_large = not_used(PRM, PlaceFlaw::TooLarge);
    assert_eq!(host.error().cause, too_large);
    let mut host = announced();
    let send = host.request();
    host.handle(send.too_large());
    host.serve(ROOT_PRM, 404, "");
    assert_eq!(host.error().cause, too_large);
}

#[test]
fn sec_08_f06_redirects_stay_on_the_origin_and_are_few() {
    let mut host = announced();
    host.serve_with(PRM, 302, &[("location", "/moved")], "");
    host.serve("https://mcp.example/moved", 200, &prm());
    host.serve(META, 200, &metadata());
    for target in [
        "https://evil.example/p",
        "http://mcp.example/p",
        "https://mcp.example:444/p",
        "javascript:1",
    ] {
        let mut host = announced();
        host.serve_with(PRM, 307, &[("location", target)], "");
        host.serve(ROOT_PRM, 404, "");
        let elsewhere = PlaceFlaw::RedirectsElsewhere(Untrusted::new(target));
        let failure = host.error();
        assert_eq!(failure.cause, not_used(PRM, elsewhere), "{target}");
        // The server is not blamed for the redirect.
        assert_eq!(failure.next(), Next::FixConfiguration);
    }
    for (status, location) in [(302, None), (304, Some("/x"))] {
        let mut host = announced();
        let headers: Vec<_> = location.map(|to| ("location", to)).into_iter().collect();
        host.serve_with(PRM, status, &headers, "");
        host.serve(ROOT_PRM, 404, "");
        let nowhere = not_used(PRM, PlaceFlaw::RedirectsNowhere);
        assert_eq!(host.error().cause, nowhere, "{status}");
    }
    let mut host = announced();
    host.serve_with(PRM, 301, &[("location", "/1")], "");
    for hop in 1..=2 {
        let next = format!("/{}", hop + 1);
        host.serve_with(
            &format!("https://mcp.example/{hop}"),
            301,
            &[("location", &next)],
            "",
        );
    }
    host.serve_with("https://mcp.example/3", 301, &[("location", "/4")], "");
    host.serve(ROOT_PRM, 404, "");
    let often = not_used("https://mcp.example/3", PlaceFlaw::RedirectsTooOften);
    assert_eq!(host.error().cause, often);
}

/// A place of a document that is not used.
fn not_used(place: &str, flaw: PlaceFlaw) -> Cause {
    let place = Untrusted::new(place);
    Cause::Violation(Violation::PlaceRefused { place, flaw })
}

#[test]
fn sec_10_a15_other_origins_by_policy() {
    let elsewhere = "https://meta.example/prm";
    let challenge = format!("Bearer resource_metadata=\"{elsewhere}\"");
    let mut host = asked(config(), &challenge);
    host.serve(elsewhere, 200, &prm());
    host.serve(META, 200, &metadata());
    let mut host = asked(
        config().metadata_origin(MetadataOrigin::SameOrigin),
        &challenge,
    );
    host.serve(PRM, 200, &prm());
}

#[test]
fn sec_06_f05_a_blocked_address_is_a_refusal_and_not_an_absence() {
    let mut host = announced();
    let send = host.request();
    host.handle(send.blocked());
    host.serve(ROOT_PRM, 404, "");
    let refused = not_used(PRM, PlaceFlaw::Url(UrlFlaw::Resolved));
    assert_eq!(host.error().cause, refused);
}

#[test]
fn h07_an_answer_from_another_url_is_refused() {
    let mut host = announced();
    let send = host.request();
    let answer = response(200, &[], &prm());
    host.handle(send.response_from(answer, "https://evil.example/"));
    assert_eq!(host.error().cause, Cause::Violation(Violation::Redirected));
}

#[test]
fn res_05_worked_canonical_forms() {
    for (given, wanted) in [
        ("https://MCP.Example.com:443/", "https://mcp.example.com"),
        ("https://mcp.example.com/mcp", "https://mcp.example.com/mcp"),
        (
            "https://mcp.example.com/mcp/",
            "https://mcp.example.com/mcp/",
        ),
        (
            "https://mcp.example.com:8443/Server/mcp?x=1#f",
            "https://mcp.example.com:8443/Server/mcp",
        ),
    ] {
        let (_, url) = UrlPolicy::for_mcp_url(given).unwrap();
        assert_eq!(&*canonical_identifier(&url), wanted);
    }
    assert!(UrlPolicy::for_mcp_url("mcp.example.com").is_err());
}
