//! The store in Redis over one connection: alone, as a cluster, and with a replica that takes over.

use std::time::{Duration, Instant};

use mcp_auth_client::{
    AsyncRedisStore, AsyncStore, NotReplicated, RedisStore, SharedStore, Store, Swap, now,
};
use mcp_auth_machine::time::UnixMillis;
use redis::cluster::ClusterClient;
use tokio::task::block_in_place;

use crate::engines::servers::{done, keeps_the_contract, slot, stored};
use crate::processes::{connection, signal};
use mcp_auth_testing::RedisServer;

fn open(redis: &RedisServer) -> AsyncRedisStore {
    AsyncRedisStore::open(&redis.url(), "test:").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_keeps_the_contract_and_shares_its_slots_with_the_blocking_store() {
    let mut redis = block_in_place(RedisServer::start).unwrap();
    let store = open(&redis);
    keeps_the_contract(store.clone(), open(&redis)).await;
    let blocking = RedisStore::open(&redis.url(), "test:").unwrap();
    let (first, second) = (stored("first"), stored("second"));
    let alice = slot("alice");
    let soon = Some(UnixMillis(now().wall.0 + 500));
    let written = store.persist_until(alice, None, Some(&first), soon).await;
    assert!(done(written.unwrap()));
    assert_eq!(
        block_in_place(|| blocking.load(alice)).unwrap(),
        Some(first.clone())
    );
    let since = Instant::now();
    while store.load(alice).await.unwrap().is_some() {
        assert!(since.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let written = block_in_place(|| blocking.persist(alice, None, Some(&second)));
    assert!(done(written.unwrap()));
    let refused = store.persist_until(alice, None, Some(&first), None).await;
    assert!(matches!(refused, Ok(Swap::Conflict(Some(held))) if held == second));

    // While it is away everything fails; afterwards the script is sent once more.
    block_in_place(|| redis.stop());
    store.load(alice).await.unwrap_err();
    let lost = store.persist_until(alice, None, Some(&first), None).await;
    lost.unwrap_err();
    block_in_place(|| redis.start_again().unwrap());
    let since = Instant::now();
    while store.load(alice).await.is_err() {
        assert!(since.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let written = store.persist_until(alice, None, Some(&first), None).await;
    assert!(done(written.unwrap()), "this server keeps nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_redis_keeps_the_contract() {
    let nodes = block_in_place(|| {
        let nodes =
            [(); 3].map(|()| RedisServer::start_with(&["--cluster-enabled", "yes"]).unwrap());
        let first = nodes[0].port();
        for (node, slots) in nodes
            .iter()
            .zip([(0, 5_460), (5_461, 10_922), (10_923, 16_383)])
        {
            let mut connection = connection(node);
            let mut add = redis::cmd("CLUSTER");
            add.arg("ADDSLOTSRANGE").arg(slots.0).arg(slots.1);
            add.exec(&mut connection).unwrap();
            let mut meet = redis::cmd("CLUSTER");
            meet.arg("MEET").arg("127.0.0.1").arg(first);
            meet.exec(&mut connection).unwrap();
        }
        for node in &nodes {
            while !cluster_is_whole(node) {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        nodes
    });
    let urls: Vec<_> = nodes.iter().map(RedisServer::url).collect();
    let client = ClusterClient::new(urls).unwrap();
    let store = AsyncRedisStore::on(client.get_async_connection().await.unwrap(), "test:");
    let other = AsyncRedisStore::on(client.get_async_connection().await.unwrap(), "test:");
    keeps_the_contract(store.clone(), other).await;
    // Slots are spread over the nodes.
    for user in 0..30 {
        let text = stored(&user.to_string());
        let written = store.persist_until(slot(&user.to_string()), None, Some(&text), None);
        assert!(done(written.await.unwrap()));
    }
    for node in &nodes {
        let size: usize = redis::cmd("DBSIZE").query(&mut connection(node)).unwrap();
        assert!((1..30).contains(&size), "{size}");
    }
}

fn cluster_is_whole(node: &RedisServer) -> bool {
    let mut info = redis::cmd("CLUSTER");
    let info: String = info.arg("INFO").query(&mut connection(node)).unwrap();
    info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
}

pub(crate) fn is_linked(replica: &RedisServer) -> bool {
    let mut info = redis::cmd("INFO");
    let info: String = info
        .arg("replication")
        .query(&mut connection(replica))
        .unwrap();
    info.contains("master_link_status:up")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_no_replica_has_is_told_and_is_gone_after_a_failover() {
    let at_once = ["--repl-diskless-sync-delay", "0"];
    let start = || RedisServer::start_with(&at_once).unwrap();
    let (mut master, replica) = block_in_place(|| (start(), start()));
    let follow = |port: &str, host: &str| {
        let mut follow = redis::cmd("REPLICAOF");
        follow
            .arg(host)
            .arg(port)
            .exec(&mut connection(&replica))
            .unwrap();
    };
    block_in_place(|| {
        follow(&master.port().to_string(), "127.0.0.1");
        while !is_linked(&replica) {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let alice = slot("alice");
    let (first, second) = (stored("first"), stored("second"));
    let store = open(&master).replicated(1, Duration::from_secs(10));
    // The replica has it when this returns.
    let written = store.persist_until(alice, None, Some(&first), None).await;
    assert!(done(written.unwrap()));
    let on_replica = open(&replica);
    assert_eq!(on_replica.load(alice).await.unwrap(), Some(first.clone()));

    // The replica is cut off: the master has the write, and says that no replica has.
    block_in_place(|| follow("ONE", "NO"));
    let store = open(&master).replicated(1, Duration::from_millis(200));
    let expected = Some(first.revision);
    let lost = store
        .persist_until(alice, expected, Some(&second), None)
        .await;
    let error = lost.unwrap_err();
    let told = error.0.downcast_ref::<NotReplicated>().unwrap();
    assert_eq!((told.wanted, told.reached), (1, 0));
    assert_eq!(store.load(alice).await.unwrap(), Some(second));
    // The replica takes over: the account is what it was before.
    block_in_place(|| master.stop());
    assert_eq!(on_replica.load(alice).await.unwrap(), Some(first));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_is_one_that_fails() {
    let redis = block_in_place(RedisServer::start).unwrap();
    let shared = SharedStore::new(open(&redis)).time_limit(Duration::from_millis(300));
    let alice = slot("alice");
    assert!(shared.load(alice).await.unwrap().is_none());
    block_in_place(|| signal(&redis, "-STOP"));
    let error = shared.load(alice).await.unwrap_err();
    assert!(error.is_timed_out(), "{error}");
    block_in_place(|| signal(&redis, "-CONT"));
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
