//! The identity provider of an organisation, where the client authenticates there with a key, and where it
//! cannot (EMA, section 15).

use mcp_auth_machine::MethodFlaw;
use mcp_auth_machine::action::SubjectTokenKind;
use mcp_auth_machine::config::{ConfigBuilder, Enterprise, PreRegistered};
use mcp_auth_machine::error::{Cause, Misconfiguration, Stage, Violation};
use mcp_auth_machine::key::SigningKey;
use mcp_auth_machine::wire::words::SigningAlgorithm;

use crate::enterprise::{IDP, IDP_META, IDP_TOKEN, ema_metadata};
use crate::support::*;
use crate::without_user::{machine_metadata, misconfigured, obtain, service, to_token};

fn with_key() -> ConfigBuilder {
    let key = SigningKey::new("idp-key", [SigningAlgorithm::Es256]);
    let client = PreRegistered::new("idp-client").key(key);
    config()
        .pre_registered(AS, service())
        .enterprise(Enterprise::new(IDP, client))
}

fn provider(algorithm: &str) -> String {
    let more = format!(r#","token_endpoint_auth_signing_alg_values_supported":["{algorithm}"]"#);
    machine_metadata(IDP, r#""private_key_jwt""#, &more)
}

#[test]
fn the_exchange_is_signed_for_the_provider() {
    let mut host = to_token(with_key(), &ema_metadata());
    host.serve(IDP_META, 200, &provider("ES256"));
    let asked = obtain(&mut host);
    host.handle(asked.subject("id.to.ken", SubjectTokenKind::IdToken));
    let (header, claims) = host.signs();
    assert_eq!(header["alg"], "ES256");
    assert_eq!(claims["aud"], IDP);
    assert_eq!(claims["iss"], "idp-client");
    let send = host.request();
    assert_eq!(*send.request().uri(), IDP_TOKEN);
    let form = body(send.request());
    assert!(get(&form, "client_assertion").is_some());
    assert_eq!(get(&form, "client_secret"), None);
}

#[test]
fn a_signer_that_fails_ends_the_exchange() {
    let mut host = to_token(with_key(), &ema_metadata());
    host.serve(IDP_META, 200, &provider("ES256"));
    let asked = obtain(&mut host);
    host.handle(asked.subject("id.to.ken", SubjectTokenKind::IdToken));
    let mcp_auth_machine::Action::Sign(sign) = host.next() else {
        panic!("expected something to sign")
    };
    host.handle(sign.failed());
    assert_eq!(misconfigured(host.error()), Misconfiguration::SignerFailed);
    host.quiet();
}

#[test]
fn a_key_that_the_provider_cannot_check_is_told_before_anything_is_sent() {
    let mut host = to_token(with_key(), &ema_metadata());
    host.serve(IDP_META, 200, &provider("RS256"));
    assert_eq!(
        misconfigured(host.error()),
        Misconfiguration::ClientMethod(MethodFlaw::Algorithm)
    );
    host.quiet();
}

#[test]
fn an_answer_that_is_no_token_is_the_providers_violation() {
    let mut host = to_token(with_key(), &ema_metadata());
    host.serve(IDP_META, 200, &provider("ES256"));
    let asked = obtain(&mut host);
    host.handle(asked.subject("id.to.ken", SubjectTokenKind::IdToken));
    host.signs();
    host.serve(IDP_TOKEN, 200, "[]");
    let failure = host.error();
    assert_eq!(failure.stage, Stage::IdentityProvider);
    assert_eq!(failure.cause, Cause::Violation(Violation::NoIdJag));
    assert_eq!(failure.issuer.unwrap().as_str(), IDP);
}
