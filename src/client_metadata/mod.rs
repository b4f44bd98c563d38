//! Client ID metadata documents: an `https` URL that is the `client_id`, and the document at that URL.
//!
//! ```
//! use mcp_auth_machine::client_metadata::{
//!     ClientMetadataDocument, ClientMetadataUrl, LoopbackHost,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let url = ClientMetadataUrl::new("https://app.example/oauth/client.json")?;
//! let document = ClientMetadataDocument::builder(url, "Example Desktop")
//!     .loopback_redirect_uris(LoopbackHost::Ipv4, 33418, "/callback")
//!     .build()?;
//! assert!(document.to_json().contains(r#""token_endpoint_auth_method":"none""#));
//! # Ok(())
//! # }
//! ```
//!
//! See `docs/hosts.md` for how to serve it (REG-12).

mod builder;
mod document;
mod url;

pub(crate) use self::url::check_link;
pub use self::url::{ClientMetadataUrl, ClientMetadataUrlFlaw};
pub use builder::ClientMetadataDocumentBuilder;
pub use document::{
    ClientAuthentication, ClientMetadataDocument, ClientMetadataFlaw, GrantType, LoopbackHost,
    MAX_DOCUMENT_BYTES, PublicKeys,
};
