//! A store in the keyring of the operating system.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use keyring_core::{CredentialStore, Entry, Error};
use zeroize::Zeroizing;

use super::file_store::FileStore;
use super::store::{Store, StoreError, Swap};
use mcp_auth_machine::slot::{Revision, Slot, SlotContents, SlotKind, Stored};

/// The largest size of an entry, in bytes. Windows allows 2,560.
const LIMIT: usize = if cfg!(windows) { 2_048 } else { 30_000 };

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
    /// An entry was not written by this store, or was altered.
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
/// which are public.
///
/// Operations may wait until the user has unlocked the keyring.
#[derive(Clone)]
pub struct KeyringStore {
    /// `None`: the keyring of the system.
    keyring: Option<Arc<CredentialStore>>,
    service: Arc<str>,
    files: FileStore,
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
        let files =
            FileStore::open(directory).map_err(|error| KeyringFlaw::Failed(error.to_string()))?;
        Ok(Self {
            keyring,
            service,
            files,
        })
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

    fn read(&self, slot: Slot) -> Result<Option<(Head, Stored)>, KeyringFlaw> {
        let Some(text) = self.get(&slot.to_string())? else {
            // Secrets left by a process that crashed during an erasure or a write.
            self.clear(slot, Side::Left, 0)?;
            self.clear(slot, Side::Right, 0)?;
            return Ok(None);
        };
        let (head, rest) = Head::read(&text).ok_or(KeyringFlaw::Damaged)?;
        let mut contents = Zeroizing::new(rest.to_owned());
        for number in 0..head.parts {
            let part = self.get(&head.side.part(slot, number))?;
            contents.push_str(&part.ok_or(KeyringFlaw::Damaged)?);
        }
        if contents.len() != head.length {
            return Err(KeyringFlaw::Damaged);
        }
        let stored = Stored {
            contents: SlotContents::new(contents.as_str()),
            revision: head.revision,
        };
        Ok(Some((head, stored)))
    }

    fn swap(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
    ) -> Result<Swap, KeyringFlaw> {
        let (old, current) = self.read(slot)?.unzip();
        if current.as_ref().map(|stored| stored.revision) != expected {
            return Ok(Swap::Conflict(current));
        }
        let old_side = old.map(|head| head.side).unwrap_or_default();
        match write {
            Some(stored) => self.write(slot, old_side.other(), stored)?,
            None => {
                self.delete(&slot.to_string())?;
                self.clear(slot, old_side.other(), 0)?;
            }
        }
        self.clear(slot, old_side, 0)?;
        Ok(Swap::Done)
    }

    fn write(&self, slot: Slot, side: Side, stored: &Stored) -> Result<(), KeyringFlaw> {
        let contents = stored.contents.expose();
        let mut parts = Vec::new();
        if contents.len() > LIMIT {
            parts = split(contents);
        }
        for (number, part) in parts.iter().enumerate() {
            self.set(&side.part(slot, number), part)?;
        }
        let head = Head {
            revision: stored.revision,
            side,
            parts: parts.len(),
            length: contents.len(),
        };
        let inline = if parts.is_empty() { contents } else { "" };
        let text = Zeroizing::new(format!("{head}{inline}"));
        self.set(&slot.to_string(), &text)?;
        self.clear(slot, side, parts.len())
    }

    /// Deletes the parts of one side from a number on, the last one first, so that a crash leaves a
    /// contiguous range.
    fn clear(&self, slot: Slot, side: Side, from: usize) -> Result<(), KeyringFlaw> {
        let mut end = from;
        while self.get(&side.part(slot, end))?.is_some() {
            end = end.saturating_add(1);
        }
        for number in (from..end).rev() {
            self.delete(&side.part(slot, number))?;
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
        Ok(self.read(slot)?.map(|(_, stored)| stored))
    }

    fn persist(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
    ) -> Result<Swap, StoreError> {
        if slot.kind() == SlotKind::Metadata {
            return self.files.persist(slot, expected, write);
        }
        let _locked = self.files.lock()?;
        Ok(self.swap(slot, expected, write)?)
    }
}

impl fmt::Debug for KeyringStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyringStore")
            .field("service", &self.service)
            .finish_non_exhaustive()
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

    fn part(self, slot: Slot, number: usize) -> String {
        format!("{slot}.{}.{number}", self.name())
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
