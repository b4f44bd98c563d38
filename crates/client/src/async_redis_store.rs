//! Slots in Redis over one connection that many tasks share.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Cmd, ErrorKind, RedisError, RedisResult, Script, ServerErrorKind, cmd, pipe};

use super::async_store::{AsyncStore, in_time};
use super::redis_store::{
    Found, PATIENCE, SWAP, Swapped, load_command, redis_failed, stored, swap_arguments, swapped,
};
use super::store::{StoreError, Swap, failed};
use mcp_auth_machine::slot::{Revision, Slot, Stored};
use mcp_auth_machine::time::UnixMillis;

/// How long one operation may take, on any connection: the script may have to be sent first.
const LIMIT: Duration = Duration::from_secs(10);

/// How long replicas may take: shorter than the answer may.
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// A store in Redis for `tokio`, shared by clones: commands of all tasks travel on one connection, pipelined, and the
/// connection is made again when it breaks. Slots are those of [`RedisStore`](super::RedisStore): the two can be used
/// side by side.
///
/// An operation that fails is not repeated, because its result is unknown; only where the connection or the login was
/// refused, so that nothing was sent, it is tried once more at once. Redis replicates asynchronously: a failover
/// loses the writes that the new master never received, unless [`replicated`](Self::replicated) asks for them to have
/// arrived. What that means for accounts is in `docs/scale.md`.
#[derive(Clone)]
pub struct AsyncRedisStore<C = ConnectionManager> {
    connection: Arc<RwLock<C>>,
    /// Makes another connection, in place of one that keeps the refusal of a login.
    connect: Option<Arc<dyn Fn() -> RedisResult<C> + Send + Sync>>,
    prefix: Arc<str>,
    script: Arc<Script>,
    replicas: Option<(usize, Duration)>,
}

/// A write that too few replicas have: it happened on the master, and a failover may lose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reached} replicas have the write, {wanted} were to have it: a failover may lose it")]
pub struct NotReplicated {
    /// How many replicas were to have it.
    pub wanted: usize,
    /// How many replicas acknowledged it in time.
    pub reached: usize,
}

impl AsyncRedisStore {
    /// Creates a store on the server at a URL such as `redis://:password@host:6379/0`. All keys begin with the prefix,
    /// for example `my-gateway:`. The first operation connects.
    ///
    /// # Errors
    /// [`StoreError`] when the text is not the URL of a Redis server.
    pub fn open(url: &str, prefix: impl Into<Arc<str>>) -> Result<Self, StoreError> {
        Self::with_client(Client::open(url).map_err(failed)?, prefix)
    }

    /// Creates a store on a client of the host, for example with client certificates: TLS is a feature of the crate
    /// `redis`, which the host enables.
    ///
    /// # Errors
    /// [`StoreError`] when the client cannot be used.
    pub fn with_client(client: Client, prefix: impl Into<Arc<str>>) -> Result<Self, StoreError> {
        let settings = || {
            ConnectionManagerConfig::new()
                // A Redis that is away is an error now. The default tries for nine seconds, and callers repeat reads.
                .set_number_of_retries(0)
                .set_connection_timeout(Some(PATIENCE))
                .set_response_timeout(Some(PATIENCE))
        };
        let connect = move || ConnectionManager::new_lazy_with_config(client.clone(), settings());
        let connection = connect().map_err(failed)?;
        Ok(Self {
            connect: Some(Arc::new(connect)),
            ..Self::on(connection, prefix)
        })
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> AsyncRedisStore<C> {
    /// Creates a store on a connection of the host, such as that of a cluster: each slot is one key, so any kind of
    /// Redis will do. The connection reconnects by itself, and sends no command a second time.
    pub fn on(connection: C, prefix: impl Into<Arc<str>>) -> Self {
        Self {
            connection: Arc::new(RwLock::new(connection)),
            connect: None,
            prefix: prefix.into(),
            script: Arc::new(Script::new(SWAP)),
            replicas: None,
        }
    }

    /// Counts a write only when this many replicas have it within this time, at most four seconds; otherwise it fails
    /// with [`NotReplicated`]. Not for a cluster.
    #[must_use]
    pub fn replicated(mut self, replicas: usize, within: Duration) -> Self {
        self.replicas = Some((replicas, within.min(LONGEST_WAIT)));
        self
    }

    fn key(&self, slot: Slot) -> String {
        format!("{}{slot}", self.prefix)
    }

    fn connection(&self) -> C {
        let connection = self.connection.read();
        connection.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns true for a command that was not sent, and that is sent once more at once: the connection keeps the error of
    /// its last attempt to connect, however old it is, until a command comes. It keeps the refusal of a login for ever, so
    /// that another connection has to take its place.
    fn sends_again<T>(&self, told: &RedisResult<T>) -> bool {
        match told {
            Err(error) if error.is_connection_refusal() => true,
            Err(error) if error.kind() == ErrorKind::AuthenticationFailed => self.reconnects(),
            Err(_) | Ok(_) => false,
        }
    }

    /// Replaces the connection; false for one that the host made. The server may have been restarted or reconfigured since.
    fn reconnects(&self) -> bool {
        let Some(Ok(connected)) = self.connect.as_ref().map(|connect| connect()) else {
            return false;
        };
        let place = self.connection.write();
        *place.unwrap_or_else(PoisonError::into_inner) = connected;
        true
    }

    async fn swap(&self, swap: &Cmd) -> RedisResult<(Swapped, Option<usize>)> {
        let mut connection = self.connection();
        let Some((replicas, within)) = self.replicas else {
            return Ok((swap.query_async(&mut connection).await?, None));
        };
        let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut both = pipe();
        both.add_command(swap.clone());
        both.cmd("WAIT").arg(replicas).arg(within);
        let (answer, reached): (Swapped, usize) = both.query_async(&mut connection).await?;
        Ok((answer, Some(reached)))
    }

    async fn load_script(&self) -> RedisResult<()> {
        let mut load = cmd("SCRIPT");
        load.arg("LOAD").arg(SWAP);
        load.exec_async(&mut self.connection()).await
    }
}

fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> AsyncStore for AsyncRedisStore<C> {
    async fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        in_time(LIMIT, self.get(slot)).await
    }

    async fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        in_time(LIMIT, self.put(slot, expected, write, expires)).await
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> AsyncRedisStore<C> {
    async fn get(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        let get = load_command(&self.key(slot));
        let mut found: RedisResult<Found> = get.query_async(&mut self.connection()).await;
        if self.sends_again(&found) {
            found = get.query_async(&mut self.connection()).await;
        }
        stored(found.map_err(redis_failed)?)
    }

    async fn put(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        let mut swap = cmd("EVALSHA");
        swap.arg(self.script.get_hash());
        swap_arguments(&mut swap, &self.key(slot), expected, write, expires);
        let mut answer = self.swap(&swap).await;
        if self.sends_again(&answer) {
            answer = self.swap(&swap).await;
        }
        // A server that does not know the script has done nothing.
        if matches!(&answer, Err(error) if is_unknown_script(error)) {
            self.load_script().await.map_err(redis_failed)?;
            answer = self.swap(&swap).await;
        }
        let (answer, reached) = answer.map_err(redis_failed)?;
        match (swapped(answer)?, self.replicas, reached) {
            (Swap::Done, Some((wanted, _)), Some(reached)) if reached < wanted => {
                Err(failed(NotReplicated { wanted, reached }))
            }
            (swap, _, _) => Ok(swap),
        }
    }
}

impl<C> fmt::Debug for AsyncRedisStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncRedisStore")
            .field("prefix", &self.prefix)
            .field("replicas", &self.replicas)
            .finish_non_exhaustive()
    }
}
