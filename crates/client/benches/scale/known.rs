//! A process that many principals are known to: the store holds their accounts, the process those that are active.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use mcp_auth_client::{AsyncRedisStore, SharedStore};

use crate::common::{for_each, number, row, user};
use crate::records::{TEMPLATE, Template};
use crate::world::{Gateway, World};
use crate::{live, resident_mib};
use mcp_auth_testing::RedisServer;

const PREFIX: &str = "known:";

/// The address of the MCP server, for the process that is measured.
const MCP: &str = "SCALE_CHILD_MCP";
const REDIS: &str = "SCALE_CHILD_REDIS";
const KNOWN: &str = "SCALE_CHILD_KNOWN";
const ACTIVE: &str = "SCALE_CHILD_ACTIVE";

/// Fills the store with accounts, and has a process of its own measured beside few of them and beside all.
pub(crate) async fn known(world: &Arc<World>, redis: &RedisServer, known: usize) {
    let template = Template::sign_in(world, redis, PREFIX).await;
    run(world, redis, 1, 0);
    let active = known / 100;
    template.fill(redis, PREFIX, (active..known).map(user));
    run(world, redis, known, active);
}

fn run(world: &World, redis: &RedisServer, known: usize, active: usize) {
    let own = std::env::current_exe().unwrap();
    let told = Command::new(own)
        .env(MCP, world.mcp.url())
        .env(REDIS, redis.url())
        .env(KNOWN, known.to_string())
        .env(ACTIVE, active.to_string())
        .stdin(Stdio::null())
        .status();
    assert!(told.unwrap().success());
}

pub(crate) fn is_child() -> bool {
    std::env::var_os(MCP).is_some()
}

/// The process that is measured.
pub(crate) async fn child() {
    let since = Instant::now();
    let (known, active) = (number(KNOWN, 0), number(ACTIVE, 0));
    let gateway = Arc::new(Gateway::to(&std::env::var(MCP).unwrap()));
    let store = AsyncRedisStore::open(&std::env::var(REDIS).unwrap(), PREFIX).unwrap();
    let (accounts, server) =
        gateway.accounts(SharedStore::new(store), Duration::from_secs(600), 100_000);
    let headers = accounts.authorize(&server, TEMPLATE, "read", &Method::POST);
    headers.await.unwrap();
    row(
        &format!("process with {known} known: start to first token"),
        &format!("{:.1?}, {:.0} MiB", since.elapsed(), resident_mib()),
        "the same for any number",
    );
    if active == 0 {
        return;
    }
    let before = live();
    for_each(active, |number| {
        let (gateway, accounts, server) = (Arc::clone(&gateway), accounts.clone(), server.clone());
        async move {
            gateway.sign_in(&accounts, &server, &user(number)).await;
        }
    })
    .await;
    let counts = accounts.counts();
    assert_eq!(counts.machines, active);
    row(
        &format!("  {active} of them active: each a machine with its tokens"),
        &format!("{:.0} MiB", resident_mib()),
        &format!(
            "600 MB ({} B allocated for each)",
            (live() - before) / active as i128
        ),
    );
    // As many others as there is room for tokens at hand: nine of ten, spread over all that are known.
    let reads = active * 9;
    let step = (known - active) / reads;
    for_each(reads, |number| {
        let (accounts, server) = (accounts.clone(), server.clone());
        async move {
            let name = user(active + number * step);
            let headers = accounts.authorize(&server, &name, "read", &Method::POST);
            headers.await.unwrap();
        }
    })
    .await;
    row(
        &format!("  and {reads} others with a token in memory"),
        &format!("{:.0} MiB", resident_mib()),
        "600 MB",
    );
    accounts.close().await.unwrap();
}
