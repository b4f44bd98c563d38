//! The helpers, and that the machine reads what they write.

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

mod common;
mod servers;
mod servers_closed;

#[cfg(feature = "tower")]
mod bodies;
#[cfg(feature = "jwt")]
mod corpus;
#[cfg(feature = "tower")]
mod http_attacks;
#[cfg(feature = "jwt")]
mod issuer;
#[cfg(feature = "tower")]
mod layer;
#[cfg(feature = "jwt")]
mod proofs;
#[cfg(feature = "jwt")]
mod proxy;
#[cfg(feature = "jwt")]
mod token_attacks;
#[cfg(feature = "jwt")]
mod token_endpoint;
#[cfg(feature = "jwt")]
mod tokens;
