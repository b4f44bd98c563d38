//! The slots of the accounts: files, sealed where the settings of the account say so.
//!
//! The form of a record says how it is read, the settings of its account how it is written; a record whose
//! account has no settings keeps its form. `keyring` in the directory names the key. Form and key are decided
//! under the lock of the directory, so that a change of the settings and a refresh in another process cannot
//! miss each other. The metadata of servers is public, and never sealed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use mcp_auth_client::{DirectoryLock, FileStore, Sealed, Store, StoreError, Swap};
use mcp_auth_machine::slot::{Revision, Slot, SlotContents, SlotKind, Stored};
use mcp_auth_machine::time::UnixMillis;
use zeroize::Zeroizing;

use super::conversion::{restored, seals_account};
use super::journal;
use super::key::{self, Named};
use super::keyring::{self, KeyringError};
use super::profile::{Profile, name};
use super::records;
use super::root::{LOCK_TIME, Root, locking};
use super::sealing::{self, Form};
use crate::problem::Problem;
use crate::waits;

/// The contents of a slot, for a sign-in.
pub(super) enum Found {
    Record(Option<Stored>),
    /// A sealed record, which a new one replaces.
    Unreadable,
}

impl From<KeyringError> for StoreError {
    fn from(error: KeyringError) -> Self {
        Self(Box::new(error))
    }
}

/// The slots as one account reads and writes them.
#[derive(Clone)]
pub(super) struct Slots {
    root: Root,
    files: FileStore,
    /// The name of the account's files.
    name: String,
    /// The settings of this process, which may not be stored yet, ask for the keyring.
    wanted: bool,
    /// The key that this process sealed with last.
    key: Arc<Mutex<Option<Named>>>,
}

impl Slots {
    pub(super) fn open(root: &Root, profile: &Profile) -> Result<Self, Problem> {
        Ok(Self {
            root: root.clone(),
            files: FileStore::existing(root.slots())?,
            name: profile.name()?,
            wanted: profile.settings.keyring,
            key: Arc::default(),
        })
    }

    /// Returns true if the slot's file is sealed.
    fn is_sealed(&self, slot: Slot) -> bool {
        let stored = self.files.load(slot).ok().flatten();
        stored.is_some_and(|stored| sealing::key_of(stored.contents.expose()).is_some())
    }

    /// Returns true if a record of this slot has to be sealed.
    fn seals(&self, slot: Slot) -> bool {
        match slot.kind() {
            SlotKind::Metadata => false,
            SlotKind::Account => seals_account(&self.root, &self.name).unwrap_or_default(),
            // A registration may serve several accounts, of which one is sealed.
            SlotKind::Pending | SlotKind::Registration => {
                self.wanted
                    || seals_account(&self.root, &self.name).unwrap_or_default()
                    || self.is_sealed(slot)
            }
        }
    }

    /// Returns the key to seal with.
    pub(super) fn key(&self, locked: &DirectoryLock) -> Result<Named, StoreError> {
        let mut last = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        let named = key::under_lock(&self.root, locked, last.as_ref())?;
        *last = Some(named.clone());
        Ok(named)
    }

    /// Returns a slot's file as it is, opened or not.
    pub(super) fn raw(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        self.files.load(slot)
    }

    /// Puts a slot's file back as it was, sealed with the present key where its own one may be gone.
    pub(super) fn restore(
        &self,
        locked: &DirectoryLock,
        (slot, expected): (Slot, Option<Revision>),
        raw: Option<&Stored>,
    ) -> Result<Swap, StoreError> {
        let path = self.root.slots().join(slot.to_string());
        let readable = raw.map(|raw| {
            let text = format!("{}\n{}", raw.revision, raw.contents.expose());
            let text = restored(&self.root, locked, &path, &Zeroizing::new(text));
            let contents = text.split_once('\n').map_or("", |(_, contents)| contents);
            Stored {
                revision: raw.revision,
                contents: SlotContents::new(contents),
            }
        });
        self.write((slot, expected), (readable.as_ref(), None))
    }

    /// Reads a slot for a sign-in. A record that no one can open counts as absent; without the keyring, so does a
    /// registration that another account sealed, and the user is not asked to unlock the keyring for it.
    pub(super) fn load_for_login(&self, slot: Slot) -> Result<Found, StoreError> {
        let is_of_others = slot.kind() == SlotKind::Registration && !self.wanted;
        let loaded = if is_of_others {
            keyring::aside(|| self.load(slot))
        } else {
            self.load(slot)
        };
        match loaded {
            Ok(found) => Ok(Found::Record(found)),
            Err(error) => match error.0.downcast_ref::<KeyringError>() {
                Some(flaw) if flaw.is_final() || is_of_others => Ok(Found::Unreadable),
                Some(_) | None => Err(error),
            },
        }
    }

    /// Returns true if this account asks for the keyring.
    pub(super) fn wants_keyring(&self) -> bool {
        self.wanted
    }

    /// Writes a slot. `seals`: the form; otherwise that of the settings.
    pub(super) fn persist_as(
        &self,
        (slot, expected): (Slot, Option<Revision>),
        (write, expires): (Option<&Stored>, Option<UnixMillis>),
        seals: Option<bool>,
    ) -> Result<Swap, StoreError> {
        if slot.kind() == SlotKind::Metadata {
            return self.write((slot, expected), (write, expires));
        }
        // A keyring that is locked asks the user, and no other process waits for that.
        if write.is_some() && seals.unwrap_or_else(|| self.seals(slot)) {
            let named = key::prepare(&self.root)?;
            *self.key.lock().unwrap_or_else(PoisonError::into_inner) = Some(named);
        }
        let locked = self.root.lock()?;
        self.persist_locked(&locked, (slot, expected), (write, expires), seals)
    }

    /// Writes a slot while this process holds the lock of the directory. `seals`: the form; otherwise that of
    /// the settings.
    pub(super) fn persist_locked(
        &self,
        locked: &DirectoryLock,
        (slot, expected): (Slot, Option<Revision>),
        (write, expires): (Option<&Stored>, Option<UnixMillis>),
        seals: Option<bool>,
    ) -> Result<Swap, StoreError> {
        let seals = write.is_some() && seals.unwrap_or_else(|| self.seals(slot));
        let key = seals.then(|| self.key(locked)).transpose()?;
        let (_noted, patience) = locking(&self.root.slots());
        let files = self.files.clone().patience(patience);
        Sealed::new(files, Form(key)).persist_until(slot, expected, write, expires)
    }

    /// Keeps a record that could not be written in time: the next command writes it, unless the slot has changed. Takes no
    /// lock. Returns the file.
    pub(super) fn keep(
        &self,
        (slot, expected): (Slot, Option<Revision>),
        stored: &Stored,
    ) -> Result<PathBuf, StoreError> {
        let (revision, contents) = (stored.revision, stored.contents.expose());
        let last = || {
            let key = self.key.lock().unwrap_or_else(PoisonError::into_inner);
            key.clone().ok_or(KeyringError::Silent)
        };
        let text = if self.seals(slot) {
            let (id, key) = last()?;
            let sealed = sealing::seal(&id, &key, &slot.to_string(), contents)?;
            format!("{revision}\n{sealed}")
        } else {
            format!("{revision}\n{contents}")
        };
        let expected = expected.map(|revision| revision.to_string());
        let text = Zeroizing::new(text);
        Ok(journal::keep(
            &self.root,
            (slot.to_string(), expected),
            &text,
        )?)
    }

    /// Writes a slot's file as it is.
    fn write(
        &self,
        (slot, expected): (Slot, Option<Revision>),
        (write, expires): (Option<&Stored>, Option<UnixMillis>),
    ) -> Result<Swap, StoreError> {
        let (_noted, patience) = locking(&self.root.slots());
        let files = self.files.clone().patience(patience);
        files.persist_until(slot, expected, write, expires)
    }
}

impl Store for Slots {
    fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        // Only a damaged file is read under the lock.
        let files = self.files.clone().patience(waits::at_most(LOCK_TIME));
        Sealed::new(files, Form(None)).load(slot)
    }

    fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        self.persist_as((slot, expected), (write, expires), None)
    }
}

/// Returns an error if the record of an account cannot be opened now.
pub(super) fn check(root: &Root, (url, account): (&str, &str)) -> Result<(), Problem> {
    let own = root.slots().join("account").join(name(url, account)?);
    Ok(records::opens(&own)?)
}
