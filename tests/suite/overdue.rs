//! A refresh that is answered after its time limit, as in a process that was suspended meanwhile (REFR-07).

use mcp_auth_machine::Event;
use mcp_auth_machine::action::SendRequest;
use mcp_auth_machine::error::Cause;

use crate::sign_out::{REVOKE, revocable, signed_in_at};
use crate::support::*;

const HOUR: u64 = 3_600_000;

fn account(host: &Host) -> String {
    spelled_out(host.store.of_kind("account")[0].contents.expose())
}

/// A refresh whose time limit has passed, and the request.
fn overdue() -> (Host, SendRequest) {
    let mut host = signed_in_at(config(), &revocable(""), &renewable("at-1", "rt-1"));
    host.accepted("tools/call x");
    host.pass(HOUR);
    host.wanted("x");
    host.serve(META, 200, &revocable(""));
    let send = host.request_to(TOKEN);
    host.wake();
    host.quiet();
    (host, send)
}

fn answers(host: &mut Host, send: SendRequest, answer: &str) {
    host.handle(send.response(response(200, &[], answer)));
}

#[test]
fn refr_07_a_late_answer_is_taken_before_the_next_try() {
    let (mut host, send) = overdue();
    answers(&mut host, send, &renewable("at-2", "rt-2"));
    host.ready();
    host.quiet();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
    assert!(account(&host).contains("rt-2") && !account(&host).contains("rt-1"));
    assert_eq!(host.machine.deadline(), None);
}

/// The machine has given up; the answer comes hours later. The lifetime counts from the request.
#[test]
fn refr_07_s30_a_late_answer_keeps_the_session_and_lengthens_no_life() {
    for honoured in 0..3 {
        keeps_the_session(honoured);
    }
}

fn keeps_the_session(honoured: usize) {
    let (mut host, first) = overdue();
    // The process sleeps through all tries; no network.
    let mut tries = vec![first];
    for _ in 0..2 {
        host.wake();
        tries.push(host.request_to(TOKEN));
        host.wake();
    }
    assert!(matches!(host.error().cause, Cause::Unreachable(_)));
    host.pass(HOUR);
    // The server honoured the first try that reached it, whichever that was, and takes the others for replays.
    let honoured = tries.remove(honoured);
    let replayed = tries.pop().unwrap();
    let refused = response(400, &[], r#"{"error":"invalid_grant"}"#);
    host.handle(replayed.response(refused));
    host.quiet();
    answers(&mut host, honoured, &renewable("at-2", "rt-2"));
    host.quiet();
    // The account has changed since: the rest is forgotten.
    answers(&mut host, tries.pop().unwrap(), &renewable("at-9", "rt-9"));
    host.quiet();
    assert_eq!(host.token(), None);
    assert!(account(&host).contains("rt-2"));
    host.wanted("x");
    host.serve(META, 200, &revocable(""));
    let form = body(&host.serve(TOKEN, 200, &renewable("at-3", "rt-3")));
    assert_eq!(get(&form, "refresh_token").as_deref(), Some("rt-2"));
    host.ready();
}

/// A later refresh, another process or a sign-in has replaced the tokens: the late ones are dropped.
#[test]
fn refr_07_refr_05_a_late_answer_replaces_no_other_tokens() {
    // The next try is answered first, or while the late answer waits for it.
    for first in [false, true] {
        let (mut host, send) = overdue();
        host.wake();
        let next = host.request_to(TOKEN);
        if first {
            answers(&mut host, send, &renewable("at-2", "rt-2"));
            host.quiet();
            answers(&mut host, next, &renewable("at-3", "rt-3"));
        } else {
            answers(&mut host, next, &renewable("at-3", "rt-3"));
            host.ready();
            answers(&mut host, send, &renewable("at-2", "rt-2"));
            host.quiet();
        }
        if first {
            host.ready();
        }
        host.quiet();
        assert_eq!(host.token().as_deref(), Some("Bearer at-3"));
        assert!(account(&host).contains("rt-3"));
    }
    // The next try is refused: the grant has ended.
    let (mut host, send) = overdue();
    host.wake();
    host.serve(TOKEN, 400, r#"{"error":"invalid_grant"}"#);
    host.need_user();
    answers(&mut host, send, &renewable("at-2", "rt-2"));
    host.quiet();
    assert_eq!(host.token(), None);
}

/// Another process has refreshed: its tokens are taken over, and without an event nothing is refreshed.
#[test]
fn refr_07_refr_05_a_late_answer_gives_way_to_another_process() {
    for expired in [false, true] {
        let (mut host, send) = overdue();
        if expired {
            // The machine gives up first.
            for _ in 0..2 {
                host.wake();
                host.request_to(TOKEN);
                host.wake();
            }
            host.error();
        }
        let mut other = Host::resumed(
            std::sync::Arc::new(config().build().unwrap()),
            std::mem::take(&mut host.store),
            host.now,
            host.seeds,
        );
        other.pass(40_000);
        other.wanted("x");
        while !matches!(other.actions.front(), Some(mcp_auth_machine::Action::SendRequest(send)) if *send.request().uri() == TOKEN)
        {
            other.serve(META, 200, &revocable(""));
        }
        other.serve(TOKEN, 200, &renewable("at-3", "rt-3"));
        other.ready();
        host.store = std::mem::take(&mut other.store);
        host.now = other.now;
        if expired {
            host.pass(2 * HOUR);
        }
        answers(&mut host, send, &renewable("at-2", "rt-2"));
        if expired {
            host.quiet();
        } else {
            host.ready();
            host.quiet();
            assert_eq!(host.token().as_deref(), Some("Bearer at-3"));
        }
        assert!(account(&host).contains("rt-3"));
    }
}

#[test]
fn refr_07_refr_12_after_a_sign_out_a_late_answer_is_revoked() {
    for arrived in [false, true] {
        let (mut host, send) = overdue();
        let mut send = Some(send);
        if arrived {
            // It waits for the try that is under way.
            host.wake();
            let _next = host.request_to(TOKEN);
            answers(&mut host, send.take().unwrap(), &renewable("at-2", "rt-2"));
            host.quiet();
        }
        host.handle(Event::SignedOut);
        host.error();
        let mut revoked = Vec::new();
        for _ in 0..4 {
            if revoked.len() == 2
                && let Some(send) = send.take()
            {
                answers(&mut host, send, &renewable("at-2", "rt-2"));
            }
            let form = body(&host.serve(REVOKE, 200, ""));
            revoked.push(get(&form, "token").unwrap());
        }
        revoked.sort();
        assert_eq!(revoked, ["at-1", "at-2", "rt-1", "rt-2"], "{arrived}");
        host.quiet();
        assert!(host.store.of_kind("account").is_empty());
    }
}

/// The user has signed out in another process.
#[test]
fn refr_07_refr_12_a_late_answer_revives_no_account() {
    let (mut host, send) = overdue();
    host.store
        .slots
        .retain(|key, _| !key.starts_with("account"));
    answers(&mut host, send, &renewable("at-2", "rt-2"));
    assert_eq!(host.need_user().operation, None);
    for token in ["rt-2", "at-2"] {
        let form = body(&host.serve(REVOKE, 200, ""));
        assert_eq!(get(&form, "token").as_deref(), Some(token));
    }
    let need = host.need_user();
    assert_eq!(need.operation.unwrap().as_str(), "x");
    host.quiet();
    assert!(host.store.of_kind("account").is_empty());
}
