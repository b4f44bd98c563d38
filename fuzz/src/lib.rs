//! The fuzz targets, defined in `tests/support/fuzzed.rs`; `cargo test` also runs the corpora through them.

#[path = "../../tests/support/mod.rs"]
mod support;

pub use support::fuzzed;

/// The targets of the server crate.
#[path = "../../crates/server/tests/suite/fuzzed.rs"]
pub mod server;
