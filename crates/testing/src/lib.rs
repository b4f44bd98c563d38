//! The loopback servers of the demo: an OAuth authorization server and an MCP server it protects.
//!
//! They exist to show the client at work on one machine: plain `http` on 127.0.0.1, consent that
//! approves itself, everything in memory. They are no pattern for a server on a network.

pub mod authorization;
mod endpoints;
pub mod proof;
mod protocol;
mod registration;
pub mod resource;

/// The scope every request to the MCP server needs.
pub const BASE_SCOPE: &str = "mcp:tools";

/// Locks, and goes on with the value of a holder that panicked.
pub fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
