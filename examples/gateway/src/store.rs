//! The store of a gateway: opened, watched until it answers, and emptied after a load test.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mcp_auth_client::{
    AsyncRedisStore, AsyncStore, MemoryStore, Sealed, SharedStore, StoreError, Swap,
};
use mcp_auth_machine::slot::{Revision, Slot, Stored};
use mcp_auth_machine::time::UnixMillis;
use redis::AsyncCommands;
use reqwest::Url;

use crate::Failed;
use crate::keys::Keys;

/// The keys of a gateway in Redis begin with this.
pub(crate) const PREFIX: &str = "mcp-gateway:";

/// The time limit of each call of the store: a page needs one or two.
const LIMIT: Duration = Duration::from_secs(2);

/// The pause between questions to a store that does not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// How many keys are removed from Redis at a time.
const AT_ONCE: usize = 500;

/// Opens the store: Redis, sealed, or memory.
pub(crate) fn open(
    redis: Option<&str>,
    prefix: &str,
    keys: &Arc<Keys>,
) -> Result<SharedStore, Failed> {
    let Some(url) = redis else {
        return Ok(SharedStore::new(MemoryStore::default()));
    };
    // The text may have a password in it.
    let redis = AsyncRedisStore::open(url, prefix).map_err(|error| {
        let expected = "a URL such as redis://127.0.0.1:6379 is expected";
        format!("REDIS_URL (or --redis): {expected}; {error}")
    })?;
    let reported = Reported {
        store: SharedStore::new(redis).time_limit(LIMIT),
        place: place(url),
        fails: AtomicBool::new(false),
    };
    Ok(SharedStore::new(Sealed::new(reported, Arc::clone(keys))))
}

/// Polls a store that does not answer, until it does. The gateway serves meanwhile: it may have been started together
/// with its store.
pub(crate) async fn watch(store: SharedStore) {
    let slot = Slot::account("", "");
    if store.load(slot).await.is_ok() {
        return;
    }
    tokio::spawn(async move {
        while store.load(slot).await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
    });
}

/// A store in Redis that reports each outage: once that Redis fails, with the reason, and once that Redis answers again.
struct Reported {
    store: SharedStore,
    place: String,
    fails: AtomicBool,
}

impl Reported {
    fn report<T>(&self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        let place = &self.place;
        match &done {
            Ok(_) => {
                // Most calls follow one that succeeded, and change nothing.
                if self.fails.load(Ordering::Relaxed) && self.fails.swap(false, Ordering::Relaxed) {
                    eprintln!("Redis at {place} answers.");
                }
            }
            Err(error) => {
                if !self.fails.swap(true, Ordering::Relaxed) {
                    eprintln!(
                        "Redis at {place} fails: {}. Requests that need it get 503 until it answers. Next: start Redis \
                         there, or correct REDIS_URL.",
                        error.0
                    );
                }
            }
        }
        done
    }
}

impl AsyncStore for Reported {
    async fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        self.report(self.store.load(slot).await)
    }

    async fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        let done = self.store.persist_until(slot, expected, write, expires);
        self.report(done.await)
    }
}

/// Returns the host and the port of a URL, without its password.
fn place(url: &str) -> String {
    let Ok(url) = Url::parse(url) else {
        return "the place that REDIS_URL names".to_owned();
    };
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => url.path().to_owned(),
    }
}

/// Removes all keys with this prefix from Redis, and returns how many they were.
pub(crate) async fn empty(url: &str, prefix: &str) -> Result<usize, Failed> {
    let client = redis::Client::open(url)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let mut keys = Vec::new();
    {
        let mut found = connection
            .scan_match::<_, String>(format!("{prefix}*"))
            .await?;
        while let Some(key) = found.next_item().await {
            keys.push(key?);
        }
    }
    for some in keys.chunks(AT_ONCE) {
        let () = connection.unlink(some).await?;
    }
    Ok(keys.len())
}
