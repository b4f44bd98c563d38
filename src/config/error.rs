//! The error for an invalid setting.

use super::RedirectUriFlaw;
use crate::client_metadata::ClientMetadataUrlFlaw;
use crate::issuer::IssuerFlaw;
use crate::wire::scopes::ScopeError;
use crate::wire::url::UrlFlaw;

/// An invalid setting of a [`ConfigBuilder`](super::ConfigBuilder).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The MCP URL is not acceptable.
    #[error("the MCP URL {0}; it must be https, or http on loopback")]
    McpUrl(UrlFlaw),
    /// The redirect URI is not acceptable.
    #[error("the redirect URI {0}")]
    RedirectUri(RedirectUriFlaw),
    /// The client metadata URL is not acceptable.
    #[error("the client metadata URL: {0}")]
    ClientMetadataUrl(ClientMetadataUrlFlaw),
    /// The issuer in a client entry, a pin or issuer settings is not acceptable.
    #[error("the issuer `{issuer}` {flaw}")]
    Issuer {
        /// The issuer as given.
        issuer: String,
        /// The flaw in it.
        flaw: IssuerFlaw,
    },
    /// One issuer has two entries (META-17).
    #[error("the issuer `{0}` is configured twice")]
    Twice(String),
    /// The URL of the protected resource metadata is not acceptable.
    #[error("the resource metadata URL {0}")]
    ResourceMetadataUrl(UrlFlaw),
    /// An initial access token contains characters that a header field cannot carry (REG-29).
    #[error("the initial access token for `{0}` has characters that cannot stand in a header")]
    InitialAccess(String),
    /// A token parameter for the identity provider is set by the machine itself in the exchange (TOK-10).
    #[error("the token parameter `{name}` for `{issuer}` is set by the client itself")]
    ReservedParameter {
        /// The issuer that the settings are for.
        issuer: String,
        /// The name of the parameter.
        name: &'static str,
    },
    /// A client without an issuer is configured beside another client (REG-04).
    #[error("a client without an issuer can only stand alone")]
    UnboundClient,
    /// A DPoP key has no public part.
    #[error("the key `{0}` needs its public part for proofs of possession")]
    PublicKey(String),
    /// A URL that describes the client is not an `https` URL (SEC-24).
    #[error("`{member}`: {flaw}")]
    ClientLink {
        /// The setting.
        member: &'static str,
        /// The flaw in it.
        flaw: ClientMetadataUrlFlaw,
    },
    /// A configured scope is not a valid scope (SCOPE-04).
    #[error("the scope {0}")]
    Scope(ScopeError),
    /// The client credentials grant is configured without a client (M2M-01).
    #[error(
        "the client credentials grant needs a client: register one at the authorization server and \
         configure it"
    )]
    NoClient,
    /// The host receives callbacks, but configured no redirect URI.
    #[error("a user can only sign in with a redirect URI")]
    NoRedirectUri,
    /// A client without a user has no secret, key or assertion to authenticate with (M2M-08, EMA-09).
    #[error(
        "the client `{0}` acts for itself and has neither a secret nor a key: configure what the authorization server \
         issued for it"
    )]
    PublicClient(String),
    /// The DPoP policy requires a key, and no key is configured (DPOP-02).
    #[error("tokens must be bound to a key, and no key is configured")]
    DpopKey,
    /// The `User-Agent` is empty, or has characters that a header field cannot carry.
    #[error("the user agent `{}` is empty, or has characters that cannot stand in a header", .0.escape_debug())]
    UserAgent(String),
    /// A client identifier is empty.
    #[error("a client identifier is empty")]
    ClientId,
}
