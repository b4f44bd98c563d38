//! The device authorization grant (RFC 8628, DEV).

use std::time::Duration;

use http::Request;
use mcp_auth_machine::action::Purpose;
use mcp_auth_machine::action::Why;
use mcp_auth_machine::config::{ConfigBuilder, IssuerSettings, PreRegistered, ResourceParameter};
use mcp_auth_machine::error::{Cause, Misconfiguration, Next, Party, Refusal, Stage, Violation};
use mcp_auth_machine::event::{Abandon, Authorization};
use mcp_auth_machine::remedy::Remedy;
use mcp_auth_machine::wire::callback::IssBinding;
use mcp_auth_machine::wire::device::DeviceFlaw;
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_machine::wire::token::OAuthError;
use mcp_auth_machine::{Config, Event, Phase};

use crate::support::*;

const DEVICE: &str = "https://as.example/device";
const OFFERED: &str = r#","device_authorization_endpoint":"https://as.example/device""#;
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
const PENDING: &str = r#"{"error":"authorization_pending"}"#;

/// A device authorization response with further or other members.
fn codes(more: &str) -> String {
    format!(
        r#"{{"device_code":"dc-0123456789","user_code":"WDJB-MJHT",
        "verification_uri":"https://as.example/code"{more}}}"#
    )
}

fn to_question(host: &mut Host) {
    host.challenged(401, &[&announcing()]);
    host.need_user();
}

fn on_device(host: &mut Host) {
    let seed = host.next_seed();
    host.authorize_with(Authorization::new(seed).on_other_device());
}

/// Up to the request for the codes.
fn to_device(config: ConfigBuilder, more: &str) -> Host {
    let mut host = Host::new(config);
    to_question(&mut host);
    on_device(&mut host);
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata_with(&format!("{OFFERED}{more}")));
    host
}

fn registered(config: ConfigBuilder) -> Host {
    let mut host = to_device(config, "");
    host.serve(REGISTER, 201, r#"{"client_id":"dev-1"}"#);
    host
}

/// Up to a code that the user sees.
fn showing(config: ConfigBuilder) -> Host {
    let mut host = registered(config);
    host.serve(DEVICE, 200, &codes(r#","expires_in":300,"interval":5"#));
    host.code();
    host
}

/// Waits for the next poll, checks that it comes after so many seconds, and answers it.
#[track_caller]
fn polled(host: &mut Host, after: u64, status: u16, answer: &str) -> Request<bytes::Bytes> {
    assert_eq!(host.machine.phase(), Phase::AwaitingDevice);
    assert_eq!(host.wake(), after * 1_000, "the time before the poll");
    host.serve(TOKEN, status, answer)
}

#[test]
fn dev_01_dev_07_dev_11_a_user_signs_in_on_another_device() {
    let mut host = registered(config().scopes("read"));
    let form = body(&host.serve(DEVICE, 200, &codes(r#","expires_in":300,"interval":7"#)));
    assert_eq!(get(&form, "client_id").as_deref(), Some("dev-1"));
    assert_eq!(get(&form, "scope").as_deref(), Some("read"));
    assert_eq!(get(&form, "resource").as_deref(), Some(MCP));
    assert_eq!(form.len(), 3, "{form:?}");
    let shown = host.code();
    assert_eq!(shown.user_code.as_str(), "WDJB-MJHT");
    assert_eq!(shown.verification_uri.as_str(), "https://as.example/code");
    assert_eq!(shown.verification_uri_complete, None);
    assert_eq!(shown.issuer.as_str(), AS);
    assert_eq!(&*shown.mcp_host, "mcp.example");
    assert!(shown.new_issuer);
    assert_eq!(shown.expires.0, host.now.wall.0 + 300_000);
    assert!(host.store.of_kind("pending").is_empty());

    let form = body(&polled(&mut host, 7, 400, PENDING));
    assert_eq!(get(&form, "grant_type").as_deref(), Some(GRANT));
    assert_eq!(get(&form, "device_code").as_deref(), Some("dc-0123456789"));
    assert_eq!(get(&form, "client_id").as_deref(), Some("dev-1"));
    assert_eq!(get(&form, "resource").as_deref(), Some(MCP));
    assert_eq!(form.len(), 4, "{form:?}");
    polled(&mut host, 7, 200, &renewable("at-1", "rt-1"));
    assert_eq!(host.ready().iss_binding, IssBinding::NoCallback);
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
    assert_eq!(host.machine.deadline(), None);
    host.quiet();
    // The account is as any other: found by a new process, and refreshed there.
    let config = std::sync::Arc::new(config().scopes("read").build().unwrap());
    let mut later = Host::resumed(config, host.store, host.now, 9);
    later.ready();
    later.pass(3_700_000);
    later.wanted("tools/list");
    later.serve(META, 200, &metadata_with(OFFERED));
    let form = body(&later.serve(TOKEN, 200, &token_answer("at-2")));
    assert_eq!(get(&form, "refresh_token").as_deref(), Some("rt-1"));
    assert_eq!(get(&form, "client_id").as_deref(), Some("dev-1"));
    later.ready();
}

#[test]
fn dev_01_nothing_is_requested_unless_the_host_asks() {
    let mut host = Host::new(config());
    host.ask(&announcing());
    host.serve(PRM, 200, &prm());
    let grants = r#","grant_types_supported":["authorization_code","urn:ietf:params:oauth:grant-type:device_code"]"#;
    host.serve(META, 200, &metadata_with(&format!("{OFFERED}{grants}")));
    let request = host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let text = String::from_utf8(request.body().to_vec()).unwrap();
    assert!(!text.contains("device_code"), "{text}");
    host.redirect();
}

#[test]
fn dev_01_a_confidential_client_authenticates_at_both_endpoints() {
    let client = PreRegistered::new("pre").secret("s3cret");
    let mut host = Host::new(config().pre_registered(AS, client));
    to_question(&mut host);
    on_device(&mut host);
    host.serve(PRM, 200, &prm());
    let document = metadata_with(OFFERED).replace("[\"none\"]", "[\"client_secret_basic\"]");
    host.serve(META, 200, &document);
    let request = host.serve(DEVICE, 200, &codes(""));
    assert!(request.headers().contains_key("authorization"));
    assert_eq!(get(&body(&request), "client_id"), None);
    host.code();
    let request = polled(&mut host, 5, 200, &token_answer("at-1"));
    assert!(request.headers().contains_key("authorization"));
    assert_eq!(get(&body(&request), "client_secret"), None);
    host.ready();
}

#[test]
fn dev_02_j03_the_server_offers_the_grant() {
    let without = [
        // No endpoint, whatever the grants.
        String::new(),
        format!(r#","grant_types_supported":["{GRANT}"]"#),
        // The grant is not among those that are listed.
        format!(r#"{OFFERED},"grant_types_supported":["authorization_code","refresh_token"]"#),
        // An endpoint that must not be contacted.
        r#","device_authorization_endpoint":"http://as.example/device""#.to_owned(),
        r#","device_authorization_endpoint":"https://as.example/device?client_id=x""#.to_owned(),
        r#","device_authorization_endpoint":7"#.to_owned(),
    ];
    for more in without {
        let mut host = Host::new(config());
        to_question(&mut host);
        on_device(&mut host);
        host.serve(PRM, 200, &prm());
        host.serve(META, 200, &metadata_with(&more));
        let failure = host.error();
        assert_eq!(
            failure.cause,
            Cause::Misconfigured(Misconfiguration::NoDeviceGrant),
            "{more}"
        );
        host.quiet();
        // A redirect is possible as ever.
        host.authorize();
        host.serve(PRM, 200, &prm());
        host.serve(META, 200, &metadata_with(&more));
        if more.contains("\"authorization_code\"") || !more.contains("grant_types") {
            host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
            host.redirect();
        }
    }
}

#[test]
fn dev_02_disc_16_the_next_listed_server_may_offer_it() {
    const B: &str = "https://b.example";
    let mut host = Host::new(
        config().dynamic_registration(mcp_auth_machine::config::DynamicRegistration::Always),
    );
    to_question(&mut host);
    on_device(&mut host);
    let prm = format!(r#"{{"resource":"{MCP}","authorization_servers":["{AS}","{B}"]}}"#);
    host.serve(PRM, 200, &prm);
    host.serve(META, 200, &metadata());
    let more = r#","device_authorization_endpoint":"https://b.example/device""#;
    host.serve(
        "https://b.example/.well-known/oauth-authorization-server",
        200,
        &metadata_of(B, more),
    );
    host.serve("https://b.example/register", 201, r#"{"client_id":"b-1"}"#);
    let answer = codes("").replace("as.example", "b.example");
    host.serve("https://b.example/device", 200, &answer);
    assert_eq!(host.code().issuer.as_str(), B);
}

#[test]
fn dev_03_the_client_is_registered_for_the_grant() {
    let mut host = to_device(config(), "");
    let request = host.serve(REGISTER, 201, r#"{"client_id":"dev-1"}"#);
    let json: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
    assert_eq!(
        json["grant_types"],
        serde_json::json!([GRANT, "refresh_token"])
    );
    assert_eq!(json["response_types"], serde_json::json!([]));
    assert_eq!(json.get("redirect_uris"), None);
    assert_eq!(json["application_type"], "native");
    host.serve(DEVICE, 200, &codes(""));
    host.code();
    // The same client serves the next device authorization, and no redirect.
    host.handle(Event::Abandoned(Abandon::Cancelled));
    host.error();
    on_device(&mut host);
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata_with(OFFERED));
    let form = body(&host.serve(DEVICE, 200, &codes("")));
    assert_eq!(get(&form, "client_id").as_deref(), Some("dev-1"));
    host.code();
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata_with(OFFERED));
    let request = host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let json: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
    assert_eq!(json["redirect_uris"], serde_json::json!([REDIRECT]));
    assert_eq!(&*host.redirect().client_id, "dyn-1");
}

#[test]
fn dev_03_a_registration_without_the_grant_is_not_used() {
    let mut host = to_device(config(), "");
    host.serve(
        REGISTER,
        201,
        r#"{"client_id":"dev-1","grant_types":["authorization_code"]}"#,
    );
    let failure = host.error();
    assert_eq!(failure.stage, Stage::Registration);
    assert_eq!(
        failure.cause,
        Cause::Misconfigured(Misconfiguration::NoDeviceGrant)
    );
    assert!(host.store.of_kind("registration").is_empty());
}

#[test]
fn dev_04_j07_the_answer_is_checked() {
    let page = |page: &str| {
        format!(r#"{{"device_code":"dc","user_code":"AB","verification_uri":{page}}}"#)
    };
    let long = "x".repeat(65);
    let cases = [
        ("{}".to_owned(), "device_code"),
        (r#"{"device_code":"dc"}"#.to_owned(), "user_code"),
        (
            r#"{"device_code":7,"user_code":"AB"}"#.to_owned(),
            "device_code",
        ),
        (
            r#"{"device_code":"dc","user_code":" "}"#.to_owned(),
            "user_code",
        ),
        (
            r#"{"device_code":"dc","user_code":"A\u001b[2J"}"#.to_owned(),
            "user_code",
        ),
        (
            r#"{"device_code":"dc","user_code":"A\u202eB"}"#.to_owned(),
            "user_code",
        ),
        (
            format!(r#"{{"device_code":"dc","user_code":"{long}"}}"#),
            "user_code",
        ),
        (
            r#"{"device_code":"dc","user_code":"AB"}"#.to_owned(),
            "verification_uri",
        ),
        (page("[]"), "verification_uri"),
        (page("\"http://as.example/code\""), "url"),
        (page("\"javascript:alert(1)\""), "url"),
        (page("\"https://user:pw@as.example/code\""), "url"),
        (page("\"https://169.254.1.1/code\""), "url"),
        ("<html>".to_owned(), "status"),
        ("[]".to_owned(), "status"),
    ];
    for (answer, flaw) in cases {
        let mut host = registered(config());
        host.serve(DEVICE, 200, &answer);
        let failure = host.error();
        let Cause::Violation(Violation::Device(found)) = &failure.cause else {
            panic!("{answer}: {failure:?}");
        };
        match (found, flaw) {
            (DeviceFlaw::Url { .. }, "url") | (DeviceFlaw::Status(200), "status") => {}
            (DeviceFlaw::Member(member), _) => assert_eq!(*member, flaw, "{answer}"),
            (other, _) => panic!("{answer}: {other:?}"),
        }
        assert_eq!(failure.party(), Party::AuthorizationServer);
        assert_eq!(failure.stage, Stage::Authorization);
        assert_eq!(host.machine.phase(), Phase::Resting);
        host.quiet();
    }
}

#[test]
fn dev_04_a_complete_page_is_on_the_same_origin() {
    for (url, kept) in [
        ("https://as.example/code?user_code=WDJB-MJHT", true),
        ("https://evil.example/code?user_code=WDJB-MJHT", false),
        ("http://as.example/code", false),
        ("javascript:1", false),
    ] {
        let mut host = registered(config());
        host.serve(
            DEVICE,
            200,
            &codes(&format!(r#","verification_uri_complete":"{url}""#)),
        );
        let shown = host.code();
        let found = shown
            .verification_uri_complete
            .as_ref()
            .map(|url| url.as_str());
        assert_eq!(found, kept.then_some(url));
    }
}

#[test]
fn dev_04_the_spelling_of_the_drafts_is_read() {
    let mut host = registered(config());
    let answer = codes("").replace("verification_uri", "verification_url");
    host.serve(DEVICE, 200, &answer);
    assert_eq!(
        host.code().verification_uri.as_str(),
        "https://as.example/code"
    );
}

#[test]
fn dev_05_j01_the_page_of_another_server_is_not_shown() {
    let elsewhere = codes("").replace("https://as.example/code", "https://honest.example/code");
    let mut host = registered(config());
    host.serve(DEVICE, 200, &elsewhere);
    let failure = host.error();
    assert!(matches!(
        &failure.cause,
        Cause::Violation(Violation::VerificationOrigin { page })
            if page.as_str() == "https://honest.example/code"
    ));
    assert_eq!(failure.next(), Next::DoNotTrust);
    assert!(matches!(
        failure.remedy(),
        Some(Remedy::VerificationOrigin { origin, .. }) if &*origin == "https://honest.example"
    ));
    host.quiet();
    // Unless the host knows it, for this issuer.
    let settings = || IssuerSettings::new().verification_origin("https://honest.example");
    let mut host = registered(config().issuer_settings(AS, settings()));
    host.serve(DEVICE, 200, &elsewhere);
    host.code();
    let mut host = registered(config().issuer_settings("https://b.example", settings()));
    host.serve(DEVICE, 200, &elsewhere);
    host.error();
}

#[test]
fn dev_06_j04_a_log_shows_no_code() {
    let mut host = registered(config());
    host.serve(
        DEVICE,
        200,
        &codes(r#","verification_uri_complete":"https://as.example/code?user_code=WDJB-MJHT""#),
    );
    let shown = host.code();
    let text = format!("{shown:?}");
    assert!(
        !text.contains("WDJB") && !text.contains("dc-0123"),
        "{text}"
    );
}

#[test]
fn dev_08_j05_the_interval_of_the_server_is_kept() {
    for (members, seconds) in [
        ("", 5),
        (r#","interval":9"#, 9),
        (r#","interval":"9""#, 9),
        (r#","interval":0,"expires_in":100"#, 1),
        // No server causes more than 240 polls.
        (r#","interval":0,"expires_in":480"#, 2),
        (r#","interval":100000,"expires_in":480"#, 60),
    ] {
        let mut host = registered(config());
        host.serve(DEVICE, 200, &codes(members));
        host.code();
        polled(&mut host, seconds, 400, PENDING);
        assert_eq!(host.machine.phase(), Phase::AwaitingDevice, "{members}");
    }
}

#[test]
fn dev_08_slow_down_and_failures_lengthen_it() {
    let mut host = showing(config());
    polled(&mut host, 5, 400, r#"{"error":"slow_down"}"#);
    polled(&mut host, 10, 400, r#"{"error":"slow_down"}"#);
    polled(&mut host, 15, 503, "");
    polled(&mut host, 30, 400, PENDING);
    host.wake();
    let send = host.request();
    assert_eq!(send.purpose(), Purpose::Token);
    host.handle(send.maybe_sent());
    assert_eq!(host.wake(), 60_000);
    host.serve_with(TOKEN, 429, &[("retry-after", "70")], "");
    assert_eq!(host.wake(), 70_000);
    let send = host.request();
    host.handle(send.never_sent());
    polled(&mut host, 60, 400, PENDING);
    // The code expires before the next poll.
    assert_eq!(host.wake(), 20_000);
    let failure = host.error();
    assert_eq!(failure.cause.code(), "out_of_patience");
    assert_eq!(failure.next(), Next::AskUser);
    assert_eq!(host.machine.deadline(), None);
}

#[test]
fn dev_08_status_200_with_an_error_is_no_token() {
    let mut host = showing(config());
    polled(&mut host, 5, 200, PENDING);
    polled(&mut host, 5, 200, r#"{"error":"slow_down","interval":10}"#);
    polled(&mut host, 10, 200, &token_answer("at-1"));
    host.ready();
}

#[test]
fn dev_08_a_poll_never_comes_early() {
    let mut host = showing(config());
    for _ in 0..4 {
        host.pass(1_000);
        host.handle(Event::Timer);
        host.quiet();
    }
    host.pass(1_000);
    host.handle(Event::Timer);
    host.serve(TOKEN, 400, PENDING);
    host.handle(Event::Timer);
    host.quiet();
}

#[test]
fn dev_09_j02_the_code_expires() {
    let mut host = registered(config());
    host.serve(DEVICE, 200, &codes(r#","expires_in":12,"interval":5"#));
    host.code();
    polled(&mut host, 5, 400, PENDING);
    polled(&mut host, 5, 400, PENDING);
    assert_eq!(host.wake(), 2_000);
    let failure = host.error();
    assert_eq!(failure.stage, Stage::Authorization);
    assert_eq!(failure.cause.code(), "out_of_patience");
    assert_eq!(failure.party(), Party::User);
    assert_eq!(host.machine.phase(), Phase::Resting);
    host.quiet();
    // The host's own limit is shorter than a long life.
    let mut host = registered(config().user_time(Duration::from_secs(60)));
    host.serve(DEVICE, 200, &codes(r#","expires_in":86400,"interval":50"#));
    assert_eq!(host.code().expires.0, host.now.wall.0 + 60_000);
    polled(&mut host, 50, 400, PENDING);
    assert_eq!(host.wake(), 10_000);
    host.error();
}

#[test]
fn dev_09_the_user_declines() {
    let mut host = showing(config());
    polled(&mut host, 5, 400, r#"{"error":"access_denied"}"#);
    let failure = host.error();
    assert_eq!(failure.party(), Party::User);
    assert_eq!(failure.stage, Stage::Token);
    assert_eq!(host.machine.deadline(), None);
    host.quiet();
}

#[test]
fn dev_09_each_other_refusal_ends_it() {
    for (error, expected) in [
        ("expired_token", OAuthError::ExpiredDeviceCode),
        ("invalid_grant", OAuthError::InvalidGrant),
        ("invalid_request", OAuthError::InvalidRequest),
        ("unsupported_grant_type", OAuthError::UnsupportedGrantType),
    ] {
        let mut host = showing(config());
        polled(&mut host, 5, 400, &format!(r#"{{"error":"{error}"}}"#));
        let failure = host.error();
        assert!(matches!(
            failure.cause,
            Cause::Refused(Refusal::OAuth { error, .. }) if error == expected
        ));
        assert_eq!(host.machine.deadline(), None, "{error}");
        host.quiet();
    }
}

#[test]
fn dev_09_j06_a_cancel_ends_it_and_late_tokens_are_revoked() {
    let mut host = showing(config());
    host.handle(Event::Abandoned(Abandon::Cancelled));
    assert_eq!(host.error().cause, Cause::Abandoned);
    assert_eq!(host.machine.deadline(), None);
    host.pass(10_000);
    host.handle(Event::Timer);
    host.quiet();

    for signs_out in [false, true] {
        let mut host = to_device(
            config(),
            r#","revocation_endpoint":"https://as.example/revoke""#,
        );
        host.serve(REGISTER, 201, r#"{"client_id":"dev-1"}"#);
        host.serve(DEVICE, 200, &codes(""));
        host.code();
        host.wake();
        let poll = host.request();
        if signs_out {
            host.handle(Event::SignedOut);
        } else {
            host.handle(Event::Abandoned(Abandon::Cancelled));
        }
        assert_eq!(host.error().cause, Cause::Abandoned);
        host.handle(poll.response(response(200, &[], &renewable("at-1", "rt-1"))));
        let form = body(&host.serve("https://as.example/revoke", 200, ""));
        assert_eq!(get(&form, "token").as_deref(), Some("rt-1"));
        host.serve("https://as.example/revoke", 200, "");
        host.quiet();
        assert_eq!(host.token(), None);
        assert!(host.store.of_kind("account").is_empty());
    }
}

#[test]
fn dev_10_the_code_is_shown_again() {
    let mut host = showing(config());
    on_device(&mut host);
    assert_eq!(host.code().user_code.as_str(), "WDJB-MJHT");
    // Also while a poll is under way.
    host.wake();
    let poll = host.request();
    on_device(&mut host);
    host.quiet();
    host.handle(poll.response(response(400, &[], PENDING)));
    host.code();
    polled(&mut host, 5, 200, &token_answer("at-1"));
    host.ready();
    host.quiet();
}

#[test]
fn dev_10_a_request_meanwhile_asks_nobody_again() {
    let mut host = showing(config());
    host.wanted("tools/list");
    host.quiet();
    host.challenged(401, &[&announcing()]);
    host.quiet();
    polled(&mut host, 5, 200, &token_answer("at-1"));
    host.ready();
}

#[test]
fn dev_10_step_12_more_scopes_need_another_code() {
    let mut host = showing(config());
    let seed = host.next_seed();
    let more = Scopes::parse("write");
    host.authorize_with(Authorization::new(seed).on_other_device().scopes(more));
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata_with(OFFERED));
    let form = body(&host.serve(DEVICE, 200, &codes("")));
    assert_eq!(get(&form, "scope").as_deref(), Some("write"));
    host.code();
}

#[test]
fn dev_10_each_way_replaces_the_other() {
    let mut host = showing(config());
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata_with(OFFERED));
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    host.redirect();
    assert_eq!(host.machine.phase(), Phase::AwaitingUser);
    assert_eq!(host.store.of_kind("pending").len(), 1);
    on_device(&mut host);
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata_with(OFFERED));
    host.serve(DEVICE, 200, &codes(""));
    host.code();
    assert_eq!(host.machine.phase(), Phase::AwaitingDevice);
    assert!(host.store.of_kind("pending").is_empty());
    host.quiet();
}

#[test]
fn dev_12_a_client_that_the_server_forgot_is_replaced() {
    for (at_poll, error) in [
        (false, "invalid_client"),
        (false, "unauthorized_client"),
        (true, "invalid_client"),
    ] {
        let mut host = registered(config());
        let refusal = format!(r#"{{"error":"{error}"}}"#);
        if at_poll {
            host.serve(DEVICE, 200, &codes(""));
            host.code();
            polled(&mut host, 5, 401, &refusal);
        } else {
            host.serve(DEVICE, 401, &refusal);
        }
        let why = host.need_user().why;
        assert!(
            matches!(why, Why::ClientForgotten | Why::MethodRefused { .. }),
            "{why:?}"
        );
        assert!(host.store.of_kind("registration").is_empty());
        on_device(&mut host);
        host.serve(PRM, 200, &prm());
        host.serve(META, 200, &metadata_with(OFFERED));
        host.serve(REGISTER, 201, r#"{"client_id":"dev-2"}"#);
        let form = body(&host.serve(DEVICE, 200, &codes("")));
        assert_eq!(get(&form, "client_id").as_deref(), Some("dev-2"));
        host.code();
    }
}

/// Some servers demand the member, which this grant has no use for. The scopes stay where the server names its reason.
#[test]
fn dev_03_after_a_refusal_the_client_has_a_redirect_uri_once() {
    let members = |request: http::Request<bytes::Bytes>| -> serde_json::Value {
        serde_json::from_slice(request.body()).unwrap()
    };
    for (refused, scope) in [
        (r#"{"error":"invalid_client_metadata"}"#, None),
        (r#"{"error":"invalid_redirect_uri"}"#, Some("read")),
        (
            r#"{"error":"invalid_client_metadata","error_description":"redirect_uris: required"}"#,
            Some("read"),
        ),
    ] {
        let begun = || {
            let mut host = Host::new(config().scopes("read"));
            on_device(&mut host);
            host.serve(PRM, 200, &prm());
            host.serve(META, 200, &metadata_with(OFFERED));
            let first = members(host.serve(REGISTER, 400, refused));
            assert_eq!(first.get("redirect_uris"), None);
            assert_eq!(first["scope"], "read");
            host
        };
        let mut host = begun();
        let second = members(host.serve(REGISTER, 201, r#"{"client_id":"dev-1"}"#));
        let unused = serde_json::json!(["http://127.0.0.1/callback"]);
        assert_eq!(second["redirect_uris"], unused, "{refused}");
        let named = second.get("scope").and_then(serde_json::Value::as_str);
        assert_eq!(named, scope, "{refused}");
        host.serve(DEVICE, 200, &codes(""));
        host.code();

        let mut host = begun();
        host.serve(REGISTER, 400, refused);
        host.error();
        host.quiet();
    }
}

#[test]
fn dev_12_rejected_scopes_are_omitted_once() {
    let mut host = Host::signed_in(config().scopes("read"), &renewable("at-1", "rt-1"));
    let seed = host.next_seed();
    let extra = Scopes::parse("read write");
    host.authorize_with(Authorization::new(seed).on_other_device().scopes(extra));
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata_with(OFFERED));
    host.serve(REGISTER, 201, r#"{"client_id":"dev-1"}"#);
    host.serve(DEVICE, 400, r#"{"error":"invalid_scope"}"#);
    assert!(matches!(host.need_user().why, Why::ScopesRefused { .. }));
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
}

#[test]
fn dev_12_a_step_up_on_the_device_keeps_the_token_until_it_succeeds() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    host.refused(r#"Bearer error="insufficient_scope", scope="write""#);
    host.need_user();
    on_device(&mut host);
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata_with(OFFERED));
    host.serve(REGISTER, 201, r#"{"client_id":"dev-1"}"#);
    let form = body(&host.serve(DEVICE, 200, &codes("")));
    assert_eq!(get(&form, "scope").as_deref(), Some("write"));
    assert!(!host.code().new_issuer);
    host.wanted("other");
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
    polled(&mut host, 5, 400, r#"{"error":"access_denied"}"#);
    host.error();
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
}

#[test]
fn dev_13_iso_07_a_server_that_the_resource_leaves_is_not_polled() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    on_device(&mut host);
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata_with(OFFERED));
    host.serve(REGISTER, 201, r#"{"client_id":"dev-1"}"#);
    host.serve(DEVICE, 200, &codes(""));
    host.code();
    host.pass(1_000);
    host.refused(&announcing());
    let other = prm().replace(AS, "https://b.example");
    host.serve(PRM, 200, &other);
    let failure = host.error();
    assert_eq!(failure.cause, Cause::Violation(Violation::ServerChanged));
    assert!(matches!(host.need_user().why, Why::ServerChanged { .. }));
    host.pass(60_000);
    host.handle(Event::Timer);
    host.quiet();
}

#[test]
fn dev_14_a_resource_that_is_not_sent_is_not_sent() {
    let settings = IssuerSettings::new().resource_parameter(ResourceParameter::Omit);
    let mut host = registered(config().issuer_settings(AS, settings));
    let form = body(&host.serve(DEVICE, 200, &codes("")));
    assert_eq!(get(&form, "resource"), None);
    host.code();
    let form = body(&polled(&mut host, 5, 200, &token_answer("at-1")));
    assert_eq!(get(&form, "resource"), None);
    assert!(!host.ready().audience_bound);
}

#[test]
fn dev_14_no_redirect_uri_is_needed() {
    let config = Config::for_other_devices(MCP);
    let mut host = Host::new(config);
    to_question(&mut host);
    // The configuration decides: each authorization is one of a device.
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata_with(OFFERED));
    host.serve(REGISTER, 201, r#"{"client_id":"dev-1"}"#);
    host.serve(DEVICE, 200, &codes(""));
    host.code();
    host.authorize();
    host.code();
}

/// A code that expires in a moment is of no use to a user who starts again.
#[test]
fn dev_10_a_code_is_shown_again_during_the_first_half_of_its_life() {
    for (seconds, same) in [(149, true), (150, false), (299, false), (301, false)] {
        let mut host = showing(config());
        host.pass(seconds * 1_000);
        on_device(&mut host);
        if !same {
            host.serve(PRM, 200, &prm());
            host.serve(META, 200, &metadata_with(OFFERED));
            host.serve(DEVICE, 200, &codes(r#","expires_in":300"#));
        }
        let expires = host.code().expires;
        assert!(host.now.wall < expires, "{seconds}");
        host.quiet();
    }
}

/// USE-14, DEV-12: the person who authorized on another device hears of the sign-out, too.
#[test]
fn use_14_dev_12_a_sign_out_while_the_tokens_are_saved_answers_the_authorization() {
    let mut host = showing(config());
    host.wake();
    host.store.mode = StoreMode::Manual;
    host.serve(TOKEN, 200, &renewable("at-1", "rt-1"));
    let _write = host.next();
    host.handle(Event::SignedOut);
    host.actions
        .retain(|action| matches!(action, mcp_auth_machine::Action::Error(_)));
    assert_eq!(host.error().cause, Cause::Abandoned);
    host.quiet();
}
