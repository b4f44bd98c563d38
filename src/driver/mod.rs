//! Drivers: small loops that carry out the machine's actions. They decide nothing of the protocol.

#[cfg(feature = "ureq")]
mod blocking;
#[cfg(feature = "file-store")]
mod file_store;
#[cfg(feature = "ureq")]
mod resolver;
#[cfg(feature = "ureq")]
mod secrets;
mod store;

#[cfg(feature = "ureq")]
pub use blocking::{Driver, Note, Pause, now, seed};
#[cfg(feature = "file-store")]
pub use file_store::FileStore;
#[cfg(feature = "ureq")]
pub use secrets::{Assertions, NoSecrets, Refused, Signer};
pub use store::{MemoryStore, Store, StoreError, Swap};
