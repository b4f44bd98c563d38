//! The next step after a failure, and the responsible party.

use super::{Cause, Failure, Next, Party, PlaceFlaw, Refusal, Stage, StoreFlaw, Violation};
use crate::budget::Limited;
use crate::issuer::MetadataFlaw;
use crate::wire::callback::IssFlaw;
use crate::wire::text::Untrusted;
use crate::wire::token::OAuthError;

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

/// Returns true for URLs that differ in the last slash, or in `http` for `https`: a slip of the operator. The same server
/// wrote both.
fn is_slip(expected: &str, got: &Untrusted) -> bool {
    let bare = |url: &str| {
        let rest = url
            .strip_prefix("https://")
            .or(url.strip_prefix("http://"))?;
        Some(rest.strip_suffix('/').unwrap_or(rest).to_owned())
    };
    let expected = bare(expected);
    expected.is_some() && expected == bare(got.as_plain())
}

impl Violation {
    fn next(&self) -> Next {
        match self {
            Self::OtherResource { expected, got } if is_slip(expected, got) => {
                Next::FixConfiguration
            }
            Self::Metadata(MetadataFlaw::Issuer { expected, got })
                if is_slip(expected.as_str(), got) =>
            {
                Next::FixConfiguration
            }
            Self::OtherResource { .. }
            | Self::Metadata(MetadataFlaw::Issuer { .. })
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
            // No standard forbids it, and official servers do it: the user may know the other host.
            | Self::AuthorizationOrigin { .. }
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
