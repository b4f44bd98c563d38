//! The key of the directory: the file `keyring` names it, the system's keyring holds it.
//!
//! While only one of both has a key, an entry of the journal names it, so that a crash leaves no key behind.

use std::fs;
use std::io;

use mcp_auth_client::{DirectoryLock, StoreError};
use zeroize::Zeroizing;

use super::conversion::{asks_for_keyring, key_of_file};
use super::journal::{self, Journal};
use super::keyring::{self, Key, KeyringError};
use super::records;
use super::root::Root;
use super::sealing;

/// The file with the identifier of the key, in the directory of the accounts.
pub(super) const KEY_FILE: &str = "keyring";

/// A key and its identifier.
pub(super) type Named = (String, Key);

/// Returns the identifier of the key, if the directory names one.
pub(super) fn id(root: &Root) -> Option<String> {
    let text = fs::read_to_string(root.join(KEY_FILE)).ok()?;
    let id = text.trim();
    sealing::key_of(&format!("keyring1.{id}."))?;
    Some(id.to_owned())
}

/// Returns the key of the directory, and creates it if necessary, without the lock of the directory: the user may be
/// asked to unlock the keyring.
///
/// # Errors
/// [`KeyringError`] inside the [`StoreError`] when the keyring cannot be used now.
pub(super) fn prepare(root: &Root) -> Result<Named, StoreError> {
    match id(root).map(|id| (keyring::key(&id), id)) {
        Some((Ok(key), id)) => return Ok((id, key)),
        Some((Err(KeyringError::Lost), _)) | None => {}
        Some((Err(error), _)) => return Err(error.into()),
    }
    let (id, key) = sealing::new_key()?;
    // Deletes the key at its end, unless the directory names it.
    let mut noted = Journal::with_key(root, &id)?;
    match keyring::store(&id, &key) {
        // A keyring that gave no answer may store the key later, after it was asked to delete it: the next command does.
        Err(KeyringError::Silent) => {
            noted.leave();
            return Err(KeyringError::Silent.into());
        }
        Err(error) => {
            noted.without_key();
            return Err(error.into());
        }
        Ok(()) => {}
    }
    let lock = root.lock()?;
    if let Some(other) = self::id(root)
        && let Ok(found) = keyring::key(&other)
    {
        return Ok((other, found));
    }
    lock.write(KEY_FILE, id.as_bytes())?;
    Ok((id, key))
}

/// Returns the key of the directory under its lock. A key that another process deleted meanwhile, because no record used
/// it, is stored again. Other processes wait for the lock, so the keyring has little time: the user was asked before, by
/// [`prepare`].
pub(super) fn under_lock(
    root: &Root,
    lock: &DirectoryLock,
    last: Option<&Named>,
) -> Result<Named, StoreError> {
    keyring::aside(|| named_under_lock(root, lock, last))
}

fn named_under_lock(
    root: &Root,
    lock: &DirectoryLock,
    last: Option<&Named>,
) -> Result<Named, StoreError> {
    if let Some(id) = id(root) {
        let key = keyring::key(&id)?;
        return Ok((id, key));
    }
    let (id, key) = match last {
        Some((id, key)) => (id.clone(), key.clone()),
        None => sealing::new_key()?,
    };
    journal::note_key(lock, &id)?;
    match keyring::store(&id, &key) {
        // A keyring that gave no answer may have the key later: the note stays.
        Err(KeyringError::Silent) => return Err(KeyringError::Silent.into()),
        Err(error) => {
            journal::forget_key(lock, &id);
            return Err(error.into());
        }
        Ok(()) => {}
    }
    let named = lock.write(KEY_FILE, id.as_bytes());
    if named.is_ok() || deleted(root, &id) {
        journal::forget_key(lock, &id);
    }
    named?;
    Ok((id, key))
}

/// Deletes the key where no account uses it and no record is sealed with it.
///
/// # Errors
/// When the keyring cannot be used now; the key stays, or the next command deletes it.
pub(super) fn drop_unused(root: &Root, lock: &DirectoryLock) -> Result<(), StoreError> {
    let Some(id) = id(root) else {
        return Ok(());
    };
    if asks_for_keyring(root)? || seals_any(root, &id)? {
        return Ok(());
    }
    // On a full disk a crash may leave the key, which seals nothing.
    let _noted = journal::note_key(lock, &id);
    // From here on no process seals with it.
    lock.remove(KEY_FILE)?;
    let deleted = keyring::delete(&id);
    match &deleted {
        // A keyring that gave no answer may delete the key later: nothing seals with it, and the note stays.
        Err(KeyringError::Silent) => return Err(KeyringError::Silent.into()),
        Err(_) => lock.write(KEY_FILE, id.as_bytes())?,
        Ok(()) => {}
    }
    journal::forget_key(lock, &id);
    Ok(deleted?)
}

/// Deletes the key where nothing uses it. A failure is a message.
pub(super) fn tidy(root: &Root) {
    if id(root).is_none() {
        return;
    }
    // Also at the end of a command whose time has passed.
    let dropped = keyring::aside(|| {
        let lock = root.lock()?;
        drop_unused(root, &lock)
    });
    if let Err(error) = dropped {
        eprintln!(
            "mcp-auth: the key \"mcp-auth\" stays in the system's keyring: {}",
            error.0
        );
    }
}

/// Deletes a key that a crashed process left, unless the directory names it or a record needs it. Returns false if it has
/// to be tried again.
pub(super) fn deleted(root: &Root, left: &str) -> bool {
    match seals_any(root, left) {
        Ok(false) if id(root).as_deref() != Some(left) => keyring::delete(left).is_ok(),
        Ok(_) => true,
        Err(_) => false,
    }
}

/// Returns true if a file is sealed with this key.
///
/// # Errors
/// When a folder or a file cannot be read: it may need the key.
fn seals_any(root: &Root, id: &str) -> io::Result<bool> {
    let slots = ["account", "pending", "registration"].map(|kind| root.slots().join(kind));
    for folder in slots.iter().chain(&[root.join("secrets")]) {
        for path in records::in_folder(folder)? {
            let is_set_aside = path.extension().is_some();
            if is_set_aside {
                continue;
            }
            let text = fs::read_to_string(&path).map(Zeroizing::new);
            if key_of_file(&text.map_err(records::at(&path))?) == Some(id) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    /// A keyring that gave no answer may store the key later. It is not asked to delete it at once, which it might do first:
    /// the note stays for the next command.
    #[test]
    fn a_silent_keyring_is_asked_once() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path().to_owned());
        keyring::asked();
        let prepared = keyring::while_silent(|| prepare(&root));
        assert!(prepared.is_err());
        assert_eq!(keyring::asked().len(), 1);
        let notes = fs::read_dir(root.join("journal")).unwrap();
        let texts: Vec<_> = notes
            .map(|note| fs::read_to_string(note.unwrap().path()).unwrap())
            .collect();
        assert!(
            texts.iter().any(|text| text.contains("\"key\":\"")),
            "{texts:?}"
        );
    }

    /// Other processes wait for the lock for ten seconds.
    #[test]
    fn the_keyring_has_little_time_under_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path().to_owned());
        let lock = root.lock().unwrap();
        keyring::asked();
        let _named = under_lock(&root, &lock, None);
        lock.write(KEY_FILE, b"abc").unwrap();
        let _named = under_lock(&root, &lock, None);
        let asked = keyring::asked();
        assert!(asked.len() >= 2, "{asked:?}");
        assert!(
            asked.iter().all(|time| *time <= Duration::from_secs(3)),
            "{asked:?}"
        );
    }
}
