//! Failures of an attempt: the stage, the cause, the responsible party, and the next step for the host.

mod echo;
mod explain;
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
    /// The operation of the attempt, when the host named one.
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

impl Failure {
    /// Returns the next step for the host.
    pub fn next(&self) -> Next {
        match &self.cause {
            Cause::Violation(violation) => violation.next(),
            // No user takes part in a registration.
            Cause::Refused(Refusal::OAuth { error, .. })
                if self.stage == Stage::Registration
                    && !matches!(
                        error,
                        OAuthError::ServerError | OAuthError::TemporarilyUnavailable
                    ) =>
            {
                Next::FixConfiguration
            }
            Cause::Refused(Refusal::OAuth { error, .. }) => match error {
                OAuthError::AccessDenied
                | OAuthError::InteractionRequired
                | OAuthError::InvalidGrant
                | OAuthError::InsufficientUserAuthentication
                | OAuthError::InvalidToken
                | OAuthError::ExpiredDeviceCode => Next::AskUser,
                OAuthError::ServerError
                | OAuthError::TemporarilyUnavailable
                | OAuthError::AuthorizationPending
                | OAuthError::SlowDown => Next::RetryLater(None),
                OAuthError::InvalidRequest
                | OAuthError::InvalidClient
                | OAuthError::UnauthorizedClient
                | OAuthError::UnsupportedGrantType
                | OAuthError::UnsupportedResponseType
                | OAuthError::InvalidScope
                | OAuthError::InvalidTarget
                | OAuthError::InvalidRedirectUri
                | OAuthError::InvalidClientMetadata
                | OAuthError::SoftwareStatement
                | OAuthError::InsufficientScope
                | OAuthError::UnsupportedTokenType
                | OAuthError::UseDpopNonce
                | OAuthError::InvalidDpopProof
                | OAuthError::Other => Next::FixConfiguration,
            },
            Cause::Refused(Refusal::InsufficientScope { .. }) => Next::AskUser,
            Cause::Refused(Refusal::Forbidden { .. } | Refusal::InvalidRequest { .. }) => {
                Next::FixConfiguration
            }
            Cause::Unreachable(unreachable) => Next::RetryLater(unreachable.retry_at),
            Cause::Resting(resting) => Next::RetryLater(Some(resting.retry_at)),
            // A retry would read the same record.
            Cause::NotPersisted(StoreFlaw::Record(_)) => Next::FixConfiguration,
            // The callback was used at another instance.
            Cause::NotPersisted(StoreFlaw::Conflict) if self.stage == Stage::Callback => {
                Next::AskUser
            }
            Cause::NotPersisted(
                StoreFlaw::Load | StoreFlaw::Write | StoreFlaw::Conflict | StoreFlaw::Slow,
            ) => Next::RetryLater(None),
            Cause::OutOfPatience(Limited::UserTime) | Cause::Abandoned => Next::AskUser,
            Cause::OutOfPatience(
                Limited::Requests
                | Limited::Registrations
                | Limited::Authorizations
                | Limited::Redirects
                | Limited::FlowTime
                | Limited::Callers,
            ) => Next::RetryLater(None),
            Cause::Misconfigured(_) => Next::FixConfiguration,
        }
    }

    /// Returns the responsible party.
    pub fn party(&self) -> Party {
        // A location that the authorization server published is not the MCP server's fault.
        let place = matches!(self.cause, Cause::Violation(Violation::PlaceRefused { .. }));
        if place && self.stage == Stage::ServerMetadata {
            return Party::AuthorizationServer;
        }
        if matches!(self.cause, Cause::Refused(_)) && self.stage == Stage::Registration {
            return Party::AuthorizationServer;
        }
        let by_resource = matches!(self.cause, Cause::Refused(_)) && self.stage == Stage::Challenge;
        let of_resource = matches!(self.cause, Cause::Violation(Violation::Redirected))
            && self.stage == Stage::ResourceMetadata;
        if by_resource || of_resource {
            return Party::McpServer;
        }
        self.cause.party()
    }
}

impl Cause {
    fn party(&self) -> Party {
        match self {
            Self::Violation(violation) => violation.party(),
            Self::Refused(Refusal::OAuth {
                error: OAuthError::AccessDenied,
                ..
            }) => Party::User,
            Self::Refused(Refusal::OAuth { .. }) => Party::AuthorizationServer,
            Self::Refused(
                Refusal::InsufficientScope { .. }
                | Refusal::Forbidden { .. }
                | Refusal::InvalidRequest { .. },
            ) => Party::McpServer,
            Self::Unreachable(_) => Party::Network,
            Self::Resting(resting) => resting.after.party(),
            Self::NotPersisted(_) => Party::Store,
            Self::OutOfPatience(limited) => match limited {
                Limited::UserTime => Party::User,
                Limited::FlowTime => Party::Network,
                Limited::Callers => Party::Host,
                Limited::Requests
                | Limited::Registrations
                | Limited::Authorizations
                | Limited::Redirects => Party::McpServer,
            },
            Self::Misconfigured(_) => Party::Host,
            Self::Abandoned => Party::User,
        }
    }
}

impl Violation {
    fn next(&self) -> Next {
        match self {
            Self::OtherResource { .. }
            | Self::Metadata(MetadataFlaw::Issuer { .. })
            | Self::AuthorizationOrigin { .. }
            | Self::VerificationOrigin { .. }
            | Self::Iss(IssFlaw::Missing | IssFlaw::Different)
            | Self::IssUnverifiable
            | Self::FrontChannelToken
            | Self::RedirectUriNotRegistered
            | Self::Redirected
            | Self::PlaceRefused {
                flaw: PlaceFlaw::Url(_),
                ..
            }
            | Self::ReservedParameter { .. } => Next::DoNotTrust,
            // The response had nothing that could be used, so another attempt is harmless.
            Self::Iss(IssFlaw::MissingFromError)
            | Self::TokenEndpointMoved
            | Self::ServerChanged => Next::AskUser,
            Self::NoResource
            | Self::ResourceMetadataMalformed
            | Self::NoHeaderMethod
            | Self::NoAuthorizationServer
            | Self::PlaceRefused { .. }
            | Self::NoServerMetadata
            | Self::RequestTooLong { .. }
            | Self::Metadata(_)
            | Self::NoAuthorizationEndpoint
            | Self::NoPkce
            | Self::NoCodeGrant
            | Self::NotOneAnswer
            | Self::Registration(_)
            | Self::RegistrationMethod(_)
            | Self::Token(_)
            | Self::TooLarge
            | Self::NoEndpoint
            | Self::TokenNotBound
            | Self::NoIdJag
            | Self::Device(_)
            | Self::FreshTokenRefused { .. } => Next::FixConfiguration,
        }
    }

    fn party(&self) -> Party {
        match self {
            Self::NoResource
            | Self::OtherResource { .. }
            | Self::ResourceMetadataMalformed
            | Self::NoHeaderMethod
            | Self::NoAuthorizationServer
            | Self::PlaceRefused { .. }
            | Self::FreshTokenRefused { .. }
            | Self::ServerChanged => Party::McpServer,
            Self::Metadata(_)
            | Self::NoAuthorizationEndpoint
            | Self::AuthorizationOrigin { .. }
            | Self::NoPkce
            | Self::NoCodeGrant
            | Self::ReservedParameter { .. }
            | Self::RequestTooLong { .. }
            | Self::NoServerMetadata
            | Self::Iss(_)
            | Self::IssUnverifiable
            | Self::FrontChannelToken
            | Self::NotOneAnswer
            | Self::Registration(_)
            | Self::RedirectUriNotRegistered
            | Self::RegistrationMethod(_)
            | Self::Token(_)
            | Self::Redirected
            | Self::TooLarge
            | Self::NoEndpoint
            | Self::TokenNotBound
            | Self::NoIdJag
            | Self::Device(_)
            | Self::VerificationOrigin { .. }
            | Self::TokenEndpointMoved => Party::AuthorizationServer,
        }
    }
}

impl Cause {
    /// Returns a stable reason code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Violation(violation) => violation.code(),
            Self::Refused(Refusal::OAuth { .. }) => "refused",
            Self::Refused(Refusal::InsufficientScope { .. }) => "insufficient_scope",
            Self::Refused(Refusal::Forbidden { .. }) => "forbidden",
            Self::Refused(Refusal::InvalidRequest { .. }) => "invalid_request",
            Self::Unreachable(_) => "unreachable",
            Self::Resting(resting) => resting.after.code(),
            Self::NotPersisted(_) => "not_persisted",
            Self::OutOfPatience(_) => "out_of_patience",
            Self::Misconfigured(Misconfiguration::NoClient { .. }) => "no_client",
            Self::Misconfigured(Misconfiguration::OtherIssuer { .. }) => "issuer_mismatch",
            Self::Misconfigured(Misconfiguration::BindingUnreadable { .. }) => "binding_unreadable",
            Self::Misconfigured(Misconfiguration::ServerUnknown) => "server_unknown",
            Self::Misconfigured(Misconfiguration::NoRedirectUri) => "no_redirect_uri",
            Self::Misconfigured(Misconfiguration::PushedRequestsRequired) => {
                "pushed_requests_required"
            }
            Self::Misconfigured(Misconfiguration::DpopRequired) => "dpop_required",
            Self::Misconfigured(Misconfiguration::ClientMethod(_)) => "client_method",
            Self::Misconfigured(Misconfiguration::KeyMissing) => "key_missing",
            Self::Misconfigured(Misconfiguration::SignerFailed) => "signer_failed",
            Self::Misconfigured(Misconfiguration::NoPrincipal) => "no_principal",
            Self::Misconfigured(Misconfiguration::DpopUnavailable) => "dpop_unavailable",
            Self::Misconfigured(Misconfiguration::NoAssertion) => "no_assertion",
            Self::Misconfigured(Misconfiguration::AssertionNotAllowed { .. }) => {
                "assertion_not_allowed"
            }
            Self::Misconfigured(Misconfiguration::GrantNotOffered) => "grant_not_offered",
            Self::Misconfigured(Misconfiguration::NoDeviceGrant) => "no_device_grant",
            Self::Abandoned => "abandoned",
        }
    }
}

impl Violation {
    fn code(&self) -> &'static str {
        match self {
            Self::NoResource => "no_resource",
            Self::OtherResource { .. } => "resource_mismatch",
            Self::ResourceMetadataMalformed => "resource_metadata_malformed",
            Self::NoHeaderMethod => "no_header_method",
            Self::NoAuthorizationServer => "no_authorization_server",
            Self::Metadata(MetadataFlaw::Issuer { .. }) => "metadata_issuer_mismatch",
            Self::Metadata(_) => "server_metadata_invalid",
            Self::NoAuthorizationEndpoint => "no_authorization_endpoint",
            Self::AuthorizationOrigin { .. } => "authorization_origin",
            Self::NoPkce => "no_pkce",
            Self::NoCodeGrant => "no_code_grant",
            Self::ReservedParameter { .. } => "reserved_parameter",
            Self::RequestTooLong { .. } => "request_too_long",
            Self::NoServerMetadata => "no_server_metadata",
            Self::Iss(_) => "issuer_mismatch",
            Self::IssUnverifiable => "issuer_unverifiable",
            Self::FrontChannelToken => "front_channel_token",
            Self::NotOneAnswer => "not_one_answer",
            Self::Registration(_) => "registration_invalid",
            Self::RedirectUriNotRegistered => "redirect_uri_not_registered",
            Self::RegistrationMethod(_) => "registration_method",
            Self::Token(_) => "token_answer_invalid",
            Self::Redirected => "redirected",
            Self::PlaceRefused { flaw, .. } => match flaw {
                PlaceFlaw::Url(_) => "place_refused",
                PlaceFlaw::RedirectsElsewhere(_)
                | PlaceFlaw::RedirectsNowhere
                | PlaceFlaw::RedirectsTooOften => "document_redirected",
                PlaceFlaw::TooLarge => "document_too_large",
            },
            Self::TooLarge => "too_large",
            Self::FreshTokenRefused { .. } => "fresh_token_refused",
            Self::TokenEndpointMoved => "token_endpoint_moved",
            Self::ServerChanged => "server_changed",
            Self::NoEndpoint => "no_endpoint",
            Self::TokenNotBound => "token_not_bound",
            Self::NoIdJag => "no_id_jag",
            Self::Device(_) => "device_answer_invalid",
            Self::VerificationOrigin { .. } => "verification_origin",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        explain::failure(self, f)
    }
}

impl std::error::Error for Failure {}
