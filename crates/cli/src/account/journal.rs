//! The journal: entries by which another process can finish or undo the work of one that died.
//!
//! `journal/ID.lock` is locked by the process for as long as it lives; `journal/ID.json` says what it
//! does. An entry whose lock is free belongs to a process that died: a `login` whose
//! account is stored is finished, one whose account is not stored is undone, a `logout` is finished.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use mcp_auth_client::{DirectoryLock, PrivateDirectory};
use serde::{Deserialize, Serialize};

use super::profile::Profile;
use super::root::{LOCK_TIME, Root};

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Entry {
    url: String,
    account: String,
    /// Everything of this account is being removed.
    erases: bool,
    forgets_client: bool,
    /// Slots of sign-ins that are under way, relative to `slots/`.
    pending: Vec<String>,
    commit: Option<Commit>,
}

/// The settings that belong to an account which is just being stored.
#[derive(Clone, Serialize, Deserialize)]
struct Commit {
    profile: Profile,
    /// The revision of the account that they belong to.
    revision: String,
    /// The file of a secret that was typed for them, relative to the directory.
    secret: Option<PathBuf>,
}

/// The entry of this process. Its clones share it; when the last one is dropped, the entry is removed.
#[derive(Clone)]
pub(super) struct Journal(Arc<Open>);

struct Open {
    root: Root,
    id: String,
    entry: Mutex<Entry>,
    /// An erasure has come to its end.
    erased: AtomicBool,
    _lock: File,
}

impl Journal {
    /// Says that this process begins to change an account.
    pub(super) fn begin(root: &Root, (url, account): (&str, &str)) -> io::Result<Self> {
        Self::open(
            root,
            Entry {
                url: url.to_owned(),
                account: account.to_owned(),
                ..Entry::default()
            },
        )
    }

    /// Says that this process removes everything of an account.
    pub(super) fn erasing(
        root: &Root,
        (url, account): (&str, &str),
        forgets_client: bool,
    ) -> io::Result<Self> {
        Self::open(
            root,
            Entry {
                url: url.to_owned(),
                account: account.to_owned(),
                erases: true,
                forgets_client,
                ..Entry::default()
            },
        )
    }

    fn open(root: &Root, entry: Entry) -> io::Result<Self> {
        let locked = root.lock()?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let nanos = since.unwrap_or_default().as_nanos();
        let id = format!("{}-{nanos}", std::process::id());
        // The folder is made private by what is written first.
        write(&locked, &id, &entry)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let lock = options.open(root.join(file(&id, "lock")))?;
        lock.lock()?;
        Ok(Self(Arc::new(Open {
            root: root.clone(),
            id,
            entry: Mutex::new(entry),
            erased: AtomicBool::new(false),
            _lock: lock,
        })))
    }

    fn change(&self, locked: &DirectoryLock, change: impl FnOnce(&mut Entry)) -> io::Result<()> {
        let mut entry = self.0.entry.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut entry);
        write(locked, &self.0.id, &entry)
    }

    /// A sign-in is about to be stored in this slot.
    pub(super) fn pending(&self, slot: &str) -> io::Result<()> {
        let locked = self.0.root.lock()?;
        self.change(&locked, |entry| entry.pending.push(slot.to_owned()))
    }

    /// The account is about to be stored, with this revision: then these settings hold.
    pub(super) fn commits(
        &self,
        locked: &DirectoryLock,
        profile: &Profile,
        revision: String,
        secret: Option<PathBuf>,
    ) -> io::Result<()> {
        self.change(locked, |entry| {
            entry.commit = Some(Commit {
                profile: profile.clone(),
                revision,
                secret,
            });
        })
    }

    /// The settings are stored, or will not be.
    pub(super) fn settled(&self, locked: &DirectoryLock) -> io::Result<()> {
        self.change(locked, |entry| entry.commit = None)
    }

    /// Everything of the account is removed.
    pub(super) fn erased(&self) {
        self.0.erased.store(true, Ordering::Relaxed);
    }

    /// Undoes a sign-in that is under way, or finishes an erasure, as long as the entry is there.
    pub(super) fn undo(&self) -> impl FnOnce() + Send + 'static {
        let open = Arc::downgrade(&self.0);
        move || {
            if let Some(open) = open.upgrade()
                && let Ok(locked) = open.root.lock()
            {
                let entry = open.entry.lock().unwrap_or_else(PoisonError::into_inner);
                finish(&open.root, &locked, &entry);
                remove(&locked, &open.id);
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let entry = self.entry.get_mut().unwrap_or_else(PoisonError::into_inner);
        // One that could not be finished is finished by the next command.
        if entry.erases && !self.erased.load(Ordering::Relaxed) {
            return;
        }
        if let Ok(locked) = self.root.lock() {
            if !entry.erases {
                finish(&self.root, &locked, entry);
            }
            remove(&locked, &self.id);
        }
    }
}

/// Finishes or undoes an entry.
fn finish(root: &Root, locked: &DirectoryLock, entry: &Entry) {
    if entry.erases {
        let account = (entry.url.as_str(), entry.account.as_str());
        let client = root.client_of(account.0, account.1).unwrap_or_default();
        let forget = entry.forgets_client.then_some(client);
        let _removed = root.erase(locked, account, forget);
        return;
    }
    if !entry.pending.is_empty() {
        let slots = PrivateDirectory::new(root.slots()).patience(LOCK_TIME);
        if let Ok(slots) = slots.lock() {
            for slot in entry
                .pending
                .iter()
                .filter(|slot| slot.starts_with("pending/"))
            {
                let _gone = slots.remove(slot);
            }
        }
    }
    let Some(commit) = &entry.commit else {
        return;
    };
    if stored_revision(root, &commit.profile).as_deref() == Some(commit.revision.as_str()) {
        let _saved = Root::save(locked, root, &commit.profile);
    } else if let Some(secret) = &commit.secret {
        let _gone = locked.remove(secret);
    }
}

/// The revision of the account that is stored.
fn stored_revision(root: &Root, profile: &Profile) -> Option<String> {
    let path = root.slots().join("account").join(profile.name().ok()?);
    let text = zeroize::Zeroizing::new(fs::read_to_string(path).ok()?);
    let (revision, _) = text.split_once('\n')?;
    Some(revision.to_owned())
}

fn file(id: &str, end: &str) -> PathBuf {
    Path::new("journal").join(format!("{id}.{end}"))
}

fn write(locked: &DirectoryLock, id: &str, entry: &Entry) -> io::Result<()> {
    let text = serde_json::to_vec(entry).map_err(io::Error::other)?;
    locked.write(file(id, "json"), &text)
}

fn remove(locked: &DirectoryLock, id: &str) {
    let _gone = locked.remove(file(id, "json"));
    let _gone = locked.remove(file(id, "lock"));
}

pub(super) fn has_entries(root: &Root) -> bool {
    fs::read_dir(root.join("journal")).is_ok_and(|mut files| files.next().is_some())
}

/// Finishes or undoes the entries of processes that died.
pub(super) fn recover(root: &Root, locked: &DirectoryLock) {
    let files = fs::read_dir(root.join("journal")).into_iter().flatten();
    for path in files.flatten().map(|file| file.path()) {
        let Some(id) = path.file_stem().and_then(|stem| stem.to_str()) else {
            continue;
        };
        // One that has no lock died before it had one: the directory's lock is ours.
        let free = match File::open(root.join(file(id, "lock"))) {
            Ok(lock) => lock.try_lock().is_ok(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if !free {
            continue;
        }
        let text = fs::read(root.join(file(id, "json"))).unwrap_or_default();
        if let Ok(entry) = serde_json::from_slice::<Entry>(&text) {
            finish(root, locked, &entry);
        }
        remove(locked, id);
    }
}
