//! The turns of bridges: of several that need a sign-in to one account, one has the user sign in, and the others wait
//! for its tokens.
//!
//! The sign-in whose turn it is holds the lock of `signing/NAME.lock`, and `signing/NAME` has the URL for the user, which
//! the others show too.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use mcp_auth_client::now;
use mcp_auth_machine::wire::scopes::Scopes;

use super::person::show_url;
use super::records;
use super::root::Root;
use crate::begun::begun;
use crate::problem::{Presented, Problem};
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

/// The turn of this process, until it is dropped.
pub(super) struct Turn {
    root: Root,
    name: String,
    _lock: File,
}

impl Drop for Turn {
    fn drop(&mut self) {
        clear(&self.root, &self.name);
    }
}

fn shared(name: &str) -> PathBuf {
    Path::new("signing").join(name)
}

fn clear(root: &Root, name: &str) {
    if root.join(shared(name)).exists()
        && let Ok(locked) = root.lock()
    {
        // A URL that stays is replaced by the next sign-in.
        let _stays = locked.remove(shared(name));
    }
}

impl Wanted {
    /// Returns true if another process has stored tokens since this one began, with the wanted scopes.
    fn is_done(&self) -> bool {
        let scopes = Scopes::parse(self.scopes.as_deref().unwrap_or_default());
        let span = (begun(), now().wall);
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
        let file = self.root.join(shared(&format!("{}.lock", self.name)));
        {
            let locked = self.root.lock().map_err(Problem::store)?;
            if !file.exists() {
                // The write creates the private folder.
                let made = locked.write(shared(&format!("{}.lock", self.name)), b"");
                made.map_err(Problem::store)?;
            }
        }
        let lock = OpenOptions::new().write(true).open(&file);
        let lock = lock.map_err(records::at(&file)).map_err(Problem::store)?;
        let mut shown = false;
        loop {
            if self.is_done() {
                return Ok(None);
            }
            if lock.try_lock().is_ok() {
                clear(&self.root, &self.name);
                return Ok(Some(Turn {
                    root: self.root.clone(),
                    name: self.name.clone(),
                    _lock: lock,
                }));
            }
            if Instant::now() >= end {
                return Err(Problem::TimedOut {
                    client: Presented::New,
                });
            }
            if !shown && let Ok(url) = fs::read_to_string(self.root.join(shared(&self.name))) {
                note!("Another sign-in to this account waits for the user.");
                show_url(url.trim());
                shown = true;
            }
            sleep(LOOK);
        }
    }

    /// Ends this process with success once another one has signed in, while it waits for the user. `undo`: removes the
    /// sign-in that is pending.
    pub(super) fn watch(self, waits: Arc<AtomicBool>, undo: impl FnOnce() + Send + 'static) {
        thread::spawn(move || {
            let (root, name) = (self.root.clone(), self.name.clone());
            let mut undo: Box<dyn FnOnce() + Send> = Box::new(move || {
                undo();
                clear(&root, &name);
            });
            loop {
                sleep(LOOK);
                if waits.load(Ordering::Relaxed) && self.is_done() {
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
