//! A directory of one user: private, its files replaced as a whole, locked across processes.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a process waits for another one's lock unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it looks whether the lock is free.
const LOOK: Duration = Duration::from_millis(20);

/// How the names of files begin that are not complete yet.
const LEFT_OVER: &str = ".writing-";

/// The file that is locked.
const LOCK: &str = "lock";

/// A directory that its owner alone can read, whatever the umask. Files in it are read without a lock
/// and are always whole; they are written, removed and set aside by the holder of its lock alone.
#[derive(Clone, Debug)]
pub struct PrivateDirectory {
    path: PathBuf,
    patience: Duration,
}

/// Another process holds the lock of a directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is locked by {}", .path.display(), holder(.process.as_ref()))]
pub struct Locked {
    /// The lock file.
    pub path: PathBuf,
    /// The process, its number and its name, where the system tells.
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
    /// Names a directory. It is made when something is first written.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            patience: PATIENCE,
        }
    }

    /// How long [`PrivateDirectory::lock`] waits for another process; 10 seconds unless set.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory and takes its lock. The lock is held until the value is dropped, also by a
    /// process that dies.
    ///
    /// # Errors
    /// [`Locked`], as an [`io::Error`] of the kind `WouldBlock`, when another process holds the lock for
    /// longer than the patience of this value; others when the directory cannot be made or written.
    pub fn lock(&self) -> io::Result<DirectoryLock> {
        let file = self.lock_file()?;
        let end = Instant::now().checked_add(self.patience);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(self.locked(file)),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) => {}
            }
            if end.is_none_or(|end| Instant::now() >= end) {
                let path = self.path.join(LOCK);
                let process = holding(&file);
                return Err(Locked { path, process }.into());
            }
            sleep(LOOK);
        }
    }

    /// Takes the lock if it is free now.
    ///
    /// # Errors
    /// When the directory cannot be made or written.
    pub fn try_lock(&self) -> io::Result<Option<DirectoryLock>> {
        let file = self.lock_file()?;
        match file.try_lock() {
            Ok(()) => Ok(Some(self.locked(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn locked(&self, file: File) -> DirectoryLock {
        DirectoryLock {
            path: self.path.clone(),
            _file: file,
        }
    }

    /// Opens the lock file, and makes it where there is none. A link is not followed: it may lead to a
    /// file of somebody else.
    fn lock_file(&self) -> io::Result<File> {
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

/// The right to change a directory. Names are relative to it, with `/` for its folders.
#[derive(Debug)]
pub struct DirectoryLock {
    path: PathBuf,
    _file: File,
}

impl DirectoryLock {
    /// Replaces a file as a whole; it is durable when this returns. Readable by its owner alone from its
    /// first byte on.
    ///
    /// # Errors
    /// When it cannot be written; the file is then as before.
    pub fn write(&self, name: impl AsRef<Path>, contents: &[u8]) -> io::Result<()> {
        let path = self.path.join(name);
        let folder = path.parent().unwrap_or(&self.path);
        Self::replace(&path, folder, contents).map_err(at(&path))
    }

    fn replace(path: &Path, folder: &Path, contents: &[u8]) -> io::Result<()> {
        make_private(folder)?;
        let mut file = tempfile::Builder::new()
            .prefix(LEFT_OVER)
            .tempfile_in(folder)?;
        file.write_all(contents)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|failed| failed.error)?;
        sync(folder)
    }

    /// Removes a file, or a folder with all that is in it; whether there was one.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, name: impl AsRef<Path>) -> io::Result<bool> {
        let path = self.path.join(name);
        let found = match fs::symlink_metadata(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let removed = if found.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(at(&path))?;
        sync(path.parent().unwrap_or(&self.path))?;
        Ok(true)
    }

    /// Gives a damaged file another name, so that it is in nobody's way and can still be looked at: its
    /// own name, with `.damaged` behind it. An older one of that name is replaced.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn set_aside(&self, name: impl AsRef<Path>) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        let mut aside = path.clone().into_os_string();
        aside.push(DAMAGED);
        let aside = PathBuf::from(aside);
        if fs::symlink_metadata(&aside).is_ok_and(|found| found.is_dir()) {
            fs::remove_dir_all(&aside)?;
        }
        fs::rename(&path, &aside)?;
        sync(path.parent().unwrap_or(&self.path))?;
        Ok(aside)
    }

    /// Removes what processes left that died while they wrote, in this directory and its folders: the
    /// lock says that it is nobody's. What cannot be removed stays.
    pub fn clear_left_overs(&self) {
        clear(&self.path, true);
    }
}

/// Names the file in an error.
fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    let path = path.to_owned();
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// How the names of damaged files end.
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

/// Makes a directory that its owner alone can enter, and the ones above it.
pub(super) fn make_private(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
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

/// The process that holds the lock, where the system says it.
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
