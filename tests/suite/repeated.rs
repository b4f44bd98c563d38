//! A further request to authorize while a redirect is out: the redirect is repeated only when it is the one asked for now
//! (AUTHZ-18).

use mcp_auth_machine::action::Redirect;
use mcp_auth_machine::config::RedirectUri;
use mcp_auth_machine::error::{Cause, Stage, Violation};
use mcp_auth_machine::event::{Abandon, Authorization};
use mcp_auth_machine::wire::callback::{BrowserBinding, Callback};
use mcp_auth_machine::{Action, Event};

use crate::support::*;

const MINUTE: u64 = 60_000;
const ELSEWHERE: &str = "https://evil.example";

fn redirected() -> (Host, Redirect) {
    redirected_by(&metadata())
}

/// The user is at the authorization server that this document describes.
fn redirected_by(document: &str) -> (Host, Redirect) {
    let mut host = Host::new(config());
    host.discover(&prm(), document);
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    (host, redirect)
}

/// The user starts again a while later; both documents are read.
fn starts_again(host: &mut Host, resource: &str, document: &str) {
    host.pass(MINUTE);
    host.authorize();
    host.serve(PRM, 200, resource);
    host.serve(META, 200, document);
}

#[track_caller]
fn signs_in(host: &mut Host, redirect: &Redirect) {
    host.callback(&format!("code=c-1&state={}", state_of(redirect)));
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
    host.quiet();
}

#[track_caller]
fn is_dead(host: &mut Host, redirect: &Redirect) {
    host.callback(&format!("code=c-0&state={}", state_of(redirect)));
    host.quiet();
}

/// AUTHZ-18, DISC-18
#[test]
fn authz_18_disc_18_a_redirect_whose_documents_say_the_same_is_repeated() {
    let (mut host, redirect) = redirected();
    starts_again(&mut host, &prm(), &metadata());
    assert_eq!(host.redirect().url, redirect.url);
    host.quiet();
    assert_eq!(host.store.of_kind("pending").len(), 1);
    signs_in(&mut host, &redirect);
}

/// AUTHZ-18, DISC-18, A22
#[test]
fn authz_18_disc_18_a22_a_redirect_that_rests_on_a_document_which_was_mended_is_not_repeated() {
    for path in ["/authorize", "/token", "/register"] {
        let own = format!("{AS}{path}\"");
        let poisoned = metadata_with(r#","authorization_response_iss_parameter_supported":true"#);
        let mended = poisoned.clone();
        let poisoned = match path {
            "/register" => metadata_with(""),
            _ => poisoned.replace(&own, &format!("{ELSEWHERE}{path}\"")),
        };
        let (mut host, first) = redirected_by(&poisoned);
        starts_again(&mut host, &prm(), &mended);
        let second = host.redirect();
        assert_ne!(state_of(&second), state_of(&first), "{path}");
        assert!(second.url.as_str().starts_with(AS), "{path}");
        assert_eq!(host.store.of_kind("pending").len(), 1, "{path}");
        is_dead(&mut host, &first);
        host.callback(&format!("code=c-1&state={}&iss={AS}", state_of(&second)));
        host.serve(TOKEN, 200, &token_answer("at-1"));
        host.ready();
    }
}

/// AUTHZ-18, ISO-07
#[test]
fn authz_18_iso_07_a_redirect_to_a_server_that_the_resource_no_longer_lists_is_not_repeated() {
    let b = "https://b.example";
    let moved = |host: &mut Host| {
        host.pass(MINUTE);
        host.authorize();
        host.serve(PRM, 200, &prm().replace(AS, b));
        assert!(host.store.of_kind("pending").is_empty());
        host.serve(&META.replace(AS, b), 200, &metadata_of(b, ""));
    };
    let (mut host, first) = redirected();
    moved(&mut host);
    host.serve(
        "https://b.example/register",
        201,
        r#"{"client_id":"dyn-b"}"#,
    );
    assert_eq!(host.redirect().issuer.as_str(), b);
    assert_eq!(host.store.of_kind("pending").len(), 1);
    is_dead(&mut host, &first);
    // Also where the user is asked about the other server first.
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    host.authorize();
    let first = host.redirect();
    moved(&mut host);
    host.need_user();
    is_dead(&mut host, &first);
}

/// AUTHZ-18
#[test]
fn authz_18_a_double_click_reads_no_document_again() {
    let (mut host, redirect) = redirected();
    host.pass(4_999);
    host.authorize();
    let Some(Action::Redirect(again)) = host.actions.pop_front() else {
        panic!("a redirect without a request");
    };
    assert_eq!(again.url, redirect.url);
    // Documents that were read again count from then on.
    host.pass(1);
    host.authorize();
    assert!(matches!(host.actions.front(), Some(Action::SendRequest(_))));
    host.redirect();
    host.pass(4_999);
    host.authorize();
    assert!(matches!(host.actions.front(), Some(Action::Redirect(_))));
}

/// AUTHZ-18
#[test]
fn authz_18_documents_that_cannot_be_read_leave_the_open_authorization() {
    let (mut host, redirect) = redirected();
    host.pass(MINUTE);
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 503, "");
    host.serve(OPENID, 503, "");
    assert_eq!(host.error().stage, Stage::ServerMetadata);
    host.quiet();
    signs_in(&mut host, &redirect);
}

/// AUTHZ-18, L04
#[test]
fn authz_18_l04_a_callback_that_comes_while_the_documents_are_read_is_accepted() {
    let (mut host, redirect) = redirected();
    host.pass(MINUTE);
    host.authorize();
    host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
    assert_eq!(host.redirect().url, redirect.url);
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
}

/// AUTHZ-18, B25
#[test]
fn authz_18_b25_cancelling_while_the_documents_are_read_ends_the_open_authorization() {
    let (mut host, redirect) = redirected();
    host.pass(MINUTE);
    host.authorize();
    host.handle(Event::Abandoned(Abandon::Cancelled));
    host.actions
        .retain(|action| matches!(action, Action::Error(_)));
    assert_eq!(host.error().cause, Cause::Abandoned);
    assert!(host.store.of_kind("pending").is_empty());
    host.actions.clear();
    is_dead(&mut host, &redirect);
}

/// AUTHZ-17, AUTHZ-18
#[test]
fn authz_17_authz_18_a_redirect_with_too_little_time_left_is_not_repeated() {
    // The last moment, half of the time, the last second, and after the end: the host slept, and sends no timer first.
    for (passed, same) in [
        (299_999, true),
        (300_000, false),
        (599_000, false),
        (601_000, false),
        (3_600_000, false),
    ] {
        let (mut host, first) = redirected();
        host.pass(passed);
        host.authorize();
        let second = host.redirect();
        assert_eq!(second.url == first.url, same, "{passed}");
        assert!(host.now.wall < second.expires, "{passed}");
        host.quiet();
        assert_eq!(host.store.of_kind("pending").len(), 1, "{passed}");
        signs_in(&mut host, &second);
    }
}

/// AUTHZ-17
#[test]
fn authz_17_a_question_after_the_end_of_a_redirect_needs_no_timer() {
    let (mut host, first) = redirected();
    host.pass(10 * MINUTE);
    host.challenged(401, &["Bearer"]);
    host.need_user();
    is_dead(&mut host, &first);
    assert!(host.store.of_kind("pending").is_empty());
}

fn click(host: &mut Host, browser: Option<&[u8]>, uri: Option<&str>) {
    let mut click = Authorization::from(host.next_seed());
    if let Some(browser) = browser {
        click = click.browser(BrowserBinding::new(browser));
    }
    if let Some(uri) = uri {
        click = click.redirect_uri(RedirectUri::new(uri).unwrap());
    }
    host.authorize_with(click);
}

/// AUTHZ-18, CB-14
#[test]
fn authz_18_cb_14_a_redirect_is_repeated_for_its_own_browser_binding_also_for_none() {
    let a: Option<&[u8]> = Some(b"a");
    for (first, then) in [(None, a), (a, None), (a, Some(b"b".as_slice()))] {
        let mut host = Host::new(config());
        click(&mut host, first, None);
        host.serve(PRM, 200, &prm());
        host.serve(META, 200, &metadata());
        host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
        let before = host.redirect();
        click(&mut host, then, None);
        let redirect = host.redirect();
        assert_ne!(state_of(&redirect), state_of(&before), "{first:?} {then:?}");
        // A redirect that was asked to be bound is not accepted without a binding.
        let url = format!("{REDIRECT}?code=c-1&state={}", state_of(&redirect));
        if then.is_some() {
            host.handle(Event::CallbackParams(Callback::from_url(url.clone())));
            host.quiet();
        }
        let mut callback = Callback::from_url(url);
        if let Some(browser) = then {
            callback = callback.in_browser(BrowserBinding::new(browser));
        }
        host.handle(Event::CallbackParams(callback));
        host.serve(TOKEN, 200, &token_answer("at-1"));
        host.ready();
    }
}

/// AUTHZ-18, AUTHZ-09
#[test]
fn authz_18_authz_09_the_configured_redirect_uri_is_one_too() {
    let mut host = Host::new(config());
    click(&mut host, None, Some("http://127.0.0.1:5002/callback"));
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    host.redirect();
    host.authorize();
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-2"}"#);
    let redirect = host.redirect();
    assert!(redirect.url.as_str().contains("3000"), "{:?}", redirect.url);
    signs_in(&mut host, &redirect);
}

/// AUTHZ-18, CB-14: also before the first redirect, and while it waits in the queue.
#[test]
fn authz_18_cb_14_a_click_from_elsewhere_during_an_attempt_gets_a_redirect_of_its_own() {
    let mut host = Host::new(config());
    click(&mut host, Some(b"a"), None);
    host.serve(PRM, 200, &prm());
    // From the same browser: joins. From others: the last one counts.
    click(&mut host, Some(b"a"), None);
    click(&mut host, Some(b"b"), None);
    click(&mut host, Some(b"c"), None);
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    host.redirect();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    let redirect = host.redirect();
    host.quiet();
    let url = format!("{REDIRECT}?code=c-1&state={}", state_of(&redirect));
    let callback = Callback::from_url(url).in_browser(BrowserBinding::new(b"c"));
    host.handle(Event::CallbackParams(callback));
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
}

/// AUTHZ-18, CB-14: a click from another browser, or for another redirect URI, while the account is read.
#[test]
fn authz_18_cb_14_the_last_click_while_the_account_is_read_gets_the_redirect() {
    let other = "http://127.0.0.1:5002/callback";
    for (browser, uri) in [(Some(b"b".as_slice()), None), (Some(b"a"), Some(other))] {
        let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
        host.pass(2 * MINUTE);
        let mut store = std::mem::take(&mut host.store);
        host.store.mode = StoreMode::Manual;
        click(&mut host, Some(b"a"), None);
        click(&mut host, browser, uri);
        host.share(&mut store);
        store.mode = StoreMode::Works;
        host.store = store;
        host.serve(PRM, 200, &prm());
        host.serve(META, 200, &metadata());
        if uri.is_some() {
            host.serve(REGISTER, 201, r#"{"client_id":"dyn-2"}"#);
        }
        let redirect = host.redirect();
        host.quiet();
        let to = uri.unwrap_or(REDIRECT);
        let url = format!("{to}?code=c-1&state={}", state_of(&redirect));
        let callback = Callback::from_url(url);
        let callback = callback.in_browser(BrowserBinding::new(browser.unwrap()));
        host.handle(Event::CallbackParams(callback));
        host.serve(TOKEN, 200, &token_answer("at-2"));
        host.ready();
    }
}

/// AUTHZ-18: documents that are wrong for a moment, when the user starts again, end no redirect that was right.
#[test]
fn authz_18_documents_that_lead_elsewhere_and_are_refused_leave_the_open_authorization() {
    let endpoint = format!("{AS}/authorize\"");
    let poisoned = metadata().replace(&endpoint, &format!("{ELSEWHERE}/authorize\""));
    let (mut host, redirect) = redirected();
    starts_again(&mut host, &prm(), &poisoned);
    let failure = host.error();
    assert!(
        matches!(
            failure.cause,
            Cause::Violation(Violation::AuthorizationOrigin { .. })
        ),
        "{failure:?}"
    );
    host.quiet();
    assert_eq!(host.store.of_kind("pending").len(), 1);
    signs_in(&mut host, &redirect);
}
