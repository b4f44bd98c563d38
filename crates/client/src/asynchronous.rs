//! A driver for `tokio`, on `reqwest`: one handle, any number of tasks.
//!
//! ```no_run
//! use http::Method;
//! use mcp_auth_machine::Config;
//! use mcp_auth_machine::action::Redirect;
//! use mcp_auth_client::MemoryStore;
//! use mcp_auth_client::asynchronous::{Callbacks, Client, User};
//! use mcp_auth_machine::wire::callback::Callback;
//!
//! /// The person at this machine.
//! struct Me;
//!
//! impl User for Me {
//!     async fn redirect(&self, redirect: Redirect, callbacks: Callbacks) {
//!         println!("Sign in at {}", redirect.url.as_str());
//!         // Your listener at the redirect URI; it stays open until the answer was the right one.
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
//! client.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # One task
//!
//! The machine belongs to one task of the runtime; handles send it questions and wait for answers. A
//! lock around the machine would not do: a future that is dropped while it holds the lock, between a
//! token answer and its slot, would take the only copy of a refresh token with it. Here nothing that a
//! caller holds is needed to go on, so **any future of this module may be dropped at any time**: what
//! it asked for is finished, and the next one who asks finds it done. A sign-in goes on too; it ends
//! when [`User::redirect`] returns, at its time limit, or with [`Client::abandon`].
//!
//! The task asks the machine one question at a time, and the next only when the machine rests, so each
//! answer has its addressee. A hundred callers with the same refused token make one renewal: the first
//! causes it, the others are answered from what it brought. A failure that came of asking others is
//! told to all who waited for the same. While a renewal or a sign-in is under way, who can do with the
//! token that is still good gets it at once.
//!
//! The task ends after the last handle was dropped or one was closed, when a request that is under way
//! has been answered and stored. It ends with the runtime too, as in a crash: await [`Client::close`]
//! before the end of a program.
//!
//! # The network
//!
//! Redirects, cookies, retries and referrers are off, TLS is verified as [`Trust`](super::Trust)
//! says, a body is read no further than its limit, and the time limit of each request is kept.
//! Names are resolved by the driver, and only addresses that the policy permits are connected to
//! (SEC-06, SEC-07); address literals, which no resolver sees, are refused by the machine and once
//! more before they are sent.
//!
//! Proxies are used as `reqwest` uses them: those of the environment, unless [`Builder::http`] says
//! otherwise, and none for requests to this machine. Behind a proxy the policy judges the address of the proxy, which is all that is connected
//! to: a proxy inside needs its name in
//! [`ConfigBuilder::allow_host`](mcp_auth_machine::config::ConfigBuilder::allow_host), or is given as an address,
//! which is not judged. The proxy resolves the names of the servers, so the check of those has to be
//! made there.
//!
//! A client that is built without a [`Network`] makes one of its own, which costs milliseconds and 100 KiB. A process
//! with many clients builds one network and gives it to each ([`Builder::network`]); [`HostHttp`] is the way to the
//! host's own HTTP client.
//!
//! TLS is done by `rustls` with `ring`. The feature brings `reqwest` without a provider of its own: the
//! client that sends your MCP requests is yours, with the features that you choose.
//!
//! # Stores and secrets
//!
//! [`Store`](super::Store), [`Signer`](super::Signer) and [`Assertions`](super::Assertions) are the
//! ones of the blocking driver, called on threads that may block: one call to the store at a time, in
//! the order of the machine's actions. An [`AsyncStore`](super::AsyncStore) needs no such thread
//! ([`Client::builder_on`]).

mod client;
mod desk;
mod hands;
mod http;
mod job;
mod network;
mod sign_in;
mod start;
mod task;
mod user;

pub use client::{Call, Client};
pub use http::{Limits, Undelivered, http_client};
pub use job::Stopped;
pub use network::{HostHttp, Network, NetworkBuilder};
pub use start::{Builder, StartFlaw};
pub use user::{Callbacks, Nobody, User};
