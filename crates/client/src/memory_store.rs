//! A store in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::expiry;
use super::store::{Store, StoreError, Swap};
use mcp_auth_machine::slot::{Revision, Slot, Stored};
use mcp_auth_machine::time::UnixMillis;

/// A store in memory, shared by its clones. Its contents are lost at the end of the process. Each write drops the
/// contents that have expired.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Slots>>);

#[derive(Debug)]
struct Held {
    stored: Stored,
    expires: Option<UnixMillis>,
    written: Instant,
}

#[derive(Debug, Default)]
struct Slots {
    held: BTreeMap<Slot, Held>,
    /// The slots with an expiry, the earliest first.
    ends: BTreeSet<(UnixMillis, Slot)>,
}

impl Slots {
    fn drop_expired(&mut self, now: UnixMillis) {
        let past = self.ends.iter().take_while(|(end, _)| *end < now);
        let is_old = |slot: &Slot| {
            let held = self.held.get(slot);
            held.is_none_or(|held| held.written.elapsed() > expiry::KEPT)
        };
        let over: Vec<_> = past.filter(|(_, slot)| is_old(slot)).copied().collect();
        for end in over {
            self.ends.remove(&end);
            self.held.remove(&end.1);
        }
    }

    fn replace(&mut self, slot: Slot, write: Option<(Stored, Option<UnixMillis>)>) {
        let end = write.as_ref().and_then(|(_, end)| *end);
        let former = match write {
            Some((stored, expires)) => {
                let written = Instant::now();
                let held = Held {
                    stored,
                    expires,
                    written,
                };
                self.held.insert(slot, held)
            }
            None => self.held.remove(&slot),
        };
        if let Some(former) = former.and_then(|former| former.expires) {
            self.ends.remove(&(former, slot));
        }
        self.ends.extend(end.map(|end| (end, slot)));
    }
}

impl Store for MemoryStore {
    fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        let slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(slots.held.get(&slot).map(|held| held.stored.clone()))
    }

    fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.drop_expired(expiry::now());
        let current = slots.held.get(&slot).map(|held| &held.stored);
        if current.map(|stored| stored.revision) != expected {
            return Ok(Swap::Conflict(current.cloned()));
        }
        slots.replace(slot, write.map(|stored| (stored.clone(), expires)));
        Ok(Swap::Done)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// SEC-31: what has expired is gone with the next write of any slot, and an entry that was written again
    /// keeps its later end.
    #[test]
    fn expired_contents_are_dropped_by_the_next_write() {
        let store = MemoryStore::default();
        let text = |text: &str| Stored {
            revision: Revision::of(text.as_bytes()),
            contents: mcp_auth_machine::slot::SlotContents::new(text),
        };
        let (one, two) = (text("one"), text("two"));
        let slot = |name: &str| Slot::account(name, "https://mcp.example/mcp");
        let (past, future) = (Some(UnixMillis(1)), Some(UnixMillis(u64::MAX)));
        let put = |name: &str, expected: Option<&Stored>, write: Option<&Stored>, end| {
            let expected = expected.map(|stored| stored.revision);
            store
                .persist_until(slot(name), expected, write, end)
                .unwrap()
        };
        put("abandoned", None, Some(&one), past);
        put("young", None, Some(&one), past);
        {
            let mut slots = store.0.lock().unwrap();
            let abandoned = slots.held.get_mut(&slot("abandoned")).unwrap();
            abandoned.written -= expiry::KEPT * 2;
        }
        put("open", None, Some(&one), future);
        put("open", Some(&one), Some(&two), future);
        assert_eq!(store.load(slot("abandoned")).unwrap(), None);
        assert_eq!(store.load(slot("open")).unwrap().as_ref(), Some(&two));
        assert_eq!(store.load(slot("young")).unwrap().as_ref(), Some(&one));
        let slots = store.0.lock().unwrap();
        assert_eq!((slots.held.len(), slots.ends.len()), (2, 2));
    }
}
