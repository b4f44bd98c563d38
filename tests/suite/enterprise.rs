//! The organisation's identity provider decides (EMA).

use std::sync::Arc;

use mcp_auth_machine::MethodFlaw;
use mcp_auth_machine::action::{AssertionKind, SubjectTokenKind, UrlSource};
use mcp_auth_machine::config::{
    ConfigBuilder, ConfigError, Enterprise, IssuerSettings, JwtBearerSupport, PreRegistered,
};
use mcp_auth_machine::error::{Cause, Misconfiguration, Refusal, Stage, Violation};
use mcp_auth_machine::key::SigningKey;
use mcp_auth_machine::wire::token::{AuthenticationWish, OAuthError};
use mcp_auth_machine::wire::words::SigningAlgorithm;

use crate::support::*;
use crate::without_user::{
    HOUR, JWT_BEARER, OTHER, machine_metadata, misconfigured, obtain, service, to_token,
};

pub const IDP: &str = "https://idp.example";
pub const IDP_META: &str = "https://idp.example/.well-known/oauth-authorization-server";
pub const IDP_TOKEN: &str = "https://idp.example/token";
const ID_JAG: &str = "urn:ietf:params:oauth:token-type:id-jag";

fn ema() -> ConfigBuilder {
    let idp_client = PreRegistered::new("idp-client").secret("idp-secret");
    config()
        .pre_registered(AS, service())
        .enterprise(Enterprise::new(IDP, idp_client))
}

pub fn ema_metadata() -> String {
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

/// The subject token is asked for and given.
fn subject(host: &mut Host) {
    let asked = obtain(host);
    host.handle(asked.subject("id.to.ken", SubjectTokenKind::IdToken));
}

fn holds(form: &[(String, String)], wanted: &[(&str, &str)]) {
    for (name, value) in wanted {
        assert_eq!(get(form, name).as_deref(), Some(*value), "{name}");
    }
}

#[test]
fn ema_05_ema_06_ema_07_ema_08_the_exchange_at_the_provider() {
    for (kind, name) in [
        (SubjectTokenKind::IdToken, "id_token"),
        (SubjectTokenKind::Saml2, "saml2"),
        (SubjectTokenKind::RefreshToken, "refresh_token"),
    ] {
        let mut host = to_token(ema(), &ema_metadata());
        host.serve(IDP_META, 200, &idp_metadata());
        let asked = obtain(&mut host);
        host.handle(asked.subject("id.to.ken", kind));
        let form = body(&host.serve(IDP_TOKEN, 200, &id_jag("jag.1.x")));
        let kind = format!("urn:ietf:params:oauth:token-type:{name}");
        holds(
            &form,
            &[
                (
                    "grant_type",
                    "urn:ietf:params:oauth:grant-type:token-exchange",
                ),
                ("requested_token_type", ID_JAG),
                ("audience", AS),
                ("resource", MCP),
                ("scope", "a"),
                ("subject_token", "id.to.ken"),
                ("subject_token_type", &kind),
            ],
        );
    }
    // The issuer that the server's own document names is the audience, byte for byte.
    let slash = ema_metadata().replacen(AS, &format!("{AS}/"), 1);
    let client = PreRegistered::new("service").secret("s3cret");
    let own = ema().pre_registered(format!("{AS}/"), client);
    let mut host = to_token(own, &slash);
    host.serve(IDP_META, 200, &idp_metadata());
    subject(&mut host);
    let form = body(&host.serve(IDP_TOKEN, 200, &id_jag("jag.1.x")));
    holds(&form, &[("audience", "https://as.example/")]);
}

#[test]
fn ema_02_ema_13_ema_14_the_grant_at_the_resources_server() {
    let mut host = to_token(ema(), &ema_metadata());
    let send = host.request();
    assert_eq!(send.request().uri().to_string(), IDP_META);
    assert_eq!(send.supplied_by(), UrlSource::Host);
    host.handle(send.response(response(200, &[], &idp_metadata())));
    subject(&mut host);
    let exchange = host.serve(IDP_TOKEN, 200, &id_jag("jag.1.x"));
    let request = host.serve(TOKEN, 200, &renewable("at-1", "rt-1"));
    let form = body(&request);
    holds(
        &form,
        &[
            ("grant_type", JWT_BEARER),
            ("assertion", "jag.1.x"),
            ("resource", MCP),
            ("scope", "a"),
        ],
    );
    assert_eq!(get(&form, "subject_token"), None);
    // Each server sees its own client.
    assert_ne!(
        exchange.headers()["authorization"],
        request.headers()["authorization"]
    );
    host.ready();
    // A server that is not the one it says it is gets nothing.
    let lie = ema_metadata().replacen(AS, "https://evil.example", 1);
    let mut host = to_token(ema(), &lie);
    host.serve(OPENID, 404, "");
    assert!(matches!(
        host.error().cause,
        Cause::Violation(Violation::Metadata(_))
    ));
    host.quiet();
}

#[test]
fn ema_11_the_grant_is_seen_by_its_server_alone() {
    let mut host = to_token(ema(), &ema_metadata());
    host.serve(IDP_META, 200, &idp_metadata());
    subject(&mut host);
    host.serve(IDP_TOKEN, 200, &id_jag("jag.1.x"));
    let send = host.request();
    let shown = format!("{send:?} {:?}", host.machine);
    assert!(!shown.contains("jag.1.x"), "{shown}");
    let request = copy(send.request());
    assert_eq!(request.uri().to_string(), TOKEN);
    for value in request.headers().values() {
        assert!(!value.to_str().unwrap().contains("jag.1.x"));
    }
    host.handle(send.response(response(200, &[], &renewable("at-1", "rt-1"))));
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
    for stored in host.store.slots.values() {
        for secret in ["id.to.ken", "jag.1.x", "rt-1", "idp-secret"] {
            assert!(!stored.contents.expose().contains(secret), "{secret}");
        }
    }
    let shown = format!("{:?} {}", host.reports, host.playbook);
    assert!(!shown.contains("jag.1.x") && !shown.contains("id.to.ken"));
}

#[test]
fn ema_22_each_principal_brings_a_subject_token_of_its_own() {
    let mut alice = to_exchange();
    alice.serve(IDP_TOKEN, 200, &id_jag("jag.1"));
    alice.serve(TOKEN, 200, &token_answer("at-1"));
    alice.ready();
    let store = std::mem::take(&mut alice.store);
    let config = std::sync::Arc::new(ema().build().unwrap());
    let mut bob = Host::for_user(config, store, "bob");
    assert_eq!(bob.token(), None);
    bob.challenged(401, &[&announcing()]);
    bob.serve(PRM, 200, &prm());
    let asked = obtain(&mut bob);
    bob.handle(asked.subject("bobs", SubjectTokenKind::IdToken));
    let form = body(&bob.serve(IDP_TOKEN, 200, &id_jag("jag.2")));
    assert_eq!(get(&form, "subject_token").as_deref(), Some("bobs"));
    let form = body(&bob.serve(TOKEN, 200, &token_answer("bt-1")));
    assert_eq!(get(&form, "assertion").as_deref(), Some("jag.2"));
    bob.ready();
    assert_eq!(bob.store.of_kind("account").len(), 2);
}

#[test]
fn ema_10_a_response_that_is_not_a_grant_is_not_forwarded() {
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
    let cimd = || base().client_metadata_url("https://client.example/client.json");
    let supports = ema_metadata().replace('}', r#","client_id_metadata_document_supported":true}"#);
    let mut host = to_token(cimd(), &supports);
    host.serve(IDP_META, 200, &idp_metadata());
    let asked = obtain(&mut host);
    host.handle(asked.subject("s", SubjectTokenKind::Saml2));
    host.serve(IDP_TOKEN, 200, &id_jag("jag"));
    let form = body(host.request().request());
    assert_eq!(
        get(&form, "client_id").as_deref(),
        Some("https://client.example/client.json")
    );
    let mut host = to_token(cimd(), &ema_metadata());
    assert!(matches!(
        misconfigured(host.error()),
        Misconfiguration::NoClient { .. }
    ));
    host.quiet();
    // A configuration without a client is rejected.
    assert_eq!(base().build().err(), Some(ConfigError::NoClient));
}

/// The client of a metadata document authenticates with the key that its document publishes.
#[test]
fn ema_15_a_document_with_a_key() {
    const ID: &str = "https://client.example/client.json";
    let key = SigningKey::new("cimd-key", [SigningAlgorithm::Es256]).kid("k1");
    let client = || {
        config()
            .enterprise(Enterprise::new(IDP, PreRegistered::new("i").secret("s")))
            .client_metadata_url(ID)
            .client_metadata_key(key.clone())
    };
    let supports = |methods: &str, algorithm: &str| {
        let flag = format!(
            r#","client_id_metadata_document_supported":true,"token_endpoint_auth_signing_alg_values_supported":["{algorithm}"]}}"#
        );
        let document = ema_metadata().replace('}', &flag);
        document.replace(r#""client_secret_basic""#, methods)
    };
    let mut host = to_token(client(), &supports(r#""private_key_jwt""#, "ES256"));
    host.serve(IDP_META, 200, &idp_metadata());
    subject(&mut host);
    host.serve(IDP_TOKEN, 200, &id_jag("jag"));
    let (header, claims) = host.signs();
    assert_eq!(
        (&header["alg"], &header["kid"]),
        (&"ES256".into(), &"k1".into())
    );
    assert_eq!((&claims["iss"], &claims["aud"]), (&ID.into(), &AS.into()));
    let form = body(host.request().request());
    assert_eq!(get(&form, "assertion").as_deref(), Some("jag"));
    assert!(get(&form, "client_assertion").is_some());
    // An unsuitable method is reported before any request to the identity provider.
    for (methods, algorithm, flaw) in [
        (
            r#""client_secret_basic""#,
            "ES256",
            MethodFlaw::NothingListed,
        ),
        (r#""private_key_jwt""#, "RS256", MethodFlaw::Algorithm),
    ] {
        let mut host = to_token(client(), &supports(methods, algorithm));
        let wanted = Misconfiguration::ClientMethod(flaw);
        assert_eq!(misconfigured(host.error()), wanted);
        host.quiet();
    }
}

#[test]
fn ema_03_reg_04_a_client_without_an_issuer_is_bound_first() {
    let client = PreRegistered::new("i").secret("s");
    let own = config()
        .enterprise(Enterprise::new(IDP, client))
        .pre_registered_unbound(service());
    let own = Arc::new(own.build().unwrap());
    let mut host = Host::on(Arc::clone(&own), Store::default());
    host.challenged(401, &["Bearer"]);
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &ema_metadata());
    assert_eq!(host.store.of_kind("registration").len(), 1);
    host.serve(IDP_META, 200, &idp_metadata());
    obtain(&mut host);
    // An unreadable binding is not replaced.
    let mut store = std::mem::take(&mut host.store);
    store.damage("registration");
    let mut later = Host::on(own, store);
    later.challenged(401, &["Bearer"]);
    assert!(matches!(
        later.error().cause,
        Cause::Misconfigured(Misconfiguration::BindingUnreadable { .. })
    ));
    later.quiet();
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
    // Metadata that the host supplies follows the same rule.
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
    let refused = public(false).build().err();
    assert_eq!(refused, Some(ConfigError::PublicClient("i".to_owned())));
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
    let about = r#"invalid_request","error_description":"the Subject_Token is not valid"#;
    for error in [
        "invalid_grant",
        "login_required",
        "insufficient_user_authentication",
        about,
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
    // The resource's server may want the user to be authenticated better, too.
    let refused = r#"{"error":"insufficient_user_authentication","acr_values":"mfa"}"#;
    let mut host = to_exchange();
    host.serve(IDP_TOKEN, 200, &id_jag("jag.1"));
    host.serve(TOKEN, 400, refused);
    let asked = obtain(&mut host);
    let AssertionKind::Subject {
        renew: true, wish, ..
    } = asked.kind()
    else {
        panic!("{asked:?}")
    };
    assert_eq!(wish.acr_values.as_ref().unwrap().as_plain(), "mfa");
    host.handle(asked.subject("new", SubjectTokenKind::IdToken));
    let form = body(&host.serve(IDP_TOKEN, 200, &id_jag("jag.2")));
    assert_eq!(get(&form, "subject_token").as_deref(), Some("new"));
    host.serve(TOKEN, 400, refused);
    assert_eq!(host.error().stage, Stage::Token);
    host.quiet();
}

#[test]
fn ema_19_a_refusal_by_policy_is_told_as_the_providers() {
    for error in [
        "access_denied",
        "invalid_target",
        "invalid_scope",
        "unauthorized_client",
        r#"invalid_request","error_description":"no audience"#,
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
fn ema_18_a_grant_is_presented_once() {
    let mut host = to_exchange();
    host.serve(IDP_TOKEN, 200, &id_jag("jag.1"));
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
    host.accepted("tools/call x");
    // The resource moves to a server without a configured client: no request goes there.
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
