//! Tokens in memory, and refused tokens.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use mcp_auth_client::asynchronous::{Accounts, Server};
use mcp_auth_client::{MemoryStore, SharedStore};
use stats_alloc::Region;
use tokio::task::JoinSet;

use crate::common::{for_each, middle, rounds, row, user};
use crate::world::{Gateway, World};
use crate::{ALLOCATOR, resident_mib};

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
    let away = Duration::from_millis(10);
    let distant = Gateway::distant(&world.mcp.url(), away);
    for (gateway, name) in [
        (
            &distant,
            "401 storm: 1,000 callers, one principal, servers 10 ms away: 1 refresh",
        ),
        (
            &***world,
            "401 storm: 1,000 callers, one principal: 1 refresh",
        ),
    ] {
        let (mut one, mut all, mut floor) = (Duration::MAX, Duration::MAX, Duration::MAX);
        let store = SharedStore::new(MemoryStore::default());
        let (accounts, server) = gateway.accounts(store, Duration::from_secs(600), 10_000);
        let client = gateway.sign_in(&accounts, &server, "alice").await;
        for _ in 0..rounds() {
            one = one.min(storm(world, &accounts, &server, &client, 1).await);
            all = all.min(storm(world, &accounts, &server, &client, CALLERS).await);
            floor = floor.min(signal(CALLERS).await);
        }
        let ratio = all.as_secs_f64() / one.as_secs_f64();
        row(
            name,
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
}

/// Many principals whose tokens are refused at the same moment, beside the same refreshes by a plain client.
pub(crate) async fn many(world: &Arc<World>) {
    const PRINCIPALS: usize = 1_000;
    let store = SharedStore::new(MemoryStore::default());
    let (accounts, server) = world.accounts(store, Duration::from_secs(600), 10_000);
    let client: Arc<str> = world.sign_in(&accounts, &server, &user(0)).await.into();
    for_each(PRINCIPALS, |number| {
        let (world, accounts, server) = (Arc::clone(world), accounts.clone(), server.clone());
        async move {
            world.sign_in(&accounts, &server, &user(number)).await;
        }
    })
    .await;
    let (mut all, mut plain, mut same) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds() {
        let mut refused = Vec::new();
        for number in 0..PRINCIPALS {
            let name = user(number);
            let mut call = accounts.call(&server, &name, "read", Method::POST);
            let token = call.headers().await.unwrap();
            let token = token.get(AUTHORIZATION).unwrap().clone();
            // A token that was never accepted is not refreshed (E08).
            call.again(http::StatusCode::OK, &HeaderMap::new())
                .await
                .unwrap();
            world.revoke(&token, &client).await;
            refused.push(name);
        }
        let challenge = refusal(world, &HeaderValue::from_static("Bearer unknown")).await;
        let before = world.server.refreshes();
        let since = Instant::now();
        let mut tasks = JoinSet::new();
        for name in refused {
            let (accounts, server, challenge) =
                (accounts.clone(), server.clone(), challenge.clone());
            tasks.spawn(async move {
                let mut call = accounts.call(&server, &name, "read", Method::POST);
                call.headers().await.unwrap();
                let status = http::StatusCode::UNAUTHORIZED;
                assert!(call.again(status, &challenge).await.unwrap());
                call.headers().await.unwrap();
            });
        }
        tasks.join_all().await;
        all.push(since.elapsed());
        assert_eq!(world.server.refreshes() - before, PRINCIPALS as u64);
        plain.push(requests(world, &client, PRINCIPALS, PRINCIPALS).await);
        same.push(requests(world, &client, PRINCIPALS, 1).await / PRINCIPALS as u32);
    }
    let (all, plain, same) = (middle(all), middle(plain), middle(same));
    let ratio = |one: Duration, other: Duration| one.as_secs_f64() / other.as_secs_f64();
    row(
        "401 storm: 1,000 principals, 1,000 refreshes",
        &format!("{all:?}, {:.1} x", ratio(all, plain)),
        &format!("the same 2,000 requests by reqwest ({plain:?})"),
    );
    row(
        "  of them: each, and its two requests by themselves",
        &format!("{:?}, {same:?}", all / PRINCIPALS as u32),
        "",
    );
    accounts.close().await.unwrap();
}

/// The time of as many pairs of requests as a refused token causes, so many pairs at a time: the metadata of the MCP server,
/// which may name another authorization server now, and a token request. That has an unknown refresh token, for which the
/// server does a little less.
async fn requests(world: &Arc<World>, client: &Arc<str>, count: usize, at_once: usize) -> Duration {
    // As many as the network of this crate sends at once.
    let turns = Arc::new(tokio::sync::Semaphore::new(at_once.min(100)));
    let since = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let (world, client, turns) = (Arc::clone(world), Arc::clone(client), Arc::clone(&turns));
        tasks.spawn(async move {
            let _turn = turns.acquire().await.unwrap();
            let mcp = world.mcp.url();
            let mcp = mcp.trim_end_matches("/mcp");
            let place = format!("{mcp}/.well-known/oauth-protected-resource/mcp");
            let answer = world.http.get(place).send().await.unwrap();
            assert!(answer.status().is_success());
            answer.bytes().await.unwrap();
            let body = format!("grant_type=refresh_token&refresh_token=none&client_id={client}");
            let request = world.http.post(format!("{}/token", world.server.issuer()));
            let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
            let answer = request.body(body).send().await.unwrap();
            answer.bytes().await.unwrap();
        });
    }
    tasks.join_all().await;
    since.elapsed()
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
