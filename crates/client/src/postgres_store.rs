//! Slots in PostgreSQL: one row for each, swapped by one statement.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio_postgres::tls::NoTls;
use tokio_postgres::{Client, Config, Row, Statement};

use super::async_store::{AsyncStore, in_time};
use super::store::{StoreError, Swap, failed};
use mcp_auth_machine::slot::{Revision, Slot, SlotContents, Stored};
use mcp_auth_machine::time::UnixMillis;

/// How long one operation may take, with connecting.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// An operation that has no answer after this time, and is given up, ends its connection.
const HUNG: Duration = Duration::from_secs(1);

/// Whether a row has not ended, by the clock of the server.
macro_rules! live {
    () => {
        "(mcp_auth_slots.expires IS NULL OR mcp_auth_slots.expires > \
         (extract(epoch FROM clock_timestamp()) * 1000)::bigint)"
    };
}

const LOAD: &str = concat!(
    "SELECT revision, contents FROM mcp_auth_slots WHERE slot = $1 AND ",
    live!()
);

/// Into an empty slot, or one that has ended.
const INSERT: &str = concat!(
    "INSERT INTO mcp_auth_slots (slot, revision, contents, expires) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (slot) DO UPDATE SET revision = EXCLUDED.revision, contents = EXCLUDED.contents, \
     expires = EXCLUDED.expires WHERE NOT ",
    live!()
);

const UPDATE: &str = concat!(
    "UPDATE mcp_auth_slots SET revision = $2, contents = $3, expires = $4 \
     WHERE slot = $1 AND revision = $5 AND ",
    live!()
);

const DELETE: &str = concat!(
    "DELETE FROM mcp_auth_slots WHERE slot = $1 AND revision = $2 AND ",
    live!()
);

const REMOVE: &str = concat!(
    "DELETE FROM mcp_auth_slots WHERE slot IN \
     (SELECT slot FROM mcp_auth_slots WHERE expires IS NOT NULL AND NOT ",
    live!(),
    " LIMIT $1 FOR UPDATE SKIP LOCKED)"
);

/// A commit is on the disk when it is acknowledged, whatever the server is set to.
const DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', false) \
     WHERE current_setting('synchronous_commit') = 'off'";

type Connecting =
    Pin<Box<dyn Future<Output = Result<Client, tokio_postgres::Error>> + Send + 'static>>;

/// A store in PostgreSQL for `tokio`, shared by clones: the statements of all tasks travel on one connection,
/// pipelined, and the connection is made again when it breaks.
///
/// The table is that of [`MIGRATION`](Self::MIGRATION). A write compares and swaps in one statement and is on the disk
/// when it is acknowledged. Rows that have ended count as empty; [`remove_expired`](Self::remove_expired) deletes them.
/// An operation that fails is not repeated, because its result is unknown.
///
/// PostgreSQL holds the secrets in the clear (SEC-31): wrap this in a [`Sealed`](super::Sealed).
#[derive(Clone)]
pub struct PostgresStore(Arc<Inner>);

struct Inner {
    connect: Box<dyn Fn() -> Connecting + Send + Sync>,
    connection: Mutex<Option<Arc<Connection>>>,
}

struct Connection {
    client: Client,
    load: Statement,
    insert: Statement,
    update: Statement,
    delete: Statement,
}

impl PostgresStore {
    /// The statements that create the table, for the host's own migrations.
    pub const MIGRATION: &str = include_str!("../migrations/postgres/0001_slots.sql");

    /// Creates a store on the server at a URL such as `postgres://user:password@host/database`, without TLS. The
    /// first operation connects.
    ///
    /// # Errors
    /// [`StoreError`] when the text is not the URL of a PostgreSQL server.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        // Other text is read as pairs of keys and values, and the error would repeat a password.
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(failed("a URL that starts with postgres:// is expected"));
        }
        let config = url.parse::<Config>();
        let mut config = config.map_err(|_| failed("not the URL of a PostgreSQL server"))?;
        // A connection to a server that is gone ends, so that the next operation connects again.
        config.tcp_user_timeout(PATIENCE);
        Ok(Self::connecting(move || {
            let config = config.clone();
            async move {
                let (client, connection) = config.connect(NoTls).await?;
                tokio::spawn(connection);
                Ok(client)
            }
        }))
    }

    /// Creates a store that connects as the host says, for example with TLS: the host runs the connection and returns
    /// its client.
    pub fn connecting<F>(connect: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Client, tokio_postgres::Error>> + Send + 'static,
    {
        Self(Arc::new(Inner {
            connect: Box::new(move || Box::pin(connect())),
            connection: Mutex::default(),
        }))
    }

    /// Creates the table where it is missing. Several processes may do so at once.
    ///
    /// # Errors
    /// [`StoreError`] when the table cannot be created.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let lock = "SELECT pg_advisory_xact_lock(hashtext('mcp_auth_slots'))";
        let all = format!(
            "BEGIN; {lock}; {}; COMMIT",
            Self::MIGRATION.trim_end().trim_end_matches(';')
        );
        in_time(PATIENCE, async {
            let client = (self.0.connect)().await.map_err(failed)?;
            client.batch_execute(&all).await.map_err(failed)
        })
        .await
    }

    /// Deletes rows that have ended, at most this many, and returns how many they were. A host calls it now and then.
    ///
    /// # Errors
    /// [`StoreError`] when the server cannot be asked.
    pub async fn remove_expired(&self, most: u32) -> Result<u64, StoreError> {
        self.run(|connection| async move {
            let most = i64::from(most);
            let removed = connection.client.execute(REMOVE, &[&most]).await;
            removed.map_err(failed)
        })
        .await
    }

    /// Runs one operation within the time limit. A connection on which the server did not answer is not used again: the
    /// server, or what is between, may hang permanently.
    async fn run<T, W>(&self, work: impl FnOnce(Arc<Connection>) -> W) -> Result<T, StoreError>
    where
        W: Future<Output = Result<T, StoreError>>,
    {
        let whole = async {
            let connection = self.connection().await?;
            let mut used = InUse::new(self, &connection);
            let done = work(connection).await;
            used.is_done = true;
            done
        };
        in_time(PATIENCE, whole).await
    }

    /// The connection, made again when it broke.
    async fn connection(&self) -> Result<Arc<Connection>, StoreError> {
        let mut kept = self.0.connection.lock().await;
        if let Some(connection) = &*kept
            && !connection.client.is_closed()
        {
            return Ok(Arc::clone(connection));
        }
        let made = async {
            let client = (self.0.connect)().await?;
            client.batch_execute(DURABLE).await?;
            Ok::<_, tokio_postgres::Error>(Arc::new(Connection {
                load: client.prepare(LOAD).await?,
                insert: client.prepare(INSERT).await?,
                update: client.prepare(UPDATE).await?,
                delete: client.prepare(DELETE).await?,
                client,
            }))
        };
        // Less than the time of an operation, so that one whose server is back can still connect.
        let made = in_time(CONNECT, async { made.await.map_err(failed) }).await?;
        *kept = Some(Arc::clone(&made));
        Ok(made)
    }
}

/// An operation on a connection.
struct InUse<'a> {
    inner: &'a Inner,
    connection: Arc<Connection>,
    since: Instant,
    is_done: bool,
}

impl<'a> InUse<'a> {
    fn new(store: &'a PostgresStore, connection: &Arc<Connection>) -> Self {
        Self {
            inner: &store.0,
            connection: Arc::clone(connection),
            since: Instant::now(),
            is_done: false,
        }
    }
}

impl Drop for InUse<'_> {
    /// An operation that was given up after a while, here or by its caller: the next one connects again.
    fn drop(&mut self) {
        if self.is_done || self.since.elapsed() < HUNG {
            return;
        }
        // Where that does not succeed, another operation is connecting.
        if let Ok(mut kept) = self.inner.connection.try_lock()
            && kept
                .as_ref()
                .is_some_and(|kept| Arc::ptr_eq(kept, &self.connection))
        {
            *kept = None;
        }
    }
}

impl Connection {
    async fn load(&self, slot: &str) -> Result<Option<Stored>, StoreError> {
        let row = self
            .client
            .query_opt(&self.load, &[&slot])
            .await
            .map_err(failed)?;
        row.map(|row| stored(&row)).transpose()
    }

    /// Whether the write took place.
    async fn write(
        &self,
        slot: &str,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<i64>,
    ) -> Result<bool, StoreError> {
        let expected = expected.map(|revision| revision.to_string());
        let write = write.map(|write| (write.revision.to_string(), write.contents.expose()));
        let rows = match (&expected, &write) {
            (None, None) => return Ok(self.load(slot).await?.is_none()),
            (None, Some((revision, contents))) => {
                let contents = contents.as_bytes();
                let values: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
                    [&slot, revision, &contents, &expires];
                self.client
                    .execute(&self.insert, &values)
                    .await
                    .map_err(failed)?
            }
            (Some(expected), Some((revision, contents))) => {
                let contents = contents.as_bytes();
                let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
                    [&slot, revision, &contents, &expires, expected];
                self.client
                    .execute(&self.update, &values)
                    .await
                    .map_err(failed)?
            }
            (Some(expected), None) => self
                .client
                .execute(&self.delete, &[&slot, expected])
                .await
                .map_err(failed)?,
        };
        Ok(rows > 0)
    }
}

impl AsyncStore for PostgresStore {
    async fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        self.run(|connection| async move { connection.load(&slot.to_string()).await })
            .await
    }

    async fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        let slot = slot.to_string();
        // PostgreSQL counts in signed numbers; a later end than those is none.
        let expires = expires.and_then(|at| i64::try_from(at.0).ok());
        self.run(|connection| async move {
            if connection.write(&slot, expected, write, expires).await? {
                return Ok(Swap::Done);
            }
            Ok(Swap::Conflict(connection.load(&slot).await?))
        })
        .await
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresStore")
    }
}

fn stored(row: &Row) -> Result<Stored, StoreError> {
    let revision: &str = row.try_get(0).map_err(failed)?;
    let contents: &[u8] = row.try_get(1).map_err(failed)?;
    Ok(Stored {
        revision: revision.parse().map_err(failed)?,
        contents: SlotContents::new(std::str::from_utf8(contents).map_err(failed)?),
    })
}
