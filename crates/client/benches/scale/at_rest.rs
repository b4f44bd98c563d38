//! Tokens that are read from a store in memory.

use std::hint::black_box;
use std::time::{Duration, Instant};

use http::Method;
use mcp_auth_client::{AsyncStore, MemoryStore, SharedStore, Swap};
use mcp_auth_testing::RedisServer;
use stats_alloc::Region;

use crate::ALLOCATOR;
use crate::common::{rounds, row};
use crate::records::Template;
use crate::world::{Gateway, World};

/// The cost of reading an account beside the store: the same from a store in memory, in one task.
pub(crate) async fn at_rest(world: &World, redis: &RedisServer) {
    const READS: usize = 100_000;
    let template = Template::sign_in(world, redis, "scale:")
        .await
        .with_tls(world);
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
