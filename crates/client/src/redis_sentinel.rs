//! A connection to the master that Redis Sentinel names, made again after a failover.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::sentinel::{SentinelClient, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, IntoConnectionInfo, Pipeline, RedisError, RedisFuture,
    RedisResult, ServerErrorKind, Value,
};
use tokio::sync::Mutex;

use super::async_redis_store::AsyncRedisStore;
use super::store::{StoreError, failed};

/// How long the master may take to connect, and to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to the current master of a service, shared by clones. It asks the sentinels for the master before its
/// first command, and after a command that failed because the master is gone or is none any more. No command is sent a
/// second time.
#[derive(Clone)]
pub struct SentinelConnection(Arc<Mutex<Inner>>);

struct Inner {
    sentinels: SentinelClient,
    connection: Option<(u64, MultiplexedConnection)>,
    /// Counts connections.
    made: u64,
}

impl AsyncRedisStore<SentinelConnection> {
    /// Creates a store on the master of a service that Redis Sentinel watches, at URLs of sentinels such as
    /// `redis://10.0.0.1:26379`. The first operation connects.
    ///
    /// A failover loses the writes that the new master never received: ask for [`replicated`](Self::replicated), and have
    /// `min-replicas-to-write` set on the servers, so that a master that is cut off takes no writes.
    ///
    /// # Errors
    /// [`StoreError`] when a text is not the URL of a Redis server.
    pub fn sentinel<T: IntoConnectionInfo>(
        sentinels: impl IntoIterator<Item = T>,
        service: &str,
        prefix: impl Into<Arc<str>>,
    ) -> Result<Self, StoreError> {
        let sentinels = sentinels.into_iter().collect();
        let master = SentinelServerType::Master;
        let client = SentinelClient::build(sentinels, service.to_owned(), None, master);
        Ok(Self::on(
            SentinelConnection::new(client.map_err(failed)?),
            prefix,
        ))
    }
}

impl SentinelConnection {
    /// Creates a connection with a client of the host, for example with a password or with TLS.
    pub fn new(sentinels: SentinelClient) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            sentinels,
            connection: None,
            made: 0,
        })))
    }

    async fn current(&self) -> RedisResult<(u64, MultiplexedConnection)> {
        let mut inner = self.0.lock().await;
        if let Some(known) = &inner.connection {
            return Ok(known.clone());
        }
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let connection = inner.sentinels.get_async_connection_with_config(&settings);
        let connection = connection.await?;
        inner.made = inner.made.saturating_add(1);
        let made = (inner.made, connection);
        inner.connection = Some(made.clone());
        Ok(made)
    }

    /// Gives up the connection after an error that another master may not have.
    async fn judge(&self, number: u64, error: &RedisError) {
        let demoted = matches!(
            error.kind(),
            ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
        );
        if demoted || error.is_io_error() || error.is_unrecoverable_error() {
            let mut inner = self.0.lock().await;
            inner.connection.take_if(|(known, _)| *known == number);
        }
    }
}

impl ConnectionLike for SentinelConnection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let (number, mut connection) = self.current().await?;
            let answer = connection.req_packed_command(cmd).await;
            if let Err(error) = &answer {
                self.judge(number, error).await;
            }
            answer
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let (number, mut connection) = self.current().await?;
            let answer = connection
                .req_packed_commands(pipeline, offset, count)
                .await;
            if let Err(error) = &answer {
                self.judge(number, error).await;
            }
            answer
        })
    }

    fn get_db(&self) -> i64 {
        0
    }
}

impl fmt::Debug for SentinelConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SentinelConnection")
    }
}
