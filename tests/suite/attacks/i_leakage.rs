//! Leakage of secrets, and the display of attackers' text (1.I).

use std::marker::PhantomData;

use mcp_auth_machine::action::{Redirect, SendRequest};
use mcp_auth_machine::config::PreRegistered;
use mcp_auth_machine::event::{Authorization, Challenge, Event};
use mcp_auth_machine::report::Decision;
use mcp_auth_machine::slot::{SlotContents, Stored};
use mcp_auth_machine::wire::callback::{BrowserBinding, Callback};
use mcp_auth_machine::wire::pkce::{Seed, State, Verifier};
use mcp_auth_machine::wire::text::MAX_TEXT_CHARS;
use mcp_auth_machine::{AuthMachine, Config, Failure, Secret};

use super::*;

/// Escape, hyperlink, right-to-left, line end, forged entry.
const HOSTILE: &str = "a\\u001b[2J\\u001b]8;;https://evil.example\\u0007b\\u202e\\r\\nERROR forged\\u009b31m\\u2028\\u0000";
const CLEAN: &str = "a[2J]8;;https://evil.examplebERROR forged31m";

fn shown(host: &Host, failure: &Failure) -> String {
    let told: Vec<String> = host
        .reports
        .iter()
        .map(|decision| format!("{decision:?} {}", serde_json::to_string(decision).unwrap()))
        .collect();
    format!("{failure} {failure:?} {}", told.join(" "))
}

#[track_caller]
fn plain(host: &Host, failure: &Failure) {
    let text = shown(host, failure);
    assert!(text.chars().all(|c| matches!(c, ' '..='~')), "{text:?}");
}

#[test]
fn i02_i03_i04_text_of_a_server_shows_as_plain_text() {
    let refusal = format!(r#"{{"error":"{HOSTILE}","error_description":"{HOSTILE}"}}"#);
    let long = format!(
        r#"{{"error":"x","error_description":"{}"}}"#,
        "y".repeat(9_999)
    );
    let mut host = Host::new(config());
    host.discover(&prm(), &metadata());
    host.serve(REGISTER, 400, &refusal);
    let failure = host.error();
    plain(&host, &failure);
    assert!(shown(&host, &failure).contains(CLEAN));
    for (answer, most) in [(&refusal, 2 * MAX_TEXT_CHARS), (&long, 2 * MAX_TEXT_CHARS)] {
        let mut host = Host::new(config());
        let redirect = host.to_redirect();
        host.callback(&format!("code=SECRET&state={}", state_of(&redirect)));
        host.serve(TOKEN, 400, answer);
        let failure = host.error();
        plain(&host, &failure);
        assert!(format!("{failure:?}").len() < most);
        // The server's words are in quotes, and bounded.
        assert!(failure.to_string().len() < most);
    }
    // No error at all: nothing of the body is kept.
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.callback(&format!("code=SECRET&state={}", state_of(&redirect)));
    host.serve(
        TOKEN,
        400,
        "code SECRET and its verifier were wrong\u{1b}[2J",
    );
    let failure = host.error();
    plain(&host, &failure);
    assert!(!shown(&host, &failure).contains("SECRET"));
}

/// A refusal that repeats a text in every place it has.
fn echo(text: &str) -> String {
    format!(
        r#"{{"error":"no {text}","error_description":"{} {text} was wrong"}}"#,
        "y".repeat(490)
    )
}

#[test]
fn i02_a_secret_that_a_server_repeats_is_not_in_the_error() {
    const CODE: &str = "SENTINEL-code-and-more";
    let client = PreRegistered::new("pre").secret("SENTINEL-of-the-client");
    for list in ["client_secret_basic", "client_secret_post"] {
        let document = metadata().replace("[\"none\"]", &format!("[\"{list}\"]"));
        let signed_away = || {
            let mut host = Host::new(config().pre_registered(AS, client.clone()));
            host.discover(&prm(), &document);
            let redirect = host.redirect();
            host.callback(&format!("code={CODE}&state={}", state_of(&redirect)));
            host
        };
        for secret in [CODE, "SENTINEL-of-the-client", "verifier"] {
            let mut host = signed_away();
            let send = host.request();
            let verifier = get(&body(send.request()), "code_verifier").unwrap();
            let text = if secret == "verifier" {
                &verifier
            } else {
                secret
            };
            host.handle(send.response(response(400, &[], &echo(text))));
            let failure = host.error();
            let shown = shown(&host, &failure);
            assert!(
                !shown.contains("SENTINEL") && !shown.contains(&verifier[..12]),
                "{shown}"
            );
        }
        let mut host = signed_away();
        host.serve(
            TOKEN,
            200,
            &renewable_for("at-1", "SENTINEL-to-renew", "60"),
        );
        host.ready();
        host.pass(60_000);
        host.wanted("x");
        host.serve(TOKEN, 400, &echo("SENTINEL-to-renew"));
        let need = host.need_user();
        assert!(!format!("{need:?}").contains("SENTINEL"), "{need:?}");
    }
    // Text that repeats no secret is kept.
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.callback(&format!("code={CODE}&state={}", state_of(&redirect)));
    host.serve(
        TOKEN,
        400,
        r#"{"error":"invalid_grant","error_description":"SENTINEL"}"#,
    );
    let failure = host.error();
    assert!(shown(&host, &failure).contains("SENTINEL"));
}

#[test]
fn i03_i04_text_from_the_browser_or_the_resource_shows_as_plain_text() {
    let escaped = "a%1B%5B2J%E2%80%AE%0D%0AERROR+forged%C2%9B31m%00";
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.callback(&format!(
        "error={escaped}&error_description={escaped}&error_uri={escaped}&state={}",
        state_of(&redirect)
    ));
    let failure = host.error();
    plain(&host, &failure);
    let mut host = Host::signed_in(config(), &token_answer("at-1"));
    let sent = host.token();
    let line = "Bearer error=\"insufficient_scope\", error_description=\"a\u{80}\u{9b}31m\tb\", resource_metadata=\"https://e\u{e9}/\"";
    host.challenged_for("x", 403, &[line], sent.as_deref());
    let failure = host.error();
    plain(&host, &failure);
    let mut host = Host::new(config());
    asked(&mut host);
    host.serve(PRM, 200, &prm().replace(MCP, HOSTILE));
    let failure = host.error();
    plain(&host, &failure);
    let mut host = Host::new(config());
    host.discover(&prm(), &metadata().replace(TOKEN, HOSTILE));
    host.serve(
        "https://as.example/.well-known/openid-configuration",
        404,
        "",
    );
    let failure = host.error();
    plain(&host, &failure);
}

#[test]
fn i10_all_invalid_callbacks_look_the_same() {
    let redirected = || {
        let mut host = Host::new(config());
        host.challenged(401, &[&announcing()]);
        host.need_user();
        let seed = host.next_seed();
        let binding = BrowserBinding::new(b"hers");
        host.authorize_with(Authorization::new(seed).browser(binding));
        host.serve(PRM, 200, &prm());
        host.serve(META, 200, &metadata());
        host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
        let redirect = host.redirect();
        (host, state_of(&redirect))
    };
    let outcome = |change: fn(&mut Host), url: &dyn Fn(&str) -> String, session: &[u8]| {
        let (mut host, state) = redirected();
        change(&mut host);
        host.reports.clear();
        let callback = Callback::from_url(url(&state)).in_browser(BrowserBinding::new(session));
        host.handle(Event::CallbackParams(callback));
        host.quiet();
        format!("{:?}", host.reports)
    };
    let good = |state: &str| format!("{REDIRECT}?code=c&state={state}");
    let unchanged: fn(&mut Host) = |_| {};
    let outcomes = [
        outcome(unchanged, &|_| format!("{REDIRECT}?code=c"), b"hers"),
        outcome(
            unchanged,
            &|_| format!("{REDIRECT}?code=c&state=x"),
            b"hers",
        ),
        outcome(
            unchanged,
            &|state| good(&state.replace(&state[..1], "_")),
            b"hers",
        ),
        outcome(
            unchanged,
            &|state| format!("{REDIRECT}/x?code=c&state={state}"),
            b"hers",
        ),
        outcome(
            unchanged,
            &|state| good(&format!("{state}&code=d")),
            b"hers",
        ),
        outcome(unchanged, &good, b"his"),
        outcome(|host| host.pass(11 * 60_000), &good, b"hers"),
        outcome(
            |host| {
                host.handle(Event::Abandoned(Default::default()));
                host.error();
            },
            &good,
            b"hers",
        ),
    ];
    assert_eq!(outcomes[0], "[CallbackIgnored]");
    assert!(
        outcomes.iter().all(|found| *found == outcomes[0]),
        "{outcomes:?}"
    );
}

trait NotSerializable {
    const SERIALIZES: bool = false;
}

struct Probe<T>(PhantomData<T>);

impl<T> NotSerializable for Probe<T> {}

impl<T: serde::Serialize> Probe<T> {
    const SERIALIZES: bool = true;
}

#[test]
fn i08_no_type_with_a_secret_can_be_serialized() {
    macro_rules! that_serialize {
        ($($kind:ty),* $(,)?) => {
            [$((stringify!($kind), Probe::<$kind>::SERIALIZES)),*]
                .into_iter()
                .filter_map(|(name, serializes)| serializes.then_some(name))
                .collect::<Vec<_>>()
        };
    }
    let found = that_serialize![
        Decision,
        Secret,
        Seed,
        Verifier,
        State,
        SlotContents,
        Stored,
        Callback,
        BrowserBinding,
        Authorization,
        Challenge,
        Event,
        Action,
        SendRequest,
        Redirect,
        Config,
        AuthMachine,
    ];
    assert_eq!(found, ["Decision"]);
}
