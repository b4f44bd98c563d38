//! Codecs for the documents and headers that the parties exchange.
//!
//! Each file handles one document or header, without state and without decisions about the flow.

pub mod address;
pub mod callback;
pub mod challenge;
pub mod device;
pub mod form;
pub mod http_fields;
pub mod json;
pub(crate) mod json_writer;
pub mod jwt;
pub mod pkce;
mod plain_url;
pub mod registration;
pub(crate) mod reserved;
pub mod resource;
pub mod scopes;
pub mod server;
pub mod text;
pub mod token;
pub mod url;
pub(crate) mod url_text;
pub mod well_known;
pub mod words;
