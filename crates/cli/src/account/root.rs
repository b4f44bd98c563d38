//! The directory of the accounts: the settings and the secrets of each, beside the slots.
//!
//! `profiles/NAME.json` is what an account is remembered by, `secrets/NAME.*` is a secret that was typed
//! for it, `journal/` says what processes are in the middle of (`journal.rs`), `retry/NAME` that the last
//! sign-in had no callback, `port` is the port of the last callback listener.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mcp_auth_client::{DirectoryLock, FileStore, PrivateDirectory};

use super::journal;
use super::profile::{Profile, canonical, name};
use super::records;
use crate::problem::Problem;

/// How long a command waits for another one that writes.
pub(super) const LOCK_TIME: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(super) struct Root {
    directory: PrivateDirectory,
}

/// The profile that is stored for an account.
pub(super) enum Remembered {
    Nothing,
    Profile(Box<Profile>),
    /// The file is damaged and was set aside; the words say so.
    Damaged(String),
}

/// The parts that an erasure removed, in the order in which they are named.
#[derive(Default)]
pub(super) struct Removed {
    pub(super) parts: Vec<&'static str>,
}

/// Which registrations go with an account: those of this client, or all where it is not known.
pub(super) type ForgetClient = Option<Option<String>>;

impl Removed {
    fn note(&mut self, part: &'static str, removed: bool) {
        if removed && !self.parts.contains(&part) {
            self.parts.push(part);
        }
    }

    /// Something that was removed before the rest.
    pub(super) fn note_first(&mut self, part: &'static str) {
        self.parts.retain(|noted| *noted != part);
        self.parts.insert(0, part);
    }
}

impl Root {
    /// Opens the directory, and finishes or undoes what processes left that died.
    pub(super) fn open(path: PathBuf) -> Self {
        let path = std::path::absolute(&path).unwrap_or(path);
        let root = Self {
            directory: PrivateDirectory::new(path).patience(LOCK_TIME),
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
            let files = fs::read_dir(folder).into_iter().flatten().flatten();
            files
                .map(|file| file.file_name())
                .any(|name| name.to_string_lossy().starts_with('.'))
        };
        journal::has_entries(self)
            || ["", "profiles", "secrets", "journal"]
                .into_iter()
                .any(|folder| half(self.join(folder)))
    }

    pub(super) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn slots(&self) -> PathBuf {
        self.join("slots")
    }

    pub(super) fn lock(&self) -> io::Result<DirectoryLock> {
        self.directory.lock()
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
            Err(error) => return Err(format!("{}: {error}", path.display()).into()),
        };
        let name = path.strip_prefix(self.directory.path()).unwrap_or(path);
        // Another process may have replaced it meanwhile.
        let aside = self.directory.lock().and_then(|locked| {
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

    /// All that are remembered, by URL and name, and what is said of damaged ones.
    pub(super) fn all(&self) -> Result<(Vec<Profile>, Vec<String>), Problem> {
        let (mut found, mut flaws) = (Vec::new(), Vec::new());
        let files = match fs::read_dir(self.join("profiles")) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((found, flaws)),
            Err(error) => return Err(error.into()),
        };
        for path in files.flatten().map(|file| file.path()) {
            if path.extension().is_none_or(|end| end != "json") {
                continue;
            }
            match self.read_profile(&path) {
                // Removed meanwhile, by `logout`.
                Ok(Remembered::Nothing) => {}
                Ok(Remembered::Profile(profile)) => found.push(*profile),
                Ok(Remembered::Damaged(words)) => flaws.push(words),
                Err(problem) => flaws.push(problem.words()),
            }
        }
        found.sort_by(|a, b| (&a.url, &a.account).cmp(&(&b.url, &b.account)));
        Ok((found, flaws))
    }

    /// Remembers an account with these settings and this secret, and no other.
    pub(super) fn save(locked: &DirectoryLock, root: &Self, profile: &Profile) -> io::Result<()> {
        let name = profile
            .name()
            .map_err(|problem| io::Error::other(problem.words()))?;
        let text = serde_json::to_vec_pretty(profile).map_err(io::Error::other)?;
        locked.write(profile_file(&name), &[text.as_slice(), b"\n"].concat())?;
        let kept = profile.settings.client_secret_file.as_deref();
        for secret in root.secrets(&name) {
            if kept != Some(std::path::absolute(&secret)?.as_path()) {
                locked.remove(&*secret)?;
            }
        }
        Ok(())
    }

    /// The files of secrets that were typed for an account.
    fn secrets(&self, name: &str) -> Vec<PathBuf> {
        beginning(&self.join("secrets"), name)
    }

    // ---- The port and the marks

    /// The port of the last callback listener. It is public, and decides which registration is used.
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
            // Another port does no harm.
            let _kept = locked.write("port", port.to_string().as_bytes());
        }
    }

    /// Whether the last sign-in used a client that was registered earlier, and ended without a callback.
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

    // ---- Signing out

    /// Removes everything that is there for an account, readable or not.
    pub(super) fn erase(
        &self,
        locked: &DirectoryLock,
        (url, account): (&str, &str),
        forget_client: ForgetClient,
    ) -> Result<Removed, Problem> {
        let (name, url) = (name(url, account)?, canonical(url)?);
        let removed = self.remove(locked, &name, (&url, account), forget_client);
        removed.map_err(Problem::store)
    }

    fn remove(
        &self,
        locked: &DirectoryLock,
        name: &str,
        (url, account): (&str, &str),
        forget_client: ForgetClient,
    ) -> io::Result<Removed> {
        let mut removed = Removed::default();
        if self.slots().is_dir() {
            let slots = PrivateDirectory::new(self.slots()).patience(LOCK_TIME);
            let slots = slots.lock()?;
            for file in beginning(&self.slots().join("account"), name) {
                removed.note("tokens", slots.remove(&*file)?);
            }
            for file in records::of_account(&self.slots(), url, account) {
                let part = records::part(&file);
                removed.note(part, slots.remove(&*file)?);
            }
            if let Some(client) = forget_client {
                for file in records::registrations(&self.slots(), account, client.as_deref()) {
                    removed.note("the client's registration", slots.remove(&*file)?);
                }
            }
        }
        for secret in self.secrets(name) {
            removed.note("the client's secret", locked.remove(&*secret)?);
        }
        for profile in beginning(&self.join("profiles"), name) {
            removed.note("settings", locked.remove(&*profile)?);
        }
        locked.remove(Path::new("retry").join(name))?;
        Ok(removed)
    }

    /// The identifier of the client that an account uses.
    pub(super) fn client_of(&self, url: &str, account: &str) -> Result<Option<String>, Problem> {
        Ok(records::client_of(&self.slots(), &name(url, account)?))
    }

    pub(super) fn has_account(&self, url: &str, account: &str) -> Result<bool, Problem> {
        Ok(self
            .slots()
            .join("account")
            .join(name(url, account)?)
            .exists())
    }

    /// Says which damaged files were set aside.
    pub(super) fn tell_damage(&self) {
        if let Ok(store) = FileStore::open(self.slots()) {
            for path in store.damaged() {
                eprintln!("mcp-auth: a damaged file was set aside: {}", path.display());
            }
        }
    }

    /// Whether anything is there for an account.
    pub(super) fn has_any(&self, url: &str, account: &str) -> Result<bool, Problem> {
        let name = name(url, account)?;
        let folders = ["slots/account", "secrets", "profiles"];
        let files = folders
            .iter()
            .any(|folder| !beginning(&self.join(folder), &name).is_empty());
        Ok(files || !records::of_account(&self.slots(), &canonical(url)?, account).is_empty())
    }
}

fn profile_file(name: &str) -> PathBuf {
    Path::new("profiles").join(format!("{name}.json"))
}

/// The files of a folder whose names begin with the name of an account: its own, and what was set aside.
fn beginning(folder: &Path, name: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files
        .filter(|file| file.file_name().to_string_lossy().starts_with(name))
        .map(|file| file.path())
        .collect()
}
