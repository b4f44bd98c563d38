//! Work that several callers want at the same moment: one does it, the others take its result.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::warm::{Digests, Key};

/// How long callers wait for the work of another one, whose future its host may have stopped polling. After that they do
/// the work themselves.
const PATIENCE: Duration = Duration::from_secs(1);

/// The work under way, one for each account: what it is about, and those who wait for its result.
pub(super) struct Flights<A, R> {
    /// How many accounts there may be.
    most: usize,
    state: Mutex<State<A, R>>,
}

struct State<A, R> {
    flights: HashMap<Key, Flight<A, R>, Digests>,
    /// Counts the work.
    count: u64,
}

struct Flight<A, R> {
    number: u64,
    about: A,
    /// Most work has none.
    followers: Option<Followers<R>>,
}

/// The callers that wait for the same result.
struct Followers<R> {
    result: watch::Sender<Option<R>>,
    /// One timer for all of them.
    patience: AbortHandle,
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
    number: u64,
    has_ended: bool,
}

/// The result of another caller's work.
pub(super) struct Shared<R>(watch::Receiver<Option<R>>);

impl<R: Clone> Shared<R> {
    /// Waits for the result. `None`: the caller that did the work has gone, or takes too long.
    pub(super) async fn wait(mut self) -> Option<R> {
        self.0.wait_for(Option::is_some).await.ok()?.clone()
    }
}

impl<R> Drop for Followers<R> {
    fn drop(&mut self) {
        self.patience.abort();
    }
}

impl<A, R> Flights<A, R>
where
    A: PartialEq + Send + 'static,
    R: Send + Sync + 'static,
{
    /// Takes part in the work about this.
    pub(super) fn join(self: &Arc<Self>, key: &Key, about: A) -> Share<A, R> {
        let mut state = self.lock();
        let is_full = state.flights.len() >= self.most;
        let number = state.count.saturating_add(1);
        match state.flights.entry(key.clone()) {
            Entry::Occupied(mut known) if known.get().about == about => {
                Share::Follow(self.follow(key, known.get_mut()))
            }
            Entry::Occupied(_) => Share::Alone,
            Entry::Vacant(_) if is_full => Share::Full,
            Entry::Vacant(free) => {
                free.insert(Flight {
                    number,
                    about,
                    followers: None,
                });
                state.count = number;
                Share::Lead(Lead {
                    flights: Arc::clone(self),
                    key: key.clone(),
                    number,
                    has_ended: false,
                })
            }
        }
    }

    /// Returns the work for an account, if there is some.
    pub(super) fn under_way(self: &Arc<Self>, key: &Key) -> Option<Shared<R>> {
        let mut state = self.lock();
        let flight = state.flights.get_mut(key)?;
        Some(self.follow(key, flight))
    }

    fn follow(self: &Arc<Self>, key: &Key, flight: &mut Flight<A, R>) -> Shared<R> {
        let followers = flight.followers.get_or_insert_with(|| {
            let (flights, key, number) = (Arc::downgrade(self), key.clone(), flight.number);
            let patience = tokio::spawn(async move {
                tokio::time::sleep(PATIENCE).await;
                // Without an entry the callers wait no longer, and the next one does its own work.
                drop(flights.upgrade().map(|flights| flights.end(&key, number)));
            });
            Followers {
                result: watch::Sender::new(None),
                patience: patience.abort_handle(),
            }
        });
        Shared(followers.result.subscribe())
    }
}

impl<A, R> Flights<A, R> {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            state: Mutex::new(State {
                flights: HashMap::default(),
                count: 0,
            }),
        })
    }

    /// Removes exactly this work.
    fn end(&self, key: &Key, number: u64) -> Option<Flight<A, R>> {
        let mut state = self.lock();
        let known = state.flights.get(key)?;
        if known.number == number {
            state.flights.remove(key)
        } else {
            None
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<A, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A, R> Lead<A, R> {
    /// Gives the others the result, where there are any.
    pub(super) fn end(mut self, result: impl FnOnce() -> R) {
        self.has_ended = true;
        let flight = self.flights.end(&self.key, self.number);
        if let Some(followers) = flight.and_then(|flight| flight.followers) {
            // The others may have gone.
            let _waited = followers.result.send(Some(result()));
        }
    }
}

impl<A, R> Drop for Lead<A, R> {
    fn drop(&mut self) {
        if !self.has_ended {
            drop(self.flights.end(&self.key, self.number));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]

    use super::*;

    fn key() -> Key {
        Key::new("https://mcp.example/mcp".into(), "alice".into())
    }

    fn lead(flights: &Arc<Flights<u8, u8>>, about: u8) -> Lead<u8, u8> {
        match flights.join(&key(), about) {
            Share::Lead(lead) => lead,
            Share::Follow(_) | Share::Alone | Share::Full => panic!("not the first"),
        }
    }

    fn follow(flights: &Arc<Flights<u8, u8>>, about: u8) -> Shared<u8> {
        match flights.join(&key(), about) {
            Share::Follow(shared) => shared,
            Share::Lead(_) | Share::Alone | Share::Full => panic!("not under way"),
        }
    }

    #[tokio::test]
    async fn the_result_is_for_those_who_wait_and_the_next_caller_does_its_own() {
        let flights = Flights::new(1);
        let first = lead(&flights, 1);
        let waiting = [follow(&flights, 1), follow(&flights, 1)];
        assert!(matches!(flights.join(&key(), 2), Share::Alone));
        first.end(|| 7);
        for waiting in waiting {
            assert_eq!(waiting.wait().await, Some(7));
        }
        let second = lead(&flights, 2);
        let waiting = follow(&flights, 2);
        drop(second);
        assert_eq!(waiting.wait().await, None);
        // Without a caller that waits no result is made.
        lead(&flights, 3).end(|| panic!("made without a caller that waits"));
        assert!(flights.lock().flights.is_empty());
    }

    #[tokio::test]
    async fn work_that_takes_too_long_keeps_no_caller_and_does_not_end_that_of_the_next_caller() {
        let flights = Flights::new(10);
        let stuck = lead(&flights, 1);
        let waiting = [follow(&flights, 1), follow(&flights, 1)];
        for waiting in waiting {
            assert_eq!(waiting.wait().await, None);
        }
        let next = lead(&flights, 1);
        let waiting = follow(&flights, 1);
        stuck.end(|| 1);
        assert!(flights.under_way(&key()).is_some());
        next.end(|| 2);
        assert_eq!(waiting.wait().await, Some(2));
    }
}
