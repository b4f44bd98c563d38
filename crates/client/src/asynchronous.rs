//! A driver for `tokio` on `reqwest`: one handle for any number of tasks.
//!
//! ```no_run
//! use http::Method;
//! use mcp_auth_machine::Config;
//! use mcp_auth_machine::action::Redirect;
//! use mcp_auth_client::MemoryStore;
//! use mcp_auth_client::asynchronous::{Callbacks, Client, User};
//! use mcp_auth_machine::wire::callback::Callback;
//!
//! /// The user of this program.
//! struct Me;
//!
//! impl User for Me {
//!     async fn redirect(&self, redirect: Redirect, callbacks: Callbacks) {
//!         println!("Sign in at {}", redirect.url.as_str());
//!         // Your listener at the redirect URI; open until the right callback has arrived.
//!         loop {
//!             let url = next_request().await;
//!             if callbacks.hand_in(Callback::from_url(url)).await {
//!                 return;
//!             }
//!         }
//!     }
//! }
//! # async fn next_request() -> String { String::new() }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let url = "https://mcp.example/mcp";
//! let config = Config::builder(url, "http://127.0.0.1:3000/callback")
//!     .client_name("My client")
//!     .build()?;
//! let client = Client::builder(config, "alice", MemoryStore::default())
//!     .user(Me)
//!     .start()?;
//!
//! // In any task, with a clone of the client:
//! let http = reqwest::Client::new();
//! let mut call = client.call("tools/list", Method::POST, url);
//! let answer = loop {
//!     let request = http.post(url).headers(call.headers().await?);
//!     let answer = request.body(r#"{"method": "tools/list"}"#).send().await?;
//!     if !call.again(answer.status(), answer.headers()).await? {
//!         break answer;
//!     }
//! };
//! println!("{}", answer.text().await?);
//! client.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # One task
//!
//! The machine belongs to one task of the runtime; handles send it requests and wait for the results. A
//! lock around the machine would be unsafe: a future that is dropped while it holds the lock, between a
//! token response and its slot, would lose the only copy of a refresh token. With the task, **any future of
//! this module may be dropped at any time**: the work that it started completes, and the next caller finds
//! the result. A sign-in continues too; it ends when [`User::redirect`] returns, at its time limit, or with
//! [`Client::abandon`].
//!
//! The task passes one request at a time to the machine, the next one when the machine is idle, so that
//! each result has one recipient. A hundred callers with the same refused token cause one refresh: the
//! first starts it, the others receive its result. A failure of a remote server fails all callers that wait
//! for the same result. During a refresh or a sign-in, callers that accept the current, still valid token
//! receive it at once.
//!
//! The task ends after the last handle was dropped or one was closed, once a request in flight has been
//! answered and its result stored. Tokens that the store does not take are saved again, with back-off; at the end for
//! [`save_time`](Builder::save_time) at most. The task also ends with the runtime, like in a crash: await [`Client::close`]
//! before the end of a program.
//!
//! # The network
//!
//! Redirects, cookies, retries and referrers are disabled, TLS is verified according to
//! [`Trust`](super::Trust), and the limits for body size and time are enforced. The driver resolves names
//! and connects only to addresses that the policy allows (SEC-06, SEC-07). Address literals, which no
//! resolver sees, are checked by the machine and again before sending.
//!
//! Proxies are used as in `reqwest`: those of the environment, unless [`Builder::http`] changes that, and
//! none for requests to this device. A proxy may have any address, since the user configured it. The proxy
//! resolves the names of the servers, so the check of their addresses must happen there.
//!
//! A client that is built without a [`Network`] creates its own, at a cost of milliseconds and 100 KiB. A
//! process with many clients builds one network and passes it to each ([`Builder::network`]). [`HostHttp`]
//! connects the host's own HTTP client.
//!
//! TLS is done by `rustls` with `ring`. This crate's `reqwest` feature brings no other TLS provider: your
//! program chooses the HTTP client for MCP requests, with its features.
//!
//! # Stores and secrets
//!
//! [`Store`](super::Store), [`Signer`](super::Signer) and [`Assertions`](super::Assertions) are the traits
//! of the blocking driver, called on blocking threads: one store call at a time, in the order of the
//! machine's actions. An [`AsyncStore`](super::AsyncStore) needs no thread ([`Client::builder_on`]).

mod accounts;
mod client;
mod connections;
mod desk;
mod device;
mod hands;
mod http;
mod job;
mod network;
mod publish;
mod saver;
mod sign_in;
mod start;
mod task;
mod turns;
mod user;

pub use accounts::{AccountCall, Accounts, AccountsBuilder, Counts, Returned, Server};
pub use client::{Call, Client};
pub use connections::Connections;
pub use device::DeviceSignIn;
pub use http::{Limits, Undelivered, http_client};
pub use job::Stopped;
pub use network::{HostHttp, Network, NetworkBuilder};
pub use saver::Unsaved;
pub use start::{Builder, StartFlaw};
pub use user::{Callbacks, Nobody, User};
