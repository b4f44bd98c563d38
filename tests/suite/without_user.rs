//! Tokens without a user, by client credentials (M2M); and what the other grants share.

use mcp_auth_machine::action::{ObtainAssertion, Purpose};
use mcp_auth_machine::config::{
    AssertionAudience, ConfigBuilder, ConfigError, DynamicRegistration, IssuerSettings,
    PreRegistered,
};
use mcp_auth_machine::error::{Cause, Misconfiguration, Next, Refusal, Violation};
use mcp_auth_machine::key::SigningKey;
use mcp_auth_machine::report::Decision;
use mcp_auth_machine::wire::callback::IssBinding;
use mcp_auth_machine::wire::token::OAuthError;
use mcp_auth_machine::wire::words::{AuthMethod, SigningAlgorithm};
use mcp_auth_machine::{Action, Event, Failure, MethodFlaw};

use crate::support::*;

pub const OTHER: &str = "https://b.example";
pub const OTHER_META: &str = "https://b.example/.well-known/oauth-authorization-server";
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
pub const HOUR: u64 = 3_600_000;

/// Metadata without anything that a user would need.
pub fn machine_metadata(issuer: &str, methods: &str, more: &str) -> String {
    format!(
        r#"{{"issuer":"{issuer}","token_endpoint":"{issuer}/token",
        "token_endpoint_auth_methods_supported":[{methods}]{more}}}"#
    )
}

pub fn service() -> PreRegistered {
    PreRegistered::new("service").secret("s3cret")
}

fn m2m() -> ConfigBuilder {
    config().pre_registered(AS, service()).client_credentials()
}

/// Refused without a token; metadata up to the token request.
pub fn to_token(config: ConfigBuilder, metadata: &str) -> Host {
    let mut host = Host::new(config);
    host.challenged(
        401,
        &[&format!("Bearer scope=\"a\", resource_metadata=\"{PRM}\"")],
    );
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, metadata);
    host
}

pub fn obtain(host: &mut Host) -> ObtainAssertion {
    match host.next() {
        Action::ObtainAssertion(asked) => asked,
        other => panic!("{other:?}"),
    }
}

pub fn misconfigured(failure: Failure) -> Misconfiguration {
    match failure.cause {
        Cause::Misconfigured(found) => found,
        other => panic!("{other:?}"),
    }
}

#[test]
fn m2m_02_m2m_04_m2m_06_the_request_and_nobody_is_asked() {
    let mut host = to_token(m2m(), &machine_metadata(AS, r#""client_secret_basic""#, ""));
    let send = host.request();
    let request = send.request();
    assert!(request.headers().contains_key("authorization"));
    let form = body(request);
    let names: Vec<&str> = form.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["grant_type", "resource", "scope"]);
    assert_eq!(
        get(&form, "grant_type").as_deref(),
        Some("client_credentials")
    );
    assert_eq!(get(&form, "resource").as_deref(), Some(MCP));
    assert_eq!(get(&form, "scope").as_deref(), Some("a"));
    host.handle(send.response(response(200, &[], &renewable("at-1", "rt-1"))));
    let grant = host.ready();
    assert_eq!(grant.iss_binding, IssBinding::NoCallback);
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
    // A refresh token is not for this client (M2M-09).
    let stored = host.store.of_kind("account")[0]
        .contents
        .expose()
        .to_owned();
    assert!(!stored.contains("rt-1") && stored.contains("client_credentials"));
    assert!(host.store.of_kind("pending").is_empty());
    assert!(host.store.of_kind("registration").is_empty());
}

#[test]
fn m2m_04_offline_access_is_never_asked_for() {
    let mut host = Host::new(m2m());
    host.challenged(401, &["Bearer scope=\"a offline_access\""]);
    host.serve(PRM, 200, &prm());
    let listed = r#","scopes_supported":["offline_access"]"#;
    host.serve(
        META,
        200,
        &machine_metadata(AS, r#""client_secret_basic""#, listed),
    );
    let form = body(host.request().request());
    assert_eq!(get(&form, "scope").as_deref(), Some("a"));
}

#[test]
fn m2m_06_m2m_07_m2m_08_how_the_client_authenticates() {
    // Post where that alone is listed.
    let mut host = to_token(m2m(), &machine_metadata(AS, r#""client_secret_post""#, ""));
    let form = body(host.request().request());
    assert_eq!(get(&form, "client_secret").as_deref(), Some("s3cret"));
    // Basic without a list.
    let unlisted = machine_metadata(AS, "", "")
        .replace(r#""token_endpoint_auth_methods_supported":[]"#, r#""x":1"#);
    let mut host = to_token(m2m(), &unlisted);
    assert!(
        host.request()
            .request()
            .headers()
            .contains_key("authorization")
    );
    // Without a usable method the machine sends no request.
    let mut host = to_token(m2m(), &machine_metadata(AS, r#""private_key_jwt""#, ""));
    assert!(matches!(
        misconfigured(host.error()),
        Misconfiguration::ClientMethod(MethodFlaw::NothingListed)
    ));
    host.quiet();
    // Where only public clients are listed, the secret is not sent, and nothing else is.
    let mut host = to_token(m2m(), &machine_metadata(AS, r#""none""#, ""));
    assert!(matches!(
        misconfigured(host.error()),
        Misconfiguration::ClientMethod(MethodFlaw::NothingListed)
    ));
    host.quiet();
    // A method that the host fixed is used there: lists are incomplete.
    let fixed = service()
        .secret("s3cret")
        .method(AuthMethod::ClientSecretPost);
    let fixed = config().pre_registered(AS, fixed).client_credentials();
    let mut host = to_token(fixed, &machine_metadata(AS, r#""none""#, ""));
    let form = body(host.request().request());
    assert_eq!(get(&form, "client_secret").as_deref(), Some("s3cret"));
    // A public client is none.
    let public = config().pre_registered(AS, PreRegistered::new("p"));
    let built = public.client_credentials().build();
    assert_eq!(built.err(), Some(ConfigError::PublicClient("p".to_owned())));
}

#[test]
fn tok_08_tok_09_m2m_05_m2m_12_private_key_jwt() {
    let key = SigningKey::new(
        "service-key",
        [SigningAlgorithm::Ps256, SigningAlgorithm::Es256],
    )
    .kid("k1");
    let client = service().key(key);
    let config = || {
        config()
            .pre_registered(AS, client.clone())
            .client_credentials()
    };
    let listed = r#","token_endpoint_auth_signing_alg_values_supported":["ES256"]"#;
    let both = r#""client_secret_basic","private_key_jwt""#;
    let mut host = to_token(config(), &machine_metadata(AS, both, listed));
    let (header, claims) = host.signs();
    assert_eq!(header["typ"], "client-authentication+jwt");
    assert_eq!(
        (&header["alg"], &header["kid"]),
        (&"ES256".into(), &"k1".into())
    );
    assert_eq!(
        (&claims["iss"], &claims["sub"]),
        (&"service".into(), &"service".into())
    );
    // The issuer alone, as one text (DIS-05, S32).
    assert_eq!(claims["aud"], AS);
    assert_eq!(claims["iat"], 1_800_000_000);
    let life = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert!((1..=300).contains(&life));
    assert!(claims["jti"].as_str().unwrap().len() >= 22);
    let send = host.request();
    let form = body(send.request());
    assert_eq!(
        get(&form, "client_assertion_type").as_deref(),
        Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
    );
    assert!(get(&form, "client_assertion").unwrap().split('.').count() == 3);
    // One method, and no identifier beside it (TOK-05).
    assert_eq!(get(&form, "client_secret"), None);
    assert_eq!(get(&form, "client_id"), None);
    assert!(!send.request().headers().contains_key("authorization"));
    // A retry has an assertion of its own.
    host.handle(send.maybe_sent());
    host.wake();
    let (_, again) = host.signs();
    assert_ne!(again["jti"], claims["jti"]);
    // No algorithm in common, and no secret either: nothing is sent.
    let key = SigningKey::new("k", [SigningAlgorithm::Rs256]);
    let only = mcp_auth_machine::Config::builder(MCP, REDIRECT)
        .pre_registered(AS, PreRegistered::new("service").key(key))
        .client_credentials();
    let mut host = to_token(only, &machine_metadata(AS, both, listed));
    assert!(matches!(
        misconfigured(host.error()),
        Misconfiguration::ClientMethod(MethodFlaw::Algorithm)
    ));
    host.quiet();
}

#[test]
fn tok_05_quirk_31_an_assertion_that_was_supplied_and_an_identifier_beside_it() {
    let client = PreRegistered::new("service").assertion("a.b.c");
    let settings = IssuerSettings::new().client_id_with_assertion();
    let config = config()
        .pre_registered(AS, client)
        .issuer_settings(AS, settings)
        .client_credentials();
    let mut host = to_token(config, &machine_metadata(AS, r#""private_key_jwt""#, ""));
    let form = body(host.request().request());
    assert_eq!(get(&form, "client_assertion").as_deref(), Some("a.b.c"));
    assert_eq!(get(&form, "client_id").as_deref(), Some("service"));
}

#[test]
fn quirk_31_b03_s32_the_token_endpoint_is_the_audience_where_the_host_says_so_of_this_issuer() {
    let key = || SigningKey::new("k", [SigningAlgorithm::Es256]);
    for (of, audience) in [(AS, TOKEN), (OTHER, AS)] {
        let settings =
            IssuerSettings::new().client_assertion_audience(AssertionAudience::TokenEndpoint);
        let config = config()
            .pre_registered(AS, service().key(key()))
            .issuer_settings(of, settings)
            .client_credentials();
        let listed = r#","token_endpoint_auth_signing_alg_values_supported":["ES256"]"#;
        let metadata = machine_metadata(AS, r#""private_key_jwt""#, listed);
        let mut host = to_token(config.clone(), &metadata);
        let (_, claims) = host.signs();
        assert_eq!(claims["aud"], audience);
        let told = host.reports.iter().any(|decision| {
            matches!(decision, Decision::SettingApplied { setting, .. } if *setting == "client_assertion_audience")
        });
        assert_eq!(told, audience == TOKEN);
        // Never an endpoint on another origin.
        let borrowed = metadata.replace(TOKEN, "https://b.example/token");
        let (_, claims) = to_token(config, &borrowed).signs();
        assert_eq!(claims["aud"], AS);
    }
}

#[test]
fn l10_a_client_that_is_refused_is_not_tried_again_at_once() {
    let mut host = to_token(m2m(), &machine_metadata(AS, r#""client_secret_basic""#, ""));
    host.serve(TOKEN, 401, r#"{"error":"invalid_client"}"#);
    host.error();
    host.wanted("x");
    assert!(matches!(host.error().next(), Next::RetryLater(Some(_))));
    host.quiet();
}

#[test]
fn m2m_03_m2m_10_a04_s01_another_server_gets_nothing_and_nothing_else_is_tried() {
    for registration in [DynamicRegistration::Always, DynamicRegistration::Never] {
        let mut host = Host::new(m2m().dynamic_registration(registration));
        host.challenged(401, &[&announcing()]);
        host.serve(PRM, 200, &prm().replace(AS, OTHER));
        let more = r#","registration_endpoint":"https://b.example/register","authorization_endpoint":"https://b.example/authorize""#;
        let request = host.serve(
            OTHER_META,
            200,
            &machine_metadata(OTHER, r#""client_secret_basic""#, more),
        );
        assert!(request.body().is_empty());
        let Misconfiguration::OtherIssuer { configured, found } = misconfigured(host.error())
        else {
            panic!()
        };
        assert_eq!((configured[0].as_str(), found.as_str()), (AS, OTHER));
        host.quiet();
    }
    // A refusal is the end: no user, no other grant.
    let mut host = to_token(m2m(), &machine_metadata(AS, r#""client_secret_basic""#, ""));
    host.serve(TOKEN, 400, r#"{"error":"unauthorized_client"}"#);
    assert!(matches!(
        host.error().cause,
        Cause::Refused(Refusal::OAuth {
            error: OAuthError::UnauthorizedClient,
            ..
        })
    ));
    host.quiet();
}

#[test]
fn reg_04_a_credential_without_an_issuer_is_bound_visibly_and_for_good() {
    let config = || {
        config()
            .pre_registered_unbound(service())
            .client_credentials()
    };
    let mut host = to_token(
        config(),
        &machine_metadata(AS, r#""client_secret_basic""#, ""),
    );
    assert_eq!(host.reported("client_bound"), 1);
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
    host.accepted("tools/call x");
    // The resource moves: the credential does not.
    host.refused("Bearer");
    host.serve(PRM, 200, &prm().replace(AS, OTHER));
    assert!(matches!(
        misconfigured(host.error()),
        Misconfiguration::OtherIssuer { .. }
    ));
    host.quiet();
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
}

#[test]
fn m2m_09_renewed_by_a_new_request() {
    let mut host = to_token(m2m(), &machine_metadata(AS, r#""client_secret_basic""#, ""));
    host.serve(TOKEN, 200, &renewable("at-1", "rt-1"));
    host.ready();
    for number in 2..8 {
        // The token is renewed each time it expires, even without `Accepted`.
        host.pass(HOUR);
        host.wanted("tools/call x");
        while let Some(Action::SendRequest(send)) = host.actions.pop_front() {
            let url = send.request().uri().to_string();
            let answer = match url.as_str() {
                PRM => prm(),
                META => machine_metadata(AS, r#""client_secret_basic""#, ""),
                _ => {
                    let form = body(send.request());
                    assert_eq!(
                        get(&form, "grant_type").as_deref(),
                        Some("client_credentials")
                    );
                    assert_eq!(get(&form, "scope").as_deref(), Some("a"));
                    token_answer(&format!("at-{number}"))
                }
            };
            host.handle(send.response(response(200, &[], &answer)));
            if host.token().is_some() {
                break;
            }
        }
        host.ready();
        assert_eq!(host.token(), Some(format!("Bearer at-{number}")));
    }
}

#[test]
fn tok_21_11_4_use_08_failures_for_now_and_fresh_tokens_that_are_refused() {
    let metadata = machine_metadata(AS, r#""client_secret_basic""#, "");
    let mut host = to_token(m2m(), &metadata);
    for attempt in 1..=3 {
        let send = host.request();
        assert_eq!(send.purpose(), Purpose::Token);
        host.handle(send.response(response(503, &[], "")));
        if attempt < 3 {
            host.quiet();
            assert!(host.wake() >= 1_000);
        }
    }
    assert!(matches!(host.error().cause, Cause::Unreachable(_)));
    // At rest; then it heals.
    host.wanted("x");
    assert!(matches!(host.error().next(), Next::RetryLater(Some(_))));
    host.quiet();
    host.pass(60_000);
    host.wanted("x");
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata);
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
    host.refused("Bearer");
    assert_eq!(
        host.error().cause,
        Cause::Violation(Violation::FreshTokenRefused { description: None })
    );
    host.quiet();
}

#[test]
fn m2m_11_step_07_a_step_up_is_a_new_request_with_the_union() {
    let mut host = to_token(m2m(), &machine_metadata(AS, r#""client_secret_basic""#, ""));
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
    host.accepted("tools/call x");
    for number in 1..=3 {
        let sent = host.token();
        let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"s{number}\"");
        host.challenged_for("tools/call x", 403, &[&challenge], sent.as_deref());
        host.serve(PRM, 200, &prm());
        let form = body(&host.serve(TOKEN, 200, &token_answer(&format!("at-{}", number + 1))));
        let scope = get(&form, "scope").unwrap();
        assert!(
            scope.starts_with("a s1") && scope.ends_with(&format!("s{number}")),
            "{scope}"
        );
        host.ready();
    }
    let sent = host.token();
    let challenge = "Bearer error=\"insufficient_scope\", scope=\"s4\"";
    host.challenged_for("tools/call x", 403, &[challenge], sent.as_deref());
    assert!(matches!(
        host.error().cause,
        Cause::Refused(Refusal::InsufficientScope { attempts: 3, .. })
    ));
    host.quiet();
}

#[test]
fn refr_12_a_token_that_comes_after_sign_out_is_revoked() {
    let more = r#","revocation_endpoint":"https://as.example/revoke""#;
    let mut host = to_token(
        m2m(),
        &machine_metadata(AS, r#""client_secret_basic""#, more),
    );
    let send = host.request();
    host.handle(Event::SignedOut);
    assert_eq!(host.error().cause, Cause::Abandoned);
    host.quiet();
    host.handle(send.response(response(200, &[], &token_answer("at-1"))));
    let form = body(&host.serve("https://as.example/revoke", 200, ""));
    assert_eq!(get(&form, "token").as_deref(), Some("at-1"));
    host.quiet();
    assert_eq!(host.token(), None);
}

#[test]
fn rev_01_a_key_signs_for_revocation_too() {
    let key = SigningKey::new("service-key", [SigningAlgorithm::Es256]);
    let config = config()
        .pre_registered(AS, PreRegistered::new("service").key(key))
        .client_credentials();
    let more = r#","revocation_endpoint":"https://as.example/revoke""#;
    let mut host = to_token(config, &machine_metadata(AS, r#""private_key_jwt""#, more));
    host.signs();
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
    host.handle(Event::SignedOut);
    let (_, claims) = host.signs();
    assert_eq!(claims["aud"], AS);
    let form = body(&host.serve("https://as.example/revoke", 200, ""));
    assert_eq!(get(&form, "token").as_deref(), Some("at-1"));
    assert!(get(&form, "client_assertion").is_some());
    host.quiet();
}

/// A client without a user ignores a stray callback and continues.
#[test]
fn m2m_02_a_stray_callback_changes_nothing() {
    let mut host = to_token(m2m(), &machine_metadata(AS, r#""client_secret_basic""#, ""));
    let send = host.request();
    host.handle(send.response(response(503, &[], "")));
    host.callback("code=c&state=nobodys-state-22-chars");
    host.callback(&format!("code=c&state={}", "A".repeat(22)));
    host.quiet();
    assert_eq!(host.reported("callback_ignored"), 2);
    host.wake();
    host.serve(TOKEN, 200, r#"{"access_token":"at-1"}"#);
    host.ready();
    assert_eq!(host.reported("token_type_assumed"), 1);
}

/// With a client without a user, `Authorize` requests a token and causes no redirect.
#[test]
fn m2m_02_m2m_04_to_authorize_is_to_want_a_token() {
    let mut host = Host::new(m2m());
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.authorize();
    host.serve(
        META,
        200,
        &machine_metadata(AS, r#""client_secret_basic""#, ""),
    );
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
    host.quiet();
    host.authorize();
    host.ready();
    host.quiet();
}

#[test]
fn tok_22_a_recent_rejection_is_reported_with_the_retry_time() {
    let mut host = to_token(m2m(), &machine_metadata(AS, "\"client_secret_post\"", ""));
    host.serve(TOKEN, 400, r#"{"error":"invalid_target"}"#);
    let refused = host.error().cause;
    for _ in 0..2 {
        host.pass(1_000);
        host.wanted("x");
        let failure = host.error();
        let Cause::Resting(resting) = &failure.cause else {
            panic!("{failure:?}")
        };
        assert_eq!(*resting.after, refused);
        assert_eq!(failure.cause.code(), refused.code());
        assert_eq!(failure.next(), Next::RetryLater(Some(resting.retry_at)));
        assert!(failure.to_string().contains("invalid_target"), "{failure}");
        host.quiet();
    }
}

/// The stored token had expired by a clock that was ahead, and the refused request carried none: once the clock is set back, the
/// stored token answers the request.
#[test]
fn use_14_m2m_09_a_stored_token_that_was_not_refused_answers_after_the_clock_is_set_back() {
    let metadata = machine_metadata(AS, r#""client_secret_basic""#, "");
    for sent in [false, true] {
        let mut host = to_token(m2m(), &metadata);
        host.serve(TOKEN, 200, &token_answer("at-1"));
        host.ready();
        host.accepted("tools/call x");
        let held = host.token();
        host.now.wall.0 += 2 * HOUR;
        host.challenged_for("y", 401, &["Bearer"], held.as_deref().filter(|_| sent));
        host.serve(PRM, 200, &prm());
        host.serve(META, 200, &metadata);
        host.serve_with(TOKEN, 503, &[("retry-after", "5")], "");
        host.now.wall.0 -= 2 * HOUR;
        host.wake();
        if sent {
            host.serve(META, 200, &metadata);
            host.serve(TOKEN, 200, &token_answer("at-2"));
        }
        host.ready();
        host.quiet();
    }
}
