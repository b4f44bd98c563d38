//! Work that several callers want at the same moment: one does it, the others look at its result.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::warm::Key;

/// The work under way, one for each account. `T` says what the work is about.
pub(super) struct Flights<T> {
    /// How many accounts there may be.
    most: usize,
    flights: Mutex<HashMap<Key, Flight<T>>>,
}

struct Flight<T> {
    about: T,
    ended: watch::Receiver<()>,
}

/// The caller that does the work.
pub(super) enum Turn<T> {
    /// This caller. The others wait until the value is dropped.
    Mine(#[allow(dead_code, reason = "its drop wakes the others")] Lead<T>),
    /// Another caller: the receiver closes when it has ended.
    Others(watch::Receiver<()>),
    /// This caller, beside other work for the account.
    Alone,
    /// No caller: as much work is under way as permitted.
    Full,
}

/// The right to do the work.
pub(super) struct Lead<T> {
    flights: Arc<Flights<T>>,
    key: Key,
    /// Dropped after the entry: a caller that comes then begins new work.
    _ended: watch::Sender<()>,
}

impl<T: PartialEq> Flights<T> {
    /// Takes part in the work about this.
    pub(super) fn join(self: &Arc<Self>, key: &Key, about: T) -> Turn<T> {
        let mut flights = self.lock();
        let is_full = flights.len() >= self.most;
        match flights.entry(key.clone()) {
            Entry::Occupied(known) if known.get().about == about => {
                Turn::Others(known.get().ended.clone())
            }
            Entry::Occupied(_) => Turn::Alone,
            Entry::Vacant(_) if is_full => Turn::Full,
            Entry::Vacant(free) => {
                let (ends, ended) = watch::channel(());
                free.insert(Flight { about, ended });
                Turn::Mine(Lead {
                    flights: Arc::clone(self),
                    key: key.clone(),
                    _ended: ends,
                })
            }
        }
    }
}

/// Waits until the work of another caller has ended.
pub(super) async fn end_of(mut ended: watch::Receiver<()>) {
    while ended.changed().await.is_ok() {}
}

impl<T> Flights<T> {
    /// Returns the end of the work for an account, if there is some.
    pub(super) fn under_way(&self, key: &Key) -> Option<watch::Receiver<()>> {
        self.lock().get(key).map(|flight| flight.ended.clone())
    }

    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            flights: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Flight<T>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Lead<T> {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
    }
}
