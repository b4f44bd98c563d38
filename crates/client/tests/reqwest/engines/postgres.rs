//! The store in PostgreSQL.

use std::time::{Duration, Instant};

use http::Method;
use mcp_auth_client::asynchronous::{Accounts, Network, Returned, Stopped};
use mcp_auth_client::{AsyncStore, PostgresStore, SharedStore, StoreTimedOut, Swap, now, seed};
use mcp_auth_machine::error::{Cause, StoreFlaw};
use mcp_auth_machine::time::UnixMillis;
use mcp_auth_machine::wire::callback::Callback;
use tokio::task::{JoinSet, block_in_place};

use crate::engines::servers::{Postgres, done, keeps_the_contract, slot, stored};
use crate::support::{World, token};

async fn started() -> (Postgres, PostgresStore) {
    let postgres = block_in_place(Postgres::start);
    let store = postgres.store();
    store.migrate().await.unwrap();
    (postgres, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_keeps_the_contract_loses_nothing_by_a_restart_and_drops_what_has_ended() {
    let (mut postgres, store) = started().await;
    // Every process of a gateway creates the table.
    let mut migrations = JoinSet::new();
    for _ in 0..4 {
        let other = postgres.store();
        migrations.spawn(async move { other.migrate().await });
    }
    for migrated in migrations.join_all().await {
        migrated.unwrap();
    }
    keeps_the_contract(store.clone(), postgres.store()).await;

    // A slot that has ended is empty at once, and its row goes when that is asked for.
    let (first, second) = (stored("first"), stored("second"));
    let soon = Some(UnixMillis(now().wall.0 + 500));
    let (alice, bob) = (slot("alice"), slot("bob"));
    for name in [alice, bob] {
        let written = store.persist_until(name, None, Some(&first), soon).await;
        assert!(done(written.unwrap()));
    }
    // Written again without an end, it stays.
    let expected = Some(first.revision);
    let written = store
        .persist_until(alice, expected, Some(&second), None)
        .await;
    assert!(done(written.unwrap()));
    let since = Instant::now();
    while store.load(bob).await.unwrap().is_some() {
        assert!(since.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let late = store
        .persist_until(bob, expected, Some(&second), None)
        .await;
    assert!(matches!(late, Ok(Swap::Conflict(None))), "{late:?}");
    assert_eq!(store.remove_expired(100).await.unwrap(), 1);
    assert_eq!(store.remove_expired(100).await.unwrap(), 0);
    let written = store.persist_until(bob, None, Some(&first), soon).await;
    assert!(done(written.unwrap()));
    tokio::time::sleep(Duration::from_millis(600)).await;
    // Over one that has ended.
    let written = store.persist_until(bob, None, Some(&second), None).await;
    assert!(done(written.unwrap()));

    // Killed without a word: everything fails while it is away, and what was acknowledged is there again.
    block_in_place(|| postgres.kill());
    store.load(alice).await.unwrap_err();
    let lost = store.persist_until(alice, Some(second.revision), None, None);
    lost.await.unwrap_err();
    block_in_place(|| postgres.start_again());
    assert_eq!(store.load(alice).await.unwrap(), Some(second.clone()));
    assert_eq!(store.load(bob).await.unwrap(), Some(second));
    // A restart between two operations is not noticed.
    block_in_place(|| {
        postgres.kill();
        postgres.start_again();
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(store.load(alice).await.unwrap().is_some());
}

#[tokio::test]
async fn a_url_that_is_none_is_refused_and_no_password_shows() {
    PostgresStore::open("https://db.example").unwrap_err();
    let store = PostgresStore::open("postgres://mcp:hunter2@127.0.0.1:1/x").unwrap();
    assert!(!format!("{store:?}").contains("hunter2"));
    let error = store.load(slot("alice")).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

/// The server, or what is between, hangs: each call ends at the limit, and afterwards all is well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_hangs_is_one_that_fails() {
    let (postgres, store) = started().await;
    let limit = Duration::from_millis(1_200);
    let shared = SharedStore::new(store).time_limit(limit);
    let alice = slot("alice");
    assert!(shared.load(alice).await.unwrap().is_none());
    block_in_place(|| postgres.signal("-STOP"));
    let since = Instant::now();
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let shared = shared.clone();
        calls.spawn(async move { shared.load(alice).await });
    }
    for told in calls.join_all().await {
        let error = told.unwrap_err();
        let told = error.0.downcast_ref::<StoreTimedOut>();
        assert_eq!(told, Some(&StoreTimedOut { limit }));
    }
    assert!(since.elapsed() < Duration::from_secs(10));
    block_in_place(|| postgres.signal("-CONT"));
    let (since, text) = (Instant::now(), stored("text"));
    while shared
        .persist_until(alice, None, Some(&text), None)
        .await
        .is_err()
    {
        assert!(since.elapsed() < Duration::from_secs(20));
    }
    assert_eq!(shared.load(alice).await.unwrap(), Some(text));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refr05_a_restart_of_postgres_in_the_middle_of_a_flow_loses_nothing() {
    let world = World::start().await;
    let (mut postgres, store) = started().await;
    let network = Network::builder().http(|| reqwest::ClientBuilder::new().no_proxy());
    let accounts = Accounts::builder(SharedStore::new(store))
        .network(&network.build().unwrap())
        .idle(Duration::ZERO)
        .tokens(0)
        .start()
        .unwrap();
    let server = accounts.add_server(world.config().build().unwrap());
    let redirect = accounts.begin(&server, "alice", seed().unwrap()).await;
    let redirect = redirect.unwrap().unwrap();
    block_in_place(|| {
        postgres.kill();
        postgres.start_again();
    });
    let callback = Callback::from_url(world.follow(&redirect).await);
    let told = accounts.came_back(callback).await.unwrap();
    assert!(matches!(told, Returned::SignedIn { .. }));

    let call = async || -> Result<String, Stopped> {
        let mut call = accounts.call(&server, "alice", "read", Method::POST);
        loop {
            let headers = call.headers().await?;
            let (status, answer) = world.post("read", headers.clone()).await;
            if !call.again(status, &answer).await? {
                return Ok(token(&headers));
            }
        }
    };
    let mut old = call().await.unwrap();
    for round in 0..4_u64 {
        world.revoke(&old, &redirect.client_id).await;
        // Killed before, while, and after the refresh.
        let refresh = call();
        let kill = async {
            tokio::time::sleep(Duration::from_millis(8 * round)).await;
            block_in_place(|| postgres.kill());
        };
        let (told, ()) = tokio::join!(refresh, kill);
        if let Err(stopped) = &told {
            let Stopped::Failed(failure) = stopped else {
                panic!("{stopped:?}")
            };
            let named = matches!(
                failure.cause,
                Cause::NotPersisted(StoreFlaw::Load | StoreFlaw::Write)
            );
            assert!(named, "{failure:?}");
        }
        block_in_place(|| postgres.start_again());
        let since = Instant::now();
        let new = loop {
            match call().await {
                Ok(token) => break token,
                Err(Stopped::Failed(_)) => assert!(since.elapsed() < Duration::from_secs(60)),
                Err(other) => panic!("{other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert_ne!(new, old);
        old = new;
    }
    assert_eq!(world.server.reuses(), 0);
    accounts.close().await.unwrap();
}
