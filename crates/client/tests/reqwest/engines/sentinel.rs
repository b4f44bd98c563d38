//! Redis Sentinel: the master is killed, a replica takes over, and writes that it never received are gone.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mcp_auth_client::asynchronous::{Accounts, Network, Returned, Stopped};
use mcp_auth_client::{AsyncRedisStore, AsyncStore, SentinelConnection, SharedStore, Swap, seed};
use mcp_auth_machine::wire::callback::Callback;
use tempfile::TempDir;
use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::engines::redis_server::is_linked;
use crate::engines::servers::{done, keeps_the_contract, slot, stored};
use crate::processes::{connection, signal};
use crate::support::World;
use mcp_auth_testing::{RedisServer, free_port};

/// `redis-sentinel`, ended when it is dropped.
struct Sentinel {
    process: Child,
    port: u16,
    _directory: TempDir,
}

impl Sentinel {
    fn watching(master: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port().unwrap();
        let settings = directory.path().join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor accounts 127.0.0.1 {master} 1\n\
             sentinel down-after-milliseconds accounts 700\nsentinel failover-timeout accounts 3000\n"
        );
        std::fs::write(&settings, text).unwrap();
        let process = Command::new("redis-server")
            .arg(&settings)
            .arg("--sentinel")
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            process,
            port,
            _directory: directory,
        }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Whether the sentinel knows the replica, which it learns from the master.
    fn knows_a_replica(&self) -> bool {
        let client = redis::Client::open(self.url()).unwrap();
        let Ok(mut connection) = client.get_connection() else {
            return false;
        };
        let mut info = redis::cmd("INFO");
        let info = info.arg("sentinel").query::<String>(&mut connection);
        info.is_ok_and(|info| info.contains("slaves=1"))
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// A master, its replica, and the sentinel that watches them.
fn watched() -> (RedisServer, RedisServer, Sentinel) {
    let settings = ["--repl-diskless-sync-delay", "0"];
    let master = RedisServer::start_with(&settings).unwrap();
    let replica = RedisServer::start_with(&settings).unwrap();
    let mut follow = redis::cmd("REPLICAOF");
    let follow = follow.arg("127.0.0.1").arg(master.port());
    follow.exec(&mut connection(&replica)).unwrap();
    while !is_linked(&replica) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let sentinel = Sentinel::watching(master.port());
    let since = Instant::now();
    while !sentinel.knows_a_replica() {
        assert!(since.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(100));
    }
    (master, replica, sentinel)
}

fn open(sentinel: &Sentinel) -> AsyncRedisStore<SentinelConnection> {
    AsyncRedisStore::sentinel([sentinel.url()], "accounts", "test:").unwrap()
}

async fn until_it_answers(store: &AsyncRedisStore<SentinelConnection>) -> usize {
    let since = Instant::now();
    let mut failures = 0;
    let (probe, text) = (slot("probe"), stored("probe"));
    // The new master takes writes.
    while store
        .persist_until(probe, None, Some(&text), None)
        .await
        .is_err()
    {
        failures += 1;
        assert!(since.elapsed() < Duration::from_secs(60));
        sleep(Duration::from_millis(100)).await;
    }
    failures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_that_sentinel_decides_is_followed_and_lost_writes_are_conflicts() {
    let (mut master, replica, sentinel) = block_in_place(watched);
    let store = open(&sentinel);
    keeps_the_contract(store.clone(), open(&sentinel)).await;
    let alice = slot("alice");
    let (first, second, third) = (stored("first"), stored("second"), stored("third"));
    let safe = store.clone().replicated(1, Duration::from_secs(4));
    let written = safe.persist_until(alice, None, Some(&first), None).await;
    assert!(done(written.unwrap()));
    // The replica is cut off and receives nothing any more; then the master is gone.
    block_in_place(|| {
        signal(&replica, "-STOP");
        let mut cut = redis::cmd("CLIENT");
        let cut = cut.arg("KILL").arg("TYPE").arg("replica");
        cut.exec(&mut connection(&master)).unwrap();
    });
    let expected = Some(first.revision);
    let lost = store
        .persist_until(alice, expected, Some(&second), None)
        .await;
    assert!(done(lost.unwrap()));
    block_in_place(|| {
        master.stop();
        signal(&replica, "-CONT");
    });
    let failures = until_it_answers(&store).await;
    assert!(failures > 0, "nothing failed while there was no master");
    // A writer that counts on the lost write receives the contents.
    let late = store.persist_until(alice, Some(second.revision), Some(&third), None);
    let late = late.await.unwrap();
    assert!(matches!(late, Swap::Conflict(Some(held)) if held == first));
    let written = store.persist_until(alice, expected, Some(&third), None);
    assert!(done(written.await.unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_survive_a_failover_and_a_sign_in_under_way_does_too() {
    let world = World::start().await;
    let (mut master, _replica, sentinel) = block_in_place(watched);
    let store = open(&sentinel).replicated(1, Duration::from_secs(4));
    let probe = open(&sentinel);
    let network = Network::builder().http(|| reqwest::ClientBuilder::new().no_proxy());
    let accounts = Accounts::builder(SharedStore::new(store))
        .network(&network.build().unwrap())
        .idle(Duration::ZERO)
        .tokens(0)
        .start()
        .unwrap();
    let server = accounts.add_server(world.config().build().unwrap());
    let callback = async |user: &str| {
        let redirect = accounts.begin(&server, user, seed().unwrap()).await;
        Callback::from_url(world.follow(&redirect.unwrap().unwrap()).await)
    };
    let alice = callback("alice").await;
    accounts.came_back(alice).await.unwrap();
    let bob = callback("bob").await;
    block_in_place(|| master.stop());
    let told = accounts.grant(&server, "alice").await;
    assert!(matches!(told, Err(Stopped::Failed(_)) | Ok(_)), "{told:?}");
    until_it_answers(&probe).await;
    // The store asks for a replica, and there is none any more: reads succeed.
    assert!(accounts.grant(&server, "alice").await.unwrap().is_some());
    let store = SharedStore::new(open(&sentinel));
    let network = Network::builder().http(|| reqwest::ClientBuilder::new().no_proxy());
    let next = Accounts::builder(store).network(&network.build().unwrap());
    let next = next.start().unwrap();
    let server = next.add_server(world.config().build().unwrap());
    let told = next.came_back(bob).await.unwrap();
    assert!(matches!(told, Returned::SignedIn { principal, .. } if *principal == *"bob"));
    assert!(next.grant(&server, "alice").await.unwrap().is_some());
}
