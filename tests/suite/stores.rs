//! The contract of every store: compare-and-swap, for one and for many at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use mcp_auth_machine::driver::{FileStore, MemoryStore, Store, Swap};
use mcp_auth_machine::slot::{Revision, Slot, SlotContents, Stored};

fn slot() -> Slot {
    Slot::account("alice", "https://mcp.example/mcp")
}

fn stored(text: &str) -> Stored {
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

fn swap(store: &impl Store, expected: Option<Revision>, write: Option<&Stored>) -> Swap {
    store.persist(slot(), expected, write).unwrap()
}

/// What every store has to do.
fn keeps_the_contract(store: &impl Store) {
    let (first, second) = (stored("first"), stored("second"));
    assert_eq!(store.load(slot()).unwrap(), None);
    // An empty slot is not replaced by mistake.
    let wrong = swap(store, Some(first.revision), Some(&second));
    assert!(matches!(wrong, Swap::Conflict(None)), "{wrong:?}");
    assert!(matches!(swap(store, None, Some(&first)), Swap::Done));
    assert_eq!(store.load(slot()).unwrap().as_ref(), Some(&first));
    // A full one neither; the current contents are told.
    let wrong = swap(store, None, Some(&second));
    assert!(matches!(&wrong, Swap::Conflict(Some(current)) if *current == first));
    assert!(matches!(
        swap(store, Some(first.revision), Some(&second)),
        Swap::Done
    ));
    let wrong = swap(store, Some(first.revision), None);
    assert!(matches!(&wrong, Swap::Conflict(Some(current)) if *current == second));
    // Other slots are other slots.
    assert_eq!(
        store
            .load(Slot::account("bob", "https://mcp.example/mcp"))
            .unwrap(),
        None
    );
    assert!(matches!(
        swap(store, Some(second.revision), None),
        Swap::Done
    ));
    assert_eq!(store.load(slot()).unwrap(), None);
    assert!(matches!(swap(store, None, None), Swap::Done));
}

/// Of many that replace the same revision, one does.
fn has_one_winner<S: Store + Clone + Send>(store: &S) {
    let base = stored("base");
    assert!(matches!(swap(store, None, Some(&base)), Swap::Done));
    for round in 0..20 {
        let expected = store.load(slot()).unwrap().unwrap().revision;
        let won = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for number in 0..8 {
                let (store, won) = (store.clone(), &won);
                scope.spawn(move || {
                    let mine = stored(&format!("round{round}number{number}"));
                    if matches!(swap(&store, Some(expected), Some(&mine)), Swap::Done) {
                        won.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(won.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn the_memory_store() {
    keeps_the_contract(&MemoryStore::default());
    has_one_winner(&MemoryStore::default());
}

#[test]
fn sec_31_the_file_store() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path().join("deep/down")).unwrap();
    keeps_the_contract(&store);
    has_one_winner(&store);
    // Another process finds the same.
    let found = store.load(slot()).unwrap();
    assert!(found.is_some());
    let other = FileStore::open(directory.path().join("deep/down")).unwrap();
    assert_eq!(other.load(slot()).unwrap(), found);
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
