//! How many requests to one server are under way at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::meter::Waits;

/// The servers that requests are sent to now.
pub(super) struct Turns {
    at_once: usize,
    servers: Arc<Servers>,
}

type Servers = Mutex<HashMap<Box<str>, Arc<Semaphore>>>;

/// The right to send one request.
pub(super) struct Turn {
    /// Given back in `drop`, before the server is looked up.
    permit: Option<OwnedSemaphorePermit>,
    place: Place,
}

/// One request that waits or is under way. A server without any is forgotten.
struct Place {
    servers: Arc<Servers>,
    authority: Box<str>,
    turns: Option<Arc<Semaphore>>,
}

impl Turns {
    pub(super) fn new(at_once: usize) -> Self {
        Self {
            at_once,
            servers: Arc::default(),
        }
    }

    /// Waits for a turn. `None`: none came in time.
    pub(super) async fn wait(&self, authority: &str, time: Duration) -> Option<Turn> {
        let turns = {
            let mut servers = lock(&self.servers);
            let known = servers.get(authority).cloned();
            known.unwrap_or_else(|| {
                let turns = Arc::new(Semaphore::new(self.at_once));
                servers.insert(authority.into(), Arc::clone(&turns));
                turns
            })
        };
        let place = Place {
            servers: Arc::clone(&self.servers),
            authority: authority.into(),
            turns: Some(Arc::clone(&turns)),
        };
        let permit = match Arc::clone(&turns).try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) => {
                let waits = Waits::begin();
                let permit = tokio::time::timeout(time, turns.acquire_owned());
                let permit = permit.await.ok()?.ok()?;
                waits.end("server");
                Some(permit)
            }
        };
        Some(Turn { permit, place })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // The permit refers to the server as well.
        drop(self.permit.take());
        self.place.leave();
    }
}

impl Place {
    fn leave(&mut self) {
        let mut servers = lock(&self.servers);
        drop(self.turns.take());
        let known = servers.get(&self.authority);
        if known.is_some_and(|turns| Arc::strong_count(turns) == 1) {
            servers.remove(&self.authority);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.turns.is_some() {
            self.leave();
        }
    }
}

fn lock(servers: &Servers) -> MutexGuard<'_, HashMap<Box<str>, Arc<Semaphore>>> {
    servers.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn requests_beyond_the_number_wait_and_one_server_holds_up_no_other() {
        let turns = Turns::new(2);
        let first = turns.wait("a:443", SOON).await.unwrap();
        let second = turns.wait("a:443", SOON).await.unwrap();
        assert!(turns.wait("a:443", SOON).await.is_none());
        let other = turns.wait("b:443", SOON).await.unwrap();
        drop(first);
        let third = turns.wait("a:443", SOON).await.unwrap();
        assert_eq!(lock(&turns.servers).len(), 2);
        // Servers without requests are forgotten.
        drop((second, third, other));
        assert!(lock(&turns.servers).is_empty());
        // A caller that gives up waiting takes no turn.
        let held = [
            turns.wait("a:443", SOON).await.unwrap(),
            turns.wait("a:443", SOON).await.unwrap(),
        ];
        assert!(turns.wait("a:443", SOON).await.is_none());
        drop(held);
        assert!(lock(&turns.servers).is_empty());
    }
}
