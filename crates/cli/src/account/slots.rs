//! The slots of the accounts: files, sealed where the settings of the account say so.
//!
//! The form of a record says how it is read, the settings of its account how it is written; a record whose
//! account has no settings keeps its form. `keyring` in the directory names the key. Form and key are decided
//! under the lock of the directory, so that a change of the settings and a refresh in another process cannot
//! miss each other. The metadata of servers is public, and never sealed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use mcp_auth_client::{
    DirectoryLock, FileStore, PrivateDirectory, Sealed, Store, StoreError, Swap,
};
use mcp_auth_machine::slot::{Revision, Slot, SlotKind, Stored};
use mcp_auth_machine::time::UnixMillis;
use serde_json::Value;
use zeroize::Zeroizing;

use super::after;
use super::keyring::{self, Key, KeyringError};
use super::profile::{Profile, name};
use super::records;
use super::root::{LOCK_TIME, Root};
use super::sealing::{self, Form};
use crate::problem::Problem;

/// The file with the identifier of the key, in the directory of the accounts.
const KEY_FILE: &str = "keyring";

/// How long the keyring may take for what is not the command's own account: to delete a key, or to open others' records.
const ASIDE_SECONDS: u64 = 3;

/// A key and its identifier.
type Named = (String, Key);

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
            files: FileStore::open(root.slots())?.patience(LOCK_TIME),
            name: profile.name()?,
            wanted: profile.settings.keyring,
            key: Arc::default(),
        })
    }

    /// Returns true if the slot's file is sealed.
    pub(super) fn is_sealed(&self, slot: Slot) -> bool {
        let stored = self.files.load(slot).ok().flatten();
        stored.is_some_and(|stored| sealing::key_of(stored.contents.expose()).is_some())
    }

    /// Returns true if a record of this slot has to be sealed.
    fn seals(&self, slot: Slot) -> bool {
        match slot.kind() {
            SlotKind::Metadata => false,
            SlotKind::Account => {
                uses_keyring(&self.root, &self.name).unwrap_or_else(|| self.is_sealed(slot))
            }
            // A registration may serve several accounts, of which one is sealed.
            SlotKind::Pending | SlotKind::Registration => {
                self.wanted
                    || uses_keyring(&self.root, &self.name).unwrap_or_default()
                    || self.is_sealed(slot)
            }
        }
    }

    /// Returns the key to seal with. A key that another process deleted meanwhile, because no record used it,
    /// is stored again.
    pub(super) fn key(&self, locked: &DirectoryLock) -> Result<Named, StoreError> {
        let mut last = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        let named = match (key_id(&self.root), &*last) {
            (Some(id), _) => (id.clone(), keyring::key(&id)?),
            (None, Some((id, key))) => {
                keyring::store(id, key)?;
                locked.write(KEY_FILE, id.as_bytes())?;
                (id.clone(), key.clone())
            }
            (None, None) => new_key(&self.root, locked)?,
        };
        *last = Some(named.clone());
        Ok(named)
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
        Sealed::new(self.files.clone(), Form(key)).persist_until(slot, expected, write, expires)
    }
}

impl Store for Slots {
    fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        Sealed::new(self.files.clone(), Form(None)).load(slot)
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
        // A keyring that is locked asks the user, and no other process waits for that.
        if write.is_some() && self.seals(slot) {
            let named = prepare(&self.root)?;
            *self.key.lock().unwrap_or_else(PoisonError::into_inner) = Some(named);
        }
        let locked = self.root.lock()?;
        self.persist_locked(&locked, (slot, expected), (write, expires), None)
    }
}

/// Returns the identifier of the key, if the directory names one.
fn key_id(root: &Root) -> Option<String> {
    let text = fs::read_to_string(root.join(KEY_FILE)).ok()?;
    let id = text.trim();
    sealing::key_of(&format!("keyring1.{id}."))?;
    Some(id.to_owned())
}

fn new_key(root: &Root, locked: &DirectoryLock) -> Result<Named, StoreError> {
    let (id, key) = sealing::new_key()?;
    keyring::store(&id, &key)?;
    if let Err(error) = locked.write(KEY_FILE, id.as_bytes()) {
        let _stays = keyring::delete(&id);
        return Err(error.into());
    }
    debug_assert_eq!(key_id(root).as_ref(), Some(&id));
    Ok((id, key))
}

/// Returns the key of the directory, and creates it if necessary.
///
/// # Errors
/// [`KeyringError`] inside the [`StoreError`] when the keyring cannot be used now.
pub(super) fn prepare(root: &Root) -> Result<Named, StoreError> {
    match key_id(root).map(|id| (keyring::key(&id), id)) {
        Some((Ok(key), id)) => return Ok((id, key)),
        Some((Err(KeyringError::Lost), _)) | None => {}
        Some((Err(error), _)) => return Err(error.into()),
    }
    // The user may be asked before another process has to wait.
    let (id, key) = sealing::new_key()?;
    keyring::store(&id, &key)?;
    let locked = root.lock()?;
    if let Some(other) = key_id(root)
        && let Ok(found) = keyring::key(&other)
    {
        let _stays = keyring::delete(&id);
        return Ok((other, found));
    }
    locked.write(KEY_FILE, id.as_bytes())?;
    Ok((id, key))
}

/// Deletes the key where no account uses it and no record is sealed with it.
///
/// # Errors
/// When the keyring cannot be used now; the key stays.
pub(super) fn drop_unused_key(root: &Root, locked: &DirectoryLock) -> Result<(), StoreError> {
    let Some(id) = key_id(root) else {
        return Ok(());
    };
    if !is_unused(root)? {
        return Ok(());
    }
    // From here on no process seals with it. Where the keyring does not delete it, the next command tries again.
    locked.remove(KEY_FILE)?;
    if let Err(error) = keyring::delete(&id) {
        locked.write(KEY_FILE, id.as_bytes())?;
        return Err(error.into());
    }
    Ok(())
}

/// Returns true if no settings ask for the keyring and no file is sealed.
///
/// # Errors
/// When a folder or a file cannot be read: it may need the key.
fn is_unused(root: &Root) -> io::Result<bool> {
    for path in records::in_folder(&root.join("profiles"))? {
        let profile: Option<Value> = serde_json::from_slice(&fs::read(path)?).ok();
        if profile.is_none_or(|profile| keyring_of(&profile)) {
            return Ok(false);
        }
    }
    let slots = ["account", "pending", "registration"].map(|kind| root.slots().join(kind));
    for folder in slots.iter().chain(&[root.join("secrets")]) {
        for path in records::in_folder(folder)? {
            let is_set_aside = path.extension().is_some();
            if !is_set_aside && is_sealed(&Zeroizing::new(fs::read_to_string(path)?)) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Deletes the key where nothing uses it. A failure is a message.
pub(super) fn tidy_key(root: &Root) {
    if key_id(root).is_none() {
        return;
    }
    // Also at the end of a command whose time has passed.
    keyring::wait_until(after(ASIDE_SECONDS));
    let dropped = root
        .lock()
        .map_err(StoreError::from)
        .and_then(|locked| drop_unused_key(root, &locked));
    if let Err(error) = dropped {
        eprintln!(
            "mcp-auth: the key \"mcp-auth\" stays in the system's keyring: {}",
            error.0
        );
    }
}

fn is_sealed_file(path: &Path) -> bool {
    let text = fs::read_to_string(path).map(Zeroizing::new);
    text.is_ok_and(|text| is_sealed(&text))
}

fn is_sealed(text: &str) -> bool {
    let contents = text.split_once('\n').map_or(text, |(_, rest)| rest);
    sealing::key_of(contents)
        .or(sealing::key_of(text))
        .is_some()
}

/// Returns the stored settings of all accounts, as JSON.
fn profiles(root: &Root) -> impl Iterator<Item = Value> {
    let files = records::in_folder(&root.join("profiles")).unwrap_or_default();
    files
        .into_iter()
        .filter_map(|path| serde_json::from_slice(&fs::read(path).ok()?).ok())
}

fn keyring_of(profile: &Value) -> bool {
    let set = profile.pointer("/settings/keyring");
    set.and_then(Value::as_bool).unwrap_or_default()
}

/// Returns what the stored settings of an account say, if there are any.
pub(super) fn uses_keyring(root: &Root, name: &str) -> Option<bool> {
    let path = root.join("profiles").join(format!("{name}.json"));
    let profile: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    Some(keyring_of(&profile))
}

/// Returns the path of an account's record.
fn account_file(root: &Root, name: &str) -> PathBuf {
    root.slots().join("account").join(name)
}

/// Returns an error if the record of an account cannot be opened now.
pub(super) fn check(root: &Root, (url, account): (&str, &str)) -> Result<(), Problem> {
    Ok(records::opens(&account_file(root, &name(url, account)?))?)
}

/// Records that were set aside, until a sign-in has replaced them. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Aside(Arc<Mutex<Vec<Moved>>>);

struct Moved {
    path: PathBuf,
    place: PathBuf,
    /// Whether no one can open it.
    is_final: bool,
}

impl Aside {
    /// The sign-in succeeded: the records that no one can open stay where they are.
    pub(super) fn keep(&self) {
        self.moved().retain(|moved| !moved.is_final);
    }

    /// Moves the records back where nothing has taken their place: their key may be in the keyring of another session.
    pub(super) fn restore(&self) {
        for Moved { path, place, .. } in self.moved().drain(..) {
            if !path.exists() {
                // A record that cannot be moved back can still be inspected.
                let _stays = fs::rename(place, path);
            }
        }
    }

    fn moved(&self) -> MutexGuard<'_, Vec<Moved>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Moves records back at the end of a login that has not kept them aside.
pub(super) struct RestoredAtEnd(pub(super) Aside);

impl Drop for RestoredAtEnd {
    fn drop(&mut self) {
        self.0.restore();
    }
}

/// Sets the records of an account aside whose key is lost, or that were altered: no one can read them here.
/// Without `wants_keyring` the same holds for registrations of other accounts that cannot be opened now; these come
/// back where no other has taken their place.
pub(super) fn set_aside_lost(
    root: &Root,
    (url, account): (&str, &str),
    wants_keyring: bool,
    end: Instant,
) -> Result<Aside, Problem> {
    let own = account_file(root, &name(url, account)?);
    let aside = Aside::default();
    match records::opens(&own) {
        Ok(()) => {}
        Err(error) if error.is_final() => eprintln!("mcp-auth: {error}"),
        Err(error) => return Err(error.into()),
    }
    let is_in = |path: &Path, kind: &str| path.starts_with(root.slots().join(kind));
    if !wants_keyring {
        // The user is not asked to unlock a keyring that this account does not use.
        keyring::wait_until(end.min(after(ASIDE_SECONDS)));
    }
    let lost: Vec<_> = records::secret_files(&root.slots())
        .filter(|path| *path == own || !is_in(path, "account"))
        .filter_map(|path| {
            let is_final = records::opens(&path).err()?.is_final();
            // A registration that another account sealed: this one signs in without it.
            let is_left = !wants_keyring && is_in(&path, "registration");
            (is_final || is_left).then_some((path, is_final))
        })
        .collect();
    keyring::wait_until(end);
    if lost.is_empty() {
        return Ok(aside);
    }
    let slots = PrivateDirectory::new(root.slots()).patience(LOCK_TIME);
    let slots = slots.lock().map_err(Problem::store)?;
    for (path, is_final) in lost {
        if let Ok(place) = slots.set_aside(&path) {
            aside.moved().push(Moved {
                path,
                place,
                is_final,
            });
        }
    }
    Ok(aside)
}

/// Rewrites what is stored for an account in the form that its stored settings ask for: its record, its
/// registrations, its typed secret. The revisions stay.
pub(super) fn convert(
    root: &Root,
    locked: &DirectoryLock,
    (url, account): (&str, &str),
) -> Result<(), StoreError> {
    let own = name(url, account).map_err(|problem| io::Error::other(problem.words()))?;
    let Some(wanted) = uses_keyring(root, &own) else {
        return Ok(());
    };
    let others_seal = || {
        profiles(root).any(|profile| {
            keyring_of(&profile) && profile.get("account").and_then(Value::as_str) == Some(account)
        })
    };
    let mut files = vec![account_file(root, &own)];
    // A registration stays sealed while another account of this name is.
    if wanted || !others_seal() {
        files.extend(records::registrations(&root.slots(), account, None));
    }
    files.extend(records::bindings(&root.slots(), url, account));
    let is_plain = |path: &PathBuf| path.exists() && !is_sealed_file(path);
    let secrets = root.secrets(&own);
    let is_due = |path: &&PathBuf| path.exists() && is_plain(path) == wanted;
    if !files.iter().chain(&secrets).any(|path| is_due(&path)) {
        return Ok(());
    }
    let key = match (wanted, key_id(root)) {
        (false, _) => None,
        (true, Some(id)) => Some((id.clone(), keyring::key(&id)?)),
        (true, None) => Some(new_key(root, locked)?),
    };
    let slots = PrivateDirectory::new(root.slots()).patience(LOCK_TIME);
    let slots = slots.lock()?;
    for path in files.iter().filter(is_due) {
        let text = Zeroizing::new(fs::read_to_string(path)?);
        if let Some((revision, contents)) = text.split_once('\n') {
            let place = sealing::place_of(path);
            let other = Zeroizing::new(reformed(key.as_ref(), &place, contents)?);
            let text = Zeroizing::new(format!("{revision}\n{}", other.as_str()));
            slots.write(path, text.as_bytes())?;
        }
    }
    for path in secrets.iter().filter(is_due) {
        let text = Zeroizing::new(fs::read_to_string(path)?);
        let place = sealing::place_of(path);
        let other = Zeroizing::new(reformed(key.as_ref(), &place, &text)?);
        locked.write(path, other.as_bytes())?;
    }
    Ok(())
}

/// Returns a text sealed with the key, or open without one.
fn reformed(key: Option<&Named>, place: &str, text: &str) -> Result<String, KeyringError> {
    let open = sealing::open(place, text)?;
    match key {
        Some((id, key)) => sealing::seal(id, key, place, &open),
        None => Ok(open.as_str().to_owned()),
    }
}
