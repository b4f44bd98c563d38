//! Work and memory that an attacker can cause (1.G).

use http::HeaderMap;
use mcp_auth_machine::action::SendRequest;
use mcp_auth_machine::event::Abandon;
use mcp_auth_machine::wire::challenge::{MAX_CHALLENGES, MAX_PARAMETERS, parse};
use mcp_auth_machine::wire::scopes::{MAX_SCOPE_BYTES, MAX_SCOPES, Scopes};
use mcp_auth_machine::{Event, Phase};
use proptest::prelude::*;

use super::*;

#[test]
fn g04_g09_long_lists_are_read_up_to_their_limits() {
    let many: String = (0..100_000).map(|n| format!("s{n} ")).collect();
    let scopes = Scopes::parse(&many);
    assert_eq!(scopes.len(), MAX_SCOPES);
    assert!(many.starts_with(scopes.as_str()) && scopes.as_str().len() <= MAX_SCOPE_BYTES);
    // Repetitions do not add up, however many there are.
    let few: String = (0..MAX_SCOPES - 1).map(|n| format!("{n:030} ")).collect();
    let repeated = [few.as_str(), &few.repeat(50)].concat();
    assert_eq!(Scopes::parse(&repeated).as_str(), few.trim_end());
    let parameters: String = (0..100_000).map(|n| format!("p{n}=\"{n}\", ")).collect();
    let mut headers = HeaderMap::new();
    let line = format!("Bearer {parameters}scope=\"late\"");
    headers.append("www-authenticate", line.parse().unwrap());
    for number in 0..10_000 {
        let line = format!("Bearer realm=\"{number}\"");
        headers.append("www-authenticate", line.parse().unwrap());
    }
    let parsed = parse(&headers);
    assert!(parsed.challenges().len() <= MAX_CHALLENGES);
    assert!(
        parsed
            .challenges()
            .iter()
            .all(|one| one.parameters.len() <= MAX_PARAMETERS)
    );
    assert_eq!(
        parsed
            .select(401, &|_| true)
            .and_then(|selected| selected.scope),
        None
    );
    // The same limit through the machine.
    let mut host = Host::new(config());
    let value = format!("Bearer scope=\"{}\"", "s ".repeat(500_000));
    host.challenged(401, &[&value]);
    host.need_user();
    host.quiet();
}

#[test]
fn g10_numbers_are_read_as_they_are_written() {
    let expires = |value: &str| {
        let mut host = Host::new(config());
        let redirect = host.to_redirect();
        host.callback(&format!("code=c&state={}", state_of(&redirect)));
        let answer =
            format!(r#"{{"access_token":"t","token_type":"Bearer","expires_in":{value}}}"#);
        host.serve(TOKEN, 200, &answer);
        host.ready()
            .expires
            .map(|at| (at.0 - host.now.wall.0) / 1_000)
    };
    const TEN_YEARS: u64 = 315_360_000;
    for value in [
        "1e400", "-0", "-1", "1e3", "1E3", "0x10", "+1", "1.", "NaN", "Infinity",
    ] {
        let sent = if value.parse::<serde_json::Number>().is_ok() {
            value.to_owned()
        } else {
            format!("\"{value}\"")
        };
        assert_eq!(expires(&sent), None, "{value}");
    }
    for value in [
        "9007199254740993",
        "18446744073709551615",
        "18446744073709551616",
        "1".repeat(400).as_str(),
    ] {
        assert_eq!(expires(value), Some(TEN_YEARS), "{value}");
    }
    assert_eq!(expires("315359999"), Some(TEN_YEARS - 1));
    // Without a limit every digit counts: a float cannot represent 2^53 + 1.
    let registered = |expires: &str| {
        let mut host = Host::new(config());
        let document = metadata().replace("[\"none\"]", "[\"client_secret_post\"]");
        host.discover(&prm(), &document);
        let answer = format!(
            r#"{{"client_id":"c","client_secret":"s","client_secret_expires_at":{expires}}}"#
        );
        host.serve(REGISTER, 201, &answer);
        match host.next() {
            Action::Redirect(_) => {
                spelled_out(host.store.of_kind("registration")[0].contents.expose())
            }
            _ => String::new(),
        }
    };
    for exact in [
        "9007199254740993",
        "9223372036854775808",
        "18446744073709551615",
    ] {
        let text = registered(exact);
        assert!(
            text.contains(&format!(r#""secret_expires_at":{exact}"#)),
            "{text}"
        );
    }
    for wrong in ["-1", "1e3", "1.5", "18446744073709551616", "1e400"] {
        assert_eq!(registered(wrong), "", "{wrong}");
    }
}

#[test]
fn g11_a_million_wishes_are_one_flow() {
    let mut host = Host::new(config());
    asked(&mut host);
    for _ in 0..1_000_000 {
        let seed = host.next_seed();
        host.machine.handle(host.now, Event::Authorize(seed.into()));
        assert!(host.machine.poll_action().is_none());
    }
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    host.quiet();
    for _ in 0..10_000 {
        let seed = host.next_seed();
        host.handle(Event::Authorize(seed.into()));
        assert_eq!(host.redirect().url, redirect.url);
        host.callback("code=x&state=AAAAAAAAAAAAAAAAAAAAAA");
        host.quiet();
        host.playbook.clear();
        host.reports.clear();
    }
    assert_eq!(host.store.of_kind("pending").len(), 1);
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    assert_eq!(requests(&host), 1);
}

/// Performs the event that two numbers and some bytes select.
fn happens(host: &mut Host, kind: u8, number: u16, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let at = host
        .actions
        .iter()
        .position(|action| matches!(action, Action::SendRequest(_)));
    let answer = |send: SendRequest| {
        let good = match send.request().uri().path() {
            path if path.contains("oauth-protected-resource") => prm(),
            path if path.contains("well-known") => metadata(),
            "/register" => r#"{"client_id":"c"}"#.to_owned(),
            _ => renewable_for("at", "rt", "10"),
        };
        let status = if send.request().uri().path() == "/register" {
            201
        } else {
            200
        };
        match number % 5 {
            0 => send.response(response(100 + number % 500, &[("location", "/x")], &text)),
            1 => send.maybe_sent(),
            _ => send.response(response(status, &[], &good)),
        }
    };
    let event = match (kind % 12, at) {
        (0..=4, Some(at)) => match host.actions.remove(at) {
            Some(Action::SendRequest(send)) => answer(send),
            other => panic!("{other:?}"),
        },
        (5, _) => return host.authorize(),
        (6, _) => {
            let state = host.actions.iter().find_map(|action| match action {
                Action::Redirect(redirect) => Some(state_of(redirect)),
                _ => None,
            });
            let query = match state {
                Some(state) => format!("code=c&state={state}"),
                None => text,
            };
            return host.callback(&query);
        }
        (7, _) => {
            host.pass(u64::from(number));
            Event::Timer
        }
        (8, _) => Event::Abandoned(Abandon::ResetRegistration),
        (9, _) if number.is_multiple_of(8) => Event::SignedOut,
        (10, _) => return host.accepted("op"),
        _ => {
            let mut headers = HeaderMap::new();
            if let Ok(value) = http::HeaderValue::from_bytes(bytes) {
                headers.append("www-authenticate", value);
            }
            let status = [401, 403, 400][usize::from(number % 3)];
            let challenge = mcp_auth_machine::event::Challenge::new("op", status, headers);
            let sent = host.token();
            Event::Challenged(match sent {
                Some(sent) => challenge.sent(&sent),
                None => challenge,
            })
        }
    };
    host.handle(event);
}

proptest! {
    #[test]
    fn g13_g14_every_event_ends_in_few_actions_and_no_panic(
        moves in prop::collection::vec((any::<u8>(), any::<u16>(), prop::collection::vec(any::<u8>(), 0..40)), 1..80)
    ) {
        let mut host = Host::new(config());
        for (kind, number, bytes) in moves {
            host.playbook.clear();
            host.reports.clear();
            happens(&mut host, kind, number, &bytes);
            let text = host.playbook.text();
            // Actions, and the one event.
            let done = text.lines().filter(|line| line.starts_with('<')).count() + 1 + host.reports.len();
            prop_assert!(done <= 60, "{done} in one event");
            prop_assert!(matches!(
                host.machine.phase(),
                Phase::Resting | Phase::AwaitingUser | Phase::AwaitingDevice | Phase::Working(_)
            ));
            host.actions.truncate(20);
        }
    }
}
