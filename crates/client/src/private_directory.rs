//! A private directory: owner-only, with files replaced atomically, locked across processes.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The default time to wait for the lock.
const PATIENCE: Duration = Duration::from_secs(10);

/// The interval between attempts to take the lock.
const LOOK: Duration = Duration::from_millis(20);

/// How often the directory may be removed by others while its lock is opened.
const REMOVALS: u32 = 5;

/// The name prefix of incomplete files.
const LEFT_OVER: &str = ".writing-";

/// The name of the lock file.
const LOCK: &str = "lock";

/// A directory that only its owner can read, regardless of the umask. Its files are always complete and are
/// read without the lock; only the holder of the lock writes, removes or renames them.
#[derive(Clone, Debug)]
pub struct PrivateDirectory {
    path: PathBuf,
    patience: Duration,
}

/// The error when another process holds the lock of a directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is locked by {}", .path.display(), holder(.process.as_ref()))]
pub struct Locked {
    /// The lock file.
    pub path: PathBuf,
    /// The number and name of the process, if the system reports them.
    pub process: Option<(u32, String)>,
}

fn holder(process: Option<&(u32, String)>) -> String {
    match process {
        Some((id, name)) => format!("process {id} ({name})"),
        None => "another process".to_owned(),
    }
}

impl From<Locked> for io::Error {
    fn from(locked: Locked) -> Self {
        Self::new(io::ErrorKind::WouldBlock, locked)
    }
}

impl PrivateDirectory {
    /// Creates a value for a directory, which is created by the first write.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            patience: PATIENCE,
        }
    }

    /// Sets how long [`PrivateDirectory::lock`] waits for another process. Default: 10 seconds.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Returns the path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates the directory and takes its lock, which is released on drop or when the process ends.
    ///
    /// # Errors
    /// [`Locked`], as an [`io::Error`] of the kind `WouldBlock`, when another process holds the lock for
    /// longer than the configured time; others when the directory cannot be created or written.
    pub fn lock(&self) -> io::Result<DirectoryLock> {
        let end = Instant::now().checked_add(self.patience);
        loop {
            let file = self.lock_file()?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &self.path.join(LOCK)) => return Ok(self.locked(file)),
                Err(TryLockError::Error(error)) => return Err(at(&self.path.join(LOCK))(error)),
                // Another process removed the directory meanwhile, or holds the lock.
                Ok(()) | Err(TryLockError::WouldBlock) => {}
            }
            if end.is_none_or(|end| Instant::now() >= end) {
                let path = self.path.join(LOCK);
                // The list of locks may lose a line while others change.
                let process = (0..3).find_map(|_| holding(&file));
                return Err(Locked { path, process }.into());
            }
            sleep(LOOK);
        }
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    /// When the directory cannot be created or written.
    pub fn try_lock(&self) -> io::Result<Option<DirectoryLock>> {
        let file = self.lock_file()?;
        match file.try_lock() {
            Ok(()) if is_at(&file, &self.path.join(LOCK)) => Ok(Some(self.locked(file))),
            Ok(()) | Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(at(&self.path.join(LOCK))(error)),
        }
    }

    fn locked(&self, file: File) -> DirectoryLock {
        DirectoryLock {
            path: self.path.clone(),
            _file: file,
        }
    }

    /// Opens the lock file, again where another process removed the directory meanwhile.
    fn lock_file(&self) -> io::Result<File> {
        for _ in 0..REMOVALS {
            match self.open_lock() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return other,
            }
        }
        self.open_lock()
    }

    /// Opens the lock file, and creates it if necessary. A symbolic link is not followed, because its
    /// target may belong to another user.
    fn open_lock(&self) -> io::Result<File> {
        let path = self.path.join(LOCK);
        make_private(&self.path).map_err(at(&self.path))?;
        let mut options = OpenOptions::new();
        options.write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.clone().create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !fs::symlink_metadata(&path).map_err(at(&path))?.is_file() {
                    let said = format!("{} is not a file: remove it", path.display());
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, said));
                }
                options.open(&path)
            }
            other => other,
        }
        .map_err(at(&path))
    }
}

/// A locked directory. Names are relative to it, with `/` as separator.
#[derive(Debug)]
pub struct DirectoryLock {
    path: PathBuf,
    _file: File,
}

impl DirectoryLock {
    /// Replaces a file atomically and durably. Only its owner can read it, from its first byte on.
    ///
    /// # Errors
    /// When the file cannot be written; it is unchanged then, or new without a proof that it survives a power failure.
    pub fn write(&self, name: impl AsRef<Path>, contents: &[u8]) -> io::Result<()> {
        let path = self.path.join(name);
        let folder = path.parent().unwrap_or(&self.path);
        Self::replace(&path, folder, contents).map_err(at(&path))
    }

    fn replace(path: &Path, folder: &Path, contents: &[u8]) -> io::Result<()> {
        let is_new = !folder.is_dir();
        make_private(folder)?;
        if is_new && let Some(parent) = folder.parent() {
            sync(parent)?;
        }
        let mut file = tempfile::Builder::new()
            .prefix(LEFT_OVER)
            .tempfile_in(folder)
            .map_err(|error| without_path(&error))?;
        file.write_all(contents)
            .map_err(|error| without_path(&error))?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|failed| failed.error)?;
        sync(folder)
    }

    /// Removes a file, or a folder with its contents; returns true if it existed.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, name: impl AsRef<Path>) -> io::Result<bool> {
        let path = self.path.join(name);
        let found = match fs::symlink_metadata(&path) {
            Ok(found) => found,
            // A file in the place of the folder is damage elsewhere, and nothing of this name exists.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(false);
            }
            Err(error) => return Err(at(&path)(error)),
        };
        let removed = if found.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(at(&path))?;
        sync(path.parent().unwrap_or(&self.path)).map_err(at(&path))?;
        Ok(true)
    }

    /// Removes the lock file, with which the use of the directory ends. A process that waits for the lock makes it again.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_lock(self) -> io::Result<()> {
        // Without the numbers of files a process that waits would not notice.
        if cfg!(unix) {
            self.remove(LOCK)?;
        }
        Ok(())
    }

    /// Renames a damaged file to its name with `.damaged` appended, so that it can be inspected. An older
    /// one is replaced.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn set_aside(&self, name: impl AsRef<Path>) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        let mut aside = path.clone().into_os_string();
        aside.push(DAMAGED);
        let aside = PathBuf::from(aside);
        if fs::symlink_metadata(&aside).is_ok_and(|found| found.is_dir()) {
            fs::remove_dir_all(&aside).map_err(at(&aside))?;
        }
        fs::rename(&path, &aside).map_err(at(&path))?;
        sync(path.parent().unwrap_or(&self.path)).map_err(at(&path))?;
        Ok(aside)
    }

    /// Removes incomplete files of crashed processes in this directory and its folders; the lock proves
    /// that no process is writing them. Errors are ignored.
    pub fn clear_left_overs(&self) {
        clear(&self.path, true);
    }
}

/// Returns true if the open file is the one at this path, and was not removed while this process waited for its lock.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |found: fs::Metadata| (found.dev(), found.ino());
    let (open, found) = (file.metadata().map(id), fs::symlink_metadata(path).map(id));
    matches!((open, found), (Ok(open), Ok(found)) if open == found)
}

#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> bool {
    true
}

/// Returns an error without the random name of an incomplete file.
fn without_path(error: &io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.source());
    let code = inner
        .and_then(|inner| inner.downcast_ref::<io::Error>())
        .unwrap_or(error)
        .raw_os_error();
    code.map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// Adds the file name to an error.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    let path = path.to_owned();
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The name suffix of damaged files.
pub(super) const DAMAGED: &str = ".damaged";

fn clear(folder: &Path, deeper: bool) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with(LEFT_OVER) {
            let _stays = fs::remove_file(path);
        } else if deeper && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            clear(&path, false);
        }
    }
}

/// Creates a directory and its parents, accessible to the owner only. In an existing one other users must not be able to
/// replace files: their right to write is taken, or the error says how.
pub(super) fn make_private(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)?;
    #[cfg(unix)]
    only_owner_writes(directory)?;
    Ok(())
}

/// Takes the right to write from the group and others. The owner alone can change rights, so this also fails for a
/// directory of another user that others can write to.
#[cfg(unix)]
fn only_owner_writes(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    const OTHERS_WRITE: u32 = 0o022;
    // As in /tmp: each user removes and replaces files of their own only.
    const STICKY: u32 = 0o1000;
    let mut rights = fs::metadata(directory)?.permissions();
    if rights.mode() & OTHERS_WRITE == 0 || rights.mode() & STICKY != 0 {
        return Ok(());
    }
    rights.set_mode(rights.mode() & !OTHERS_WRITE);
    fs::set_permissions(directory, rights).map_err(|error| {
        let said = format!("other users can write to it, which could not be changed ({error}): chmod go-w, or name another directory");
        io::Error::new(error.kind(), said)
    })
}

/// Makes a rename durable by syncing its directory; only necessary on Unix.
fn sync(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if folder.is_dir() {
        File::open(folder)?.sync_all()?;
        #[cfg(test)]
        tests::SYNCED.with_borrow_mut(|synced| synced.push(folder.to_owned()));
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// Returns the process with the lock, if the system reports it.
#[cfg(target_os = "linux")]
fn holding(file: &File) -> Option<(u32, String)> {
    let inode = std::os::unix::fs::MetadataExt::ino(&file.metadata().ok()?).to_string();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        // `1: FLOCK  ADVISORY  WRITE 4711 fd:01:123456 0 EOF`
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, process, place, ..] = fields.as_slice() else {
            return None;
        };
        if place.rsplit(':').next() != Some(inode.as_str()) {
            return None;
        }
        let process: u32 = process.parse().ok()?;
        let name = fs::read_to_string(format!("/proc/{process}/comm")).ok()?;
        Some((process, name.trim().to_owned()))
    })
}

#[cfg(not(target_os = "linux"))]
fn holding(_file: &File) -> Option<(u32, String)> {
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::cell::RefCell;

    use super::*;

    thread_local! {
        /// The folders that were synced.
        pub(super) static SYNCED: RefCell<Vec<PathBuf>> = const { RefCell::new(Vec::new()) };
    }

    /// SEC-31: other users cannot replace files in a directory that they could write to before.
    #[cfg(unix)]
    #[test]
    fn sec_31_others_cannot_write_to_an_existing_directory() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let shared = root.path().join("shared");
        fs::create_dir(&shared).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        for (before, after) in [
            (0o777, 0o755),
            (0o775, 0o755),
            (0o755, 0o755),
            (0o700, 0o700),
        ] {
            fs::set_permissions(&shared, fs::Permissions::from_mode(before)).unwrap();
            let locked = PrivateDirectory::new(&shared).lock().unwrap();
            assert_eq!(mode(&shared), after, "{before:o}");
            locked.write("slots/a", b"1").unwrap();
            fs::set_permissions(shared.join("slots"), fs::Permissions::from_mode(before)).unwrap();
            locked.write("slots/a", b"2").unwrap();
            assert_eq!(mode(&shared.join("slots")), after, "{before:o}");
        }
    }

    /// A lock whose file was removed is not the lock of those that wait for it: one of them makes it again, and is the only
    /// one that has it.
    #[cfg(unix)]
    #[test]
    fn a_lock_that_was_removed_is_made_again_by_those_that_wait() {
        let root = tempfile::tempdir().unwrap();
        let directory = PrivateDirectory::new(root.path().join("store"));
        let locked = directory.lock().unwrap();
        let waits = {
            let directory = directory.clone();
            std::thread::spawn(move || directory.lock().unwrap())
        };
        sleep(Duration::from_millis(100));
        locked.remove_lock().unwrap();
        // The other thread may have made the lock again.
        let _stays = fs::remove_dir(directory.path());
        let waited = waits.join().unwrap();
        assert!(directory.try_lock().unwrap().is_none(), "one has the lock");
        drop(waited);
        assert!(directory.try_lock().unwrap().is_some());
    }

    /// A rename and a removal survive a power failure, and so does the folder that a first write creates.
    #[cfg(unix)]
    #[test]
    fn each_change_of_a_folder_is_synced() {
        let root = tempfile::tempdir().unwrap();
        let synced = || SYNCED.with_borrow_mut(std::mem::take);
        let directory = PrivateDirectory::new(root.path());
        let locked = directory.lock().unwrap();
        let folder = root.path().join("slots");
        synced();
        locked.write("slots/a", b"1").unwrap();
        assert_eq!(synced(), [root.path().to_owned(), folder.clone()]);
        locked.write("slots/a", b"2").unwrap();
        assert_eq!(synced(), std::slice::from_ref(&folder));
        let aside = locked.set_aside("slots/a").unwrap();
        assert_eq!(synced(), std::slice::from_ref(&folder));
        locked.remove(aside).unwrap();
        assert_eq!(synced(), [folder]);
    }
}
