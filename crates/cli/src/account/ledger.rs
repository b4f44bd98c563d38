//! The store of a command: the account and its settings are written as one transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use mcp_auth_client::{DirectoryLock, Store, StoreError, Swap};
use mcp_auth_machine::slot::{Revision, Slot, SlotKind, Stored};
use mcp_auth_machine::time::UnixMillis;
use serde_json::Value;

use super::conversion::convert;
use super::journal::{Commit, Journal};
use super::profile::Profile;
use super::records;
use super::root::Root;
use super::sealing;
use super::slots::{Found, Slots};
use crate::begun::begun;
use crate::problem::Problem;

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
    trouble: Option<String>,
    /// Records that this sign-in does not use, because a new client is asked for or no one can open them: each counts
    /// as absent, and stays until a new one replaces it.
    hidden: BTreeMap<String, Hidden>,
    /// When this process last wrote an account.
    own: Option<UnixMillis>,
}

/// A record that counts as absent.
struct Hidden {
    /// The revision that the last load saw: a new record replaces this one, and not one of another process.
    seen: Option<Revision>,
    /// A new client is asked for, rather than that no one can open the record.
    is_replaced: bool,
}

/// Settings to be stored with the account of the sign-in that uses them.
struct Change {
    root: Root,
    journal: Journal,
    profile: Profile,
    /// The file for a typed secret, relative to the directory.
    place: PathBuf,
    /// The access token that was stored before.
    before: Option<zeroize::Zeroizing<String>>,
    /// The next account to be stored is the result of this sign-in.
    signing_in: bool,
    committed: bool,
    /// The records that the commit replaced.
    former: Option<Former>,
}

/// The account and the settings that a sign-in replaced, for a sign-in that fails afterwards.
struct Former {
    slot: Slot,
    /// The file of the account, opened or not.
    account: Option<Stored>,
    profile: Option<Vec<u8>>,
    /// The revision that this process wrote last.
    written: Option<Revision>,
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
        let millis = mcp_auth_client::now().wall.0;
        let name = profile.name()?;
        let own = format!("{name}.{}-{millis}", std::process::id());
        let before = records::access_of(&root.slots(), &name);
        self.shared().change = Some(Change {
            root: root.clone(),
            journal,
            profile,
            place: Path::new("secrets").join(own),
            before,
            signing_in: false,
            committed: false,
            former: None,
        });
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
            change.signing_in = true;
        }
    }

    /// Returns true if a sign-in was stored.
    pub(super) fn has_committed(&self) -> bool {
        let shared = self.shared();
        shared
            .change
            .as_ref()
            .is_some_and(|change| change.committed)
    }

    /// Stores the settings for the existing account.
    pub(super) fn commit(&self) -> Result<(), StoreError> {
        if let Some(change) = &mut self.shared().change {
            let locked = change.root.lock()?;
            let account = (change.profile.url.as_str(), change.profile.account.as_str());
            if change.committed {
                // Registrations, and a secret of an earlier sign-in, may have the former form.
                return convert(&change.root, &locked, account);
            }
            let former = change.root.profile_text(&change.profile)?;
            let (profile, secret) = change.ready(&self.slots, &locked)?;
            if let Some((path, text)) = &secret {
                locked.write(path, text.as_bytes())?;
            }
            change.journal.replaces(&locked)?;
            let stored = Root::write_profile(&locked, &profile)
                .map_err(StoreError::from)
                .and_then(|()| convert(&change.root, &locked, account));
            if let Err(error) = stored {
                let before = change.root.restore(&locked, &profile, former.as_deref());
                before?;
                convert(&change.root, &locked, account)?;
                return Err(error);
            }
            Root::save(&locked, &change.root, &profile)?;
            change.committed = true;
        }
        Ok(())
    }

    /// Returns true if the sign-in that was stored replaced an account.
    pub(super) fn has_replaced(&self) -> bool {
        let shared = self.shared();
        let former = shared
            .change
            .as_ref()
            .and_then(|change| change.former.as_ref());
        former.is_some_and(|former| former.account.is_some())
    }

    /// Restores what the sign-in replaced, unless another process has changed the account meanwhile.
    pub(super) fn roll_back(&self) -> Result<(), StoreError> {
        let mut shared = self.shared();
        let Some(change) = &mut shared.change else {
            return Ok(());
        };
        let Some(former) = change.former.take() else {
            return Ok(());
        };
        let locked = change.root.lock()?;
        let account = former.account.as_ref();
        match self.slots.restore((former.slot, former.written), account)? {
            Swap::Done => {}
            // A sign-out has erased it already.
            Swap::Conflict(None) if account.is_none() => {}
            Swap::Conflict(_) => return Ok(()),
        }
        change
            .root
            .restore(&locked, &change.profile, former.profile.as_deref())?;
        locked.remove(&change.place)?;
        change.committed = false;
        let account = (change.profile.url.as_str(), change.profile.account.as_str());
        convert(&change.root, &locked, account)
    }

    /// Returns and clears the last error of the store.
    pub(super) fn trouble(&self) -> Option<String> {
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
            Found::Record(record) => record,
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

    fn noted<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result {
            self.shared().trouble = Some(error.0.to_string());
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
                change.journal.pending(&slot.to_string())?;
            }
            (Some(change), Some(stored)) if change.is_the_result(slot, stored) => {
                let swap = change.store(&self.slots, slot, expected, stored)?;
                if matches!(swap, Swap::Done) {
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
            if let Some(change) = shared.change.as_ref().filter(|_| write.is_some()) {
                change.root.note_client(&change.profile, slot);
            }
        }
        if matches!(swap, Swap::Done)
            && let Some(change) = &mut self.shared().change
            && let Some(former) = &mut change.former
            && former.slot == slot
        {
            former.written = write.map(|stored| stored.revision);
        }
        Ok(swap)
    }
}

/// Returns true for an account with newly issued tokens. An account that is about to be refreshed holds a
/// lease.
fn brings_tokens(slot: Slot, stored: &Stored) -> bool {
    if slot.kind() != SlotKind::Account {
        return false;
    }
    let record = records::parse(stored.contents.expose()).unwrap_or_default();
    // Records of version 1 contain `null` for members that later versions omit.
    let leased = record.get("lease").is_some_and(|lease| !lease.is_null());
    record.get("tokens").is_some_and(Value::is_object) && !leased
}

type Secret = Option<(PathBuf, zeroize::Zeroizing<String>)>;

impl Change {
    /// Returns true for the account of the sign-in, rather than one that is about to be refreshed.
    fn is_the_result(&self, slot: Slot, stored: &Stored) -> bool {
        if !self.signing_in || !brings_tokens(slot, stored) {
            return false;
        }
        let token = records::access(stored.contents.expose());
        self.before.is_none() || token != self.before
    }

    /// Returns the settings to store, and the secret with its file.
    fn ready(
        &self,
        slots: &Slots,
        locked: &DirectoryLock,
    ) -> Result<(Profile, Secret), StoreError> {
        let mut profile = self.profile.clone();
        let Some(mut text) = profile.settings.typed.take() else {
            return Ok((profile, None));
        };
        if profile.settings.keyring {
            let (id, key) = slots.key(locked)?;
            let place = sealing::place_of(&self.place);
            text = zeroize::Zeroizing::new(sealing::seal(&id, &key, &place, &text)?);
        }
        profile.settings.client_secret_file = Some(self.root.join(&self.place));
        Ok((profile, Some((self.place.clone(), text))))
    }

    /// Stores account, secret and settings. After a crash the next process completes or undoes the change
    /// from the journal entry.
    fn store(
        &mut self,
        slots: &Slots,
        slot: Slot,
        expected: Option<Revision>,
        stored: &Stored,
    ) -> Result<Swap, StoreError> {
        let locked = self.root.lock()?;
        let (profile, secret) = self.ready(slots, &locked)?;
        let place = secret.as_ref().map(|_| self.place.clone());
        let commit = Commit {
            profile: profile.clone(),
            revision: stored.revision.to_string(),
            former: expected.map(|revision| revision.to_string()),
            client: records::client(stored.contents.expose()),
            secret: place,
        };
        self.journal.commits(&locked, commit)?;
        if let Some((path, text)) = &secret {
            locked.write(path, text.as_bytes())?;
        }
        let former = Former {
            slot,
            account: slots.raw(slot)?,
            profile: self.root.profile_text(&profile)?,
            written: Some(stored.revision),
        };
        let form = Some(profile.settings.keyring);
        let swap = slots.persist_locked(&locked, (slot, expected), (Some(stored), None), form);
        match &swap {
            Ok(Swap::Done) => {
                // The end of the journal's entry removes the former secret.
                Root::write_profile(&locked, &profile)?;
                self.former.get_or_insert(former).written = Some(stored.revision);
                self.committed = true;
                self.journal.settled(&locked)?;
            }
            // When the entry is closed, the stored account decides about the settings.
            Ok(Swap::Conflict(_)) | Err(_) => {}
        }
        swap
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
        let end = Instant::now().checked_add(RETRIES);
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
                    if self.shared().trouble.replace(said.clone()).as_ref() != Some(&said) {
                        eprintln!("mcp-auth: {said}");
                    }
                    sleep(PAUSE);
                }
                Err(_) | Ok(_) => return self.noted(written),
            }
        }
    }
}

#[cfg(test)]
mod tests;
