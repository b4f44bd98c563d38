//! Encryption of a store's contents.

use std::fmt;
use std::sync::Arc;

#[cfg(feature = "async-store")]
use super::async_store::AsyncStore;
use super::store::{Store, StoreError, Swap};
use mcp_auth_machine::slot::{Revision, Slot, SlotContents, Stored};
use mcp_auth_machine::time::UnixMillis;

/// The error of a [`Seal`].
pub type SealError = Box<dyn std::error::Error + Send + Sync>;

/// Encrypts contents with a key of the host. Authenticate the slot as associated data, so that contents
/// cannot be moved to another slot (SEC-31).
pub trait Seal {
    /// Returns the sealed contents to store, as text.
    ///
    /// # Errors
    /// When no key is available; the slot is not written then.
    fn seal(&self, slot: Slot, contents: &str) -> Result<String, SealError>;

    /// Returns the contents of a sealed text, which may have been sealed with an older key.
    ///
    /// # Errors
    /// When the text was sealed with an unknown key or for another slot. The slot then counts as
    /// unreadable, and is not overwritten.
    fn open(&self, slot: Slot, sealed: &str) -> Result<SlotContents, SealError>;
}

impl<K: Seal + ?Sized> Seal for Arc<K> {
    fn seal(&self, slot: Slot, contents: &str) -> Result<String, SealError> {
        (**self).seal(slot, contents)
    }

    fn open(&self, slot: Slot, sealed: &str) -> Result<SlotContents, SealError> {
        (**self).open(slot, sealed)
    }
}

/// A store with sealed contents, metadata slots included. Revisions are stored unchanged: a revision
/// reveals nothing without the contents.
#[derive(Clone, Copy, Default)]
pub struct Sealed<S, K> {
    store: S,
    seal: K,
}

impl<S, K: Seal> Sealed<S, K> {
    /// Creates a store that seals everything it writes to `store`.
    pub fn new(store: S, seal: K) -> Self {
        Self { store, seal }
    }

    fn opened(&self, slot: Slot, stored: Option<Stored>) -> Result<Option<Stored>, StoreError> {
        stored
            .map(|stored| {
                let contents = self.seal.open(slot, stored.contents.expose());
                Ok(Stored {
                    contents: contents.map_err(StoreError)?,
                    revision: stored.revision,
                })
            })
            .transpose()
    }

    fn closed(&self, slot: Slot, write: Option<&Stored>) -> Result<Option<Stored>, StoreError> {
        write
            .map(|stored| {
                let sealed = self.seal.seal(slot, stored.contents.expose());
                Ok(Stored {
                    contents: SlotContents::new(sealed.map_err(StoreError)?),
                    revision: stored.revision,
                })
            })
            .transpose()
    }

    fn told(&self, slot: Slot, swap: Swap) -> Result<Swap, StoreError> {
        match swap {
            Swap::Done => Ok(Swap::Done),
            Swap::Conflict(current) => Ok(Swap::Conflict(self.opened(slot, current)?)),
        }
    }
}

impl<S: Store, K: Seal> Store for Sealed<S, K> {
    fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        self.opened(slot, self.store.load(slot)?)
    }

    fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        let sealed = self.closed(slot, write)?;
        let swap = self
            .store
            .persist_until(slot, expected, sealed.as_ref(), expires)?;
        self.told(slot, swap)
    }
}

#[cfg(feature = "async-store")]
impl<S: AsyncStore, K: Seal + Send + Sync + 'static> AsyncStore for Sealed<S, K> {
    async fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        self.opened(slot, self.store.load(slot).await?)
    }

    async fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        let sealed = self.closed(slot, write)?;
        let done = self
            .store
            .persist_until(slot, expected, sealed.as_ref(), expires);
        self.told(slot, done.await?)
    }
}

impl<S: fmt::Debug, K> fmt::Debug for Sealed<S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
