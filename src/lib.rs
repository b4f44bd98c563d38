//! The OAuth client of the Model Context Protocol as one pure state machine.
//!
//! Events go in, actions come out. The machine owns no socket, clock, random source, file or thread:
//! the host sends its requests, keeps its slots, and says what time it is.
//!
//! ```text
//!   401 from the MCP server ─┐                      ┌─ SendRequest   your HTTP client
//!   HTTP responses ──────────┤   ┌─────────────┐    ├─ LoadSlot      your store
//!   callback parameters ─────┼──▶│ AuthMachine │──▶─┼─ PersistSlot
//!   slot contents ───────────┤   └─────────────┘    ├─ Redirect      your browser
//!   timer ───────────────────┘                      └─ Ready, NeedUser, Error
//! ```
//!
//! A complete sign-in, with closures in place of the servers and the store:
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::time::{Duration, SystemTime};
//!
//! use bytes::Bytes;
//! use http::{HeaderMap, HeaderValue, Request, Response};
//! use mcp_auth_machine::event::Challenge;
//! use mcp_auth_machine::wire::{callback::Callback, pkce::Seed};
//! use mcp_auth_machine::{Action, AuthMachine, Config, Event, Moment};
//!
//! // Your HTTP client: verify certificates, follow no redirect.
//! fn send(request: &Request<Bytes>) -> Response<Bytes> {
//!     let body = match request.uri().to_string().as_str() {
//!         "https://mcp.example/.well-known/oauth-protected-resource/mcp" => {
//!             r#"{"resource": "https://mcp.example/mcp",
//!                 "authorization_servers": ["https://as.example"]}"#
//!         }
//!         "https://as.example/.well-known/oauth-authorization-server" => {
//!             r#"{"issuer": "https://as.example",
//!                 "authorization_endpoint": "https://as.example/authorize",
//!                 "token_endpoint": "https://as.example/token",
//!                 "registration_endpoint": "https://as.example/register",
//!                 "code_challenge_methods_supported": ["S256"]}"#
//!         }
//!         "https://as.example/register" => r#"{"client_id": "c1"}"#,
//!         "https://as.example/token" => {
//!             r#"{"access_token": "t1", "token_type": "Bearer", "expires_in": 3600}"#
//!         }
//!         _elsewhere => "",
//!     };
//!     Response::new(Bytes::from(body))
//! }
//!
//! // Your browser and callback listener: returns the whole callback URL.
//! fn browse(url: &str) -> String {
//!     let state = url.split("state=").nth(1).and_then(|rest| rest.split('&').next());
//!     format!("http://127.0.0.1:3000/callback?code=abc&state={}", state.unwrap_or_default())
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::builder("https://mcp.example/mcp", "http://127.0.0.1:3000/callback")
//!     .client_name("My client")
//!     .build()?;
//! let now = Moment::new(SystemTime::now(), Duration::ZERO); // your clocks: the system's time, and the time since a fixed point
//! let mut machine = AuthMachine::new(config, "alice", now);
//! let mut store = BTreeMap::new();
//!
//! // The MCP server responded with 401:
//! let mut headers = HeaderMap::new();
//! headers.insert("www-authenticate", HeaderValue::from_static("Bearer"));
//! machine.handle(now, Event::Challenged(Challenge::new("tools/list", 401, headers)));
//!
//! while let Some(action) = machine.poll_action() {
//!     match action {
//!         Action::SendRequest(request) => {
//!             let response = send(request.request());
//!             machine.handle(now, request.response(response));
//!         }
//!         Action::LoadSlot(load) => {
//!             let found = store.get(&load.slot()).cloned();
//!             machine.handle(now, load.found(found));
//!         }
//!         Action::PersistSlot(persist) => {
//!             // A real store compares `persist.expected()` first.
//!             match persist.write() {
//!                 Some(contents) => store.insert(persist.slot(), contents.clone()),
//!                 None => store.remove(&persist.slot()),
//!             };
//!             machine.handle(now, persist.done());
//!         }
//!         Action::NeedUser(_) => {
//!             let entropy = std::array::from_fn(|at| at as u8); // yours: 64 random bytes
//!             machine.handle(now, Event::Authorize(Seed::with_key(entropy)?.into()));
//!         }
//!         Action::Redirect(redirect) => {
//!             let callback = Callback::from_url(browse(redirect.url.as_str()));
//!             machine.handle(now, Event::CallbackParams(callback));
//!         }
//!         Action::Ready(_) => break,
//!         Action::Error(failure) => return Err(failure),
//!         Action::Report(decision) => println!("{decision:?}"),
//!         // This host uses no keys, assertion grants or device sign-ins.
//!         other => {
//!             if let Some(event) = other.decline() {
//!                 machine.handle(now, event);
//!             }
//!         }
//!     }
//! }
//! let header = machine.bearer(now, "https://mcp.example/mcp")?;
//! assert_eq!(header, "Bearer t1");
//! # Ok(())
//! # }
//! ```
//!
//! # Concepts
//!
//! - **Slots** ([`slot`]) store the durable state: the account, a pending authorization, a registration,
//!   cached metadata. Whatever depends on a write waits for its result.
//! - **Tickets**: the result of an action is created from the action, which is consumed. Late, repeated and
//!   foreign results change nothing.
//! - **A pending authorization** needs no process: any instance with the same slots creates a machine
//!   ([`AuthMachine::new`]) and passes the callback to it.
//! - **Failures** ([`Failure`]) have a stage, a cause, a responsible party ([`Failure::party`]) and a next
//!   step ([`Failure::next`]); [`Failure::remedy`] names a setting that may help, and [`Failure::details`]
//!   returns every typed fact.
//! - **Settings for one issuer** ([`config::IssuerSettings`]) supplement a server's metadata; only
//!   [`config::IssParameter::NotSent`] removes a check.
//!
//! # Other crates
//!
//! | crate | contents |
//! |---|---|
//! | `mcp-auth-client` | drivers on `ureq` and `reqwest`, stores, software keys for signatures |
//! | `mcp-auth-server` | helpers for authorization servers and MCP servers |
//! | `mcp-auth-rmcp` | authorization for the client of `rmcp`, the Rust SDK of MCP |
//! | `mcp-auth` | the command line tool |

// The core does no I/O; the lints in clippy.toml enforce it.
#![deny(
    clippy::dbg_macro,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stderr,
    clippy::print_stdout
)]

mod account;
pub mod action;
pub mod budget;
mod callers;
pub mod client_metadata;
mod clients;
pub mod config;
mod core;
mod demanded;
pub mod details;
pub mod error;
pub mod event;
mod few;
mod frame;
mod grant;
mod identity;
mod issuer;
pub mod key;
mod machine;
mod memory;
mod need_user;
mod operation;
pub mod present;
mod record;
mod redirect_uri;
pub mod remedy;
pub mod report;
mod secret;
pub mod slot;
mod state;
mod suspended;
mod ticket;
pub mod time;
mod watch;
pub mod wire;
mod wish;

pub use action::Action;
pub use config::Config;
pub use error::Failure;
pub use event::Event;
pub use frame::RecordFlaw;
pub use grant::{ClientOrigin, MethodFlaw};
pub use issuer::{IssuerFlaw, IssuerId, MetadataFlaw, ServerSource};
pub use machine::{AuthMachine, Phase};
pub use present::{NoBearer, StoredBearer};
pub use record::full_member_name;
pub use secret::Secret;
pub use time::Moment;

/// The flows as sequence diagrams, and the diagram of states, drawn from the tests.
#[cfg(doc)]
#[doc = include_str!("../docs/pictures.svg.html")]
pub mod pictures {}

#[cfg(doctest)]
mod doors;

/// Compiles the examples of the README with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
