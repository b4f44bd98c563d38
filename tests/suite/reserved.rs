//! Names that the machine sets itself: a host cannot add them again, and no endpoint carries them in its
//! query (AUTHZ-02, AUTHZ-15, TOK-10). The names are taken from the requests themselves.

use std::collections::BTreeSet;

use mcp_auth_machine::action::SubjectTokenKind;
use mcp_auth_machine::config::{
    ConfigError, DpopPolicy, Enterprise, IssuerSettings, PreRegistered, PushedRequests,
    WorkloadIdentity,
};
use mcp_auth_machine::error::{Cause, Violation};
use mcp_auth_machine::key::SigningKey;
use mcp_auth_machine::wire::words::SigningAlgorithm;
use mcp_auth_machine::{Event, MetadataFlaw};

use crate::dpop;
use crate::enterprise::{IDP, IDP_META, ema_metadata};
use crate::sign_out::{revocable, signed_in_at};
use crate::support::*;
use crate::without_user::{JWT_BEARER, machine_metadata, obtain, service, to_token};

/// Set by the client of some extension, or never to be sent by one.
const NEVER: &[&str] = &[
    "request",
    "response_mode",
    "iss",
    "username",
    "password",
    "actor_token",
    "actor_token_type",
    "device_code",
];

fn names(form: Vec<(String, String)>) -> impl Iterator<Item = String> {
    form.into_iter().map(|(name, _)| name)
}

/// The next request that is sent, with what has to be signed for it.
fn sent(host: &mut Host) -> Vec<(String, String)> {
    while matches!(
        host.actions.front(),
        Some(mcp_auth_machine::Action::Sign(_))
    ) {
        host.signs();
    }
    body(host.request().request())
}

/// The names in every request with a form or a query that the machine makes.
fn all_names() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    // The browser, the code, the refresh and the revocation, with a secret in the body.
    let post = |document: String| document.replace(r#"["none"]"#, r#"["client_secret_post"]"#);
    let client = PreRegistered::new("pre-1").secret("s-1");
    let document = post(revocable(r#","scopes_supported":["a"]"#));
    let mut host = Host::new(config().pre_registered(AS, client.clone()).scopes("a"));
    host.discover(&prm(), &document);
    let redirect = host.redirect();
    found.extend(names(query(redirect.url.as_str())));
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    found.extend(names(sent(&mut host)));
    let mut host = signed_in_at(
        config().pre_registered(AS, client),
        &document,
        &renewable_for("at-1", "rt-1", "60"),
    );
    host.pass(60_000);
    host.wanted("x");
    found.extend(names(sent(&mut host)));
    host.handle(Event::SignedOut);
    host.error();
    found.extend(names(sent(&mut host)));
    // A pushed request for a token that is bound to a key.
    let more = format!(
        r#"{},"pushed_authorization_request_endpoint":"https://as.example/par""#,
        dpop::LISTED
    );
    let pushing = dpop::with(DpopPolicy::IfSupported).pushed_requests(PushedRequests::WhenOffered);
    let mut host = Host::new(pushing);
    host.discover(&prm(), &metadata_with(&more));
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    found.extend(names(sent(&mut host)));
    let mut host = Host::new(config().pushed_requests(PushedRequests::WhenOffered));
    host.discover(&prm(), &metadata_with(&more));
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let pushed = r#"{"request_uri":"urn:x:1","expires_in":60}"#;
    host.serve("https://as.example/par", 201, pushed);
    found.extend(names(query(host.redirect().url.as_str())));
    // A client that acts for itself, authenticating with a key.
    let key = SigningKey::new("k", [SigningAlgorithm::Es256]);
    let own = config()
        .pre_registered(AS, PreRegistered::new("svc").key(key))
        .client_credentials();
    let more = r#","grant_types_supported":["client_credentials"]"#;
    let mut host = to_token(own, &machine_metadata(AS, r#""private_key_jwt""#, more));
    found.extend(names(sent(&mut host)));
    // A workload.
    let more = format!(r#","grant_types_supported":["{JWT_BEARER}"]"#);
    let workload = config().workload_identity(WorkloadIdentity::at(AS));
    let mut host = to_token(workload, &machine_metadata(AS, r#""none""#, &more));
    let asked = obtain(&mut host);
    host.handle(asked.workload("w"));
    found.extend(names(sent(&mut host)));
    // The exchange at an identity provider.
    let mut host = to_token(enterprise(IssuerSettings::new()), &ema_metadata());
    let idp = machine_metadata(IDP, r#""client_secret_post""#, "");
    host.serve(IDP_META, 200, &idp);
    let asked = obtain(&mut host);
    host.handle(asked.subject("id", SubjectTokenKind::IdToken));
    found.extend(names(sent(&mut host)));
    found
}

fn enterprise(settings: IssuerSettings) -> mcp_auth_machine::config::ConfigBuilder {
    let idp_client = PreRegistered::new("idp-client").secret("s");
    config()
        .pre_registered(AS, service())
        .enterprise(Enterprise::new(IDP, idp_client))
        .issuer_settings(IDP, settings)
}

#[test]
fn authz_15_tok_10_a_host_cannot_repeat_what_the_machine_sets() {
    let all = all_names();
    assert!(all.len() >= 22, "{all:?}");
    let never = NEVER.iter().map(|name| (*name).to_owned());
    for name in all.into_iter().chain(never) {
        let settings = IssuerSettings::new();
        let refused = [
            settings
                .clone()
                .authorization_parameter(&name, "x")
                .is_err(),
            settings.clone().token_parameter(&name, "x").is_err(),
        ];
        if name == "audience" {
            // Some servers need it; the machine sets it in the exchange at an identity provider alone.
            assert_eq!(refused, [false, false]);
            let settings = settings.token_parameter("audience", "x").unwrap();
            let built = enterprise(settings.clone()).build();
            assert!(matches!(
                built,
                Err(ConfigError::ReservedParameter {
                    name: "audience",
                    ..
                })
            ));
            let elsewhere = config().issuer_settings(AS, settings).build();
            assert!(elsewhere.is_ok());
        } else {
            assert_eq!(refused, [true, true], "{name}");
        }
    }
}

#[test]
fn authz_02_meta_12_no_endpoint_carries_what_the_machine_sets() {
    for name in all_names() {
        if name == "audience" {
            continue;
        }
        // The endpoints that receive credentials: the document is not used.
        for endpoint in ["token", "register", "revoke"] {
            let plain = format!("{AS}/{endpoint}\"");
            let document = revocable("");
            assert!(document.contains(&plain));
            let carrying = format!("{AS}/{endpoint}?a=b&{name}=x\"");
            let mut host = Host::new(config());
            host.ask(&announcing());
            host.serve(PRM, 200, &prm());
            host.serve(META, 200, &document.replace(&plain, &carrying));
            host.serve(OPENID, 404, "");
            let cause = host.error().cause;
            let Cause::Violation(Violation::Metadata(MetadataFlaw::Parameter {
                name: seen, ..
            })) = cause
            else {
                panic!("{endpoint} {name}: {cause:?}")
            };
            assert_eq!(seen.as_plain(), name);
            host.quiet();
        }
        if name == "resource" {
            // That of the authorization endpoint is replaced (RES-08).
            continue;
        }
        // The authorization endpoint: no redirect.
        let carrying = format!("https://as.example/authorize?a=b&{name}=x");
        let document = metadata().replace("https://as.example/authorize", &carrying);
        let mut host = Host::new(config());
        host.discover(&prm(), &document);
        host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
        assert!(
            matches!(
                host.error().cause,
                Cause::Violation(Violation::ReservedParameter { .. })
            ),
            "{name}"
        );
        host.quiet();
    }
}
