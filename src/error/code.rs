//! The stable names of causes, for programs and logs.

use super::{Cause, Misconfiguration, PlaceFlaw, Refusal, Violation};
use crate::issuer::MetadataFlaw;

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
