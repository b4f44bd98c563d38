//! The turns of bridges: of several that need a sign-in to one account, one has the user sign in, and the others wait
//! for its tokens.
//!
//! The sign-in whose turn it is holds the lock of `signing/NAME.lock`, and `signing/NAME` has the URL for the user, which
//! the others show too.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use mcp_auth_client::{DirectoryLock, now};
use mcp_auth_machine::time::UnixMillis;
use mcp_auth_machine::wire::scopes::Scopes;

use super::person::show_url;
use super::records;
use super::root::Root;
use crate::begun::begun;
use crate::problem::Problem;
use crate::signals;

/// How often a waiting process looks at the store.
const LOOK: Duration = Duration::from_millis(400);

/// A sign-in to one account, and the scopes that it is about.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) root: Root,
    pub(super) name: String,
    pub(super) scopes: Option<String>,
}

/// The time from which tokens are those of another process, while this one waits for its callback.
pub(super) type Awaited = Arc<Mutex<Option<UnixMillis>>>;

/// The turn of this process, until it is dropped.
pub(super) struct Turn {
    root: Root,
    name: String,
    _lock: File,
}

impl Drop for Turn {
    fn drop(&mut self) {
        end(&self.root, &self.name);
    }
}

fn shared(name: &str) -> PathBuf {
    Path::new("signing").join(name)
}

/// Returns the file whose lock is the turn.
fn lock_file(name: &str) -> PathBuf {
    shared(&format!("{name}.lock"))
}

/// Removes the file of the turns with an account, unless a process has the turn: another one would make the file again,
/// and have the turn too.
pub(super) fn erase(root: &Root, locked: &DirectoryLock, name: &str) {
    let file = lock_file(name);
    let is_held = File::open(root.join(&file)).is_ok_and(|lock| lock.try_lock().is_err());
    if !is_held {
        // Some systems do not permit to remove an open file; it is empty.
        let _stays = locked.remove(file);
    }
}

fn clear(root: &Root, name: &str) {
    if root.join(shared(name)).exists()
        && let Ok(locked) = root.lock()
    {
        // A URL that stays is replaced by the next sign-in.
        let _stays = locked.remove(shared(name));
    }
}

/// Removes the files of a turn, by the process that has it. Each try for the next turn opens the file under the lock of the
/// directory, and so finds this one or a new one.
fn end(root: &Root, name: &str) {
    if let Ok(locked) = root.lock() {
        for file in [shared(name), lock_file(name)] {
            // A URL that stays is replaced by the next sign-in, and an empty file is in no way.
            let _stays = locked.remove(file);
        }
    }
}

impl Wanted {
    /// Returns true if tokens with the wanted scopes were received since this time.
    fn is_done(&self, since: UnixMillis) -> bool {
        let scopes = Scopes::parse(self.scopes.as_deref().unwrap_or_default());
        let span = (since, now().wall);
        let granted = records::granted_between(&self.root.slots(), &self.name, span);
        granted.is_some_and(|granted| {
            let granted = Scopes::parse(&granted);
            scopes.iter().all(|scope| granted.contains(scope))
        })
    }

    /// Waits for the turn of this process; `None` when another one has signed in meanwhile.
    ///
    /// # Errors
    /// When the time has passed, or the lock cannot be made.
    pub(super) fn take(&self, end: Instant) -> Result<Option<Turn>, Problem> {
        let mut lock = self.try_lock()?;
        let mut shown = false;
        loop {
            if self.is_done(begun()) {
                return Ok(None);
            }
            if let Some(lock) = lock {
                clear(&self.root, &self.name);
                return Ok(Some(Turn {
                    root: self.root.clone(),
                    name: self.name.clone(),
                    _lock: lock,
                }));
            }
            if Instant::now() >= end {
                let file = self.root.join(lock_file(&self.name));
                return Err(Problem::OutOfTime {
                    last: Some(format!(
                        "another sign-in to this account, which holds {}, has not ended",
                        file.display()
                    )),
                    lease: None,
                });
            }
            if !shown && let Ok(url) = fs::read_to_string(self.root.join(shared(&self.name))) {
                note!("Another sign-in to this account waits for the user.");
                show_url(url.trim());
                shown = true;
            }
            sleep(LOOK);
            // A command that holds the directory for long makes the wait longer, and does not end it.
            lock = self.try_lock().unwrap_or_default();
        }
    }

    /// Locks the file of the turns; `None` while another process has it. A sign-out removes the file, so that each try
    /// opens it under the lock of the directory.
    fn try_lock(&self) -> Result<Option<File>, Problem> {
        let name = lock_file(&self.name);
        let file = self.root.join(&name);
        let locked = self.root.lock().map_err(Problem::store)?;
        if !file.exists() {
            // The write creates the private folder.
            locked.write(&name, b"").map_err(Problem::store)?;
        }
        let lock = OpenOptions::new().write(true).open(&file);
        let lock = lock.map_err(records::at(&file)).map_err(Problem::store)?;
        Ok(lock.try_lock().is_ok().then_some(lock))
    }

    /// Ends the turn of this process, which does not return from here.
    pub(super) fn end(&self) {
        end(&self.root, &self.name);
    }

    /// Ends this process with success once another one has signed in, while it waits for the user. `undo`: removes the
    /// sign-in that is pending.
    pub(super) fn watch(self, waits: Awaited, undo: impl FnOnce() + Send + 'static) {
        thread::spawn(move || {
            let (root, name) = (self.root.clone(), self.name.clone());
            let mut undo: Box<dyn FnOnce() + Send> = Box::new(move || {
                undo();
                end(&root, &name);
            });
            loop {
                sleep(LOOK);
                let since = *waits.lock().unwrap_or_else(PoisonError::into_inner);
                if since.is_some_and(|since| self.is_done(since)) {
                    note!("Another process has signed in.");
                    undo = signals::finish(undo);
                }
            }
        });
    }
}

impl Turn {
    /// Shares the URL that the user opens.
    pub(super) fn share(&self, url: &str) {
        if let Ok(locked) = self.root.lock() {
            // Without it the others wait without a URL.
            let _shared = locked.write(shared(&self.name), url.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A sign-out beside a sign-in: the turn stays that of one process.
    #[test]
    fn the_file_of_a_turn_stays_while_a_process_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path().to_owned());
        let wanted = Wanted {
            root: root.clone(),
            name: "a".to_owned(),
            scopes: None,
        };
        let lock = wanted.try_lock().ok().flatten().unwrap();
        erase(&root, &root.lock().unwrap(), "a");
        assert!(wanted.try_lock().ok().unwrap().is_none());
        drop(lock);
        erase(&root, &root.lock().unwrap(), "a");
        assert!(!root.join(lock_file("a")).exists());
        assert!(wanted.try_lock().ok().flatten().is_some());
    }
}
