//! The loopback servers of the demo: an OAuth authorization server, and an MCP server that it protects.
//!
//! The servers demonstrate the client on one device: plain `http` on 127.0.0.1, automatic consent, all
//! state in memory. Do not use them as a model for a server on a network.

pub mod authorization;
mod device;
mod endpoints;
pub mod proof;
mod protocol;
mod registration;
pub mod resource;

/// The scope that every request to the MCP server requires.
pub const BASE_SCOPE: &str = "mcp:tools";

/// Locks a mutex, even after a holder panicked.
pub fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
