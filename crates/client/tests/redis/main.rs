//! The Redis store, with a server and processes of its own. Requires `redis-server` (`apt-get install
//! redis-server`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    missing_docs
)]

#[path = "../../examples/gateway/main.rs"]
#[allow(dead_code, unreachable_pub)]
mod gateway;
#[path = "../reqwest/support.rs"]
#[allow(dead_code, unreachable_pub)]
mod support;

mod instances;
#[allow(dead_code)]
mod processes;
mod race;
mod store;
