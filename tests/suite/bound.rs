//! Tokens bound to a key: every grant, which algorithm, and what is kept (DPOP).

use http::Method;
use mcp_auth_machine::config::{Dpop, DpopPolicy, PreRegistered, PushedRequests, WorkloadIdentity};
use mcp_auth_machine::error::{Cause, Violation};
use mcp_auth_machine::key::{PublicKey, SigningKey};
use mcp_auth_machine::wire::words::SigningAlgorithm;
use mcp_auth_machine::{Action, NoBearer};

use crate::dpop::{JWK, LISTED, THUMBPRINT, bound, key, signed_in, with};
use crate::support::*;
use crate::without_user::{JWT_BEARER, machine_metadata, obtain};

fn proofs(request: &http::Request<bytes::Bytes>) -> usize {
    request.headers().get_all("dpop").iter().count()
}

/// A resource that was refused once, up to the request that needs a key or an assertion.
fn without_user(config: mcp_auth_machine::config::ConfigBuilder, metadata: &str) -> Host {
    let mut host = Host::new(config);
    host.challenged(401, &[&announcing()]);
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, metadata);
    host
}

#[test]
fn dpop_07_dpop_10_client_credentials_with_a_key_for_each_purpose() {
    let own = SigningKey::new("client-key", [SigningAlgorithm::Es256]);
    let config = config()
        .pre_registered(AS, PreRegistered::new("service").key(own))
        .client_credentials()
        .dpop(Dpop::new(DpopPolicy::Require).key(key()));
    let mut host = without_user(
        config,
        &machine_metadata(AS, r#""private_key_jwt""#, LISTED),
    );
    let types = |host: &mut Host| {
        let mut found = [host.signs(), host.signs()];
        found.sort_by_key(|(header, _)| header["typ"].to_string());
        found
    };
    let [(assertion, first), (proof, claims)] = types(&mut host);
    assert_eq!(assertion["typ"], "client-authentication+jwt");
    assert_eq!(
        (&proof["typ"], &claims["htu"]),
        (&"dpop+jwt".into(), &TOKEN.into())
    );
    let refused = r#"{"error":"use_dpop_nonce"}"#;
    let request = host.serve_with(TOKEN, 400, &[("dpop-nonce", "n-1")], refused);
    assert_eq!(proofs(&request), 1);
    let before = get(&body(&request), "client_assertion");
    // Again with the nonce, and with an assertion of its own.
    let [(_, second), (_, claims)] = types(&mut host);
    assert_eq!(claims["nonce"], "n-1");
    assert_ne!(first["jti"], second["jti"]);
    let request = host.serve(TOKEN, 200, &bound("at-1"));
    assert_eq!(proofs(&request), 1);
    assert_ne!(get(&body(&request), "client_assertion"), before);
    host.ready();
    let presented = host.machine.present(host.now, &Method::POST, MCP);
    assert!(presented.is_ok());
}

#[test]
fn dpop_07_an_assertion_grant_and_a_pushed_request_carry_one_proof() {
    let config_of_workload = config()
        .workload_identity(WorkloadIdentity::at(AS))
        .dpop(Dpop::new(DpopPolicy::Require).key(key()));
    let more = format!(r#"{LISTED},"grant_types_supported":["{JWT_BEARER}"]"#);
    let mut host = without_user(
        config_of_workload,
        &machine_metadata(AS, r#""none""#, &more),
    );
    let asked = obtain(&mut host);
    host.handle(asked.workload("w.l.1"));
    host.signs();
    assert_eq!(proofs(&host.serve(TOKEN, 200, &bound("at-1"))), 1);
    host.ready();
    let par = "https://as.example/par";
    let more = format!(r#"{LISTED},"pushed_authorization_request_endpoint":"{par}""#);
    let pushing = with(DpopPolicy::Require).pushed_requests(PushedRequests::WhenOffered);
    let mut host = Host::new(pushing);
    host.discover(&prm(), &metadata_with(&more));
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let (_, claims) = host.signs();
    assert_eq!(
        (&claims["htm"], &claims["htu"]),
        (&"POST".into(), &par.into())
    );
    assert_eq!(claims.get("ath"), None);
    assert_eq!(
        proofs(&host.serve(par, 201, r#"{"request_uri":"urn:x"}"#)),
        1
    );
    host.redirect();
}

/// The algorithm of the proof that a sign-in with this key makes; none when it makes none.
fn algorithm(
    keys: &[SigningAlgorithm],
    challenge: &str,
    prm: &str,
    listed: &str,
) -> Option<String> {
    let key = SigningKey::new("k", keys.iter().copied()).public(PublicKey::from_jwk(JWK).unwrap());
    let mut host = Host::new(config().dpop(Dpop::new(DpopPolicy::IfSupported).key(key)));
    host.challenged(401, &[challenge, "Bearer"]);
    host.need_user();
    host.authorize();
    host.serve(PRM, 200, prm);
    let listed = format!(r#","dpop_signing_alg_values_supported":[{listed}]"#);
    host.serve(META, 200, &metadata_with(&listed));
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    match host.next() {
        Action::Sign(sign) => {
            let prepared = sign.prepare([1; 16]);
            let (header, _) = decoded(std::str::from_utf8(prepared.input()).unwrap());
            Some(header["alg"].as_str().unwrap().to_owned())
        }
        Action::SendRequest(_) => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn dpop_16_the_first_of_the_host_that_everybody_takes() {
    use SigningAlgorithm::{Es256, Ps256, Rs256};
    let keys = [Ps256, Es256, Rs256];
    let place = format!("DPoP resource_metadata=\"{PRM}\"");
    let of = |challenge: &str, prm: &str, listed: &str| algorithm(&keys, challenge, prm, listed);
    let all = r#""RS256","ES256","PS256""#;
    let resource = |list: &str| {
        prm().replace(
            '}',
            &format!(r#","dpop_signing_alg_values_supported":[{list}]}}"#),
        )
    };
    assert_eq!(of(&place, &prm(), all).as_deref(), Some("PS256"));
    assert_eq!(
        of(&place, &prm(), r#""RS256","ES256""#).as_deref(),
        Some("ES256")
    );
    assert_eq!(
        of(&place, &resource(r#""RS256""#), all).as_deref(),
        Some("RS256")
    );
    let algs = format!("{place}, algs=\"ES256 RS256\"");
    assert_eq!(of(&algs, &prm(), all).as_deref(), Some("ES256"));
    assert_eq!(of(&algs, &resource(r#""PS256""#), all), None);
    // Repeated entries count once.
    let twice = format!("{place}, algs=\"ES256 RS256 ES256\"");
    assert_eq!(of(&twice, &prm(), all).as_deref(), Some("ES256"));
    // `none` and symmetric algorithms never match.
    assert_eq!(of(&place, &prm(), r#""none","HS256""#), None);
}

#[test]
fn dpop_13_a_discarded_token_is_revoked_and_one_that_a_resource_refuses_is_not_used() {
    let revocable = format!(r#"{LISTED},"revocation_endpoint":"https://as.example/revoke""#);
    let required = prm().replace('}', r#","dpop_bound_access_tokens_required":true}"#);
    for (policy, prm) in [
        (DpopPolicy::Require, prm()),
        (DpopPolicy::IfSupported, required),
    ] {
        let mut host = Host::new(with(policy));
        host.discover(&prm, &metadata_with(&revocable));
        host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
        let redirect = host.redirect();
        host.callback(&format!("code=c&state={}", state_of(&redirect)));
        host.signs();
        host.serve(TOKEN, 200, &token_answer("at-1"));
        assert_eq!(
            host.error().cause,
            Cause::Violation(Violation::TokenNotBound)
        );
        let form = body(&host.serve("https://as.example/revoke", 200, ""));
        assert_eq!(get(&form, "token").as_deref(), Some("at-1"));
        assert_eq!(host.token(), None);
        host.quiet();
    }
}

#[test]
fn dpop_21_proofs_replace_no_other_check() {
    let iss = r#","authorization_response_iss_parameter_supported":true"#;
    let to_redirect = |more: &str| {
        let mut host = Host::new(with(DpopPolicy::Require));
        host.discover(&prm(), &metadata_with(&format!("{LISTED}{more}")));
        host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
        let redirect = host.redirect();
        (host, redirect)
    };
    // State, PKCE and the resource are sent as ever, and the verifier with the code.
    let (mut host, redirect) = to_redirect("");
    let sent = query(redirect.url.as_str());
    assert_eq!(get(&sent, "code_challenge_method").as_deref(), Some("S256"));
    assert_eq!(get(&sent, "resource").as_deref(), Some(MCP));
    host.callback("code=c&state=AAAAAAAAAAAAAAAAAAAAAA");
    host.quiet();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.signs();
    let form = body(&host.serve(TOKEN, 200, &bound("at-1")));
    assert_eq!(get(&form, "code_verifier").unwrap().len(), 43);
    assert_eq!(get(&form, "resource").as_deref(), Some(MCP));
    host.ready();
    // The token is for its resource, over TLS.
    for url in ["https://other.example/mcp", "http://mcp.example/mcp"] {
        let presented = host.machine.present(host.now, &Method::POST, url);
        assert_eq!(presented.unwrap_err(), NoBearer::OutsideResource, "{url}");
    }
    // Another issuer's callback, and a server that does not promise S256.
    let (mut host, redirect) = to_redirect(iss);
    let state = state_of(&redirect);
    host.callback(&format!("code=c&state={state}&iss=https://evil.example"));
    assert!(matches!(
        host.error().cause,
        Cause::Violation(Violation::Iss(_))
    ));
    host.quiet();
    let silent = metadata_with(LISTED).replace("code_challenge_methods_supported", "x");
    let mut host = Host::new(with(DpopPolicy::Require));
    host.discover(&prm(), &silent);
    assert_eq!(host.error().cause, Cause::Violation(Violation::NoPkce));
}

#[test]
fn authz_16_the_record_names_the_key() {
    let mut host = Host::new(with(DpopPolicy::Require));
    host.discover(&prm(), &metadata_with(LISTED));
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    host.redirect();
    let pending = host.store.of_kind("pending");
    assert!(pending[0].contents.expose().contains(THUMBPRINT));
}

#[test]
fn tok_17_the_account_names_the_key() {
    let host = signed_in();
    let account = host.store.of_kind("account");
    assert!(account[0].contents.expose().contains(THUMBPRINT));
}

#[test]
fn dpop_01_dpop_02_m2m_04_a_server_that_cannot_bind_tokens_is_not_asked_for_one() {
    let other = r#","dpop_signing_alg_values_supported":["RS256"]"#;
    for listed in ["", other] {
        let client = PreRegistered::new("service").secret("s3cret");
        let config = with(DpopPolicy::Require)
            .pre_registered(AS, client)
            .client_credentials();
        let document = machine_metadata(AS, r#""client_secret_basic""#, listed);
        let mut host = without_user(config, &document);
        assert!(
            matches!(host.error().cause, Cause::Misconfigured(_)),
            "{listed}"
        );
        host.quiet();
    }
}
