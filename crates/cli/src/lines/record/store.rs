//! A store that records its results.

use mcp_auth_client::{Store, StoreError, Swap};
use mcp_auth_machine::slot::{Revision, Slot, Stored};
use mcp_auth_machine::time::UnixMillis;

use super::Recorder;
use super::tape::Happened;

pub(super) struct Watched<S> {
    store: S,
    recorder: Recorder,
}

impl<S> Watched<S> {
    pub(super) fn new(store: S, recorder: Recorder) -> Self {
        Self { store, recorder }
    }
}

impl<S: Store> Store for Watched<S> {
    fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        let answer = self.store.load(slot);
        self.recorder.say(match &answer {
            Ok(found) => Happened::Loaded(slot.kind(), found.clone()),
            Err(_) => Happened::LoadFailed,
        });
        answer
    }

    fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        let answer = self.store.persist_until(slot, expected, write, expires);
        self.recorder.say(match &answer {
            Ok(Swap::Done) => Happened::Persisted,
            Ok(Swap::Conflict(current)) => Happened::Conflict(slot.kind(), current.clone()),
            Err(_) => Happened::PersistFailed,
        });
        answer
    }
}
