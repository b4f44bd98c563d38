//! The effects of the task: requests, slots, signatures.

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use tokio::sync::oneshot;
use tokio::task::{Id, JoinSet};

use super::job::Stopped;
use super::network::Network;
use crate::async_store::{SharedStore, load_from, persist_in};
use crate::clock::Surroundings;
use crate::secrets::{Assertions, Signer, bearer, prove, sign};
use crate::store::{Answered, StoreError};
use mcp_auth_machine::Event;
use mcp_auth_machine::action::{LoadSlot, ObtainAssertion, PersistSlot, SendRequest, Sign};
use mcp_auth_machine::present::Presentation;
use mcp_auth_machine::slot::Slot;

pub(super) type Shared<T> = Arc<Mutex<Box<T>>>;

/// One pending operation of the store.
enum Errand {
    Load(LoadSlot),
    Persist(PersistSlot),
}

pub(super) struct Hands {
    network: Network,
    around: Surroundings,
    store: SharedStore,
    signer: Shared<dyn Signer + Send>,
    assertions: Shared<dyn Assertions + Send>,
    running: JoinSet<Option<Event>>,
    /// The operations that wait for earlier writes of their slots.
    errands: Vec<Errand>,
    storing: JoinSet<Answered>,
    /// The slots that are being written, with their tasks.
    writing: Vec<(Id, Slot)>,
    /// The error behind the last answer of the store.
    trouble: Option<StoreError>,
}

impl Hands {
    pub(super) fn new(
        network: Network,
        store: SharedStore,
        signer: Box<dyn Signer + Send>,
        assertions: Box<dyn Assertions + Send>,
        around: Surroundings,
    ) -> Self {
        Self {
            network,
            around,
            store,
            signer: Arc::new(Mutex::new(signer)),
            assertions: Arc::new(Mutex::new(assertions)),
            running: JoinSet::new(),
            errands: Vec::new(),
            storing: JoinSet::new(),
            writing: Vec::new(),
            trouble: None,
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        !self.storing.is_empty() || !self.errands.is_empty() || !self.running.is_empty()
    }

    /// Returns the next result; `None` from an operation that has none or that panicked, which the machine
    /// gives up at its deadline. Pending while no operation is.
    pub(super) async fn answer(&mut self) -> Option<Event> {
        tokio::select! {
            biased;
            Some(stored) = self.storing.join_next_with_id() => {
                let id = stored.as_ref().map_or_else(|error| error.id(), |(id, _)| *id);
                self.writing.retain(|(task, _)| *task != id);
                self.start_errands();
                let (_, (event, trouble)) = stored.ok()?;
                self.trouble = trouble;
                Some(event)
            }
            Some(done) = self.running.join_next() => done.ok().flatten(),
            else => std::future::pending().await,
        }
    }

    /// Returns and forgets the error of the store that the last answer stands for.
    pub(super) fn trouble(&mut self) -> Option<StoreError> {
        self.trouble.take()
    }

    pub(super) fn send(&mut self, request: SendRequest) {
        let network = self.network.clone();
        self.running
            .spawn(async move { Some(network.send(request).await) });
    }

    pub(super) fn load(&mut self, load: LoadSlot) {
        self.errands.push(Errand::Load(load));
        self.start_errands();
    }

    pub(super) fn persist(&mut self, persist: PersistSlot) {
        self.errands.push(Errand::Persist(persist));
        self.start_errands();
    }

    /// Starts the operations of the store that wait for no write. The writes of one slot are carried out one after the other, and
    /// a read shows the writes before it. Nothing waits for a read: a slow one holds up no other operation.
    fn start_errands(&mut self) {
        let waiting = std::mem::take(&mut self.errands);
        for errand in waiting {
            let slot = errand.slot();
            let is_written = self.writing.iter().any(|(_, written)| *written == slot);
            let before = |other: &Errand| other.writes() && other.slot() == slot;
            if is_written || self.errands.iter().any(before) {
                self.errands.push(errand);
                continue;
            }
            let (store, writes) = (self.store.clone(), errand.writes());
            let task = self.storing.spawn(async move { errand.run(&store).await });
            if writes {
                self.writing.push((task.id(), slot));
            }
        }
    }

    pub(super) fn sign(&mut self, asked: Sign) {
        let (signer, around) = (Arc::clone(&self.signer), self.around.clone());
        self.running
            .spawn_blocking(move || Some(with(&signer, |signer| sign(signer, asked, &around))));
    }

    pub(super) fn obtain(&mut self, asked: ObtainAssertion) {
        let assertions = Arc::clone(&self.assertions);
        self.running
            .spawn_blocking(move || Some(with(&assertions, |found| found.obtain(asked))));
    }

    /// Creates the headers of one request, with a signature for a bound token.
    pub(super) fn present(
        &mut self,
        presentation: Presentation,
        reply: oneshot::Sender<Result<HeaderMap, Stopped>>,
    ) {
        match presentation {
            Presentation::Bearer(value) => drop(reply.send(Ok(bearer(value)))),
            Presentation::Bound(proof) => {
                let (signer, around) = (Arc::clone(&self.signer), self.around.clone());
                self.running.spawn_blocking(move || {
                    let headers = with(&signer, |signer| prove(signer, *proof, &around));
                    drop(reply.send(headers.map_err(Stopped::NotPresented)));
                    None
                });
            }
        }
    }
}

impl Errand {
    fn slot(&self) -> Slot {
        match self {
            Self::Load(load) => load.slot(),
            Self::Persist(persist) => persist.slot(),
        }
    }

    fn writes(&self) -> bool {
        matches!(self, Self::Persist(_))
    }

    async fn run(self, store: &SharedStore) -> Answered {
        match self {
            Self::Load(load) => load_from(store, load).await,
            Self::Persist(persist) => persist_in(store, persist).await,
        }
    }
}

fn with<T: ?Sized, R>(shared: &Shared<T>, work: impl FnOnce(&mut T) -> R) -> R {
    let mut held = shared.lock().unwrap_or_else(PoisonError::into_inner);
    work(&mut **held)
}
