//! The keys of sealed records, in the keyring of the operating system.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use keyring::{Entry, Error};
use zeroize::Zeroizing;

use crate::speaker;
use crate::waits::{self, Wait};

/// The service name of the entries; the user name is the identifier of a key.
const SERVICE: &str = "mcp-auth";

/// How long the keyring may take where the command has no time limit, less than the machine waits for a slot. A locked
/// one asks the user meanwhile.
const PATIENCE: Duration = Duration::from_secs(25);

/// A key of ChaCha20-Poly1305.
pub(super) type Key = Zeroizing<[u8; 32]>;

/// The keys that this process has read.
static KEYS: Mutex<BTreeMap<String, Key>> = Mutex::new(BTreeMap::new());

fn keys() -> MutexGuard<'static, BTreeMap<String, Key>> {
    KEYS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The reason why a sealed record cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyringError {
    /// The message bus of the desktop is not in the environment.
    #[error(
        "this environment hides the system's keyring: DBUS_SESSION_BUS_ADDRESS is not set, as in a service, \
         over SSH, or in a helper whose client clears the environment. Pass that variable on; or, where the \
         keyring is visible, take the account out of it: {login} ({0})",
        login = speaker::login("--no-keyring")
    )]
    Hidden(String),
    #[error(
        "this system has no keyring ({0}): start one that offers the Secret Service, such as gnome-keyring, \
         KWallet or KeePassXC, or sign in without it: {login}",
        login = speaker::login("--no-keyring")
    )]
    Missing(String),
    #[error("the system's keyring is locked: unlock it, then try again ({0})")]
    Locked(String),
    #[error(
        "the system's keyring did not answer in time; it may wait to be unlocked: unlock it, then try again"
    )]
    Silent,
    #[error("the system's keyring failed: {0}")]
    Failed(String),
    /// The keyring has no such key.
    #[error(
        "the key of the sealed records is no longer in the system's keyring; sign in again: {login}",
        login = speaker::login("")
    )]
    Lost,
    /// The contents were altered, or belong to another record.
    #[error(
        "a sealed record was altered, or belongs to another place; sign in again: {login}",
        login = speaker::login("")
    )]
    Altered,
}

impl KeyringError {
    /// Returns true if the record cannot be opened later either.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Lost | Self::Altered)
    }
}

/// Returns true if the address of the desktop's message bus is missing.
fn is_hidden() -> bool {
    cfg!(all(unix, not(target_os = "macos")))
        && std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_none_or(|value| value.is_empty())
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enum is marked non-exhaustive by its crate"
)]
fn told(error: &Error) -> KeyringError {
    match error {
        Error::NoEntry => KeyringError::Lost,
        Error::NoStorageAccess(_) => KeyringError::Locked(error.to_string()),
        // These errors contain the secret.
        Error::BadEncoding(_) | Error::BadDataFormat(..) => KeyringError::Altered,
        other => KeyringError::Failed(other.to_string()),
    }
}

/// How long the keyring may take for what is not the command's own account: to delete a key, or to open others' records.
const ASIDE: Duration = Duration::from_secs(3);

thread_local! {
    /// The end of the part that this thread works on.
    static PART: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Limits how long the keyring may take in a part of the command, on this thread. Once it did not answer, it is not asked
/// again there.
pub(super) fn aside<T>(part: impl FnOnce() -> T) -> T {
    let former = PART.get();
    let end = Instant::now().checked_add(ASIDE);
    // A part within a part has no longer time.
    PART.set(former.into_iter().chain(end).min());
    let _end = Part(former);
    part()
}

/// Restores the end of the part around this one.
struct Part(Option<Instant>);

impl Drop for Part {
    fn drop(&mut self) {
        PART.set(self.0);
    }
}

/// Performs an operation of the keyring on a thread of its own, because it may wait for the user.
fn within<T: Send + 'static>(
    operation: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, KeyringError> {
    // The end of a command may take a moment after its time, to leave no key behind.
    let end = PART.get().or(waits::end());
    let patience = end.map_or(PATIENCE, |end| {
        end.saturating_duration_since(Instant::now())
    });
    #[cfg(test)]
    tests::ASKED.with_borrow_mut(|asked| asked.push(patience));
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let done = match Entry::store_status() {
            Err(error) if is_hidden() => Err(KeyringError::Hidden(error.to_string())),
            Err(error) => Err(KeyringError::Missing(error.to_string())),
            Ok(()) => operation().map_err(|error| told(&error)),
        };
        // The receiver may have given up.
        let _sent = sender.send(done);
    });
    let _noted = waits::note(Wait::Keyring);
    receiver.recv_timeout(patience).unwrap_or_else(|error| {
        Err(match error {
            RecvTimeoutError::Timeout => KeyringError::Silent,
            RecvTimeoutError::Disconnected => KeyringError::Failed("it gave no answer".to_owned()),
        })
    })
}

/// Returns a key of the keyring.
///
/// # Errors
/// [`KeyringError::Lost`] when the keyring lacks it; others when the keyring cannot be used now.
pub(super) fn key(id: &str) -> Result<Key, KeyringError> {
    if let Some(key) = keys().get(id) {
        return Ok(key.clone());
    }
    let user = id.to_owned();
    let secret = within(move || Ok(Zeroizing::new(Entry::new(SERVICE, &user)?.get_secret()?)))?;
    let key = Zeroizing::new(*secret.first_chunk().ok_or(KeyringError::Altered)?);
    keys().insert(id.to_owned(), Key::clone(&key));
    Ok(key)
}

/// Stores a key in the keyring.
///
/// # Errors
/// When the keyring cannot be used now.
pub(super) fn store(id: &str, key: &Key) -> Result<(), KeyringError> {
    let (user, secret) = (id.to_owned(), key.clone());
    within(move || Entry::new(SERVICE, &user)?.set_secret(&*secret))?;
    keys().insert(id.to_owned(), key.clone());
    Ok(())
}

/// Makes a key known to this process alone.
#[cfg(test)]
pub(super) fn remember(id: &str, key: &Key) {
    keys().insert(id.to_owned(), key.clone());
}

/// Deletes a key.
///
/// # Errors
/// When the keyring cannot be used now.
pub(super) fn delete(id: &str) -> Result<(), KeyringError> {
    let user = id.to_owned();
    keys().remove(id);
    match within(move || Entry::new(SERVICE, &user)?.delete_credential()) {
        Ok(()) | Err(KeyringError::Lost) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Does something while the keyring gives no answer.
#[cfg(test)]
pub(super) fn while_silent<T>(part: impl FnOnce() -> T) -> T {
    let _end = Part(PART.replace(Some(Instant::now())));
    part()
}

/// Returns the times that this thread gave the keyring, one for each question.
#[cfg(test)]
pub(super) fn asked() -> Vec<Duration> {
    tests::ASKED.with_borrow_mut(std::mem::take)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    thread_local! {
        pub(super) static ASKED: RefCell<Vec<Duration>> = const { RefCell::new(Vec::new()) };
    }

    #[test]
    fn the_end_of_a_part_is_that_of_one_thread_and_of_no_longer_part() {
        aside(|| {
            let end = PART.get();
            assert!(end.is_some());
            thread::scope(|scope| {
                scope.spawn(|| assert_eq!(PART.get(), None));
            });
            aside(|| assert_eq!(PART.get(), end));
            assert_eq!(PART.get(), end);
        });
        assert_eq!(PART.get(), None);
    }
}
