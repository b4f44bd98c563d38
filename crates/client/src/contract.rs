//! Conformance checks for implementations of [`Store`] (REFR-05).
//!
//! ```
//! use mcp_auth_client::{MemoryStore, contract};
//!
//! let store = MemoryStore::default();
//! contract::check(&store)?;
//! // Two handles, like those of two processes.
//! contract::check_races(&[store.clone(), store])?;
//! # Ok::<(), contract::Violation>(())
//! ```
//!
//! Both checks use slots of a fictitious account, and leave them empty. They cannot test whether a write is
//! durable when it returns, whether contents are encrypted, and whether a slot is dropped when it expires.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

#[cfg(feature = "async-store")]
use tokio::runtime::Handle;
#[cfg(feature = "async-store")]
use tokio::task::spawn_blocking;

#[cfg(feature = "async-store")]
use super::async_store::{AsyncStore, OnRuntime};
use super::store::{Store, StoreError, Swap};
use mcp_auth_machine::slot::{Revision, Slot, SlotContents, Stored};
use mcp_auth_machine::time::UnixMillis;

/// The number of threads that write through each store at once; one more reads.
const THREADS: usize = 4;

/// The number of races.
const ROUNDS: usize = 12;

/// Larger than any record with typical tokens, and not a round number.
const LARGE: usize = 70_001;

/// A rule of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// No operation fails while the store is reachable.
    NothingFails,
    /// A slot that was never written, or was cleared, is empty.
    EmptyUntilWritten,
    /// A load returns contents and revision exactly as written.
    WrittenAsGiven,
    /// A write that expects an empty slot succeeds only on an empty slot.
    ExpectsEmpty,
    /// A write that names a revision succeeds only on that revision.
    ExpectsRevision,
    /// A conflict changes nothing and returns the current contents.
    ConflictTells,
    /// Slots are independent of each other.
    SlotsApart,
    /// Contents with an expiry exist until then.
    KeptUntilItsEnd,
    /// Of several writes that name the same revision, one succeeds.
    OneWinner,
    /// A load returns a write completely or not at all.
    NeverHalf,
}

impl Rule {
    /// Returns the rule as a sentence.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NothingFails => "no operation fails while the store is reachable",
            Self::EmptyUntilWritten => {
                "a slot is empty until it is written, and once it is cleared"
            }
            Self::WrittenAsGiven => "a load returns exactly what was written",
            Self::ExpectsEmpty => "a write that expects an empty slot succeeds only on one",
            Self::ExpectsRevision => "a write that names a revision succeeds only on that one",
            Self::ConflictTells => "a conflict changes nothing and returns the current contents",
            Self::SlotsApart => "slots are independent of each other",
            Self::KeptUntilItsEnd => "contents with an expiry exist until then",
            Self::OneWinner => "of several writes that name the same revision, one succeeds",
            Self::NeverHalf => "a load returns a write completely or not at all",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error for a store that breaks the contract.
#[derive(Debug, thiserror::Error)]
#[error("the store breaks the rule: {rule}")]
pub struct Violation {
    /// The broken rule.
    pub rule: Rule,
    /// The error of the store, if it failed.
    #[source]
    pub error: Option<StoreError>,
}

impl From<StoreError> for Violation {
    fn from(error: StoreError) -> Self {
        Self {
            rule: Rule::NothingFails,
            error: Some(error),
        }
    }
}

fn expect(held: bool, rule: Rule) -> Result<(), Violation> {
    if held {
        Ok(())
    } else {
        Err(Violation { rule, error: None })
    }
}

/// Tests the rules for one caller at a time.
///
/// # Errors
/// [`Violation`] with the first broken rule.
pub fn check<S: Store + ?Sized>(store: &S) -> Result<(), Violation> {
    let at = At::new(store, "one");
    at.clear()?;
    at.swaps()?;
    for text in [String::new(), "a\n\nb\r\n\0é😀\u{2028}".to_owned(), large()] {
        at.keeps(&stored(text))?;
    }
    at.keeps_until()?;
    at.clear()
}

/// Tests the rules for concurrent callers. The given stores share their contents, and several threads use
/// each of them.
///
/// # Errors
/// [`Violation`] with a broken rule.
pub fn check_races<S: Store + Sync>(stores: &[S]) -> Result<(), Violation> {
    let Some(first) = stores.first() else {
        return Ok(());
    };
    let at = At::new(first, "many");
    at.clear()?;
    let mut held = stored("base".to_owned());
    expect(at.done(None, Some(&held))?, Rule::ExpectsEmpty)?;
    for round in 0..ROUNDS {
        held = race(stores, round, &held)?;
    }
    at.clear()
}

/// Same as [`check`], for an asynchronous store.
///
/// # Errors
/// [`Violation`] with the first broken rule.
#[cfg(feature = "async-store")]
pub async fn check_async<S: AsyncStore>(store: S) -> Result<(), Violation> {
    let store = OnRuntime::new(store, Handle::current());
    let checked = spawn_blocking(move || check(&store)).await;
    // A panic counts as a failure.
    checked.unwrap_or_else(|_| expect(false, Rule::NothingFails))
}

/// Same as [`check_races`], for asynchronous stores.
///
/// # Errors
/// [`Violation`] with a broken rule.
#[cfg(feature = "async-store")]
pub async fn check_races_async<S: AsyncStore>(
    stores: impl IntoIterator<Item = S>,
) -> Result<(), Violation> {
    let runtime = Handle::current();
    let stores = stores.into_iter();
    let stores: Vec<_> = stores
        .map(|store| OnRuntime::new(store, runtime.clone()))
        .collect();
    let checked = spawn_blocking(move || check_races(&stores)).await;
    checked.unwrap_or_else(|_| expect(false, Rule::NothingFails))
}

/// Runs one race: all writers replace the same revision while others read. Returns the final contents.
fn race<S: Store + Sync>(stores: &[S], round: usize, held: &Stored) -> Result<Stored, Violation> {
    let (won, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let write = |store: &S, number: usize| {
        let text = format!("{round} {number} {}", large());
        if At::new(store, "many").done(Some(held.revision), Some(&stored(text)))? {
            won.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    };
    let read = |store: &S| {
        while !over.load(Ordering::SeqCst) {
            let found = At::new(store, "many").load()?;
            expect(found.is_some_and(|found| is_whole(&found)), Rule::NeverHalf)?;
            thread::yield_now();
        }
        Ok(())
    };
    let told: Vec<_> = thread::scope(|scope| {
        let (write, read) = (&write, &read);
        let readers = stores.iter().map(|store| scope.spawn(move || read(store)));
        let readers: Vec<_> = readers.collect();
        let writers = stores.iter().cycle().enumerate();
        let writers: Vec<_> = writers
            .take(THREADS.saturating_mul(stores.len()))
            .map(|(number, store)| scope.spawn(move || write(store, number)))
            .collect();
        let mut told: Vec<_> = writers.into_iter().map(|thread| thread.join()).collect();
        over.store(true, Ordering::SeqCst);
        told.extend(readers.into_iter().map(|thread| thread.join()));
        told
    });
    for told in told {
        // A panic counts as a failure.
        told.unwrap_or_else(|_| expect(false, Rule::NothingFails))?;
    }
    expect(won.load(Ordering::SeqCst) == 1, Rule::OneWinner)?;
    let now = stores.iter().map(|store| At::new(store, "many").load());
    let mut now = now.collect::<Result<Vec<_>, _>>()?;
    now.dedup();
    let [Some(now)] = now.as_slice() else {
        return Err(Violation {
            rule: Rule::WrittenAsGiven,
            error: None,
        });
    };
    Ok(now.clone())
}

/// A store and one of its slots.
struct At<'a, S: ?Sized> {
    store: &'a S,
    slot: Slot,
}

impl<'a, S: Store + ?Sized> At<'a, S> {
    fn new(store: &'a S, name: &str) -> Self {
        let slot = Slot::account(name, "urn:mcp-auth-machine:contract");
        Self { store, slot }
    }

    fn load(&self) -> Result<Option<Stored>, Violation> {
        Ok(self.store.load(self.slot)?)
    }

    fn holds(&self, what: Option<&Stored>, rule: Rule) -> Result<(), Violation> {
        expect(self.load()?.as_ref() == what, rule)
    }

    fn done(&self, expected: Option<Revision>, write: Option<&Stored>) -> Result<bool, Violation> {
        Ok(match self.store.persist(self.slot, expected, write)? {
            Swap::Done => true,
            Swap::Conflict(_) => false,
        })
    }

    /// Expects that a write has no effect, by this rule.
    fn refuses(
        &self,
        expected: Option<Revision>,
        write: Option<&Stored>,
        held: Option<&Stored>,
        rule: Rule,
    ) -> Result<(), Violation> {
        match self.store.persist(self.slot, expected, write)? {
            Swap::Done => return expect(false, rule),
            Swap::Conflict(told) => expect(told.as_ref() == held, Rule::ConflictTells)?,
        }
        self.holds(held, Rule::ConflictTells)
    }

    fn clear(&self) -> Result<(), Violation> {
        let held = self.load()?.map(|stored| stored.revision);
        expect(self.done(held, None)?, Rule::ExpectsRevision)?;
        self.holds(None, Rule::EmptyUntilWritten)
    }

    fn swaps(&self) -> Result<(), Violation> {
        let (first, second) = (stored("first".to_owned()), stored("second".to_owned()));
        let other = At::new(self.store, "other");
        other.clear()?;
        let (one, two) = (Some(first.revision), Some(second.revision));

        self.refuses(one, Some(&second), None, Rule::ExpectsRevision)?;
        self.refuses(one, None, None, Rule::ExpectsRevision)?;
        expect(self.done(None, None)?, Rule::ExpectsEmpty)?;
        expect(self.done(None, Some(&first))?, Rule::ExpectsEmpty)?;
        self.holds(Some(&first), Rule::WrittenAsGiven)?;
        other.holds(None, Rule::SlotsApart)?;

        self.refuses(None, Some(&second), Some(&first), Rule::ExpectsEmpty)?;
        self.refuses(None, None, Some(&first), Rule::ExpectsEmpty)?;
        self.refuses(two, Some(&second), Some(&first), Rule::ExpectsRevision)?;
        expect(self.done(one, Some(&second))?, Rule::ExpectsRevision)?;
        self.holds(Some(&second), Rule::WrittenAsGiven)?;
        self.refuses(one, None, Some(&second), Rule::ExpectsRevision)?;

        expect(other.done(None, Some(&first))?, Rule::SlotsApart)?;
        self.holds(Some(&second), Rule::SlotsApart)?;
        other.clear()?;
        expect(self.done(two, None)?, Rule::ExpectsRevision)?;
        self.holds(None, Rule::EmptyUntilWritten)
    }

    fn keeps(&self, what: &Stored) -> Result<(), Violation> {
        expect(self.done(None, Some(what))?, Rule::ExpectsEmpty)?;
        self.holds(Some(what), Rule::WrittenAsGiven)?;
        // A small record replaces a large one, and vice versa.
        let small = stored("small".to_owned());
        let replaced = self.done(Some(what.revision), Some(&small))?;
        expect(replaced, Rule::ExpectsRevision)?;
        self.holds(Some(&small), Rule::WrittenAsGiven)?;
        let replaced = self.done(Some(small.revision), Some(what))?;
        expect(replaced, Rule::ExpectsRevision)?;
        self.holds(Some(what), Rule::WrittenAsGiven)?;
        expect(self.done(Some(what.revision), None)?, Rule::ExpectsRevision)?;
        self.holds(None, Rule::EmptyUntilWritten)
    }

    fn keeps_until(&self) -> Result<(), Violation> {
        let (first, second) = (stored("until".to_owned()), stored("never".to_owned()));
        // The year 2100, and the largest value.
        for end in [4_102_444_800_000, u64::MAX] {
            let end = Some(UnixMillis(end));
            let written = self
                .store
                .persist_until(self.slot, None, Some(&first), end)?;
            expect(matches!(written, Swap::Done), Rule::KeptUntilItsEnd)?;
            self.holds(Some(&first), Rule::KeptUntilItsEnd)?;
            let wrong = self
                .store
                .persist_until(self.slot, None, Some(&second), end)?;
            expect(matches!(wrong, Swap::Conflict(_)), Rule::ExpectsEmpty)?;
            let replaced = self.done(Some(first.revision), Some(&second))?;
            expect(replaced, Rule::ExpectsRevision)?;
            self.holds(Some(&second), Rule::WrittenAsGiven)?;
            expect(
                self.done(Some(second.revision), None)?,
                Rule::ExpectsRevision,
            )?;
        }
        Ok(())
    }
}

fn stored(text: String) -> Stored {
    Stored {
        revision: Revision::of(text.as_bytes()),
        contents: SlotContents::new(text),
    }
}

fn is_whole(found: &Stored) -> bool {
    Revision::of(found.contents.expose().as_bytes()) == found.revision
}

fn large() -> String {
    "0123456789 é ".chars().cycle().take(LARGE).collect()
}
