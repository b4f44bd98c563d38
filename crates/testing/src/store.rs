//! A store in memory that fails and is slow when a test wants it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcp_auth_machine::Event;
use mcp_auth_machine::action::{LoadSlot, PersistSlot};
use mcp_auth_machine::slot::{Revision, Slot, Stored};

use super::lock;

/// A store in memory for [`TestHost`](super::TestHost), for the contract of drivers and for the drivers of
/// `mcp-auth-client`. Clones share it: give one to another host for a restart, or for a second process.
#[derive(Clone, Default)]
pub struct TestStore(Arc<Mutex<Slots>>);

type See = Arc<dyn Fn(&str) + Send + Sync>;

#[derive(Default)]
struct Slots {
    slots: BTreeMap<Slot, Stored>,
    loads_fail: bool,
    writes_fail: bool,
    slow: Duration,
    see: Option<See>,
}

/// The error of a store that fails because the test wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreFails;

impl fmt::Display for StoreFails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store of the test fails")
    }
}

impl std::error::Error for StoreFails {}

/// The result of [`TestStore::swap`].
#[derive(Debug)]
pub enum Swapped {
    /// The write is done.
    Done,
    /// The slot has another revision, with these contents.
    Conflict(Option<Stored>),
}

impl TestStore {
    /// Creates an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes loads fail from now on, or succeed again.
    pub fn loads_fail(&self, fail: bool) {
        lock(&self.0).loads_fail = fail;
    }

    /// Makes writes fail from now on, or succeed again.
    pub fn writes_fail(&self, fail: bool) {
        lock(&self.0).writes_fail = fail;
    }

    /// Makes every write take this long.
    pub fn slow(&self, time: Duration) {
        lock(&self.0).slow = time;
    }

    /// Empties the store.
    pub fn clear(&self) {
        lock(&self.0).slots.clear();
    }

    /// Returns the names of the slots with contents.
    pub fn slots(&self) -> Vec<String> {
        let slots = lock(&self.0);
        slots.slots.keys().map(ToString::to_string).collect()
    }

    /// Calls this after each write, with `wrote` or `cleared` and the kind of the slot.
    pub(crate) fn observed(&self, see: impl Fn(&str) + Send + Sync + 'static) {
        lock(&self.0).see = Some(Arc::new(see));
    }

    /// Returns the contents of a slot.
    ///
    /// # Errors
    /// After [`loads_fail`](Self::loads_fail).
    pub fn get(&self, slot: Slot) -> Result<Option<Stored>, StoreFails> {
        let slots = lock(&self.0);
        if slots.loads_fail {
            return Err(StoreFails);
        }
        Ok(slots.slots.get(&slot).cloned())
    }

    /// Writes or clears a slot if it still has the expected revision.
    ///
    /// # Errors
    /// After [`writes_fail`](Self::writes_fail).
    pub fn swap(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
    ) -> Result<Swapped, StoreFails> {
        let slow = lock(&self.0).slow;
        if !slow.is_zero() {
            std::thread::sleep(slow);
        }
        let mut slots = lock(&self.0);
        if slots.writes_fail {
            return Err(StoreFails);
        }
        let current = slots.slots.get(&slot);
        if current.map(|stored| stored.revision) != expected {
            return Ok(Swapped::Conflict(current.cloned()));
        }
        let did = match write {
            Some(stored) => {
                slots.slots.insert(slot, stored.clone());
                "wrote"
            }
            None => {
                slots.slots.remove(&slot);
                "cleared"
            }
        };
        if let Some(see) = &slots.see {
            let name = slot.to_string();
            let kind = name.split('/').next().unwrap_or_default();
            see(&format!("{did} {kind}"));
        }
        Ok(Swapped::Done)
    }

    /// Performs the action.
    pub fn load(&self, load: LoadSlot) -> Event {
        match self.get(load.slot()) {
            Ok(found) => load.found(found),
            Err(StoreFails) => load.failed(),
        }
    }

    /// Performs the action.
    pub fn persist(&self, persist: PersistSlot) -> Event {
        match self.swap(persist.slot(), persist.expected(), persist.write()) {
            Ok(Swapped::Done) => persist.done(),
            Ok(Swapped::Conflict(current)) => persist.conflict(current),
            Err(StoreFails) => persist.failed(),
        }
    }
}

#[cfg(any(feature = "ureq", feature = "reqwest"))]
impl mcp_auth_client::Store for TestStore {
    fn load(&self, slot: Slot) -> Result<Option<Stored>, mcp_auth_client::StoreError> {
        let found = self.get(slot);
        found.map_err(|fails| mcp_auth_client::StoreError(Box::new(fails)))
    }

    /// Tests look at what is stored, so nothing expires.
    fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        _expires: Option<mcp_auth_machine::time::UnixMillis>,
    ) -> Result<mcp_auth_client::Swap, mcp_auth_client::StoreError> {
        match self.swap(slot, expected, write) {
            Ok(Swapped::Done) => Ok(mcp_auth_client::Swap::Done),
            Ok(Swapped::Conflict(current)) => Ok(mcp_auth_client::Swap::Conflict(current)),
            Err(fails) => Err(mcp_auth_client::StoreError(Box::new(fails))),
        }
    }
}

impl fmt::Debug for TestStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.slots()).finish()
    }
}
