//! Renewing a token (REFR, USE-08 to USE-11, the refresh column of 11.4).

use std::sync::Arc;

use mcp_auth_machine::action::{Purpose, Why};
use mcp_auth_machine::config::{DynamicRegistration, IssuerSettings, PreRegistered, RefreshScopes};
use mcp_auth_machine::error::{Cause, Next, Refusal, Stage, Violation};
use mcp_auth_machine::event::Abandon;
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_machine::wire::token::{OAuthError, UnexpectedToken};
use mcp_auth_machine::{Action, Event};

use crate::support::*;

const HOUR: u64 = 3_600_000;

fn signed_in() -> Host {
    Host::signed_in(config(), &renewable("at-1", "rt-1"))
}

/// A host with an expired token that an operation needs, ready to send the refresh request.
fn over() -> Host {
    let mut host = signed_in();
    host.pass(HOUR);
    host.wanted("tools/call x");
    host.serve(META, 200, &metadata());
    host
}

/// A signed-in account with two scopes, whose token has expired.
pub fn with_scopes() -> Host {
    let mut host = Host::signed_in_by(
        config(),
        &format!("Bearer resource_metadata=\"{PRM}\", scope=\"a b\""),
        &renewable("at-1", "rt-1"),
    );
    host.pass(HOUR);
    host.wanted("x");
    host.serve(META, 200, &metadata());
    host
}

fn account(host: &Host) -> String {
    spelled_out(host.store.of_kind("account")[0].contents.expose())
}

#[test]
fn refr_01_refr_02_refr_03_res_04_d14_s31_the_request() {
    let mut host = over();
    let send = host.request();
    assert_eq!(send.purpose(), Purpose::Token);
    assert_eq!(send.request().uri().to_string(), TOKEN);
    let form = body(send.request());
    let names: Vec<&str> = form.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["grant_type", "refresh_token", "resource", "client_id"]
    );
    assert_eq!(get(&form, "grant_type").as_deref(), Some("refresh_token"));
    assert_eq!(get(&form, "refresh_token").as_deref(), Some("rt-1"));
    assert_eq!(get(&form, "resource").as_deref(), Some(MCP));
    assert_eq!(get(&form, "client_id").as_deref(), Some("dyn-1"));
}

#[test]
fn refr_02_the_client_authenticates_as_it_did() {
    let client = PreRegistered::new("pre").secret("secret");
    let mut host = Host::new(config().pre_registered(AS, client));
    let document = metadata().replace("[\"none\"]", "[\"client_secret_basic\"]");
    host.discover(&prm(), &document);
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let first = host.serve(TOKEN, 200, &renewable("at-1", "rt-1"));
    host.ready();
    host.pass(HOUR);
    host.wanted("x");
    host.serve(META, 200, &document);
    let second = host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    assert!(first.headers().contains_key("authorization"));
    assert_eq!(
        first.headers()["authorization"],
        second.headers()["authorization"]
    );
}

#[test]
fn refr_04_tok_16_a_rotated_token_replaces_the_old_one_before_it_is_used() {
    let mut host = over();
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    assert_eq!(host.ready().issuer.as_str(), AS);
    host.quiet();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
    assert!(account(&host).contains("rt-2") && !account(&host).contains("rt-1"));
    assert!(!account(&host).contains(r#""lease""#));
    assert_eq!(host.reported("token_refreshed"), 1);
}

#[test]
fn refr_04_d05_d06_members_omitted_from_the_response_keep_their_values() {
    let mut host = Host::new(config());
    host.ask(&format!(
        "Bearer scope=\"a b\", resource_metadata=\"{PRM}\""
    ));
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &renewable("at-1", "rt-1"));
    host.ready();
    host.accepted("tools/call x");
    host.pass(HOUR);
    host.wanted("x");
    host.serve(META, 200, &metadata());
    host.serve(TOKEN, 200, &token_answer("at-2"));
    assert_eq!(host.ready().scopes.as_str(), "a b");
    assert!(account(&host).contains("rt-1"));
    // Narrowed: as granted.
    host.pass(HOUR);
    host.wanted("x");
    host.serve(META, 200, &metadata());
    host.serve(
        TOKEN,
        200,
        r#"{"access_token":"at-3","token_type":"Bearer","scope":"a"}"#,
    );
    assert_eq!(host.ready().scopes.as_str(), "a");
}

#[test]
fn use_10_a_token_is_renewed_before_its_end() {
    // (lifetime, seconds after which it is still used, seconds after which it is renewed)
    for (lifetime, fresh, due) in [(3_600, 3_539, 3_540), (300, 269, 270), (10, 8, 9)] {
        let answer = renewable_for("at-1", "rt-1", &lifetime.to_string());
        let mut host = Host::signed_in(config(), &answer);
        host.pass(fresh * 1_000);
        host.wanted("x");
        host.ready();
        host.quiet();
        host.pass((due - fresh) * 1_000);
        host.wanted("x");
        host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
        host.ready();
        assert_eq!(host.token().as_deref(), Some("Bearer at-2"), "{lifetime}");
    }
    // Without a refresh token, the access token is used until it expires.
    let mut host = Host::signed_in(config(), &token_answer("at-1"));
    host.pass(HOUR - 1);
    host.wanted("x");
    host.ready();
    host.pass(1);
    host.wanted("x");
    assert_eq!(host.need_user().why, Why::TokenOver);
}

#[test]
fn tok_13_d08_lifetimes_of_every_spelling_end_in_bounds() {
    for (expires_in, used_for) in [
        ("null", u64::MAX),
        ("-1", u64::MAX),
        ("\"3600\"", HOUR),
        ("3600.9", HOUR),
        ("1e20", u64::MAX),
        ("18446744073709551616", 10 * 365 * 24 * HOUR),
    ] {
        let answer = renewable_for("at-1", "rt-1", expires_in);
        let mut host = Host::signed_in(config(), &answer);
        let mut at = |millis: u64| {
            let now = mcp_auth_testing::moment(
                host.now.wall.0.saturating_add(millis),
                host.now.mono.0.saturating_add(millis),
            );
            host.machine.bearer(now, MCP).is_ok()
        };
        assert!(at(used_for.saturating_sub(1)), "{expires_in}");
        assert!(used_for == u64::MAX || !at(used_for), "{expires_in}");
    }
    // Zero: once, then one refresh for each use, and no storm.
    let mut host = Host::signed_in(config(), &renewable_for("at-1", "rt-1", "0"));
    for number in 2..5 {
        host.wanted("x");
        host.ready();
        assert!(host.token().is_some());
        assert_eq!(host.token(), None);
        host.wanted("x");
        let answer = renewable_for(&format!("at-{number}"), &format!("rt-{number}"), "0");
        host.serve(TOKEN, 200, &answer);
        host.ready();
        host.quiet();
    }
}

#[test]
fn d09_s30_sec_35_clocks_that_jump_never_lengthen_a_life() {
    // The wall clock goes back: the monotonic one ends the token in time, by one refresh.
    let mut host = signed_in();
    host.now = mcp_auth_testing::moment(host.now.wall.0 - 10 * HOUR, host.now.mono.0 + HOUR);
    assert_eq!(host.token(), None);
    host.wanted("x");
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
    host.wanted("x");
    host.ready();
    host.quiet();
    // The wall clock jumps ahead, as after suspend: one refresh at most.
    let mut host = signed_in();
    host.now = mcp_auth_testing::moment(host.now.wall.0 + 24 * HOUR, host.now.mono.0);
    assert_eq!(host.token(), None);
    host.wanted("x");
    host.serve(META, 200, &metadata());
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
    assert!(host.token().is_some());
}

/// A token that was received while the clock was ahead: its end is unknown.
#[test]
fn sec_35_a_receipt_in_the_future_is_no_reason_to_trust() {
    let mut first = signed_in();
    let (wall, mono) = (first.now.wall.0, first.now.mono.0);
    let store = std::mem::take(&mut first.store);
    let resumed = |back: u64, store| {
        let now = mcp_auth_testing::moment(wall - back, mono);
        Host::resumed(
            std::sync::Arc::new(config().build().unwrap()),
            store,
            now,
            90,
        )
    };
    let mut host = resumed(30_000, store);
    host.ready();
    let store = std::mem::take(&mut host.store);
    let mut host = resumed(10 * HOUR, store);
    assert_eq!(host.token(), None);
    host.wanted("x");
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
}

#[test]
fn refr_11_meta_08_the_server_is_asked_about_itself_when_its_document_is_old() {
    // Fresh: no question.
    let mut host = Host::signed_in(config(), &renewable_for("at-1", "rt-1", "600"));
    host.pass(600_000);
    host.wanted("x");
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
    // Another issuer's document: nothing is sent, nothing is lost.
    let mut host = signed_in();
    host.pass(HOUR);
    host.wanted("x");
    host.serve(META, 200, &metadata_of("https://evil.example", ""));
    host.serve(
        "https://as.example/.well-known/openid-configuration",
        404,
        "",
    );
    assert!(matches!(
        host.error().cause,
        Cause::Violation(Violation::Metadata(_))
    ));
    host.quiet();
    assert!(account(&host).contains("rt-1"));
}

/// Ahead of the token's end a document that breaks a rule costs nothing yet.
#[test]
fn refr_07_refr_11_a_refresh_ahead_of_time_leaves_the_token_whatever_the_document_says() {
    let mut host = Host::signed_in(config(), &renewable_for("at-1", "rt-1", "7200"));
    host.pass(2 * HOUR - 50_000);
    host.wanted("x");
    host.serve(META, 200, &metadata_of("https://evil.example", ""));
    host.serve(OPENID, 404, "");
    host.ready();
    host.quiet();
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
}

/// One read of the server's metadata answers all operations that wait.
#[test]
fn use_11_refr_11_a_storm_at_a_token_endpoint_that_moved_reads_the_metadata_once() {
    let mut host = signed_in();
    host.pass(HOUR);
    for operation in ["x", "y", "z"] {
        host.wanted(operation);
    }
    let moved = metadata().replace(
        "https://as.example/token",
        "https://elsewhere.example/token",
    );
    host.serve(META, 200, &moved);
    for _ in 0..3 {
        assert!(matches!(host.need_user().why, Why::RenewalRefused { .. }));
    }
    host.quiet();
}

#[test]
fn a22_a17_the_token_endpoint_stays_or_nothing_is_sent() {
    // The same issuer names another origin now.
    let mut host = signed_in();
    host.pass(HOUR);
    host.wanted("x");
    let moved = metadata().replace(
        "https://as.example/token",
        "https://elsewhere.example/token",
    );
    host.serve(META, 200, &moved);
    let Why::RenewalRefused { cause } = host.need_user().why else {
        panic!()
    };
    assert_eq!(*cause, Cause::Violation(Violation::TokenEndpointMoved));
    host.quiet();
    // An authorization reads both documents, and its tokens go to the new endpoint alone.
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &moved);
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let form = body(&host.serve(
        "https://elsewhere.example/token",
        200,
        &renewable("at-2", "rt-2"),
    ));
    assert_eq!(get(&form, "refresh_token"), None);
    host.ready();
    // Another path on the same origin is followed.
    let mut host = signed_in();
    host.pass(HOUR);
    host.wanted("x");
    let other = metadata().replace("https://as.example/token", "https://as.example/v2/token");
    host.serve(META, 200, &other);
    host.serve(
        "https://as.example/v2/token",
        200,
        &renewable("at-2", "rt-2"),
    );
    host.ready();
    // No answer: the endpoints that are known.
    for status in [404, 500] {
        let mut host = signed_in();
        host.pass(HOUR);
        host.wanted("x");
        host.serve(META, status, "");
        host.serve(
            "https://as.example/.well-known/openid-configuration",
            status,
            "",
        );
        host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
        host.ready();
    }
}

#[test]
fn refr_06_s20_d11_only_a_refused_grant_ends_it() {
    let mut host = over();
    host.serve(TOKEN, 400, r#"{"error":"invalid_grant"}"#);
    assert_eq!(host.need_user().why, Why::TokenOver);
    host.quiet();
    assert!(!account(&host).contains(r#""tokens""#));
    // The client and the scopes stay for the next authorization.
    assert!(account(&host).contains("dyn-1"));
    assert_eq!(host.reported("tokens_dropped"), 1);
    // The rejected token is not sent again.
    host.wanted("x");
    host.need_user();
    host.quiet();
}

/// Some servers name a scope in the answer to a refresh that they refuse in a request.
#[test]
fn refr_04_step_02_a_foreign_scope_in_a_refresh_answer_is_asked_for_nowhere() {
    let challenge = format!("Bearer resource_metadata=\"{PRM}\", scope=\"read\"");
    let mut host = Host::signed_in_by(config(), &challenge, &renewable("at-1", "rt-1"));
    host.pass(HOUR);
    host.wanted("x");
    host.serve(META, 200, &metadata());
    let answer = renewable("at-2", "rt-2").replacen('{', r#"{"scope":".{guid}","#, 1);
    host.serve(TOKEN, 200, &answer);
    // Also where the request named the scopes.
    host.serve(TOKEN, 200, &answer);
    assert_eq!(host.ready().scopes.as_str(), "read");
    let lacks = "Bearer error=\"insufficient_scope\", scope=\"write\"";
    host.challenged_for("x", 403, &[lacks], Some("Bearer at-2"));
    host.need_user();
    host.authorize();
    host.serve(PRM, 200, &prm());
    while let Some(mcp_auth_machine::Action::SendRequest(_)) = host.actions.front() {
        host.serve(META, 200, &metadata());
    }
    assert_eq!(host.redirect().scopes.as_str(), "read write");
}

#[test]
fn refr_04_a_scope_omitted_by_a_refresh_is_no_longer_granted() {
    let mut host = with_scopes();
    let answer = renewable("at-2", "rt-2").replacen('{', r#"{"scope":"z b","#, 1);
    host.serve(TOKEN, 200, &answer);
    assert_eq!(host.ready().scopes.as_str(), "b");
}

#[test]
fn refr_03_scopes_of_a_refresh_are_set_for_one_issuer() {
    for (setting, sent) in [
        (RefreshScopes::Omit, None),
        (RefreshScopes::Requested, Some("a b")),
        (RefreshScopes::Exactly(Scopes::parse("b")), Some("b")),
    ] {
        let settings = IssuerSettings::new().refresh_scopes(setting);
        let mut host = Host::signed_in_by(
            config().issuer_settings(AS, settings),
            &format!("Bearer resource_metadata=\"{PRM}\", scope=\"a b\""),
            &renewable("at-1", "rt-1"),
        );
        host.pass(HOUR);
        host.wanted("x");
        host.serve(META, 200, &metadata());
        let form = body(&host.serve(TOKEN, 200, &renewable("at-2", "rt-2")));
        assert_eq!(get(&form, "scope").as_deref(), sent);
    }
}

#[test]
fn tok_21_11_4_answers_that_end_the_refresh_token_alone() {
    for error in [
        "unsupported_grant_type",
        "interaction_required",
        "invalid_target",
        "bad_refresh_token",
    ] {
        // Ahead of expiry, the access token stays in use.
        let mut host = signed_in();
        host.pass(HOUR - 50_000);
        host.wanted("x");
        host.serve(TOKEN, 400, &format!(r#"{{"error":"{error}"}}"#));
        host.ready();
        host.quiet();
        assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
        assert!(!account(&host).contains(r#""refresh""#), "{error}");
        // At its end the user is needed.
        host.pass(50_000);
        host.wanted("x");
        assert_eq!(host.need_user().why, Why::TokenOver);
    }
}

/// A server whose upstream is down answers so: the grant lives, and the next renewal may succeed.
#[test]
fn tok_21_11_4_a_refusal_of_the_request_keeps_the_refresh_token() {
    let mut host = over();
    host.serve(TOKEN, 400, r#"{"error":"invalid_request"}"#);
    assert!(matches!(host.need_user().why, Why::RenewalRefused { .. }));
    host.quiet();
    assert!(account(&host).contains(r#""refresh":"rt-1""#));
    // The pause ends.
    host.pass(60_000);
    host.wanted("tools/call x");
    host.serve(META, 200, &metadata());
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
}

/// Every rejection that is not transient leads to `NeedUser` with the server's words.
#[test]
fn tok_21_refr_06_11_4_a_refusal_that_will_not_pass_leads_to_the_user_with_its_words() {
    for status in [400, 401, 403, 200] {
        for code in [
            "interaction_required",
            "login_required",
            "consent_required",
            "token_expired",
            "invalid_token",
            "invalid_target",
            "invalid_scope",
            "access_denied",
            "bad_refresh_token",
        ] {
            let mut host = over();
            let answer = format!(r#"{{"error":"{code}","error_description":"AADSTS1: no"}}"#);
            host.serve(TOKEN, status, &answer);
            let Why::RenewalRefused { cause } = host.need_user().why else {
                panic!("{code}")
            };
            let Cause::Refused(Refusal::OAuth {
                code: Some(seen),
                description: Some(words),
                ..
            }) = *cause
            else {
                panic!("{cause:?}")
            };
            assert_eq!(seen.as_plain(), code);
            assert_eq!(words.as_plain(), "AADSTS1: no");
            // The rejected token is not sent again, and the user can sign in.
            assert!(!account(&host).contains("rt-1"), "{code}");
            host.authorize();
            host.serve(PRM, 200, &prm());
            host.redirect();
        }
    }
}

#[test]
fn tok_21_11_4_a_refusal_without_a_word_drops_nothing_and_is_not_repeated_at_once() {
    for (status, body) in [(400, "<html>"), (401, "<html>"), (403, ""), (404, "no")] {
        let mut host = over();
        host.serve(TOKEN, status, body);
        for _ in 0..3 {
            let Why::RenewalRefused { cause } = host.need_user().why else {
                panic!("{status}")
            };
            let flaw = UnexpectedToken::Status(status);
            assert_eq!(*cause, Cause::Violation(Violation::Token(flaw)));
            // A portal may have answered in its place.
            assert!(account(&host).contains("rt-1"), "{status}");
            assert!(!account(&host).contains(r#""lease""#), "{status}");
            host.quiet();
            host.wanted("x");
        }
        host.need_user();
        host.pass(60_000);
        host.wanted("x");
        host.serve(META, 200, &metadata());
        host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
        host.ready();
        // Ahead of expiry, the token stays in use.
        let mut host = signed_in();
        host.pass(HOUR - 50_000);
        host.wanted("x");
        host.serve(TOKEN, status, body);
        host.ready();
        host.wanted("x");
        host.ready();
        host.quiet();
    }
}

#[test]
fn tok_21_tok_22_11_4_a_transient_status_is_transient_whatever_the_body_says() {
    for status in [408, 425, 429, 500, 502, 503, 504] {
        for body in [
            r#"{"error":"invalid_grant"}"#,
            r#"{"error":"slow_down"}"#,
            r#"{"error":"invalid_client"}"#,
            "<html>",
        ] {
            let mut host = over();
            for attempt in 1..=3 {
                host.serve(TOKEN, status, body);
                if attempt < 3 {
                    host.quiet();
                    host.wake();
                }
            }
            let failure = host.error();
            assert!(matches!(failure.cause, Cause::Unreachable(_)), "{status}");
            assert!(account(&host).contains("rt-1"), "{status} {body}");
        }
    }
}

#[test]
fn tok_21_tok_23_11_4_final_answers_keep_the_tokens_and_lead_to_the_user() {
    for (status, answer) in [
        (400, r#"{"error":"invalid_dpop_proof"}"#),
        (307, ""),
        (200, r#"{"token_type":"Bearer"}"#),
        (200, r#"{"access_token":"a b"}"#),
        (200, r#"{"access_token":"a","token_type":"mac"}"#),
    ] {
        let mut host = over();
        host.serve_with(
            TOKEN,
            status,
            &[("location", "https://evil.example/")],
            answer,
        );
        let why = host.need_user().why;
        assert!(matches!(why, Why::RenewalRefused { .. }), "{answer}");
        host.quiet();
        assert!(account(&host).contains("rt-1"), "{answer}");
        assert!(!account(&host).contains(r#""lease""#), "{answer}");
        // The token is not sent there again before a pause has ended.
        host.wanted("x");
        host.need_user();
        host.quiet();
        // A person who signs in gets to the browser.
        host.authorize();
        host.serve(PRM, 200, &prm());
        host.serve(META, 200, &metadata());
        host.redirect();
    }
}

#[test]
fn tok_19_tok_21_11_4_a_configured_client_that_is_refused_leads_to_the_user() {
    let client = PreRegistered::new("pre").secret("s");
    let document = metadata().replace(r#"["none"]"#, r#"["client_secret_basic"]"#);
    let mut host = Host::new(config().pre_registered(AS, client));
    host.discover(&prm(), &document);
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &renewable("at-1", "rt-1"));
    host.ready();
    host.pass(HOUR);
    host.wanted("x");
    host.serve(META, 200, &document);
    host.serve(TOKEN, 401, r#"{"error":"invalid_client"}"#);
    let Why::RenewalRefused { cause } = host.need_user().why else {
        panic!()
    };
    assert!(matches!(
        *cause,
        Cause::Refused(Refusal::OAuth {
            error: OAuthError::InvalidClient,
            ..
        })
    ));
    // The secret may be wrong in the configuration alone: nothing is dropped.
    assert!(account(&host).contains("rt-1"));
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &document);
    host.redirect();
}

#[test]
fn tok_21_l10_s22_11_4_failures_for_now_are_tried_three_times_and_then_rest() {
    type Answer = fn(mcp_auth_machine::action::SendRequest) -> Event;
    let answers: [Answer; 6] = [
        |send| send.maybe_sent(),
        |send| send.never_sent(),
        |send| send.response(response(500, &[], "")),
        |send| send.response(response(200, &[], "<html>")),
        |send| send.response(response(400, &[], r#"{"error":"server_error"}"#)),
        |send| send.response(response(400, &[], r#"{"error":"temporarily_unavailable"}"#)),
    ];
    for answer in answers {
        let mut host = over();
        let mut waits = Vec::new();
        for attempt in 1..=3 {
            let send = host.request();
            assert_eq!(send.purpose(), Purpose::Token);
            host.handle(answer(send));
            if attempt < 3 {
                host.quiet();
                waits.push(host.wake());
            }
        }
        assert!((1_000..2_000).contains(&waits[0]), "{waits:?}");
        assert!((2_000..4_000).contains(&waits[1]), "{waits:?}");
        let failure = host.error();
        let Cause::Unreachable(unreachable) = failure.cause else {
            panic!("{failure:?}")
        };
        assert!(!unreachable.code_spent);
        assert!(account(&host).contains("rt-1") && !account(&host).contains(r#""lease""#));
        // At rest: no request, however often a token is wanted.
        for _ in 0..10 {
            host.wanted("x");
            let failure = host.error();
            assert!(matches!(failure.next(), Next::RetryLater(Some(_))));
        }
        host.quiet();
        // Then it heals.
        host.pass(5_000);
        host.wanted("x");
        host.serve(META, 200, &metadata());
        host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
        host.ready();
    }
}

#[test]
fn refr_07_a_token_that_is_still_good_stays_in_use() {
    let mut host = signed_in();
    host.pass(HOUR - 50_000);
    host.wanted("x");
    let send = host.request();
    host.handle(send.response(response(500, &[], "")));
    // Waiting callers receive the current token; the refresh is retried in the background.
    host.ready();
    host.wanted("y");
    host.ready();
    host.wake();
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
    // The same when the store fails.
    let mut host = signed_in();
    host.pass(HOUR - 50_000);
    host.store.mode = StoreMode::LoadsFail;
    host.wanted("x");
    host.ready();
    host.store.mode = StoreMode::WritesFail;
    host.wanted("x");
    host.ready();
    host.quiet();
}

#[test]
fn tok_22_11_4_one_delayed_retry_as_the_server_asks() {
    for (status, header, least) in [
        (429, "120", 120_000),
        (503, "2", 2_000),
        (503, "99999", 300_000),
    ] {
        let mut host = over();
        let send = host.request();
        host.handle(send.response(response(status, &[("retry-after", header)], "")));
        host.quiet();
        assert!(account(&host).contains("rt-1"));
        assert_eq!(host.wake(), least, "{header}");
        // The server asks to wait again: the error names the time.
        let send = host.request();
        host.handle(send.response(response(status, &[("retry-after", header)], "")));
        let failure = host.error();
        let Next::RetryLater(Some(at)) = failure.next() else {
            panic!("{failure:?}")
        };
        // However soon the server would have it, a failed renewal rests a while (L10).
        assert_eq!(at.0, host.now.wall.0 + least.max(5_000));
        host.quiet();
    }
}

#[test]
fn tok_19_quirk_27_a_forgotten_client_takes_its_tokens_along() {
    let mut host = over();
    host.serve(TOKEN, 401, r#"{"error":"invalid_client"}"#);
    assert_eq!(host.need_user().why, Why::ClientForgotten);
    assert!(!account(&host).contains(r#""tokens""#));
    assert!(host.store.of_kind("registration").is_empty());
    // A new registration, and a new flow with it; the old refresh token is gone.
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-2"}"#);
    let redirect = host.redirect();
    assert_eq!(&*redirect.client_id, "dyn-2");
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
    // A configured client is kept, and the host receives an error.
    let client = PreRegistered::new("pre");
    let mut host = Host::new(
        config()
            .pre_registered(AS, client)
            .dynamic_registration(DynamicRegistration::Never),
    );
    host.discover(&prm(), &metadata());
    host.to_refresh(AS);
    host.serve(TOKEN, 401, r#"{"error":"invalid_client"}"#);
    assert!(matches!(
        host.renewal_refused(),
        Cause::Refused(Refusal::OAuth {
            error: OAuthError::InvalidClient,
            ..
        })
    ));
    assert!(account(&host).contains("rt-1"));
    // The server would repeat the error: back-off (L10).
    host.wanted("x");
    host.renewal_refused();
    host.quiet();
}

#[test]
fn use_08_tok_21_one_refresh_then_one_authorization_then_the_end() {
    let mut host = signed_in();
    host.refused("Bearer");
    host.serve(PRM, 200, &prm());
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
    // Refused again: no second refresh.
    host.refused("Bearer");
    host.serve(PRM, 200, &prm());
    assert_eq!(host.need_user().why, Why::TokenOver);
    host.authorize();
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &renewable("at-3", "rt-3"));
    host.ready();
    // Another refusal is permanent, even after another operation was accepted.
    host.refused("Bearer");
    assert_eq!(
        host.error().cause,
        Cause::Violation(Violation::FreshTokenRefused { description: None })
    );
    host.accepted("other");
    host.refused("Bearer");
    assert_eq!(
        host.error().cause,
        Cause::Violation(Violation::FreshTokenRefused { description: None })
    );
    host.quiet();
    assert!(account(&host).contains("rt-3"));
}

#[test]
fn use_08_another_operation_does_not_refill_the_refresh() {
    let mut host = signed_in();
    host.refused("Bearer");
    host.serve(PRM, 200, &prm());
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
    host.accepted("other");
    host.refused("Bearer");
    host.serve(PRM, 200, &prm());
    assert_eq!(host.need_user().why, Why::TokenOver);
    // Its own success does.
    host.accepted("tools/call x");
    host.refused("Bearer");
    host.serve(PRM, 200, &prm());
    host.serve(TOKEN, 200, &renewable("at-3", "rt-3"));
    host.ready();
}

#[test]
fn use_09_use_11_e04_a10_s23_many_refusals_one_refresh_and_one_ready() {
    let mut host = signed_in();
    let sent = host.token();
    for number in 0..8 {
        host.challenged_for(&format!("op {number}"), 401, &["Bearer"], sent.as_deref());
    }
    host.serve(PRM, 200, &prm());
    let send = host.request();
    host.challenged_for("late", 401, &["Bearer"], sent.as_deref());
    host.wanted("later");
    host.handle(send.response(response(200, &[], &renewable("at-2", "rt-2"))));
    host.ready();
    host.quiet();
    // A straggler that was refused with the old token.
    host.challenged_for("straggler", 401, &["Bearer"], sent.as_deref());
    host.ready();
    host.quiet();
}

#[test]
fn use_11_many_refusals_without_a_refresh_token_read_the_metadata_once() {
    let mut host = Host::signed_in(config(), &token_answer("at-1"));
    let sent = host.token();
    for number in 0..4 {
        host.challenged_for(&format!("op {number}"), 401, &["Bearer"], sent.as_deref());
    }
    host.serve(PRM, 200, &prm());
    for _ in 0..4 {
        assert_eq!(host.need_user().why, Why::TokenOver);
    }
    host.quiet();
}

#[test]
fn refr_09_without_a_refresh_token_the_user_is_asked() {
    let mut host = Host::signed_in(config(), &token_answer("at-1"));
    host.refused("Bearer");
    host.serve(PRM, 200, &prm());
    assert_eq!(host.need_user().why, Why::TokenOver);
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
}

#[test]
fn d15_refr_08_step_05_a_refresh_never_asks_for_scopes() {
    let mut host = signed_in();
    let sent = host.token();
    let challenge = "Bearer error=\"insufficient_scope\", scope=\"more\"";
    host.challenged_for("tools/call x", 403, &[challenge], sent.as_deref());
    assert!(matches!(host.need_user().why, Why::ScopeMissing { .. }));
    host.quiet();
    host.pass(HOUR);
    host.wanted("x");
    host.serve(META, 200, &metadata());
    let form = body(host.request().request());
    assert_eq!(get(&form, "scope"), None);
}

#[test]
fn refr_13_a_token_is_refreshed_on_request_only() {
    let mut host = signed_in();
    assert_eq!(host.machine.deadline(), None);
    host.pass(HOUR);
    host.handle(Event::Timer);
    host.quiet();
}

#[test]
fn h05_l03_a_host_that_never_answers_is_not_waited_for() {
    let mut host = over();
    let first = host.request();
    assert_eq!(host.wake(), 30_000);
    host.quiet();
    host.wake();
    let second = host.request();
    // The late first response is ignored (H01, H02, S23).
    host.handle(first.response(response(200, &[], &renewable("late", "late"))));
    host.quiet();
    assert_eq!(host.token(), None);
    host.handle(second.response(response(200, &[], &renewable("at-2", "rt-2"))));
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
}

#[test]
fn a_cancel_does_not_lose_a_refresh_under_way() {
    let mut host = over();
    let send = host.request();
    host.handle(Event::Abandoned(Abandon::Cancelled));
    host.quiet();
    host.handle(send.response(response(200, &[], &renewable("at-2", "rt-2"))));
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
}

#[test]
fn d25_tok_16_s16_a_failed_save_is_neither_lost_nor_used() {
    let mut host = over();
    let send = host.request();
    host.store.mode = StoreMode::WritesFail;
    host.handle(send.response(response(200, &[], &renewable("at-2", "rt-2"))));
    let failure = host.error();
    assert!(matches!(failure.cause, Cause::NotPersisted(_)));
    assert_eq!(failure.stage, Stage::Refresh);
    assert_eq!(host.token(), None);
    // The next wish saves it; the rotated token is not sent again.
    host.store.mode = StoreMode::Works;
    host.wanted("x");
    host.ready();
    host.quiet();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
    assert!(account(&host).contains("rt-2"));
}

#[test]
fn s16_no_request_before_the_lease_is_durable() {
    let mut host = signed_in();
    host.pass(HOUR);
    host.store.mode = StoreMode::WritesFail;
    host.wanted("x");
    host.serve(META, 200, &metadata());
    let failure = host.error();
    assert!(matches!(failure.cause, Cause::NotPersisted(_)));
    host.quiet();
    host.store.mode = StoreMode::Works;
    host.wanted("x");
    host.serve(META, 200, &metadata());
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
}

#[test]
fn h08_the_user_comes_first_while_a_renewal_waits() {
    let mut host = over();
    let send = host.request();
    host.handle(send.response(response(429, &[("retry-after", "200")], "")));
    host.quiet();
    // A callback or a new authorization is not kept waiting for minutes.
    host.authorize();
    host.serve(PRM, 200, &prm());
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &renewable("at-9", "rt-9"));
    assert!(matches!(host.next(), Action::Ready(_)));
    host.pass(200_000);
    host.handle(Event::Timer);
    host.quiet();
    assert_eq!(host.token().as_deref(), Some("Bearer at-9"));
}

/// A store that was down when a token came, and a wall clock that was put back meanwhile, do not make the
/// token live longer.
#[test]
fn sec_35_s30_a_late_save_does_not_lengthen_a_life() {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
    host.store.mode = StoreMode::WritesFail;
    let answer = r#"{"access_token":"at-1","token_type":"Bearer","expires_in":600}"#;
    host.serve(TOKEN, 200, answer);
    host.error();
    host.store.mode = StoreMode::Works;
    let (wall, mono) = (host.now.wall.0 - 86_400_000, host.now.mono.0 + 500_000);
    host.now = mcp_auth_testing::moment(wall, mono);
    host.wanted("tools/call x");
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
    host.pass(101_000);
    assert_eq!(host.token(), None, "it was received 601 seconds ago");
}

#[test]
fn refr_03_a_server_that_refuses_a_refresh_without_scopes_is_sent_them() {
    for error in ["invalid_request", "invalid_scope"] {
        let mut host = with_scopes();
        let form = body(&host.serve(TOKEN, 400, &format!(r#"{{"error":"{error}"}}"#)));
        assert_eq!(get(&form, "scope"), None);
        let form = body(&host.serve(TOKEN, 200, &renewable("at-2", "rt-2")));
        assert_eq!(get(&form, "scope").as_deref(), Some("a b"));
        assert_eq!(get(&form, "refresh_token").as_deref(), Some("rt-1"));
        host.ready();
        assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
        // Also in the next process.
        host.pass(HOUR);
        let config = Arc::new(config().build().unwrap());
        let mut host = Host::resumed(config, std::mem::take(&mut host.store), host.now, 40);
        host.wanted("x");
        host.serve(META, 200, &metadata());
        let form = body(&host.serve(TOKEN, 200, &renewable("at-3", "rt-3")));
        assert_eq!(get(&form, "scope").as_deref(), Some("a b"));
        host.ready();
    }
}

#[test]
fn refr_03_an_access_token_for_other_scopes_is_not_used() {
    let mut host = with_scopes();
    let other = renewable("foreign", "rt-2").replacen('{', r#"{"scope":".{guid}","#, 1);
    host.serve(TOKEN, 200, &other);
    let form = body(&host.serve(TOKEN, 200, &renewable("at-2", "rt-3")));
    assert_eq!(get(&form, "scope").as_deref(), Some("a b"));
    assert_eq!(get(&form, "refresh_token").as_deref(), Some("rt-2"));
    host.ready();
    host.quiet();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
    assert!(!account(&host).contains("foreign"));
}

#[test]
fn refr_03_scopes_are_named_once_and_only_where_there_are_some() {
    // A server that answers with foreign scopes in either case: its token is used.
    let mut host = with_scopes();
    let other = |number: u8| {
        let tokens = renewable(&format!("at-{number}"), &format!("rt-{number}"));
        tokens.replacen('{', r#"{"scope":"z","#, 1)
    };
    host.serve(TOKEN, 200, &other(2));
    host.serve(TOKEN, 200, &other(3));
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-3"));

    // A server that refuses them as well: its first answer was what it has.
    let mut host = with_scopes();
    host.serve(TOKEN, 200, &other(2));
    host.serve(TOKEN, 400, r#"{"error":"invalid_scope"}"#);
    let form = body(&host.serve(TOKEN, 200, &other(3)));
    assert_eq!(get(&form, "scope"), None);
    assert_eq!(get(&form, "refresh_token").as_deref(), Some("rt-2"));
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-3"));

    // One that refuses the scopes of either request: the refresh token has ended.
    let mut host = with_scopes();
    host.serve(TOKEN, 400, r#"{"error":"invalid_scope"}"#);
    host.serve(TOKEN, 400, r#"{"error":"invalid_scope"}"#);
    host.need_user();
    host.quiet();
    assert!(!account(&host).contains(r#""refresh""#));
}

#[test]
fn refr_03_what_the_repetition_is_refused_for_ends_no_grant() {
    // The first error had another reason, and the user granted fewer scopes than were requested.
    let mut host = with_scopes();
    host.serve(TOKEN, 400, r#"{"error":"invalid_request"}"#);
    let form = body(&host.serve(TOKEN, 400, r#"{"error":"invalid_scope"}"#));
    assert_eq!(get(&form, "scope").as_deref(), Some("a b"));
    host.need_user();
    host.quiet();
    assert!(account(&host).contains(r#""refresh":"rt-1""#));

    // A token for other scopes is not used because a server is down for a moment.
    let mut host = with_scopes();
    let other = renewable("foreign", "rt-2").replacen('{', r#"{"scope":"z","#, 1);
    host.serve(TOKEN, 200, &other);
    host.serve(TOKEN, 400, r#"{"error":"invalid_request"}"#);
    host.need_user();
    host.quiet();
    assert!(account(&host).contains(r#""refresh":"rt-2""#));
    assert!(!account(&host).contains("foreign"));
}

#[test]
fn refr_03_scopes_that_are_refused_later_are_left_out_again() {
    let mut host = with_scopes();
    host.serve(TOKEN, 400, r#"{"error":"invalid_request"}"#);
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
    host.pass(HOUR);
    host.wanted("x");
    host.serve(META, 200, &metadata());
    let form = body(&host.serve(TOKEN, 400, r#"{"error":"invalid_scope"}"#));
    assert_eq!(get(&form, "scope").as_deref(), Some("a b"));
    let form = body(&host.serve(TOKEN, 200, &renewable("at-3", "rt-3")));
    assert_eq!(get(&form, "scope"), None);
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-3"));
}

/// The refusal of a token that has expired, or of none, says nothing about the refresh that is due, however short ago the last one
/// was.
#[test]
fn use_08_use_09_an_expired_token_is_refreshed_soon_after_the_last_refresh() {
    for sent in [true, false] {
        let mut host = Host::signed_in(config(), &renewable_for("at-1", "rt-1", "60"));
        host.pass(60_000);
        host.wanted("x");
        host.serve(TOKEN, 200, &renewable_for("at-2", "rt-2", "60"));
        host.ready();
        let token = host.token().filter(|_| sent);
        host.pass(90_000);
        host.challenged_for("y", 401, &["Bearer"], token.as_deref());
        host.serve(PRM, 200, &prm());
        host.serve(TOKEN, 200, &renewable_for("at-3", "rt-3", "60"));
        host.ready();
    }
}
