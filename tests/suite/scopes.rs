//! Which scopes are asked for (SCOPE, STEP-02, REG-24).

use mcp_auth_machine::action::{Redirect, Why};
use mcp_auth_machine::config::{ConfigBuilder, DynamicRegistration, RefreshTokens};
use mcp_auth_machine::error::{Cause, Refusal};

use super::request::{discovered, flow};
use crate::support::*;

const OFFLINE: &str = r#","scopes_supported":["openid","offline_access"]"#;

fn scope_of(
    config: ConfigBuilder,
    scope: Option<&str>,
    prm_more: &str,
    metadata: &str,
) -> Option<String> {
    asked(&flow(config, scope, prm_more, metadata).unwrap().1)
}

#[test]
fn scope_01_scope_02_scope_03_scope_05_where_scopes_come_from() {
    let listed = r#","scopes_supported":["x","y"]"#;
    assert_eq!(
        scope_of(config(), Some("a"), listed, &metadata()).as_deref(),
        Some("a")
    );
    assert_eq!(
        scope_of(config(), None, listed, &metadata()).as_deref(),
        Some("x y")
    );
    for undefined in [
        "",
        r#","scopes_supported":null"#,
        r#","scopes_supported":[]"#,
        r#","scopes_supported":"x""#,
    ] {
        assert_eq!(
            scope_of(config(), None, undefined, &metadata_with(OFFLINE)),
            None,
            "{undefined}"
        );
    }
    assert_eq!(scope_of(config(), Some(""), "", &metadata()), None);
}

#[test]
fn scope_04_the_host_replaces_the_set() {
    let listed = r#","scopes_supported":["x","y"]"#;
    assert_eq!(
        scope_of(config().scopes("h"), Some("a"), listed, &metadata()).as_deref(),
        Some("h")
    );
}

#[test]
fn scope_06_scope_07_scope_08_scope_10_quirk_09_offline_access() {
    let with = |config, scope| scope_of(config, scope, "", &metadata_with(OFFLINE));
    assert_eq!(
        with(config(), Some("a")).as_deref(),
        Some("a offline_access")
    );
    assert_eq!(
        with(config(), Some("offline_access a")).as_deref(),
        Some("offline_access a")
    );
    assert_eq!(with(config(), None), None);
    assert_eq!(
        with(config().refresh_tokens(RefreshTokens::NotWanted), Some("a")).as_deref(),
        Some("a")
    );
    assert_eq!(
        scope_of(config(), Some("a"), "", &metadata()).as_deref(),
        Some("a")
    );
    let (_, redirect) = flow(config(), Some("a"), "", &metadata_with(OFFLINE)).unwrap();
    assert_eq!(get(&query(redirect.url.as_str()), "prompt"), None);
}

#[test]
fn quirk_30_offline_access_is_given_up_once_refused() {
    let (mut host, redirect) = flow(config(), Some("a"), "", &metadata_with(OFFLINE)).unwrap();
    host.callback(&format!(
        "error=invalid_scope&state={}",
        state_of(&redirect)
    ));
    assert_eq!(host.need_user().why, Why::OfflineAccessRefused);
    host.authorize();
    host.serve(PRM, 200, &prm());
    let redirect = host.redirect();
    assert_eq!(redirect.scopes.as_str(), "a");
    host.callback(&format!(
        "error=invalid_scope&state={}",
        state_of(&redirect)
    ));
    assert!(matches!(
        host.error().cause,
        Cause::Refused(Refusal::OAuth { .. })
    ));
}

#[test]
fn scope_11_scope_12_requested_and_granted_are_kept_apart() {
    for (answer, granted) in [
        ("", "b a"),
        (r#","scope":"a""#, "a"),
        (r#","scope":"a z""#, "a z"),
    ] {
        let (mut host, redirect) = flow(config(), Some("b  a b"), "", &metadata()).unwrap();
        assert_eq!(redirect.scopes.as_str(), "b a");
        host.callback(&format!("code=x&state={}", state_of(&redirect)));
        let body = format!(r#"{{"access_token":"t","token_type":"bearer"{answer}}}"#);
        host.serve(TOKEN, 200, &body);
        assert_eq!(host.ready().scopes.as_str(), granted);
        let stored = host.store.of_kind("account")[0]
            .contents
            .expose()
            .to_owned();
        assert!(stored.contains(r#""requested":"b a""#));
        assert!(stored.contains(&format!(r#""granted":"{granted}""#)));
    }
}

#[test]
fn step_02_e03_a_step_up_asks_for_the_union() {
    let (mut host, redirect) = flow(config(), Some("a b"), "", &metadata()).unwrap();
    host.callback(&format!("code=x&state={}", state_of(&redirect)));
    host.serve(
        TOKEN,
        200,
        r#"{"access_token":"t","token_type":"Bearer","scope":"a d"}"#,
    );
    host.ready();
    let challenge = r#"Bearer error="insufficient_scope", scope="c a""#;
    host.challenged_for("tools/call x", 403, &[challenge], Some("Bearer t"));
    assert!(matches!(host.need_user().why, Why::ScopeMissing { .. }));
    // The token stays until another one is there.
    assert_eq!(host.token().as_deref(), Some("Bearer t"));
    host.authorize();
    host.serve(PRM, 200, &prm());
    assert_eq!(host.redirect().scopes.as_str(), "a b d c");
}

const LISTED: &str = r#","scopes_supported":["a","b","c"]"#;

/// Registered with this answer at a resource that lists `a b c`; with other scopes in the challenge perhaps.
fn registered(challenged: Option<&str>, metadata: &str, answer: &str) -> Host {
    let mut host = discovered(config(), challenged, LISTED, &metadata_with(metadata));
    host.serve(REGISTER, 201, answer);
    host
}

fn asked(redirect: &Redirect) -> Option<String> {
    get(&query(redirect.url.as_str()), "scope")
}

#[test]
fn reg_24_what_the_resource_lists_is_asked_for_as_far_as_it_is_registered() {
    for (scope, wanted) in [
        (r#""c z a""#, Some("a c")),
        (r#""A""#, None),
        (r#""a b c""#, Some("a b c")),
        // These say nothing.
        ("null", Some("a b c")),
        (r#""""#, Some("a b c")),
        (r#"" ""#, Some("a b c")),
        ("[\"a\"]", Some("a b c")),
    ] {
        let answer = format!(r#"{{"client_id":"c","scope":{scope}}}"#);
        let redirect = registered(None, "", &answer).redirect();
        assert_eq!(asked(&redirect).as_deref(), wanted, "{scope}");
    }
}

#[test]
fn reg_24_reg_22_also_after_a_registration_that_may_not_name_scopes() {
    let mut host = discovered(config(), None, LISTED, &metadata());
    host.serve(REGISTER, 400, r#"{"error":"invalid_client_metadata"}"#);
    let request = host.serve(REGISTER, 201, r#"{"client_id":"c","scope":"a"}"#);
    assert!(!String::from_utf8_lossy(request.body()).contains("scope"));
    assert_eq!(asked(&host.redirect()).as_deref(), Some("a"));
}

#[test]
fn reg_24_a_registration_for_one_resource_does_not_narrow_another() {
    let mut host = registered(None, "", r#"{"client_id":"c","scope":"a b"}"#);
    assert_eq!(asked(&host.redirect()).as_deref(), Some("a b"));
    let other = "https://other.example/mcp";
    let place = "https://other.example/.well-known/oauth-protected-resource/mcp";
    let config = mcp_auth_machine::Config::builder(other, REDIRECT);
    let config = config.dynamic_registration(DynamicRegistration::Always);
    let config = std::sync::Arc::new(config.build().unwrap());
    let mut second = Host::on(config, std::mem::take(&mut host.store));
    second.seeds = 9;
    second.ask("Bearer");
    let listed = prm()
        .replace(MCP, other)
        .replace('}', r#","scopes_supported":["x","c"]}"#);
    second.serve(place, 200, &listed);
    // The same client; `c` was left out for it, `x` was never in question.
    assert_eq!(asked(&second.redirect()).as_deref(), Some("x"));
}

#[test]
fn reg_24_scope_03_what_the_challenge_demands_is_asked_for_all_the_same() {
    let answer = r#"{"client_id":"c","scope":"a"}"#;
    let redirect = registered(Some("b a"), "", answer).redirect();
    assert_eq!(asked(&redirect).as_deref(), Some("b a"));
}

#[test]
fn reg_24_scope_06_offline_access_is_added_where_it_is_registered() {
    for (scope, wanted) in [
        ("a", "a"),
        ("a offline_access", "a offline_access"),
        ("offline_access a b", "a b offline_access"),
    ] {
        let answer = format!(r#"{{"client_id":"c","scope":"{scope}"}}"#);
        let redirect = registered(None, OFFLINE, &answer).redirect();
        assert_eq!(asked(&redirect).as_deref(), Some(wanted));
    }
}

#[test]
fn reg_24_what_was_registered_is_known_after_a_restart() {
    let mut host = registered(None, "", r#"{"client_id":"c","scope":"b"}"#);
    assert_eq!(asked(&host.redirect()).as_deref(), Some("b"));
    let config = std::sync::Arc::new(config().build().unwrap());
    let mut later = Host::on(config, std::mem::take(&mut host.store));
    later.seeds = 9;
    later.ask(&announcing());
    later.serve(PRM, 200, &prm().replace('}', &format!("{LISTED}}}")));
    assert_eq!(asked(&later.redirect()).as_deref(), Some("b"));
}
