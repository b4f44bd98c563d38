//! The stores keep the contract, and the contract notices stores that do not.

use mcp_auth_client::{FileStore, MemoryStore, Store, Swap, contract};
use mcp_auth_machine::slot::{Revision, Slot, SlotContents, Stored};

pub(super) fn slot() -> Slot {
    Slot::account("alice", "https://mcp.example/mcp")
}

pub(super) fn stored(text: &str) -> Stored {
    // Any 16 bytes will do for a store.
    let mut revision = [b'A'; 22];
    for (place, byte) in revision.iter_mut().take(20).zip(text.bytes()) {
        *place = byte;
    }
    Stored {
        revision: std::str::from_utf8(&revision).unwrap().parse().unwrap(),
        contents: SlotContents::new(format!("{text}\nwith a second line, and é")),
    }
}

pub(super) fn swap(store: &impl Store, expected: Option<Revision>, write: Option<&Stored>) -> Swap {
    store.persist(slot(), expected, write).unwrap()
}

/// For one caller at a time, and for many through two handles.
pub(super) fn keeps_the_contract<S: Store + Clone + Sync>(store: &S) {
    contract::check(store).unwrap();
    contract::check_races(&[store.clone(), store.clone()]).unwrap();
}

#[test]
fn the_memory_store() {
    keeps_the_contract(&MemoryStore::default());
}

#[test]
fn sec_31_the_file_store() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path().join("deep/down")).unwrap();
    keeps_the_contract(&store);
    swap(&store, None, Some(&stored("kept")));
    // Another process finds the same.
    let other = FileStore::open(directory.path().join("deep/down")).unwrap();
    assert_eq!(other.load(slot()).unwrap(), Some(stored("kept")));
    contract::check_races(&[store, other]).unwrap();
}

#[cfg(unix)]
#[test]
fn sec_31_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("store");
    let store = FileStore::open(&root).unwrap();
    swap(&store, None, Some(&stored("secret")));
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&root), 0o700);
    assert_eq!(mode(&root.join("account")), 0o700);
    assert_eq!(mode(&root.join(slot().to_string())), 0o600);
    assert_eq!(mode(&root.join("lock")), 0o600);
}

#[test]
fn a_process_that_died_while_it_wrote_leaves_the_old_contents() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    swap(&store, None, Some(&stored("whole")));
    let half = directory.path().join("account/.writing-half");
    std::fs::write(&half, "hal").unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    assert!(!half.exists());
    assert_eq!(store.load(slot()).unwrap(), Some(stored("whole")));
    // What is no slot is an error, not an absence: nothing is overwritten by mistake.
    std::fs::write(directory.path().join(slot().to_string()), "garbage").unwrap();
    store.load(slot()).unwrap_err();
    store
        .persist(slot(), None, Some(&stored("new")))
        .unwrap_err();
}

mod broken;
#[cfg(feature = "keyring")]
mod keyring;
mod sealed;
