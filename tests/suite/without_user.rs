//! Tokens without a user: client credentials (M2M), workload identity (WIF), the organisation's
//! identity provider (EMA).

use mcp_auth_machine::action::{
    AssertionKind, ObtainAssertion, Purpose, SubjectTokenKind, UrlSource,
};
use mcp_auth_machine::config::{
    AssertionAudience, ConfigBuilder, DynamicRegistration, Enterprise, IssuerSettings,
    JwtBearerSupport, PreRegistered, WorkloadIdentity,
};
use mcp_auth_machine::error::{Cause, Misconfiguration, Next, Refusal, Stage, Violation};
use mcp_auth_machine::key::SigningKey;
use mcp_auth_machine::wire::callback::IssBinding;
use mcp_auth_machine::wire::token::{AuthenticationWish, OAuthError};
use mcp_auth_machine::wire::words::SigningAlgorithm;
use mcp_auth_machine::{Action, Event, Failure, MethodFlaw};

use crate::support::*;

const TOKEN: &str = "https://as.example/token";
const META: &str = "https://as.example/.well-known/oauth-authorization-server";
const OTHER: &str = "https://b.example";
const OTHER_META: &str = "https://b.example/.well-known/oauth-authorization-server";
const IDP: &str = "https://idp.example";
const IDP_META: &str = "https://idp.example/.well-known/oauth-authorization-server";
const IDP_TOKEN: &str = "https://idp.example/token";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const ID_JAG: &str = "urn:ietf:params:oauth:token-type:id-jag";
const HOUR: u64 = 3_600_000;

/// Metadata without anything that a user would need.
fn machine_metadata(issuer: &str, methods: &str, more: &str) -> String {
    format!(
        r#"{{"issuer":"{issuer}","token_endpoint":"{issuer}/token",
        "token_endpoint_auth_methods_supported":[{methods}]{more}}}"#
    )
}

fn service() -> PreRegistered {
    PreRegistered::new("service").secret("s3cret")
}

fn m2m() -> ConfigBuilder {
    config().pre_registered(AS, service()).client_credentials()
}

/// Refused without a token; metadata up to the token request.
fn to_token(config: ConfigBuilder, metadata: &str) -> Host {
    let mut host = Host::new(config);
    host.challenged(
        401,
        &[&format!("Bearer scope=\"a\", resource_metadata=\"{PRM}\"")],
    );
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, metadata);
    host
}

fn obtain(host: &mut Host) -> ObtainAssertion {
    match host.next() {
        Action::ObtainAssertion(asked) => asked,
        other => panic!("{other:?}"),
    }
}

fn misconfigured(failure: Failure) -> Misconfiguration {
    match failure.cause {
        Cause::Misconfigured(found) => found,
        other => panic!("{other:?}"),
    }
}

// ---- Client credentials

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
    // Basic where there is no list.
    let unlisted = machine_metadata(AS, "", "")
        .replace(r#""token_endpoint_auth_methods_supported":[]"#, r#""x":1"#);
    let mut host = to_token(m2m(), &unlisted);
    assert!(
        host.request()
            .request()
            .headers()
            .contains_key("authorization")
    );
    // Nothing that fits: nothing is sent.
    let mut host = to_token(m2m(), &machine_metadata(AS, r#""private_key_jwt""#, ""));
    assert!(matches!(
        misconfigured(host.error()),
        Misconfiguration::ClientMethod(MethodFlaw::NothingListed)
    ));
    host.quiet();
    // A public client is none.
    let public = config()
        .pre_registered(AS, PreRegistered::new("p"))
        .client_credentials();
    let mut host = to_token(public, &machine_metadata(AS, r#""none""#, ""));
    assert!(matches!(
        misconfigured(host.error()),
        Misconfiguration::ClientMethod(MethodFlaw::Public)
    ));
    host.quiet();
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
fn tok_05_an_assertion_that_was_supplied_and_an_identifier_beside_it() {
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
fn m2m_03_m2m_10_a04_s01_another_server_gets_nothing_and_nothing_else_is_tried() {
    for registration in [DynamicRegistration::Always, DynamicRegistration::Never] {
        let mut host = Host::new(m2m().dynamic_registration(registration));
        host.challenged(401, &[&format!("Bearer resource_metadata=\"{PRM}\"")]);
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
        // However often it is over, and although nobody says that a request went through.
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
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
    host.refused("Bearer");
    assert_eq!(
        host.error().cause,
        Cause::Violation(Violation::FreshTokenRefused)
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

// ---- Workload identity

fn wif() -> ConfigBuilder {
    config().workload_identity(WorkloadIdentity::at(AS))
}

fn wif_metadata() -> String {
    machine_metadata(
        AS,
        r#""none""#,
        &format!(r#","grant_types_supported":["{JWT_BEARER}"]"#),
    )
}

#[test]
fn wif_02_wif_03_wif_05_wif_11_the_assertion_is_the_grant() {
    let mut host = to_token(wif(), &wif_metadata());
    let asked = obtain(&mut host);
    assert_eq!(
        asked.kind(),
        &AssertionKind::Workload {
            audience: AS.into()
        }
    );
    host.handle(asked.workload("w.l.1"));
    let request = host.serve(TOKEN, 200, &renewable("at-1", "rt-1"));
    let form = body(&request);
    assert_eq!(get(&form, "grant_type").as_deref(), Some(JWT_BEARER));
    assert_eq!(get(&form, "assertion").as_deref(), Some("w.l.1"));
    assert_eq!(get(&form, "resource").as_deref(), Some(MCP));
    for name in ["client_id", "client_secret", "client_assertion"] {
        assert_eq!(get(&form, name), None, "{name}");
    }
    assert!(!request.headers().contains_key("authorization"));
    host.ready();
    // Not kept anywhere.
    for stored in host.store.slots.values() {
        assert!(!stored.contents.expose().contains("w.l.1"));
        assert!(!stored.contents.expose().contains("rt-1"));
    }
    // Another one each time (WIF-10).
    host.pass(HOUR);
    host.wanted("x");
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &wif_metadata());
    let asked = obtain(&mut host);
    host.handle(asked.workload("w.l.2"));
    let form = body(host.request().request());
    assert_eq!(get(&form, "assertion").as_deref(), Some("w.l.2"));
}

#[test]
fn wif_03_wif_05_what_the_host_may_set() {
    let workload = WorkloadIdentity::at(OTHER).and_at(AS).client_id("w-1");
    let settings = IssuerSettings::new().assertion_audience(AssertionAudience::TokenEndpoint);
    let config = config()
        .workload_identity(workload)
        .issuer_settings(AS, settings);
    let mut host = to_token(config, &wif_metadata());
    let asked = obtain(&mut host);
    assert_eq!(
        asked.kind(),
        &AssertionKind::Workload {
            audience: TOKEN.into()
        }
    );
    host.handle(asked.workload("w.l.1"));
    let form = body(host.request().request());
    assert_eq!(get(&form, "client_id").as_deref(), Some("w-1"));
}

#[test]
fn wif_12_sec_30_assertions_go_to_allowed_servers_only() {
    let mut host = Host::new(wif());
    host.challenged(401, &[&format!("Bearer resource_metadata=\"{PRM}\"")]);
    host.serve(PRM, 200, &prm().replace(AS, OTHER));
    host.serve(OTHER_META, 200, &wif_metadata().replace(AS, OTHER));
    // Not even asked for.
    let Misconfiguration::AssertionNotAllowed { allowed, found } = misconfigured(host.error())
    else {
        panic!()
    };
    assert_eq!((allowed[0].as_str(), found.as_str()), (AS, OTHER));
    host.quiet();
}

#[test]
fn wif_04_the_grant_must_be_offered() {
    let without = machine_metadata(AS, r#""none""#, "");
    let mut host = to_token(wif(), &without);
    assert_eq!(
        misconfigured(host.error()),
        Misconfiguration::GrantNotOffered
    );
    host.quiet();
    let settings = IssuerSettings::new().jwt_bearer(JwtBearerSupport::Assumed);
    let mut host = to_token(wif().issuer_settings(AS, settings), &without);
    obtain(&mut host);
}

#[test]
fn wif_05_wif_07_wif_08_wif_09_a_refusal_is_told_and_is_the_end() {
    for (status, error) in [
        (400, "invalid_grant"),
        (400, "invalid_scope"),
        (400, "unauthorized_client"),
        (400, "unsupported_grant_type"),
        (401, "invalid_client"),
        (400, "invalid_target"),
    ] {
        let mut host = to_token(wif(), &wif_metadata());
        let asked = obtain(&mut host);
        host.handle(asked.workload("w.l.1"));
        host.serve(TOKEN, status, &format!(r#"{{"error":"{error}"}}"#));
        let failure = host.error();
        let Cause::Refused(Refusal::OAuth {
            code: Some(code), ..
        }) = failure.cause
        else {
            panic!("{failure:?}")
        };
        assert_eq!(code.as_plain(), error);
        host.quiet();
    }
    // None to be had, one of the wrong kind, or no answer at all.
    for answer in [
        |asked: ObtainAssertion| asked.failed(),
        |asked: ObtainAssertion| asked.subject("s", SubjectTokenKind::IdToken),
    ] {
        let mut host = to_token(wif(), &wif_metadata());
        let asked = obtain(&mut host);
        host.handle(answer(asked));
        assert_eq!(misconfigured(host.error()), Misconfiguration::NoAssertion);
        host.quiet();
    }
    let mut host = to_token(wif(), &wif_metadata());
    let late = obtain(&mut host);
    host.wake();
    assert_eq!(misconfigured(host.error()), Misconfiguration::NoAssertion);
    host.handle(late.workload("w.l.1"));
    host.quiet();
}

// ---- Enterprise-managed

fn ema() -> ConfigBuilder {
    let idp_client = PreRegistered::new("idp-client").secret("idp-secret");
    config()
        .pre_registered(AS, service())
        .enterprise(Enterprise::new(IDP, idp_client))
}

fn ema_metadata() -> String {
    let more = format!(
        r#","grant_types_supported":["{JWT_BEARER}"],"authorization_grant_profiles_supported":["urn:ietf:params:oauth:grant-profile:id-jag"]"#
    );
    machine_metadata(AS, r#""client_secret_basic""#, &more)
}

fn idp_metadata() -> String {
    machine_metadata(IDP, r#""client_secret_basic""#, "")
}

fn id_jag(grant: &str) -> String {
    format!(
        r#"{{"access_token":"{grant}","issued_token_type":"{ID_JAG}","token_type":"N_A","expires_in":300}}"#
    )
}

/// Up to the exchange at the identity provider.
fn to_exchange() -> Host {
    let mut host = to_token(ema(), &ema_metadata());
    host.serve(IDP_META, 200, &idp_metadata());
    let asked = obtain(&mut host);
    assert_eq!(
        asked.kind(),
        &AssertionKind::Subject {
            issuer: mcp_auth_machine::IssuerId::new(IDP, config().build().unwrap().url_policy())
                .unwrap(),
            renew: false,
            wish: AuthenticationWish::default(),
        }
    );
    host.handle(asked.subject("id.to.ken", SubjectTokenKind::IdToken));
    host
}

#[test]
fn ema_02_ema_04_to_ema_14_the_whole_way() {
    let mut host = to_token(ema(), &ema_metadata());
    let send = host.request();
    assert_eq!(send.request().uri().to_string(), IDP_META);
    assert_eq!(send.supplied_by(), UrlSource::Host);
    host.handle(send.response(response(200, &[], &idp_metadata())));
    let asked = obtain(&mut host);
    host.handle(asked.subject("id.to.ken", SubjectTokenKind::IdToken));
    let request = host.serve(IDP_TOKEN, 200, &id_jag("jag.1.x"));
    let form = body(&request);
    let wanted = [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("requested_token_type", ID_JAG),
        ("audience", AS),
        ("resource", MCP),
        ("scope", "a"),
        ("subject_token", "id.to.ken"),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:id_token",
        ),
    ];
    for (name, value) in wanted {
        assert_eq!(get(&form, name).as_deref(), Some(value), "{name}");
    }
    let first = request.headers()["authorization"].clone();
    let request = host.serve(TOKEN, 200, &renewable("at-1", "rt-1"));
    let form = body(&request);
    for (name, value) in [
        ("grant_type", JWT_BEARER),
        ("assertion", "jag.1.x"),
        ("resource", MCP),
        ("scope", "a"),
    ] {
        assert_eq!(get(&form, name).as_deref(), Some(value), "{name}");
    }
    // Each server sees its own client.
    assert_ne!(first, request.headers()["authorization"]);
    assert_eq!(get(&form, "subject_token"), None);
    host.ready();
    for stored in host.store.slots.values() {
        for secret in ["id.to.ken", "jag.1.x", "rt-1", "idp-secret"] {
            assert!(!stored.contents.expose().contains(secret), "{secret}");
        }
    }
}

#[test]
fn ema_10_what_is_no_grant_is_not_forwarded() {
    for (status, answer) in [
        (200, id_jag("jag").replace("N_A", "Bearer")),
        (200, id_jag("jag").replace("id-jag", "access_token")),
        (200, id_jag("")),
        (200, "<html>".to_owned()),
        (400, "{}".to_owned()),
        (201, id_jag("jag")),
    ] {
        let mut host = to_exchange();
        host.serve(IDP_TOKEN, status, &answer);
        let failure = host.error();
        assert_eq!(
            failure.cause,
            Cause::Violation(Violation::NoIdJag),
            "{answer}"
        );
        assert_eq!(failure.stage, Stage::IdentityProvider);
        host.quiet();
    }
    // Any case will do for the type.
    let mut host = to_exchange();
    host.serve(IDP_TOKEN, 200, &id_jag("jag").replace("N_A", "n_a"));
    assert_eq!(host.request().request().uri().to_string(), TOKEN);
}

#[test]
fn ema_03_ema_15_when_the_profile_is_used() {
    // Not said, and not known to the host.
    let mut host = to_token(ema(), &machine_metadata(AS, r#""client_secret_basic""#, ""));
    assert_eq!(
        misconfigured(host.error()),
        Misconfiguration::GrantNotOffered
    );
    host.quiet();
    // Known to the host; but the grant is not in the list that there is.
    let settings = || IssuerSettings::new().jwt_bearer(JwtBearerSupport::Assumed);
    let other = r#","grant_types_supported":["authorization_code"]"#;
    let metadata = machine_metadata(AS, r#""client_secret_basic""#, other);
    let mut host = to_token(ema().issuer_settings(AS, settings()), &metadata);
    assert_eq!(
        misconfigured(host.error()),
        Misconfiguration::GrantNotOffered
    );
    let mut host = to_token(
        ema().issuer_settings(AS, settings()),
        &machine_metadata(AS, r#""client_secret_basic""#, ""),
    );
    host.serve(IDP_META, 200, &idp_metadata());
    obtain(&mut host);
    // By metadata document where the server supports that; never by registration.
    let base = || config().enterprise(Enterprise::new(IDP, PreRegistered::new("i").secret("s")));
    let cimd = base().client_metadata_url("https://client.example/client.json");
    let supports = ema_metadata().replace('}', r#","client_id_metadata_document_supported":true}"#);
    let mut host = to_token(cimd, &supports);
    host.serve(IDP_META, 200, &idp_metadata());
    let asked = obtain(&mut host);
    host.handle(asked.subject("s", SubjectTokenKind::Saml2));
    host.serve(IDP_TOKEN, 200, &id_jag("jag"));
    let form = body(host.request().request());
    assert_eq!(
        get(&form, "client_id").as_deref(),
        Some("https://client.example/client.json")
    );
    let registers = ema_metadata().replace(
        '}',
        r#","registration_endpoint":"https://as.example/register"}"#,
    );
    let mut host = to_token(base(), &registers);
    assert!(matches!(
        misconfigured(host.error()),
        Misconfiguration::NoClient { .. }
    ));
    host.quiet();
}

#[test]
fn ema_04_the_provider_is_the_one_that_the_host_named() {
    let mut host = to_token(ema(), &ema_metadata());
    host.serve(
        IDP_META,
        200,
        &idp_metadata().replace(
            "\"issuer\":\"https://idp.example\"",
            "\"issuer\":\"https://evil.example\"",
        ),
    );
    host.serve(
        "https://idp.example/.well-known/openid-configuration",
        404,
        "",
    );
    let failure = host.error();
    assert_eq!(failure.stage, Stage::IdentityProvider);
    assert!(matches!(
        failure.cause,
        Cause::Violation(Violation::Metadata(_))
    ));
    host.quiet();
    // Or its metadata comes from the host; it is held to the same rule.
    let enterprise = |json: String| {
        let client = PreRegistered::new("i").secret("s");
        config()
            .pre_registered(AS, service())
            .enterprise(Enterprise::new(IDP, client).metadata(json))
    };
    let mut host = to_token(enterprise(idp_metadata()), &ema_metadata());
    obtain(&mut host);
    let mut host = to_token(enterprise(idp_metadata().replace(IDP, AS)), &ema_metadata());
    assert!(matches!(
        host.error().cause,
        Cause::Violation(Violation::Metadata(_))
    ));
    host.quiet();
}

#[test]
fn ema_09_an_exchange_is_authenticated_unless_the_host_says_otherwise() {
    let public = |declared: bool| {
        let enterprise = Enterprise::new(IDP, PreRegistered::new("i"));
        let enterprise = if declared {
            enterprise.public_client()
        } else {
            enterprise
        };
        config()
            .pre_registered(AS, service())
            .enterprise(enterprise)
    };
    let none = machine_metadata(IDP, r#""none""#, "");
    let mut host = to_token(public(false), &ema_metadata());
    host.serve(IDP_META, 200, &none);
    assert!(matches!(
        misconfigured(host.error()),
        Misconfiguration::ClientMethod(MethodFlaw::Public)
    ));
    host.quiet();
    let mut host = to_token(public(true), &ema_metadata());
    host.serve(IDP_META, 200, &none);
    let asked = obtain(&mut host);
    host.handle(asked.subject("s", SubjectTokenKind::RefreshToken));
    let form = body(host.request().request());
    assert_eq!(get(&form, "client_id").as_deref(), Some("i"));
}

#[test]
fn ema_16_a_refused_grant_is_replaced_once() {
    let mut host = to_exchange();
    host.serve(IDP_TOKEN, 200, &id_jag("jag.1"));
    host.serve(TOKEN, 400, r#"{"error":"invalid_grant"}"#);
    let asked = obtain(&mut host);
    host.handle(asked.subject("id.to.ken", SubjectTokenKind::IdToken));
    host.serve(IDP_TOKEN, 200, &id_jag("jag.2"));
    let form = body(&host.serve(TOKEN, 400, r#"{"error":"invalid_grant"}"#));
    assert_eq!(get(&form, "assertion").as_deref(), Some("jag.2"));
    assert!(matches!(
        host.error().cause,
        Cause::Refused(Refusal::OAuth {
            error: OAuthError::InvalidGrant,
            ..
        })
    ));
    host.quiet();
}

#[test]
fn ema_17_a_refused_subject_token_is_replaced_once() {
    for error in [
        "invalid_grant",
        "login_required",
        "insufficient_user_authentication",
    ] {
        let refused = format!(r#"{{"error":"{error}","acr_values":"mfa","max_age":60}}"#);
        let mut host = to_exchange();
        host.serve(IDP_TOKEN, 400, &refused);
        let asked = obtain(&mut host);
        let AssertionKind::Subject {
            renew: true, wish, ..
        } = asked.kind()
        else {
            panic!("{asked:?}")
        };
        assert_eq!(wish.acr_values.as_ref().unwrap().as_plain(), "mfa");
        assert_eq!(wish.max_age, Some(60));
        host.handle(asked.subject("new", SubjectTokenKind::IdToken));
        host.serve(IDP_TOKEN, 400, &refused);
        assert_eq!(host.error().stage, Stage::IdentityProvider);
        host.quiet();
    }
}

#[test]
fn ema_19_a_refusal_by_policy_is_told_as_the_providers() {
    for error in [
        "access_denied",
        "invalid_target",
        "invalid_scope",
        "unauthorized_client",
    ] {
        let mut host = to_exchange();
        host.serve(IDP_TOKEN, 400, &format!(r#"{{"error":"{error}"}}"#));
        let failure = host.error();
        assert_eq!(failure.stage, Stage::IdentityProvider);
        assert_eq!(failure.issuer.unwrap().as_str(), IDP);
        assert!(matches!(failure.cause, Cause::Refused(_)));
        // No redirect, no user.
        host.quiet();
    }
}

#[test]
fn ema_11_ema_18_ema_22_a_grant_is_presented_once_at_its_server() {
    let mut host = to_exchange();
    host.serve(IDP_TOKEN, 200, &id_jag("jag.1"));
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
    host.accepted("tools/call x");
    // The resource moves: nothing of this goes to a server for which nobody is configured.
    host.refused("Bearer");
    host.serve(PRM, 200, &prm().replace(AS, OTHER));
    assert!(matches!(
        misconfigured(host.error()),
        Misconfiguration::OtherIssuer { .. }
    ));
    host.quiet();
    // Renewed by the whole way, with a grant of its own.
    host.pass(HOUR);
    host.wanted("x");
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &ema_metadata());
    host.serve(IDP_META, 200, &idp_metadata());
    let asked = obtain(&mut host);
    host.handle(asked.subject("id.to.ken", SubjectTokenKind::IdToken));
    host.serve(IDP_TOKEN, 200, &id_jag("jag.2"));
    let form = body(&host.serve(TOKEN, 200, &token_answer("at-2")));
    assert_eq!(get(&form, "assertion").as_deref(), Some("jag.2"));
    host.ready();
}

#[test]
fn ema_23_a_step_up_goes_the_whole_way_with_the_union() {
    let mut host = to_exchange();
    host.serve(IDP_TOKEN, 200, &id_jag("jag.1"));
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
    host.accepted("tools/call x");
    let challenge = "Bearer error=\"insufficient_scope\", scope=\"b\"";
    host.challenged_for("tools/call x", 403, &[challenge], Some("Bearer at-1"));
    host.serve(PRM, 200, &prm());
    let asked = obtain(&mut host);
    host.handle(asked.subject("id.to.ken", SubjectTokenKind::IdToken));
    let form = body(&host.serve(IDP_TOKEN, 200, &id_jag("jag.2")));
    assert_eq!(get(&form, "scope").as_deref(), Some("a b"));
    let form = body(&host.serve(TOKEN, 200, &token_answer("at-2")));
    // The same in both steps (EMA-14).
    assert_eq!(get(&form, "scope").as_deref(), Some("a b"));
    host.ready();
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
