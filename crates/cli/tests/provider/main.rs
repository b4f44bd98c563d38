//! The command `mcp-auth` against a certified OpenID provider. Requires npm packages: `.ci/run-provider.sh`
//! installs them and runs these tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod bridges;
mod browsers;
mod clients;
mod device;
mod python;
mod sign_in;
mod support;
mod tokens;
mod verified;
