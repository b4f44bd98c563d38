//! Slots as files of one directory: owner-only, replaced as a whole, locked across processes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::store::{Store, StoreError, Swap};
use mcp_auth_machine::slot::{Slot, SlotContents, Stored};

/// A store in a directory. Each slot is a file that is replaced as a whole, so that a process may die
/// at any byte; a lock file keeps processes of this machine apart while they compare and swap.
///
/// The files hold secrets in the clear, readable by their owner alone (SEC-31): keep the directory on
/// an encrypted disk, or use a store that encrypts.
#[derive(Clone, Debug)]
pub struct FileStore {
    directory: PathBuf,
}

impl FileStore {
    /// Opens a directory, and makes it when there is none. Left-overs of processes that died while
    /// they wrote are cleared.
    ///
    /// # Errors
    /// [`StoreError`] when the directory cannot be made, locked or read.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let store = Self {
            directory: directory.into(),
        };
        make_private(&store.directory)?;
        let _locked = store.lock()?;
        for kind in fs::read_dir(&store.directory)? {
            let kind = kind?;
            if kind.file_type()?.is_dir() {
                clear_left_overs(&kind.path())?;
            }
        }
        Ok(store)
    }

    /// Held until it is dropped, also by a process that dies.
    pub(super) fn lock(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(self.directory.join("lock"))?;
        file.lock()?;
        Ok(file)
    }

    fn path(&self, slot: Slot) -> PathBuf {
        self.directory.join(slot.to_string())
    }
}

impl Store for FileStore {
    fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        read(&self.path(slot)).map_err(StoreError::from)
    }

    fn persist(
        &self,
        slot: Slot,
        expected: Option<mcp_auth_machine::slot::Revision>,
        write: Option<&Stored>,
    ) -> Result<Swap, StoreError> {
        let path = self.path(slot);
        let _locked = self.lock()?;
        let current = read(&path)?;
        if current.as_ref().map(|stored| stored.revision) != expected {
            return Ok(Swap::Conflict(current));
        }
        let folder = path.parent().unwrap_or(&self.directory);
        match write {
            Some(stored) => {
                make_private(folder)?;
                // Readable by its owner alone from its first byte on.
                let mut file = tempfile::Builder::new()
                    .prefix(LEFT_OVER)
                    .tempfile_in(folder)?;
                write!(file, "{}\n{}", stored.revision, stored.contents.expose())?;
                file.as_file().sync_all()?;
                file.persist(&path).map_err(|failed| failed.error)?;
            }
            None => match fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            },
        }
        sync(folder)?;
        Ok(Swap::Done)
    }
}

const LEFT_OVER: &str = ".writing-";

fn read(path: &Path) -> io::Result<Option<Stored>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "not a slot of this store");
    let (revision, contents) = text.split_once('\n').ok_or_else(damaged)?;
    Ok(Some(Stored {
        revision: revision.parse().map_err(|_| damaged())?,
        contents: SlotContents::new(contents),
    }))
}

fn make_private(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

fn clear_left_overs(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(LEFT_OVER) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// A rename is durable once its directory is; elsewhere than on Unix the system sees to that.
fn sync(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if folder.is_dir() {
        File::open(folder)?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}
