//! Drivers, stores and signing keys for [`mcp_auth_machine`]: loops that perform the machine's actions.
//! They make no decision about the protocol.
//!
//! | feature | contents |
//! |---|---|
//! | (none) | [`Store`] and its [`contract`], [`MemoryStore`], [`Sealed`] for the encryption of any store |
//! | `ureq` | `Driver`: a blocking driver |
//! | `reqwest` | `asynchronous::Client`: a driver for `tokio`, one handle for any number of tasks; `asynchronous::Accounts`: many accounts as one object, for gateways |
//! | `async-store` | [`AsyncStore`] for engines with an asynchronous client, and adapters from and to [`Store`]; part of `reqwest` |
//! | `tracing` | the drivers report events and actions to `tracing`, redacted, at the level `debug` |
//! | `metrics` | the asynchronous driver counts what happens through the facade `metrics`; `docs/metrics.md` lists the names |
//! | `file-store` | `FileStore`: a store in a directory, shared by several processes |
//! | `redis` | `RedisStore`: a store in Redis, shared by the instances of a service |
//! | `redis-async` | `AsyncRedisStore`: the same over one connection for all tasks; `redis-cluster` adds clusters, `redis-sentinel` failovers |
//! | `postgres` | `PostgresStore`: a store in PostgreSQL, shared by the instances of a service |
//! | `keyring` | `KeyringStore`: a store in the keyring of the operating system, for desktop hosts |
//! | `loopback` | `LoopbackListener`: receives the redirect of a browser on this machine |
//! | `signer` | `signer`: software keys for assertions and proofs |

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "redis-async")]
mod async_redis_store;
#[cfg(feature = "async-store")]
mod async_store;
#[cfg(feature = "reqwest")]
pub mod asynchronous;
#[cfg(feature = "ureq")]
mod blocking;
#[cfg(any(feature = "ureq", feature = "reqwest"))]
mod clock;
#[cfg(feature = "ureq")]
mod connect;
pub mod contract;
mod expiry;
#[cfg(feature = "file-store")]
mod file_store;
#[cfg(feature = "ureq")]
mod http_client;
#[cfg(feature = "keyring")]
mod keyring_store;
#[cfg(feature = "loopback")]
mod loopback;
mod memory_store;
#[cfg(feature = "reqwest")]
mod meter;
#[cfg(any(feature = "ureq", feature = "reqwest"))]
mod note;
#[cfg(any(feature = "ureq", feature = "reqwest"))]
mod policy;
#[cfg(feature = "postgres")]
mod postgres_store;
#[cfg(feature = "file-store")]
mod private_directory;
#[cfg(feature = "redis-sentinel")]
mod redis_sentinel;
#[cfg(feature = "redis")]
mod redis_store;
#[cfg(feature = "ureq")]
mod resolver;
mod sealed;
#[cfg(any(feature = "ureq", feature = "reqwest"))]
mod secrets;
#[cfg(feature = "signer")]
pub mod signer;
mod store;
#[cfg(any(feature = "ureq", feature = "reqwest"))]
mod trust;

#[cfg(feature = "redis-async")]
pub use async_redis_store::{AsyncRedisStore, NotReplicated};
#[cfg(feature = "async-store")]
pub use async_store::{AsyncStore, OnRuntime, OnThreads, SharedStore};
#[cfg(feature = "ureq")]
pub use blocking::{Driver, Pause, Undelivered};
#[cfg(any(feature = "ureq", feature = "reqwest"))]
pub use clock::{Clock, Entropy, now, seed};
#[cfg(feature = "ureq")]
pub use connect::TlsFault;
#[cfg(feature = "file-store")]
pub use file_store::FileStore;
#[cfg(feature = "ureq")]
pub use http_client::HttpClient;
#[cfg(feature = "keyring")]
pub use keyring_store::{KeyringFlaw, KeyringStore};
#[cfg(feature = "loopback")]
pub use loopback::{LoopbackBuilder, LoopbackHost, LoopbackListener, LoopbackPort};
pub use memory_store::MemoryStore;
#[cfg(any(feature = "ureq", feature = "reqwest"))]
pub use note::Note;
#[cfg(feature = "postgres")]
pub use postgres_store::PostgresStore;
#[cfg(feature = "file-store")]
pub use private_directory::{DirectoryLock, Locked, PrivateDirectory};
#[cfg(feature = "redis-sentinel")]
pub use redis_sentinel::SentinelConnection;
#[cfg(feature = "redis")]
pub use redis_store::RedisStore;
pub use sealed::{Seal, SealError, Sealed};
#[cfg(any(feature = "ureq", feature = "reqwest"))]
pub use secrets::{Assertions, NoSecrets, Refused, Signer};
#[cfg(feature = "async-store")]
pub use store::StoreTimedOut;
pub use store::{Store, StoreError, Swap};
#[cfg(any(feature = "ureq", feature = "reqwest"))]
pub use trust::{Trust, TrustFlaw};
