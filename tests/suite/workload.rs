//! Workload identity: a JWT of the host's platform is the grant (WIF).

use mcp_auth_machine::action::{AssertionKind, ObtainAssertion, SubjectTokenKind};
use mcp_auth_machine::config::{
    AssertionAudience, ConfigBuilder, IssuerSettings, JwtBearerSupport, PreRegistered, Strictness,
    WorkloadIdentity,
};
use mcp_auth_machine::error::{Cause, Misconfiguration, Refusal};

use crate::support::*;
use crate::without_user::{
    HOUR, JWT_BEARER, OTHER, OTHER_META, machine_metadata, misconfigured, obtain, to_token,
};

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
}

#[test]
fn wif_10_renewed_with_another_assertion() {
    let mut host = to_token(wif(), &wif_metadata());
    let asked = obtain(&mut host);
    host.handle(asked.workload("w.l.1"));
    host.serve(TOKEN, 200, &renewable("at-1", "rt-1"));
    host.ready();
    host.accepted("tools/call x");
    host.pass(HOUR);
    host.wanted("x");
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &wif_metadata());
    let asked = obtain(&mut host);
    host.handle(asked.workload("w.l.2"));
    let form = body(host.request().request());
    assert_eq!(get(&form, "grant_type").as_deref(), Some(JWT_BEARER));
    assert_eq!(get(&form, "assertion").as_deref(), Some("w.l.2"));
    assert_eq!(get(&form, "refresh_token"), None);
}

#[test]
fn wif_03_wif_05_the_settings_of_the_host() {
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

/// A token endpoint on another origin may be that of another server, which would accept the assertion.
#[test]
fn wif_03_b03_s32_a_token_endpoint_elsewhere_is_no_audience() {
    let settings = IssuerSettings::new().assertion_audience(AssertionAudience::TokenEndpoint);
    let config = config()
        .workload_identity(WorkloadIdentity::at(AS))
        .issuer_settings(AS, settings);
    let elsewhere = wif_metadata().replace(TOKEN, "https://b.example/token");
    let mut host = to_token(config, &elsewhere);
    assert_eq!(
        obtain(&mut host).kind(),
        &AssertionKind::Workload {
            audience: AS.into()
        }
    );
}

#[test]
fn wif_12_sec_30_assertions_go_to_allowed_servers_only() {
    let mut host = Host::new(wif());
    host.challenged(401, &[&announcing()]);
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
fn wif_12_disc_16_an_allowed_server_is_taken_wherever_it_is_listed() {
    let mut host = Host::new(wif());
    host.challenged(401, &[]);
    let two = format!(r#""{OTHER}","{AS}""#);
    host.serve(PRM, 200, &prm().replace(&format!("\"{AS}\""), &two));
    host.serve(META, 200, &wif_metadata());
    obtain(&mut host);
}

#[test]
fn wif_12_iso_06_the_resource_may_move_from_one_allowed_server_to_another() {
    let both = WorkloadIdentity::at(OTHER).and_at(AS);
    let mut host = to_token(config().workload_identity(both), &wif_metadata());
    let asked = obtain(&mut host);
    host.handle(asked.workload("w.l.1"));
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
    host.accepted("tools/call x");
    host.pass(2 * HOUR);
    host.challenged_for("tools/call x", 401, &[], Some("at-1"));
    host.serve(PRM, 200, &prm().replace(AS, OTHER));
    host.serve(OTHER_META, 200, &wif_metadata().replace(AS, OTHER));
    let asked = obtain(&mut host);
    assert_eq!(
        asked.kind(),
        &AssertionKind::Workload {
            audience: OTHER.into()
        }
    );
    host.handle(asked.workload("w.l.2"));
    let form = body(&host.serve("https://b.example/token", 200, &token_answer("at-2")));
    assert_eq!(get(&form, "assertion").as_deref(), Some("w.l.2"));
    host.ready();
    // To one that is not allowed it may not, and is not asked for an assertion.
    host.accepted("tools/call x");
    host.pass(2 * HOUR);
    host.challenged_for("tools/call x", 401, &[], Some("at-2"));
    host.serve(PRM, 200, &prm().replace(AS, "https://evil.example"));
    assert!(matches!(
        misconfigured(host.error()),
        Misconfiguration::AssertionNotAllowed { .. }
    ));
    host.quiet();
}

#[test]
fn an_allowed_server_may_differ_by_a_slash_unless_the_host_is_strict() {
    for (listed, strictness, may) in [
        (AS, Strictness::Strict, true),
        ("https://as.example/", Strictness::Strict, false),
        ("https://as.example/", Strictness::Tolerant, true),
    ] {
        let config = config()
            .workload_identity(WorkloadIdentity::at(listed))
            .strictness(strictness);
        let mut host = to_token(config, &wif_metadata());
        if may {
            obtain(&mut host);
        } else {
            assert!(matches!(
                misconfigured(host.error()),
                Misconfiguration::AssertionNotAllowed { .. }
            ));
        }
        host.quiet();
    }
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

#[test]
fn wif_03_a_client_that_is_configured_for_that_server_is_not_used() {
    let config = wif().pre_registered(AS, PreRegistered::new("c").secret("s"));
    let mut host = to_token(config.clone(), &wif_metadata());
    let asked = obtain(&mut host);
    host.handle(asked.workload("w.l.1"));
    let request = host.serve(TOKEN, 200, &token_answer("at-1"));
    assert!(!request.headers().contains_key("authorization"));
    assert_eq!(get(&body(&request), "client_id"), None);
    host.ready();
    // The stored account stays usable.
    let store = std::mem::take(&mut host.store);
    let mut later = Host::on(std::sync::Arc::new(config.build().unwrap()), store);
    assert_eq!(later.token().as_deref(), Some("Bearer at-1"));
}
