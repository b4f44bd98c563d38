//! The drivers with the kit for tests: clocks that a test moves, and servers in memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    missing_docs
)]

mod accounts;
mod assertions;
mod contract;
mod deviations;
mod settings;
mod time;
