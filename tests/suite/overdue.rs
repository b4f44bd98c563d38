//! A refresh that is answered after its time limit, as in a process that was suspended meanwhile (REFR-07).

use mcp_auth_machine::action::SendRequest;
use mcp_auth_machine::error::{Cause, StoreFlaw};
use mcp_auth_machine::{Action, Event};

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
    let last = honoured.id();
    answers(&mut host, honoured, &renewable("at-2", "rt-2"));
    host.quiet();
    // Another answer with tokens counts if its request was the later one.
    let other = tries.pop().unwrap();
    if other.id() < last {
        answers(&mut host, other, &renewable("at-9", "rt-9"));
        host.quiet();
    }
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
}

/// The next try was refused as a replay before the answer to the first one was read: it brings the tokens of the grant.
#[test]
fn refr_07_a_late_answer_restores_tokens_that_this_process_dropped() {
    let (mut host, send) = overdue();
    host.wake();
    host.serve(TOKEN, 400, r#"{"error":"invalid_grant"}"#);
    host.need_user();
    assert!(!account(&host).contains("rt-1"));
    answers(&mut host, send, &renewable("at-2", "rt-2"));
    host.ready();
    host.quiet();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
    assert!(account(&host).contains("rt-2"));
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

/// Gives up after three tries; returns the request of the first one. The next refresh reads the metadata first.
fn given_up() -> (Host, SendRequest) {
    let (mut host, send) = overdue();
    for _ in 0..2 {
        host.wake();
        host.request_to(TOKEN);
        host.wake();
    }
    host.error();
    host.pass(HOUR);
    (host, send)
}

/// The refresh token is spent: a refresh that is being prepared does not send it again.
#[test]
fn refr_07_refr_05_a_refresh_that_is_being_prepared_gives_way_to_a_late_answer() {
    // While the metadata is read.
    let (mut host, send) = given_up();
    host.wanted("x");
    let metadata = host.request_to(META);
    answers(&mut host, send, &renewable_for("at-2", "rt-2", "7200"));
    host.quiet();
    host.handle(metadata.response(response(200, &[], &revocable(""))));
    host.ready();
    host.quiet();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
    assert!(account(&host).contains("rt-2"));

    // While the account is read, and while the lease is written.
    for steps in [1, 2] {
        let (mut host, send) = overdue();
        let mut store = std::mem::take(&mut host.store);
        host.store.mode = StoreMode::Manual;
        host.wake();
        for _ in 1..steps {
            host.share_one(&mut store);
        }
        answers(&mut host, send, &renewable("at-2", "rt-2"));
        host.share(&mut store);
        host.ready();
        host.quiet();
        assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
    }
}

/// While its proof is signed.
#[test]
fn refr_07_dpop_07_a_refresh_that_is_being_signed_gives_way_to_a_late_answer() {
    let mut host = crate::dpop::signed_in();
    host.pass(HOUR);
    host.wanted("x");
    if matches!(host.actions.front(), Some(Action::SendRequest(_))) {
        host.serve(META, 200, &metadata_with(crate::dpop::LISTED));
    }
    host.signs();
    let send = host.request_to(TOKEN);
    host.wake();
    host.wake();
    let Action::Sign(sign) = host.next() else {
        panic!("the next try is signed")
    };
    let answer = crate::dpop::bound("at-2").replace("rt-1", "rt-2");
    answers(&mut host, send, &answer);
    host.quiet();
    host.handle(sign.failed());
    host.ready();
    host.quiet();
    assert!(account(&host).contains("rt-2"));
}

/// The next try came second, and was refused as a replay.
#[test]
fn refr_07_a_late_answer_outweighs_a_later_try_without_tokens() {
    let refusals = [
        (400, r#"{"error":"invalid_grant"}"#),
        (400, r#"{"error":"invalid_request"}"#),
        (401, r#"{"error":"invalid_client"}"#),
        (503, ""),
        (200, "{}"),
    ];
    for (status, text) in refusals {
        let (mut host, send) = overdue();
        host.wake();
        let next = host.request_to(TOKEN);
        answers(&mut host, send, &renewable("at-2", "rt-2"));
        host.quiet();
        host.handle(next.response(response(status, &[], text)));
        host.ready();
        host.quiet();
        assert_eq!(host.token().as_deref(), Some("Bearer at-2"), "{text}");
        assert!(account(&host).contains("rt-2"));
        assert!(!host.machine.has_unsaved());
    }
    // It is not answered at all.
    let (mut host, send) = overdue();
    host.wake();
    let _next = host.request_to(TOKEN);
    answers(&mut host, send, &renewable("at-2", "rt-2"));
    host.wake();
    host.ready();
    host.quiet();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
}

/// An answer that brings a new refresh token and no usable access token has spent the one that was sent.
#[test]
fn refr_14_refr_07_a_late_answer_without_a_usable_token_ends_the_refresh_token() {
    for waits in [false, true] {
        let (mut host, send) = if waits { overdue() } else { given_up() };
        let unusable = renewable("at-2", "rt-2").replace("Bearer", "mac");
        answers(&mut host, send, &unusable);
        if waits {
            host.need_user();
        }
        let revoked: Vec<_> = (0..2)
            .map(|_| get(&body(&host.serve(REVOKE, 200, "")), "token").unwrap())
            .collect();
        assert_eq!(revoked, ["rt-2", "at-2"]);
        host.quiet();
        assert!(!account(&host).contains("rt-1"));
        host.wanted("x");
        host.need_user();
        host.quiet();
    }
}

/// An access token for other scopes is not used, and the refresh token that came with it replaces the one that was sent.
#[test]
fn refr_03_refr_07_a_late_answer_for_other_scopes_brings_its_refresh_token() {
    let mut host = crate::refresh::with_scopes();
    let send = host.request_to(TOKEN);
    host.wake();
    let other = renewable("foreign", "rt-2").replacen('{', r#"{"scope":"z","#, 1);
    answers(&mut host, send, &other);
    host.wake();
    let form = body(&host.serve(TOKEN, 200, &renewable("at-3", "rt-3")));
    assert_eq!(get(&form, "refresh_token").as_deref(), Some("rt-2"));
    host.ready();
    host.quiet();
    assert_eq!(host.token().as_deref(), Some("Bearer at-3"));
}

/// The user has signed out in another process, as a read has shown since.
#[test]
fn refr_12_refr_07_a_late_answer_for_an_emptied_account_is_revoked() {
    let (mut host, send) = given_up();
    host.store
        .slots
        .retain(|key, _| !key.starts_with("account"));
    host.wanted("x");
    host.need_user();
    answers(&mut host, send, &renewable("at-2", "rt-2"));
    for token in ["rt-2", "at-2"] {
        let form = body(&host.serve(REVOKE, 200, ""));
        assert_eq!(get(&form, "token").as_deref(), Some(token));
    }
    host.quiet();
    assert!(host.store.of_kind("account").is_empty());
}

/// The host passes the answer in before the timer: the lifetime still counts from the request.
#[test]
fn sec_35_refr_07_the_lifetime_in_an_answer_after_its_time_limit_counts_from_the_request() {
    let mut host = signed_in_at(config(), &revocable(""), &renewable("at-1", "rt-1"));
    host.pass(HOUR);
    host.wanted("x");
    host.serve(META, 200, &revocable(""));
    let send = host.request_to(TOKEN);
    host.move_clocks(std::time::Duration::from_millis(HOUR + 1));
    answers(&mut host, send, &renewable("at-2", "rt-2"));
    assert!(matches!(
        host.error().cause,
        Cause::NotPersisted(StoreFlaw::Slow)
    ));
    assert_eq!(host.token(), None);

    // The first token.
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let send = host.request_to(TOKEN);
    host.move_clocks(std::time::Duration::from_millis(HOUR + 1));
    answers(&mut host, send, &renewable("at-1", "rt-1"));
    assert_eq!(host.token(), None);
    // The refresh that is due follows at once.
    host.serve(META, 200, &metadata());
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
}

/// Another process has signed in again, refreshed, or signed out, which this one reads beside the late answer: that is not undone.
#[test]
fn refr_07_iso_09_refr_12_a_late_answer_gives_way_to_what_was_read_since() {
    for (changed, leased) in [
        (0, false),
        (0, true),
        (1, false),
        (1, true),
        (2, false),
        (2, true),
    ] {
        let (mut host, send) = overdue();
        let mut store = std::mem::take(&mut host.store);
        host.store.mode = StoreMode::Manual;
        host.wake();
        if leased {
            host.share_one(&mut store);
        }
        match changed {
            0 => store.slots.retain(|key, _| !key.starts_with("account")),
            _ => {
                let mut other = Host::new(config());
                if changed == 1 {
                    other.seeds = 90;
                }
                other.now = host.now;
                let redirect = other.to_redirect();
                other.callback(&format!("code=c&state={}", state_of(&redirect)));
                other.serve(TOKEN, 200, &renewable("at-7", "rt-7"));
                store.slots = std::mem::take(&mut other.store.slots);
            }
        }
        answers(&mut host, send, &renewable("at-2", "rt-2"));
        host.share(&mut store);
        if changed == 0 {
            let first = host.need_user();
            let mut revoked = Vec::new();
            for _ in 0..2 {
                revoked.push(get(&body(&host.serve(REVOKE, 200, "")), "token").unwrap());
                host.share(&mut store);
            }
            assert_eq!(revoked, ["rt-2", "at-2"]);
            if first.operation.is_none() {
                host.need_user();
            }
            host.quiet();
            assert!(store.of_kind("account").is_empty());
        } else {
            host.ready();
            host.quiet();
            assert_eq!(host.token().as_deref(), Some("Bearer at-7"));
        }
    }
}

/// A record of a newer version is not overwritten by what came late.
#[test]
fn refr_07_a_late_answer_replaces_no_record_of_a_newer_version() {
    let (mut host, send) = overdue();
    let mut store = std::mem::take(&mut host.store);
    host.store.mode = StoreMode::Manual;
    host.wake();
    let newer = mcp_auth_machine::slot::SlotContents::new("v9.AAAAAAAAAAAAAAAAAAAAAA.{}");
    for (key, stored) in &mut store.slots {
        if key.starts_with("account") {
            *stored = mcp_auth_machine::slot::Stored {
                contents: newer.clone(),
                revision: "AQEBAQEBAQEBAQEBAQEBAQ".parse().unwrap(),
            };
        }
    }
    answers(&mut host, send, &renewable("at-2", "rt-2"));
    host.share(&mut store);
    host.error();
    assert_eq!(
        store.of_kind("account")[0].contents.expose(),
        newer.expose()
    );
}

/// The server does not replace the refresh token: the tokens of a later try are newer.
#[test]
fn refr_07_tok_16_a_late_answer_replaces_no_newer_tokens_of_the_same_refresh_token() {
    let (mut host, send) = overdue();
    host.wake();
    let next = host.request_to(TOKEN);
    let mut store = std::mem::take(&mut host.store);
    host.store.mode = StoreMode::Manual;
    host.handle(next.response(response(200, &[], &renewable("at-3", "rt-1"))));
    answers(&mut host, send, &renewable("at-2", "rt-1"));
    host.share(&mut store);
    host.ready();
    host.quiet();
    assert_eq!(host.token().as_deref(), Some("Bearer at-3"));
}

/// The later try brings an access token alone: the refresh token that came late is the last one.
#[test]
fn refr_07_refr_04_a_later_try_without_a_refresh_token_does_not_lose_the_late_one() {
    let (mut host, send) = overdue();
    host.wake();
    let next = host.request_to(TOKEN);
    answers(&mut host, send, &renewable("at-2", "rt-2"));
    host.quiet();
    host.handle(next.response(response(200, &[], &token_answer("at-3"))));
    host.ready();
    host.quiet();
    assert!(account(&host).contains("rt-2"));
}

/// A sign-out while the tokens of a code are being stored, and a late answer waits for that.
#[test]
fn refr_12_refr_07_a_sign_out_revokes_what_came_late_beside_a_sign_in() {
    let (mut host, send) = given_up();
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &revocable(""));
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let code = host.request_to(TOKEN);
    let mut store = std::mem::take(&mut host.store);
    host.store.mode = StoreMode::Manual;
    host.handle(code.response(response(200, &[], &renewable("at-7", "rt-7"))));
    answers(&mut host, send, &renewable("at-2", "rt-2"));
    host.handle(Event::SignedOut);
    host.share(&mut store);
    host.error();
    let mut revoked = Vec::new();
    while let Some(Action::SendRequest(_)) = host.actions.front() {
        revoked.push(get(&body(&host.serve(REVOKE, 200, "")), "token").unwrap());
        host.share(&mut store);
    }
    for token in ["rt-2", "at-2", "rt-7", "at-7"] {
        assert!(
            revoked.iter().any(|own| own == token),
            "{token}: {revoked:?}"
        );
    }
    assert!(store.of_kind("account").is_empty());
}

/// Another process has lost its tokens to the refusal of a replay: the late answer brings those of the grant.
#[test]
fn refr_07_a_late_answer_restores_tokens_that_another_process_dropped() {
    let (mut host, send) = given_up();
    let store = std::mem::take(&mut host.store);
    let config = std::sync::Arc::new(config().build().unwrap());
    let mut other = Host::resumed(config, store, host.now, 40);
    other.wanted("y");
    other.serve(META, 200, &revocable(""));
    other.serve(TOKEN, 400, r#"{"error":"invalid_grant"}"#);
    other.need_user();
    host.store = std::mem::take(&mut other.store);
    host.wanted("x");
    host.need_user();
    answers(&mut host, send, &renewable_for("at-2", "rt-2", "7200"));
    host.ready();
    assert!(account(&host).contains("rt-2"));
}

/// The monotonic clock does not count a suspension.
#[test]
fn sec_35_the_lifetime_in_an_answer_counts_a_suspension_that_one_clock_does_not() {
    let mut host = signed_in_at(config(), &revocable(""), &renewable("at-1", "rt-1"));
    host.pass(HOUR);
    host.wanted("x");
    host.serve(META, 200, &revocable(""));
    let send = host.request_to(TOKEN);
    host.now.wall.0 += HOUR;
    host.now.mono.0 += 1_000;
    answers(&mut host, send, &renewable("at-2", "rt-2"));
    host.error();
    assert_eq!(host.token(), None);
}

/// Two tries, both overdue. The requests are returned, the first one first.
fn two_overdue() -> (Host, SendRequest, SendRequest) {
    let (mut host, first) = overdue();
    host.wake();
    let second = host.request_to(TOKEN);
    host.wake();
    host.quiet();
    (host, first, second)
}

/// A server that accepts a replaced refresh token for a while answers two tries. The usable answer counts, whichever came first.
#[test]
fn refr_07_refr_14_of_two_late_answers_the_usable_one_counts() {
    let unusable = renewable("at-8", "rt-8").replace("Bearer", "mac");
    for (first, saved) in [(false, false), (false, true), (true, false), (true, true)] {
        for bad_first in [false, true] {
            let (mut host, one, two) = two_overdue();
            let (bad, good) = if first { (one, two) } else { (two, one) };
            let mut store = std::mem::take(&mut host.store);
            host.store.mode = StoreMode::Manual;
            let mut answer = |host: &mut Host, send, text: &str| {
                answers(host, send, text);
                if saved {
                    host.share(&mut store);
                }
            };
            if bad_first {
                answer(&mut host, bad, &unusable);
                if saved {
                    host.need_user();
                    // The unusable tokens are being revoked.
                    while matches!(host.actions.front(), Some(Action::SendRequest(_))) {
                        host.serve(REVOKE, 200, "");
                    }
                }
                answer(&mut host, good, &renewable("at-2", "rt-2"));
            } else {
                answer(&mut host, good, &renewable("at-2", "rt-2"));
                if saved {
                    host.ready();
                }
                answer(&mut host, bad, &unusable);
            }
            host.share(&mut store);
            if !saved || bad_first {
                host.ready();
            }
            host.quiet();
            assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
            let record = spelled_out(store.of_kind("account")[0].contents.expose());
            assert!(
                record.contains("rt-2"),
                "{first} {saved} {bad_first}: {record}"
            );
        }
    }
}

/// Two answers come while a third try is in flight.
#[test]
fn refr_07_two_late_answers_beside_a_third_try_are_compared() {
    for later_first in [false, true] {
        let (mut host, one, two) = two_overdue();
        host.wake();
        let third = host.request_to(TOKEN);
        let mut order = [
            (one, renewable("at-2", "rt-2")),
            (two, renewable("at-3", "rt-3")),
        ];
        if later_first {
            order.reverse();
        }
        for (send, text) in order {
            answers(&mut host, send, &text);
            host.quiet();
        }
        host.handle(third.response(response(400, &[], r#"{"error":"invalid_grant"}"#)));
        host.ready();
        host.quiet();
        assert_eq!(host.token().as_deref(), Some("Bearer at-3"));
        assert!(account(&host).contains("rt-3"));
    }
}

/// Both answers bring tokens: those of the later request count, whichever came first, and whether the others were stored or not.
#[test]
fn refr_07_of_two_late_answers_with_tokens_the_later_request_counts() {
    // The server replaces the refresh token; it does not; it says nothing of it.
    let answers_of: [fn(&str, &str) -> String; 3] = [
        renewable,
        |access, _| renewable(access, "rt-1"),
        |access, _| token_answer(access),
    ];
    for (kind, answer_of) in answers_of.into_iter().enumerate() {
        for (later_first, saved) in [(false, false), (false, true), (true, false), (true, true)] {
            let (mut host, one, two) = two_overdue();
            let mut store = std::mem::take(&mut host.store);
            host.store.mode = StoreMode::Manual;
            let earlier = (one, answer_of("at-2", "rt-2"));
            let later = (two, answer_of("at-3", "rt-3"));
            let order = if later_first {
                [later, earlier]
            } else {
                [earlier, later]
            };
            for (send, text) in order {
                answers(&mut host, send, &text);
                if saved {
                    host.share(&mut store);
                }
            }
            host.share(&mut store);
            while matches!(host.actions.front(), Some(Action::Ready(_))) {
                host.ready();
            }
            host.quiet();
            let case = format!("{kind} {later_first} {saved}");
            assert_eq!(host.token().as_deref(), Some("Bearer at-3"), "{case}");
            let record = spelled_out(store.of_kind("account")[0].contents.expose());
            let refresh = if kind == 0 { "rt-3" } else { "rt-1" };
            assert!(record.contains(refresh), "{case}: {record}");
        }
    }
}

/// The later answer does not replace the refresh token that the earlier one has replaced: the access token is that of the later
/// one, and the refresh token the last one that was issued.
#[test]
fn refr_07_refr_04_two_late_answers_complete_each_other() {
    for saved in [false, true] {
        for later_first in [false, true] {
            let (mut host, one, two) = two_overdue();
            let mut store = std::mem::take(&mut host.store);
            host.store.mode = StoreMode::Manual;
            let mut order = [
                (one, renewable("at-2", "rt-2")),
                (two, token_answer("at-3")),
            ];
            if later_first {
                order.reverse();
            }
            for (send, text) in order {
                answers(&mut host, send, &text);
                if saved {
                    host.share(&mut store);
                }
            }
            host.share(&mut store);
            while matches!(host.actions.front(), Some(Action::Ready(_))) {
                host.ready();
            }
            host.quiet();
            assert_eq!(host.token().as_deref(), Some("Bearer at-3"));
            let record = spelled_out(store.of_kind("account")[0].contents.expose());
            assert!(record.contains("rt-2"), "{saved} {later_first}: {record}");
        }
    }
}

/// Another process refreshes with the same refresh token, which the server does not replace. The late answer of this one is older.
#[test]
fn refr_07_tok_16_a_late_answer_replaces_no_newer_tokens_of_another_process() {
    // The answer leaves the refresh token out, repeats it, or replaces it.
    for late in [
        token_answer("at-2"),
        renewable("at-2", "rt-1"),
        renewable("at-2", "rt-2"),
    ] {
        let (mut host, send) = given_up();
        let store = std::mem::take(&mut host.store);
        let config = std::sync::Arc::new(config().build().unwrap());
        let mut other = Host::resumed(config, store, host.now, 40);
        other.wanted("y");
        other.serve(META, 200, &revocable(""));
        other.serve(TOKEN, 200, &renewable_for("at-3", "rt-1", "7200"));
        other.ready();
        host.store = std::mem::take(&mut other.store);
        host.now = other.now;
        let lives = late.replace("3600", "36000");
        answers(&mut host, send, &lives);
        if matches!(host.actions.front(), Some(Action::Ready(_))) {
            host.ready();
        }
        let text = account(&host);
        assert!(text.contains("at-3"), "{text}");
        assert_eq!(text.contains("rt-2"), late.contains("rt-2"), "{text}");
    }
}

/// Another process holds the lease: a late answer that keeps the refresh token keeps the lease too.
#[test]
fn refr_05_refr_07_a_late_answer_leaves_the_lease_of_another_process() {
    for replaced in [false, true] {
        let (mut host, send) = given_up();
        let store = std::mem::take(&mut host.store);
        let config = std::sync::Arc::new(config().build().unwrap());
        let mut other = Host::resumed(config, store, host.now, 40);
        other.wanted("y");
        other.serve(META, 200, &revocable(""));
        let refresh = other.request_to(TOKEN);
        let until = lease_of(&account(&other)).unwrap();
        host.store = std::mem::take(&mut other.store);
        let refresh_token = if replaced { "rt-2" } else { "rt-1" };
        answers(
            &mut host,
            send,
            &renewable_for("at-2", refresh_token, "36000"),
        );
        host.ready();
        let kept = lease_of(&account(&host));
        assert_eq!(kept, (!replaced).then_some(until));
        // The answer to the other process: newer, or without an effect.
        other.store = std::mem::take(&mut host.store);
        other.handle(refresh.response(response(200, &[], &renewable("at-3", "rt-1"))));
        other.ready();
        let held = if replaced {
            "Bearer at-2"
        } else {
            "Bearer at-3"
        };
        assert_eq!(other.token().as_deref(), Some(held));
    }
}

fn lease_of(account: &str) -> Option<String> {
    let (_, rest) = account.split_once(r#""lease":"#)?;
    rest.split(['}', ',']).next().map(str::to_owned)
}

/// The refresh token was refused here while another process refreshed with it: a drop that is saved late ends no token in use.
#[test]
fn s20_refr_06_a_late_drop_ends_no_refresh_token_that_another_process_has_used_since() {
    let mut host = signed_in_at(config(), &revocable(""), &renewable("at-1", "rt-1"));
    host.pass(HOUR);
    host.wanted("x");
    host.serve(META, 200, &revocable(""));
    let send = host.request_to(TOKEN);
    host.store.mode = StoreMode::WritesFail;
    host.handle(send.response(response(400, &[], r#"{"error":"invalid_grant"}"#)));
    host.error();
    host.store.mode = StoreMode::Works;
    host.pass(40_000);
    let store = std::mem::take(&mut host.store);
    let config = std::sync::Arc::new(config().build().unwrap());
    let mut other = Host::resumed(config, store, host.now, 40);
    other.wanted("y");
    if matches!(other.actions.front(), Some(Action::SendRequest(send)) if *send.request().uri() == META)
    {
        other.serve(META, 200, &revocable(""));
    }
    other.serve(TOKEN, 200, &renewable("at-3", "rt-1"));
    other.ready();
    host.store = std::mem::take(&mut other.store);
    host.now = other.now;
    host.wanted("x");
    host.ready();
    host.quiet();
    assert!(account(&host).contains("rt-1"));
    assert_eq!(host.token().as_deref(), Some("Bearer at-3"));
}

/// The server keeps refresh tokens. An answer that the host passes in after its time limit, and before the timer, is late: another
/// process has refreshed since, and its access token was requested later.
#[test]
fn refr_07_s63_an_answer_after_its_time_limit_replaces_no_newer_token() {
    let mut host = signed_in_at(config(), &revocable(""), &renewable("at-1", "rt-1"));
    host.pass(HOUR);
    host.wanted("x");
    host.serve(META, 200, &revocable(""));
    let send = host.request_to(TOKEN);
    host.move_clocks(std::time::Duration::from_secs(100));
    let built = std::sync::Arc::new(config().build().unwrap());
    let mut other = Host::resumed(built, std::mem::take(&mut host.store), host.now, 50);
    other.wanted("y");
    other.serve(TOKEN, 200, &token_answer("at-3"));
    other.ready();
    host.store = other.store;
    answers(&mut host, send, &token_answer("at-2"));
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-3"));
}
