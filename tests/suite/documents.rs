//! Documents of both kinds: how many are asked for, how much of them is read, and what is passed over.

use bytes::Bytes;
use http::Response;
use mcp_auth_machine::budget::{Limited, REQUESTS_PER_FLOW};
use mcp_auth_machine::error::{Cause, Violation};
use mcp_auth_machine::wire::json::{JsonFlaw, MAX_BODY_BYTES, MAX_DEPTH, MAX_ITEMS};
use mcp_auth_machine::wire::resource::{ResourceDocument, covers};
use mcp_auth_machine::wire::server::ServerDocument;
use mcp_auth_machine::wire::token::MAX_TOKEN_BYTES;
use mcp_auth_machine::wire::url::UrlPolicy;
use mcp_auth_machine::{Action, Event};

use crate::support::*;

/// A host that has asked for the announced document.
fn announced() -> Host {
    let mut host = Host::new(config());
    host.ask(&announcing());
    host
}

/// Metadata of the resource that lists so many servers.
fn listing(servers: usize) -> String {
    let listed: Vec<String> = (0..servers)
        .map(|number| format!("\"https://s{number}.example/tenant\""))
        .collect();
    let listed = listed.join(",");
    format!(r#"{{"resource":"{MCP}","authorization_servers":[{listed}]}}"#)
}

#[test]
fn disc_16_sec_16_eight_servers_are_tried_at_most() {
    let mut host = announced();
    host.serve(PRM, 200, &listing(20));
    let (mut hosts, mut requests) = (std::collections::BTreeSet::new(), 1);
    while let Some(Action::SendRequest(send)) = host.actions.front() {
        hosts.insert(send.request().uri().host().unwrap().to_owned());
        requests += 1;
        let send = host.request();
        host.handle(send.response(response(404, &[], "")));
    }
    assert_eq!(
        host.error().cause,
        Cause::Violation(Violation::NoServerMetadata)
    );
    assert_eq!(hosts.len(), 8);
    assert!(requests <= usize::from(REQUESTS_PER_FLOW), "{requests}");
    assert_eq!(REQUESTS_PER_FLOW, 40);
}

#[test]
fn sec_15_the_part_without_a_person_ends_after_a_minute() {
    let mut host = announced();
    let send = host.request();
    assert_eq!(send.time_limit().as_secs(), 10);
    let begun = host.now.mono.0;
    host.pass(9_000);
    host.handle(send.response(response(200, &[], &listing(8))));
    while let Some(Action::SendRequest(_)) = host.actions.front() {
        let send = host.request();
        host.pass(9_000);
        host.handle(send.response(response(404, &[], "")));
    }
    assert_eq!(host.error().cause, Cause::OutOfPatience(Limited::FlowTime));
    assert!(host.now.mono.0 - begun < 70_000);
    host.quiet();
}

#[test]
fn disc_17_members_of_another_type_are_skipped_and_reported() {
    let document = format!(
        r#"{{"resource":"{MCP}","authorization_servers":["{AS}"],"scopes_supported":"a",
        "dpop_signing_alg_values_supported":"ES256","bearer_methods_supported":{{}},"resource_name":null,"x":[{{}}]}}"#
    );
    let mut host = announced();
    host.serve(PRM, 200, &document);
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
    let redirect = host.redirect();
    assert_eq!(get(&query(redirect.url.as_str()), "scope"), None);
    assert_eq!(host.reported("members_ignored"), 1);
    let shown = format!("{:?}", host.reports);
    for name in [
        "scopes_supported",
        "dpop_signing_alg_values_supported",
        "bearer_methods_supported",
    ] {
        assert!(shown.contains(name), "{name} in {shown}");
    }
    assert!(!shown.contains("resource_name"));
    // A valid document causes no report.
    let mut host = announced();
    host.serve(PRM, 200, &prm());
    assert_eq!(host.reported("members_ignored"), 0);
}

#[test]
fn members_of_another_type_are_skipped_whole() {
    for (member, value) in [
        ("resource_name", r#"["x",{}]"#),
        ("dpop_signing_alg_values_supported", r#"{"x":["ES256"]}"#),
        ("bearer_methods_supported", r#"{"body":["x"]}"#),
    ] {
        let more = format!(r#","{member}":{value}}}"#);
        let document = prm().replace('}', &more);
        let found = ResourceDocument::parse(document.as_bytes()).unwrap();
        assert_eq!(found.resource(), Some(MCP), "{member}");
        assert_eq!(found.resource_name(), None);
        assert!(!found.requires_dpop() && found.accepts_header());
        let mut host = announced();
        host.serve(PRM, 200, &document);
        assert_eq!(host.reported("members_ignored"), 1, "{member}");
        host.serve(
            META,
            200,
            &metadata_with(r#","grant_types_supported":{"x":1}"#),
        );
        host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
        host.redirect();
    }
}

#[test]
fn a_resource_may_have_a_name_to_show() {
    let named = |name: &str| prm().replace('}', &format!(r#","resource_name":{name}}}"#));
    let document = named(r#""Files of <b>Example</b>""#);
    let found = ResourceDocument::parse(document.as_bytes()).unwrap();
    let name = found.resource_name();
    assert_eq!(name, Some("Files of <b>Example</b>"));
    let document = named("\"\"");
    let found = ResourceDocument::parse(document.as_bytes()).unwrap();
    assert_eq!(found.resource_name(), None);
}

#[test]
fn disc_23_meta_19_signed_metadata_is_left_alone() {
    // {"iss":"https://evil.example","authorization_servers":["https://evil.example"], ...}
    let signed = r#","signed_metadata":"eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2V2aWwuZXhhbXBsZSIsImF1dGhvcml6YXRpb25fc2VydmVycyI6WyJodHRwczovL2V2aWwuZXhhbXBsZSJdfQ.""#;
    let mut host = announced();
    host.serve(PRM, 200, &prm().replace('}', &format!("{signed}}}")));
    host.serve(META, 200, &metadata_with(signed));
    host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
    assert_eq!(host.redirect().issuer.as_str(), AS);
}

#[test]
fn meta_04_an_issuer_with_a_path_has_three_places_and_no_root() {
    let mut host = announced();
    host.serve(PRM, 200, &listing(1));
    for place in [
        "/.well-known/oauth-authorization-server/tenant",
        "/.well-known/openid-configuration/tenant",
        "/tenant/.well-known/openid-configuration",
    ] {
        host.serve(&format!("https://s0.example{place}"), 404, "");
    }
    assert_eq!(
        host.error().cause,
        Cause::Violation(Violation::NoServerMetadata)
    );
    host.quiet();
}

#[test]
fn sec_14_a_byte_order_mark_is_ignored() {
    let mut host = announced();
    host.serve(PRM, 200, &format!("\u{feff}{}", prm()));
    host.serve(META, 200, &format!("\u{feff}{}", metadata()));
    host.serve(
        &format!("{AS}/register"),
        201,
        "\u{feff}{\"client_id\":\"c\"}",
    );
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let answer = format!("\u{feff}{}", token_answer("at-1"));
    host.serve(&format!("{AS}/token"), 200, &answer);
    host.ready();
}

#[test]
fn sec_14_utf_8_nesting_and_long_lists() {
    let document = |scopes: &str| {
        format!(
            r#"{{"resource":"{MCP}","authorization_servers":["{AS}"],"scopes_supported":[{scopes}]}}"#
        )
    };
    // Not UTF-8.
    let mut bytes = document("\"a\"").into_bytes();
    let at = bytes.iter().position(|byte| *byte == b'a').unwrap();
    bytes[at] = 0xFF;
    assert_eq!(
        ResourceDocument::parse(&bytes).unwrap_err(),
        JsonFlaw::NotAnObject
    );
    let mut host = announced();
    let send = host.request();
    host.handle(send.response(Response::new(Bytes::from(bytes))));
    assert!(
        host.request()
            .request()
            .uri()
            .path()
            .ends_with("/oauth-protected-resource")
    );
    // As deep as may be, and one deeper.
    for (depth, good) in [(MAX_DEPTH, true), (MAX_DEPTH + 1, false)] {
        let lists = depth - 1;
        let deep = format!(
            r#"{{"issuer":"{AS}","x":{}{}}}"#,
            "[".repeat(lists),
            "]".repeat(lists)
        );
        assert_eq!(
            ServerDocument::parse(deep.as_bytes()).is_ok(),
            good,
            "{depth}"
        );
    }
    assert_eq!(MAX_DEPTH, 32);
    // Brackets in a text are text.
    let text = format!(r#"{{"issuer":"{AS}","x":"{}"}}"#, "[".repeat(200));
    assert!(ServerDocument::parse(text.as_bytes()).is_ok());
    // Items beyond the limit are ignored.
    let long = "\"a\",".repeat(MAX_ITEMS);
    let long = document(&format!("{long}\"late\""));
    let found = ResourceDocument::parse(long.as_bytes()).unwrap();
    assert_eq!(found.scopes_supported().unwrap().as_str(), "a");
    assert_eq!(MAX_ITEMS, 256);
    // A member that is read twice, in either kind of document.
    let twice = format!(r#"{{"issuer":"{AS}","issuer":"{AS}"}}"#);
    assert_eq!(
        ServerDocument::parse(twice.as_bytes()).unwrap_err(),
        JsonFlaw::Malformed
    );
}

#[test]
fn res_07_upper_case_in_scheme_and_host_is_accepted() {
    let (policy, url) = UrlPolicy::for_mcp_url(MCP).unwrap();
    for resource in ["HTTPS://MCP.EXAMPLE/mcp", "Https://mcp.Example"] {
        assert_eq!(covers(resource, &url, &policy), Ok(true), "{resource}");
        let mut host = announced();
        host.serve(PRM, 200, &prm().replace(MCP, resource));
        host.serve(META, 200, &metadata());
        host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
        let sent = query(host.redirect().url.as_str());
        assert_eq!(get(&sent, "resource").as_deref(), Some(resource));
    }
    let (_, upper) = UrlPolicy::for_mcp_url("HTTPS://MCP.Example/mcp").unwrap();
    assert_eq!(covers(MCP, &upper, &policy), Ok(true));
}

#[test]
fn disc_20_a_server_that_the_host_names_must_promise_s256_too() {
    // The host names the server: the resource's own document is not needed, and PKCE is.
    let mut host = Host::new(config().issuer(AS));
    host.ask("Bearer");
    let silent = metadata().replace("code_challenge_methods_supported", "x");
    host.serve(META, 200, &silent);
    assert_eq!(host.error().cause, Cause::Violation(Violation::NoPkce));
    host.quiet();
    host.handle(Event::Timer);
    host.quiet();
}

#[test]
fn sec_13_answers_to_posts_have_the_same_limit() {
    let padding = " ".repeat(MAX_BODY_BYTES);
    let mut host = announced();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    let send = host.request();
    assert_eq!(send.body_limit(), 256 * 1024);
    let answer = format!(r#"{{"client_id":"c"}}{padding}"#);
    host.handle(send.response(response(201, &[], &answer)));
    assert_eq!(host.error().cause, Cause::Violation(Violation::TooLarge));
    host.quiet();
    for too_large in [false, true] {
        let mut host = Host::new(config());
        let redirect = host.to_redirect();
        host.callback(&format!("code=c&state={}", state_of(&redirect)));
        let send = host.request();
        assert_eq!(send.body_limit(), 256 * 1024);
        host.handle(if too_large {
            send.too_large()
        } else {
            let answer = format!("{}{padding}", token_answer("at-1"));
            send.response(response(200, &[], &answer))
        });
        assert_eq!(host.error().cause, Cause::Violation(Violation::TooLarge));
        assert_eq!(host.token(), None);
        host.quiet();
    }
}

#[test]
fn sec_16_no_configuration_lifts_the_limits() {
    // Eight servers with three places each; every place moves three times and is empty in the end.
    let mut host = Host::new(config().max_requests(200));
    host.ask(&announcing());
    host.serve(PRM, 200, &listing(8));
    let mut requests = 1;
    while let Some(Action::SendRequest(_)) = host.actions.front() {
        let send = host.request();
        requests += 1;
        let moved = format!("/{requests}");
        let status = if requests % 4 == 1 { 404 } else { 302 };
        host.handle(send.response(response(status, &[("location", &moved)], "")));
    }
    assert_eq!(host.error().cause, Cause::OutOfPatience(Limited::Requests));
    assert_eq!(requests, 40);
    host.quiet();
}

#[test]
fn step_07_no_configuration_allows_a_fourth_authorization() {
    let mut host = Host::new(config().step_ups_per_operation(9));
    for _ in 0..3 {
        host.ask(&announcing());
        while let Some(Action::SendRequest(send)) = host.actions.front() {
            let url = send.request().uri().to_string();
            let (status, text) = match url.as_str() {
                PRM => (200, prm()),
                META => (200, metadata()),
                _ => (201, r#"{"client_id":"c"}"#.to_owned()),
            };
            host.serve(&url, status, &text);
        }
        let state = state_of(&host.redirect());
        host.callback(&format!("error=server_error&state={state}"));
        host.error();
    }
    host.challenged(401, &["Bearer"]);
    let wanted = Cause::OutOfPatience(Limited::Authorizations);
    assert_eq!(host.error().cause, wanted);
    host.quiet();
}

/// A new process on what the other one stored, some hours later.
fn hours_later(host: &mut Host, config: mcp_auth_machine::config::ConfigBuilder) -> Host {
    let (mut now, seeds) = (host.now, host.seeds);
    now = mcp_auth_testing::moment(now.wall.0 + 3 * 3_600_000, now.mono.0 + 3 * 3_600_000);
    let config = std::sync::Arc::new(config.build().unwrap());
    Host::resumed(config, std::mem::take(&mut host.store), now, seeds)
}

#[test]
fn disc_16_an_entry_with_a_registration_comes_before_the_others() {
    let mut first = Host::new(config());
    first.to_redirect();
    let mut later = hours_later(&mut first, config());
    later.ask(&announcing());
    let three = format!(r#"["https://x.example","https://y.example","{AS}"]"#);
    later.serve(PRM, 200, &prm().replace(&format!("[\"{AS}\"]"), &three));
    later.serve(META, 200, &metadata());
    assert_eq!(&*later.redirect().client_id, "dyn-1");
}

#[test]
fn meta_08_a_document_that_is_kept_is_held_to_what_is_expected_now() {
    let mut first = Host::new(config());
    first.discover(&prm(), &metadata());
    // The host knows better meanwhile: the entry's document must name another issuer.
    let pinned = config().pin(AS, "https://login.example");
    let (now, seeds) = (first.now, first.seeds);
    let pinned = std::sync::Arc::new(pinned.build().unwrap());
    let mut later = Host::resumed(pinned, std::mem::take(&mut first.store), now, seeds);
    later.ask(&announcing());
    later.serve(PRM, 200, &prm());
    later.serve(META, 200, &metadata_of("https://login.example", ""));
    later.serve(
        "https://login.example/register",
        201,
        r#"{"client_id":"c"}"#,
    );
    assert_eq!(later.redirect().issuer.as_str(), "https://login.example");
}

#[test]
fn sec_13_a_token_or_secret_that_is_too_long_is_an_error() {
    for (length, good) in [(MAX_TOKEN_BYTES, true), (MAX_TOKEN_BYTES + 1, false)] {
        let long = "a".repeat(length);
        let mut host = Host::new(config());
        let redirect = host.to_redirect();
        host.callback(&format!("code=c&state={}", state_of(&redirect)));
        host.serve(TOKEN, 200, &renewable("at-1", &long));
        assert_eq!(matches!(host.next(), Action::Ready(_)), good, "{length}");
        assert_eq!(host.token().is_some(), good);
        let mut host = Host::new(config());
        host.discover(&prm(), &metadata());
        let answer = format!(r#"{{"client_id":"c","client_secret":"{long}"}}"#);
        host.serve(REGISTER, 201, &answer);
        assert_eq!(matches!(host.next(), Action::Redirect(_)), good, "{length}");
    }
    assert_eq!(MAX_TOKEN_BYTES, 64 * 1024);
}

#[test]
fn server_metadata_that_the_host_brings_along_does_not_age() {
    let mut host = Host::new(config().server_metadata(AS, metadata()));
    host.authorize();
    host.serve("https://as.example/register", 201, r#"{"client_id":"c"}"#);
    let redirect = host.redirect();
    host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
    host.serve("https://as.example/token", 200, &renewable("at-1", "rt-1"));
    host.ready();
    host.pass(48 * 3_600_000);
    host.wanted("x");
    host.serve("https://as.example/token", 200, &renewable("at-2", "rt-2"));
    host.ready();
}
