//! The asynchronous driver over real loopback HTTP, against the built-in servers, and its stores on real servers.
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
#[cfg(all(
    feature = "postgres",
    feature = "redis-cluster",
    feature = "redis-sentinel"
))]
mod engines;
mod gateway;
#[cfg(feature = "metrics")]
mod metrics;
mod outage;
#[cfg(feature = "redis-async")]
mod processes;
mod server_faults;
mod shared;
#[cfg(all(feature = "redis-async", feature = "ureq"))]
mod shared_redis;
mod sign_in;
mod support;
mod under_way;
