//! A store in a directory: one owner-only file per slot, replaced atomically, locked across processes.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mcp_auth_machine::slot::{Revision, Slot, SlotContents, Stored};
use mcp_auth_machine::time::UnixMillis;

use super::expiry;
use super::private_directory::{DAMAGED, DirectoryLock, PrivateDirectory, at, make_private};
use super::store::{Store, StoreError, Swap};

/// The least time between two sweeps of an open store.
const SWEEPS: Duration = Duration::from_secs(600);

/// How long a damaged pending authorization stays, and one without an expiry, as an earlier version wrote it.
const STALE: Duration = Duration::from_secs(86_400);

/// The folder of the records that nothing else clears when their sign-in was abandoned.
const PENDING: &str = "pending";

/// A store in a directory. Each slot is a file that is replaced atomically, so a process may crash at any
/// time. A lock file serialises compare-and-swap operations of the processes on this device; reading takes
/// no lock.
///
/// A damaged file, which this store did not write, is renamed to its name with `.damaged` appended, and its
/// slot counts as empty.
///
/// Records of abandoned sign-ins are removed after their expiry: when the store is opened, and at the start of later
/// sign-ins.
///
/// The files contain unencrypted secrets, readable by their owner only: keep the directory on an encrypted
/// disk, or wrap the store in a [`Sealed`](super::Sealed) (SEC-31).
#[derive(Clone, Debug)]
pub struct FileStore {
    directory: PrivateDirectory,
    /// The time of the last sweep.
    swept: Arc<Mutex<Option<Instant>>>,
}

impl FileStore {
    /// Opens a directory, and creates it if necessary. Incomplete files of crashed processes are removed,
    /// unless another process is writing.
    ///
    /// # Errors
    /// [`StoreError`] when the directory cannot be created or read.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let store = Self::unswept(directory)?;
        // A read-only directory is not swept.
        if let Ok(Some(locked)) = store.directory.try_lock() {
            store.sweep(&locked, |_| true);
        }
        Ok(store)
    }

    /// The same as [`FileStore::open`], for a host that may only read: a directory that does not exist is not created, and
    /// counts as empty. The first write creates it.
    ///
    /// # Errors
    /// [`StoreError`] when the directory exists and cannot be read.
    pub fn existing(directory: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let directory = PrivateDirectory::new(directory);
        match fs::symlink_metadata(directory.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let swept = Arc::default();
                Ok(Self { directory, swept })
            }
            Ok(_) | Err(_) => Self::open(directory.path()),
        }
    }

    /// Opens a directory whose expired records stay.
    pub(super) fn unswept(directory: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let directory = PrivateDirectory::new(directory);
        make_private(directory.path()).map_err(at(directory.path()))?;
        fs::read_dir(directory.path()).map_err(at(directory.path()))?;
        // A read-only directory has no such files.
        if let Ok(Some(locked)) = directory.try_lock() {
            locked.clear_left_overs();
        }
        let swept = Arc::default();
        Ok(Self { directory, swept })
    }

    /// Sets how long a write waits for other processes. Default: 10 seconds. Then it fails with
    /// [`Locked`](super::Locked), which names the process with the lock.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.directory = self.directory.patience(patience);
        self
    }

    /// Returns the damaged files that were renamed.
    pub fn damaged(&self) -> Vec<PathBuf> {
        let folders = fs::read_dir(self.directory.path()).into_iter().flatten();
        let files = folders
            .flatten()
            .flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten());
        files
            .map(|file| file.path())
            .filter(|path| path.to_string_lossy().ends_with(DAMAGED))
            .collect()
    }

    /// Takes the lock, which is released on drop or when the process ends.
    #[cfg(feature = "keyring")]
    pub(super) fn lock(&self) -> io::Result<super::private_directory::DirectoryLock> {
        self.directory.lock()
    }

    /// Removes the records of abandoned sign-ins, each if `erase` permits. Errors are ignored.
    pub(super) fn sweep(&self, locked: &DirectoryLock, mut erase: impl FnMut(&str) -> bool) {
        *self.swept.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let files = fs::read_dir(self.directory.path().join(PENDING));
        let now = expiry::now();
        for file in files.into_iter().flatten().flatten() {
            let name = format!("{PENDING}/{}", file.file_name().to_string_lossy());
            if has_expired(&file.path(), now) && erase(&name) {
                let _stays = locked.remove(name);
            }
        }
    }

    /// Returns true if the last sweep was long ago.
    pub(super) fn is_due(&self) -> bool {
        let swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        swept.is_none_or(|at| at.elapsed() > SWEEPS)
    }

    fn path(&self, slot: Slot) -> PathBuf {
        self.directory.path().join(slot.to_string())
    }
}

impl Store for FileStore {
    fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        let path = self.path(slot);
        match read(&path)? {
            Found::Nothing => Ok(None),
            Found::Slot(stored) => Ok(Some(stored)),
            Found::Damaged => {
                // Another process may have replaced it meanwhile.
                let locked = self.directory.lock()?;
                match read(&path)? {
                    Found::Nothing => Ok(None),
                    Found::Slot(stored) => Ok(Some(stored)),
                    Found::Damaged => {
                        locked.set_aside(slot.to_string())?;
                        Ok(None)
                    }
                }
            }
        }
    }

    fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        let locked = self.directory.lock()?;
        if expires.is_some() && self.is_due() {
            self.sweep(&locked, |_| true);
        }
        let name = slot.to_string();
        let current = match read(&self.path(slot))? {
            Found::Nothing => None,
            Found::Slot(stored) => Some(stored),
            Found::Damaged => {
                locked.set_aside(&name)?;
                None
            }
        };
        if current.as_ref().map(|stored| stored.revision) != expected {
            return Ok(Swap::Conflict(current));
        }
        match write {
            Some(stored) => {
                let head = Head {
                    revision: stored.revision,
                    expires,
                };
                let text = zeroize::Zeroizing::new(format!("{head}{}", stored.contents.expose()));
                locked.write(&name, text.as_bytes())?;
            }
            None => {
                locked.remove(&name)?;
            }
        }
        Ok(Swap::Done)
    }
}

/// The contents of a slot's file.
enum Found {
    Nothing,
    Slot(Stored),
    /// Not a slot of this store.
    Damaged,
}

/// Reads a slot; an error names the file.
fn read(path: &Path) -> io::Result<Found> {
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into()),
        Err(error) => Err(error),
    };
    let text = match text {
        Ok(text) => zeroize::Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::IsADirectory
            ) =>
        {
            return Ok(Found::Damaged);
        }
        Err(error) => {
            let said = format!("{}: {error}", path.display());
            return Err(io::Error::new(error.kind(), said));
        }
    };
    let stored = text.split_once('\n').and_then(|(line, contents)| {
        Some(Stored {
            revision: Head::read(line)?.revision,
            contents: SlotContents::new(contents),
        })
    });
    Ok(stored.map_or(Found::Damaged, Found::Slot))
}

/// The first line of a slot's file: the revision, and the expiry if there is one.
pub(super) struct Head {
    pub(super) revision: Revision,
    pub(super) expires: Option<UnixMillis>,
}

impl Head {
    fn read(line: &str) -> Option<Self> {
        let (revision, expires) = match line.split_once(' ') {
            Some((revision, expires)) => (revision, Some(UnixMillis(expires.parse().ok()?))),
            None => (line, None),
        };
        Some(Self {
            revision: revision.parse().ok()?,
            expires,
        })
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.expires {
            Some(expires) => writeln!(f, "{} {}", self.revision, expires.0),
            None => writeln!(f, "{}", self.revision),
        }
    }
}

/// Returns true for a record past its expiry, and for an old file without one.
fn has_expired(path: &Path, now: UnixMillis) -> bool {
    // Longer than any first line.
    let mut start = [0; 64];
    let read = File::open(path).and_then(|mut file| file.read(&mut start));
    let start = start.get(..read.unwrap_or_default()).unwrap_or_default();
    let line = start
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let head = std::str::from_utf8(line).ok().and_then(Head::read);
    let modified = fs::symlink_metadata(path).and_then(|found| found.modified());
    let age = modified.ok().and_then(|time| time.elapsed().ok());
    match head.and_then(|head| head.expires) {
        Some(expires) => expires < now && age.is_some_and(|age| age > expiry::KEPT),
        None => age.is_some_and(|age| age > STALE),
    }
}
