//! The fuzz targets, which the kit for tests defines; `cargo test` also runs the corpora through them.

pub use mcp_auth_testing::machine_tests::fuzzed;
/// The targets of the server crate.
pub use mcp_auth_testing::server_tests as server;
