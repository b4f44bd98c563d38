//! Work that several callers want at the same moment: one does it, the others take its result.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::warm::Key;

/// How long a caller waits for the work of another one, whose future its host may have stopped polling. After that it does
/// the work itself.
const PATIENCE: Duration = Duration::from_secs(1);

/// The work under way, one for each account: what it is about, and its result.
pub(super) struct Flights<A, R> {
    /// How many accounts there may be.
    most: usize,
    flights: Mutex<HashMap<Key, Flight<A, R>>>,
}

struct Flight<A, R> {
    about: A,
    result: Shared<R>,
}

/// The part of a caller in the work.
pub(super) enum Share<A, R> {
    /// This caller. The others wait for the result, or for the end of the value.
    Lead(Lead<A, R>),
    /// Another caller.
    Follow(Shared<R>),
    /// This caller, beside other work for the account.
    Alone,
    /// None: as much work is under way as permitted.
    Full,
}

/// The right to do the work.
pub(super) struct Lead<A, R> {
    flights: Arc<Flights<A, R>>,
    key: Key,
    /// Dropped after the entry: a caller that comes then begins new work.
    result: watch::Sender<Option<R>>,
}

/// The result of another caller's work.
pub(super) struct Shared<R>(watch::Receiver<Option<R>>);

impl<R> Clone for Shared<R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<R: Clone> Shared<R> {
    /// Waits for the result. `None`: the caller that did the work has gone, or takes too long.
    pub(super) async fn wait(mut self) -> Option<R> {
        let result = timeout(PATIENCE, self.0.wait_for(Option::is_some)).await;
        result.ok()?.ok()?.clone()
    }
}

impl<A: PartialEq, R> Flights<A, R> {
    /// Takes part in the work about this.
    pub(super) fn join(self: &Arc<Self>, key: &Key, about: A) -> Share<A, R> {
        let mut flights = self.lock();
        let is_full = flights.len() >= self.most;
        match flights.entry(key.clone()) {
            Entry::Occupied(known) if known.get().about == about => {
                Share::Follow(known.get().result.clone())
            }
            Entry::Occupied(_) => Share::Alone,
            Entry::Vacant(_) if is_full => Share::Full,
            Entry::Vacant(free) => {
                let (sender, result) = watch::channel(None);
                let result = Shared(result);
                free.insert(Flight { about, result });
                Share::Lead(Lead {
                    flights: Arc::clone(self),
                    key: key.clone(),
                    result: sender,
                })
            }
        }
    }
}

impl<A, R> Flights<A, R> {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            flights: Mutex::default(),
        })
    }

    /// Returns the work for an account, if there is some.
    pub(super) fn under_way(&self, key: &Key) -> Option<Shared<R>> {
        self.lock().get(key).map(|flight| flight.result.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Flight<A, R>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A, R> Lead<A, R> {
    /// Gives the others the result.
    pub(super) fn end(self, result: R) {
        // The others may have gone.
        let _waited = self.result.send(Some(result));
    }
}

impl<A, R> Drop for Lead<A, R> {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
    }
}
