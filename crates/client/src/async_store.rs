//! Where slots live, for stores that answer without blocking a thread.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, mpsc};

use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::store::{MemoryStore, Store, StoreError, Swap};
#[cfg(feature = "reqwest")]
use mcp_auth_machine::Event;
#[cfg(feature = "reqwest")]
use mcp_auth_machine::action::{LoadSlot, PersistSlot};
use mcp_auth_machine::slot::{Revision, Slot, Stored};
use mcp_auth_machine::time::UnixMillis;

/// A store of slots with compare-and-swap, for engines with an asynchronous client. Its rules are those of [`Store`],
/// and [`contract::check_async`](super::contract::check_async) checks them.
///
/// [`OnThreads`] makes one of a [`Store`], [`OnRuntime`] makes a [`Store`] of one, and [`SharedStore`] holds either.
pub trait AsyncStore: Send + Sync + 'static {
    /// What a slot holds.
    ///
    /// # Errors
    /// [`StoreError`] when that cannot be known.
    fn load(&self, slot: Slot) -> impl Future<Output = Result<Option<Stored>, StoreError>> + Send;

    /// Writes or clears a slot if it still holds `expected`; durable when it returns [`Swap::Done`]. Contents are of
    /// no use after `expires`: a store that can drop them then does.
    ///
    /// # Errors
    /// [`StoreError`] when it is not known to have happened.
    fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> impl Future<Output = Result<Swap, StoreError>> + Send;
}

/// Answers at once: memory blocks nobody.
impl AsyncStore for MemoryStore {
    async fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        Store::load(self, slot)
    }

    async fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        Store::persist_until(self, slot, expected, write, expires)
    }
}

impl<S: AsyncStore> AsyncStore for Arc<S> {
    async fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        (**self).load(slot).await
    }

    async fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        let store = &**self;
        store.persist_until(slot, expected, write, expires).await
    }
}

/// A blocking store, called on threads of `tokio` that may block.
#[derive(Debug)]
pub struct OnThreads<S>(Arc<S>);

impl<S: Store + Send + Sync + 'static> OnThreads<S> {
    /// Calls this store.
    pub fn new(store: S) -> Self {
        Self(Arc::new(store))
    }
}

impl<S: Store + Send + Sync + 'static> AsyncStore for OnThreads<S> {
    async fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        let store = Arc::clone(&self.0);
        let loaded = spawn_blocking(move || store.load(slot)).await;
        loaded.unwrap_or_else(|gone| Err(StoreError(gone.into())))
    }

    async fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        let (store, write) = (Arc::clone(&self.0), write.cloned());
        let work = move || store.persist_until(slot, expected, write.as_ref(), expires);
        let done = spawn_blocking(work).await;
        done.unwrap_or_else(|gone| Err(StoreError(gone.into())))
    }
}

/// An asynchronous store for blocking callers: each call runs on a runtime, and the caller's thread waits. That
/// thread must not be one on which the runtime needs to go on.
#[derive(Debug)]
pub struct OnRuntime<S> {
    store: Arc<S>,
    runtime: Handle,
}

impl<S: AsyncStore> OnRuntime<S> {
    /// Runs the calls of this store on this runtime.
    pub fn new(store: S, runtime: Handle) -> Self {
        let store = Arc::new(store);
        Self { store, runtime }
    }

    fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (tell, told) = mpsc::sync_channel(1);
        self.runtime.spawn(async move {
            // A caller whose thread is gone needs no answer.
            let _gone = tell.send(work.await);
        });
        told.recv()
            .unwrap_or_else(|gone| Err(StoreError(Box::new(gone))))
    }
}

impl<S: AsyncStore> Store for OnRuntime<S> {
    fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        let store = Arc::clone(&self.store);
        self.wait(async move { store.load(slot).await })
    }

    fn persist(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
    ) -> Result<Swap, StoreError> {
        self.persist_until(slot, expected, write, None)
    }

    fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        let (store, write) = (Arc::clone(&self.store), write.cloned());
        self.wait(async move {
            let write = write.as_ref();
            store.persist_until(slot, expected, write, expires).await
        })
    }
}

type Answered<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// [`AsyncStore`] behind a pointer.
trait Erased: Send + Sync {
    fn erased_load(&self, slot: Slot) -> Answered<'_, Option<Stored>>;

    fn erased_persist<'a>(
        &'a self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&'a Stored>,
        expires: Option<UnixMillis>,
    ) -> Answered<'a, Swap>;
}

impl<S: AsyncStore> Erased for S {
    fn erased_load(&self, slot: Slot) -> Answered<'_, Option<Stored>> {
        Box::pin(AsyncStore::load(self, slot))
    }

    fn erased_persist<'a>(
        &'a self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&'a Stored>,
        expires: Option<UnixMillis>,
    ) -> Answered<'a, Swap> {
        Box::pin(AsyncStore::persist_until(
            self, slot, expected, write, expires,
        ))
    }
}

/// Any store, of either kind, shared by its clones.
#[derive(Clone)]
pub struct SharedStore(Arc<dyn Erased>);

impl SharedStore {
    /// An asynchronous store.
    pub fn new(store: impl AsyncStore) -> Self {
        Self(Arc::new(store))
    }

    /// A blocking store, called on threads that may block.
    pub fn blocking(store: impl Store + Send + Sync + 'static) -> Self {
        Self::new(OnThreads::new(store))
    }
}

impl AsyncStore for SharedStore {
    async fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        self.0.erased_load(slot).await
    }

    async fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        let done = self.0.erased_persist(slot, expected, write, expires);
        done.await
    }
}

impl fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedStore")
    }
}

/// Carries the action out.
#[cfg(feature = "reqwest")]
pub(super) async fn load_from(store: &SharedStore, load: LoadSlot) -> Event {
    match store.load(load.slot()).await {
        Ok(found) => load.found(found),
        Err(_) => load.failed(),
    }
}

/// Carries the action out.
#[cfg(feature = "reqwest")]
pub(super) async fn persist_in(store: &SharedStore, persist: PersistSlot) -> Event {
    let (slot, expected) = (persist.slot(), persist.expected());
    let done = store.persist_until(slot, expected, persist.write(), persist.expires());
    match done.await {
        Ok(Swap::Done) => persist.done(),
        Ok(Swap::Conflict(current)) => persist.conflict(current),
        Err(_) => persist.failed(),
    }
}
