//! Several authorization servers, for a client that acts for itself (DISC-16): a first token may come from the next one
//! that is listed; an account never moves unasked.

use mcp_auth_machine::Event;
use mcp_auth_machine::config::{ConfigBuilder, WorkloadIdentity};
use mcp_auth_machine::error::Cause;

use crate::support::*;
use crate::without_user::{HOUR, machine_metadata, obtain, service};

const X: &str = "https://x.example";
const X_META: &str = "https://x.example/.well-known/oauth-authorization-server";
const X_OPENID: &str = "https://x.example/.well-known/openid-configuration";
const JWT_BEARER: &str =
    r#","grant_types_supported":["urn:ietf:params:oauth:grant-type:jwt-bearer"]"#;

fn prm_of(issuers: &[&str]) -> String {
    let listed = issuers.iter().map(|issuer| format!("\"{issuer}\""));
    let listed = listed.collect::<Vec<_>>().join(",");
    prm().replace(&format!("\"{AS}\""), &listed)
}

fn m2m() -> ConfigBuilder {
    config()
        .pre_registered(X, service())
        .pre_registered(AS, service())
        .client_credentials()
}

fn basic(issuer: &str) -> String {
    machine_metadata(issuer, r#""client_secret_basic""#, "")
}

fn begun(config: ConfigBuilder) -> Host {
    let mut host = Host::new(config);
    host.challenged(401, &[&announcing()]);
    host.serve(PRM, 200, &prm_of(&[X, AS]));
    host
}

#[test]
fn disc_16_m2m_02_a_first_token_may_come_from_the_next_server() {
    // One that is down, and one whose document breaks a rule.
    for (status, document) in [(500, String::new()), (200, basic("https://evil.example"))] {
        let mut host = begun(m2m());
        host.serve(X_META, status, &document);
        host.serve(X_OPENID, 404, "");
        assert_eq!(host.reported("server_passed_over"), 1);
        host.serve(META, 200, &basic(AS));
        host.serve(TOKEN, 200, &token_answer("at-1"));
        assert_eq!(host.ready().issuer.as_str(), AS);
    }
    // One that takes no client with a secret.
    let mut host = begun(m2m());
    host.serve(
        X_META,
        200,
        &machine_metadata(X, r#""private_key_jwt""#, ""),
    );
    host.serve(META, 200, &basic(AS));
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
    // One without a client, although the host prefers it.
    let only = config()
        .pre_registered(AS, service())
        .prefer_issuer(X)
        .client_credentials();
    let mut host = begun(only);
    host.serve(X_META, 200, &basic(X));
    host.serve(META, 200, &basic(AS));
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
}

#[test]
fn disc_16_m2m_02_where_no_server_can_be_used_the_first_one_is_the_reason() {
    let mut host = begun(m2m());
    host.serve(X_META, 500, "");
    host.serve(X_OPENID, 404, "");
    host.serve(META, 200, &machine_metadata(AS, r#""private_key_jwt""#, ""));
    assert!(matches!(host.error().cause, Cause::Unreachable(_)));
    host.quiet();
}

#[test]
fn disc_16_iso_06_an_account_without_a_user_does_not_move_because_its_server_is_down() {
    let mut host = begun(m2m());
    host.serve(X_META, 200, &basic(X));
    let token = format!("{X}/token");
    host.serve(&token, 200, &token_answer("at-1"));
    host.ready();
    host.accepted("tools/call x");
    host.pass(2 * HOUR);
    host.store.slots.retain(|key, _| key.starts_with("account"));
    host.wanted("x");
    host.serve(PRM, 200, &prm_of(&[AS, X]));
    host.serve(X_META, 500, "");
    host.serve(X_OPENID, 404, "");
    assert!(matches!(host.error().cause, Cause::Unreachable(_)));
    host.quiet();
}

#[test]
fn disc_16_wif_04_an_assertion_goes_to_the_next_allowed_server() {
    let both = WorkloadIdentity::at(X).and_at(AS);
    let wif = || config().workload_identity(both.clone());
    for unusable in [machine_metadata(X, r#""none""#, ""), String::new()] {
        let mut host = begun(wif());
        if unusable.is_empty() {
            host.serve(X_META, 503, "");
            host.serve(X_OPENID, 404, "");
        } else {
            host.serve(X_META, 200, &unusable);
        }
        host.serve(META, 200, &machine_metadata(AS, r#""none""#, JWT_BEARER));
        let asked = obtain(&mut host);
        host.handle(asked.workload("w.l.1"));
        host.serve(TOKEN, 200, &token_answer("at-1"));
        host.ready();
    }
}

/// A cache write is not waited for, and may be lost.
#[test]
fn iso_04_disc_19_no_cache_undoes_what_the_resource_said_later() {
    for signs_out in [false, true] {
        let mut host = begun(m2m());
        host.serve(X_META, 200, &basic(X));
        host.serve(&format!("{X}/token"), 200, &token_answer("at-1"));
        host.ready();
        host.accepted("tools/call x");
        let older = host.store.slots.clone();
        let older = older
            .into_iter()
            .filter(|(key, _)| key.starts_with("metadata"));
        host.pass(10 * 60_000);
        host.refused("Bearer");
        host.serve(PRM, 200, &prm());
        host.serve(META, 200, &basic(AS));
        host.serve(TOKEN, 200, &token_answer("at-2"));
        host.ready();
        host.accepted("tools/call x");
        // A poisoned or late write brings the old document back.
        host.store.slots.extend(older);
        if signs_out {
            host.handle(Event::SignedOut);
        } else {
            host.pass(61 * 60_000);
        }
        host.wanted("x");
        host.serve(PRM, 200, &prm());
        if !signs_out {
            host.serve(META, 200, &basic(AS));
        }
        host.serve(TOKEN, 200, &token_answer("at-3"));
        host.ready();
    }
}
