//! The machines that exist: one for each account at work, and as many idle ones as fit.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::super::client::Client;
use super::super::job::Stopped;
use super::super::saver::Unsaved;
use super::warm::{Digests, Key};
use crate::clock::{Surroundings, millis};
use crate::meter::{self, Waits};
use mcp_auth_machine::Event;
use mcp_auth_machine::time::MonoMillis;

/// How many machines there may be, how many callers may wait for one, and how long an idle one is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) machines: usize,
    pub(super) waiting: usize,
    pub(super) idle: Duration,
}

pub(super) struct Table {
    bounds: Bounds,
    around: Surroundings,
    room: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: HashMap<Key, Entry, Digests>,
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
        since: MonoMillis,
        /// When it was put among the idle ones.
        queued: Option<MonoMillis>,
        /// It has tokens that the store did not take, and stays until it does.
        is_unsaved: bool,
    },
    /// It finishes its work; another one starts after that.
    Closing {
        machine: u64,
        ended: watch::Receiver<bool>,
    },
}

/// The numbers of machines and callers.
pub(super) struct Numbers {
    pub(super) machines: usize,
    pub(super) unsaved: usize,
    pub(super) working: usize,
    pub(super) waiting: usize,
}

impl State {
    fn next(&mut self) -> u64 {
        self.count = self.count.saturating_add(1);
        self.count
    }

    /// Takes a machine that is not in use back from the idle ones, or lets it end where its room is wanted.
    fn rest(&mut self, key: &Key, is_wanted: bool) {
        let Some(Entry::Open {
            users: 0,
            since,
            queued,
            is_unsaved: false,
            ..
        }) = self.entries.get_mut(key)
        else {
            return;
        };
        if is_wanted {
            self.close(key);
        } else if queued.is_none() {
            *queued = Some(*since);
            self.idle.push_back(key.clone());
        }
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
    fn oldest(&mut self) -> Option<(Key, MonoMillis)> {
        loop {
            let key = self.idle.pop_front()?;
            let Some(Entry::Open {
                users,
                since,
                queued,
                is_unsaved,
                ..
            }) = self.entries.get_mut(&key)
            else {
                continue;
            };
            if *users > 0 || *is_unsaved {
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
    end: End,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Keeps the machine while it has tokens that the store did not take.
    pub(crate) fn is_unsaved(&self, now: bool) {
        let Some(table) = self.end.table.upgrade() else {
            return;
        };
        let mut state = table.lock();
        let is_wanted = table.is_wanted(&state);
        if let Some(Entry::Open {
            machine,
            is_unsaved,
            ..
        }) = state.entries.get_mut(&self.end.key)
            && *machine == self.end.machine
        {
            *is_unsaved = now;
            state.rest(&self.end.key, is_wanted);
        }
    }

    /// Returns true if this is the machine of its account. Another one may have been faster, and one that has ended has no
    /// say any more.
    pub(crate) fn is_current(&self) -> bool {
        self.end.table.upgrade().is_some_and(|table| {
            let state = table.lock();
            let entry = state.entries.get(&self.end.key);
            entry.is_some_and(|entry| entry.machine() == self.end.machine)
        })
    }

    /// Puts a machine back that was to end, because it has tokens that the store did not take. `false`: everything ends.
    pub(crate) fn stays(&self, again: Client) -> bool {
        let Some(table) = self.end.table.upgrade() else {
            return false;
        };
        let mut state = table.lock();
        if state.is_closed {
            return false;
        }
        match state.entries.get_mut(&self.end.key) {
            Some(entry @ Entry::Closing { .. }) if entry.machine() == self.end.machine => {
                *entry = Entry::Open {
                    client: again,
                    machine: self.end.machine,
                    users: 0,
                    since: table.now(),
                    queued: None,
                    is_unsaved: true,
                };
                true
            }
            Some(Entry::Open { .. } | Entry::Closing { .. }) | None => false,
        }
    }
}

impl Entry {
    fn is_unsaved(&self) -> bool {
        match self {
            Self::Open { is_unsaved, .. } => *is_unsaved,
            Self::Closing { .. } => false,
        }
    }

    fn machine(&self) -> u64 {
        match self {
            Self::Open { machine, .. } | Self::Closing { machine, .. } => *machine,
        }
    }
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
        let entry = state.entries.get(&self.key);
        if entry.is_some_and(|entry| entry.machine() == self.machine) {
            state.entries.remove(&self.key);
        }
    }
}

/// A machine in use. Dropping it leaves the machine idle; its work is still finished.
pub(in crate::asynchronous) struct Lease {
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
        let is_wanted = self.table.is_wanted(&state);
        let Some(Entry::Open {
            machine,
            users,
            since,
            ..
        }) = state.entries.get_mut(&self.key)
        else {
            return;
        };
        if *machine != self.machine {
            return;
        }
        *users = users.saturating_sub(1);
        *since = self.table.now();
        state.rest(&self.key, is_wanted);
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
    Ending(watch::Receiver<bool>),
    Room(OwnedSemaphorePermit),
    Full(Waiting),
}

impl Table {
    pub(super) fn new(bounds: Bounds, around: Surroundings) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            around,
            room: Arc::new(Semaphore::new(bounds.machines)),
            state: Mutex::default(),
        })
    }

    fn now(&self) -> MonoMillis {
        self.around.now().mono
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an idle machine ends at once.
    fn is_wanted(&self, state: &State) -> bool {
        state.waiting > 0 || state.is_closed || self.bounds.idle.is_zero()
    }

    /// The machine of an account: the one that exists, or a new one as soon as there is room.
    pub(super) async fn lease(
        self: &Arc<Self>,
        key: &Key,
        start: impl Fn(Place) -> Client,
    ) -> Result<Lease, Stopped> {
        let mut permit = None;
        loop {
            match self.find(key, permit.take())? {
                Found::Lease(lease) => return Ok(lease),
                Found::Ending(mut ended) => while ended.changed().await.is_ok() {},
                Found::Room(permit) => {
                    if let Some(lease) = self.start(key, permit, &start)? {
                        return Ok(lease);
                    }
                }
                Found::Full(waiting) => {
                    let waits = Waits::begin();
                    let room = Arc::clone(&self.room);
                    permit = Some(room.acquire_owned().await.map_err(|_| Stopped::Ended)?);
                    drop(waiting);
                    waits.end("machine");
                }
            }
        }
    }

    /// The machine of an account if it can be had without waiting.
    pub(super) fn try_lease(
        self: &Arc<Self>,
        key: &Key,
        start: impl Fn(Place) -> Client,
    ) -> Option<Lease> {
        match self.find(key, None).ok()? {
            Found::Lease(lease) => Some(lease),
            Found::Room(permit) => self.start(key, permit, &start).ok().flatten(),
            Found::Ending(_) | Found::Full(_) => None,
        }
    }

    /// Returns true if the account has a machine.
    pub(super) fn has(&self, key: &Key) -> Result<bool, Stopped> {
        let state = self.lock();
        if state.is_closed {
            return Err(Stopped::Ended);
        }
        Ok(state.entries.contains_key(key))
    }

    /// The machine of an account with tokens that the store did not take yet.
    pub(super) fn unsaved(self: &Arc<Self>, key: &Key) -> Result<Option<Lease>, Stopped> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(Stopped::Ended);
        }
        let entry = state.entries.get_mut(key);
        let entry = entry.filter(|entry| entry.is_unsaved());
        Ok(entry.and_then(|entry| self.lend(key, entry)))
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
        if let Some(entry) = state.entries.get_mut(key) {
            if let Some(lease) = self.lend(key, entry) {
                return Ok(Found::Lease(lease));
            }
            if let Entry::Closing { ended, .. } = entry {
                return Ok(Found::Ending(ended.clone()));
            }
        }
        let permit = permit.or_else(|| Arc::clone(&self.room).try_acquire_owned().ok());
        if let Some(permit) = permit {
            return Ok(Found::Room(permit));
        }
        if state.waiting >= self.bounds.waiting {
            meter::busy();
            return Err(Stopped::Busy);
        }
        state.waiting = state.waiting.saturating_add(1);
        if let Some((oldest, _)) = state.oldest() {
            state.close(&oldest);
        }
        Ok(Found::Full(Waiting(Arc::clone(self))))
    }

    /// Starts a machine, unless another caller has started one for the account meanwhile. `None`: that one ends already.
    fn start(
        self: &Arc<Self>,
        key: &Key,
        permit: OwnedSemaphorePermit,
        start: &impl Fn(Place) -> Client,
    ) -> Result<Option<Lease>, Stopped> {
        let machine = self.lock().next();
        let end = End {
            table: Arc::downgrade(self),
            key: key.clone(),
            machine,
        };
        let new = start(Place {
            end,
            _permit: permit,
        });
        let mut state = self.lock();
        if state.is_closed {
            return Err(Stopped::Ended);
        }
        if let Some(entry) = state.entries.get_mut(key) {
            return Ok(self.lend(key, entry));
        }
        let entry = Entry::Open {
            client: new.clone(),
            machine,
            users: 1,
            since: self.now(),
            queued: None,
            is_unsaved: false,
        };
        state.entries.insert(key.clone(), entry);
        Ok(Some(self.hold(key, machine, new)))
    }

    /// Gives a machine to one more caller; `None` for one that is to end.
    fn lend(self: &Arc<Self>, key: &Key, entry: &mut Entry) -> Option<Lease> {
        match entry {
            Entry::Open {
                client,
                machine,
                users,
                ..
            } => {
                *users = users.saturating_add(1);
                Some(self.hold(key, *machine, client.clone()))
            }
            Entry::Closing { .. } => None,
        }
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
        let (now, idle) = (self.now(), millis(self.bounds.idle));
        let mut state = self.lock();
        while let Some((key, since)) = state.oldest()
            && now.0.saturating_sub(since.0) >= idle
        {
            state.close(&key);
        }
    }

    pub(super) fn counts(&self) -> Numbers {
        let state = self.lock();
        let count = |counts: fn(&Entry) -> bool| {
            let entries = state.entries.values();
            entries.filter(|entry| counts(entry)).count()
        };
        Numbers {
            machines: state.entries.len(),
            unsaved: count(Entry::is_unsaved),
            working: count(|entry| match entry {
                Entry::Open { users, .. } => *users > 0,
                Entry::Closing { .. } => true,
            }),
            waiting: state.waiting,
        }
    }

    /// Starts no machine any more, and waits until those that exist have finished and stored what is under way.
    pub(super) async fn close(&self) -> Result<(), Unsaved> {
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
        let mut accounts = 0_usize;
        for mut ended in ends {
            while ended.changed().await.is_ok() {}
            accounts = accounts.saturating_add(usize::from(*ended.borrow()));
        }
        Unsaved::check(accounts)
    }
}
