//! The kit itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    missing_docs
)]

mod driver_contract;
#[cfg(feature = "proptest")]
mod histories;
mod own_driver;
mod scripted;
#[cfg(feature = "servers")]
mod table;
