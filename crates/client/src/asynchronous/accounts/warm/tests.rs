//! Tokens in memory: for which account, and until when.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]

use super::*;
use mcp_auth_machine::time::{MonoMillis, UnixMillis};

const URL: &str = "https://mcp.example/mcp";

fn key(server: &str, principal: &str) -> Key {
    Key::new(server.into(), principal.into())
}

fn token(text: &str) -> HeaderValue {
    format!("Bearer {text}").parse().unwrap()
}

fn at(wall: u64, mono: u64) -> Moment {
    Moment {
        wall: UnixMillis(wall),
        mono: MonoMillis(mono),
    }
}

/// A cache in which alice's token is valid for this many milliseconds.
fn alices(left: u64) -> Warm {
    let warm = Warm::new(100, Surroundings::default());
    let expires = Some(UnixMillis(1_000_000 + left));
    warm.publish(&key(URL, "alice"), &token("a"), expires, at(1_000_000, 50));
    warm
}

fn found(warm: &Warm, principal: &str, now: Moment) -> Option<HeaderValue> {
    let lookup = Lookup::of(URL, principal);
    warm.get(&lookup, now).map(|found| found.authorization)
}

#[test]
fn sec35_a_token_is_given_out_until_its_end_by_both_clocks() {
    let warm = alices(10_000);
    let last = at(1_009_999, 10_049);
    assert_eq!(found(&warm, "alice", last), Some(token("a")));
    assert!(found(&warm, "alice", last).unwrap().is_sensitive());
    for over in [at(1_010_000, 60), at(1_000_000, 10_050)] {
        assert_eq!(found(&warm, "alice", over), None);
    }
    // An expired token in its place empties the entry.
    let warm = alices(10_000);
    let ended = Some(UnixMillis(900_000));
    warm.publish(&key(URL, "alice"), &token("b"), ended, at(1_000_000, 50));
    assert_eq!(found(&warm, "alice", at(1_000_000, 50)), None);
}

#[test]
fn a_token_without_a_stated_end_is_read_again_after_minutes() {
    let warm = Warm::new(100, Surroundings::default());
    warm.publish(&key(URL, "alice"), &token("a"), None, at(0, 0));
    assert!(found(&warm, "alice", at(299_999, 299_999)).is_some());
    assert!(found(&warm, "alice", at(300_000, 300_000)).is_none());
}

#[test]
fn a_token_without_a_stated_end_gets_more_time_from_its_machine() {
    let warm = Warm::new(100, Surroundings::default());
    let (alice, value) = (key(URL, "alice"), token("a"));
    warm.publish(&alice, &value, None, at(0, 0));
    assert!(warm.holds(&alice, &value, None, at(1, 1)));
    // Its time has passed: the machine publishes it once more.
    let later = at(300_000, 300_000);
    assert!(!warm.holds(&alice, &value, None, later));
    warm.publish(&alice, &value, None, later);
    assert!(found(&warm, "alice", at(500_000, 500_000)).is_some());
    // Close to the end a reader has the machine asked, and the answer counts from then on.
    let lookup = Lookup::of(URL, "alice");
    let near = at(599_000, 599_000);
    assert!(warm.get(&lookup, near).unwrap().is_due);
    assert!(!warm.holds(&alice, &value, None, near));
    // One with a stated end has no other end than that.
    let warm = alices(10_000);
    let near = at(1_009_999, 10_049);
    assert!(warm.get(&lookup, near).unwrap().is_due);
    let expires = Some(UnixMillis(1_010_000));
    assert!(warm.holds(&key(URL, "alice"), &token("a"), expires, near));
}

#[test]
fn iso12_a_token_is_that_of_its_principal_at_its_server_alone() {
    let warm = alices(10_000);
    let now = at(1_000_000, 50);
    for principal in ["", "alic", "alice ", "ALICE", "bob", "alice\0"] {
        assert_eq!(found(&warm, principal, now), None, "{principal:?}");
    }
    // Parts that together make the same text.
    for (server, principal) in [
        ("https://mcp.example/mc", "palice"),
        ("https://mcp.example/mcpa", "lice"),
        ("https://mcp.example/", "alice"),
        ("alice", URL),
    ] {
        let other = warm.get(&Lookup::of(server, principal), now);
        assert!(other.is_none(), "{server} {principal}");
    }
}

#[test]
fn a_refusal_takes_the_token_that_it_names_and_no_newer_one() {
    let warm = alices(10_000);
    let (alice, now) = (key(URL, "alice"), at(1_000_000, 50));
    warm.refused(&alice, &token("older"));
    assert!(found(&warm, "alice", now).is_some());
    warm.refused(&alice, &token("a"));
    assert!(found(&warm, "alice", now).is_none());
}

#[test]
fn one_reader_has_it_refreshed_and_within_the_margin_of_the_machine() {
    let lookup = Lookup::of(URL, "alice");
    let mut first = Vec::new();
    for _ in 0..50 {
        // An hour: the margin is a minute, and half of it is the spread.
        let warm = alices(3_600_000);
        let due = |left: u64| {
            let passed = 3_600_000 - left;
            warm.get(&lookup, at(1_000_000 + passed, 50 + passed))
                .unwrap()
                .is_due
        };
        assert!(!due(60_001));
        let at = (0..=60).rev().find(|second| due(second * 1_000)).unwrap();
        assert!((30..=60).contains(&at), "{at}");
        first.push(at);
        // Others are served what is there, and the refresh is not asked for again.
        assert!(!due(20_000));
        // It failed: a later reader tries once more, after a while.
        let passed = 3_590_000;
        let alice = key(URL, "alice");
        warm.refresh_ended(&alice, self::at(1_000_000 + passed, 50 + passed - 10_000));
        assert!(!due(10_001));
        assert!(due(10_000));
    }
    first.dedup();
    assert!(first.len() > 1, "no spread");
}

#[test]
fn there_are_never_more_than_permitted() {
    let warm = Warm::new(100, Surroundings::default());
    for user in 0..5_000 {
        let key = key(URL, &user.to_string());
        warm.publish(&key, &token("t"), None, at(0, 0));
    }
    assert!(warm.len() <= 100, "{}", warm.len());
    assert!(warm.len() > 50, "{}", warm.len());
}

#[test]
fn sec32_nothing_secret_shows() {
    let warm = alices(10_000);
    assert_eq!(format!("{warm:?}"), "Warm(1)");
    let value = found(&warm, "alice", at(1_000_000, 50));
    assert_eq!(format!("{value:?}"), "Some(Sensitive)");
}
