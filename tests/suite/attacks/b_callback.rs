//! One authorization, and callbacks that are not its answer (1.B).

use mcp_auth_machine::Event;
use mcp_auth_machine::action::Redirect;
use mcp_auth_machine::config::{
    AssertionAudience, IssPolicy, IssuerSettings, PreRegistered, PushedRequests,
};
use mcp_auth_machine::error::{Cause, Next, Refusal, Violation};
use mcp_auth_machine::key::SigningKey;
use mcp_auth_machine::wire::callback::{Callback, IssBinding, IssFlaw};
use mcp_auth_machine::wire::token::OAuthError;
use mcp_auth_machine::wire::words::SigningAlgorithm;

use super::*;

/// Sent to B on first contact.
fn at_b(config: mcp_auth_machine::config::ConfigBuilder, more: &str) -> (Host, Redirect) {
    let mut host = Host::new(config);
    asked(&mut host);
    host.serve(PRM, 200, &prm_of(B));
    host.serve(B_META, 200, &metadata_of(B, more));
    host.serve(B_REGISTER, 201, r#"{"client_id":"b-1"}"#);
    let redirect = host.redirect();
    (host, redirect)
}

fn at_a(more: &str) -> (Host, Redirect) {
    let mut host = Host::new(config());
    host.discover(&prm(), &metadata_with(more));
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    (host, redirect)
}

#[track_caller]
fn iss_flaw(host: &mut Host) -> IssFlaw {
    let failure = host.error();
    let next = failure.next();
    host.quiet();
    let flaw = match failure.cause {
        Cause::Violation(Violation::Iss(flaw)) => flaw,
        other => panic!("{other:?}"),
    };
    // An error response is not used, and carries nothing that could be.
    let expected = match flaw {
        IssFlaw::MissingFromError => Next::AskUser,
        IssFlaw::Missing | IssFlaw::Different => Next::DoNotTrust,
    };
    assert_eq!(next, expected);
    flaw
}

#[test]
fn b01_a_code_of_a_that_comes_back_for_b_goes_nowhere() {
    for more in ["", ADVERTISED] {
        let (mut host, redirect) = at_b(config(), more);
        host.callback(&format!(
            "code=code-a&iss={AS}&state={}",
            state_of(&redirect)
        ));
        assert_eq!(iss_flaw(&mut host), IssFlaw::Different);
    }
    let (mut host, redirect) = at_b(config(), ADVERTISED);
    host.callback(&format!("code=code-a&state={}", state_of(&redirect)));
    assert_eq!(iss_flaw(&mut host), IssFlaw::Missing);
}

#[test]
fn b01_where_neither_sends_iss_the_grant_says_so_and_a_host_can_refuse() {
    let (mut host, redirect) = at_b(config(), "");
    host.callback(&format!("code=code-a&state={}", state_of(&redirect)));
    host.serve(B_TOKEN, 200, &token_answer("bt-1"));
    assert_eq!(host.ready().iss_binding, IssBinding::Unverifiable);
    let strict = config().iss_policy(IssPolicy::RequireVerified);
    let (mut host, redirect) = at_b(strict, "");
    host.callback(&format!("code=code-a&state={}", state_of(&redirect)));
    let cause = host.error().cause;
    assert_eq!(cause, Cause::Violation(Violation::IssUnverifiable));
    host.quiet();
}

#[test]
fn b02_an_authorization_endpoint_of_a_in_metadata_of_b() {
    let lie = |more: &str| {
        metadata_of(B, more).replace(
            "https://b.example/authorize",
            "https://as.example/authorize",
        )
    };
    let mut host = Host::new(config());
    asked(&mut host);
    host.serve(PRM, 200, &prm_of(B));
    host.serve(B_META, 200, &lie(""));
    assert!(matches!(
        host.error().cause,
        Cause::Violation(Violation::AuthorizationOrigin { .. })
    ));
    host.quiet();
    // Where B claims to send `iss`, the user does go to A, and A's answer cannot be taken for B's.
    for iss in ["", "&iss=https://as.example"] {
        let mut host = Host::new(config());
        asked(&mut host);
        host.serve(PRM, 200, &prm_of(B));
        host.serve(B_META, 200, &lie(ADVERTISED));
        host.serve(B_REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
        let redirect = host.redirect();
        host.callback(&format!("code=code-a&state={}{iss}", state_of(&redirect)));
        iss_flaw(&mut host);
    }
}

#[test]
fn b03_every_assertion_made_for_b_says_b_wherever_b_sends_it() {
    use AssertionAudience::{Issuer, TokenEndpoint};
    for (wanted, endpoint, audience) in [
        (Issuer, TOKEN, B),
        (TokenEndpoint, TOKEN, B),
        (TokenEndpoint, B_TOKEN, B_TOKEN),
    ] {
        let key = SigningKey::new("key-b", [SigningAlgorithm::Es256]);
        let settings = IssuerSettings::new().client_assertion_audience(wanted);
        let config = config()
            .pre_registered(B, PreRegistered::new("at-b").key(key))
            .issuer_settings(B, settings)
            .pushed_requests(PushedRequests::WhenOffered);
        let more = r#","pushed_authorization_request_endpoint":"https://b.example/par","revocation_endpoint":"https://b.example/revoke""#;
        let document = metadata_of(B, more)
            .replace("[\"none\"]", "[\"private_key_jwt\"]")
            .replace(B_TOKEN, endpoint);
        let mut host = Host::new(config);
        asked(&mut host);
        host.serve(PRM, 200, &prm_of(B));
        host.serve(B_META, 200, &document);
        let (_, claims) = host.signs();
        assert_eq!(claims["aud"], B);
        let pushed = host.serve("https://b.example/par", 201, r#"{"request_uri":"urn:x"}"#);
        host.redirect();
        let state = get(&body(&pushed), "state").unwrap();
        host.callback(&format!("code=code-a&state={state}"));
        // The token endpoint alone, and only where it is B's own, may be called by its URL (DIS-05).
        let (_, claims) = host.signs();
        assert_eq!(claims["aud"], audience);
        host.serve(endpoint, 200, &token_answer("t"));
        host.ready();
        host.handle(Event::SignedOut);
        let (_, claims) = host.signs();
        assert_eq!(claims["aud"], B);
        host.serve("https://b.example/revoke", 200, "");
    }
}

#[test]
fn b04_another_issuer_in_the_callback_ends_it() {
    for more in ["", ADVERTISED] {
        let (mut host, redirect) = at_a(more);
        let state = state_of(&redirect);
        host.callback(&format!("code=c&iss={B}&state={state}"));
        assert_eq!(iss_flaw(&mut host), IssFlaw::Different);
        assert!(host.store.of_kind("pending").is_empty());
        host.callback(&format!("code=c&iss={AS}&state={state}"));
        host.quiet();
    }
}

#[test]
fn b05_an_advertised_iss_that_was_stripped_ends_it() {
    for (rest, flaw) in [
        ("code=c", IssFlaw::Missing),
        ("code=c&error=access_denied", IssFlaw::Missing),
        ("error=access_denied", IssFlaw::MissingFromError),
    ] {
        let (mut host, redirect) = at_a(ADVERTISED);
        host.callback(&format!("{rest}&state={}", state_of(&redirect)));
        assert_eq!(iss_flaw(&mut host), flaw);
        assert!(host.store.of_kind("pending").is_empty());
    }
}

#[test]
fn b15_a_foreign_code_is_redeemed_with_our_verifier_and_changes_nothing() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    let sent = host.token();
    let challenge = "Bearer error=\"insufficient_scope\", scope=\"more\"";
    host.challenged_for("tools/call x", 403, &[challenge], sent.as_deref());
    host.need_user();
    host.authorize();
    host.serve(PRM, 200, &prm());
    let redirect = host.redirect();
    let before = account(&host);
    host.callback(&format!("code=mallorys&state={}", state_of(&redirect)));
    let request = host.serve(TOKEN, 400, r#"{"error":"invalid_grant"}"#);
    assert!(verifies(&body(&request), &redirect));
    assert!(matches!(
        host.error().cause,
        Cause::Refused(Refusal::OAuth {
            error: OAuthError::InvalidGrant,
            ..
        })
    ));
    host.quiet();
    assert_eq!(host.token(), sent);
    assert_eq!(account(&host), before);
}

#[test]
fn b18_no_redirect_and_no_code_request_before_the_record_is_saved() {
    let mut host = Host::new(config());
    host.discover(&prm(), &metadata());
    host.store.mode = StoreMode::Manual;
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let Action::PersistSlot(registration) = host.next() else {
        panic!()
    };
    host.handle(registration.done());
    let Action::PersistSlot(pending) = host.next() else {
        panic!()
    };
    assert!(pending.slot().to_string().starts_with("pending/"));
    host.quiet();
    // A forger needs the entropy for this.
    let state = spelled_out(pending.write().unwrap().contents.expose());
    let state = state.split(r#""state":""#).nth(1).unwrap()[..22].to_owned();
    host.callback(&format!("code=c&state={state}"));
    host.quiet();
    host.handle(pending.failed());
    assert!(matches!(host.error().cause, Cause::NotPersisted(_)));
    assert_eq!(requests(&host), 0);
    let is_redirect = |action: &Action| matches!(action, Action::Redirect(_));
    assert!(!host.actions.iter().any(is_redirect));
}

#[test]
fn b26_a_megabyte_and_odd_encodings_change_nothing_or_are_one_value() {
    let ignored = |make: &dyn Fn(&str) -> Callback| {
        let (mut host, redirect) = at_a("");
        let state = state_of(&redirect);
        host.handle(Event::CallbackParams(make(&state)));
        host.quiet();
        host.callback(&format!("code=good&state={state}"));
        assert_eq!(requests(&host), 1);
    };
    ignored(&|state| Callback::from_query(format!("code={}&state={state}", "c".repeat(1 << 20))));
    ignored(&|state| Callback::from_query(format!("code=c;state={state}")));
    ignored(&|state| Callback::from_query(format!("code=c&state={state}%00")));
    ignored(&|state| Callback::from_query(format!("code=c&state=+{state}")));
    ignored(&|state| Callback::from_query(format!("code=%c3%28&state={state}")));
    ignored(&|state| Callback::from_form(&[b"code=\xff&state=", state.as_bytes()].concat()));
    for (text, code) in [
        ("a+b%2B", "a b+"),
        ("a;state=x", "a;state=x"),
        ("%2525", "%25"),
    ] {
        let (mut host, redirect) = at_a("");
        host.callback(&format!("code={text}&state={}", state_of(&redirect)));
        let form = body(host.request().request());
        assert_eq!(get(&form, "code").as_deref(), Some(code));
    }
}
