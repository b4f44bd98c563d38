//! No secret shows: what `Debug` and `Display` say of everything that holds one (TOK-24, S27).

use std::fmt::Debug;

use http::Method;
use mcp_auth_machine::client_metadata::ClientMetadataUrl;
use mcp_auth_machine::config::{Enterprise, IssuerSettings, PreRegistered};
use mcp_auth_machine::event::{Authorization, Challenge};
use mcp_auth_machine::key::PublicKey;
use mcp_auth_machine::present::Presentation;
use mcp_auth_machine::slot::SlotContents;
use mcp_auth_machine::wire::callback::{BrowserBinding, Callback};
use mcp_auth_machine::wire::form::Form;
use mcp_auth_machine::wire::pkce::{State, Verifier};
use mcp_auth_machine::wire::registration::RegistrationDocument;
use mcp_auth_machine::wire::token::{MissingType, TokenAnswer, read};
use mcp_auth_machine::wire::words::{AuthMethod, GrantType, SigningAlgorithm, Words};
use mcp_auth_machine::{Action, Event, Secret};

use crate::dpop;
use crate::support::*;

#[test]
fn tok_24_sec_32_i01_i07_s27_no_secret_shows_anywhere() {
    let mut host = Host::new(config());
    let mut shown = String::new();
    let redirect = host.to_redirect();
    let state = state_of(&redirect);
    shown += &format!("{redirect:?}");
    let callback = Callback::from_url(format!("{REDIRECT}?code=SECRET-code&state={state}"));
    let event = Event::CallbackParams(callback);
    shown += &format!("{event:?}");
    host.handle(event);
    let send = host.request();
    let verifier = get(&body(send.request()), "code_verifier").unwrap();
    shown += &format!("{send:?}");
    let answer =
        r#"{"access_token":"SECRET-at","refresh_token":"SECRET-rt","token_type":"Bearer"}"#;
    let event = send.response(response(200, &[], answer));
    shown += &format!("{event:?}");
    host.handle(event);
    shown += &format!("{:?} {:?} {:?}", host.ready(), host.machine, host.reports);
    for stored in host.store.slots.values() {
        shown += &format!("{stored:?}");
        assert!(stored.contents.expose().len() > 30);
    }
    shown += &format!("{:?}", host.machine.bearer(host.now, MCP));
    for secret in ["SECRET", state.as_str(), verifier.as_str()] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    // A refused answer that echoes secrets shows none of them either.
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.callback(&format!("code=SECRET-code&state={}", state_of(&redirect)));
    host.serve(TOKEN, 418, "SECRET-code was wrong");
    let failure = host.error();
    assert!(!format!("{failure:?} {failure}").contains("SECRET"));
}

/// Public types that accept a secret do not show it, even before the machine has received it.
#[test]
fn tok_24_s27_public_types_that_take_a_secret_do_not_show_it() {
    let registration = br#"{"client_id":"dyn-1","client_secret":"SECRET-1"}"#;
    let registration = RegistrationDocument::parse(registration).unwrap();
    let registered = registration
        .answer(true, GrantType::AuthorizationCode, Some(REDIRECT))
        .unwrap();
    let token = br#"{"access_token":"SECRET-2","refresh_token":"SECRET-3","token_type":"Bearer"}"#;
    let token = read(200, token, MissingType::Assume);
    assert!(matches!(token, TokenAnswer::Granted(_)));
    let client = PreRegistered::new("pre").secret("SECRET-4");
    let asserted = PreRegistered::new("pre").assertion("SECRET-5");
    let provider = Enterprise::new("https://idp.example", client.clone());
    let config = config()
        .pre_registered(AS, client.clone())
        .issuer_settings(AS, IssuerSettings::new().initial_access("SECRET-6"));
    let types: [&dyn std::fmt::Debug; 14] = [
        &registration,
        &registered,
        &token,
        &client,
        &asserted,
        &provider,
        &config,
        &config.clone().build().unwrap(),
        &Secret::new("SECRET-7"),
        &SlotContents::new("SECRET-8"),
        &Callback::from_query("code=SECRET-9&state=SECRET-10"),
        &Challenge::new("x", 401, http::HeaderMap::new()).sent("SECRET-11"),
        &BrowserBinding::new(b"SECRET-12-of-the-session-of-this-browser"),
        &Authorization::from(seed(7)),
    ];
    for shown in types.map(|value| format!("{value:?}")) {
        assert!(!shown.contains("SECRET"), "{shown}");
        assert!(!shown.contains("7, 7, 7"), "{shown}");
    }
}

/// The public part of a text shows, and the secret in it does not.
#[test]
fn tok_24_s27_the_public_half_of_a_text_shows() {
    let secret = "SECRET-that-is-43-characters-long-as-encoded";
    let secret = &secret[..43];
    let mut form = Form::with_capacity(64);
    form.push("client_secret", secret);
    form.push("code", secret);
    let shows = |value: &dyn Debug, wanted: &str| assert_eq!(format!("{value:?}"), wanted);
    shows(&form, r#"["client_secret", "code"]"#);
    shows(&Verifier::from_text(secret).unwrap(), "[verifier]");
    shows(&State::from_text(&secret[..22]).unwrap(), "[state]");
    shows(&Words::<AuthMethod>::ABSENT, "(no list)");
    let words = Words::<AuthMethod>::from_spellings(["client_secret_post", "x"]);
    shows(&words, r#"["client_secret_post"]"#);
    let url = "https://client.example/id.json";
    shows(&ClientMetadataUrl::new(url).unwrap(), &format!("{url:?}"));
    let key = PublicKey::from_jwk(dpop::JWK).unwrap();
    shows(&key, key.as_jwk());
    // A request that is signed for: neither the token nor the proof.
    let mut host = dpop::signed_in();
    let presented = host.machine.present(host.now, &Method::POST, MCP);
    let Ok(Presentation::Bound(proof)) = presented else {
        panic!("not bound")
    };
    assert_eq!(proof.algorithm(), SigningAlgorithm::Es256);
    shows(&proof, r#"UnsignedProof(key "key-1")"#);
    shows(&proof.prepare([1; 16]), "PreparedProof");
}

#[test]
fn tok_24_s27_dpop_19_signing_input_does_not_show_and_may_still_fail() {
    let mut host = Host::new(dpop::with(mcp_auth_machine::config::DpopPolicy::Require));
    host.discover(&prm(), &metadata_with(dpop::LISTED));
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let Action::Sign(sign) = host.next() else {
        panic!("expected something to sign")
    };
    let id = sign.id();
    let prepared = sign.prepare([1; 16]);
    assert_eq!(format!("{prepared:?}"), format!("Prepared({id})"));
    // The key could not be used after all: nothing is sent.
    host.handle(prepared.failed());
    host.error();
    host.quiet();
}
