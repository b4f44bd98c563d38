//! A store in the keyring of the operating system.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use keyring_core::{CredentialStore, Entry, Error};
use zeroize::Zeroizing;

use super::file_store::{self, FileStore};
use super::private_directory::DirectoryLock;
use super::store::{Store, StoreError, Swap};
use mcp_auth_machine::slot::{Revision, Slot, SlotContents, SlotKind, Stored};
use mcp_auth_machine::time::UnixMillis;

/// The largest size of an entry, in bytes. Windows allows 2,560.
const LIMIT: usize = if cfg!(windows) { 2_048 } else { 30_000 };

/// How many parts are looked for behind a damaged entry that does not say their number; a record has fewer.
const PARTS: usize = 64;

/// The reason why the keyring is unusable. No variant contains stored contents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringFlaw {
    /// The system has no keyring, as on Linux without a desktop. Use a [`FileStore`] on an encrypted disk
    /// instead, or [`KeyringStore::with_keyring`].
    #[error("this system has no keyring ({0}): start one, or keep accounts in a directory instead")]
    Missing(String),
    /// The keyring is locked. Have the user unlock it, and retry.
    #[error("the keyring cannot be opened ({0}): unlock it and try again")]
    Locked(String),
    /// The keyring cannot read an entry, which is damaged. [`KeyringStore::damaged`] reports a damaged
    /// entry that the next write replaces.
    #[error("an entry of the keyring is damaged: delete it and sign in again")]
    Damaged,
    /// Any other error of the keyring.
    #[error("the keyring failed: {0}")]
    Failed(String),
}

impl From<KeyringFlaw> for StoreError {
    fn from(flaw: KeyringFlaw) -> Self {
        Self(Box::new(flaw))
    }
}

impl From<Error> for KeyringFlaw {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enum is marked non-exhaustive by its crate"
    )]
    fn from(error: Error) -> Self {
        match error {
            Error::NoDefaultStore => Self::Missing(error.to_string()),
            Error::NoStorageAccess(_) => Self::Locked(error.to_string()),
            // These errors contain the secret.
            Error::BadEncoding(_) | Error::BadDataFormat(..) => Self::Damaged,
            other => Self::Failed(other.to_string()),
        }
    }
}

/// A store in the keyring of the operating system: Keychain, Credential Manager or Secret Service.
///
/// An entry has the host's service name, and the slot as its user name. Contents that are too large for one
/// entry are split over several; the entry that refers to them is written last, so a process may crash at
/// any time. Keyrings have no compare-and-swap: a lock file in the directory serialises the processes on
/// this device, which must all use the same directory. The directory also contains the metadata slots,
/// which are public, and the expiries of pending authorizations. Entries of abandoned sign-ins are deleted
/// after their expiry, at the start of later sign-ins.
///
/// A damaged entry, which this store did not write, counts as an empty slot, and the next write replaces it.
/// [`damaged`](Self::damaged) reports it.
///
/// Operations may wait until the user has unlocked the keyring.
#[derive(Clone)]
pub struct KeyringStore {
    /// `None`: the keyring of the system.
    keyring: Option<Arc<CredentialStore>>,
    service: Arc<str>,
    files: FileStore,
    damaged: Arc<Mutex<BTreeSet<Slot>>>,
}

impl KeyringStore {
    /// Opens the keyring of the system.
    ///
    /// # Errors
    /// [`KeyringFlaw`], in particular [`KeyringFlaw::Missing`] on a system without a keyring. A
    /// [`StoreError`] of the directory becomes [`KeyringFlaw::Failed`].
    pub fn open(
        service: impl Into<Arc<str>>,
        directory: impl Into<PathBuf>,
    ) -> Result<Self, KeyringFlaw> {
        if let Err(error) = keyring::Entry::store_status() {
            return Err(KeyringFlaw::Missing(error.to_string()));
        }
        Self::new(None, service.into(), directory.into())
    }

    /// Uses a given keyring, for example of another crate for `keyring-core`.
    ///
    /// # Errors
    /// [`KeyringFlaw::Failed`] when the directory is unusable.
    pub fn with_keyring(
        keyring: Arc<CredentialStore>,
        service: impl Into<Arc<str>>,
        directory: impl Into<PathBuf>,
    ) -> Result<Self, KeyringFlaw> {
        Self::new(Some(keyring), service.into(), directory.into())
    }

    fn new(
        keyring: Option<Arc<CredentialStore>>,
        service: Arc<str>,
        directory: PathBuf,
    ) -> Result<Self, KeyringFlaw> {
        let files = FileStore::unswept(directory)
            .map_err(|error| KeyringFlaw::Failed(error.to_string()))?;
        Ok(Self {
            keyring,
            service,
            files,
            damaged: Arc::default(),
        })
    }

    /// Returns the slots whose entries this handle or its clones found damaged.
    pub fn damaged(&self) -> Vec<Slot> {
        let damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        damaged.iter().copied().collect()
    }

    fn entry(&self, user: &str) -> Result<Entry, KeyringFlaw> {
        Ok(match &self.keyring {
            Some(keyring) => keyring.build(&self.service, user, None)?,
            None => keyring::Entry::new(&self.service, user)?.inner,
        })
    }

    fn get(&self, user: &str) -> Result<Option<Zeroizing<String>>, KeyringFlaw> {
        let secret = match self.entry(user)?.get_secret() {
            Ok(secret) => Zeroizing::new(secret),
            Err(Error::NoEntry) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let text = std::str::from_utf8(&secret).map_err(|_| KeyringFlaw::Damaged)?;
        Ok(Some(Zeroizing::new(text.to_owned())))
    }

    fn set(&self, user: &str, text: &str) -> Result<(), KeyringFlaw> {
        Ok(self.entry(user)?.set_secret(text.as_bytes())?)
    }

    /// Deletes an entry; returns true if it existed.
    fn delete(&self, user: &str) -> Result<bool, KeyringFlaw> {
        match self.entry(user)?.delete_credential() {
            Ok(()) => Ok(true),
            Err(Error::NoEntry) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&self, slot: Slot) -> Result<Held, KeyringFlaw> {
        let found = self.parse(slot);
        let head = match found {
            Ok(found) => return Ok(found),
            Err(Unread::Keyring(KeyringFlaw::Damaged)) => None,
            Err(Unread::Keyring(flaw)) => return Err(flaw),
            Err(Unread::Damaged(head)) => head,
        };
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        if damaged.insert(slot) {
            #[cfg(feature = "tracing")]
            tracing::warn!(%slot, "an entry of the keyring is damaged and counts as absent");
        }
        Ok(Held::Damaged(head))
    }

    fn parse(&self, slot: Slot) -> Result<Held, Unread> {
        let name = slot.to_string();
        let Some(text) = self.get(&name)? else {
            // Secrets left by a process that crashed during an erasure or a write.
            self.clear(&name, Side::Left, 0)?;
            self.clear(&name, Side::Right, 0)?;
            return Ok(Held::Nothing);
        };
        let (head, rest) = Head::read(&text).ok_or(Unread::Damaged(None))?;
        let mut contents = Zeroizing::new(rest.to_owned());
        for number in 0..head.parts {
            match self.get(&head.side.part(&name, number)) {
                Ok(Some(part)) => contents.push_str(&part),
                Ok(None) | Err(KeyringFlaw::Damaged) => return Err(Unread::Damaged(Some(head))),
                Err(flaw) => return Err(flaw.into()),
            }
        }
        if contents.len() != head.length {
            return Err(Unread::Damaged(Some(head)));
        }
        let stored = Stored {
            contents: SlotContents::new(contents.as_str()),
            revision: head.revision,
        };
        Ok(Held::Slot(head, stored))
    }

    fn swap(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
    ) -> Result<Swap, KeyringFlaw> {
        let name = slot.to_string();
        let (side, current) = match self.read(slot)? {
            Held::Nothing => (Side::default(), None),
            Held::Slot(head, stored) => (head.side, Some(stored)),
            Held::Damaged(head) => {
                // An empty slot would look like a sign-out to whoever refreshes now.
                if expected.is_some() {
                    return Err(KeyringFlaw::Damaged);
                }
                self.discard(&name, head)?;
                (Side::default(), None)
            }
        };
        if current.as_ref().map(|stored| stored.revision) != expected {
            return Ok(Swap::Conflict(current));
        }
        match write {
            Some(stored) => self.write(&name, side.other(), stored)?,
            None => {
                self.delete(&name)?;
                self.clear(&name, side.other(), 0)?;
            }
        }
        self.clear(&name, side, 0)?;
        Ok(Swap::Done)
    }

    /// Deletes the parts of a damaged entry, of which some may be missing.
    fn discard(&self, name: &str, head: Option<Head>) -> Result<(), KeyringFlaw> {
        let parts = head.map_or(PARTS, |head| head.parts.min(PARTS));
        for side in [Side::Left, Side::Right] {
            for number in (0..parts).rev() {
                self.delete(&side.part(name, number))?;
            }
        }
        Ok(())
    }

    /// Deletes an entry and its parts.
    fn erase(&self, name: &str) -> Result<(), KeyringFlaw> {
        self.delete(name)?;
        self.clear(name, Side::Left, 0)?;
        self.clear(name, Side::Right, 0)
    }

    /// Keeps the expiry of an entry in the directory, where the sweep finds it: a keyring has no list.
    fn mark(
        &self,
        locked: &DirectoryLock,
        slot: Slot,
        stored: &Stored,
        expires: UnixMillis,
    ) -> Result<(), StoreError> {
        if self.files.is_due() {
            self.files.sweep(locked, |name| self.erase(name).is_ok());
        }
        let head = file_store::Head {
            revision: stored.revision,
            expires: Some(expires),
        };
        Ok(locked.write(slot.to_string(), head.to_string().as_bytes())?)
    }

    fn write(&self, name: &str, side: Side, stored: &Stored) -> Result<(), KeyringFlaw> {
        let contents = stored.contents.expose();
        let mut parts = Vec::new();
        if contents.len() > LIMIT {
            parts = split(contents);
        }
        for (number, part) in parts.iter().enumerate() {
            self.set(&side.part(name, number), part)?;
        }
        let head = Head {
            revision: stored.revision,
            side,
            parts: parts.len(),
            length: contents.len(),
        };
        let inline = if parts.is_empty() { contents } else { "" };
        let text = Zeroizing::new(format!("{head}{inline}"));
        self.set(name, &text)?;
        self.clear(name, side, parts.len())
    }

    /// Deletes the parts of one side from a number on, the last one first, so that a crash leaves a
    /// contiguous range.
    fn clear(&self, name: &str, side: Side, from: usize) -> Result<(), KeyringFlaw> {
        let mut end = from;
        while self.get(&side.part(name, end))?.is_some() {
            end = end.saturating_add(1);
        }
        for number in (from..end).rev() {
            self.delete(&side.part(name, number))?;
        }
        Ok(())
    }
}

impl Store for KeyringStore {
    fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        if slot.kind() == SlotKind::Metadata {
            return self.files.load(slot);
        }
        let _locked = self.files.lock()?;
        Ok(match self.read(slot)? {
            Held::Slot(_, stored) => Some(stored),
            Held::Nothing | Held::Damaged(_) => None,
        })
    }

    fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        if slot.kind() == SlotKind::Metadata {
            return self.files.persist_until(slot, expected, write, expires);
        }
        let locked = self.files.lock()?;
        // Before the entry, so that no crash leaves an entry without its expiry.
        if let (Some(stored), Some(expires)) = (write, expires) {
            self.mark(&locked, slot, stored, expires)?;
        }
        let swap = self.swap(slot, expected, write)?;
        if write.is_none() && slot.kind() == SlotKind::Pending && matches!(swap, Swap::Done) {
            locked.remove(slot.to_string())?;
        }
        Ok(swap)
    }
}

impl fmt::Debug for KeyringStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyringStore")
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

/// The contents of a slot's entries.
enum Held {
    Nothing,
    Slot(Head, Stored),
    /// Not a slot of this store; with the head where that is readable.
    Damaged(Option<Head>),
}

/// The reason why a slot was not read.
enum Unread {
    Keyring(KeyringFlaw),
    Damaged(Option<Head>),
}

impl From<KeyringFlaw> for Unread {
    fn from(flaw: KeyringFlaw) -> Self {
        Self::Keyring(flaw)
    }
}

/// The side of the parts. New parts use the side that is not in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Side {
    #[default]
    Left,
    Right,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
        }
    }

    fn part(self, name: &str, number: usize) -> String {
        format!("{name}.{}.{number}", self.name())
    }
}

/// The first line of a slot's entry. The contents follow it when there are no parts.
struct Head {
    revision: Revision,
    side: Side,
    parts: usize,
    length: usize,
}

impl Head {
    fn read(text: &str) -> Option<(Self, &str)> {
        let (line, rest) = text.split_once('\n')?;
        let mut words = line.split(' ');
        let head = Self {
            revision: words.next()?.parse().ok()?,
            side: match words.next()? {
                "left" => Side::Left,
                "right" => Side::Right,
                _unknown => return None,
            },
            parts: words.next()?.parse().ok()?,
            length: words.next()?.parse().ok()?,
        };
        Some((head, rest))
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (revision, side) = (self.revision, self.side.name());
        writeln!(f, "{revision} {side} {} {}", self.parts, self.length)
    }
}

/// Splits text into parts of at most the size of an entry, at character boundaries.
fn split(mut text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    while !text.is_empty() {
        let whole = (1..=LIMIT).rev();
        let Some((part, rest)) = whole.filter_map(|end| text.split_at_checked(end)).next() else {
            break;
        };
        parts.push(part);
        text = rest;
    }
    parts
}
