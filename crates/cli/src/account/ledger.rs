//! The store of a command: the account and its settings are written as one transaction.

mod change;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use mcp_auth_client::{Store, StoreError, Swap};
use mcp_auth_machine::slot::{Revision, Slot, SlotKind, Stored};
use mcp_auth_machine::time::UnixMillis;

use self::change::{Change, brings_tokens};
use super::journal::Journal;
use super::profile::Profile;
use super::root::Root;
use super::slots::{Found, Slots};
use crate::begun::begun;
use crate::problem::{Detail, Problem};
use crate::waits;

/// How long a failed write of new tokens is retried, because they would be lost otherwise.
const RETRIES: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(250);

/// Shared by its clones: the machine uses one as its store, the command the other.
#[derive(Clone)]
pub(super) struct Ledger {
    slots: Slots,
    shared: Arc<Mutex<Shared>>,
    /// A new registration was stored.
    registered: Arc<AtomicBool>,
}

#[derive(Default)]
struct Shared {
    /// The change that `login` makes; `None` for other commands.
    change: Option<Change>,
    /// The last error of the store.
    trouble: Option<Detail>,
    /// Records that this sign-in does not use, because a new client is asked for or no one can open them: each counts
    /// as absent, and stays until a new one replaces it.
    hidden: BTreeMap<String, Hidden>,
    /// When this process last wrote an account.
    own: Option<UnixMillis>,
    /// The file with new tokens for the next command.
    kept: Option<PathBuf>,
}

/// A record that counts as absent.
struct Hidden {
    /// The revision that the last load saw: a new record replaces this one, and not one of another process.
    seen: Option<Revision>,
    /// A new client is asked for, rather than that no one can open the record.
    is_replaced: bool,
}

impl Ledger {
    pub(super) fn new(slots: Slots) -> Self {
        Self {
            slots,
            shared: Arc::default(),
            registered: Arc::default(),
        }
    }

    /// Stores these settings together with the account of the next sign-in.
    pub(super) fn change(
        &self,
        root: &Root,
        journal: Journal,
        profile: Profile,
    ) -> Result<(), Problem> {
        self.shared().change = Some(Change::new(root, journal, profile)?);
        Ok(())
    }

    /// Has the sign-in register a new client in place of these registrations.
    pub(super) fn replace(&self, registrations: BTreeSet<String>) {
        let hidden = registrations.into_iter().map(|slot| {
            let hidden = Hidden {
                seen: None,
                is_replaced: true,
            };
            (slot, hidden)
        });
        self.shared().hidden = hidden.collect();
    }

    /// Returns the time from which an account that was received is the work of another process.
    pub(super) fn own_end(&self) -> UnixMillis {
        let own = self.shared().own;
        own.map_or_else(begun, |own| UnixMillis(own.0.saturating_add(1)))
    }

    /// Returns whether a new registration was stored, which a signal's action may read.
    pub(super) fn registered(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.registered)
    }

    /// Returns true if a record counts as absent, and keeps the revision that was seen.
    fn hides(&self, slot: Slot) -> Result<bool, StoreError> {
        let mut shared = self.shared();
        if shared.hidden.is_empty() {
            return Ok(false);
        }
        let name = slot.to_string();
        let Some(hidden) = shared.hidden.get_mut(&name) else {
            return Ok(false);
        };
        let stored = self.slots.raw(slot)?.map(|stored| stored.revision);
        if hidden.is_replaced {
            hidden.seen = stored;
            return Ok(true);
        }
        let is_same = hidden.seen == stored;
        if !is_same {
            // Another process has stored a record, which may be a good one.
            shared.hidden.remove(&name);
        }
        Ok(is_same)
    }

    /// Marks the next account as the result of this sign-in, after its callback.
    pub(super) fn signing_in(&self) {
        if let Some(change) = &mut self.shared().change {
            change.signs_in();
        }
    }

    /// Returns true if a sign-in was stored.
    pub(super) fn has_committed(&self) -> bool {
        let shared = self.shared();
        shared.change.as_ref().is_some_and(Change::has_committed)
    }

    /// Stores the settings for the existing account.
    pub(super) fn commit(&self) -> Result<(), StoreError> {
        match &mut self.shared().change {
            Some(change) => {
                change.commit(&self.slots)?;
                change.note_used();
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Returns true if the sign-in that was stored replaced an account.
    pub(super) fn has_replaced(&self) -> bool {
        let shared = self.shared();
        shared.change.as_ref().is_some_and(Change::has_replaced)
    }

    /// Restores what the sign-in replaced, unless another process has changed the account meanwhile.
    pub(super) fn roll_back(&self) -> Result<(), StoreError> {
        match &mut self.shared().change {
            Some(change) => change.roll_back(&self.slots),
            None => Ok(()),
        }
    }

    /// Returns and clears the last error of the store.
    pub(super) fn trouble(&self) -> Option<Detail> {
        self.shared().trouble.take()
    }

    fn shared(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load_for_login(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        if self.hides(slot)? {
            return Ok(None);
        }
        // Read before the record is opened: one that another process stores meanwhile is a conflict.
        let seen = self.slots.raw(slot)?.map(|stored| stored.revision);
        Ok(match self.slots.load_for_login(slot)? {
            Found::Record(record) => {
                if let (SlotKind::Registration, Some(stored), Some(change)) =
                    (slot.kind(), &record, &mut self.shared().change)
                {
                    change.uses(slot, stored);
                }
                record
            }
            Found::Unreadable => {
                let hidden = Hidden {
                    seen,
                    is_replaced: false,
                };
                self.shared().hidden.insert(slot.to_string(), hidden);
                None
            }
        })
    }

    /// Returns how long a failed write of new tokens is retried. A sign-in has cost the user time, so its tokens may take longer
    /// than the command; those of a refresh are kept for the next command.
    fn retries(&self) -> Duration {
        let signs_in = self.shared().change.is_some();
        if signs_in {
            RETRIES
        } else {
            waits::at_most(RETRIES)
        }
    }

    /// Keeps new tokens of a refresh for the next command, where this one cannot store them in its time.
    fn keep(&self, slot: Slot, expected: Option<Revision>, write: Option<&Stored>) {
        let mut shared = self.shared();
        if shared.change.is_some() || shared.kept.is_some() {
            return;
        }
        if let Some(Ok(kept)) = write.map(|stored| self.slots.keep((slot, expected), stored)) {
            shared.kept = Some(kept);
        }
    }

    /// Removes what was kept for the next command, once it is stored.
    fn drop_kept(&self, slot: Slot) {
        if slot.kind() == SlotKind::Account
            && let Some(kept) = self.shared().kept.take()
        {
            // The next command does.
            let _gone = std::fs::remove_file(kept);
        }
    }

    fn noted<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result {
            self.shared().trouble = Some(Detail::of_store(error));
        }
        result
    }

    fn write(
        &self,
        (slot, expires): (Slot, Option<UnixMillis>),
        expected: Option<Revision>,
        write: Option<&Stored>,
    ) -> Result<Swap, StoreError> {
        let swap = self.write_as((slot, expires), expected, write)?;
        if slot.kind() == SlotKind::Account && matches!(swap, Swap::Done) {
            self.shared().own = Some(mcp_auth_client::now().wall);
        }
        Ok(swap)
    }

    fn write_as(
        &self,
        (slot, expires): (Slot, Option<UnixMillis>),
        expected: Option<Revision>,
        write: Option<&Stored>,
    ) -> Result<Swap, StoreError> {
        let mut shared = self.shared();
        let hidden = shared.hidden.get(&slot.to_string());
        let is_hidden = hidden.is_some();
        let expected = expected.or_else(|| hidden.and_then(|hidden| hidden.seen));
        match (&mut shared.change, write) {
            (Some(change), Some(_)) if slot.kind() == SlotKind::Pending => {
                change.pends(slot)?;
            }
            (Some(change), write) if slot.kind() == SlotKind::Registration => {
                change.registers((slot, is_hidden), write)?;
            }
            (Some(change), Some(stored)) if change.is_the_result(slot, stored) => {
                let swap = change.store(&self.slots, slot, expected, stored)?;
                if matches!(swap, Swap::Done) {
                    change.note_used();
                    shared.hidden.remove(&slot.to_string());
                }
                return Ok(swap);
            }
            (_, _) => {}
        }
        drop(shared);
        // The form of a record that no one can open says nothing about the one that replaces it.
        let is_lost = is_hidden && matches!(self.slots.load_for_login(slot)?, Found::Unreadable);
        let seals = is_lost.then(|| self.slots.wants_keyring());
        let swap = self
            .slots
            .persist_as((slot, expected), (write, expires), seals)?;
        if slot.kind() == SlotKind::Registration && matches!(swap, Swap::Done) {
            let mut shared = self.shared();
            shared.hidden.remove(&slot.to_string());
            self.registered.fetch_or(write.is_some(), Ordering::Relaxed);
            if let (Some(change), Some(stored)) = (&shared.change, write) {
                change.has_registered(slot, stored);
            }
        }
        if matches!(swap, Swap::Done)
            && let Some(change) = &mut self.shared().change
        {
            change.has_written(slot, write);
        }
        Ok(swap)
    }
}

impl Store for Ledger {
    fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        let signs_in = self.shared().change.is_some();
        let found = if signs_in {
            self.load_for_login(slot)
        } else {
            self.slots.load(slot)
        };
        self.noted(found)
    }

    fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        let end = Instant::now().checked_add(self.retries());
        let mut told = String::new();
        loop {
            let written = self.write((slot, expires), expected, write);
            // Tokens that are not stored are lost, so the write is retried: the disk may have space again.
            let grants = write.is_some_and(|stored| brings_tokens(slot, stored));
            let over = end.is_none_or(|end| Instant::now() >= end);
            match &written {
                Err(error) if grants && !over => {
                    let said = format!(
                        "the account could not be stored ({}); trying again",
                        error.0
                    );
                    if told != said {
                        note!("mcp-auth: {said}");
                        told = said;
                    }
                    sleep(PAUSE);
                }
                Err(_) if grants => {
                    self.keep(slot, expected, write);
                    return self.noted(written);
                }
                Err(_) | Ok(_) => {
                    self.drop_kept(slot);
                    return self.noted(written);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
