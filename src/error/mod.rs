//! Failures of an attempt: the stage, the cause, the responsible party, and the next step for the host.

mod code;
mod echo;
mod explain;
mod next;
mod seen;

use std::fmt;

use crate::budget::Limited;
use crate::frame::RecordFlaw;
use crate::grant::MethodFlaw;
use crate::issuer::{IssuerId, MetadataFlaw};
use crate::operation::Operation;
use crate::time::UnixMillis;
use crate::wire::callback::IssFlaw;
use crate::wire::device::DeviceFlaw;
use crate::wire::registration::MalformedRegistration;
use crate::wire::scopes::Scopes;
use crate::wire::text::Untrusted;
use crate::wire::token::{OAuthError, UnexpectedToken};
use crate::wire::url::{UrlFlaw, WebUrl};
pub use seen::Seen;

/// The failure of one attempt. The machine stays usable. Stored credentials stay, except those that a server ended: a token
/// or a registration that it refused is erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The operation that this answers; `None` where none waits for it (USE-14).
    pub operation: Option<Operation>,
    /// The stage that failed.
    pub stage: Stage,
    /// The authorization server, once one was chosen.
    pub issuer: Option<IssuerId>,
    /// The cause.
    pub cause: Cause,
    /// The latest requests of the failed step, with their responses.
    pub seen: Vec<Seen>,
}

/// The stages of an attempt, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Reading stored records.
    Slots,
    /// Parsing the MCP server's challenge.
    Challenge,
    /// Fetching protected resource metadata.
    ResourceMetadata,
    /// Fetching authorization server metadata.
    ServerMetadata,
    /// Obtaining a client identifier.
    Registration,
    /// Redirecting the user, and waiting for the callback.
    Authorization,
    /// Validating the callback.
    Callback,
    /// Exchanging the code.
    Token,
    /// Requesting a grant of the organisation's identity provider (EMA-19).
    IdentityProvider,
    /// Refreshing the token.
    Refresh,
    /// Revoking tokens after sign-out.
    Revocation,
}

impl Stage {
    /// Returns a stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Slots => "slots",
            Self::Challenge => "challenge",
            Self::ResourceMetadata => "resource_metadata",
            Self::ServerMetadata => "server_metadata",
            Self::Registration => "registration",
            Self::Authorization => "authorization",
            Self::Callback => "callback",
            Self::Token => "token",
            Self::IdentityProvider => "identity_provider",
            Self::Refresh => "refresh",
            Self::Revocation => "revocation",
        }
    }
}

/// The cause of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A server violated the protocol.
    Violation(Violation),
    /// A server rejected the request.
    Refused(Refusal),
    /// A server could not be reached, or sent no usable response.
    Unreachable(Unreachable),
    /// A server failed a moment ago, and the back-off has not ended: no request was sent (L10).
    Resting(Resting),
    /// The store did not keep a record that the next step depends on.
    NotPersisted(StoreFlaw),
    /// A limit was reached.
    OutOfPatience(Limited),
    /// The configuration does not match the servers.
    Misconfigured(Misconfiguration),
    /// The user or the host cancelled.
    Abandoned,
}

/// A protocol violation by a server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// Protected resource metadata at the announced location has no `resource` (DISC-11).
    NoResource,
    /// Protected resource metadata describes another resource (DISC-11, DISC-12).
    OtherResource {
        /// The expected value: the MCP URL, or its origin.
        expected: Box<str>,
        /// The `resource` found.
        got: Untrusted,
    },
    /// Protected resource metadata has a repeated member or is nested too deeply (SEC-14).
    ResourceMetadataMalformed,
    /// The MCP server does not accept tokens in the `Authorization` header (DISC-24).
    NoHeaderMethod,
    /// `authorization_servers` has no usable entry (DISC-15).
    NoAuthorizationServer,
    /// Authorization server metadata is unusable.
    Metadata(MetadataFlaw),
    /// The metadata has no authorization endpoint (META-12).
    NoAuthorizationEndpoint,
    /// The authorization endpoint is on another origin, and no `iss` binds its response to the issuer.
    AuthorizationOrigin {
        /// The endpoint.
        endpoint: WebUrl,
    },
    /// The metadata does not advertise `S256` (PKCE-05, PKCE-06).
    NoPkce,
    /// The server does not offer `code` or the authorization code grant, to any client or to this one
    /// (META-14, REG-24).
    NoCodeGrant,
    /// The query of the authorization endpoint has a parameter that only the client may set (AUTHZ-02,
    /// RES-08).
    ReservedParameter {
        /// The name of the parameter.
        name: Untrusted,
    },
    /// The authorization request is too long for a browser's URL (AUTHZ-11).
    RequestTooLong {
        /// The length in bytes.
        bytes: usize,
    },
    /// No location has metadata of the authorization server. See [`Failure::seen`] (META-04).
    NoServerMetadata,
    /// `iss` in the callback is invalid; the rest of the callback is ignored (RFC 9207, ISS-03 to ISS-05).
    Iss(IssFlaw),
    /// The callback's issuer cannot be verified, and the host requires verification.
    IssUnverifiable,
    /// The callback contains a token (CB-12).
    FrontChannelToken,
    /// The callback does not contain exactly one of `code` and `error` (CB-08).
    NotOneAnswer,
    /// The registration response is unusable (REG-23).
    Registration(MalformedRegistration),
    /// The registration does not contain the redirect URI (REG-24, C01).
    RedirectUriNotRegistered,
    /// The registration's authentication method is unusable (REG-23, C02).
    RegistrationMethod(MethodFlaw),
    /// The token response is unusable (TOK-11 to TOK-15).
    Token(UnexpectedToken),
    /// The response is a redirect, where none is allowed (SEC-09, H07).
    Redirected,
    /// A metadata location must not be used (SEC-05, SEC-08, SEC-13).
    PlaceRefused {
        /// The location.
        place: Untrusted,
        /// The flaw in it.
        flaw: PlaceFlaw,
    },
    /// The response is larger than the limit (SEC-13).
    TooLarge,
    /// The MCP server refused a token that has just been issued (USE-08, E08).
    FreshTokenRefused {
        /// The challenge's description, sanitised.
        description: Option<Untrusted>,
    },
    /// The issuer moved its token endpoint to another origin after it issued the refresh token (REFR-11,
    /// A22).
    TokenEndpointMoved,
    /// The MCP server changed its authorization server during the authorization at the old one (ISO-07).
    ServerChanged,
    /// The authorization server does not publish the required endpoint.
    NoEndpoint,
    /// A bound token is required, but the server issued a token of another type (DPOP-13).
    TokenNotBound,
    /// The identity provider's response contains no usable grant (EMA-10, EMA-12).
    NoIdJag,
    /// The device authorization response is unusable (RFC 8628 section 3.2, DEV-04).
    Device(DeviceFlaw),
    /// The page for the user's code is on another origin than the issuer: the code could be one of another
    /// server (DEV-05).
    VerificationOrigin {
        /// The page.
        page: WebUrl,
    },
}

/// The reason why a metadata location is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceFlaw {
    /// Its URL is not allowed (SEC-05).
    #[error("{0}")]
    Url(UrlFlaw),
    /// It redirects to another origin, which is not followed (SEC-08).
    #[error("redirects to another origin, {0:?}, which is not followed")]
    RedirectsElsewhere(Untrusted),
    /// It redirects without a usable `Location`.
    #[error("redirects without a usable Location")]
    RedirectsNowhere,
    /// It redirects more than three times (SEC-08).
    #[error("redirects more than 3 times")]
    RedirectsTooOften,
    /// Its document is larger than the limit (SEC-13).
    #[error("has a document larger than 256 KiB")]
    TooLarge,
}

/// An explicit refusal by a server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// An OAuth error of the authorization server.
    OAuth {
        /// The error code.
        error: OAuthError,
        /// The code as sent, sanitised; `None` when the response had only a status, or when it repeats a
        /// secret.
        code: Option<Untrusted>,
        /// The server's `error_description`, sanitised; not for end users. `None` when it repeats a secret
        /// that was sent.
        description: Option<Untrusted>,
        /// The server's `error_uri`; the machine never fetches it.
        error_uri: Option<WebUrl>,
    },
    /// The MCP server requires scopes that the token lacks, and no step-up follows (STEP-01, STEP-07).
    InsufficientScope {
        /// The scopes that the challenge named.
        scopes: Option<Scopes>,
        /// The resource metadata URL that the challenge named, if usable.
        resource_metadata: Option<WebUrl>,
        /// The challenge's description, sanitised.
        description: Option<Untrusted>,
        /// The number of authorizations made for this operation.
        attempts: u8,
    },
    /// The MCP server responded with 403 without naming scopes (QUIRK-23).
    Forbidden {
        /// The challenge's description, sanitised.
        description: Option<Untrusted>,
    },
    /// The MCP server responded with 400 and `invalid_request` (12.1).
    InvalidRequest {
        /// The challenge's description, sanitised.
        description: Option<Untrusted>,
    },
}

/// A failure to reach a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// Whether the code may have been consumed, so that a new authorization is needed (TOK-20).
    pub code_spent: bool,
    /// The time of `Retry-After` (TOK-22).
    pub retry_at: Option<UnixMillis>,
}

/// A back-off after a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resting {
    /// The cause of the last failure.
    pub after: Box<Cause>,
    /// The time of the next request.
    pub retry_at: UnixMillis,
}

/// A failure of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreFlaw {
    /// A load failed or was not completed.
    Load,
    /// A write failed or was not completed.
    Write,
    /// Other processes repeatedly wrote the slot first.
    Conflict,
    /// A token expired before the store confirmed it.
    Slow,
    /// The stored record is unusable (S26).
    Record(RecordFlaw),
}

/// A mismatch between the configuration and the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misconfiguration {
    /// No client is available for this server: configure one for this issuer (REG-02).
    NoClient {
        /// The discovered issuer.
        issuer: IssuerId,
    },
    /// The record that binds a client without a configured issuer is unreadable: configure the client's
    /// issuer, or clear the record (REG-04).
    BindingUnreadable {
        /// The slot of the record.
        slot: String,
        /// The flaw.
        flaw: RecordFlaw,
    },
    /// Clients are configured, but not for the discovered issuer (ISO-06, C13).
    OtherIssuer {
        /// The issuers with a client, or the one used before.
        configured: Vec<IssuerId>,
        /// The discovered issuer.
        found: IssuerId,
    },
    /// No metadata was found: configure the authorization server, or enable legacy servers (DISC-21).
    ServerUnknown,
    /// The flow needs a redirect URI, and none is configured.
    NoRedirectUri,
    /// The principal of the machine has an empty name (ISO-12).
    NoPrincipal,
    /// The server accepts only pushed authorization requests (AUTHZ-21).
    PushedRequestsRequired,
    /// The MCP server accepts only tokens that are bound to a key (DPOP-02).
    DpopRequired,
    /// The configured client has no authentication method that the server accepts (TOK-04).
    ClientMethod(MethodFlaw),
    /// The key that the token is bound to is not configured, or could not sign.
    KeyMissing,
    /// The host could not sign.
    SignerFailed,
    /// A bound token is required, but the server or the configured keys do not support one (DPOP-02).
    DpopUnavailable,
    /// The host's platform has no assertion (WIF-05, EMA-05).
    NoAssertion,
    /// The configuration does not allow assertions for this server (WIF-12).
    AssertionNotAllowed {
        /// The allowed issuers.
        allowed: Vec<IssuerId>,
        /// The discovered issuer.
        found: IssuerId,
    },
    /// The server does not offer the configured grant (WIF-04, EMA-03).
    GrantNotOffered,
    /// The server does not offer the device authorization grant (DEV-02).
    NoDeviceGrant,
}

/// The next step for the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask the user, then send [`Event::Authorize`](crate::Event::Authorize).
    AskUser,
    /// Change the configuration, or have the server's operator change the server.
    FixConfiguration,
    /// Retry, not before this time if one is given.
    RetryLater(Option<UnixMillis>),
    /// Stop using this server: its responses violate the protocol.
    DoNotTrust,
}

/// The party responsible for a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The MCP server.
    McpServer,
    /// The authorization server.
    AuthorizationServer,
    /// The host's configuration or its HTTP stack.
    Host,
    /// The host's store.
    Store,
    /// The network, or a server that is down.
    Network,
    /// The user.
    User,
}

impl Cause {
    /// Returns the cause for a server that gave no usable answer.
    pub(crate) fn unreachable(retry_at: Option<UnixMillis>) -> Self {
        Self::Unreachable(Unreachable {
            code_spent: false,
            retry_at,
        })
    }
}

/// `{:#}` leaves the next step out, for a host that says it in the words of its users: see [`Failure::next`].
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        explain::failure(self, f)
    }
}

impl std::error::Error for Failure {}
