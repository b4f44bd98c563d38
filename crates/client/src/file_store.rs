//! A store in a directory: one owner-only file per slot, replaced atomically, locked across processes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mcp_auth_machine::slot::{Revision, Slot, SlotContents, Stored};

use super::private_directory::{DAMAGED, PrivateDirectory, make_private};
use super::store::{Store, StoreError, Swap};

/// A store in a directory. Each slot is a file that is replaced atomically, so a process may crash at any
/// time. A lock file serialises compare-and-swap operations of the processes on this device; reading takes
/// no lock.
///
/// A damaged file, which this store did not write, is renamed to its name with `.damaged` appended, and its
/// slot counts as empty.
///
/// The files contain unencrypted secrets, readable by their owner only: keep the directory on an encrypted
/// disk, or wrap the store in a [`Sealed`](super::Sealed) (SEC-31).
#[derive(Clone, Debug)]
pub struct FileStore {
    directory: PrivateDirectory,
}

impl FileStore {
    /// Opens a directory, and creates it if necessary. Incomplete files of crashed processes are removed,
    /// unless another process is writing.
    ///
    /// # Errors
    /// [`StoreError`] when the directory cannot be created or read.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let directory = PrivateDirectory::new(directory);
        make_private(directory.path())?;
        fs::read_dir(directory.path())?;
        // A read-only directory has no such files.
        if let Ok(Some(locked)) = directory.try_lock() {
            locked.clear_left_overs();
        }
        Ok(Self { directory })
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

    fn persist(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
    ) -> Result<Swap, StoreError> {
        let locked = self.directory.lock()?;
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
                let text = format!("{}\n{}", stored.revision, stored.contents.expose());
                let text = zeroize::Zeroizing::new(text);
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
    let stored = text.split_once('\n').and_then(|(revision, contents)| {
        Some(Stored {
            revision: revision.parse().ok()?,
            contents: SlotContents::new(contents),
        })
    });
    Ok(stored.map_or(Found::Damaged, Found::Slot))
}
