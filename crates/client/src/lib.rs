//! Drivers: small loops that carry out the machine's actions. They decide nothing of the protocol.

#[cfg(feature = "reqwest")]
pub mod asynchronous;
#[cfg(feature = "ureq")]
mod blocking;
#[cfg(any(feature = "ureq", feature = "reqwest"))]
mod clock;
pub mod contract;
#[cfg(feature = "file-store")]
mod file_store;
#[cfg(feature = "keyring")]
mod keyring_store;
#[cfg(any(feature = "ureq", feature = "reqwest"))]
mod note;
#[cfg(any(feature = "ureq", feature = "reqwest"))]
mod policy;
#[cfg(feature = "file-store")]
mod private_directory;
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

#[cfg(feature = "ureq")]
pub use blocking::{Driver, Pause, Undelivered};
#[cfg(any(feature = "ureq", feature = "reqwest"))]
pub use clock::{now, seed};
#[cfg(feature = "file-store")]
pub use file_store::FileStore;
#[cfg(feature = "keyring")]
pub use keyring_store::{KeyringFlaw, KeyringStore};
#[cfg(any(feature = "ureq", feature = "reqwest"))]
pub use note::Note;
#[cfg(feature = "file-store")]
pub use private_directory::{DirectoryLock, Locked, PrivateDirectory};
#[cfg(feature = "redis")]
pub use redis_store::RedisStore;
pub use sealed::{Seal, SealError, Sealed};
#[cfg(any(feature = "ureq", feature = "reqwest"))]
pub use secrets::{Assertions, NoSecrets, Refused, Signer};
pub use store::{MemoryStore, Store, StoreError, Swap};
