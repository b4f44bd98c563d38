//! The fuzz targets do what `tests/support/fuzzed.rs` says; `cargo test` runs the corpora through it too.

#[path = "../../tests/support/mod.rs"]
mod support;

pub use support::fuzzed;

/// The targets of the crate for servers.
#[path = "../../crates/server/tests/suite/fuzzed.rs"]
pub mod server;
