//! The stores pass the contract, and the contract rejects broken stores.

use mcp_auth_client::{FileStore, MemoryStore, Store, Swap, contract};
use mcp_auth_machine::slot::{Revision, Slot, SlotContents, Stored};
use mcp_auth_machine::time::UnixMillis;

pub(super) fn slot() -> Slot {
    Slot::account("alice", "https://mcp.example/mcp")
}

pub(super) fn stored(text: &str) -> Stored {
    // A store accepts any 16 bytes.
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

/// Tests one caller at a time, and concurrent ones through two handles.
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
    // Another process reads the same.
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
}

/// A file that the store did not write is renamed: it is not in the way, and not overwritten.
#[test]
fn a_damaged_file_is_set_aside() {
    for damage in [&b"garbage"[..], b"", &[0xff, 0xfe]] {
        let directory = tempfile::tempdir().unwrap();
        let store = FileStore::open(directory.path()).unwrap();
        swap(&store, None, Some(&stored("whole")));
        let path = directory.path().join(slot().to_string());
        std::fs::write(&path, damage).unwrap();
        assert_eq!(store.load(slot()).unwrap(), None);
        let [aside] = store.damaged().try_into().unwrap();
        assert_eq!(std::fs::read(&aside).unwrap(), damage);
        std::fs::write(&path, damage).unwrap();
        swap(&store, None, Some(&stored("new")));
        assert_eq!(store.load(slot()).unwrap(), Some(stored("new")));
        assert_eq!(std::fs::read(&aside).unwrap(), damage);
    }
}

/// A pending authorization of a user, with a revision of its own.
pub(super) fn pending(name: &str) -> Slot {
    Slot::sign_ins(name, "https://mcp.example/mcp")
}

pub(super) fn put(store: &impl Store, name: &str, expires: Option<UnixMillis>) {
    let swap = store.persist_until(pending(name), None, Some(&stored(name)), expires);
    assert!(matches!(swap, Ok(Swap::Done)), "{name}");
}

/// The times before and after which nothing of these tests happens.
pub(super) const PAST: Option<UnixMillis> = Some(UnixMillis(1));
pub(super) const FUTURE: Option<UnixMillis> = Some(UnixMillis(u64::MAX));

/// Makes a file a day old.
pub(super) fn age(path: &std::path::Path) {
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(90_000);
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(long_ago).unwrap();
}

/// SEC-31: a sign-in that was abandoned leaves no secret behind, and one under way is left alone. The records of an
/// earlier version, without an expiry, and damaged ones go after a day.
#[test]
fn sec_31_records_of_abandoned_sign_ins_are_swept() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    let path = |name: &str| directory.path().join(pending(name).to_string());
    put(&store, "abandoned", PAST);
    put(&store, "open", FUTURE);
    put(&store, "young", None);
    put(&store, "old", None);
    let damaged = directory.path().join("pending/x.damaged");
    std::fs::write(&damaged, "secret").unwrap();
    for name in ["abandoned", "open", "old"] {
        age(&path(name));
    }
    age(&damaged);
    put(&store, "clocked", PAST);
    // The store has swept when it was opened; the next sweep is that of another process.
    assert!(path("abandoned").exists());
    assert_eq!(
        store.load(pending("open")).unwrap(),
        Some(stored("open")),
        "the expiry belongs to no contents"
    );
    let store = FileStore::open(directory.path()).unwrap();
    assert!(!path("abandoned").exists() && !path("old").exists() && !damaged.exists());
    for kept in ["open", "young", "clocked"] {
        assert_eq!(store.load(pending(kept)).unwrap(), Some(stored(kept)));
    }
}

/// Waiting for a lock has a limit, and the error names the process.
#[test]
fn a_lock_of_another_process_is_waited_for_with_a_limit() {
    let directory = tempfile::tempdir().unwrap();
    let patience = std::time::Duration::from_millis(50);
    let store = FileStore::open(directory.path())
        .unwrap()
        .patience(patience);
    let lock = std::fs::File::options()
        .write(true)
        .open(directory.path().join("lock"))
        .unwrap();
    lock.lock().unwrap();
    assert_eq!(store.load(slot()).unwrap(), None);
    let failed = store
        .persist(slot(), None, Some(&stored("new")))
        .unwrap_err()
        .to_string();
    assert!(failed.contains("is locked by"), "{failed}");
    if cfg!(target_os = "linux") {
        assert!(failed.contains(&std::process::id().to_string()), "{failed}");
    }
    drop(lock);
    swap(&store, None, Some(&stored("new")));
}

#[cfg(feature = "async-store")]
mod asynchronous;
mod broken;
#[cfg(feature = "keyring")]
mod keyring;
mod sealed;
