//! Asynchronous slot stores, and adapters to and from blocking ones.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::{spawn_blocking, unconstrained};
use tokio::time::sleep;

use super::memory_store::MemoryStore;
#[cfg(feature = "reqwest")]
use super::meter::Waits;
#[cfg(feature = "reqwest")]
use super::store::{Answered as Done, loaded, persisted};
use super::store::{Store, StoreError, StoreTimedOut, Swap, failed};
#[cfg(feature = "reqwest")]
use mcp_auth_machine::action::{LoadSlot, PersistSlot};
use mcp_auth_machine::budget::SLOT_TIME;
use mcp_auth_machine::slot::{Revision, Slot, Stored};
use mcp_auth_machine::time::UnixMillis;

/// A store of slots with compare-and-swap, for engines with an asynchronous client. The rules are those of
/// [`Store`]; [`contract::check_async`](super::contract::check_async) tests them.
///
/// [`OnThreads`] adapts a [`Store`], [`OnRuntime`] adapts an [`AsyncStore`] to a [`Store`], and
/// [`SharedStore`] holds either.
pub trait AsyncStore: Send + Sync + 'static {
    /// Returns the contents of a slot; `None`: the slot is empty.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn load(&self, slot: Slot) -> impl Future<Output = Result<Option<Stored>, StoreError>> + Send;

    /// Writes or clears a slot if it still holds `expected`. The write must be durable when this returns
    /// [`Swap::Done`]. A store may drop the contents after `expires`.
    ///
    /// # Errors
    /// [`StoreError`] when the write failed, or its result is unknown.
    fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> impl Future<Output = Result<Swap, StoreError>> + Send;
}

/// Memory never blocks, so no thread is needed.
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

/// An adapter for a blocking store, which runs on the blocking threads of `tokio`.
#[derive(Debug)]
pub struct OnThreads<S>(Arc<S>);

impl<S: Store + Send + Sync + 'static> OnThreads<S> {
    /// Creates an adapter for this store.
    pub fn new(store: S) -> Self {
        Self(Arc::new(store))
    }
}

impl<S: Store + Send + Sync + 'static> AsyncStore for OnThreads<S> {
    async fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        let store = Arc::clone(&self.0);
        let loaded = spawn_blocking(move || store.load(slot)).await;
        loaded.unwrap_or_else(|gone| Err(failed(gone)))
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
        done.unwrap_or_else(|gone| Err(failed(gone)))
    }
}

/// An adapter for blocking callers of an asynchronous store: each call runs on a runtime while the caller's
/// thread waits. Do not call it on a thread that the runtime needs to make progress.
#[derive(Debug)]
pub struct OnRuntime<S> {
    store: Arc<S>,
    runtime: Handle,
}

impl<S: AsyncStore> OnRuntime<S> {
    /// Creates an adapter that runs this store's calls on this runtime.
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
            // The caller's thread may have ended.
            let _gone = tell.send(work.await);
        });
        told.recv().unwrap_or_else(|gone| Err(failed(gone)))
    }
}

impl<S: AsyncStore> Store for OnRuntime<S> {
    fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        let store = Arc::clone(&self.store);
        self.wait(async move { store.load(slot).await })
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

/// The object-safe form of [`AsyncStore`].
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

/// The time limit of each call of an asynchronous store.
const LIMIT: Duration = Duration::from_secs(10);

/// How many calls are under way at once, unless set.
const AT_ONCE: usize = 128;

/// A store of either kind, shared by its clones.
///
/// Each call has a time limit, whatever the store does: a store that hangs is one that fails. Calls beyond a number wait
/// for their turn before their time begins, so that a burst does not make a store fail that merely has much to do.
#[derive(Clone)]
pub struct SharedStore {
    store: Arc<dyn Erased>,
    limit: Duration,
    turns: Arc<Semaphore>,
}

impl SharedStore {
    /// Creates a shared store from an asynchronous store. The time limit of a call is ten seconds.
    pub fn new(store: impl AsyncStore) -> Self {
        Self {
            store: Arc::new(store),
            limit: LIMIT,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Creates a shared store from a blocking store, which runs on blocking threads. The time limit of a call is that of the
    /// machine, because a keyring may ask its user.
    pub fn blocking(store: impl Store + Send + Sync + 'static) -> Self {
        Self::new(OnThreads::new(store)).time_limit(SLOT_TIME)
    }

    /// Sets the time limit of each call. After it the call fails with [`StoreTimedOut`](super::StoreTimedOut), and the
    /// result of a write is unknown. The machine waits 30 seconds at most.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Sets how many calls are under way at once: 128 unless set. A call waits for its turn for 30 seconds at most.
    #[must_use]
    pub fn at_once(mut self, most: usize) -> Self {
        self.turns = Arc::new(Semaphore::new(most.max(1)));
        self
    }

    /// Makes a call when it is its turn, and ends it at its time limit.
    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let _turn = match self.turns.try_acquire() {
            Ok(turn) => turn,
            // On the heap, as few calls wait: the futures of all of them stay small.
            Err(_) => Box::pin(self.turn()).await?,
        };
        in_time(self.limit, call).await
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        #[cfg(feature = "reqwest")]
        let waits = Waits::begin();
        let turn = async { self.turns.acquire().await.map_err(failed) };
        let turn = in_time(SLOT_TIME, turn).await?;
        #[cfg(feature = "reqwest")]
        waits.end("store");
        Ok(turn)
    }
}

#[cfg(feature = "reqwest")]
fn outcome(error: &StoreError) -> &'static str {
    if error.is_timed_out() {
        "timed_out"
    } else {
        "failed"
    }
}

/// Ends a call at its time limit. One that is answered at once has no timer.
pub(super) async fn in_time<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let mut call = pin!(call);
    let mut timer = pin!(None);
    poll_fn(|context| {
        if let Poll::Ready(done) = call.as_mut().poll(context) {
            return Poll::Ready(done);
        }
        if timer.is_none() {
            // A call that uses up the budget of its task must not keep its timer from being seen.
            timer.set(Some(unconstrained(sleep(limit))));
        }
        match timer.as_mut().as_pin_mut().map(|timer| timer.poll(context)) {
            Some(Poll::Ready(())) => Poll::Ready(Err(failed(StoreTimedOut { limit }))),
            Some(Poll::Pending) | None => Poll::Pending,
        }
    })
    .await
}

impl AsyncStore for SharedStore {
    async fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        #[cfg(feature = "reqwest")]
        let waits = Waits::begin();
        let found = self.call(self.store.erased_load(slot)).await;
        #[cfg(feature = "reqwest")]
        waits.stored(
            "load",
            match &found {
                Ok(_) => "success",
                Err(error) => outcome(error),
            },
        );
        found
    }

    async fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        let done = self.store.erased_persist(slot, expected, write, expires);
        #[cfg(feature = "reqwest")]
        let waits = Waits::begin();
        let done = self.call(done).await;
        #[cfg(feature = "reqwest")]
        waits.stored(
            "persist",
            match &done {
                Ok(Swap::Done) => "success",
                Ok(Swap::Conflict(_)) => "conflict",
                Err(error) => outcome(error),
            },
        );
        done
    }
}

impl fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedStore")
    }
}

/// How long a read that failed waits until it is repeated, each time. A write is not repeated, since its result is
/// unknown.
#[cfg(feature = "reqwest")]
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(250)];

/// Reads a slot, again where the connection has just broken: a restart or a failover of the store fails no reader.
#[cfg(feature = "reqwest")]
pub(super) async fn read_from(
    store: &SharedStore,
    slot: Slot,
) -> Result<Option<Stored>, StoreError> {
    for pause in PAUSES {
        match store.load(slot).await {
            Err(error) if !error.is_timed_out() => tokio::time::sleep(pause).await,
            other => return other,
        }
    }
    store.load(slot).await
}

/// Performs the action.
#[cfg(feature = "reqwest")]
pub(super) async fn load_from(store: &SharedStore, load: LoadSlot) -> Done {
    let found = read_from(store, load.slot()).await;
    loaded(load, found)
}

/// Performs the action.
#[cfg(feature = "reqwest")]
pub(super) async fn persist_in(store: &SharedStore, persist: PersistSlot) -> Done {
    let (slot, expected) = (persist.slot(), persist.expected());
    let swap = store.persist_until(slot, expected, persist.write(), persist.expires());
    let swap = swap.await;
    persisted(persist, swap)
}
