//! The store in PostgreSQL.

use std::time::{Duration, Instant};

use mcp_auth_client::{AsyncStore, PostgresStore, Swap, now};
use mcp_auth_machine::time::UnixMillis;
use tokio::task::{JoinSet, block_in_place};

use crate::servers::{Postgres, done, keeps_the_contract, slot, stored};

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
