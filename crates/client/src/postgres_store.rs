//! Slots in PostgreSQL: one row for each, swapped by one statement.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_postgres::tls::NoTls;
use tokio_postgres::{Client, Config, Row, Statement};

use super::async_store::AsyncStore;
use super::store::{StoreError, Swap, failed};
use mcp_auth_machine::slot::{Revision, Slot, SlotContents, Stored};
use mcp_auth_machine::time::UnixMillis;

/// How long the server may take to connect, and to answer.
const PATIENCE: Duration = Duration::from_secs(10);

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
        in_time(async {
            let client = (self.0.connect)().await?;
            client.batch_execute(&all).await
        })
        .await
    }

    /// Deletes rows that have ended, at most this many, and returns how many they were. A host calls it now and then.
    ///
    /// # Errors
    /// [`StoreError`] when the server cannot be asked.
    pub async fn remove_expired(&self, most: u32) -> Result<u64, StoreError> {
        let connection = self.connection().await?;
        in_time(connection.client.execute(REMOVE, &[&i64::from(most)])).await
    }

    /// The connection, made again when it broke.
    async fn connection(&self) -> Result<Arc<Connection>, StoreError> {
        let mut kept = self.0.connection.lock().await;
        if let Some(connection) = &*kept
            && !connection.client.is_closed()
        {
            return Ok(Arc::clone(connection));
        }
        let made = in_time(async {
            let client = (self.0.connect)().await?;
            client.batch_execute(DURABLE).await?;
            Ok(Arc::new(Connection {
                load: client.prepare(LOAD).await?,
                insert: client.prepare(INSERT).await?,
                update: client.prepare(UPDATE).await?,
                delete: client.prepare(DELETE).await?,
                client,
            }))
        })
        .await?;
        *kept = Some(Arc::clone(&made));
        Ok(made)
    }
}

impl Connection {
    async fn load(&self, slot: &str) -> Result<Option<Stored>, StoreError> {
        let row = in_time(self.client.query_opt(&self.load, &[&slot])).await?;
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
                in_time(self.client.execute(&self.insert, &values)).await?
            }
            (Some(expected), Some((revision, contents))) => {
                let contents = contents.as_bytes();
                let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
                    [&slot, revision, &contents, &expires, expected];
                in_time(self.client.execute(&self.update, &values)).await?
            }
            (Some(expected), None) => {
                in_time(self.client.execute(&self.delete, &[&slot, expected])).await?
            }
        };
        Ok(rows > 0)
    }
}

impl AsyncStore for PostgresStore {
    async fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        let connection = self.connection().await?;
        connection.load(&slot.to_string()).await
    }

    async fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        let connection = self.connection().await?;
        let slot = slot.to_string();
        // PostgreSQL counts in signed numbers; a later end than those is none.
        let expires = expires.and_then(|at| i64::try_from(at.0).ok());
        if connection.write(&slot, expected, write, expires).await? {
            return Ok(Swap::Done);
        }
        Ok(Swap::Conflict(connection.load(&slot).await?))
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

async fn in_time<T>(
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done.map_err(failed),
        Err(late) => Err(failed(late)),
    }
}
