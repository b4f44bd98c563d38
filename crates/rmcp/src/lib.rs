//! Authorization for the streamable HTTP client of [`rmcp`], by [`mcp_auth_machine`].
//!
//! [`AuthorizedClient`] is the HTTP client of rmcp's transport. Each request carries a valid token of the
//! driver, and each challenge is passed to the driver, which refreshes the token, has the user sign in, or
//! requests more scopes; then the request is retried.
//!
//! ```no_run
//! use mcp_auth_machine::Config;
//! use mcp_auth_client::MemoryStore;
//! use mcp_auth_client::asynchronous::Client;
//! use mcp_auth_rmcp::AuthorizedClient;
//! use rmcp::ServiceExt as _;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let url = "https://mcp.example/mcp";
//! let config = Config::builder(url, "http://127.0.0.1:3000/callback").build()?;
//! // With `.user(…)` for a user who can sign in.
//! let authorization = Client::builder(config, "alice", MemoryStore::default()).start()?;
//! let transport = AuthorizedClient::new(authorization.clone())?.transport(url);
//! let mcp = ().serve(transport).await?;
//! println!("{:?}", mcp.list_all_tools().await?);
//! mcp.cancel().await?;
//! authorization.close().await?;
//! # Ok(())
//! # }
//! ```

mod answer;
mod client;
mod connections;
mod error;
mod events;
mod transport;

pub use client::AuthorizedClient;
pub use error::{Error, stopped};
