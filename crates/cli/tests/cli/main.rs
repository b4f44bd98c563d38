//! The command `mcp-auth`, as a user runs it, against the built-in servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod accounts;
mod command;
mod crashes;
mod doctor;
mod drive;
mod fake;
mod faults;
mod hooks;
mod intranet;
mod lines;
mod page;
mod pipe;
mod record;
mod refusals;
mod remedies;
mod support;
mod tls;
mod transactions;
mod walk;
