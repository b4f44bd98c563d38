//! A store in Redis: one key per slot, swapped by a script.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::{Client, Cmd, Connection, RedisError, RedisResult, cmd};

use super::store::{Store, StoreError, Swap, failed};
use mcp_auth_machine::slot::{Revision, Slot, SlotContents, Stored};
use mcp_auth_machine::time::UnixMillis;

/// The time limit for connecting and for each reply.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The number of idle connections that are kept.
const KEPT: usize = 8;

/// Compares the revision, then writes or clears, atomically. Replies with success, or with the current
/// contents.
pub(super) const SWAP: &str = "\
local found = redis.call('HMGET', KEYS[1], 'revision', 'contents')
local strange = found[2] and not found[1]
if strange or (found[1] or '') ~= ARGV[1] then
  return {0, found[1], found[2]}
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
  return {1, false, false}
end
redis.call('HSET', KEYS[1], 'revision', ARGV[2], 'contents', ARGV[3])
if ARGV[4] == '' then
  redis.call('PERSIST', KEYS[1])
else
  redis.call('PEXPIREAT', KEYS[1], ARGV[4])
end
return {1, false, false}";

/// A store in Redis, shared by the instances of a service. Clones share their connections.
///
/// Each slot is one hash, written atomically by a script; Redis drops a slot with an expiry at that time. A
/// failed operation is not retried, because its result is unknown; the next one connects again.
///
/// Redis stores the secrets unencrypted (SEC-31): wrap the store in a [`Sealed`](super::Sealed), and set a
/// password in Redis. Configure Redis for durability: see `docs/hosts.md`, "Stores".
#[derive(Clone)]
pub struct RedisStore {
    client: Client,
    prefix: Arc<str>,
    connections: Arc<Mutex<Vec<Connection>>>,
}

pub(super) type Found = (Option<String>, Option<String>);

/// Success, or what the slot holds.
pub(super) type Swapped = (bool, Option<String>, Option<String>);

impl RedisStore {
    /// Creates a store for a URL such as `redis://:password@host:6379/0`. All keys start with the prefix,
    /// for example `my-gateway:`. The first operation connects.
    ///
    /// # Errors
    /// [`StoreError`] when the URL is not one of a Redis server.
    pub fn open(url: &str, prefix: impl Into<Arc<str>>) -> Result<Self, StoreError> {
        let client = Client::open(url).map_err(failed)?;
        Ok(Self::with_client(client, prefix))
    }

    /// Creates a store with the host's Redis client, for example with client certificates. For TLS, enable
    /// a feature of the crate `redis`.
    pub fn with_client(client: Client, prefix: impl Into<Arc<str>>) -> Self {
        Self {
            client,
            prefix: prefix.into(),
            connections: Arc::default(),
        }
    }

    fn key(&self, slot: Slot) -> String {
        format!("{}{slot}", self.prefix)
    }

    /// Runs an operation on a live connection, and keeps the connection on success.
    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> RedisResult<T>) -> RedisResult<T> {
        let mut connection = match self.kept()? {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let done = work(&mut connection)?;
        let mut connections = self.lock();
        if connections.len() < KEPT {
            connections.push(connection);
        }
        Ok(done)
    }

    /// Returns an idle connection on which Redis still replies. A Redis that hangs is asked once: the other connections
    /// would each take as long.
    fn kept(&self) -> RedisResult<Option<Connection>> {
        loop {
            let Some(mut connection) = self.lock().pop() else {
                return Ok(None);
            };
            match cmd("PING").exec(&mut connection) {
                Ok(()) => return Ok(Some(connection)),
                Err(error) if error.is_timeout() => return Err(error),
                Err(_) => {}
            }
        }
    }

    fn connect(&self) -> RedisResult<Connection> {
        let connection = self.client.get_connection_with_timeout(PATIENCE)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.set_write_timeout(Some(PATIENCE))?;
        Ok(connection)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for RedisStore {
    fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        let get = load_command(&self.key(slot));
        let found = self.with(|connection| get.query(connection));
        stored(found.map_err(redis_failed)?)
    }

    fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        let mut swap = cmd("EVAL");
        swap.arg(SWAP);
        swap_arguments(&mut swap, &self.key(slot), expected, write, expires);
        let answer = self.with(|connection| swap.query(connection));
        swapped(answer.map_err(redis_failed)?)
    }
}

/// Wraps an error of Redis. One about time is [`StoreTimedOut`](super::store::StoreTimedOut), as with any other store.
pub(super) fn redis_failed(error: RedisError) -> StoreError {
    #[cfg(feature = "async-store")]
    if error.is_timeout() {
        return failed(super::store::StoreTimedOut { limit: PATIENCE });
    }
    failed(error)
}

/// Returns the command that reads a slot; its reply is a [`Found`].
pub(super) fn load_command(key: &str) -> Cmd {
    let mut get = cmd("HMGET");
    get.arg(key).arg("revision").arg("contents");
    get
}

/// Adds the arguments of [`SWAP`] to a command that runs it; its reply is a [`Swapped`].
pub(super) fn swap_arguments(
    swap: &mut Cmd,
    key: &str,
    expected: Option<Revision>,
    write: Option<&Stored>,
    expires: Option<UnixMillis>,
) {
    let text = |revision: Revision| revision.to_string();
    // Redis uses signed integers; a later expiry means none.
    let expires = expires.filter(|at| i64::try_from(at.0).is_ok());
    swap.arg(1)
        .arg(key)
        .arg(expected.map(text).unwrap_or_default())
        .arg(write.map(|w| text(w.revision)).unwrap_or_default())
        .arg(write.map(|w| w.contents.expose()).unwrap_or_default())
        .arg(expires.map(|at| at.0.to_string()).unwrap_or_default());
}

/// Reads the reply of [`SWAP`].
pub(super) fn swapped((done, revision, contents): Swapped) -> Result<Swap, StoreError> {
    if done {
        return Ok(Swap::Done);
    }
    Ok(Swap::Conflict(stored((revision, contents))?))
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

pub(super) fn stored(found: Found) -> Result<Option<Stored>, StoreError> {
    match found {
        (None, None) => Ok(None),
        (Some(revision), Some(contents)) => Ok(Some(Stored {
            revision: revision.parse().map_err(failed)?,
            contents: SlotContents::new(contents),
        })),
        (Some(_), None) | (None, Some(_)) => Err(failed("not a slot of this store")),
    }
}
