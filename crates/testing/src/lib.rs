//! Tests for hosts of [`mcp_auth_machine`].
//!
//! | Module | Feature | For |
//! |---|---|---|
//! | [`TestHost`] | | tests of the bare machine that read like a conversation |
//! | [`Playbook`] | | any conversation as stable text, for snapshots; also of a running driver |
//! | [`contract`] | | a driver of a host against the duties that can be seen from outside |
//! | [`histories`] | | random histories with a judge, for property tests (`proptest`) and for `cargo fuzz` |
//! | `VirtualClock`, `FixedEntropy` | `ureq` or `reqwest` | the drivers of `mcp-auth-client` without waiting, and the same at every run |
//! | `servers` | `servers` | an MCP server and its authorization server, in memory or on loopback, with deviations and faults |
//! | `authorization`, `resource` | `servers` | the two servers by themselves, on loopback |
//! | `RedisServer` | `servers` | a store against a real Redis |
//!
//! `docs/testing.md` of the repository leads from a first snapshot to a fuzz target.
//!
//! ```
//! use mcp_auth_machine::Config;
//! use mcp_auth_testing::{TestHost, documents};
//!
//! let mut host = TestHost::new(Config::builder(documents::MCP, documents::REDIRECT));
//! host.refused(401, "Bearer");
//! host.need_user();
//! host.authorize();
//! host.serve(documents::PRM, 200, &documents::resource());
//! host.serve(documents::METADATA, 200, &documents::metadata());
//! host.serve(documents::REGISTER, 201, r#"{"client_id": "c1"}"#);
//! let redirect = host.redirect();
//! host.callback(&redirect, "code=abc");
//! host.serve(documents::TOKEN, 200, &documents::token("t1"));
//! host.ready();
//! assert_eq!(host.bearer().unwrap(), "Bearer t1");
//! host.finish();
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod contract;
mod conversation;
pub mod documents;
pub mod histories;
mod host;
#[cfg(feature = "machine-tests")]
#[doc(hidden)]
pub mod machine_tests;
mod playbook;
mod records;
mod store;

#[cfg(feature = "servers")]
pub mod authorization;
#[cfg(feature = "servers")]
mod client;
#[cfg(feature = "servers")]
mod device;
#[cfg(feature = "servers")]
mod endpoints;
#[cfg(feature = "servers")]
pub mod proof;
#[cfg(feature = "servers")]
mod protocol;
#[cfg(feature = "servers")]
mod redis_server;
#[cfg(feature = "servers")]
mod registration;
#[cfg(feature = "servers")]
pub mod resource;
#[cfg(feature = "server-tests")]
#[doc(hidden)]
pub mod server_tests;
#[cfg(feature = "servers")]
pub mod servers;
#[cfg(any(feature = "ureq", feature = "reqwest"))]
mod surroundings;

pub use conversation::{Conversation, START, Slots, moment, response, seed};
pub use host::TestHost;
/// The machine, for [`fuzz_history!`].
pub use mcp_auth_machine as machine;
pub use playbook::Playbook;
#[doc(hidden)]
pub use records::spelled_out;
#[cfg(feature = "servers")]
pub use redis_server::{RedisServer, free_port};
pub use store::{StoreFails, Swapped, TestStore};
#[cfg(any(feature = "ureq", feature = "reqwest"))]
pub use surroundings::{FixedEntropy, VirtualClock};

/// The examples of `docs/testing.md`.
#[cfg(all(doctest, feature = "ureq"))]
#[doc = include_str!("../testing.md")]
mod page {}

/// The scope that every request to the MCP server requires.
#[cfg(feature = "servers")]
pub const BASE_SCOPE: &str = "mcp:tools";

/// Locks a mutex, even after a holder panicked.
pub fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
