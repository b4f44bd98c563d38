//! The contract, expiry of slots, and a server that restarts.

use std::thread::sleep;
use std::time::{Duration, Instant};

use mcp_auth_client::{RedisStore, Store, Swap, contract, now};
use mcp_auth_machine::slot::{Slot, SlotContents, Stored};
use mcp_auth_machine::time::UnixMillis;

use crate::processes::connection;
use mcp_auth_testing::RedisServer;

fn slot() -> Slot {
    Slot::account("alice", "https://mcp.example/mcp")
}

fn stored(text: &str) -> Stored {
    let revision = format!("{text:A<22.21}");
    Stored {
        revision: revision.parse().unwrap(),
        contents: SlotContents::new(text),
    }
}

fn done(swap: Swap) -> bool {
    matches!(swap, Swap::Done)
}

#[test]
fn the_store_keeps_the_contract() {
    let redis = RedisServer::start().unwrap();
    let open = || RedisStore::open(&redis.url(), "test:").unwrap();
    contract::check(&open()).unwrap();
    let shared = open();
    contract::check_races(&[shared.clone(), shared, open()]).unwrap();
    let left: Vec<String> = redis::cmd("KEYS")
        .arg("*")
        .query(&mut connection(&redis))
        .unwrap();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn keys_have_the_prefix_and_hosts_with_different_ones_are_apart() {
    let redis = RedisServer::start().unwrap();
    let one = RedisStore::open(&redis.url(), "one:").unwrap();
    let two = RedisStore::open(&redis.url(), "two:").unwrap();
    assert!(done(
        one.persist(slot(), None, Some(&stored("first"))).unwrap()
    ));
    assert_eq!(two.load(slot()).unwrap(), None);
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg("*")
        .query(&mut connection(&redis))
        .unwrap();
    assert_eq!(keys, [format!("one:{}", slot())]);
}

#[test]
fn a_slot_with_an_end_is_dropped_then_and_others_stay() {
    let redis = RedisServer::start().unwrap();
    let store = RedisStore::open(&redis.url(), "test:").unwrap();
    let (first, second) = (stored("first"), stored("second"));
    let soon = Some(UnixMillis(now().wall.0 + 1_000));
    assert!(done(
        store
            .persist_until(slot(), None, Some(&first), soon)
            .unwrap()
    ));
    // Written again without an expiry, it is kept.
    assert!(done(
        store
            .persist(slot(), Some(first.revision), Some(&second))
            .unwrap()
    ));
    let bob = Slot::account("bob", "https://mcp.example/mcp");
    assert!(done(
        store.persist_until(bob, None, Some(&first), soon).unwrap()
    ));
    assert_eq!(store.load(bob).unwrap(), Some(first.clone()));
    let since = Instant::now();
    while store.load(bob).unwrap().is_some() {
        assert!(since.elapsed() < Duration::from_secs(20));
        sleep(Duration::from_millis(50));
    }
    let late = store
        .persist(bob, Some(first.revision), Some(&second))
        .unwrap();
    assert!(matches!(late, Swap::Conflict(None)), "{late:?}");
    assert_eq!(store.load(slot()).unwrap(), Some(second));
}

#[test]
fn while_redis_is_away_everything_fails_and_then_it_goes_on() {
    let mut redis = RedisServer::start().unwrap();
    let store = RedisStore::open(&redis.url(), "test:").unwrap();
    let first = stored("first");
    assert!(done(store.persist(slot(), None, Some(&first)).unwrap()));
    redis.stop();
    store.load(slot()).unwrap_err();
    store
        .persist(slot(), Some(first.revision), None)
        .unwrap_err();
    redis.start_again().unwrap();
    assert_eq!(
        store.load(slot()).unwrap(),
        None,
        "this server keeps nothing"
    );
    assert!(done(store.persist(slot(), None, Some(&first)).unwrap()));
    // Connections from before the restart are detected before a command is sent on them.
    redis.stop();
    redis.start_again().unwrap();
    assert!(done(store.persist(slot(), None, Some(&first)).unwrap()));
    contract::check_races(&[store.clone(), store]).unwrap();
}

#[test]
fn what_is_no_slot_is_an_error_and_is_not_overwritten() {
    let redis = RedisServer::start().unwrap();
    let store = RedisStore::open(&redis.url(), "test:").unwrap();
    let key = format!("test:{}", slot());
    let mut connection = connection(&redis);
    let mut set = |fields: &[&str]| {
        redis::cmd("DEL").arg(&key).exec(&mut connection).unwrap();
        redis::cmd("HSET")
            .arg(&key)
            .arg(fields)
            .exec(&mut connection)
            .unwrap();
    };
    for fields in [
        &["revision", "none", "contents", "x"][..],
        &["revision", "AAAAAAAAAAAAAAAAAAAAAA"],
        &["revision", "none"],
        &["contents", "x"],
    ] {
        set(fields);
        store.load(slot()).unwrap_err();
        store
            .persist(slot(), None, Some(&stored("new")))
            .unwrap_err();
    }
    redis::cmd("SET")
        .arg(&key)
        .arg("text")
        .exec(&mut connection)
        .unwrap();
    store.load(slot()).unwrap_err();
    store
        .persist(slot(), None, Some(&stored("new")))
        .unwrap_err();
}

#[test]
fn a_url_that_is_none_is_refused_and_no_password_shows() {
    RedisStore::open("https://redis.example", "test:").unwrap_err();
    let store = RedisStore::open("redis://:hunter2@127.0.0.1:1/0", "test:").unwrap();
    assert!(!format!("{store:?}").contains("hunter2"));
    let error = store.load(slot()).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}
