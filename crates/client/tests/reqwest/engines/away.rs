//! A Redis that is away, and one that hangs: what a caller waits is what `docs/scale.md` says.

use std::time::{Duration, Instant};

use http::Method;
use mcp_auth_client::asynchronous::{Accounts, Server, Stopped};
use mcp_auth_client::{AsyncRedisStore, AsyncStore, RedisStore, SharedStore, Store, Swap};
use mcp_auth_machine::error::{Cause, StoreFlaw};
use tokio::task::block_in_place;

use crate::accounts::{is_unknown, network, server};
use crate::engines::servers::{done, slot, stored};
use crate::processes::signal;
use crate::support::World;
use mcp_auth_testing::RedisServer;

/// Asks for a token, which needs a read; the time that took.
async fn waits(accounts: &Accounts, server: &Server) -> (Duration, Result<(), Stopped>) {
    let since = Instant::now();
    let told = accounts.authorize(server, "alice", "read", &Method::POST);
    let told = told.await.map(drop);
    (since.elapsed(), told)
}

fn is_unread(told: &Result<(), Stopped>) -> bool {
    let Err(Stopped::Failed(failure)) = told else {
        return false;
    };
    failure.cause == Cause::NotPersisted(StoreFlaw::Load)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_away_fails_a_caller_after_a_third_of_a_second() {
    let world = World::start().await;
    let mut redis = block_in_place(RedisServer::start).unwrap();
    block_in_place(|| redis.stop());
    let store = AsyncRedisStore::open(&redis.url(), "test:").unwrap();
    let accounts = Accounts::builder(SharedStore::new(store.clone())).network(&network());
    let accounts = accounts.start().unwrap();
    let known = server(&accounts, &world);
    for _ in 0..2 {
        let (time, told) = waits(&accounts, &known).await;
        assert!(is_unread(&told), "{told:?}");
        // The pauses between three reads, and room for a machine with much to do.
        let expected = Duration::from_millis(300)..Duration::from_secs(12);
        assert!(expected.contains(&time), "{time:?}");
    }
    let since = Instant::now();
    let first = stored("first");
    let lost = store.persist_until(slot("bob"), None, Some(&first), None);
    lost.await.unwrap_err();
    assert!(since.elapsed() < Duration::from_secs(8));

    // The first operation after its return succeeds, even one that is not repeated.
    block_in_place(|| redis.start_again().unwrap());
    let written = store.persist_until(slot("bob"), None, Some(&first), None);
    assert!(done(written.await.unwrap()));
    let told = accounts.authorize(&known, "alice", "read", &Method::POST);
    assert!(is_unknown(told.await));
}

/// A server that has not read its users yet, as after a restart, or whose password was changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_refused_a_login_is_asked_again() {
    let redis = block_in_place(RedisServer::start).unwrap();
    let url = redis.url().replace("redis://", "redis://:hidden@");
    let store = AsyncRedisStore::open(&url, "test:").unwrap();
    let other = store.clone();
    for _ in 0..2 {
        store.load(slot("bob")).await.unwrap_err();
    }
    block_in_place(|| {
        let mut connection = redis::Client::open(redis.url()).unwrap().get_connection();
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("requirepass").arg("hidden");
        set.exec(connection.as_mut().unwrap()).unwrap();
    });
    let first = stored("first");
    let written = store.persist_until(slot("bob"), None, Some(&first), None);
    assert!(done(written.await.unwrap()));
    assert!(other.load(slot("bob")).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_fails_a_caller_after_one_time_limit() {
    let world = World::start().await;
    let redis = block_in_place(RedisServer::start).unwrap();
    let store = AsyncRedisStore::open(&redis.url(), "test:").unwrap();
    let accounts = Accounts::builder(SharedStore::new(store.clone())).network(&network());
    let accounts = accounts.start().unwrap();
    let known = server(&accounts, &world);
    assert!(store.load(slot("bob")).await.unwrap().is_none());
    block_in_place(|| signal(&redis, "-STOP"));
    let (time, told) = waits(&accounts, &known).await;
    // One limit of five seconds, and not one for each of three reads.
    assert!(is_unread(&told), "{told:?}");
    assert!(time < Duration::from_secs(14), "{time:?}");
    assert!(store.load(slot("bob")).await.unwrap_err().is_timed_out());
    block_in_place(|| signal(&redis, "-CONT"));
    let told = accounts.authorize(&known, "alice", "read", &Method::POST);
    assert!(is_unknown(told.await));
}

#[test]
fn a_redis_that_hangs_is_asked_on_one_of_the_kept_connections() {
    let redis = RedisServer::start().unwrap();
    let store = RedisStore::open(&redis.url(), "test:").unwrap();
    // Several at once, so that several connections are kept.
    let writes = |number: usize| {
        let (store, slot) = (store.clone(), slot(&format!("user-{number}")));
        std::thread::spawn(move || {
            let mut last = None;
            for round in 0..50 {
                let next = stored(&format!("{round}"));
                let revision = last.replace(next.clone());
                let revision =
                    revision.map(|stored: mcp_auth_machine::slot::Stored| stored.revision);
                let written = store.persist(slot, revision, Some(&next)).unwrap();
                assert!(matches!(written, Swap::Done));
            }
        })
    };
    let threads: Vec<_> = (0..8).map(writes).collect();
    for thread in threads {
        thread.join().unwrap();
    }
    signal(&redis, "-STOP");
    let since = Instant::now();
    let error = Store::load(&store, slot("alice")).unwrap_err();
    let time = since.elapsed();
    signal(&redis, "-CONT");
    assert!(error.is_timed_out(), "{error}");
    assert!(time < Duration::from_secs(14), "{time:?}");
    assert!(Store::load(&store, slot("alice")).unwrap().is_none());
}
