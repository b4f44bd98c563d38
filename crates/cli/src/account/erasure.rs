//! Signing out: the erasure of an account, readable or not, and of the registrations that its sign-ins made.

use std::fs;
use std::io;
use std::path::Path;

use mcp_auth_client::DirectoryLock;
use mcp_auth_machine::slot::Slot;
use serde::{Deserialize, Serialize};

use super::profile::{Profile, canonical, name};
use super::records;
use super::root::{Root, beginning};
use super::turn;
use crate::problem::Problem;

/// The parts that an erasure removed, in the order of the message.
#[derive(Default)]
pub(super) struct Removed {
    pub(super) parts: Vec<&'static str>,
}

/// The registrations that are erased with an account: those of its client, and those that its sign-ins made.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Forget {
    pub(super) client: Option<records::ClientAt>,
}

/// Whether registrations are erased with an account.
pub(super) type ForgetClient = Option<Forget>;

impl Removed {
    fn note(&mut self, part: &'static str, removed: bool) {
        if removed && !self.parts.contains(&part) {
            self.parts.push(part);
        }
    }

    /// Adds the parts of another erasure.
    pub(super) fn add(&mut self, other: Self) {
        for part in other.parts {
            self.note(part, true);
        }
    }

    /// Adds a part that was removed before the others.
    pub(super) fn note_first(&mut self, part: &'static str) {
        self.parts.retain(|noted| *noted != part);
        self.parts.insert(0, part);
    }
}

impl Root {
    /// Notes a registration that a sign-in of this account made, also if the sign-in fails: the record of a registration
    /// does not name the MCP server.
    pub(super) fn note_client(&self, profile: &Profile, slot: Slot) {
        let Ok(name) = profile.name() else {
            return;
        };
        if self.noted_clients(&name).contains(&slot.to_string()) {
            return;
        }
        // Without the note the registration stays until a sign-in uses it.
        let Ok(locked) = self.lock() else {
            return;
        };
        // Read under the lock: another sign-in may add a note at once.
        let mut noted = self.noted_clients(&name);
        let slot = slot.to_string();
        if noted.contains(&slot) {
            return;
        }
        noted.push(slot);
        let text = format!("{}\n", noted.join("\n"));
        let _noted = locked.write(Path::new("clients").join(name), text.as_bytes());
    }

    /// Returns the slots of the registrations that sign-ins of this account made.
    fn noted_clients(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.join("clients").join(name)).unwrap_or_default();
        let slots = text
            .lines()
            .filter(|slot| slot.starts_with("registration/"));
        slots.map(str::to_owned).collect()
    }

    /// Returns true if there are registrations that [`Forget`] erases without an account.
    pub(super) fn has_clients(&self, url: &str, account: &str) -> Result<bool, Problem> {
        let noted = self.noted_clients(&name(url, account)?);
        let of = (&*canonical(url)?, account);
        Ok(!records::forgotten(&self.slots(), of, None, &noted).is_empty())
    }

    /// Erases all data of an account, readable or not.
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
            let slots = self.lock_slots()?;
            for file in beginning(&self.slots().join("account"), name) {
                removed.note("tokens", slots.remove(&*file)?);
            }
            for file in records::of_account(&self.slots(), url, account) {
                let part = records::part(&file);
                removed.note(part, slots.remove(&*file)?);
            }
            for file in records::damaged_registrations(&self.slots(), account) {
                removed.note("damaged files", slots.remove(&*file)?);
            }
            let noted = self.noted_clients(name);
            if let Some(forget) = forget_client {
                let client = forget.client.as_ref();
                let found = records::forgotten(&self.slots(), (url, account), client, &noted);
                for file in found {
                    removed.note("the client's registration", slots.remove(&*file)?);
                }
            }
            let is_left = |slot: &String| self.slots().join(slot).exists();
            if !noted.iter().any(is_left) {
                locked.remove(Path::new("clients").join(name))?;
            }
        }
        turn::erase(self, locked, name);
        removed.add(self.remove_settings(locked, name)?);
        locked.remove(Path::new("retry").join(name))?;
        Ok(removed)
    }

    /// Erases the settings and the typed secrets of an account.
    pub(super) fn erase_settings(
        &self,
        locked: &DirectoryLock,
        (url, account): (&str, &str),
    ) -> Result<Removed, Problem> {
        let removed = self.remove_settings(locked, &name(url, account)?);
        removed.map_err(Problem::store)
    }

    fn remove_settings(&self, locked: &DirectoryLock, name: &str) -> io::Result<Removed> {
        let mut removed = Removed::default();
        for secret in self.secrets(name) {
            removed.note("the client's secret", locked.remove(&*secret)?);
        }
        for profile in beginning(&self.join("profiles"), name) {
            removed.note("settings", locked.remove(&*profile)?);
        }
        Ok(removed)
    }
}
