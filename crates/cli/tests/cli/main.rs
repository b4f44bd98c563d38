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
mod advice;
mod bridge;
mod command;
mod crashes;
mod deviations;
mod doctor;
mod drive;
mod elsewhere;
mod examined;
mod fake;
mod faults;
mod hooks;
mod intranet;
mod keyed;
mod keyring;
mod lines;
mod newcomer;
mod older_transport;
mod overruled;
mod page;
mod pipe;
mod proposals;
mod record;
mod refusals;
mod registrations;
mod remedies;
mod renewal;
mod retries;
mod revisions;
mod shell;
mod support;
mod take_back;
mod tls;
mod traces;
mod transactions;
mod turns;
mod waits;
mod walk;
mod words;
