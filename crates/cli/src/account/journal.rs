//! The journal: entries that let another process complete or undo the work of a crashed one.
//!
//! Each process holds a lock on its `journal/ID.lock`, and describes its work in `journal/ID.json`. An
//! entry with a free lock belongs to a crashed process: a `login` with a stored account is completed, one
//! without is undone, a `logout` is completed.

mod kept;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use mcp_auth_client::DirectoryLock;
use serde::{Deserialize, Serialize};

use super::conversion::{convert, restored};
use super::erasure::ForgetClient;
use super::key;
use super::keyring;
use super::profile::Profile;
use super::records;
use super::root::Root;
pub(super) use kept::keep;

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Entry {
    url: String,
    account: String,
    /// The account is being erased.
    erases: bool,
    /// The registrations that are erased, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    forgets: ForgetClient,
    /// Slots of pending authorizations, relative to `slots/`.
    pending: Vec<String>,
    commit: Option<Commit>,
    /// Authorization servers that a configured client was bound to, and registrations in place of others, for a sign-in that
    /// fails.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bound: Vec<Bound>,
    /// The sign-in is stored: what it bound stays.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    kept: bool,
    /// A sign-in was stored: the secret of the former client may be left, and files in the former form.
    replaces: bool,
    /// A key that is being stored in the keyring, or deleted there.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

/// The settings of an account that is being stored.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Commit {
    pub(super) profile: Profile,
    /// The revision of the account.
    pub(super) revision: String,
    /// The revision of the account that it replaces, and the client of the new one.
    #[serde(default)]
    pub(super) former: Option<String>,
    #[serde(default)]
    pub(super) client: Option<String>,
    /// The file with the typed secret, relative to the directory.
    pub(super) secret: Option<PathBuf>,
}

/// A record that a sign-in replaced, relative to `slots/`.
#[derive(Clone, Serialize, Deserialize)]
struct Bound {
    slot: String,
    /// The revision of the new record; `None` where it was cleared.
    written: Option<String>,
    /// The file before.
    former: Option<String>,
}

impl Bound {
    /// Puts the file back, unless another process has changed it since.
    fn restore(&self, root: &Root, locked: &DirectoryLock, slots: &DirectoryLock) {
        let path = root.slots().join(&self.slot);
        let now = fs::read_to_string(&path).unwrap_or_default();
        let revision = now.split_once('\n').map(|(head, _)| revision_in(head));
        if revision != self.written.as_deref() {
            return;
        }
        let _restored = match &self.former {
            Some(text) => slots.write(&self.slot, restored(root, locked, &path, text).as_bytes()),
            None => slots.remove(&self.slot).map(drop),
        };
    }
}

impl Commit {
    /// Returns true if the account was stored, even if another process has refreshed it since.
    fn is_stored(&self, root: &Root) -> bool {
        let stored = stored_revision(root, &self.profile);
        let refreshed = || {
            let client = root.client_of(&self.profile.url, &self.profile.account);
            let client = client.unwrap_or_default();
            stored != self.former && client.is_some() && client == self.client
        };
        stored.as_deref() == Some(self.revision.as_str()) || refreshed()
    }
}

impl Entry {
    fn of_key(id: &str) -> Self {
        Self {
            key: Some(id.to_owned()),
            ..Self::default()
        }
    }
}

/// The entry of this process, shared by its clones and removed with the last one.
#[derive(Clone)]
pub(super) struct Journal(Arc<Open>);

struct Open {
    root: Root,
    id: String,
    entry: Mutex<Entry>,
    /// The erasure is complete.
    erased: AtomicBool,
    /// The entry stays for the next command.
    stays: AtomicBool,
    _lock: File,
}

impl Journal {
    /// Records that this process changes an account.
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

    /// Records that this process erases an account.
    pub(super) fn erasing(
        root: &Root,
        (url, account): (&str, &str),
        forgets: ForgetClient,
    ) -> io::Result<Self> {
        Self::open(
            root,
            Entry {
                url: url.to_owned(),
                account: account.to_owned(),
                erases: true,
                forgets,
                ..Entry::default()
            },
        )
    }

    /// Records that this process stores a key in the keyring. Unless the directory names it, it is deleted at the end.
    pub(super) fn with_key(root: &Root, id: &str) -> io::Result<Self> {
        Self::open(root, Entry::of_key(id))
    }

    /// The key was not stored.
    pub(super) fn without_key(&mut self) {
        let mut entry = self.0.entry.lock().unwrap_or_else(PoisonError::into_inner);
        entry.key = None;
    }

    /// Leaves the entry to the next command, whatever this one does.
    pub(super) fn leave(&self) {
        self.0.stays.store(true, Ordering::Relaxed);
    }

    fn open(root: &Root, entry: Entry) -> io::Result<Self> {
        let locked = root.lock()?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let nanos = since.unwrap_or_default().as_nanos();
        let id = format!("{}-{nanos}", std::process::id());
        // The first write creates the private folder.
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
            stays: AtomicBool::new(false),
            _lock: lock,
        })))
    }

    fn change(&self, locked: &DirectoryLock, change: impl FnOnce(&mut Entry)) -> io::Result<()> {
        let mut entry = self.0.entry.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut entry);
        write(locked, &self.0.id, &entry)
    }

    /// Records that a pending authorization will be stored in this slot.
    pub(super) fn pending(&self, slot: &str) -> io::Result<()> {
        let locked = self.0.root.lock()?;
        self.change(&locked, |entry| entry.pending.push(slot.to_owned()))
    }

    /// Records that this slot will be written, with the file that it has now. Of several writes the first file counts.
    pub(super) fn binds(&self, slot: &str, written: Option<String>) -> io::Result<()> {
        let former = match fs::read_to_string(self.0.root.slots().join(slot)) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let locked = self.0.root.lock()?;
        self.change(&locked, |entry| {
            match entry.bound.iter_mut().find(|bound| bound.slot == slot) {
                Some(bound) => bound.written = written,
                None => entry.bound.push(Bound {
                    slot: slot.to_owned(),
                    written,
                    former,
                }),
            }
        })
    }

    /// Records that the next record of this slot stays, whatever becomes of the sign-in.
    pub(super) fn stays(&self, slot: &str) -> io::Result<()> {
        let is_noted = {
            let entry = self.0.entry.lock().unwrap_or_else(PoisonError::into_inner);
            entry.bound.iter().any(|bound| bound.slot == slot)
        };
        if !is_noted {
            return Ok(());
        }
        let locked = self.0.root.lock()?;
        self.change(&locked, |entry| {
            entry.bound.retain(|bound| bound.slot != slot)
        })
    }

    /// Records that the account will be stored with this revision, and these settings with it.
    pub(super) fn commits(&self, locked: &DirectoryLock, commit: Commit) -> io::Result<()> {
        self.change(locked, |entry| {
            entry.replaces = true;
            entry.commit = Some(commit);
        })
    }

    /// Records that the settings of a stored account change.
    pub(super) fn replaces(&self, locked: &DirectoryLock) -> io::Result<()> {
        self.change(locked, |entry| entry.replaces = true)
    }

    /// Records that the sign-in is stored with its settings, or was taken back. On a full disk this process knows it, and one
    /// that completes the entry after a crash finds it by the account.
    pub(super) fn settled(&self, locked: &DirectoryLock, is_stored: bool) {
        let _noted = self.change(locked, |entry| {
            entry.commit = None;
            entry.kept = is_stored;
        });
    }

    /// Marks the erasure as complete.
    pub(super) fn erased(&self) {
        self.0.erased.store(true, Ordering::Relaxed);
    }

    /// Returns a closure that undoes a sign-in or completes an erasure, while the entry exists.
    pub(super) fn undo(&self) -> impl FnOnce() + Send + 'static {
        let open = Arc::downgrade(&self.0);
        move || {
            if let Some(open) = open.upgrade()
                && let Ok(locked) = open.root.lock()
            {
                let entry = open.entry.lock().unwrap_or_else(PoisonError::into_inner);
                if aside(&open.root, &locked, &entry) {
                    remove(&locked, &open.id);
                }
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let entry = self.entry.get_mut().unwrap_or_else(PoisonError::into_inner);
        // The next command completes an interrupted erasure.
        if entry.erases && !self.erased.load(Ordering::Relaxed)
            || self.stays.load(Ordering::Relaxed)
        {
            return;
        }
        if let Ok(locked) = self.root.lock()
            && (entry.erases || aside(&self.root, &locked, entry))
        {
            remove(&locked, &self.id);
        }
    }
}

/// The same as [`finish`], for the end of a command: other processes wait for the directory meanwhile.
fn aside(root: &Root, locked: &DirectoryLock, entry: &Entry) -> bool {
    keyring::aside(|| finish(root, locked, entry))
}

/// Completes or undoes an entry. Returns false if that has to be tried again, because the keyring is out of reach.
fn finish(root: &Root, locked: &DirectoryLock, entry: &Entry) -> bool {
    if let Some(id) = &entry.key {
        return key::deleted(root, id);
    }
    if entry.erases {
        let account = (entry.url.as_str(), entry.account.as_str());
        let _removed = root.erase(locked, account, entry.forgets.clone());
        let _stays = key::drop_unused(root, locked);
        return true;
    }
    if !entry.pending.is_empty()
        && let Ok(slots) = root.lock_slots()
    {
        for slot in entry
            .pending
            .iter()
            .filter(|slot| slot.starts_with("pending/"))
        {
            let _gone = slots.remove(slot);
        }
    }
    let is_stored = entry
        .commit
        .as_ref()
        .map_or(entry.kept, |commit| commit.is_stored(root));
    if let Some(commit) = &entry.commit {
        if is_stored {
            let _saved = Root::save(locked, root, &commit.profile);
        } else if let Some(secret) = &commit.secret {
            let _gone = locked.remove(secret);
        }
    }
    if !is_stored
        && !entry.bound.is_empty()
        && let Ok(slots) = root.lock_slots()
    {
        for bound in &entry.bound {
            bound.restore(root, locked, &slots);
        }
    }
    if entry.replaces {
        let _tidy = root.tidy_secrets(locked, &entry.url, &entry.account);
        // A file that belongs into the keyring is tried again until it is sealed.
        return convert(root, locked, (&entry.url, &entry.account)).is_ok();
    }
    true
}

/// Records that a key is stored or deleted, while this process holds the lock of the directory.
pub(super) fn note_key(locked: &DirectoryLock, id: &str) -> io::Result<()> {
    write(locked, &note_of(id), &Entry::of_key(id))
}

/// Removes that record.
pub(super) fn forget_key(locked: &DirectoryLock, id: &str) {
    remove(locked, &note_of(id));
}

fn note_of(id: &str) -> String {
    format!("key-{id}")
}

/// Returns the revision of the stored account.
fn stored_revision(root: &Root, profile: &Profile) -> Option<String> {
    let path = root.slots().join("account").join(profile.name().ok()?);
    let text = zeroize::Zeroizing::new(fs::read_to_string(path).ok()?);
    let (head, _) = text.split_once('\n')?;
    Some(revision_in(head).to_owned())
}

/// Returns the revision in the first line of a record's file, which may have an expiry after it.
fn revision_in(head: &str) -> &str {
    head.split(' ').next().unwrap_or_default()
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
    records::in_folder(&root.join("journal")).is_ok_and(|files| !files.is_empty())
}

/// Completes or undoes the entries of crashed processes.
pub(super) fn recover(root: &Root, locked: &DirectoryLock) {
    keyring::aside(|| recover_all(root, locked));
}

fn recover_all(root: &Root, locked: &DirectoryLock) {
    for path in records::in_folder(&root.join("journal")).unwrap_or_default() {
        let Some(id) = path.file_stem().and_then(|stem| stem.to_str()) else {
            continue;
        };
        // Without a lock file the process crashed before creating it: this process holds the directory's
        // lock.
        let free = match File::open(root.join(file(id, "lock"))) {
            Ok(lock) => lock.try_lock().is_ok(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if !free {
            continue;
        }
        let text = fs::read(root.join(file(id, "json"))).unwrap_or_default();
        let entry = serde_json::from_slice::<Entry>(&text);
        if entry.is_ok_and(|entry| !finish(root, locked, &entry)) {
            continue;
        }
        remove(locked, id);
    }
}
