//! The typed facts of a failure in one flat record, for JSON lines and messages.

use serde::Serialize;

use crate::error::Seen;
use crate::error::{Cause, Failure, Misconfiguration, Refusal, Violation};
use crate::issuer::{IssuerId, MetadataFlaw};
use crate::remedy::Remedy;
use crate::wire::device::DeviceFlaw;
use crate::wire::scopes::Scopes;
use crate::wire::text::Untrusted;
use crate::wire::url::WebUrl;

/// The facts of a [`Failure`] other than its stage, issuer and reason code. Members without a value are
/// omitted. Texts of servers are sanitised: printable ASCII, at most 512 characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Details {
    /// The OAuth error code as sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Untrusted>,
    /// The server's `error_description`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Untrusted>,
    /// The server's `error_uri`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_uri: Option<WebUrl>,
    /// The scopes that the MCP server named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Scopes>,
    /// The resource metadata URL that the challenge named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_metadata: Option<WebUrl>,
    /// The number of authorizations made for the operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u8>,
    /// The member or parameter at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<Untrusted>,
    /// The expected value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<Box<str>>,
    /// The value found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<Untrusted>,
    /// The issuers that have a client in the configuration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub configured: Vec<IssuerId>,
    /// The requests of the failed step, with status and type of the responses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<Seen>,
    /// A setting that may help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
}

impl Failure {
    /// Returns all typed facts of the failure.
    pub fn details(&self) -> Details {
        let mut details = self.cause.details();
        details.seen.clone_from(&self.seen);
        details.remedy = self.remedy();
        details
    }
}

impl Cause {
    /// Returns all typed facts of the cause.
    pub fn details(&self) -> Details {
        let mut details = Details::default();
        match self {
            Self::Refused(refusal) => refused(&mut details, refusal),
            Self::Violation(violation) => violated(&mut details, violation),
            Self::Misconfigured(found) => misconfigured(&mut details, found),
            // The facts of the underlying failure.
            Self::Resting(resting) => details = resting.after.details(),
            Self::Unreachable(_)
            | Self::NotPersisted(_)
            | Self::OutOfPatience(_)
            | Self::Abandoned => {}
        }
        details
    }
}

fn refused(details: &mut Details, refusal: &Refusal) {
    match refusal {
        Refusal::OAuth {
            code,
            description,
            error_uri,
            ..
        } => {
            details.error.clone_from(code);
            details.description.clone_from(description);
            details.error_uri.clone_from(error_uri);
        }
        Refusal::InsufficientScope {
            scopes,
            resource_metadata,
            description,
            attempts,
        } => {
            details.error = Some(Untrusted::new("insufficient_scope"));
            details.scopes.clone_from(scopes);
            details.resource_metadata.clone_from(resource_metadata);
            details.description.clone_from(description);
            details.attempts = Some(*attempts);
        }
        Refusal::Forbidden { description } | Refusal::InvalidRequest { description } => {
            details.description.clone_from(description);
        }
    }
}

fn violated(details: &mut Details, violation: &Violation) {
    if let Violation::OtherResource { expected, got } = violation {
        details.expected = Some(expected.clone());
        details.found = Some(got.clone());
    } else if let Violation::Metadata(flaw) = violation {
        metadata(details, flaw);
    } else if let Violation::ReservedParameter { name } = violation {
        details.member = Some(name.clone());
    } else if let Violation::PlaceRefused { place, .. } = violation {
        details.found = Some(place.clone());
    } else if let Violation::FreshTokenRefused { description } = violation {
        details.description.clone_from(description);
    } else if let Violation::AuthorizationOrigin { endpoint } = violation {
        details.found = Some(Untrusted::new(endpoint.as_str()));
    } else if let Violation::VerificationOrigin { page } = violation {
        details.found = Some(Untrusted::new(page.as_str()));
    } else if let Violation::Device(DeviceFlaw::Url { member, got, .. }) = violation {
        details.member = Some(Untrusted::new(member));
        details.found = Some(got.clone());
    } else if let Violation::Device(DeviceFlaw::Member(member)) = violation {
        details.member = Some(Untrusted::new(member));
    }
}

fn metadata(details: &mut Details, flaw: &MetadataFlaw) {
    match flaw {
        MetadataFlaw::Issuer { expected, got } => {
            details.expected = Some(expected.as_str().into());
            details.found = Some(got.clone());
        }
        MetadataFlaw::Endpoint { member, got, .. }
        | MetadataFlaw::Parameter { member, name: got } => {
            details.member = Some(Untrusted::new(member));
            details.found = Some(got.clone());
        }
        MetadataFlaw::NoTokenEndpoint => details.member = Some(Untrusted::new("token_endpoint")),
        MetadataFlaw::Malformed => {}
    }
}

fn misconfigured(details: &mut Details, found: &Misconfiguration) {
    if let Misconfiguration::OtherIssuer { configured, found }
    | Misconfiguration::AssertionNotAllowed {
        allowed: configured,
        found,
    } = found
    {
        details.configured.clone_from(configured);
        details.found = Some(Untrusted::new(found.as_str()));
    } else if let Misconfiguration::NoClient { issuer } = found {
        details.found = Some(Untrusted::new(issuer.as_str()));
    }
}
