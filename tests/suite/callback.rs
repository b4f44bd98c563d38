//! Issuer identification (ISS) and the order of checks on a callback (CB).

use mcp_auth_machine::action::{Redirect, Why};
use mcp_auth_machine::config::{IssParameter, IssPolicy, IssuerSettings};
use mcp_auth_machine::error::{Cause, Next, Party, Refusal, Violation};
use mcp_auth_machine::event::Authorization;
use mcp_auth_machine::wire::callback::{
    BrowserBinding, Callback, IssBinding, IssFlaw, MAX_CALLBACK_BYTES, MAX_CODE_BYTES,
};
use mcp_auth_machine::wire::token::OAuthError;
use mcp_auth_machine::{Action, Event};

use crate::support::*;

const ADVERTISED: &str = r#","authorization_response_iss_parameter_supported":true"#;

fn redirected(metadata_more: &str) -> (Host, Redirect) {
    let mut host = Host::new(config());
    host.discover(&prm(), &metadata_with(metadata_more));
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    (host, redirect)
}

/// A callback with this `iss` parameter text; says whether a token request follows.
fn outcome(metadata_more: &str, iss: &str) -> Result<IssBinding, IssFlaw> {
    let (mut host, redirect) = redirected(metadata_more);
    host.callback(&format!("code=c-1&state={}{iss}", state_of(&redirect)));
    match host.next() {
        mcp_auth_machine::Action::SendRequest(send) => {
            assert_eq!(send.request().uri().to_string(), format!("{AS}/token"));
            host.handle(send.response(response(200, &[], &token_answer("at-1"))));
            Ok(host.ready().iss_binding)
        }
        mcp_auth_machine::Action::Error(failure) => {
            host.quiet();
            assert_eq!(failure.next(), Next::DoNotTrust);
            assert_eq!(failure.party(), Party::AuthorizationServer);
            match failure.cause {
                Cause::Violation(Violation::Iss(flaw)) => Err(flaw),
                other => panic!("{other:?}"),
            }
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn iss_03_advertised_and_equal_proceeds_unequal_is_rejected() {
    // A server may escape any character, with digits of either case.
    for iss in [
        "https%3A%2F%2Fas.example",
        "https%3a%2f%2fas.example",
        "https://as%2Eexample",
        "%68%74%74%70%73%3A%2F%2F%61%73%2E%65%78%61%6D%70%6C%65",
    ] {
        let verified = outcome(ADVERTISED, &format!("&iss={iss}"));
        assert_eq!(verified, Ok(IssBinding::Verified), "{iss}");
    }
    for iss in [
        "https%3A%2F%2Fevil.example",
        "https%3A%2F%2Fas.exampl",
        "https%3A%2F%2Fas.example%61",
        "https+//as.example",
    ] {
        let flaw = outcome(ADVERTISED, &format!("&iss={iss}"));
        assert_eq!(flaw, Err(IssFlaw::Different), "{iss}");
    }
}

#[test]
fn iss_04_advertised_and_absent_is_rejected() {
    assert_eq!(outcome(ADVERTISED, ""), Err(IssFlaw::Missing));
}

#[test]
fn iss_05_unadvertised_but_present_is_compared() {
    assert_eq!(
        outcome("", "&iss=https://as.example"),
        Ok(IssBinding::Verified)
    );
    assert_eq!(
        outcome("", "&iss=https://evil.example"),
        Err(IssFlaw::Different)
    );
    let text = r#","authorization_response_iss_parameter_supported":"true""#;
    assert_eq!(
        outcome(text, "&iss=https://evil.example"),
        Err(IssFlaw::Different)
    );
}

#[test]
fn iss_06_meta_20_unadvertised_and_absent_proceeds() {
    for more in [
        "",
        r#","authorization_response_iss_parameter_supported":false"#,
        r#","authorization_response_iss_parameter_supported":"false""#,
        r#","authorization_response_iss_parameter_supported":null"#,
    ] {
        assert_eq!(outcome(more, ""), Ok(IssBinding::Unverifiable), "{more}");
    }
    // A server that says it in another spelling is held to it.
    for more in [
        r#","authorization_response_iss_parameter_supported":"true""#,
        r#","authorization_response_iss_parameter_supported":1"#,
    ] {
        assert_eq!(outcome(more, ""), Err(IssFlaw::Missing), "{more}");
    }
}

#[test]
fn iss_07_b07_no_normalisation() {
    for iss in [
        "https://as.example/",
        "HTTPS://as.example",
        "https://AS.example",
        "https://as.example:443",
        "https://as%252eexample",
        "https://as.example%20",
        "https://as.example%2F",
    ] {
        let flaw = outcome(ADVERTISED, &format!("&iss={iss}"));
        assert_eq!(flaw, Err(IssFlaw::Different), "{iss}");
        assert_eq!(
            outcome("", &format!("&iss={iss}")),
            Err(IssFlaw::Different),
            "{iss}"
        );
    }
}

#[test]
fn iss_10_empty_counts_as_present() {
    assert_eq!(outcome("", "&iss="), Err(IssFlaw::Different));
    assert_eq!(outcome(ADVERTISED, "&iss="), Err(IssFlaw::Different));
}

#[test]
fn iss_08_after_a_rejection_nothing_is_sent_and_the_record_is_gone() {
    let (mut host, redirect) = redirected(ADVERTISED);
    let state = state_of(&redirect);
    host.callback(&format!("code=c-1&state={state}&iss=https://evil.example"));
    host.error();
    host.callback(&format!("code=c-1&state={state}&iss=https://as.example"));
    host.quiet();
    assert!(host.store.of_kind("pending").is_empty());
}

#[test]
fn iss_01_iss_02_the_record_holds_the_validated_issuer_before_the_redirect() {
    let (host, _) = redirected("");
    let pending = host.store.of_kind("pending");
    let text = spelled_out(pending[0].contents.expose());
    assert!(text.contains(r#""issuer":"https://as.example""#));
}

#[test]
fn iss_09_cb_09_b08_an_error_callback_shows_nothing_before_iss_passed() {
    for iss in ["", "&iss=https://evil.example"] {
        let (mut host, redirect) = redirected(ADVERTISED);
        let query = format!(
            "error=access_denied&error_description=call-555&error_uri=https://evil.example/x&state={}{iss}",
            state_of(&redirect)
        );
        host.callback(&query);
        let failure = host.error();
        assert!(matches!(failure.cause, Cause::Violation(Violation::Iss(_))));
        let shown = format!("{failure:?} {failure} {:?}", host.reports);
        for text in ["access_denied", "555", "evil.example/x"] {
            assert!(!shown.contains(text), "{text} in {shown}");
        }
    }
}

#[test]
fn quirk_11_a_host_may_pin_that_iss_is_not_sent_and_it_is_reported() {
    let settings = IssuerSettings::new().iss_parameter(IssParameter::NotSent);
    let mut host = Host::new(config().issuer_settings(AS, settings));
    host.discover(&prm(), &metadata_with(ADVERTISED));
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    assert_eq!(host.reported("setting_applied"), 1);
    host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
    host.request();
}

#[test]
fn a_host_may_refuse_what_cannot_be_verified() {
    let mut host = Host::new(config().iss_policy(IssPolicy::RequireVerified));
    let redirect = host.to_redirect();
    host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
    assert_eq!(
        host.error().cause,
        Cause::Violation(Violation::IssUnverifiable)
    );
}

/// Callbacks that are not ours: nothing happens, and the good one still works afterwards (L04).
fn ignored(make: impl Fn(&str) -> Callback) {
    let (mut host, redirect) = redirected(ADVERTISED);
    let state = state_of(&redirect);
    host.handle(Event::CallbackParams(make(&state)));
    host.quiet();
    assert_eq!(host.reported("callback_ignored"), 1);
    assert_eq!(host.store.of_kind("pending").len(), 1);
    host.callback(&format!("code=good&state={state}&iss={AS}"));
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
}

#[test]
fn cb_05_sec_21_b10_b13_i10_a_wrong_or_missing_state_changes_nothing() {
    let query = |text: String| Callback::from_query(text);
    ignored(|_| query(format!("code=x&iss={AS}")));
    ignored(|_| query(format!("code=x&state=&iss={AS}")));
    ignored(|_| query(format!("code=x&state=wrong&iss={AS}")));
    ignored(|_| query(format!("code=x&state=AAAAAAAAAAAAAAAAAAAAAA&iss={AS}")));
    ignored(|_| query(format!("error=access_denied&iss={AS}")));
    ignored(|state| {
        query(format!(
            "code=x&state={}&iss={AS}",
            state.to_lowercase() + "a"
        ))
    });
}

#[test]
fn cb_03_b06_b14_repeated_parameters_change_nothing() {
    for twice in [
        "code=1&code=2",
        "code=1&code=1",
        "code=1&state=x",
        "code=1&iss=https://as.example&iss=https://evil.example",
        "code=1&iss=https://as.example&iss=https://as.example",
        "error=a&error=b",
        "error=a&error_description=a&error_description=b",
        "error=a&error_uri=a&error_uri=b",
    ] {
        ignored(|state| Callback::from_query(format!("{twice}&state={state}")));
    }
}

#[test]
fn cb_02_cb_15_b26_size_and_syntax_come_first() {
    ignored(|state| Callback::from_query(format!("code=%zz&state={state}&iss={AS}")));
    ignored(|state| Callback::from_query(format!("code=%ff&state={state}&iss={AS}")));
    ignored(|state| Callback::from_query(format!("code=1&state={state}&iss={AS}%ff")));
    ignored(|state| Callback::from_query(format!("code=1&state={state}&iss={AS}%6")));
    ignored(|state| Callback::from_form(format!("code=\u{fffd}&state={state}%f").as_bytes()));
    let long = "a".repeat(MAX_CALLBACK_BYTES);
    ignored(|state| Callback::from_query(format!("x={long}&code=1&state={state}&iss={AS}")));
}

#[test]
fn cb_07_b17_the_redirect_target_must_be_ours() {
    for target in [
        "http://127.0.0.1:3001/callback",
        "http://localhost:3000/callback",
        "https://127.0.0.1:3000/callback",
        "http://127.0.0.1:3000/other",
        "http://127.0.0.1:3000/callback/",
        "http://127.0.0.1:3000/%63allback",
        "http://127.1:3000/callback",
        "http://127.0.0.1:3000/x/../callback",
        "HTTP://127.0.0.1:3000/callback",
        "not a url",
    ] {
        ignored(|state| Callback::from_url(format!("{target}?code=x&state={state}&iss={AS}")));
    }
    // A redirect URI also matches in the form to which browsers normalise it.
    let given = "https://APP.example:443/cb";
    for (target, ours) in [
        (given, true),
        ("https://app.example/cb", true),
        ("https://app.example:443/cb", false),
        ("https://App.example/cb", false),
    ] {
        let mut host = Host::new(mcp_auth_machine::Config::builder(MCP, given));
        host.discover(&prm(), &metadata_with(ADVERTISED));
        host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
        let redirect = host.redirect();
        let url = format!("{target}?code=c&state={}&iss={AS}", state_of(&redirect));
        host.handle(Event::CallbackParams(Callback::from_url(url)));
        let taken = matches!(
            host.actions.front(),
            Some(mcp_auth_machine::Action::SendRequest(_))
        );
        assert_eq!(taken, ours, "{target}");
    }
}

#[test]
fn cb_14_sec_21_b21_b27_another_browser_session_changes_nothing() {
    let mut host = Host::new(config());
    host.challenged(401, &[&announcing()]);
    host.need_user();
    let binding = BrowserBinding::new(b"alices session cookie");
    let seed = host.next_seed();
    host.authorize_with(Authorization::new(seed).browser(binding));
    host.serve(PRM, 200, &prm());
    let place = format!("{AS}/.well-known/oauth-authorization-server");
    host.serve(&place, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    let url = format!("{REDIRECT}?code=c&state={}", state_of(&redirect));
    host.handle(Event::CallbackParams(Callback::from_url(url.clone())));
    host.quiet();
    let other = BrowserBinding::new(b"mallorys session cookie");
    host.handle(Event::CallbackParams(
        Callback::from_url(url.clone()).in_browser(other),
    ));
    host.quiet();
    host.handle(Event::CallbackParams(
        Callback::from_url(url).in_browser(binding),
    ));
    host.request();
}

#[test]
fn cb_08_not_exactly_one_of_code_and_error() {
    for text in [
        "",
        "code=",
        "error=",
        "code=&error=",
        "code=1&error=x",
        "session_state=1",
    ] {
        let (mut host, redirect) = redirected(ADVERTISED);
        host.callback(&format!("{text}&state={}&iss={AS}", state_of(&redirect)));
        assert_eq!(
            host.error().cause,
            Cause::Violation(Violation::NotOneAnswer),
            "{text}"
        );
        host.quiet();
    }
}

/// A parameter without a value counts as omitted (RFC 6749 section 3.1).
#[test]
fn cb_08_an_empty_parameter_counts_as_omitted() {
    let (mut host, redirect) = redirected(ADVERTISED);
    let state = state_of(&redirect);
    host.callback(&format!(
        "code=c&error=&error_description=&state={state}&iss={AS}"
    ));
    assert_eq!(
        get(&body(host.request().request()), "code").as_deref(),
        Some("c")
    );
    let (mut host, redirect) = redirected(ADVERTISED);
    let state = state_of(&redirect);
    host.callback(&format!("code=&error=access_denied&state={state}&iss={AS}"));
    assert!(matches!(host.error().cause, Cause::Refused(_)));
    host.quiet();
}

#[test]
fn cb_15_a_code_has_a_largest_size() {
    for (length, accepted) in [(MAX_CODE_BYTES, true), (MAX_CODE_BYTES + 1, false)] {
        let (mut host, redirect) = redirected(ADVERTISED);
        let code = "a".repeat(length);
        let state = state_of(&redirect);
        host.callback(&format!("code={code}&state={state}&iss={AS}"));
        if accepted {
            assert_eq!(get(&body(host.request().request()), "code"), Some(code));
        } else {
            let wanted = Cause::Violation(Violation::NotOneAnswer);
            assert_eq!(host.error().cause, wanted);
            host.quiet();
        }
    }
    assert_eq!(MAX_CODE_BYTES, 8 * 1024);
}

#[test]
fn cb_12_b22_tokens_in_the_front_channel_are_refused() {
    for name in ["access_token", "id_token", "response"] {
        let (mut host, redirect) = redirected(ADVERTISED);
        host.callback(&format!(
            "code=1&{name}=x&state={}&iss={AS}",
            state_of(&redirect)
        ));
        assert_eq!(
            host.error().cause,
            Cause::Violation(Violation::FrontChannelToken)
        );
        assert_eq!(host.token(), None);
    }
}

#[test]
fn cb_10_errors_are_mapped_and_their_texts_made_safe() {
    for (code, error, next) in [
        ("access_denied", OAuthError::AccessDenied, Next::AskUser),
        (
            "invalid_target",
            OAuthError::InvalidTarget,
            Next::FixConfiguration,
        ),
        (
            "invalid_request",
            OAuthError::InvalidRequest,
            Next::FixConfiguration,
        ),
        (
            "server_error",
            OAuthError::ServerError,
            Next::RetryLater(None),
        ),
        (
            "temporarily_unavailable",
            OAuthError::TemporarilyUnavailable,
            Next::RetryLater(None),
        ),
        (
            "login_required",
            OAuthError::InteractionRequired,
            Next::AskUser,
        ),
        ("made_up", OAuthError::Other, Next::FixConfiguration),
    ] {
        let (mut host, redirect) = redirected(ADVERTISED);
        let query = format!(
            "error={code}&error_description=a%1B%5B0m%E2%80%AEb%0Ac&error_uri=javascript:alert(1)&state={}&iss={AS}",
            state_of(&redirect)
        );
        host.callback(&query);
        let failure = host.error();
        assert_eq!(failure.next(), next, "{code}");
        match failure.cause {
            Cause::Refused(Refusal::OAuth {
                error: found,
                description,
                error_uri,
                ..
            }) => {
                assert_eq!(found, error);
                assert_eq!(description.unwrap().as_plain(), "a[0mbc");
                assert_eq!(error_uri, None);
            }
            other => panic!("{other:?}"),
        }
        host.quiet();
    }
}

#[test]
fn cb_10_a_registration_that_is_refused_at_the_browser_is_forgotten_once() {
    for code in ["unauthorized_client", "invalid_client"] {
        let (mut host, redirect) = redirected(ADVERTISED);
        let answer =
            |redirect: &Redirect| format!("error={code}&state={}&iss={AS}", state_of(redirect));
        host.callback(&answer(&redirect));
        assert_eq!(host.need_user().why, Why::ClientForgotten);
        assert!(host.store.of_kind("registration").is_empty());
        host.authorize();
        host.serve(PRM, 200, &prm());
        host.serve(REGISTER, 201, r#"{"client_id":"dyn-2"}"#);
        let redirect = host.redirect();
        assert_eq!(&*redirect.client_id, "dyn-2");
        host.callback(&answer(&redirect));
        assert!(matches!(
            host.error().cause,
            Cause::Refused(Refusal::OAuth { .. })
        ));
        host.quiet();
    }
}

#[test]
fn cb_06_of_two_instances_with_the_same_callback_one_acts() {
    let (mut first, redirect) = redirected(ADVERTISED);
    let query = format!("code=c-1&state={}&iss={AS}", state_of(&redirect));
    let config = std::sync::Arc::new(config().build().unwrap());
    let store = Store {
        slots: first.store.slots.clone(),
        ..Store::default()
    };
    let mut second = Host::on(config, store);
    second.store.mode = StoreMode::Manual;
    second.callback(&query);
    // Both have read the record; the first one consumes it.
    let Action::LoadSlot(load) = second.next() else {
        panic!()
    };
    let found = second.store.slots.get(&load.slot().to_string()).cloned();
    second.handle(load.found(found));
    first.callback(&query);
    first.request();
    let Action::PersistSlot(erase) = second.next() else {
        panic!()
    };
    assert!(erase.write().is_none());
    second.handle(erase.conflict(None));
    let sends = |action: &Action| matches!(action, Action::SendRequest(_));
    assert!(!second.actions.iter().any(sends), "the code is sent twice");
}

#[test]
fn cb_06_s04_b11_a_callback_works_once() {
    let (mut host, redirect) = redirected(ADVERTISED);
    let query = format!("code=c-1&state={}&iss={AS}", state_of(&redirect));
    host.callback(&query);
    host.callback(&query);
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
    host.callback(&query);
    host.quiet();
}

#[test]
fn cb_11_unknown_parameters_are_ignored() {
    let (mut host, redirect) = redirected(ADVERTISED);
    host.callback(&format!(
        "code=c-1&session_state=s&authuser=0&scope=a&scope=b&state={}&iss={AS}",
        state_of(&redirect)
    ));
    host.request();
}

#[test]
fn cb_01_form_posts_come_through_the_same_door() {
    let (mut host, redirect) = redirected(ADVERTISED);
    let form = format!(
        "code=c%2B1&state={}&iss=https%3A%2F%2Fas.example",
        state_of(&redirect)
    );
    host.handle(Event::CallbackParams(Callback::from_form(form.as_bytes())));
    let request = host.request();
    assert_eq!(
        get(&body(request.request()), "code").as_deref(),
        Some("c+1")
    );
}

#[test]
fn authz_17_b24_an_expired_authorization_is_over() {
    let (mut host, redirect) = redirected(ADVERTISED);
    host.pass(10 * 60 * 1_000);
    host.callback(&format!("code=c-1&state={}&iss={AS}", state_of(&redirect)));
    host.quiet();
    host.handle(Event::Timer);
    assert_eq!(host.error().next(), Next::AskUser);
    assert!(host.store.of_kind("pending").is_empty());
}

#[test]
fn authz_17_the_host_sets_the_time() {
    let minutes = |number: u64| std::time::Duration::from_secs(number * 60);
    for (passed, accepted) in [(minutes(19), true), (minutes(20), false)] {
        let mut host = Host::new(config().user_time(minutes(20)));
        let redirect = host.to_redirect();
        host.pass(u64::try_from(passed.as_millis()).unwrap());
        host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
        assert_eq!(!host.actions.is_empty(), accepted);
    }
}

#[test]
fn authz_19_b25_a_cancelled_authorization_is_over() {
    let (mut host, redirect) = redirected(ADVERTISED);
    host.handle(Event::Abandoned(Default::default()));
    assert_eq!(host.error().cause, Cause::Abandoned);
    assert!(host.store.of_kind("pending").is_empty());
    host.callback(&format!("code=c-1&state={}&iss={AS}", state_of(&redirect)));
    host.quiet();
}

#[test]
fn authz_18_a_second_wish_repeats_the_same_redirect() {
    let (mut host, redirect) = redirected("");
    host.authorize();
    assert_eq!(host.redirect().url, redirect.url);
    host.quiet();
    assert_eq!(host.store.of_kind("pending").len(), 1);
}
