//! Which scopes are asked for (SCOPE, STEP-02, REG-24).

use mcp_auth_machine::action::{Redirect, Why};
use mcp_auth_machine::config::{ConfigBuilder, DynamicRegistration, PreRegistered, RefreshTokens};
use mcp_auth_machine::error::{Cause, Refusal};
use mcp_auth_machine::event::Authorization;
use mcp_auth_machine::wire::scopes::Scopes;

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

/// The `scope` of a registration request.
fn scopes_registered(request: &http::Request<bytes::Bytes>) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
    body["scope"].as_str().map(str::to_owned)
}

#[test]
fn scope_04_the_host_replaces_the_set() {
    let listed = r#","scopes_supported":["x","y"]"#;
    assert_eq!(
        scope_of(config().scopes("h"), None, listed, &metadata()).as_deref(),
        Some("h")
    );
    // For one authorization also what is challenged.
    let mut host = Host::new(config());
    host.challenged(
        401,
        &[&format!("Bearer resource_metadata=\"{PRM}\", scope=\"a\"")],
    );
    host.need_user();
    let seed = host.next_seed();
    host.authorize_with(Authorization::from(seed).scopes(Scopes::new("only").unwrap()));
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
    assert_eq!(asked(&host.redirect()).as_deref(), Some("only"));
}

#[test]
fn scope_03_step_02_configured_scopes_are_the_base_of_challenged_ones() {
    let base = config().scopes("h");
    assert_eq!(
        scope_of(base.clone(), Some("a"), "", &metadata()).as_deref(),
        Some("h a")
    );
    // A step-up asks for what is missing, and ends after one authorization.
    let (mut host, redirect) = flow(base, None, "", &metadata()).unwrap();
    host.callback(&format!("code=x&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, r#"{"access_token":"t","token_type":"Bearer"}"#);
    host.ready();
    let challenge = r#"Bearer error="insufficient_scope", scope="b""#;
    host.challenged_for("tools/call x", 403, &[challenge], Some("Bearer t"));
    host.need_user();
    host.authorize();
    host.serve(PRM, 200, &prm());
    assert_eq!(host.redirect().scopes.as_str(), "h b");
}

/// The step-up of a server that binds clients to the scopes of their registration.
#[test]
fn reg_22_reg_24_quirk_25_a_scope_outside_the_registration_is_registered_first() {
    let challenge = format!("Bearer resource_metadata=\"{PRM}\", scope=\"read\"");
    let mut host = Host::new(config());
    host.ask(&challenge);
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"one","scope":"read"}"#);
    let redirect = host.redirect();
    host.callback(&format!("code=x&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, r#"{"access_token":"t","token_type":"Bearer"}"#);
    host.ready();
    let lacks = r#"Bearer error="insufficient_scope", scope="write""#;
    host.challenged_for("tools/call x", 403, &[lacks], Some("Bearer t"));
    host.need_user();
    host.authorize();
    host.serve(PRM, 200, &prm());
    let request = host.serve(REGISTER, 201, r#"{"client_id":"two","scope":"read write"}"#);
    assert_eq!(scopes_registered(&request).as_deref(), Some("read write"));
    let redirect = host.redirect();
    assert_eq!(&*redirect.client_id, "two");
    assert_eq!(redirect.scopes.as_str(), "read write");
    // The other client's token stays valid until the new one is stored (STEP-05).
    assert_eq!(host.token().as_deref(), Some("Bearer t"));
}

#[test]
fn reg_22_a_client_is_registered_for_every_scope_that_is_known() {
    let listed = r#","scopes_supported":["read","write","offline_access"]"#;
    let mut host = discovered(config().scopes("base"), Some("read"), listed, &metadata());
    let request = host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
    assert_eq!(
        scopes_registered(&request).as_deref(),
        Some("base read write")
    );
    // Only the needed scopes are requested (SCOPE-04).
    assert_eq!(asked(&host.redirect()).as_deref(), Some("base read"));
}

/// The registration answer says nothing of scopes, and the authorization endpoint refuses.
#[test]
fn reg_22_quirk_25_after_invalid_scope_the_client_is_registered_for_them_once() {
    let answer = |host: &mut Host, redirect: &Redirect| {
        host.callback(&format!("error=invalid_scope&state={}", state_of(redirect)));
    };
    let (mut host, redirect) = flow(config(), Some("read"), "", &metadata()).unwrap();
    host.callback(&format!("code=x&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, r#"{"access_token":"t","token_type":"Bearer"}"#);
    host.ready();
    let lacks = r#"Bearer error="insufficient_scope", scope="write""#;
    host.challenged_for("tools/call x", 403, &[lacks], Some("Bearer t"));
    host.need_user();
    host.authorize();
    host.serve(PRM, 200, &prm());
    let redirect = host.redirect();
    assert_eq!(redirect.scopes.as_str(), "read write");
    answer(&mut host, &redirect);
    let Why::ScopesRefused { scopes } = host.need_user().why else {
        panic!()
    };
    assert_eq!(scopes.as_str(), "write read");
    assert_eq!(host.token().as_deref(), Some("Bearer t"));
    host.authorize();
    host.serve(PRM, 200, &prm());
    let request = host.serve(REGISTER, 201, r#"{"client_id":"two"}"#);
    assert_eq!(scopes_registered(&request).as_deref(), Some("read write"));
    let redirect = host.redirect();
    assert_eq!(redirect.scopes.as_str(), "read write");
    answer(&mut host, &redirect);
    assert!(matches!(
        host.error().cause,
        Cause::Refused(Refusal::OAuth { .. })
    ));
    host.quiet();
}

/// A configured client cannot be registered for more: what only earlier requests needed is left out.
#[test]
fn step_02_after_invalid_scope_what_earlier_requests_needed_is_left_out_once() {
    let pre = config().pre_registered(AS, PreRegistered::new("pre"));
    let (mut host, redirect) = flow(pre, Some("old"), "", &metadata()).unwrap();
    host.callback(&format!("code=x&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, r#"{"access_token":"t","token_type":"Bearer"}"#);
    host.ready();
    let lacks = r#"Bearer error="insufficient_scope", scope="new""#;
    host.challenged_for("tools/call x", 403, &[lacks], Some("Bearer t"));
    for wanted in ["old new", "new"] {
        host.need_user();
        host.authorize();
        host.serve(PRM, 200, &prm());
        let redirect = host.redirect();
        assert_eq!(redirect.scopes.as_str(), wanted);
        host.callback(&format!(
            "error=invalid_scope&state={}",
            state_of(&redirect)
        ));
    }
    assert!(matches!(
        host.error().cause,
        Cause::Refused(Refusal::OAuth { .. })
    ));
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
        let stored = spelled_out(host.store.of_kind("account")[0].contents.expose());
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
    // `d` was granted and not asked for: perhaps the server refuses it in a request.
    assert_eq!(host.redirect().scopes.as_str(), "a b c");
}

#[test]
fn step_02_dis_20_default_scopes_are_not_lost_in_a_step_up() {
    let (mut host, redirect) = flow(config(), None, "", &metadata()).unwrap();
    assert_eq!(redirect.scopes.as_str(), "");
    host.callback(&format!("code=x&state={}", state_of(&redirect)));
    host.serve(
        TOKEN,
        200,
        r#"{"access_token":"t","token_type":"Bearer","scope":"default"}"#,
    );
    host.ready();
    let challenge = r#"Bearer error="insufficient_scope", scope="c""#;
    host.challenged_for("tools/call x", 403, &[challenge], Some("Bearer t"));
    host.need_user();
    host.authorize();
    host.serve(PRM, 200, &prm());
    assert_eq!(host.redirect().scopes.as_str(), "default c");
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
fn reg_24_scopes_that_the_resource_lists_are_requested_if_registered() {
    for (scope, wanted) in [
        (r#""c z a""#, Some("a c")),
        (r#""A""#, None),
        (r#""a b c""#, Some("a b c")),
        // Values without information.
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
fn reg_24_reg_22_a_registration_for_one_resource_is_widened_for_another() {
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
    // `c` was left out on purpose; `x` was never in question, and the server names what it registered.
    let request = second.serve(REGISTER, 201, r#"{"client_id":"d","scope":"a b x"}"#);
    assert_eq!(scopes_registered(&request).as_deref(), Some("x c a b"));
    let redirect = second.redirect();
    assert_eq!(&*redirect.client_id, "d");
    assert_eq!(asked(&redirect).as_deref(), Some("x"));
}

#[test]
fn reg_24_scope_03_challenged_scopes_are_requested_even_if_not_registered() {
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
fn reg_24_registered_scopes_are_known_after_a_restart() {
    let mut host = registered(None, "", r#"{"client_id":"c","scope":"b"}"#);
    assert_eq!(asked(&host.redirect()).as_deref(), Some("b"));
    let config = std::sync::Arc::new(config().build().unwrap());
    let mut later = Host::on(config, std::mem::take(&mut host.store));
    later.seeds = 9;
    later.ask(&announcing());
    later.serve(PRM, 200, &prm().replace('}', &format!("{LISTED}}}")));
    assert_eq!(asked(&later.redirect()).as_deref(), Some("b"));
}
