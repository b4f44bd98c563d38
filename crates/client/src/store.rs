//! Slot stores.

use std::sync::Arc;

#[cfg(any(feature = "ureq", feature = "reqwest"))]
use mcp_auth_machine::Event;
#[cfg(any(feature = "ureq", feature = "reqwest"))]
use mcp_auth_machine::action::{LoadSlot, PersistSlot};
use mcp_auth_machine::slot::{Revision, Slot, Stored};
use mcp_auth_machine::time::UnixMillis;

/// A store of slots with compare-and-swap. Its contents are secret (SEC-31).
///
/// [`contract`](super::contract) tests an implementation.
pub trait Store {
    /// Returns the contents of a slot; `None`: the slot is empty.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError>;

    /// Writes or clears a slot if it still holds `expected`. The write must be durable when this returns
    /// [`Swap::Done`]. The store should drop the contents after `expires`, and must not before: a sign-in that
    /// was abandoned leaves a record with secrets, which no later event of the machine clears.
    ///
    /// # Errors
    /// [`StoreError`] when the write failed, or its result is unknown.
    fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError>;

    /// Same as [`Store::persist_until`], for contents without an expiry.
    ///
    /// # Errors
    /// Those of [`Store::persist_until`].
    fn persist(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
    ) -> Result<Swap, StoreError> {
        self.persist_until(slot, expected, write, None)
    }
}

/// The result of a compare-and-swap.
#[derive(Debug)]
pub enum Swap {
    /// The write is durable.
    Done,
    /// The slot has another revision, with these contents.
    Conflict(Option<Stored>),
}

/// The error when the store could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the store failed: {0}")]
pub struct StoreError(pub Box<dyn std::error::Error + Send + Sync>);

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        Self(Box::new(error))
    }
}

/// The error inside a [`StoreError`] when the store did not answer in time. The result of a write is unknown then.
#[cfg(feature = "async-store")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store did not answer within {limit:?}")]
pub struct StoreTimedOut {
    /// The time limit.
    pub limit: std::time::Duration,
}

impl StoreError {
    /// Returns true if the store did not answer in time.
    #[cfg(feature = "async-store")]
    pub fn is_timed_out(&self) -> bool {
        self.0.is::<StoreTimedOut>()
    }
}

/// Wraps the error of an engine.
#[cfg(any(feature = "async-store", feature = "redis"))]
pub(super) fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError(error.into())
}

macro_rules! through {
    ($($pointer:ident),*) => {$(
        impl<S: Store + ?Sized> Store for $pointer<S> {
            fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
                (**self).load(slot)
            }

            fn persist_until(
                &self,
                slot: Slot,
                expected: Option<Revision>,
                write: Option<&Stored>,
                expires: Option<UnixMillis>,
            ) -> Result<Swap, StoreError> {
                (**self).persist_until(slot, expected, write, expires)
            }
        }
    )*};
}

through!(Arc, Box);

/// The event for the machine, and the error of the store that it stands for.
#[cfg(any(feature = "ureq", feature = "reqwest"))]
pub(super) type Answered = (Event, Option<StoreError>);

/// Performs the action.
#[cfg(feature = "ureq")]
pub(super) fn load_from(store: &impl Store, load: LoadSlot) -> Answered {
    let found = store.load(load.slot());
    loaded(load, found)
}

/// Answers the action.
#[cfg(any(feature = "ureq", feature = "reqwest"))]
pub(super) fn loaded(load: LoadSlot, found: Result<Option<Stored>, StoreError>) -> Answered {
    match found {
        Ok(found) => (load.found(found), None),
        Err(error) => (load.failed(), Some(error)),
    }
}

/// Performs the action.
#[cfg(feature = "ureq")]
pub(super) fn persist_in(store: &impl Store, persist: PersistSlot) -> Answered {
    let (slot, expected) = (persist.slot(), persist.expected());
    let swap = store.persist_until(slot, expected, persist.write(), persist.expires());
    persisted(persist, swap)
}

/// Answers the action.
#[cfg(any(feature = "ureq", feature = "reqwest"))]
pub(super) fn persisted(persist: PersistSlot, swap: Result<Swap, StoreError>) -> Answered {
    match swap {
        Ok(Swap::Done) => (persist.done(), None),
        Ok(Swap::Conflict(current)) => (persist.conflict(current), None),
        Err(error) => (persist.failed(), Some(error)),
    }
}
