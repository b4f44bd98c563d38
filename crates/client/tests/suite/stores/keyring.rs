//! The keyring store, on the mock credential store of `keyring-core`.

use std::any::Any;
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use keyring_core::api::{CredentialApi, CredentialStoreApi};
use keyring_core::{Credential, Entry, Error, mock};
use mcp_auth_client::{KeyringFlaw, KeyringStore, Store, Swap, contract};
use mcp_auth_machine::slot::{Revision, SlotContents, Stored};

use super::{FUTURE, PAST, age, keeps_the_contract, pending, slot, stored, swap};

const SERVICE: &str = "mcp tests";

/// Larger than two entries, with a two-byte character at every position.
const LARGE: usize = 35_000;

struct Desktop {
    keyring: Arc<mock::Store>,
    directory: tempfile::TempDir,
}

impl Desktop {
    fn new() -> Self {
        Self {
            keyring: mock::Store::new().unwrap(),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn store(&self) -> KeyringStore {
        KeyringStore::with_keyring(self.keyring.clone(), SERVICE, self.path()).unwrap()
    }

    fn credential(&self, user: &str) -> Arc<mock::Cred> {
        let _made = self.keyring.build(SERVICE, user, None).unwrap();
        let inner = self.keyring.inner.lock().unwrap();
        let found = inner
            .borrow()
            .iter()
            .find(|c| c.specifiers.1 == user)
            .cloned();
        found.unwrap()
    }

    /// Returns the entries of the keyring: users and secrets, ordered by user.
    fn entries(&self) -> Vec<(String, Vec<u8>)> {
        let inner = self.keyring.inner.lock().unwrap();
        let credentials = inner.borrow();
        let held = credentials.iter().filter_map(|credential| {
            let data = credential.inner.lock().unwrap();
            let secret = data.borrow().secret.clone()?;
            Some((credential.specifiers.1.clone(), secret))
        });
        let mut held: Vec<_> = held.collect();
        held.sort();
        held
    }

    fn users(&self) -> Vec<String> {
        self.entries().into_iter().map(|(user, _)| user).collect()
    }
}

fn large(text: &str) -> Stored {
    Stored {
        contents: SlotContents::new("é".repeat(LARGE)),
        revision: stored(text).revision,
    }
}

fn done(store: &KeyringStore, expected: Option<Revision>, write: Option<&Stored>) {
    assert!(matches!(swap(store, expected, write), Swap::Done));
}

#[test]
fn the_keyring_store_keeps_the_contract() {
    let desktop = Desktop::new();
    keeps_the_contract(&desktop.store());
    // Like two processes.
    contract::check_races(&[desktop.store(), desktop.store()]).unwrap();
    assert_eq!(
        desktop.users(),
        Vec::<String>::new(),
        "nothing is left over"
    );
}

#[test]
fn a_slow_keyring_is_not_read_while_it_is_written() {
    let desktop = Desktop::new();
    let slow = Dying {
        inner: Arc::clone(&desktop.keyring),
        left: Arc::new(AtomicUsize::new(usize::MAX)),
        pause: Duration::from_micros(100),
    };
    let store = KeyringStore::with_keyring(Arc::new(slow), SERVICE, desktop.path()).unwrap();
    contract::check_races(&[store.clone(), store]).unwrap();
}

#[test]
fn sec_31_secrets_are_in_the_keyring_and_in_no_file() {
    let desktop = Desktop::new();
    let store = desktop.store();
    done(&store, None, Some(&stored("secret")));
    assert_eq!(desktop.users(), [slot().to_string()]);
    let files = std::fs::read_dir(desktop.path()).unwrap();
    let files: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["lock"]);
    assert_eq!(
        desktop.store().load(slot()).unwrap(),
        Some(stored("secret"))
    );
    assert!(!format!("{store:?}").contains("secret"));
}

#[test]
fn large_contents_are_spread_and_nothing_of_them_is_left() {
    let desktop = Desktop::new();
    let store = desktop.store();
    let (one, two) = (large("one"), large("two"));
    let small = stored("small");
    done(&store, None, Some(&one));
    let spread = desktop.entries();
    assert!(spread.len() > 2);
    let limit = if cfg!(windows) { 2_560 } else { 32_767 };
    assert!(spread.iter().all(|(_, secret)| secret.len() <= limit));
    assert_eq!(store.load(slot()).unwrap().as_ref(), Some(&one));
    done(&store, Some(one.revision), Some(&two));
    assert_eq!(desktop.users().len(), spread.len());
    done(&store, Some(two.revision), Some(&small));
    assert_eq!(desktop.users(), [slot().to_string()]);
    done(&store, Some(small.revision), Some(&one));
    done(&store, Some(one.revision), None);
    assert_eq!(desktop.users(), Vec::<String>::new());
}

/// A slow keyring that serves a number of operations, and then none.
#[derive(Clone)]
struct Dying {
    inner: Arc<mock::Store>,
    left: Arc<AtomicUsize>,
    pause: Duration,
}

struct DyingEntry {
    inner: Entry,
    left: Arc<AtomicUsize>,
    pause: Duration,
}

impl DyingEntry {
    fn alive(&self) -> keyring_core::Result<()> {
        sleep(self.pause);
        let one_less = |left: usize| left.checked_sub(1);
        let order = Ordering::SeqCst;
        match self.left.fetch_update(order, order, one_less) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::PlatformFailure("the process died".into())),
        }
    }
}

impl CredentialStoreApi for Dying {
    fn vendor(&self) -> String {
        self.inner.vendor()
    }

    fn id(&self) -> String {
        self.inner.id()
    }

    fn build(
        &self,
        service: &str,
        user: &str,
        more: Option<&HashMap<&str, &str>>,
    ) -> keyring_core::Result<Entry> {
        Ok(Entry::new_with_credential(Arc::new(DyingEntry {
            inner: self.inner.build(service, user, more)?,
            left: Arc::clone(&self.left),
            pause: self.pause,
        })))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl CredentialApi for DyingEntry {
    fn set_secret(&self, secret: &[u8]) -> keyring_core::Result<()> {
        self.alive()?;
        self.inner.set_secret(secret)
    }

    fn get_secret(&self) -> keyring_core::Result<Vec<u8>> {
        self.alive()?;
        self.inner.get_secret()
    }

    fn delete_credential(&self) -> keyring_core::Result<()> {
        self.alive()?;
        self.inner.delete_credential()
    }

    fn get_credential(&self) -> keyring_core::Result<Option<Arc<Credential>>> {
        Ok(None)
    }

    fn get_specifiers(&self) -> Option<(String, String)> {
        self.inner.get_specifiers()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Runs swaps in a process that crashes after each of its steps in turn. The slot must hold the old or the
/// new contents, and later writes must clear all leftovers.
fn survives(writes: usize, old: Option<&Stored>, new: Option<&Stored>) {
    let small = stored("small");
    for steps in 0.. {
        let desktop = Desktop::new();
        let mut was = None;
        for old in std::iter::repeat_n(old, writes).flatten() {
            done(&desktop.store(), was, Some(old));
            was = Some(old.revision);
        }
        let dying = Dying {
            inner: Arc::clone(&desktop.keyring),
            left: Arc::new(AtomicUsize::new(steps)),
            pause: Duration::ZERO,
        };
        let store = KeyringStore::with_keyring(Arc::new(dying), SERVICE, desktop.path());
        let swapped = store.unwrap().persist(slot(), was, new);
        let found = desktop.store().load(slot()).unwrap();
        if swapped.is_ok() {
            assert!(steps > 2);
            assert_eq!(found.as_ref(), new);
            assert!(desktop.users().len() < 6);
            return;
        }
        assert!(found.as_ref() == old || found.as_ref() == new, "{steps}");
        if found.is_none() {
            assert_eq!(desktop.users(), Vec::<String>::new(), "{steps}");
        }
        let held = found.map(|found| found.revision);
        done(&desktop.store(), held, Some(&small));
        assert_eq!(desktop.users(), [slot().to_string()], "{steps}");
        done(&desktop.store(), Some(small.revision), None);
        assert_eq!(desktop.users(), Vec::<String>::new(), "{steps}");
    }
}

#[test]
fn a_process_that_dies_at_any_step_leaves_the_old_contents_or_the_new() {
    let (one, two, small) = (large("one"), large("two"), stored("first"));
    let held = [None, Some(&one), Some(&two), Some(&small)];
    for old in held {
        for new in held {
            // Each write uses the other side.
            survives(1, old, new);
            survives(2, old, new);
        }
    }
}

/// A damaged entry is in nobody's way: it counts as absent, is reported, and nothing of it outlives the next write or
/// the sign-out.
#[test]
fn a_damaged_entry_counts_as_absent_and_is_replaced() {
    let name = slot().to_string();
    let damages: [(&str, Option<&[u8]>); 8] = [
        ("", Some(b"garbage")),
        ("", Some(b"\xff\xfe")),
        ("", Some(b"a b c d\nrest")),
        ("", Some(b"")),
        (".right.1", Some(b"short")),
        (".right.1", Some(b"\xff\xfe")),
        (".right.0", None),
        (".right.1", None),
    ];
    for (part, text) in damages {
        for write in [Some(stored("new")), Some(large("new")), None] {
            let desktop = Desktop::new();
            let store = desktop.store();
            let old = large("whole");
            done(&store, None, Some(&old));
            let credential = desktop.credential(&format!("{name}{part}"));
            credential.inner.lock().unwrap().borrow_mut().secret = text.map(<[u8]>::to_vec);
            assert_eq!(store.load(slot()).unwrap(), None, "{part}");
            assert_eq!(store.damaged(), [slot()], "{part}");
            // The former contents are gone: another process must not believe that it replaces them.
            // An empty slot would tell a process that refreshes of a sign-out.
            let swap = store.persist(slot(), Some(old.revision), write.as_ref());
            assert!(swap.is_err(), "{part}");
            done(&store, None, write.as_ref());
            assert_eq!(store.load(slot()).unwrap(), write, "{part}");
            if let Some(write) = write {
                done(&store, Some(write.revision), None);
            }
            assert_eq!(desktop.users(), Vec::<String>::new(), "{part}");
        }
    }
}

/// SEC-31: the entries of an abandoned sign-in go after their expiry, large ones too, and no other.
#[test]
fn sec_31_entries_of_abandoned_sign_ins_are_swept() {
    let desktop = Desktop::new();
    let store = desktop.store();
    let put = |store: &KeyringStore, name: &str, record: &Stored, expires| {
        let swap = store.persist_until(pending(name), None, Some(record), expires);
        assert!(matches!(swap, Ok(Swap::Done)), "{name}");
    };
    put(&store, "abandoned", &large("abandoned"), PAST);
    put(&store, "open", &stored("open"), FUTURE);
    put(&store, "cleared", &stored("cleared"), PAST);
    let cleared = Some(stored("cleared").revision);
    store.persist(pending("cleared"), cleared, None).unwrap();
    done(&store, None, Some(&stored("account")));
    assert!(desktop.users().len() > 3);
    for name in ["abandoned", "open"] {
        age(&desktop.path().join(pending(name).to_string()));
    }
    // The sweep is that of the next process that begins a sign-in.
    let store = desktop.store();
    put(&store, "next", &stored("next"), FUTURE);
    let mut kept = [pending("next"), pending("open"), slot()].map(|slot| slot.to_string());
    kept.sort();
    assert_eq!(desktop.users(), kept);
    let marks = std::fs::read_dir(desktop.path().join("pending")).unwrap();
    assert_eq!(marks.count(), 2);
}

#[test]
fn what_the_keyring_says_is_told_without_what_it_holds() {
    let desktop = Desktop::new();
    let store = desktop.store();
    done(&store, None, Some(&stored("secret")));
    let credential = desktop.credential(&slot().to_string());
    let said = Mutex::new(Vec::new());
    let says = |error: Error| {
        credential.set_error(error);
        let error = store.load(slot()).unwrap_err();
        said.lock().unwrap().push(format!("{error} {error:?}"));
        error.0.downcast_ref::<KeyringFlaw>().unwrap().clone()
    };
    let locked = says(Error::NoStorageAccess("it is locked".into()));
    assert!(matches!(locked, KeyringFlaw::Locked(_)), "{locked}");
    let failed = says(Error::PlatformFailure("no bus".into()));
    assert!(matches!(failed, KeyringFlaw::Failed(_)), "{failed}");
    let missing = says(Error::NoDefaultStore);
    assert!(matches!(missing, KeyringFlaw::Missing(_)), "{missing}");
    credential.set_error(Error::BadEncoding(b"secret".to_vec()));
    assert_eq!(store.load(slot()).unwrap(), None);
    let secret = format!("{:?}", b"secret");
    for text in said.into_inner().unwrap() {
        assert!(
            !text.contains("secret") && !text.contains(&secret[1..10]),
            "{text}"
        );
    }
}

/// A system without a desktop has no keyring, and the error says how to proceed.
#[cfg(target_os = "linux")]
#[test]
fn without_a_desktop_there_is_no_keyring() {
    if std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    match KeyringStore::open(SERVICE, directory.path()) {
        Err(KeyringFlaw::Missing(why)) => assert!(!why.is_empty()),
        Err(other) => panic!("{other}"),
        // A message bus at its usual location.
        Ok(_) => {}
    }
}

/// On a desktop: `cargo test --features keyring -- --ignored this_desktop`. On Linux without one, under
/// `dbus-run-session`, after `gnome-keyring-daemon --unlock`.
#[test]
#[ignore = "needs a keyring that is unlocked"]
fn the_keyring_of_this_desktop_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let open = || KeyringStore::open(SERVICE, directory.path()).unwrap();
    contract::check(&open()).unwrap();
    contract::check_races(&[open(), open()]).unwrap();
    let (old, new) = (large("old"), stored("new"));
    done(&open(), None, Some(&old));
    assert_eq!(open().load(slot()).unwrap().as_ref(), Some(&old));
    done(&open(), Some(old.revision), Some(&new));
    done(&open(), Some(new.revision), None);
}
