//! Valid tokens, in memory that every task can read.

use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Equivalent, UnitWeighter};
use zeroize::Zeroizing;

use crate::clock::{Surroundings, millis};
use mcp_auth_machine::Moment;
use mcp_auth_machine::time::UnixMillis;

/// A token without a stated end is asked of its machine again after this time.
const UNSTATED: Duration = Duration::from_secs(300);

/// The longest time before its end at which a token is refreshed, that of the machine (USE-10).
const MARGIN: Duration = Duration::from_secs(60);

/// The number of counters of changes.
const COUNTERS: u64 = 256;

/// When a refresh that failed is tried again.
const LATER: Duration = Duration::from_secs(10);

/// One principal at one MCP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) server: Arc<str>,
    pub(crate) principal: Arc<str>,
    digest: u64,
}

impl Key {
    pub(crate) fn new(server: Arc<str>, principal: Arc<str>) -> Self {
        let digest = digest(&server, &principal);
        Self {
            server,
            principal,
            digest,
        }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.digest);
    }
}

/// A [`Key`] that is borrowed.
pub(super) struct Lookup<'a> {
    server: &'a str,
    principal: &'a str,
    digest: u64,
}

impl<'a> Lookup<'a> {
    pub(super) fn of(server: &'a str, principal: &'a str) -> Self {
        Self {
            server,
            principal,
            digest: digest(server, principal),
        }
    }
}

/// The texts are digested once, for all tables: under a secret of this process, so that users cannot choose principals that
/// collide.
fn digest(server: &str, principal: &str) -> u64 {
    static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    SECRET.hash_one((server, principal))
}

impl Hash for Lookup<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.digest);
    }
}

/// The hash of a [`Key`] in a table: its digest.
#[derive(Clone, Copy, Default)]
pub(super) struct Digest(u64);

impl Hasher for Digest {
    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
    }

    /// Not called: keys write one number.
    fn write(&mut self, bytes: &[u8]) {
        let number = bytes.first_chunk().copied().unwrap_or_default();
        self.0 ^= u64::from_ne_bytes(number);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// How the tables of accounts hash.
pub(super) type Digests = BuildHasherDefault<Digest>;

impl Equivalent<Key> for Lookup<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.digest == key.digest
            && *self.principal == *key.principal
            && *self.server == *key.server
    }
}

/// A token, valid until its end by both clocks (SEC-35).
struct Entry {
    authorization: HeaderValue,
    until: Moment,
    /// From here on it is refreshed, by the monotonic clock.
    refresh_at: AtomicU64,
    refreshes: AtomicBool,
    /// Whether a request with it has succeeded.
    is_accepted: AtomicBool,
}

impl Entry {
    fn holds(&self, now: Moment) -> bool {
        now.wall < self.until.wall && now.mono < self.until.mono
    }
}

/// A reader's find.
pub(super) struct Found {
    pub(super) authorization: HeaderValue,
    /// The reader is the one to have it refreshed.
    pub(super) is_due: bool,
}

/// The tokens that were used last, up to a fixed number. The bytes of an entry are erased when nothing refers to
/// them any more.
pub(crate) struct Warm {
    entries: Cache<Key, Arc<Entry>, UnitWeighter, Digests>,
    hits: AtomicU64,
    /// How often something about an account changed; accounts share these counters.
    changes: Box<[AtomicU64]>,
    hasher: RandomState,
    around: Surroundings,
}

impl Warm {
    pub(crate) fn new(capacity: usize, around: Surroundings) -> Self {
        let most = u64::try_from(capacity).unwrap_or(u64::MAX);
        Self {
            entries: Cache::with(
                capacity,
                most,
                UnitWeighter,
                Digests::default(),
                DefaultLifecycle::default(),
            ),
            hits: AtomicU64::new(0),
            changes: (0..COUNTERS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            around,
        }
    }

    fn counter(&self, key: &Key) -> Option<&AtomicU64> {
        let place = usize::try_from(key.digest.checked_rem(COUNTERS)?).ok()?;
        self.changes.get(place)
    }

    fn changed(&self, key: &Key) {
        if let Some(counter) = self.counter(key) {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Returns a number that is another one after each change of the account.
    pub(super) fn changes(&self, key: &Key) -> Option<u64> {
        self.counter(key).map(|count| count.load(Ordering::SeqCst))
    }

    /// Lets readers have a token that was read from the store, unless something about the account changed since: a
    /// sign-out, a refusal, or the token of a machine. `authorization` must own memory that is erased when it is dropped.
    pub(super) fn publish_unchanged(
        &self,
        key: &Key,
        authorization: HeaderValue,
        expires: Option<UnixMillis>,
        now: Moment,
        changes: Option<u64>,
    ) {
        let is_held = self.entries.peek(key).is_some_and(|entry| entry.holds(now));
        if is_held || changes.is_none() || self.changes(key) != changes {
            return;
        }
        self.insert(key, authorization.clone(), expires, now);
        // A change between the look and the entry.
        if self.changes(key) != changes {
            self.remove(key, &authorization);
        }
    }

    /// Returns the token of this account, if it is valid now.
    pub(super) fn get(&self, key: &Lookup<'_>, now: Moment) -> Option<Found> {
        let entry = self.entries.get(key)?;
        if !entry.holds(now) {
            return None;
        }
        self.hits.fetch_add(1, Ordering::Relaxed);
        let is_due = now.mono.0 >= entry.refresh_at.load(Ordering::Relaxed)
            && !entry.refreshes.swap(true, Ordering::Relaxed);
        Some(Found {
            authorization: entry.authorization.clone(),
            is_due,
        })
    }

    /// Ends a refresh. Where it brought no other token, the first reader after a while tries again.
    pub(super) fn refresh_ended(&self, key: &Key, now: Moment) {
        if let Some(entry) = self.entries.peek(key) {
            let later = now.mono.0.saturating_add(millis(LATER));
            // A token that came meanwhile is not due.
            if entry.refreshes.load(Ordering::Relaxed) {
                entry.refresh_at.store(later, Ordering::Relaxed);
                entry.refreshes.store(false, Ordering::Relaxed);
            }
        }
    }

    /// A request with the token succeeded. `true`: the first one.
    pub(super) fn accepted(&self, key: &Lookup<'_>) -> bool {
        let entry = self.entries.peek(key);
        entry.is_some_and(|entry| !entry.is_accepted.swap(true, Ordering::Relaxed))
    }

    /// Returns true if readers get exactly this value, and have not to be given more time with it.
    pub(crate) fn holds(
        &self,
        key: &Key,
        authorization: &HeaderValue,
        expires: Option<UnixMillis>,
        now: Moment,
    ) -> bool {
        let entry = self.entries.peek(key);
        entry.is_some_and(|entry| {
            let same = entry.authorization == *authorization;
            // A token without a stated end is as good as its machine says it is.
            let extended = expires.is_none() && entry.refreshes.load(Ordering::Relaxed);
            same && entry.holds(now) && !extended
        })
    }

    /// Lets readers have the token from now on. Its bytes are copied into memory that is erased in the end.
    pub(crate) fn publish(
        &self,
        key: &Key,
        authorization: &HeaderValue,
        expires: Option<UnixMillis>,
        now: Moment,
    ) {
        self.changed(key);
        self.insert(key, cleared(authorization), expires, now);
    }

    fn insert(
        &self,
        key: &Key,
        authorization: HeaderValue,
        expires: Option<UnixMillis>,
        now: Moment,
    ) {
        let left = match expires {
            Some(expires) => expires.0.saturating_sub(now.wall.0),
            None => millis(UNSTATED),
        };
        if left == 0 {
            self.entries.remove(key);
            return;
        }
        let margin = millis(MARGIN).min(left / 10);
        // Those that were obtained together are not refreshed together.
        let spread = self.spread(&authorization, margin / 2);
        let ahead = margin.saturating_sub(spread);
        let entry = Entry {
            authorization,
            until: now.plus(Duration::from_millis(left)),
            refresh_at: AtomicU64::new(now.mono.0.saturating_add(left.saturating_sub(ahead))),
            refreshes: AtomicBool::new(false),
            is_accepted: AtomicBool::new(false),
        };
        self.entries.insert(key.clone(), Arc::new(entry));
    }

    pub(crate) fn retract(&self, key: &Key) {
        self.changed(key);
        self.entries.remove(key);
    }

    /// Withdraws exactly this value.
    pub(crate) fn refused(&self, key: &Key, authorization: &HeaderValue) {
        self.changed(key);
        self.remove(key, authorization);
    }

    fn remove(&self, key: &Key, authorization: &HeaderValue) {
        // Most callers of a storm come after the first one: they need no lock that excludes readers.
        let held = self.entries.peek(key);
        if held.is_none_or(|entry| entry.authorization != *authorization) {
            return;
        }
        self.entries
            .remove_if(key, |entry| entry.authorization == *authorization);
    }

    /// Returns the current time by the clocks of the accounts.
    pub(crate) fn now(&self) -> Moment {
        self.around.now()
    }

    /// Returns a number up to this one, which differs between tokens: random where a test sets a source, and 0 where that fails;
    /// else a digest under a secret of this process, which needs no call of the operating system.
    fn spread(&self, token: &HeaderValue, most: u64) -> u64 {
        let number = if self.around.entropy.is_some() {
            let bytes = self.around.random().unwrap_or_default();
            let number = bytes.first_chunk::<8>().copied().unwrap_or_default();
            u64::from_le_bytes(number)
        } else {
            self.hasher.hash_one(token.as_bytes())
        };
        let count = most.saturating_add(1);
        number.checked_rem(count).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }
}

/// Returns a copy of a value, whose memory is erased when its last clone is dropped.
pub(super) fn cleared(authorization: &HeaderValue) -> HeaderValue {
    let owned = Zeroizing::new(authorization.as_bytes().to_vec());
    let copy = HeaderValue::from_maybe_shared(Bytes::from_owner(owned));
    // The bytes of a valid value are valid: the copy never fails.
    let mut copy = copy.unwrap_or_else(|_| authorization.clone());
    copy.set_sensitive(true);
    copy
}

impl fmt::Debug for Warm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Warm({})", self.len())
    }
}

#[cfg(test)]
mod tests;
