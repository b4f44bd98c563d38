//! The machines that exist: one for each account at work, and as many idle ones as fit.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::super::client::Client;
use super::super::job::Stopped;
use super::warm::Key;
use mcp_auth_machine::Event;

/// How many machines there may be, how many callers may wait for one, and how long an idle one is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) machines: usize,
    pub(super) waiting: usize,
    pub(super) idle: Duration,
}

pub(super) struct Table {
    bounds: Bounds,
    room: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: HashMap<Key, Entry>,
    /// Machines that became idle, each once: about in the order of their last use.
    idle: VecDeque<Key>,
    waiting: usize,
    /// Counts machines.
    count: u64,
    is_closed: bool,
}

enum Entry {
    Open {
        client: Client,
        machine: u64,
        users: usize,
        /// When it was used last.
        since: Instant,
        /// When it was put among the idle ones.
        queued: Option<Instant>,
    },
    /// It finishes its work; another one starts after that.
    Closing {
        machine: u64,
        ended: watch::Receiver<()>,
    },
}

impl State {
    fn next(&mut self) -> u64 {
        self.count = self.count.saturating_add(1);
        self.count
    }

    /// Lets a machine finish and end.
    fn close(&mut self, key: &Key) {
        if let Some(entry) = self.entries.get_mut(key)
            && let Entry::Open {
                client, machine, ..
            } = entry
        {
            let (machine, ended) = (*machine, client.ended());
            *entry = Entry::Closing { machine, ended };
        }
    }

    /// A machine that has been idle for about the longest.
    fn oldest(&mut self) -> Option<(Key, Instant)> {
        loop {
            let key = self.idle.pop_front()?;
            let Some(Entry::Open {
                users,
                since,
                queued,
                ..
            }) = self.entries.get_mut(&key)
            else {
                continue;
            };
            if *users > 0 {
                *queued = None;
            } else if *queued == Some(*since) {
                let since = *since;
                self.idle.push_front(key.clone());
                return Some((key, since));
            } else {
                // Used again meanwhile.
                *queued = Some(*since);
                self.idle.push_back(key);
            }
        }
    }
}

/// The conditions of a new machine: the right to exist, and what it does at its end.
pub(crate) struct Place {
    /// Dropped first: the account has no machine when there is room for the next.
    _end: End,
    _permit: OwnedSemaphorePermit,
}

/// Takes a machine out of the table when it has ended.
struct End {
    table: Weak<Table>,
    key: Key,
    machine: u64,
}

impl Drop for End {
    fn drop(&mut self) {
        let Some(table) = self.table.upgrade() else {
            return;
        };
        let mut state = table.lock();
        let machine = match state.entries.get(&self.key) {
            Some(Entry::Open { machine, .. } | Entry::Closing { machine, .. }) => *machine,
            None => return,
        };
        if machine == self.machine {
            state.entries.remove(&self.key);
        }
    }
}

/// A machine in use. Dropping it leaves the machine idle; its work is still finished.
pub(super) struct Lease {
    table: Arc<Table>,
    key: Key,
    machine: u64,
    client: Client,
}

impl Lease {
    pub(super) fn client(&self) -> &Client {
        &self.client
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.table.lock();
        let is_wanted = state.waiting > 0 || state.is_closed || self.table.bounds.idle.is_zero();
        let State { entries, idle, .. } = &mut *state;
        let Some(Entry::Open {
            machine,
            users,
            since,
            queued,
            ..
        }) = entries.get_mut(&self.key)
        else {
            return;
        };
        if *machine != self.machine {
            return;
        }
        *users = users.saturating_sub(1);
        *since = Instant::now();
        if *users > 0 {
            return;
        }
        if is_wanted {
            state.close(&self.key);
        } else if queued.is_none() {
            *queued = Some(*since);
            idle.push_back(self.key.clone());
        }
    }
}

/// A caller that waits for room, counted while it does.
struct Waiting(Arc<Table>);

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.waiting = state.waiting.saturating_sub(1);
    }
}

/// The answer to a caller.
enum Found {
    Lease(Lease),
    Ending(watch::Receiver<()>),
    Room(OwnedSemaphorePermit),
    Full(Waiting),
}

impl Table {
    pub(super) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            room: Arc::new(Semaphore::new(bounds.machines)),
            state: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine of an account: the one that exists, or a new one as soon as there is room.
    pub(super) async fn lease(
        self: &Arc<Self>,
        key: &Key,
        start: impl Fn(Place) -> Result<Client, Stopped>,
    ) -> Result<Lease, Stopped> {
        let mut permit = None;
        loop {
            match self.find(key, permit.take())? {
                Found::Lease(lease) => return Ok(lease),
                Found::Ending(mut ended) => while ended.changed().await.is_ok() {},
                Found::Room(permit) => return self.start(key, permit, &start),
                Found::Full(waiting) => {
                    let room = Arc::clone(&self.room);
                    permit = Some(room.acquire_owned().await.map_err(|_| Stopped::Ended)?);
                    drop(waiting);
                }
            }
        }
    }

    /// The machine of an account if it can be had without waiting.
    pub(super) fn try_lease(
        self: &Arc<Self>,
        key: &Key,
        start: impl Fn(Place) -> Result<Client, Stopped>,
    ) -> Option<Lease> {
        match self.find(key, None).ok()? {
            Found::Lease(lease) => Some(lease),
            Found::Room(permit) => self.start(key, permit, &start).ok(),
            Found::Ending(_) | Found::Full(_) => None,
        }
    }

    fn find(
        self: &Arc<Self>,
        key: &Key,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Found, Stopped> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(Stopped::Ended);
        }
        match state.entries.get_mut(key) {
            Some(Entry::Open {
                client,
                machine,
                users,
                ..
            }) => {
                *users = users.saturating_add(1);
                return Ok(Found::Lease(self.hold(key, *machine, client.clone())));
            }
            Some(Entry::Closing { ended, .. }) => return Ok(Found::Ending(ended.clone())),
            None => {}
        }
        let permit = permit.or_else(|| Arc::clone(&self.room).try_acquire_owned().ok());
        if let Some(permit) = permit {
            return Ok(Found::Room(permit));
        }
        if state.waiting >= self.bounds.waiting {
            return Err(Stopped::Busy);
        }
        state.waiting = state.waiting.saturating_add(1);
        if let Some((oldest, _)) = state.oldest() {
            state.close(&oldest);
        }
        Ok(Found::Full(Waiting(Arc::clone(self))))
    }

    /// Starts a machine, unless another caller has started one for the account meanwhile.
    fn start(
        self: &Arc<Self>,
        key: &Key,
        permit: OwnedSemaphorePermit,
        start: &impl Fn(Place) -> Result<Client, Stopped>,
    ) -> Result<Lease, Stopped> {
        let machine = self.lock().next();
        let end = End {
            table: Arc::downgrade(self),
            key: key.clone(),
            machine,
        };
        let new = start(Place {
            _end: end,
            _permit: permit,
        })?;
        let mut state = self.lock();
        if state.is_closed {
            return Err(Stopped::Ended);
        }
        if let Some(Entry::Open {
            client,
            machine,
            users,
            ..
        }) = state.entries.get_mut(key)
        {
            *users = users.saturating_add(1);
            return Ok(self.hold(key, *machine, client.clone()));
        }
        // One that still ends is followed by this one: its end takes its own entry alone.
        let entry = Entry::Open {
            client: new.clone(),
            machine,
            users: 1,
            since: Instant::now(),
            queued: None,
        };
        state.entries.insert(key.clone(), entry);
        Ok(self.hold(key, machine, new))
    }

    fn hold(self: &Arc<Self>, key: &Key, machine: u64, client: Client) -> Lease {
        Lease {
            table: Arc::clone(self),
            key: key.clone(),
            machine,
            client,
        }
    }

    /// Tells a machine that exists something that has no answer.
    pub(super) fn note(&self, key: &Key, event: Event) {
        if let Some(Entry::Open { client, .. }) = self.lock().entries.get(key) {
            client.note(event);
        }
    }

    /// Ends the machines that have been idle for long enough.
    pub(super) fn sweep(&self) {
        let mut state = self.lock();
        while let Some((key, since)) = state.oldest()
            && since.elapsed() >= self.bounds.idle
        {
            state.close(&key);
        }
    }

    /// How many machines exist, how many of them are in use, and how many callers wait for one.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let state = self.lock();
        let used = state.entries.values().filter(|entry| match entry {
            Entry::Open { users, .. } => *users > 0,
            Entry::Closing { .. } => true,
        });
        (state.entries.len(), used.count(), state.waiting)
    }

    /// Starts no machine any more, and waits until those that exist have finished and stored what is under way.
    pub(super) async fn close(&self) {
        let ends: Vec<_> = {
            let mut state = self.lock();
            state.is_closed = true;
            let keys: Vec<_> = state.entries.keys().cloned().collect();
            keys.iter()
                .filter_map(|key| {
                    if let Some(Entry::Open { client, .. }) = state.entries.get(key) {
                        client.tell_close();
                    }
                    state.close(key);
                    match state.entries.get(key) {
                        Some(Entry::Closing { ended, .. }) => Some(ended.clone()),
                        Some(Entry::Open { .. }) | None => None,
                    }
                })
                .collect()
        };
        self.room.close();
        for mut ended in ends {
            while ended.changed().await.is_ok() {}
        }
    }
}
