//! The code exchange (TOK) and the bearer it brings (USE).

use mcp_auth_machine::config::{IssuerSettings, Strictness, TokenAnswers};
use mcp_auth_machine::error::{Cause, Next, Refusal, StoreFlaw, Unreachable, Violation};
use mcp_auth_machine::time::UnixMillis;
use mcp_auth_machine::wire::token::{OAuthError, UnexpectedToken};
use mcp_auth_machine::{Event, Failure, NoBearer};

use crate::support::*;

fn at_token(config: mcp_auth_machine::config::ConfigBuilder) -> Host {
    let mut host = Host::new(config);
    let redirect = host.to_redirect();
    host.callback(&format!("code=c%2B1&state={}", state_of(&redirect)));
    host
}

fn exchange(status: u16, answer: &str) -> Result<Host, Failure> {
    let mut host = at_token(config());
    host.serve(TOKEN, status, answer);
    match host.actions.front() {
        Some(mcp_auth_machine::Action::Ready(_)) => {
            host.ready();
            Ok(host)
        }
        _ => {
            let failure = host.error();
            host.quiet();
            assert_eq!(host.token(), None);
            Err(failure)
        }
    }
}

fn unexpected(status: u16, answer: &str) -> UnexpectedToken {
    match exchange(status, answer).err().unwrap().cause {
        Cause::Violation(Violation::Token(flaw)) => flaw,
        other => panic!("{other:?} for {answer}"),
    }
}

#[test]
fn tok_01_tok_02_tok_03_d18_the_request() {
    let mut host = at_token(config());
    let send = host.request();
    let request = send.request();
    assert_eq!(
        (
            request.method().as_str(),
            request.uri().to_string().as_str()
        ),
        ("POST", TOKEN)
    );
    let mut names: Vec<_> = request
        .headers()
        .keys()
        .map(|n| n.as_str().to_owned())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["accept", "accept-encoding", "content-type", "user-agent"]
    );
    assert_eq!(request.headers()["accept-encoding"], "identity");
    assert_eq!(
        request.headers()["content-type"],
        "application/x-www-form-urlencoded"
    );
    assert_eq!(request.headers()["accept"], "application/json");
    let form = body(request);
    let names: Vec<&str> = form.iter().map(|(name, _)| name.as_str()).collect();
    let wanted = [
        "grant_type",
        "code",
        "redirect_uri",
        "code_verifier",
        "resource",
        "client_id",
    ];
    assert_eq!(names, wanted);
    assert_eq!(
        get(&form, "grant_type").as_deref(),
        Some("authorization_code")
    );
    assert_eq!(get(&form, "code").as_deref(), Some("c+1"));
    assert_eq!(get(&form, "redirect_uri").as_deref(), Some(REDIRECT));
    assert_eq!(get(&form, "resource").as_deref(), Some(MCP));
    assert_eq!(send.time_limit().as_secs(), 30);
}

#[test]
fn tok_02_dis_21_scopes_are_requested_at_the_redirect_alone() {
    let mut host = Host::new(config().scopes("a b"));
    let redirect = host.to_redirect();
    assert_eq!(redirect.scopes.as_str(), "a b");
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let form = body(&host.serve(TOKEN, 200, &token_answer("at-1")));
    assert_eq!(get(&form, "scope"), None);
    assert_eq!(get(&form, "state"), None);
}

#[test]
fn tok_01_a_query_of_the_endpoint_is_kept() {
    let mut host = Host::new(config());
    host.discover(
        &prm(),
        &metadata().replace("https://as.example/token", "https://as.example/token?p=1"),
    );
    host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
    let redirect = host.redirect();
    host.callback(&format!("code=x&state={}", state_of(&redirect)));
    assert_eq!(
        host.request().request().uri().to_string(),
        "https://as.example/token?p=1"
    );
}

#[test]
fn tok_11_tok_12_tok_14_quirk_26_success() {
    for answer in [
        r#"{"access_token":"t","token_type":"Bearer"}"#,
        r#"{"access_token":"t","token_type":"BEARER","id_token":"x","unknown":{}}"#,
        r#"{"access_token":"t","refresh_token":""}"#,
        r#"{"access_token":"t","token_type":"bearer","refresh_token":null,"error":null}"#,
    ] {
        let mut host = exchange(200, answer).unwrap();
        assert_eq!(host.token().as_deref(), Some("Bearer t"), "{answer}");
        let assumed = usize::from(!answer.contains("token_type"));
        assert_eq!(host.reported("token_type_assumed"), assumed, "{answer}");
        // Frameworks answer a POST by 201, unless told otherwise.
        let mut host = exchange(201, answer).unwrap();
        assert_eq!(host.token().as_deref(), Some("Bearer t"), "{answer}");
    }
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    host.pass(3_600_000);
    host.wanted("x");
    let place = format!("{AS}/.well-known/oauth-authorization-server");
    host.serve(&place, 200, &metadata());
    host.serve(TOKEN, 200, r#"{"access_token":"t"}"#);
    host.ready();
    assert_eq!(host.reported("token_type_assumed"), 1);
    let mut strict = at_token(config().strictness(Strictness::Strict));
    strict.serve(TOKEN, 200, r#"{"access_token":"t"}"#);
    assert_eq!(
        strict.error().cause,
        Cause::Violation(Violation::Token(UnexpectedToken::TokenType))
    );
}

#[test]
fn tok_11_tok_15_d07_d16_answers_that_are_no_token() {
    assert_eq!(unexpected(200, "<html>"), UnexpectedToken::Body);
    assert_eq!(
        unexpected(200, "access_token=t&token_type=bearer"),
        UnexpectedToken::Body
    );
    assert_eq!(unexpected(200, "[]"), UnexpectedToken::Body);
    assert_eq!(unexpected(200, "{}"), UnexpectedToken::NoToken);
    assert_eq!(
        unexpected(200, r#"{"access_token":""}"#),
        UnexpectedToken::NoToken
    );
    assert_eq!(
        unexpected(200, r#"{"access_token":7,"token_type":"Bearer"}"#),
        UnexpectedToken::NoToken
    );
    assert_eq!(
        unexpected(200, r#"{"access_token":"t","access_token":"u"}"#),
        UnexpectedToken::Body
    );
    assert_eq!(
        unexpected(202, r#"{"access_token":"t","token_type":"Bearer"}"#),
        UnexpectedToken::Status(202)
    );
    assert_eq!(
        unexpected(404, "nothing here"),
        UnexpectedToken::Status(404)
    );
    for kind in ["mac", "DPoP", "N_A"] {
        let answer = format!(r#"{{"access_token":"t","token_type":"{kind}"}}"#);
        assert_eq!(
            unexpected(200, &answer),
            UnexpectedToken::TokenType,
            "{kind}"
        );
    }
    let long = "a".repeat(64 * 1024 + 1);
    for token in ["x\\r\\nHost: evil", "a b", "\\u00e9", "\\u0000", &long] {
        let answer = format!(r#"{{"access_token":"{token}","token_type":"Bearer"}}"#);
        assert_eq!(unexpected(200, &answer), UnexpectedToken::TokenText);
    }
}

#[test]
fn tok_13_quirk_10_d08_lifetimes() {
    let expires = |value: &str| {
        let answer =
            format!(r#"{{"access_token":"t","token_type":"Bearer","expires_in":{value}}}"#);
        let mut host = at_token(config());
        host.serve(TOKEN, 200, &answer);
        host.ready().expires
    };
    let after = |seconds: u64| Some(UnixMillis(1_800_000_000_000 + seconds * 1_000));
    assert_eq!(expires("3600"), after(3_600));
    assert_eq!(expires("3600.9"), after(3_600));
    assert_eq!(expires("\"3600\""), after(3_600));
    assert_eq!(expires("0"), after(0));
    let years = 10 * 365 * 24 * 60 * 60;
    assert_eq!(expires("18446744073709551616"), after(years));
    assert_eq!(expires("99999999999"), after(years));
    for unknown in [
        "null", "-1", "\"soon\"", "1e3", "1e400", "true", "{}", "[60]", "\"\"",
    ] {
        assert_eq!(expires(unknown), None, "{unknown}");
    }
}

#[test]
fn tok_13_zero_is_used_once_unknown_until_refused() {
    let mut host = exchange(
        200,
        r#"{"access_token":"t","token_type":"Bearer","expires_in":0}"#,
    )
    .unwrap();
    assert!(host.token().is_some());
    assert!(host.token().is_none());
    let mut host = exchange(200, r#"{"access_token":"t","token_type":"Bearer"}"#).unwrap();
    host.pass(1_000_000_000);
    assert!(host.token().is_some());
}

#[test]
fn sec_35_s30_d09_k17_no_clock_makes_a_token_live_longer() {
    let mut host = exchange(200, &token_answer("t")).unwrap();
    let (wall, mono) = (host.now.wall.0, host.now.mono.0);
    let good = |host: &mut Host, wall, mono| {
        host.machine
            .bearer(mcp_auth_testing::moment(wall, mono), MCP)
            .is_ok()
    };
    assert!(good(&mut host, wall + 3_599_000, mono + 3_599_000));
    assert!(!good(&mut host, wall + 3_600_000, mono + 10));
    assert!(!good(&mut host, wall - 86_400_000, mono + 3_600_000));
    // After a restart with the wall clock set back, no more than the lifetime is left.
    let store = std::mem::take(&mut host.store);
    let mut later = Host::on(std::sync::Arc::new(config().build().unwrap()), store);
    later.ready();
    assert!(!good(&mut later, wall - 86_400_000, mono + 7_200_000));
}

/// The server decides the lifetime after it has received the request, however long its answer takes.
#[test]
fn sec_35_s30_k71_a_lifetime_counts_from_the_request() {
    let slow = |expires_in: &str, seconds: u64| {
        let mut host = Host::new(config());
        let redirect = host.to_redirect();
        host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
        let send = host.request_to(TOKEN);
        host.move_clocks(std::time::Duration::from_secs(seconds));
        let text = renewable_for("at-1", "rt-1", expires_in);
        host.handle(send.response(response(200, &[], &text)));
        host.ready();
        host
    };
    let mut host = slow("40", 25);
    assert!(host.token().is_some());
    host.pass(16_000);
    assert_eq!(host.token(), None);
    // Its whole lifetime has passed: it is used once (TOK-13).
    let mut host = slow("10", 12);
    assert!(host.token().is_some());
    assert_eq!(host.token(), None);
}

#[test]
fn tok_18_d10_oauth_errors_whatever_the_status() {
    for status in [200, 400, 401, 403] {
        let failure = exchange(
            status,
            r#"{"ok":false,"error":"invalid_grant","error_description":"gone\u0007"}"#,
        )
        .err()
        .unwrap();
        let Cause::Refused(Refusal::OAuth {
            error, description, ..
        }) = failure.cause
        else {
            panic!("{status}")
        };
        assert_eq!(error, OAuthError::InvalidGrant);
        assert_eq!(description.unwrap().as_plain(), "gone");
    }
}

#[test]
fn tok_20_tok_21_s04_a_code_is_sent_once_whatever_happens() {
    let spent = Cause::Unreachable(Unreachable {
        code_spent: true,
        retry_at: None,
    });
    for event in 0..2 {
        let mut host = at_token(config());
        let send = host.request();
        let event = match event {
            0 => send.maybe_sent(),
            _ => send.never_sent(),
        };
        host.handle(event);
        assert_eq!(host.error().cause, spent);
        host.quiet();
    }
    // The driver does not connect to the address: the network did not fail (SEC-06).
    let mut host = at_token(config());
    let send = host.request();
    host.handle(send.blocked());
    assert_eq!(host.error().cause.code(), "place_refused");
    host.quiet();
    for status in [500, 502, 429] {
        assert_eq!(exchange(status, "").err().unwrap().cause, spent);
    }
    let mut host = at_token(config());
    host.serve_with(TOKEN, 503, &[("retry-after", "120")], "");
    let at = UnixMillis(1_800_000_120_000);
    assert_eq!(host.error().next(), Next::RetryLater(Some(at)));
    // A host that never answers: the deadline ends it (L03, G07, H05).
    let mut host = at_token(config());
    let _send = host.request();
    let due = host.machine.deadline().unwrap();
    assert_eq!(due.0, host.now.mono.0 + 30_000);
    host.pass(30_000);
    host.handle(Event::Timer);
    assert_eq!(host.error().cause, spent);
}

#[test]
fn tok_01_sec_09_s15_d12_redirects_are_errors() {
    for status in [301, 302, 303, 307, 308] {
        let mut host = at_token(config());
        host.serve_with(TOKEN, status, &[("location", "https://evil.example/")], "");
        assert_eq!(host.error().cause, Cause::Violation(Violation::Redirected));
        host.quiet();
    }
    let mut host = at_token(config());
    let send = host.request();
    host.handle(send.response_from(
        response(200, &[], &token_answer("t")),
        "https://evil.example/token",
    ));
    assert_eq!(host.error().cause, Cause::Violation(Violation::Redirected));
    assert_eq!(host.token(), None);
}

#[test]
fn tok_23_final_errors_change_nothing_and_try_nothing() {
    for code in [
        "invalid_grant",
        "unsupported_grant_type",
        "invalid_request",
        "invalid_scope",
        "invalid_target",
        "invalid_dpop_proof",
        "other",
    ] {
        let failure = exchange(400, &format!(r#"{{"error":"{code}"}}"#))
            .err()
            .unwrap();
        assert!(
            matches!(failure.cause, Cause::Refused(Refusal::OAuth { .. })),
            "{code}"
        );
    }
}

#[test]
fn quirk_06_quirk_07_other_spellings_only_by_the_hosts_setting() {
    let settings = IssuerSettings::new().token_answers(TokenAnswers::JsonOrForm);
    let mut host = at_token(config().issuer_settings(AS, settings));
    host.serve(TOKEN, 200, "access_token=t&token_type=bearer&scope=a+b");
    assert_eq!(host.ready().scopes.as_str(), "a b");
    for spoilt in [
        "access_token=t&token_type=bearer&access_token=u",
        "access_token=%ff&token_type=bearer",
        "{",
    ] {
        let settings = IssuerSettings::new().token_answers(TokenAnswers::JsonOrForm);
        let mut host = at_token(config().issuer_settings(AS, settings));
        host.serve(TOKEN, 200, spoilt);
        let wanted = Cause::Violation(Violation::Token(UnexpectedToken::Body));
        assert_eq!(host.error().cause, wanted, "{spoilt}");
    }
    fn nested(body: &[u8]) -> Option<Vec<u8>> {
        let value: serde_json::Value = serde_json::from_slice(body).ok()?;
        serde_json::to_vec(value.get("authed_user")?).ok()
    }
    let settings = IssuerSettings::new().token_answers(TokenAnswers::Adapted(nested));
    let mut host = at_token(config().issuer_settings(AS, settings));
    host.serve(
        TOKEN,
        200,
        r#"{"ok":true,"authed_user":{"access_token":"t","token_type":"Bearer"}}"#,
    );
    host.ready();
}

#[test]
fn use_03_use_04_sec_22_d19_the_bearer_is_for_its_resource() {
    let mut host = exchange(200, &token_answer("t")).unwrap();
    let now = host.now;
    let mut bearer = |url: &str| host.machine.bearer(now, url);
    assert!(bearer(MCP).unwrap().is_sensitive());
    assert!(bearer("https://mcp.example/mcp/messages?session=1").is_ok());
    assert!(bearer("https://MCP.example:443/mcp").is_ok());
    for url in [
        "https://evil.example/mcp",
        "https://mcp.example.evil.example/mcp",
        "http://mcp.example/mcp",
        "https://mcp.example/other",
        "https://mcp.example/mcpx",
        "https://mcp.example:444/mcp",
        "https://user@mcp.example/mcp",
        "https://mcp.example/mcp/../other",
        "",
    ] {
        assert_eq!(bearer(url), Err(NoBearer::OutsideResource), "{url}");
    }
}

#[test]
fn use_09_a_refusal_of_an_older_token_gets_the_newer_one() {
    let mut host = exchange(200, &token_answer("t")).unwrap();
    host.challenged_for("tools/call x", 401, &["Bearer"], Some("Bearer old"));
    host.ready();
    host.challenged_for("tools/call x", 401, &["Bearer"], None);
    host.ready();
    host.quiet();
}

#[test]
fn use_08_e08_a_fresh_token_that_is_refused_ends() {
    let mut host = exchange(200, &token_answer("t")).unwrap();
    host.challenged_for("tools/call x", 401, &["Bearer"], Some("Bearer t"));
    assert_eq!(
        host.error().cause,
        Cause::Violation(Violation::FreshTokenRefused { description: None })
    );
    host.accepted("tools/call x");
    host.challenged_for("tools/call x", 401, &["Bearer"], Some("Bearer t"));
    host.serve(PRM, 200, &prm());
    host.need_user();
    // One that nothing is known of is fresh for five minutes.
    let mut host = exchange(200, &token_answer("t")).unwrap();
    host.pass(299_000);
    host.challenged_for("first", 401, &["Bearer"], Some("Bearer t"));
    assert_eq!(
        host.error().cause,
        Cause::Violation(Violation::FreshTokenRefused { description: None })
    );
    host.pass(2_000);
    host.challenged_for("second", 401, &["Bearer"], Some("Bearer t"));
    host.serve(PRM, 200, &prm());
    host.need_user();
}

#[test]
fn sec_37_tok_15_tokens_are_opaque() {
    // The claims of a JWT (expired, another audience) do not matter: the token is opaque.
    let jwt = "eyJhbGciOiJub25lIn0.eyJleHAiOjEsImF1ZCI6Imh0dHBzOi8vZXZpbC5leGFtcGxlIn0.";
    let answer = format!(r#"{{"access_token":"{jwt}","token_type":"Bearer","expires_in":60}}"#);
    let mut host = exchange(200, &answer).unwrap();
    assert_eq!(host.token(), Some(format!("Bearer {jwt}")));
}

#[test]
fn every_error_code_of_the_rfcs_is_known_by_its_exact_spelling() {
    use OAuthError::*;
    for (code, error) in [
        ("invalid_request", InvalidRequest),
        ("invalid_client", InvalidClient),
        ("invalid_grant", InvalidGrant),
        ("unauthorized_client", UnauthorizedClient),
        ("unsupported_grant_type", UnsupportedGrantType),
        ("unsupported_response_type", UnsupportedResponseType),
        ("invalid_scope", InvalidScope),
        ("invalid_target", InvalidTarget),
        ("access_denied", AccessDenied),
        ("server_error", ServerError),
        ("temporarily_unavailable", TemporarilyUnavailable),
        ("login_required", InteractionRequired),
        ("interaction_required", InteractionRequired),
        ("consent_required", InteractionRequired),
        ("account_selection_required", InteractionRequired),
        ("invalid_redirect_uri", InvalidRedirectUri),
        ("invalid_client_metadata", InvalidClientMetadata),
        ("invalid_software_statement", SoftwareStatement),
        ("unapproved_software_statement", SoftwareStatement),
        ("insufficient_scope", InsufficientScope),
        ("invalid_token", InvalidToken),
        ("use_dpop_nonce", UseDpopNonce),
        ("invalid_dpop_proof", InvalidDpopProof),
        (
            "insufficient_user_authentication",
            InsufficientUserAuthentication,
        ),
        ("unsupported_token_type", UnsupportedTokenType),
    ] {
        assert_eq!(OAuthError::from_code(code), error);
        assert_eq!(OAuthError::from_code(&code.to_uppercase()), Other);
    }
}

#[test]
fn tok_13_a_token_that_is_over_on_receipt_is_for_the_process_that_received_it() {
    let zero = |number: u8| renewable_for(&format!("at-{number}"), &format!("rt-{number}"), "0");
    let built = std::sync::Arc::new(config().build().unwrap());
    let mut host = Host::signed_in(config(), &zero(1));
    assert!(host.token().is_some());
    assert_eq!(host.token(), None);
    // Each later process renews it before it uses it, once.
    for number in 2..5 {
        let store = std::mem::take(&mut host.store);
        host = Host::resumed(std::sync::Arc::clone(&built), store, host.now, 50);
        host.quiet();
        assert_eq!(host.token(), None);
        host.wanted("x");
        host.serve(TOKEN, 200, &zero(number));
        host.ready();
        assert_eq!(host.token(), Some(format!("Bearer at-{number}")));
        host.quiet();
    }
}

#[test]
fn tok_16_ready_is_said_of_a_token_that_can_be_used() {
    let short = |refresh: &str| {
        format!(r#"{{"access_token":"t","token_type":"Bearer","expires_in":10{refresh}}}"#)
    };
    for refresh in ["", r#","refresh_token":"rt-1""#] {
        let mut host = at_token(config());
        host.store.mode = StoreMode::Manual;
        host.serve(TOKEN, 200, &short(refresh));
        let mcp_auth_machine::Action::PersistSlot(save) = host.next() else {
            panic!()
        };
        // The store takes longer than the token lives.
        host.pass(15_000);
        let mut store = Store::default();
        store.slots.append(&mut host.store.slots);
        store.slots.retain(|key, _| !key.starts_with("account"));
        let saved = store.persist(save);
        host.store.mode = StoreMode::Works;
        host.store.slots = store.slots;
        host.handle(saved);
        if refresh.is_empty() {
            let failure = host.error();
            assert_eq!(failure.cause, Cause::NotPersisted(StoreFlaw::Slow));
            host.quiet();
            host.wanted("x");
            host.need_user();
        } else {
            // The refresh that is due follows at once.
            host.serve(TOKEN, 200, &token_answer("t-2"));
            host.ready();
            assert_eq!(host.token().as_deref(), Some("Bearer t-2"));
        }
    }
}

#[test]
fn sec_35_d09_a_receipt_in_the_future_is_no_reason_to_trust() {
    let built = std::sync::Arc::new(config().build().unwrap());
    // The clock was a day ahead when the token came; another process sees the right time.
    let day = 86_400_000;
    let later = |answer: &str, behind: u64| {
        let mut ahead = Host::signed_in(config(), answer);
        let now = mcp_auth_testing::moment(ahead.now.wall.0 - behind, 1_000);
        let store = std::mem::take(&mut ahead.store);
        Host::resumed(std::sync::Arc::clone(&built), store, now, 50)
    };
    let mut host = later(&renewable("at-1", "rt-1"), day);
    host.quiet();
    host.wanted("x");
    if host.actions.iter().any(|action| {
        matches!(action, mcp_auth_machine::Action::SendRequest(send) if send.request().uri() == META)
    }) {
        host.serve(META, 200, &metadata());
    }
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
    // A token that cannot be refreshed is used until it is refused.
    let mut host = later(&token_answer("at-1"), day);
    host.ready();
    host.wanted("x");
    host.ready();
    host.pass(7_200_000);
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
    // Clocks that are a little apart are no flaw.
    let mut host = later(&renewable("at-1", "rt-1"), 30_000);
    host.ready();
    host.wanted("x");
    host.ready();
    host.quiet();
}
