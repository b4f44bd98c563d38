//! The OAuth client of the Model Context Protocol as one pure state machine.

mod account;
pub mod action;
pub mod budget;
pub mod client_metadata;
pub mod config;
mod core;
#[cfg(feature = "ureq")]
pub mod driver;
pub mod error;
pub mod event;
mod explain;

mod grant;
mod identity;
mod issuer;
mod machine;
mod memory;
mod record;
pub mod report;
mod secret;
pub mod slot;
mod state;
mod ticket;
pub mod time;
pub mod wire;

pub use action::Action;
pub use config::Config;
pub use error::Failure;
pub use event::Event;
pub use grant::{ClientOrigin, MethodFlaw};
pub use issuer::{IssuerFlaw, IssuerId, MetadataFlaw, Server, ServerSource};
pub use machine::{AuthMachine, NoBearer, Phase};
pub use record::RecordFlaw;
pub use secret::Secret;
pub use time::Moment;
