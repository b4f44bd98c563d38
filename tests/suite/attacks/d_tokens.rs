//! Responses of a token endpoint (1.D).

use mcp_auth_machine::Event;
use mcp_auth_machine::action::{SendRequest, Why};
use mcp_auth_machine::error::{Cause, Violation};
use mcp_auth_machine::wire::token::UnexpectedToken;

use super::*;

/// A host with an expired token, ready to send the refresh request.
fn over() -> Host {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    host.pass(HOUR);
    host.wanted("tools/call x");
    host.serve(META, 200, &metadata());
    host
}

#[test]
fn d06_scopes_that_nobody_asked_for_are_not_believed_against_a_challenge() {
    let mut host = Host::new(config());
    let challenge = format!("Bearer scope=\"a\", resource_metadata=\"{PRM}\"");
    host.ask(&challenge);
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    assert_eq!(redirect.scopes.as_str(), "a");
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let wide =
        r#"{"access_token":"at-1","token_type":"Bearer","scope":"a admin","refresh_token":"rt-1"}"#;
    host.serve(TOKEN, 200, wide);
    assert_eq!(host.ready().scopes.as_str(), "a admin");
    host.accepted("tools/call x");
    let sent = host.token();
    let lacks = "Bearer error=\"insufficient_scope\", scope=\"admin\"";
    host.challenged_for("tools/call x", 403, &[lacks], sent.as_deref());
    let Why::ScopeMissing { scopes, .. } = host.need_user().why else {
        panic!()
    };
    assert_eq!(scopes.as_str(), "admin");
}

#[test]
fn d07_only_the_kind_of_token_that_was_asked_for_is_taken() {
    for kind in [
        r#""mac""#,
        r#""DPoP""#,
        r#""N_A""#,
        r#""Bearer ""#,
        r#""bearer,DPoP""#,
    ] {
        let answer = format!(r#"{{"access_token":"evil","token_type":{kind}}}"#);
        let mut host = over();
        host.serve(TOKEN, 200, &answer);
        let cause = host.renewal_refused();
        let flaw = Violation::Token(UnexpectedToken::TokenType);
        assert_eq!(cause, Cause::Violation(flaw), "{kind}");
        host.quiet();
        assert!(account(&host).contains("rt-1") && !account(&host).contains("evil"));
    }
}

#[test]
fn d11_only_a_refused_grant_ends_a_refresh_token() {
    let transient: [fn(SendRequest) -> Event; 7] = [
        |send| send.never_sent(),
        |send| send.maybe_sent(),
        |send| send.response(response(500, &[], "")),
        |send| send.response(response(502, &[], "<html>")),
        |send| send.response(response(503, &[], "")),
        |send| send.response(response(429, &[], "")),
        |send| send.response(response(400, &[], r#"{"error":"temporarily_unavailable"}"#)),
    ];
    for answer in transient {
        let mut host = over();
        let mut sent = 0;
        while requests(&host) > 0 {
            let send = host.request();
            host.handle(answer(send));
            sent += 1;
            if host.actions.is_empty() {
                host.wake();
            }
        }
        assert!((2..=3).contains(&sent), "{sent}");
        assert!(matches!(host.error().cause, Cause::Unreachable(_)));
        assert!(account(&host).contains("rt-1"));
        host.pass(5 * 60_000);
        host.wanted("x");
        host.serve(META, 200, &metadata());
        host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
        host.ready();
    }
    let mut host = over();
    host.serve(TOKEN, 400, r#"{"error":"invalid_grant"}"#);
    assert_eq!(host.need_user().why, Why::TokenOver);
    assert!(!account(&host).contains("rt-1"));
}

#[test]
fn d10_an_error_is_an_error_whatever_the_status_and_a_page_is_no_token() {
    for status in [200, 400, 401] {
        let mut host = over();
        host.serve(
            TOKEN,
            status,
            r#"{"error":"invalid_grant","access_token":"evil"}"#,
        );
        assert_eq!(host.need_user().why, Why::TokenOver, "{status}");
        assert_eq!(host.token(), None);
    }
    let mut host = over();
    host.serve(TOKEN, 400, "<html>invalid_grant</html>");
    assert!(matches!(host.need_user().why, Why::RenewalRefused { .. }));
    assert!(account(&host).contains("rt-1"));
}

#[test]
fn d14_one_spelling_of_the_resource_from_the_redirect_to_the_refresh() {
    for resource in [
        "https://mcp.example",
        "https://mcp.example/",
        "https://MCP.example/mcp",
    ] {
        let document = prm().replace(MCP, resource);
        let mut host = Host::new(config());
        host.discover(&document, &metadata());
        host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
        let redirect = host.redirect();
        let asked_for = query(redirect.url.as_str());
        assert_eq!(get(&asked_for, "resource").as_deref(), Some(resource));
        host.callback(&format!("code=c&state={}", state_of(&redirect)));
        let form = body(&host.serve(TOKEN, 200, &renewable("at-1", "rt-1")));
        assert_eq!(get(&form, "resource").as_deref(), Some(resource));
        host.ready();
        host.accepted("tools/call x");
        // Spelled in another way by now: the grant is for what it was asked for.
        host.refused("Bearer");
        host.serve(PRM, 200, &prm());
        host.serve(META, 200, &metadata());
        let form = body(&host.serve(TOKEN, 200, &renewable("at-2", "rt-2")));
        assert_eq!(get(&form, "resource").as_deref(), Some(resource));
        host.ready();
    }
}

#[test]
fn d15_a_refresh_is_no_way_to_more_scopes() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    for number in 0..2 {
        let sent = host.token();
        let lacks = format!("Bearer error=\"insufficient_scope\", scope=\"s{number}\"");
        host.challenged_for("tools/call x", 403, &[&lacks], sent.as_deref());
        assert!(matches!(host.need_user().why, Why::ScopeMissing { .. }));
        host.quiet();
        host.authorize();
        host.serve(PRM, 200, &prm());
        let redirect = host.redirect();
        assert!(redirect.scopes.contains(&format!("s{number}")));
        host.callback(&format!("code=c&state={}", state_of(&redirect)));
        let answer = renewable(&format!("at-{number}x"), "rt");
        let form = body(&host.serve(TOKEN, 200, &answer));
        let grant = get(&form, "grant_type");
        assert_eq!(grant.as_deref(), Some("authorization_code"));
        host.ready();
    }
}

#[test]
fn d16_a_token_cannot_bring_a_header() {
    for token in [
        "x\\r\\nHost: evil",
        "x\\n",
        "a b",
        "\\u00fc",
        "\\u0000",
        "\\u007f",
        "a\\tb",
    ] {
        let answer = format!(r#"{{"access_token":"{token}","token_type":"Bearer"}}"#);
        let mut host = over();
        host.serve(TOKEN, 200, &answer);
        let flaw = Violation::Token(UnexpectedToken::TokenText);
        assert_eq!(host.renewal_refused(), Cause::Violation(flaw), "{token}");
        assert_eq!(host.token(), None);
    }
    let huge = format!(
        r#"{{"access_token":"{}","token_type":"Bearer"}}"#,
        "t".repeat(1 << 20)
    );
    let mut host = over();
    host.serve(TOKEN, 200, &huge);
    assert_eq!(
        host.renewal_refused(),
        Cause::Violation(Violation::TooLarge)
    );
    // Names of errors come from the peer as well.
    let mut host = over();
    host.serve(TOKEN, 400, r#"{"error":"x\r\nHost: evil"}"#);
    let Why::RenewalRefused { cause } = host.need_user().why else {
        panic!()
    };
    let code = cause.details().error.unwrap();
    assert_eq!(code.as_plain(), "xHost: evil");
}
