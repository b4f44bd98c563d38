//! How an attempt fails: at which stage, why, whose fault it is, and what to do next.

use std::fmt;

use crate::budget::Limited;
use crate::event::Operation;
use crate::grant::MethodFlaw;
use crate::issuer::{IssuerId, MetadataFlaw};
use crate::record::RecordFlaw;
use crate::seen::Seen;
use crate::time::UnixMillis;
use crate::wire::callback::IssFlaw;
use crate::wire::registration::MalformedRegistration;
use crate::wire::scopes::Scopes;
use crate::wire::text::Untrusted;
use crate::wire::token::{OAuthError, UnexpectedToken};
use crate::wire::url::{UrlFlaw, WebUrl};

/// One attempt is over. What was held is still held, and the machine is usable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The operation that the attempt was for, when one was named.
    pub operation: Option<Operation>,
    /// Where it failed.
    pub stage: Stage,
    /// The authorization server concerned, once one was chosen.
    pub issuer: Option<IssuerId>,
    /// Why.
    pub cause: Cause,
    /// The requests of the failed step, with what came back; the latest ones.
    pub seen: Vec<Seen>,
}

/// Where an attempt failed, in the order an attempt visits them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Reading what is stored.
    Slots,
    /// Judging the MCP server's answer.
    Challenge,
    /// Finding protected resource metadata.
    ResourceMetadata,
    /// Finding authorization server metadata.
    ServerMetadata,
    /// Having a client identifier.
    Registration,
    /// Sending the user away, and waiting.
    Authorization,
    /// Judging the callback.
    Callback,
    /// Exchanging the code.
    Token,
    /// The organisation's identity provider (EMA-19).
    IdentityProvider,
    /// Renewing the token.
    Refresh,
    /// Revoking tokens after they were erased here.
    Revocation,
}

impl Stage {
    /// A stable name.
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

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A peer broke a rule.
    Violation(Violation),
    /// A peer said no.
    Refused(Refusal),
    /// A peer could not be reached, or did not answer in a usable way.
    Unreachable(Unreachable),
    /// The server refused a moment ago and is not asked again before a time (L10): no request was sent.
    Resting(Resting),
    /// The host's store did not keep what the next step depends on.
    NotPersisted(StoreFlaw),
    /// A limit was reached.
    OutOfPatience(Limited),
    /// The host's configuration does not fit what was found.
    Misconfigured(Misconfiguration),
    /// The user or the host gave up.
    Abandoned,
}

/// A rule that a peer broke, named by its requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// Protected resource metadata without `resource` at the announced place (DISC-11).
    NoResource,
    /// Protected resource metadata for something else (DISC-11, DISC-12).
    OtherResource {
        /// What it must be, or cover: the MCP URL, or its origin.
        expected: Box<str>,
        /// The `resource` found.
        got: Untrusted,
    },
    /// Protected resource metadata with a repeated member or nested too deeply (SEC-14).
    ResourceMetadataMalformed,
    /// Tokens are not accepted in the header (DISC-24).
    NoHeaderMethod,
    /// No usable entry in `authorization_servers` (DISC-15).
    NoAuthorizationServer,
    /// Server metadata that must not be used.
    Metadata(MetadataFlaw),
    /// No authorization endpoint (META-12).
    NoAuthorizationEndpoint,
    /// The authorization endpoint is on another origin, and nothing binds the answer to the issuer.
    AuthorizationOrigin {
        /// The endpoint.
        endpoint: WebUrl,
    },
    /// `S256` is not advertised (PKCE-05, PKCE-06).
    NoPkce,
    /// `code` or the authorization code grant is not offered (META-14), or not to this client (REG-24).
    NoCodeGrant,
    /// The authorization endpoint's query holds a parameter that only the client may set (AUTHZ-02, RES-08).
    ReservedParameter {
        /// The parameter.
        name: Untrusted,
    },
    /// The authorization request makes a URL that is too long for a browser (AUTHZ-11).
    RequestTooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// No place had metadata of the authorization server (META-04). [`Failure::seen`] says what was there.
    NoServerMetadata,
    /// `iss` did not pass (ISS-03 to ISS-05); nothing else of the callback is believed.
    Iss(IssFlaw),
    /// The callback's issuer cannot be verified, and the host requires it.
    IssUnverifiable,
    /// A token in the front channel (CB-12).
    FrontChannelToken,
    /// Not exactly one of `code` and `error` in the callback (CB-08).
    NotOneAnswer,
    /// The registration answer cannot be used (REG-23).
    Registration(MalformedRegistration),
    /// The registration lacks our redirect URI (REG-24, C01).
    RedirectUriNotRegistered,
    /// The registration's authentication method cannot be used (REG-23, C02).
    RegistrationMethod(MethodFlaw),
    /// The token answer cannot be used (TOK-11 to TOK-15).
    Token(UnexpectedToken),
    /// A request was redirected where that is not allowed (SEC-09, H07).
    Redirected,
    /// A place where a document was looked for is not used (SEC-05, SEC-08, SEC-13).
    PlaceRefused {
        /// The place.
        place: Untrusted,
        /// What is wrong with it.
        flaw: PlaceFlaw,
    },
    /// The answer is larger than allowed (SEC-13).
    TooLarge,
    /// A token that has just been issued is refused (USE-08, E08).
    FreshTokenRefused,
    /// The issuer now names a token endpoint on another origin than the one that issued the refresh
    /// token (REFR-11, A22).
    TokenEndpointMoved,
    /// The MCP server changed its authorization server while the user was at the old one (ISO-07).
    ServerChanged,
    /// The server has not the endpoint that is needed.
    NoEndpoint,
    /// A bound token was required, and the server issued another kind (DPOP-13).
    TokenNotBound,
    /// The identity provider's answer is no grant that can be used (EMA-10, EMA-12).
    NoIdJag,
}

/// Why a place where a document was looked for is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceFlaw {
    /// Its URL must not be contacted (SEC-05).
    #[error("{0}")]
    Url(UrlFlaw),
    /// It redirects to another origin, which is not followed (SEC-08).
    #[error("redirects to another origin, {0:?}, which is not followed")]
    RedirectsElsewhere(Untrusted),
    /// It redirects without saying where to, or in a way that is not followed.
    #[error("redirects without a usable Location")]
    RedirectsNowhere,
    /// It redirects again and again (SEC-08).
    #[error("redirects more than 3 times")]
    RedirectsTooOften,
    /// The document is larger than allowed (SEC-13).
    #[error("has a document larger than 256 KiB")]
    TooLarge,
}

/// A peer's no.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// An OAuth error of the authorization server.
    OAuth {
        /// The code.
        error: OAuthError,
        /// The code as sent, sanitised; `None` when only a status said no, or when it repeats a secret.
        code: Option<Untrusted>,
        /// The description, sanitised; not for end users. Left out when it repeats a secret that was sent.
        description: Option<Untrusted>,
        /// A page about it; never opened by itself.
        error_uri: Option<WebUrl>,
    },
    /// The MCP server wants scopes that the token lacks, and no step-up is made (STEP-01, STEP-07).
    InsufficientScope {
        /// The scopes that the challenge named.
        scopes: Option<Scopes>,
        /// The resource metadata URL that the challenge named, when usable.
        resource_metadata: Option<WebUrl>,
        /// The challenge's description, sanitised.
        description: Option<Untrusted>,
        /// Authorizations made for this operation before.
        attempts: u8,
    },
    /// The MCP server answered 403 without asking for scopes (QUIRK-23).
    Forbidden,
    /// The MCP server answered 400 with `invalid_request` (12.1).
    InvalidRequest,
}

/// How a peer was not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// Whether a code may have been used up: then a new authorization is needed (TOK-20).
    pub code_spent: bool,
    /// When the server asked to come back (TOK-22).
    pub retry_at: Option<UnixMillis>,
}

/// The rest after a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resting {
    /// Why the last request failed.
    pub after: Box<Cause>,
    /// When the next one may be sent.
    pub retry_at: UnixMillis,
}

/// What the store did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreFlaw {
    /// A load failed or was not answered.
    Load,
    /// A write failed or was not answered.
    Write,
    /// Another process was faster, again and again.
    Conflict,
    /// A token expired before the store had it.
    Slow,
    /// What was stored is not a usable record (S26).
    Record(RecordFlaw),
}

/// How configuration and findings do not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misconfiguration {
    /// No way to have a client identifier at this server (REG-02): configure one for this issuer.
    NoClient {
        /// The issuer found.
        issuer: IssuerId,
    },
    /// The record of the server that a client without an issuer was bound to cannot be read (REG-04): name
    /// the client's issuer in the configuration, or clear that record.
    BindingUnreadable {
        /// The slot of the record.
        slot: String,
        /// The flaw.
        flaw: RecordFlaw,
    },
    /// Clients are configured, but for other issuers than the one found (ISO-06, C13).
    OtherIssuer {
        /// The issuers that have a client, or the one whose client was used before.
        configured: Vec<IssuerId>,
        /// The issuer found.
        found: IssuerId,
    },
    /// No metadata anywhere: configure the authorization server, or enable legacy servers (DISC-21).
    ServerUnknown,
    /// A user is to sign in, and the host has no redirect URI.
    NoRedirectUri,
    /// The server takes only pushed authorization requests (AUTHZ-21).
    PushedRequestsRequired,
    /// The resource takes only tokens bound to a key (DPOP-02).
    DpopRequired,
    /// The configured client cannot authenticate there (TOK-04).
    ClientMethod(MethodFlaw),
    /// The host has not the key that a token is bound to, or could not sign with it.
    KeyMissing,
    /// The host could not sign.
    SignerFailed,
    /// Neither the server nor the keys allow a token that is bound to a key, and one is required
    /// (DPOP-02).
    DpopUnavailable,
    /// The host's platform has no assertion to give (WIF-05, EMA-05).
    NoAssertion,
    /// Assertions may not be sent to this server (WIF-12).
    AssertionNotAllowed {
        /// The issuers to which they may.
        allowed: Vec<IssuerId>,
        /// The issuer found.
        found: IssuerId,
    },
    /// The server does not offer the grant that the configuration wants (WIF-04, EMA-03).
    GrantNotOffered,
}

/// What the host does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask the user, then send `Authorize`.
    AskUser,
    /// Change the configuration, or have the server's operator change theirs.
    FixConfiguration,
    /// Try again, not before this time if one is given.
    RetryLater(Option<UnixMillis>),
    /// Do not go on with this server: what it said contradicts what it must say.
    DoNotTrust,
}

/// Whose fault it is.
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
    /// What to do next.
    pub fn next(&self) -> Next {
        match &self.cause {
            Cause::Violation(violation) => violation.next(),
            Cause::Refused(Refusal::OAuth { error, .. }) => match error {
                OAuthError::AccessDenied
                | OAuthError::InteractionRequired
                | OAuthError::InvalidGrant
                | OAuthError::InsufficientUserAuthentication
                | OAuthError::InvalidToken => Next::AskUser,
                OAuthError::ServerError | OAuthError::TemporarilyUnavailable => {
                    Next::RetryLater(None)
                }
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
            Cause::Refused(Refusal::Forbidden | Refusal::InvalidRequest) => Next::FixConfiguration,
            Cause::Unreachable(unreachable) => Next::RetryLater(unreachable.retry_at),
            Cause::Resting(resting) => Next::RetryLater(Some(resting.retry_at)),
            // No later attempt reads such a record better.
            Cause::NotPersisted(StoreFlaw::Record(_)) => Next::FixConfiguration,
            Cause::NotPersisted(
                StoreFlaw::Load | StoreFlaw::Write | StoreFlaw::Conflict | StoreFlaw::Slow,
            ) => Next::RetryLater(None),
            Cause::OutOfPatience(Limited::UserTime) | Cause::Abandoned => Next::AskUser,
            Cause::OutOfPatience(
                Limited::Requests
                | Limited::Registrations
                | Limited::Authorizations
                | Limited::Redirects
                | Limited::FlowTime,
            ) => Next::RetryLater(None),
            Cause::Misconfigured(_) => Next::FixConfiguration,
        }
    }

    /// Whose fault it is.
    pub fn party(&self) -> Party {
        // A place of the authorization server is not the MCP server's to mend.
        let place = matches!(self.cause, Cause::Violation(Violation::PlaceRefused { .. }));
        if place && self.stage == Stage::ServerMetadata {
            return Party::AuthorizationServer;
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
                Refusal::InsufficientScope { .. } | Refusal::Forbidden | Refusal::InvalidRequest,
            ) => Party::McpServer,
            Self::Unreachable(_) => Party::Network,
            Self::Resting(resting) => resting.after.party(),
            Self::NotPersisted(_) => Party::Store,
            Self::OutOfPatience(limited) => match limited {
                Limited::UserTime => Party::User,
                Limited::FlowTime => Party::Network,
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
            | Self::Iss(_)
            | Self::IssUnverifiable
            | Self::FrontChannelToken
            | Self::RedirectUriNotRegistered
            | Self::Redirected
            | Self::PlaceRefused {
                flaw: PlaceFlaw::Url(_),
                ..
            }
            | Self::ReservedParameter { .. } => Next::DoNotTrust,
            Self::TokenEndpointMoved | Self::ServerChanged => Next::AskUser,
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
            | Self::FreshTokenRefused => Next::FixConfiguration,
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
            | Self::FreshTokenRefused
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
            | Self::TokenEndpointMoved => Party::AuthorizationServer,
        }
    }
}

impl Cause {
    /// A stable reason code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Violation(violation) => violation.code(),
            Self::Refused(Refusal::OAuth { .. }) => "refused",
            Self::Refused(Refusal::InsufficientScope { .. }) => "insufficient_scope",
            Self::Refused(Refusal::Forbidden) => "forbidden",
            Self::Refused(Refusal::InvalidRequest) => "invalid_request",
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
            Self::Misconfigured(Misconfiguration::DpopUnavailable) => "dpop_unavailable",
            Self::Misconfigured(Misconfiguration::NoAssertion) => "no_assertion",
            Self::Misconfigured(Misconfiguration::AssertionNotAllowed { .. }) => {
                "assertion_not_allowed"
            }
            Self::Misconfigured(Misconfiguration::GrantNotOffered) => "grant_not_offered",
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
            Self::FreshTokenRefused => "fresh_token_refused",
            Self::TokenEndpointMoved => "token_endpoint_moved",
            Self::ServerChanged => "server_changed",
            Self::NoEndpoint => "no_endpoint",
            Self::TokenNotBound => "token_not_bound",
            Self::NoIdJag => "no_id_jag",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::explain::failure(self, f)
    }
}

impl std::error::Error for Failure {}
