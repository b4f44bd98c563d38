//! Accounts that have not signed in, the machines of those who ask, and sign-ins under way.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderMap, Method};
use mcp_auth_client::asynchronous::{Accounts, Server, Stopped};
use mcp_auth_client::{AsyncStore, MemoryStore, SharedStore, StoreError, Swap, seed};
use mcp_auth_machine::event::Abandon;
use mcp_auth_machine::slot::{Revision, Slot, SlotKind, Stored};
use mcp_auth_machine::time::UnixMillis;

use crate::common::{row, user};
use crate::live;
use crate::world::World;

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

/// A request of a principal who has not signed in.
async fn first(accounts: &Accounts, server: &Server, name: &str) -> Result<HeaderMap, Stopped> {
    accounts
        .authorize(server, name, "read", &Method::POST)
        .await
}

/// The first request for one more principal, which reads an empty slot, and the start of one more machine.
pub(crate) async fn starting(world: &World) {
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
pub(crate) async fn parked(world: &World) {
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
