//! Drivers: small loops that carry out the machine's actions. They decide nothing of the protocol.

mod blocking;
mod resolver;
mod store;

pub use blocking::{Driver, Note, Pause, now, seed};
pub use store::{MemoryStore, Store, StoreError, Swap};
