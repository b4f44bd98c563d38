//! Tokens in memory, refused tokens, and tokens that are read from Redis.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use mcp_auth_client::asynchronous::{Accounts, Server};
use mcp_auth_client::{AsyncRedisStore, AsyncStore, MemoryStore, SharedStore, Swap};
use stats_alloc::Region;
use tokio::task::JoinSet;

use crate::records::Template;
use crate::world::{Gateway, World};
use crate::{ALLOCATOR, for_each, number, resident_mib, row, user};
use mcp_auth_testing::RedisServer;

/// How often a figure is measured that other programs disturb: the best one counts.
fn rounds() -> usize {
    number("SCALE_ROUNDS", 5)
}

/// Tokens at hand.
pub(crate) async fn warm(world: &Arc<World>, users: usize) {
    const READS: usize = 1_000_000;
    let store = SharedStore::new(MemoryStore::default());
    let (accounts, server) = world.accounts(store, Duration::from_secs(600), 200_000);
    let since = Instant::now();
    for_each(users, |number| {
        let (world, accounts, server) = (Arc::clone(world), accounts.clone(), server.clone());
        async move {
            world.sign_in(&accounts, &server, &user(number)).await;
        }
    })
    .await;
    let each = since.elapsed() / users as u32;
    row("sign-in, servers included", &format!("{each:?}"), "");
    let counts = accounts.counts();
    row(
        "resident, servers and store included",
        &format!("{:.0} MiB", resident_mib()),
        &format!("{} machines, {} tokens", counts.machines, counts.tokens),
    );
    let names: Vec<_> = (0..users).map(user).collect();
    for name in &names {
        accounts.token(&server, name).unwrap();
    }
    let region = Region::new(ALLOCATOR);
    let since = Instant::now();
    for name in names.iter().cycle().take(READS) {
        black_box(accounts.token(&server, name));
    }
    let nanoseconds = since.elapsed().as_nanos() as f64 / READS as f64;
    let allocations = region.change().allocations as f64 / READS as f64;
    row(
        "warm token: time",
        &format!("{nanoseconds:.0} ns"),
        "250 ns",
    );
    row("warm token: allocations", &format!("{allocations:.3}"), "1");
    let since = Instant::now();
    for _ in 0..READS {
        let now = mcp_auth_client::now();
        black_box(now);
    }
    let clocks = since.elapsed().as_nanos() as f64 / READS as f64;
    row(
        "  of it: reading the two clocks",
        &format!("{clocks:.0} ns"),
        "",
    );
    accounts.close().await.unwrap();
}

/// Many callers whose token was refused.
pub(crate) async fn storms(world: &Arc<World>) {
    const CALLERS: usize = 1_000;
    let store = SharedStore::new(MemoryStore::default());
    let (accounts, server) = world.accounts(store, Duration::from_secs(600), 10_000);
    let client = world.sign_in(&accounts, &server, "alice").await;
    let (mut one, mut all, mut floor) = (Duration::MAX, Duration::MAX, Duration::MAX);
    for _ in 0..rounds() {
        one = one.min(storm(world, &accounts, &server, &client, 1).await);
        all = all.min(storm(world, &accounts, &server, &client, CALLERS).await);
        floor = floor.min(signal(CALLERS).await);
    }
    let ratio = all.as_secs_f64() / one.as_secs_f64();
    row(
        "401 storm: 1,000 callers, one principal: 1 refresh",
        &format!("{all:?}, {ratio:.1} x"),
        &format!("2 x one refresh ({one:?})"),
    );
    let ratio = floor.as_secs_f64() / one.as_secs_f64();
    row(
        "  without this crate: 1,000 tasks that wait for a signal",
        &format!("{floor:?}, {ratio:.1} x"),
        "",
    );
    accounts.close().await.unwrap();
}

/// The time from a refused token to the answers of all callers, who have another one then.
async fn storm(
    world: &World,
    accounts: &Accounts,
    server: &Server,
    client: &str,
    callers: usize,
) -> Duration {
    // A token that was never accepted is not refreshed (E08).
    let token = accepted(world, accounts, server).await;
    world.revoke(&token, client).await;
    let before = world.server.refreshes();
    let headers = refusal(world, &token).await;
    let since = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let (accounts, server) = (accounts.clone(), server.clone());
        let (headers, token) = (headers.clone(), token.clone());
        tasks.spawn(async move {
            let mut call = accounts.call(&server, "alice", "read", Method::POST);
            // Each has sent the token that was refused.
            if call.headers().await.unwrap().get(AUTHORIZATION) == Some(&token) {
                let status = http::StatusCode::UNAUTHORIZED;
                assert!(call.again(status, &headers).await.unwrap());
                call.headers().await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let time = since.elapsed();
    assert_eq!(world.server.refreshes() - before, 1);
    time
}

/// The time in which tasks begin to wait for a signal, and have it.
async fn signal(callers: usize) -> Duration {
    let since = Instant::now();
    let (signal, waits) = tokio::sync::watch::channel(());
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let mut waits = waits.clone();
        tasks.spawn(async move { waits.changed().await.is_err() });
    }
    drop(signal);
    tasks.join_all().await;
    since.elapsed()
}

/// A request that succeeds; its token.
async fn accepted(world: &World, accounts: &Accounts, server: &Server) -> HeaderValue {
    let mut call = accounts.call(server, "alice", "read", Method::POST);
    let headers = call.headers().await.unwrap();
    let token = headers.get(AUTHORIZATION).unwrap().clone();
    let answer = post(world, &token).await;
    assert!(!call.again(answer.status(), answer.headers()).await.unwrap());
    assert!(answer.status().is_success());
    token
}

/// The challenge of the MCP server to this token.
async fn refusal(world: &World, token: &HeaderValue) -> HeaderMap {
    let answer = post(world, token).await;
    assert_eq!(answer.status(), http::StatusCode::UNAUTHORIZED);
    answer.headers().clone()
}

async fn post(world: &World, token: &HeaderValue) -> reqwest::Response {
    let body = r#"{"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}"#;
    let request = world.http.post(world.mcp.url());
    let request = request.header(AUTHORIZATION, token);
    let request = request.header(CONTENT_TYPE, "application/json").body(body);
    request.send().await.unwrap()
}

/// The cost of reading an account beside the store: the same from a store in memory, in one task.
async fn at_rest(template: &Template) {
    const READS: usize = 100_000;
    let store = SharedStore::new(MemoryStore::default());
    let (slot, stored) = template.of("alice");
    let written = store.persist_until(slot, None, Some(&stored), None);
    assert!(matches!(written.await.unwrap(), Swap::Done));
    let gateway = Gateway::to(template.mcp_url());
    let (accounts, server) = gateway.accounts(store, Duration::ZERO, 0);
    let mut best = Duration::MAX;
    let region = Region::new(ALLOCATOR);
    for _ in 0..rounds() {
        let since = Instant::now();
        for _ in 0..READS {
            let headers = accounts.authorize(&server, "alice", "read", &Method::POST);
            black_box(headers.await.unwrap());
        }
        best = best.min(since.elapsed() / READS as u32);
    }
    let allocations = region.change().allocations / READS / rounds();
    row(
        "token of an evicted principal, from memory",
        &format!("{best:?}, {allocations} allocations"),
        "",
    );
    accounts.close().await.unwrap();
}

/// Tokens of principals for whom there is nothing but their slot.
pub(crate) async fn evicted(world: &World, redis: &RedisServer, users: usize) {
    let template = Template::sign_in(world, redis, "scale:")
        .await
        .with_tls(world);
    template.fill(redis, "scale:", (0..users).map(user));
    at_rest(&template).await;
    let store = AsyncRedisStore::open(&redis.url(), "scale:").unwrap();
    let gateway = Gateway::to(template.mcp_url());
    let (accounts, server) = gateway.accounts(SharedStore::new(store), Duration::ZERO, 0);
    let reads = users.max(1_000) * 20;
    let client = redis::Client::open(redis.url()).unwrap();
    let connection = client.get_connection_manager().await.unwrap();
    for number in 0..users {
        let mut set = redis::cmd("SET");
        set.arg(format!("plain:{number}")).arg("x".repeat(1_024));
        set.exec_async(&mut connection.clone()).await.unwrap();
    }
    let (mut rate, mut plain) = (0.0_f64, 0.0_f64);
    let mut allocations = 0;
    for _ in 0..rounds() {
        let (region, since) = (Region::new(ALLOCATOR), Instant::now());
        for_each(reads, |number| {
            let (accounts, server) = (accounts.clone(), server.clone());
            async move {
                let name = user(number % users);
                let headers = accounts.authorize(&server, &name, "read", &Method::POST);
                headers.await.unwrap();
            }
        })
        .await;
        rate = rate.max(reads as f64 / since.elapsed().as_secs_f64());
        allocations = region.change().allocations / reads;
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
        plain = plain.max(reads as f64 / since.elapsed().as_secs_f64());
    }
    row(
        "token of an evicted principal, from Redis",
        &format!("{rate:.0}/s, {:.2} x", rate / plain),
        &format!("0.5 x plain GETs of 1 KiB ({plain:.0}/s)"),
    );
    row("  of it: allocations", &allocations.to_string(), "");
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
