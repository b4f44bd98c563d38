//! The reasons for which the user is needed.

use crate::error::Cause;
use crate::issuer::IssuerId;
use crate::operation::Operation;
use crate::wire::scopes::Scopes;
use crate::wire::text::Untrusted;
use crate::wire::words::AuthMethod;

/// The user is needed, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeedUser {
    /// The reason.
    pub why: Why,
    /// The operation that this answers; `None` where none waits for it (USE-14).
    pub operation: Option<Operation>,
}

/// The reason for which the user is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// No token is stored for this MCP server.
    NoCredentials,
    /// The token was refused or has expired, and cannot be refreshed.
    TokenOver,
    /// The authorization server rejected the refresh (11.4).
    RenewalRefused {
        /// The rejection.
        cause: Box<Cause>,
    },
    /// The token lacks scopes (STEP-01).
    ScopeMissing {
        /// The scopes that the MCP server named.
        scopes: Scopes,
        /// The server's description, sanitised; not for end users.
        description: Option<Untrusted>,
    },
    /// The MCP server uses another authorization server now; [`Event::Authorize`](crate::Event::Authorize) consents to it (ISO-09).
    ServerChanged {
        /// The issuer at which the user is authenticated.
        from: IssuerId,
        /// The new issuer.
        to: IssuerId,
    },
    /// The server does not know the client any more; its registration was erased (TOK-19).
    ClientForgotten,
    /// The server rejected the authentication method of a new registration; the next registration requests
    /// another one (REG-21).
    MethodRefused {
        /// The server.
        issuer: IssuerId,
        /// The rejected method.
        refused: AuthMethod,
        /// The method of the next registration.
        next: AuthMethod,
    },
    /// The server rejected scopes. The next authorization registers the client for them, or omits those
    /// that only earlier requests needed (9.1).
    ScopesRefused {
        /// The rejected scopes.
        scopes: Scopes,
    },
    /// The server rejected `offline_access`, which is not requested again (9.1).
    OfflineAccessRefused,
}

impl Why {
    /// Returns a stable name.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NoCredentials => "no_credentials",
            Self::TokenOver => "token_over",
            Self::RenewalRefused { .. } => "renewal_refused",
            Self::ScopeMissing { .. } => "scope_missing",
            Self::ServerChanged { .. } => "server_changed",
            Self::ClientForgotten => "client_forgotten",
            Self::MethodRefused { .. } => "method_refused",
            Self::ScopesRefused { .. } => "scopes_refused",
            Self::OfflineAccessRefused => "offline_access_refused",
        }
    }
}
