//! Pure codecs: what travels between the parties, read and written without any state.
//!
//! Each file is one document or header. Nothing here decides what to do next.

pub mod address;
pub mod callback;
pub mod challenge;
pub mod form;
pub mod http_fields;
pub mod json;
pub mod jwt;
pub mod pkce;
pub mod registration;
pub mod resource;
pub mod scopes;
pub mod server;
pub mod text;
pub mod token;
pub mod url;
pub mod well_known;
pub mod words;
