//! Challenges of a resource server that lies or is careless (1.E), beside `step_up` and `challenge`.

use mcp_auth_machine::Event;
use mcp_auth_machine::action::{Redirect, Why};
use mcp_auth_machine::config::{ConfigBuilder, RefreshTokens};
use mcp_auth_machine::error::{Cause, Refusal};
use mcp_auth_machine::event::Challenge;
use mcp_auth_machine::wire::challenge::MAX_CHALLENGES;

use super::*;

/// Signed away on first contact, with these scopes in the resource's document.
fn redirect_with(config: ConfigBuilder, scopes: &str, more: &str) -> Redirect {
    let mut host = Host::new(config);
    asked(&mut host);
    let document = prm().replace('}', &format!(r#","scopes_supported":[{scopes}]}}"#));
    host.serve(PRM, 200, &document);
    host.serve(META, 200, &metadata_with(more));
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    host.redirect()
}

#[test]
fn e05_a_hostile_header_is_read_to_its_end_and_the_first_whole_challenge_counts() {
    let mut lines: Vec<String> = [
        r#"Basic realm="a, Bearer scope=\"evil\", b""#,
        r#"Negotiate YII=, Bearer scope="one", scope="two", realm="x\"y", "#,
        r#",,, = , "unbalanced"#,
        r#"Bearer scope="three"#,
    ]
    .map(str::to_owned)
    .into();
    lines.extend((0..100).map(|n| format!(r#"Bearer realm="{n}", scope="late{n}""#)));
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let mut host = Host::new(config());
    host.challenged(401, &lines);
    assert_eq!(host.reported("challenge_parameters_dropped"), 1);
    host.need_user();
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    assert_eq!(host.redirect().scopes.as_str(), "");
    let mut headers = http::HeaderMap::new();
    for line in lines {
        headers.append("www-authenticate", line.parse().unwrap());
    }
    let parsed = mcp_auth_machine::wire::challenge::parse(&headers);
    assert!(parsed.challenges().len() <= MAX_CHALLENGES);
}

#[test]
fn e06_a_scope_is_one_value_of_one_parameter() {
    let mut host = Host::new(config());
    let scope = r"a&redirect_uri=https://evil.example/ b#c d%20e";
    host.ask(&format!(
        "Bearer scope=\"{scope}\", resource_metadata=\"{PRM}\""
    ));
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    let found = query(redirect.url.as_str());
    assert_eq!(get(&found, "redirect_uri").as_deref(), Some(REDIRECT));
    assert_eq!(get(&found, "scope").as_deref(), Some(scope));
    // Strings that are not valid scopes are dropped.
    let planted = redirect_with(config(), r#""a\"b","c\nd","e f","\u00e9","ok""#, "");
    assert_eq!(planted.scopes.as_str(), "ok");
}

#[test]
fn e07_offline_access_listed_by_the_resource_needs_the_server_and_the_host() {
    let listed = r#","scopes_supported":["offline_access"]"#;
    let planted = r#""a","offline_access""#;
    assert_eq!(redirect_with(config(), planted, "").scopes.as_str(), "a");
    assert_eq!(
        redirect_with(config(), r#""offline_access""#, "")
            .scopes
            .as_str(),
        ""
    );
    let granted = redirect_with(config(), planted, listed);
    assert_eq!(granted.scopes.as_str(), "a offline_access");
    let unwanted = config().refresh_tokens(RefreshTokens::NotWanted);
    assert_eq!(
        redirect_with(unwanted, planted, listed).scopes.as_str(),
        "a"
    );
}

#[test]
fn e09_a_403_that_asks_for_nothing_is_told_and_starts_nothing() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    let sent = host.token().unwrap();
    let challenge = Challenge::new("x", 403, http::HeaderMap::new()).sent(&sent);
    host.handle(Event::Challenged(challenge));
    assert_eq!(
        host.error().cause,
        Cause::Refused(Refusal::Forbidden { description: None })
    );
    host.quiet();
    assert_eq!(host.token(), Some(sent));
}

#[test]
fn e11_a_resource_cannot_open_browsers_without_end() {
    let mut host = Host::new(config());
    let mut redirects = 0;
    let mut refused = 0;
    for number in 0..60 {
        host.challenged_for(&format!("op {number}"), 401, &["Bearer"], None);
        while let Some(action) = host.actions.pop_front() {
            match action {
                Action::NeedUser(_) => host.authorize(),
                Action::SendRequest(send) => {
                    let url = send.request().uri().to_string();
                    let (status, text) = match url.as_str() {
                        PRM => (200, prm()),
                        META => (200, metadata()),
                        _ => (201, r#"{"client_id":"dyn-1"}"#.to_owned()),
                    };
                    host.handle(send.response(response(status, &[], &text)));
                }
                Action::Redirect(_) => {
                    redirects += 1;
                    host.handle(Event::Abandoned(Default::default()));
                }
                Action::Error(failure) => {
                    refused += u32::from(matches!(failure.cause, Cause::OutOfPatience(_)));
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(redirects, 12);
    assert!(refused >= 40, "{refused}");
    // Nine minutes later, still not; after ten, the user may.
    host.pass(9 * 60_000);
    host.challenged_for("soon", 401, &["Bearer"], None);
    host.need_user();
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    assert!(matches!(host.error().cause, Cause::OutOfPatience(_)));
    host.pass(2 * 60_000);
    host.challenged_for("later", 401, &["Bearer"], None);
    assert_eq!(host.need_user().why, Why::NoCredentials);
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.redirect();
}
