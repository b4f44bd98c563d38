//! A gateway with many users, several MCP servers, and several instances behind one store: a sign-in starts on one
//! instance, and its callback may land on another. `README.md` beside it leads through it.
//!
//! ```sh
//! cargo run -p mcp-auth -- demo --serve            # prints the URL of an MCP server
//! cargo run -p example-gateway -- --mcp URL --listen 127.0.0.1:8080
//! ```
//!
//! A program of its own for each instance needs a shared store, `REDIS_URL`, and the same `GATEWAY_KEY` for all. The
//! store's contents are sealed with a key that Redis does not have. SIGTERM, or Ctrl-C, ends a process gracefully: requests
//! and refreshes under way are finished and stored, and the next process continues from the store.

mod cookies;
mod guard;
pub mod keys;
mod load;
mod origins;
mod pages;
mod serve;
mod settings;
mod store;
mod web;

use std::error::Error;

pub use serve::serve;
pub use settings::Settings;

/// Any error: the program prints it and ends.
pub type Failed = Box<dyn Error + Send + Sync>;

/// Runs the gateway, or with `--load` a load test against it.
///
/// # Errors
/// The gateway cannot start, or a simulated user fails.
pub async fn run(settings: Settings) -> Result<(), Failed> {
    // Sets the only TLS provider that is linked; a second call has no effect.
    let _first = rustls::crypto::ring::default_provider().install_default();
    match settings.load {
        Some(users) => load::run(users, settings).await,
        None => serve(settings).await,
    }
}
