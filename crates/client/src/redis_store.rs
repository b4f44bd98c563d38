//! Slots in Redis: one key for each, swapped by a script.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::{Client, Connection, RedisResult, cmd};

use super::store::{Store, StoreError, Swap};
use mcp_auth_machine::slot::{Revision, Slot, SlotContents, Stored};
use mcp_auth_machine::time::UnixMillis;

/// How long Redis may take to connect, and to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many connections are kept while nobody uses them.
const KEPT: usize = 8;

/// Compares the revision, then writes or clears, as one step. Answers whether it did, and what it
/// found when it did not.
const SWAP: &str = "\
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

/// A store in Redis, for the instances of a service. Clones share their connections.
///
/// Each slot is one hash, written by a script, so that no other command comes in between; slots with
/// an end are dropped by Redis at that time. An operation that fails is not repeated, because nobody
/// can say whether it happened; the next one connects again.
///
/// Redis holds the secrets in the clear (SEC-31): wrap this in a [`Sealed`](super::Sealed), and have
/// Redis ask for a password. It has to keep what it was given: see `docs/hosts.md`, "Stores".
#[derive(Clone)]
pub struct RedisStore {
    client: Client,
    prefix: Arc<str>,
    connections: Arc<Mutex<Vec<Connection>>>,
}

type Found = (Option<String>, Option<String>);

impl RedisStore {
    /// For the server at a URL such as `redis://:password@host:6379/0`. All keys begin with the
    /// prefix, for example `my-gateway:`. Nothing is connected yet.
    ///
    /// # Errors
    /// [`StoreError`] when that is no URL of a Redis server.
    pub fn open(url: &str, prefix: impl Into<Arc<str>>) -> Result<Self, StoreError> {
        let client = Client::open(url).map_err(failed)?;
        Ok(Self::with_client(client, prefix))
    }

    /// With a client that the host made, for example with client certificates: TLS is a feature of
    /// the crate `redis`, which the host switches on.
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

    /// Works with a connection that is alive, and keeps it when that went well.
    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> RedisResult<T>) -> RedisResult<T> {
        let mut connection = match self.kept() {
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

    /// A connection from before that Redis still answers on.
    fn kept(&self) -> Option<Connection> {
        loop {
            let mut connection = self.lock().pop()?;
            if cmd("PING").exec(&mut connection).is_ok() {
                return Some(connection);
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
        let mut get = cmd("HMGET");
        get.arg(self.key(slot)).arg("revision").arg("contents");
        let found = self.with(|connection| get.query(connection));
        stored(found.map_err(failed)?)
    }

    fn persist(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
    ) -> Result<Swap, StoreError> {
        self.persist_until(slot, expected, write, None)
    }

    fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        let text = |revision: Revision| revision.to_string();
        // Redis counts in signed numbers; what is later than those is never.
        let expires = expires.filter(|at| i64::try_from(at.0).is_ok());
        let mut swap = cmd("EVAL");
        swap.arg(SWAP)
            .arg(1)
            .arg(self.key(slot))
            .arg(expected.map(text).unwrap_or_default())
            .arg(write.map(|w| text(w.revision)).unwrap_or_default())
            .arg(write.map(|w| w.contents.expose()).unwrap_or_default())
            .arg(expires.map(|at| at.0.to_string()).unwrap_or_default());
        let answer = self.with(|connection| swap.query(connection));
        let (done, revision, contents): (bool, _, _) = answer.map_err(failed)?;
        if done {
            return Ok(Swap::Done);
        }
        Ok(Swap::Conflict(stored((revision, contents))?))
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

fn stored(found: Found) -> Result<Option<Stored>, StoreError> {
    match found {
        (None, None) => Ok(None),
        (Some(revision), Some(contents)) => Ok(Some(Stored {
            revision: revision.parse().map_err(failed)?,
            contents: SlotContents::new(contents),
        })),
        (Some(_), None) | (None, Some(_)) => Err(failed("not a slot of this store")),
    }
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError(error.into())
}
