//! The figures of `docs/scale.md`, each beside its limit, in one run:
//!
//! ```sh
//! cargo bench -p mcp-auth-client --features reqwest,redis-async --bench scale
//! ```
//!
//! `SCALE_USERS` says how many users sign in (1,000 unless set). The figures that need Redis are left out where
//! there is no `redis-server`.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    missing_docs
)]

use std::alloc::System;
use std::hint::black_box;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Method};
use mcp_auth_client::asynchronous::{Accounts, Network, Server, Stopped};
use mcp_auth_client::{
    AsyncRedisStore, AsyncStore, MemoryStore, SharedStore, StoreError, Swap, seed,
};
use mcp_auth_machine::Config;
use mcp_auth_machine::config::RegistrationSharing;
use mcp_auth_machine::event::Abandon;
use mcp_auth_machine::slot::{Revision, Slot, SlotKind, Stored};
use mcp_auth_machine::time::UnixMillis;
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_testing::authorization::{self, AuthorizationServer, Iss, Options};
use mcp_auth_testing::resource::{McpServer, Tool, start_mcp};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::task::JoinSet;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How many requests are under way at a time where the rate is measured.
const AT_ONCE: usize = 64;

fn row(name: &str, found: &str, limit: &str) {
    println!("{name:<58} {found:>24}   {limit}");
}

/// Memory that is allocated now.
fn live() -> i128 {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated as i128 - stats.bytes_deallocated as i128
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 = line
        .and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or_default();
    kib / 1024.0
}

struct World {
    mcp: McpServer,
    server: AuthorizationServer,
    http: reqwest::Client,
    network: Network,
    config: Arc<Config>,
}

impl World {
    async fn start() -> Arc<Self> {
        let tool = Tool {
            name: "read",
            description: "Reads.",
        };
        let mcp = start_mcp(&[tool]).await.unwrap();
        let server = authorization::start(Options {
            iss: Iss::Honest,
            access_token_seconds: 3_600,
            ..Options::default()
        });
        let server = server.await.unwrap();
        server.allow_resource(mcp.url());
        mcp.trust(server.issuer(), server.tokens()).unwrap();
        let config = Config::builder(mcp.url(), "http://127.0.0.1:9/callback")
            .client_name("scale")
            .registration_sharing(RegistrationSharing::AcrossPrincipals);
        let settings = || reqwest::ClientBuilder::new().no_proxy();
        Arc::new(Self {
            config: Arc::new(config.build().unwrap()),
            http: settings()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap(),
            network: Network::builder().http(settings).build().unwrap(),
            mcp,
            server,
        })
    }

    fn accounts(&self, store: SharedStore, idle: Duration, tokens: usize) -> (Accounts, Server) {
        let accounts = Accounts::builder(store)
            .network(&self.network)
            .idle(idle)
            .machines(200_000)
            .tokens(tokens)
            .start()
            .unwrap();
        let server = accounts.add_server(Arc::clone(&self.config));
        (accounts, server)
    }

    async fn sign_in(&self, accounts: &Accounts, server: &Server, user: &str) -> String {
        let redirect = accounts.begin(server, user, seed().unwrap()).await;
        let redirect = redirect.unwrap().unwrap();
        let answer = self.http.get(redirect.url.as_str()).send().await.unwrap();
        let callback = answer.headers().get(LOCATION).unwrap().to_str().unwrap();
        let callback = Callback::from_url(callback);
        accounts.came_back(callback).await.unwrap();
        redirect.client_id.to_string()
    }

    async fn revoke(&self, token: &HeaderValue, client_id: &str) {
        let token = token.to_str().unwrap().trim_start_matches("Bearer ");
        let body = format!("token={token}&client_id={client_id}");
        let request = self.http.post(format!("{}/revoke", self.server.issuer()));
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        request.body(body).send().await.unwrap();
    }
}

/// Runs one piece of work for each number, so many at a time.
async fn for_each<F: Future<Output = ()> + Send + 'static>(
    count: usize,
    work: impl Fn(usize) -> F,
) {
    let mut tasks = JoinSet::new();
    for number in 0..count {
        if tasks.len() >= AT_ONCE {
            tasks.join_next().await.unwrap().unwrap();
        }
        tasks.spawn(work(number));
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

fn user(number: usize) -> String {
    format!("user-{number:08}")
}

/// Memory, and the bytes of the records that sign-ins leave.
#[derive(Clone, Default)]
struct Counting {
    memory: MemoryStore,
    pending: Arc<AtomicUsize>,
}

impl AsyncStore for Counting {
    async fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        AsyncStore::load(&self.memory, slot).await
    }

    async fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        if let (SlotKind::Pending, Some(write)) = (slot.kind(), write) {
            let size = slot.to_string().len() + 22 + write.contents.expose().len();
            self.pending.fetch_add(size, Ordering::Relaxed);
        }
        AsyncStore::persist_until(&self.memory, slot, expected, write, expires).await
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let _first = rustls::crypto::ring::default_provider().install_default();
    let users = std::env::var("SCALE_USERS").ok();
    let users: usize = users.map_or(1_000, |text| text.parse().unwrap());
    let world = World::start().await;
    row("workload", "found", "limit, or the same without this crate");
    starting(&world).await;
    parked(&world).await;
    warm(&world, users).await;
    storms(&world).await;
    match Redis::start() {
        Some(redis) => evicted(&world, &redis, users).await,
        None => println!("redis-server is not there: its figures are left out"),
    }
}

/// A request of a principal who has not signed in.
async fn first(accounts: &Accounts, server: &Server, name: &str) -> Result<HeaderMap, Stopped> {
    accounts
        .authorize(server, name, "read", &Method::POST)
        .await
}

/// The first request for one more principal, which reads an empty slot, and the start of one more machine.
async fn starting(world: &World) {
    const COUNT: usize = 10_000;
    let counting = Counting::default();
    let store = SharedStore::new(counting.clone());
    let (accounts, server) = world.accounts(store, Duration::from_secs(600), 0);
    assert!(first(&accounts, &server, "first").await.is_err());
    let (before, since) = (live(), Instant::now());
    for number in 0..COUNT {
        black_box(first(&accounts, &server, &user(number)).await.is_err());
    }
    let each = since.elapsed() / COUNT as u32;
    let bytes = (live() - before) / COUNT as i128;
    row(
        "first request of one more principal",
        &format!("{each:?}, {bytes} B"),
        "20 µs, 0 B",
    );
    let how = Abandon::Cancelled;
    accounts.abandon(&server, "first", how).await.unwrap();
    let (before, stored) = (live(), counting.pending.load(Ordering::Relaxed));
    let since = Instant::now();
    for number in 0..COUNT {
        let told = accounts.abandon(&server, &user(number), how).await;
        black_box(told.is_ok());
    }
    while accounts.counts().working > 0 {
        tokio::task::yield_now().await;
    }
    let each = since.elapsed() / COUNT as u32;
    let stored = counting.pending.load(Ordering::Relaxed) - stored;
    let bytes = (live() - before - stored as i128) / COUNT as i128;
    row(
        "start one more machine: time, with one write",
        &format!("{each:?}"),
        "20 µs",
    );
    row(
        "start one more machine: memory",
        &format!("{bytes} B"),
        "6 KiB",
    );
    accounts.close().await.unwrap();
}

/// Pending authorizations.
async fn parked(world: &World) {
    const COUNT: usize = 2_000;
    let counting = Counting::default();
    let store = SharedStore::new(counting.clone());
    let (accounts, server) = world.accounts(store, Duration::ZERO, 0);
    world.sign_in(&accounts, &server, "first").await;
    let (before, stored) = (live(), counting.pending.load(Ordering::Relaxed));
    for number in 0..COUNT {
        let name = user(number);
        let begun = accounts.begin(&server, &name, seed().unwrap());
        begun.await.unwrap();
    }
    while accounts.counts().machines > 0 {
        tokio::task::yield_now().await;
    }
    let stored = counting.pending.load(Ordering::Relaxed) - stored;
    // The store is in this process here; its share is taken off.
    let left = (live() - before) - stored as i128;
    row(
        "parked sign-in: machines left, bytes in the process",
        &format!("{}, {} B", accounts.counts().machines, left / COUNT as i128),
        "0 (what is left is this store's own map)",
    );
    row(
        "parked sign-in: bytes in the store",
        &format!("{} B", stored / COUNT),
        "1 KB",
    );
}

/// Tokens at hand.
async fn warm(world: &Arc<World>, users: usize) {
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
async fn storms(world: &Arc<World>) {
    const CALLERS: usize = 1_000;
    let store = SharedStore::new(MemoryStore::default());
    let (accounts, server) = world.accounts(store, Duration::from_secs(600), 10_000);
    let client = world.sign_in(&accounts, &server, "alice").await;
    let mut times = Vec::new();
    for callers in [1, 1, CALLERS] {
        // A token that was never accepted is not refreshed (E08).
        let token = accepted(world, &accounts, &server).await;
        world.revoke(&token, &client).await;
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
        times.push(since.elapsed());
        assert_eq!(world.server.refreshes() - before, 1);
    }
    if let [_, one, all] = times.as_slice() {
        let ratio = all.as_secs_f64() / one.as_secs_f64();
        row(
            "401 storm: 1,000 callers, one principal: 1 refresh",
            &format!("{all:?}, {ratio:.1} x"),
            &format!("2 x one refresh ({one:?})"),
        );
    }
    let since = Instant::now();
    let (signal, waits) = tokio::sync::watch::channel(());
    let mut tasks = JoinSet::new();
    for _ in 0..CALLERS {
        let mut waits = waits.clone();
        tasks.spawn(async move { waits.changed().await.is_err() });
    }
    drop(signal);
    tasks.join_all().await;
    row(
        "  of it: 1,000 tasks that wait for one signal",
        &format!("{:?}", since.elapsed()),
        "",
    );
    accounts.close().await.unwrap();
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

/// Tokens of principals for whom there is nothing but their slot.
async fn evicted(world: &Arc<World>, redis: &Redis, users: usize) {
    let store = AsyncRedisStore::open(&redis.url(), "scale:").unwrap();
    let store = SharedStore::new(store);
    let (accounts, server) = world.accounts(store, Duration::ZERO, 0);
    for_each(users, |number| {
        let (world, accounts, server) = (Arc::clone(world), accounts.clone(), server.clone());
        async move {
            world.sign_in(&accounts, &server, &user(number)).await;
        }
    })
    .await;
    let reads = users.max(1_000) * 20;
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
    let rate = reads as f64 / since.elapsed().as_secs_f64();

    let client = redis::Client::open(redis.url()).unwrap();
    let connection = client.get_connection_manager().await.unwrap();
    for number in 0..users {
        let mut set = redis::cmd("SET");
        set.arg(format!("plain:{number}")).arg("x".repeat(1_024));
        set.exec_async(&mut connection.clone()).await.unwrap();
    }
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
    let plain = reads as f64 / since.elapsed().as_secs_f64();
    row(
        "token of an evicted principal, from Redis",
        &format!("{rate:.0}/s, {:.2} x", rate / plain),
        &format!("0.5 x plain GETs of 1 KiB ({plain:.0}/s)"),
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

/// A Redis server that keeps nothing.
struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    fn start() -> Option<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
        let port = listener.local_addr().ok()?.port();
        drop(listener);
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        let started = Self { process, port };
        let client = redis::Client::open(started.url()).ok()?;
        for _ in 0..200 {
            if client.get_connection().is_ok() {
                return Some(started);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}
