//! The engines that drive the world (`world` of the kit) and judge every step: histories, simulation,
//! storms. `cargo test` runs a little of each; with `PROOF=each` the figures of a CI run, with
//! `PROOF=long` those that are worth a date (`docs/verification.md`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    missing_docs
)]

use mcp_auth_testing::machine_tests as support;

mod corpus;
mod effort;
mod histories;
mod quiet;
mod simulation;
mod storms;
mod survey;
mod sweep;
mod traces;
