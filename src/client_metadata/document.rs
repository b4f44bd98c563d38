//! The document, and its builder.

use serde::Serialize;
use url::{Host, Url};

use super::{ClientMetadataDocumentBuilder, ClientMetadataUrl, ClientMetadataUrlFlaw};
use crate::redirect_uri::{RedirectUri, RedirectUriFlaw};

/// Largest document, in bytes, that every server is expected to read (REG-12).
pub const MAX_DOCUMENT_BYTES: usize = 5_000;

/// The client's authentication at the token endpoint. Shared secrets are not supported, because the
/// document is public (REG-09).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// A public client.
    #[default]
    None,
    /// A confidential client that signs an assertion for every token request (REG-11).
    PrivateKeyJwt(PublicKeys),
}

impl ClientAuthentication {
    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::PrivateKeyJwt(_) => "private_key_jwt",
        }
    }
}

/// The public keys of a `private_key_jwt` client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKeys {
    /// The `https` URL of a JWK set.
    JwksUri(String),
    /// A JWK set as JSON text, with public keys only.
    Jwks(String),
}

/// A grant type of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub enum GrantType {
    /// `authorization_code`
    #[serde(rename = "authorization_code")]
    AuthorizationCode,
    /// `refresh_token`; omitted by hosts that cannot store one (REG-19).
    #[serde(rename = "refresh_token")]
    RefreshToken,
    /// `client_credentials`
    #[serde(rename = "client_credentials")]
    ClientCredentials,
    /// `urn:ietf:params:oauth:grant-type:jwt-bearer`
    #[serde(rename = "urn:ietf:params:oauth:grant-type:jwt-bearer")]
    JwtBearer,
}

/// A loopback host in a redirect URI (AUTHZ-08).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoopbackHost {
    /// `127.0.0.1`
    Ipv4,
    /// `[::1]`
    Ipv6,
    /// `localhost`. A server need not ignore its port, so no URI without a port is listed.
    Localhost,
}

impl LoopbackHost {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4 => "127.0.0.1",
            Self::Ipv6 => "[::1]",
            Self::Localhost => "localhost",
        }
    }
}

/// An invalid member of a client metadata document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientMetadataFlaw {
    /// The client name is empty or contains control characters.
    #[error("the client name is empty or holds control characters")]
    ClientName,
    /// No redirect URI was given (REG-07).
    #[error("at least one redirect URI is needed")]
    NoRedirectUri,
    /// A redirect URI is invalid.
    #[error("the redirect URI `{uri}` {flaw}")]
    RedirectUri {
        /// The redirect URI as given.
        uri: String,
        /// The flaw in it.
        flaw: RedirectUriFlaw,
    },
    /// A redirect URI has port 0.
    #[error("the redirect URI `{uri}` names port 0")]
    RedirectPort {
        /// The redirect URI as given.
        uri: String,
    },
    /// Native and web redirect URIs are mixed, without an application type (REG-20).
    #[error("native and web redirect URIs are mixed: set the application type")]
    MixedApplicationTypes,
    /// No grant type was given.
    #[error("at least one grant type is needed")]
    NoGrantType,
    /// A member that must be an `https` URL is invalid (SEC-24).
    #[error("`{member}`: {flaw}")]
    Link {
        /// The name of the member.
        member: &'static str,
        /// The flaw in the URL.
        flaw: ClientMetadataUrlFlaw,
    },
    /// A scope is invalid (RFC 6749 section 3.3).
    #[error("`scope` holds a character that no scope may hold")]
    Scope,
    /// A contact is empty or contains control characters.
    #[error("a contact is empty or holds control characters")]
    Contact,
    /// The key set is not a JSON object with at least one asymmetric key under `keys`.
    #[error("`jwks` must be a JWK set of asymmetric keys")]
    KeySet,
    /// The key set contains private or symmetric key material, which must never be published.
    #[error("`jwks` holds private or symmetric key material")]
    SecretKey,
    /// The document is larger than [`MAX_DOCUMENT_BYTES`] (REG-12).
    #[error("the document has {bytes} bytes; servers read at most {MAX_DOCUMENT_BYTES}")]
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
    },
}

/// A client ID metadata document, to be served at its URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientMetadataDocument {
    pub(super) url: ClientMetadataUrl,
    pub(super) redirect_uris: Vec<RedirectUri>,
    pub(super) json: String,
}

impl ClientMetadataDocument {
    /// Returns a builder for the document of the client that `url` identifies (REG-08).
    pub fn builder(
        url: ClientMetadataUrl,
        client_name: impl Into<String>,
    ) -> ClientMetadataDocumentBuilder {
        ClientMetadataDocumentBuilder::new(url, client_name.into())
    }

    /// Returns the URL of the document, which is the `client_id`.
    pub fn url(&self) -> &ClientMetadataUrl {
        &self.url
    }

    /// Returns true if a server with this document accepts the redirect URI: it is listed, or listed as a
    /// loopback IP literal that differs only in its port (REG-13, AUTHZ-09).
    pub fn lists(&self, redirect_uri: &RedirectUri) -> bool {
        let portless = without_loopback_port(redirect_uri.as_str());
        self.redirect_uris.iter().any(|listed| {
            listed == redirect_uri
                || (portless.is_some() && without_loopback_port(listed.as_str()) == portless)
        })
    }

    /// Returns the document as JSON.
    pub fn to_json(&self) -> String {
        self.json.clone()
    }
}

/// Returns the text without its port if it is an `http` URI on a loopback IP literal, the only kind whose
/// port a server ignores (AUTHZ-09).
fn without_loopback_port(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let loopback = match url.host()? {
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
        Host::Domain(_) => false,
    };
    let rest = text.strip_prefix("http://").filter(|_| loopback)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at_checked(end)?;
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        Some(_) | None => authority,
    };
    Some(format!("{host}{tail}"))
}
