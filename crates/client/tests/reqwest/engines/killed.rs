//! One of three processes of a gateway is killed under load: what the store has acknowledged is not lost.

use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use http::header::LOCATION;
use mcp_auth_client::asynchronous::{Accounts, Returned, Server, Stopped};
use mcp_auth_client::seed;
use mcp_auth_machine::slot::Slot;
use mcp_auth_machine::wire::callback::Callback;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{sleep, timeout};

use crate::engines::race::{open, post, sign_in};
use crate::processes::{Part, connection};
use crate::support::{World, http, token};
use mcp_auth_testing::RedisServer;
use mcp_auth_testing::authorization::Iss;

const USERS: usize = 40;

fn name(user: usize) -> String {
    format!("user {user}")
}

/// A whole request; the token that it succeeded with.
async fn call(
    http: &reqwest::Client,
    accounts: &Accounts,
    server: &Server,
    user: &str,
) -> Result<String, Stopped> {
    let mut call = accounts.call(server, user, "tools/list", Method::POST);
    loop {
        let headers = call.headers().await?;
        let answer = post(http, server.url(), headers.clone()).await;
        if !call.again(answer.status(), answer.headers()).await? {
            return Ok(token(&headers));
        }
    }
}

/// The users whose accounts somebody is refreshing: the record names a lease.
fn leased(redis: &RedisServer, mcp: &str) -> HashSet<usize> {
    let mut connection = connection(redis);
    let is_leased = |user: &usize| {
        let key = format!("race:{}", Slot::account(&name(*user), mcp));
        let mut get = redis::cmd("HGET");
        let contents: String = get.arg(key).arg("contents").query(&mut connection).unwrap();
        let lease = contents.split_once("\"l\":");
        lease.is_some_and(|(_, rest)| rest.starts_with(|first: char| first.is_ascii_digit()))
    };
    (0..USERS).filter(is_leased).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_under_load_loses_nothing_that_the_store_has() {
    // Tokens of two seconds: refreshes all the time.
    let world = World::of(Iss::Honest, 2).await;
    let redis = block_in_place(RedisServer::start).unwrap();
    let (accounts, server) = open(&redis.url(), &world.url).await;
    for user in 0..USERS {
        sign_in(&world, &accounts, &server, &name(user)).await;
    }
    let url = redis.url();
    let settings = [
        ("KILLED_STORE", url.as_str()),
        ("KILLED_MCP", world.url.as_str()),
    ];
    let mut parts: Vec<Part> = block_in_place(|| {
        let start = |_| Part::start("engines::killed::worker", &settings);
        let mut parts: Vec<_> = (0..3).map(start).collect();
        for part in &mut parts {
            part.says("ready");
        }
        parts
    });
    sleep(Duration::from_secs(4)).await;
    let before = world.server.refreshes();
    assert!(before > 20, "{before} refreshes: no load");

    let said = block_in_place(|| parts.remove(0).killed());
    // A refresh that was under way then may be known to the server alone.
    let under_way = block_in_place(|| leased(&redis, &world.url));
    assert!(under_way.len() < USERS / 2, "{under_way:?}");
    sleep(Duration::from_secs(4)).await;
    let others: Vec<String> = block_in_place(|| {
        let end = |mut part: Part| {
            part.go_on();
            part.says("failed ")
        };
        parts.into_iter().map(end).collect()
    });

    // The sign-ins that it had begun end here.
    let begun: Vec<_> = said
        .lines()
        .filter_map(|line| line.strip_prefix("begun "))
        .collect();
    assert!(begun.len() > 5, "{said}");
    for (number, url) in begun.into_iter().enumerate().take(50) {
        let answer = world.http.get(url).send().await.unwrap();
        let callback = answer.headers()[LOCATION].to_str().unwrap();
        let told = accounts.came_back(Callback::from_url(callback)).await;
        assert!(
            matches!(told, Ok(Returned::SignedIn { .. })),
            "{number}: {told:?}"
        );
    }
    // Everybody has a token, and no refresh token was used twice.
    let http = http();
    for user in (0..USERS).filter(|user| !under_way.contains(user)) {
        call(&http, &accounts, &server, &name(user)).await.unwrap();
    }
    assert!(world.server.refreshes() > before);
    assert_eq!(world.server.reuses(), 0);
    for failed in others {
        let failed = failed.split(' ').filter_map(|user| user.parse().ok());
        let failed: HashSet<usize> = failed.collect();
        assert!(failed.is_subset(&under_way), "{failed:?} of {under_way:?}");
    }
}

/// Calls for all users again and again, and begins sign-ins, until a line arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of another test"]
async fn worker() {
    let Ok(url) = std::env::var("KILLED_STORE") else {
        return;
    };
    let (accounts, server) = open(&url, &std::env::var("KILLED_MCP").unwrap()).await;
    println!("ready");
    std::io::stdout().flush().unwrap();
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (accounts, server, next) = (accounts.clone(), server.clone(), Arc::clone(&next));
        tasks.spawn(async move {
            let http = http();
            let mut failed = Vec::new();
            let end = next.load(Ordering::Relaxed) + 1_000_000;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= end || is_told(&next) {
                    return failed;
                }
                let user = number % USERS;
                let who = name(user);
                let called = call(&http, &accounts, &server, &who);
                // The lease of a process that was killed lasts for a while.
                if let Ok(Err(_)) = timeout(Duration::from_secs(3), called).await {
                    failed.push(user);
                }
                sleep(Duration::from_millis(5)).await;
            }
        });
    }
    let begins = tokio::spawn({
        let (accounts, server) = (accounts.clone(), server.clone());
        async move {
            for number in 0_usize.. {
                let who = format!("{} {number}", std::process::id());
                let begun = accounts.begin(&server, &who, seed().unwrap()).await;
                if let Ok(Some(redirect)) = begun {
                    println!("begun {}", redirect.url.as_str());
                    std::io::stdout().flush().unwrap();
                }
                sleep(Duration::from_millis(100)).await;
            }
        }
    });
    block_in_place(|| std::io::stdin().read_line(&mut String::new()).unwrap());
    next.store(ENDED, Ordering::Relaxed);
    let failed: Vec<usize> = tasks.join_all().await.into_iter().flatten().collect();
    begins.abort();
    let failed: Vec<_> = failed.iter().map(usize::to_string).collect();
    println!("failed {} .", failed.join(" "));
    std::io::stdout().flush().unwrap();
}

const ENDED: usize = usize::MAX / 2;

fn is_told(next: &AtomicUsize) -> bool {
    next.load(Ordering::Relaxed) >= ENDED
}
