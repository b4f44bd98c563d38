//! A challenge is about the token that was sent: neither a refresh nor a sign-in of another token decides it (USE-08, USE-09).

use mcp_auth_machine::Action;
use mcp_auth_machine::action::Why;
use mcp_auth_machine::error::{Cause, Violation};

use crate::support::*;

const HOUR: u64 = 3_600_000;
const X: &str = "tools/call x";

fn signed_in() -> Host {
    Host::signed_in(config(), &renewable("at-1", "rt-1"))
}

/// The MCP server refuses a request of an operation, which was sent with this token.
#[track_caller]
fn refuses(host: &mut Host, operation: &str, token: &str) {
    let sent = format!("Bearer {token}");
    host.challenged_for(operation, 401, &["Bearer"], Some(&sent));
}

/// A refresh with this refresh token, up to `Ready`.
#[track_caller]
fn refreshes(host: &mut Host, refresh: &str, answer: &str) {
    let form = body(&host.serve(TOKEN, 200, answer));
    assert_eq!(get(&form, "refresh_token").as_deref(), Some(refresh));
    host.ready();
    host.quiet();
}

#[test]
fn use_08_use_09_a_refusal_that_comes_late_refreshes_the_token_that_has_expired_since() {
    let mut host = signed_in();
    refuses(&mut host, X, "at-1");
    host.serve(PRM, 200, &prm());
    refreshes(&mut host, "rt-1", &renewable_for("at-2", "rt-2", "90"));
    // The second one is not refused: it has expired.
    host.pass(91_000);
    refuses(&mut host, X, "at-1");
    host.serve(PRM, 200, &prm());
    refreshes(&mut host, "rt-2", &renewable("at-3", "rt-3"));
    // One that is refused itself is not refreshed again.
    refuses(&mut host, X, "at-3");
    host.serve(PRM, 200, &prm());
    assert_eq!(host.need_user().why, Why::TokenOver);
    host.quiet();
}

#[test]
fn use_08_a_token_that_came_after_the_sign_in_is_not_a_fresh_one() {
    // No request of the operation that led to the sign-in has succeeded yet.
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &renewable_for("at-1", "rt-1", "90"));
    host.ready();
    host.pass(91_000);
    host.wanted("other");
    refreshes(&mut host, "rt-1", &renewable("at-2", "rt-2"));
    host.accepted("other");
    refuses(&mut host, X, "at-2");
    host.serve(PRM, 200, &prm());
    refreshes(&mut host, "rt-2", &renewable("at-3", "rt-3"));
    // Refused again: the user, and then the end.
    refuses(&mut host, X, "at-3");
    host.serve(PRM, 200, &prm());
    assert_eq!(host.need_user().why, Why::TokenOver);
    host.authorize();
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &renewable("at-4", "rt-4"));
    host.ready();
    host.accepted("other");
    refuses(&mut host, X, "at-4");
    let fresh = Violation::FreshTokenRefused { description: None };
    assert_eq!(host.error().cause, Cause::Violation(fresh));
    host.quiet();
}

#[test]
fn use_08_step_09_scopes_that_the_account_has_received_since_are_not_asked_for_again() {
    let mut host = signed_in();
    host.pass(3_000);
    let challenge = "Bearer error=\"insufficient_scope\", scope=\"more\"";
    let lacks = |host: &mut Host, token: &str| {
        host.challenged_for(X, 403, &[challenge], Some(&format!("Bearer {token}")));
    };
    lacks(&mut host, "at-1");
    assert!(matches!(host.need_user().why, Why::ScopeMissing { .. }));
    host.authorize();
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &renewable_for("at-2", "rt-2", "90"));
    host.ready();
    host.pass(91_000);
    lacks(&mut host, "at-1");
    host.serve(PRM, 200, &prm());
    refreshes(&mut host, "rt-2", &renewable("at-3", "rt-3"));
}

/// Refusals without a success between them end, whatever the host reports: here every token has expired on receipt, so that each
/// refusal might lead to a refresh.
#[test]
fn use_08_s22_refusals_end_whichever_token_the_host_reports() {
    let reports: [fn(u32) -> Option<String>; 4] = [
        |number| Some(format!("Bearer at-{number}")),
        |_| Some("Bearer at-1".to_owned()),
        |number| Some(format!("Bearer other-{number}")),
        |_| None,
    ];
    for (at, reported) in reports.into_iter().enumerate() {
        let mut host = signed_in();
        host.pass(HOUR);
        let mut refreshed = 0;
        for number in 1..20 {
            host.challenged_for(X, 401, &["Bearer"], reported(number).as_deref());
            while let Some(Action::SendRequest(send)) = host.actions.front() {
                let url = send.request().uri().to_string();
                if url == TOKEN {
                    refreshed += 1;
                    let answer = renewable_for(
                        &format!("at-{}", number + 1),
                        &format!("rt-{}", number + 1),
                        "0",
                    );
                    host.serve(TOKEN, 200, &answer);
                } else if url == PRM {
                    host.serve(PRM, 200, &prm());
                } else {
                    host.serve(META, 200, &metadata());
                }
            }
            // The one use of that token.
            let _used = host.token();
            host.actions.clear();
        }
        assert!(
            (1..=4).contains(&refreshed),
            "report {at}: {refreshed} refreshes"
        );
    }
}

/// Two operations are refused with every token, and a third is accepted with each.
#[test]
fn use_08_s22_operations_that_are_refused_in_turn_do_not_refresh_for_ever() {
    let mut host = signed_in();
    let mut refreshed = 0;
    for number in 1..20 {
        let operation = ["y", "z"][usize::from(number % 2 == 0)];
        let sent = host.token();
        host.challenged_for(operation, 401, &["Bearer"], sent.as_deref());
        host.serve(PRM, 200, &prm());
        if let Some(Action::SendRequest(_)) = host.actions.front() {
            refreshed += 1;
            let answer = renewable(&format!("at-{}", number + 1), &format!("rt-{}", number + 1));
            host.serve(TOKEN, 200, &answer);
            host.ready();
        } else {
            host.need_user();
        }
        host.accepted("third");
    }
    assert_eq!(refreshed, 2);
}
