//! The asynchronous stores on real servers: Redis, a small cluster of it, a failover, and PostgreSQL. Needs
//! `redis-server` and `postgres` (`apt-get install redis-server postgresql`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    missing_docs
)]

#[path = "../redis/processes.rs"]
#[allow(dead_code, unreachable_pub)]
mod processes;
#[path = "../reqwest/support.rs"]
#[allow(dead_code, unreachable_pub)]
mod support;

mod killed;
mod postgres;
mod race;
mod redis_server;
mod sentinel;
mod servers;
