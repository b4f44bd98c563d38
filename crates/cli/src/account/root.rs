//! The directory of the accounts: settings and secrets, beside the slots.
//!
//! `profiles/NAME.json` contains the settings of an account, `secrets/NAME.*` its typed secret, `journal/`
//! the work in progress (`journal.rs`). `retry/NAME` marks a last sign-in without a callback, and `port`
//! contains the port of the last callback listener.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mcp_auth_client::{DirectoryLock, FileStore, PrivateDirectory};

use super::journal;
use super::key;
use super::profile::{Profile, canonical, name};
use super::records;
use crate::problem::Problem;
use crate::waits::{self, Noted, Wait};

/// How long a command waits for another one that writes, where its own time does not end earlier.
pub(super) const LOCK_TIME: Duration = Duration::from_secs(10);

/// The folders that this process writes, beside the slots.
const FOLDERS: [&str; 7] = [
    "", "profiles", "secrets", "journal", "clients", "signing", "retry",
];

#[derive(Clone)]
pub(super) struct Root {
    directory: PrivateDirectory,
}

/// The stored settings of an account.
pub(super) enum Remembered {
    Nothing,
    Profile(Box<Profile>),
    /// The file is damaged and was renamed; contains a message.
    Damaged(String),
}

impl Root {
    /// Opens the directory, and completes or undoes the work of crashed processes.
    pub(super) fn open(path: PathBuf) -> Self {
        let path = std::path::absolute(&path).unwrap_or(path);
        let root = Self {
            directory: PrivateDirectory::new(path),
        };
        if root.has_left_overs()
            && let Ok(Some(locked)) = root.directory.try_lock()
        {
            locked.clear_left_overs();
            journal::recover(&root, &locked);
        }
        root
    }

    fn has_left_overs(&self) -> bool {
        let half = |folder: PathBuf| {
            let files = records::in_folder(&folder).unwrap_or_default();
            files.iter().any(|file| is_of(file, "."))
        };
        journal::has_entries(self) || FOLDERS.into_iter().any(|folder| half(self.join(folder)))
    }

    pub(super) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn slots(&self) -> PathBuf {
        self.join("slots")
    }

    pub(super) fn lock(&self) -> io::Result<DirectoryLock> {
        lock(&self.directory)
    }

    pub(super) fn lock_slots(&self) -> io::Result<DirectoryLock> {
        lock(&PrivateDirectory::new(self.slots()))
    }

    /// Returns the folders that do not exist yet, from the directory of the accounts outwards.
    pub(super) fn missing(&self) -> Vec<PathBuf> {
        let folders = self.directory.path().ancestors();
        let missing = folders.take_while(|folder| !folder.exists());
        missing.map(Path::to_owned).collect()
    }

    /// Removes the empty folders, the locks and the cached documents of a directory that has no account, no registration and
    /// no work in progress, then these folders outside of it. Errors are ignored: what stays is empty.
    pub(super) fn leave(&self, made: &[PathBuf]) {
        // Some systems cannot tell whether a lock was removed while another process waited for it.
        if !cfg!(unix) || !self.directory.path().is_dir() {
            return;
        }
        let slots = PrivateDirectory::new(self.slots());
        let Ok(Some(locked)) = self.directory.try_lock() else {
            return;
        };
        let Ok(Some(lock_of_slots)) = slots.try_lock() else {
            return;
        };
        if self.is_used() {
            return;
        }
        let _stays = lock_of_slots.remove("metadata");
        let kinds = ["account", "pending", "registration"].map(|kind| self.slots().join(kind));
        let _stays = lock_of_slots.remove_lock();
        let folders = FOLDERS.into_iter().filter(|folder| !folder.is_empty());
        let folders = folders.map(|folder| self.join(folder));
        for folder in kinds.into_iter().chain([self.slots()]).chain(folders) {
            let _stays = fs::remove_dir(folder);
        }
        let _stays = locked.remove("port");
        let _stays = locked.remove_lock();
        for folder in made {
            let _stays = fs::remove_dir(folder);
        }
    }

    /// Returns true if the directory has an account, a registration, a key, or work in progress.
    fn is_used(&self) -> bool {
        let kinds = ["account", "pending", "registration"].map(|kind| self.slots().join(kind));
        let folders = FOLDERS.into_iter().filter(|folder| !folder.is_empty());
        let mut folders = folders.map(|folder| self.join(folder)).chain(kinds);
        // A folder that cannot be read may have something.
        folders.any(|folder| records::in_folder(&folder).map_or(true, |files| !files.is_empty()))
            || self.join(key::KEY_FILE).exists()
    }

    // ---- Profiles

    pub(super) fn remembered(&self, url: &str, account: &str) -> Result<Remembered, Problem> {
        let path = self.join(profile_file(&name(url, account)?));
        self.read_profile(&path)
    }

    fn read_profile(&self, path: &Path) -> Result<Remembered, Problem> {
        let flaw = match fs::read(path) {
            Ok(text) => match Profile::parse(path, &text) {
                Ok(profile) => return Ok(Remembered::Profile(Box::new(profile))),
                Err(flaw) => flaw,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Remembered::Nothing);
            }
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                "it is a directory".to_owned()
            }
            Err(error) => return Err(Problem::store(records::at(path)(error))),
        };
        let name = path.strip_prefix(self.directory.path()).unwrap_or(path);
        // Another process may have replaced the file meanwhile.
        let aside = self.lock().and_then(|locked| {
            let again = fs::read(path).map(|text| Profile::parse(path, &text));
            match again {
                Ok(Ok(_)) => Ok(None),
                Ok(Err(_)) | Err(_) => locked.set_aside(name).map(Some),
            }
        });
        Ok(Remembered::Damaged(match aside {
            Ok(None) => return self.read_profile(path),
            Ok(Some(aside)) => format!(
                "{} is damaged ({flaw}) and was set aside as {}",
                path.display(),
                aside.display()
            ),
            Err(error) => format!(
                "{} is damaged ({flaw}) and could not be set aside: {error}",
                path.display()
            ),
        }))
    }

    /// Returns all stored settings by URL and name, and the messages about damaged ones.
    pub(super) fn all(&self) -> Result<(Vec<Profile>, Vec<String>), Problem> {
        let (mut found, mut flaws) = (Vec::new(), Vec::new());
        for path in records::in_folder(&self.join("profiles")).map_err(Problem::store)? {
            if path.extension().is_none_or(|end| end != "json") {
                continue;
            }
            match self.read_profile(&path) {
                // Removed meanwhile by `logout`.
                Ok(Remembered::Nothing) => {}
                Ok(Remembered::Profile(profile)) => found.push(*profile),
                Ok(Remembered::Damaged(words)) => flaws.push(words),
                Err(problem) => flaws.push(problem.words()),
            }
        }
        found.sort_by(|a, b| (&a.url, &a.account).cmp(&(&b.url, &b.account)));
        Ok((found, flaws))
    }

    /// Stores the settings and the secret of an account, in place of previous ones.
    pub(super) fn save(locked: &DirectoryLock, root: &Self, profile: &Profile) -> io::Result<()> {
        Self::write_profile(locked, profile)?;
        root.tidy(locked, profile)
    }

    /// Stores the settings of an account; a former secret stays.
    pub(super) fn write_profile(locked: &DirectoryLock, profile: &Profile) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(profile).map_err(io::Error::other)?;
        let file = profile_file(&file_name(profile)?);
        locked.write(file, &[text.as_slice(), b"\n"].concat())
    }

    /// Returns the stored settings of an account as text.
    pub(super) fn profile_text(&self, profile: &Profile) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.join(profile_file(&file_name(profile)?))) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Restores the settings of an account.
    pub(super) fn restore(
        &self,
        locked: &DirectoryLock,
        profile: &Profile,
        text: Option<&[u8]>,
    ) -> io::Result<()> {
        let file = profile_file(&file_name(profile)?);
        match text {
            Some(text) => locked.write(file, text),
            None => locked.remove(file).map(drop),
        }
    }

    /// Removes the typed secrets of an account that its settings do not name.
    fn tidy(&self, locked: &DirectoryLock, profile: &Profile) -> io::Result<()> {
        let kept = profile.settings.client_secret_file.as_deref();
        for secret in self.secrets(&file_name(profile)?) {
            if kept != Some(std::path::absolute(&secret)?.as_path()) {
                locked.remove(&*secret)?;
            }
        }
        Ok(())
    }

    /// Removes the typed secrets of an account that its stored settings do not name.
    pub(super) fn tidy_secrets(
        &self,
        locked: &DirectoryLock,
        url: &str,
        account: &str,
    ) -> io::Result<()> {
        let of = Profile::new(url, account);
        let text = self.profile_text(&of)?.unwrap_or_default();
        match Profile::parse(&self.join(profile_file(&file_name(&of)?)), &text) {
            Ok(profile) => self.tidy(locked, &profile),
            // Settings that cannot be read may name any of them.
            Err(_) => Ok(()),
        }
    }

    /// Returns the files with typed secrets of an account.
    pub(super) fn secrets(&self, name: &str) -> Vec<PathBuf> {
        beginning(&self.join("secrets"), name)
    }

    // ---- The port and the retry marks

    /// Returns the port of the last callback listener, which decides about the reused registration.
    pub(super) fn last_port(&self) -> Option<u16> {
        fs::read_to_string(self.join("port"))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    pub(super) fn keep_port(&self, port: u16) {
        if self.last_port() != Some(port)
            && let Ok(locked) = self.lock()
        {
            // Another port is harmless.
            let _kept = locked.write("port", port.to_string().as_bytes());
        }
    }

    /// Returns true if the last sign-in used an older registration and ended without a callback.
    pub(super) fn came_to_nothing(&self, name: &str) -> bool {
        self.join("retry").join(name).exists()
    }

    pub(super) fn mark(&self, name: &str, came_to_nothing: bool) {
        if self.came_to_nothing(name) == came_to_nothing {
            return;
        }
        if let Ok(locked) = self.lock() {
            let mark = Path::new("retry").join(name);
            let _marked = if came_to_nothing {
                locked.write(&mark, b"")
            } else {
                locked.remove(&mark).map(drop)
            };
        }
    }

    /// Returns the client identifier of an account.
    pub(super) fn client_of(&self, url: &str, account: &str) -> Result<Option<String>, Problem> {
        Ok(records::client_of(&self.slots(), &name(url, account)?))
    }

    /// Returns the client of an account, with its authorization server.
    pub(super) fn client_at(
        &self,
        url: &str,
        account: &str,
    ) -> Result<Option<records::ClientAt>, Problem> {
        Ok(records::client_at(&self.slots(), &name(url, account)?))
    }

    pub(super) fn has_account(&self, url: &str, account: &str) -> Result<bool, Problem> {
        Ok(self
            .slots()
            .join("account")
            .join(name(url, account)?)
            .exists())
    }

    /// Prints which damaged files were renamed.
    pub(super) fn tell_damage(&self) {
        if let Ok(store) = FileStore::existing(self.slots()) {
            for path in store.damaged() {
                eprintln!("mcp-auth: a damaged file was set aside: {}", path.display());
            }
        }
    }

    /// Returns true if any data of an account exists.
    pub(super) fn has_any(&self, url: &str, account: &str) -> Result<bool, Problem> {
        let name = name(url, account)?;
        for folder in ["slots/account", "secrets", "profiles"] {
            let files = records::in_folder(&self.join(folder)).map_err(Problem::store)?;
            if files.iter().any(|file| is_of(file, &name)) {
                return Ok(true);
            }
        }
        Ok(!records::of_account(&self.slots(), &canonical(url)?, account).is_empty())
    }
}

/// Notes the wait for the lock of a directory, which other commands hold for moments.
pub(super) fn locking(directory: &Path) -> (Noted, Duration) {
    let noted = waits::note(Wait::Lock(directory.join("lock")));
    (noted, waits::at_most(LOCK_TIME))
}

fn lock(directory: &PrivateDirectory) -> io::Result<DirectoryLock> {
    let (_noted, patience) = locking(directory.path());
    directory.clone().patience(patience).lock()
}

fn file_name(profile: &Profile) -> io::Result<String> {
    let name = profile.name();
    name.map_err(|problem| io::Error::other(problem.words()))
}

fn profile_file(name: &str) -> PathBuf {
    Path::new("profiles").join(format!("{name}.json"))
}

/// Returns the files of a folder that belong to an account, including renamed damaged ones.
pub(super) fn beginning(folder: &Path, name: &str) -> Vec<PathBuf> {
    let mut files = records::in_folder(folder).unwrap_or_default();
    files.retain(|file| is_of(file, name));
    files
}

fn is_of(file: &Path, name: &str) -> bool {
    file.file_name()
        .is_some_and(|file| file.to_string_lossy().starts_with(name))
}
