//! Stores and keys, without a server.

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

#[cfg(feature = "signer")]
mod signer;
#[cfg(feature = "file-store")]
mod stores;
