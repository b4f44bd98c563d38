//! Reads of tokens from Redis, by a process that holds nothing for their principals, beside plain GETs (`docs/scale.md`):
//!
//! ```sh
//! cargo bench -p mcp-auth-client --features reqwest,redis-async --bench evicted
//! ```
//!
//! `SCALE_USERS` says how many users there are (1,000 unless set), and `SCALE_ROUNDS` (5) of how many times the middle one is
//! printed. This is not a part of the benchmark `scale`, which counts allocations in one number for all threads: that costs
//! more than some of the work that is measured here.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    missing_docs
)]

#[path = "scale/common.rs"]
mod common;
#[path = "scale/records.rs"]
mod records;
#[allow(dead_code, reason = "the benchmark `scale` uses more of it")]
#[path = "scale/world.rs"]
mod world;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use mcp_auth_client::{AsyncRedisStore, AsyncStore, SharedStore};
use mcp_auth_machine::slot::Slot;

use crate::common::{for_each, middle, number, rounds, row, user};
use crate::records::Template;
use crate::world::{Gateway, World};
use mcp_auth_testing::RedisServer;

/// The time of so many reads of these slots by a store.
async fn loads<S>(store: &S, slots: &Arc<Vec<Slot>>, reads: usize) -> Duration
where
    S: AsyncStore + Clone + 'static,
{
    let since = Instant::now();
    for_each(reads, |number| {
        let (store, slots) = (store.clone(), Arc::clone(slots));
        async move {
            let slot = *slots.get(number % slots.len()).unwrap();
            black_box(store.load(slot).await.unwrap().unwrap());
        }
    })
    .await;
    since.elapsed()
}

/// Tokens of principals for whom there is nothing but their slot.
async fn evicted(world: &World, redis: &RedisServer, users: usize) {
    let template = Template::sign_in(world, redis, "scale:")
        .await
        .with_tls(world);
    template.fill(redis, "scale:", (0..users).map(user));
    let store = AsyncRedisStore::open(&redis.url(), "scale:").unwrap();
    let gateway = Gateway::to(template.mcp_url());
    let (accounts, server) = gateway.accounts(SharedStore::new(store.clone()), Duration::ZERO, 0);
    let reads = users.max(1_000) * 20;
    let client = redis::Client::open(redis.url()).unwrap();
    let connection = client.get_connection_manager().await.unwrap();
    for number in 0..users {
        let mut set = redis::cmd("SET");
        set.arg(format!("plain:{number}")).arg("x".repeat(1_024));
        set.exec_async(&mut connection.clone()).await.unwrap();
    }
    let slots: Vec<_> = (0..users)
        .map(|number| Slot::account(&user(number), template.mcp_url()))
        .collect();
    let slots = Arc::new(slots);
    let shared = SharedStore::new(store.clone());
    // Each layer has the one before it inside.
    let mut layers = [(); 5].map(|()| Vec::new());
    for _ in 0..rounds() {
        let [plain, slot, one, many, whole] = &mut layers;
        let since = Instant::now();
        for_each(reads, |number| {
            let mut connection = connection.clone();
            async move {
                let mut get = redis::cmd("GET");
                get.arg(format!("plain:{}", number % users));
                let found: String = get.query_async(&mut connection).await.unwrap();
                black_box(found);
            }
        })
        .await;
        plain.push(since.elapsed());
        let since = Instant::now();
        for_each(reads, |number| {
            let (mut connection, slots) = (connection.clone(), slots.clone());
            async move {
                let mut get = redis::cmd("HMGET");
                get.arg(format!("scale:{}", *slots.get(number % users).unwrap()));
                get.arg("revision").arg("contents");
                let found: (String, String) = get.query_async(&mut connection).await.unwrap();
                black_box(found);
            }
        })
        .await;
        slot.push(since.elapsed());
        one.push(loads(&store, &slots, reads).await);
        many.push(loads(&shared, &slots, reads).await);
        let since = Instant::now();
        for_each(reads, |number| {
            let (accounts, server) = (accounts.clone(), server.clone());
            async move {
                let name = user(number % users);
                let headers = accounts.authorize(&server, &name, "read", &Method::POST);
                headers.await.unwrap();
            }
        })
        .await;
        whole.push(since.elapsed());
    }
    let [plain, slot, one, many, whole] = layers.map(|times| middle(times) / reads as u32);
    let rate = |each: Duration| 1.0 / each.as_secs_f64();
    row(
        "token of an evicted principal, from Redis",
        &format!("{:.0}/s, {:.2} x", rate(whole), rate(whole) / rate(plain)),
        &format!("0.5 x plain GETs of 1 KiB ({:.0}/s)", rate(plain)),
    );
    row("  a plain GET", &format!("{plain:?}"), "");
    row(
        "  the two fields of the account, plain",
        &format!("{slot:?}"),
        "",
    );
    row("  the same by AsyncRedisStore", &format!("{one:?}"), "");
    row("  the same by SharedStore", &format!("{many:?}"), "");
    row(
        "  with the record checked: the token",
        &format!("{whole:?}"),
        "",
    );
    accounts.close().await.unwrap();
    let mut connection = client.get_connection().unwrap();
    let mut account = 0;
    let mut keys: Vec<String> = redis::cmd("KEYS")
        .arg("*account/*")
        .query(&mut connection)
        .unwrap();
    keys.truncate(100);
    for key in &keys {
        let mut usage = redis::cmd("MEMORY");
        let bytes: usize = usage.arg("USAGE").arg(key).query(&mut connection).unwrap();
        account += bytes;
    }
    if let Some(each) = account.checked_div(keys.len()) {
        row(
            "an account in Redis: memory of its key",
            &format!("{each} B"),
            "",
        );
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let _first = rustls::crypto::ring::default_provider().install_default();
    let world = World::start().await;
    match RedisServer::start() {
        Ok(redis) => evicted(&world, &redis, number("SCALE_USERS", 1_000)).await,
        Err(error) => println!("{error}; its figures are left out"),
    }
}
