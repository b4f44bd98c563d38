//! The asynchronous driver over real loopback HTTP, against the built-in servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    missing_docs
)]

mod accounts;
mod chaos;
mod device;
mod dropped;
mod gateway;
mod outage;
mod server_faults;
mod shared;
mod sign_in;
mod support;
mod under_way;
