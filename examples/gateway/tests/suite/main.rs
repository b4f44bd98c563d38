//! The gateway: as a library in this process, and as programs with one Redis. Requires `redis-server`
//! (`apt-get install redis-server`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod browser;
mod instances;
mod program;
mod sealed;
