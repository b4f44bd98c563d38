//! Contents that the store cannot read.

use std::sync::{Arc, Mutex};

use mcp_auth_client::{
    FileStore, MemoryStore, OnThreads, Seal, SealError, Sealed, Store, StoreError, Swap,
};
use mcp_auth_machine::slot::{Revision, Slot, SlotContents, Stored};
use mcp_auth_machine::time::UnixMillis;

use super::{keeps_the_contract, slot, stored, swap};

/// No encryption: the slot, and each byte shifted by a number.
#[derive(Clone, Copy)]
pub(super) struct Turn(pub(super) u8);

impl Seal for Turn {
    fn seal(&self, slot: Slot, contents: &str) -> Result<String, SealError> {
        let turned = contents.bytes().map(|byte| byte.wrapping_add(self.0));
        let hex: String = turned.map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("{slot} {} {hex}", self.0))
    }

    fn open(&self, slot: Slot, sealed: &str) -> Result<SlotContents, SealError> {
        let hex = sealed
            .strip_prefix(&format!("{slot} {} ", self.0))
            .ok_or("not sealed for this slot with this key")?;
        let bytes: Result<Vec<u8>, _> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16))
            .collect();
        let bytes = bytes?.into_iter().map(|byte| byte.wrapping_sub(self.0));
        Ok(SlotContents::new(String::from_utf8(bytes.collect())?))
    }
}

/// A key that is unavailable.
struct Gone;

impl Seal for Gone {
    fn seal(&self, _: Slot, _: &str) -> Result<String, SealError> {
        Err("the key service is gone".into())
    }

    fn open(&self, _: Slot, _: &str) -> Result<SlotContents, SealError> {
        Err("the key service is gone".into())
    }
}

#[test]
fn a_sealed_store_keeps_the_contract() {
    keeps_the_contract(&Sealed::new(MemoryStore::default(), Turn(3)));
    let directory = tempfile::tempdir().unwrap();
    let files = FileStore::open(directory.path()).unwrap();
    keeps_the_contract(&Arc::new(Sealed::new(files, Arc::new(Turn(3)))));
}

/// The end of a record, which the store below needs to drop what was abandoned.
#[derive(Clone, Default)]
struct Ends(MemoryStore, Arc<Mutex<Vec<Option<UnixMillis>>>>);

impl Store for Ends {
    fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        Store::load(&self.0, slot)
    }

    fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        self.1.lock().unwrap().push(expires);
        Store::persist(&self.0, slot, expected, write)
    }
}

#[tokio::test]
async fn a_sealed_record_keeps_its_end() {
    let below = Ends::default();
    let sealed = Sealed::new(below.clone(), Turn(3));
    let end = Some(UnixMillis(7));
    let record = stored("secret");
    let written = Store::persist_until(&sealed, slot(), None, Some(&record), end);
    assert!(matches!(written, Ok(Swap::Done)));
    let sealed = Sealed::new(OnThreads::new(below.clone()), Turn(3));
    let revision = Some(record.revision);
    let written =
        mcp_auth_client::AsyncStore::persist_until(&sealed, slot(), revision, Some(&record), end)
            .await;
    assert!(matches!(written, Ok(Swap::Done)));
    assert_eq!(*below.1.lock().unwrap(), [end, end]);
}

#[test]
fn sec_31_what_is_sealed_cannot_be_read_below() {
    let directory = tempfile::tempdir().unwrap();
    let files = FileStore::open(directory.path()).unwrap();
    let store = Sealed::new(files.clone(), Turn(3));
    swap(&store, None, Some(&stored("secret")));
    let below = files.load(slot()).unwrap().unwrap();
    assert!(!below.contents.expose().contains("secret"));
    assert_eq!(below.revision, stored("secret").revision);
    assert_eq!(store.load(slot()).unwrap(), Some(stored("secret")));
    assert!(!format!("{store:?}").contains("Turn"));

    // Another key, another slot, and unsealed contents are errors, and nothing is overwritten.
    let other = Sealed::new(files.clone(), Turn(4));
    other.load(slot()).unwrap_err();
    other
        .persist(slot(), None, Some(&stored("new")))
        .unwrap_err();
    let bob = Slot::account("bob", "https://mcp.example/mcp");
    let moved = files.persist(bob, None, Some(&below)).unwrap();
    assert!(matches!(moved, Swap::Done));
    store.load(bob).unwrap_err();
    assert_eq!(files.load(slot()).unwrap(), Some(below));
}

#[test]
fn without_a_key_nothing_is_stored() {
    let memory = MemoryStore::default();
    let store = Sealed::new(memory.clone(), Gone);
    let failed = store.persist(slot(), None, Some(&stored("secret")));
    let failed = failed.unwrap_err().to_string();
    assert_eq!(failed, "the store failed: the key service is gone");
    assert_eq!(memory.load(slot()).unwrap(), None);
    // An erasure needs no key.
    swap(&memory, None, Some(&stored("secret")));
    let revision = stored("secret").revision;
    assert!(matches!(swap(&store, Some(revision), None), Swap::Done));
}
