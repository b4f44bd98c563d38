//! The figures of `docs/scale.md`, each beside its limit, in one run:
//!
//! ```sh
//! cargo bench -p mcp-auth-client --features reqwest,redis-async --bench scale
//! ```
//!
//! `SCALE_USERS` says how many users sign in (1,000 unless set), `SCALE_KNOWN` how many accounts the store holds for the
//! process with many known principals (100,000 unless set; a hundredth of them is active), and `SCALE_ONLY` picks one
//! part: `starting`, `parked`, `warm`, `storms`, `at_rest` or `known`. `SCALE_ROUNDS` (5) says of how many times the best
//! one is printed. The figures that need Redis are left out where there
//! is no `redis-server`.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    missing_docs
)]

mod at_rest;
mod common;
mod known;
mod machines;
mod records;
mod tokens;
mod world;

use std::alloc::System;

use self::common::{number, row};
use self::world::World;
use mcp_auth_testing::RedisServer;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Memory that is allocated now.
fn live() -> i128 {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated as i128 - stats.bytes_deallocated as i128
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 = line
        .and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or_default();
    kib / 1024.0
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let _first = rustls::crypto::ring::default_provider().install_default();
    if known::is_child() {
        return known::child().await;
    }
    let users = number("SCALE_USERS", 1_000);
    let only = std::env::var("SCALE_ONLY").ok();
    let runs = |part: &str| only.as_ref().is_none_or(|only| only == part);
    let world = World::start().await;
    row("workload", "found", "limit, or the same without this crate");
    if runs("starting") {
        machines::starting(&world).await;
    }
    if runs("parked") {
        machines::parked(&world).await;
    }
    if runs("warm") {
        tokens::warm(&world, users).await;
    }
    if runs("storms") {
        tokens::storms(&world).await;
        tokens::many(&world).await;
    }
    if !runs("at_rest") && !runs("known") {
        return;
    }
    let redis = match RedisServer::start() {
        Ok(redis) => redis,
        Err(error) => return println!("{error}; its figures are left out"),
    };
    if runs("at_rest") {
        at_rest::at_rest(&world, &redis).await;
    }
    if runs("known") {
        known::known(&world, &redis, number("SCALE_KNOWN", 100_000)).await;
    }
}
