//! The setting that may help after a failure, as data: a library prints its name, a command its option.

use serde::Serialize;

use crate::error::{Cause, Failure, Misconfiguration, PlaceFlaw, Stage, Violation};
use crate::issuer::{IssuerId, MetadataFlaw};
use crate::wire::token::{OAuthError, UnexpectedToken};
use crate::wire::url::UrlFlaw;

/// A setting that may let the next attempt succeed. Apply it only to a server that is known to be correct;
/// [`Remedy::setting`] returns its name. A callback with an invalid `iss` has no remedy, because it
/// indicates an attack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "name", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Remedy {
    /// Configure the origin of the issuer's authorization endpoint
    /// ([`IssuerSettings::authorization_origin`]).
    ///
    /// [`IssuerSettings::authorization_origin`]: crate::config::IssuerSettings::authorization_origin
    AuthorizationOrigin {
        /// The issuer.
        issuer: IssuerId,
        /// The origin that its metadata names.
        origin: Box<str>,
    },
    /// Configure the origin of the issuer's page for the codes of devices
    /// ([`IssuerSettings::verification_origin`]).
    ///
    /// [`IssuerSettings::verification_origin`]: crate::config::IssuerSettings::verification_origin
    VerificationOrigin {
        /// The issuer.
        issuer: IssuerId,
        /// The origin that it named.
        origin: Box<str>,
    },
    /// Assert that the server verifies PKCE ([`IssuerSettings::pkce`]).
    ///
    /// [`IssuerSettings::pkce`]: crate::config::IssuerSettings::pkce
    Pkce {
        /// The issuer.
        issuer: IssuerId,
    },
    /// Omit `resource` at this server ([`IssuerSettings::resource_parameter`]).
    ///
    /// [`IssuerSettings::resource_parameter`]: crate::config::IssuerSettings::resource_parameter
    OmitResource {
        /// The issuer.
        issuer: IssuerId,
    },
    /// Accept form-encoded token responses of this server ([`IssuerSettings::token_answers`]).
    ///
    /// [`IssuerSettings::token_answers`]: crate::config::IssuerSettings::token_answers
    FormAnswers {
        /// The issuer.
        issuer: IssuerId,
    },
    /// Allow a host that the address policy denies ([`ConfigBuilder::allow_host`]).
    ///
    /// [`ConfigBuilder::allow_host`]: crate::config::ConfigBuilder::allow_host
    AllowHost,
    /// Configure a client that is registered at this server ([`ConfigBuilder::pre_registered`]).
    ///
    /// [`ConfigBuilder::pre_registered`]: crate::config::ConfigBuilder::pre_registered
    Client {
        /// The issuer.
        issuer: IssuerId,
    },
    /// Configure the authorization server, or enable servers of revision 2025-03-26
    /// ([`ConfigBuilder::issuer`], [`ConfigBuilder::legacy`]).
    ///
    /// [`ConfigBuilder::issuer`]: crate::config::ConfigBuilder::issuer
    /// [`ConfigBuilder::legacy`]: crate::config::ConfigBuilder::legacy
    AuthorizationServer,
    /// Request other scopes ([`ConfigBuilder::scopes`]).
    ///
    /// [`ConfigBuilder::scopes`]: crate::config::ConfigBuilder::scopes
    Scopes,
    /// Configure a DPoP key ([`ConfigBuilder::dpop`]).
    ///
    /// [`ConfigBuilder::dpop`]: crate::config::ConfigBuilder::dpop
    Dpop,
}

impl Remedy {
    /// Returns the name of the setting in this library.
    pub const fn setting(&self) -> &'static str {
        match self {
            Self::AuthorizationOrigin { .. } => "IssuerSettings::authorization_origin",
            Self::VerificationOrigin { .. } => "IssuerSettings::verification_origin",
            Self::Pkce { .. } => "IssuerSettings::pkce",
            Self::OmitResource { .. } => "IssuerSettings::resource_parameter",
            Self::FormAnswers { .. } => "IssuerSettings::token_answers",
            Self::AllowHost => "ConfigBuilder::allow_host",
            Self::Client { .. } => "ConfigBuilder::pre_registered",
            Self::AuthorizationServer => "ConfigBuilder::issuer",
            Self::Scopes => "ConfigBuilder::scopes",
            Self::Dpop => "ConfigBuilder::dpop",
        }
    }
}

impl Failure {
    /// Returns a setting that may help, if one exists. The machine never applies it by itself.
    pub fn remedy(&self) -> Option<Remedy> {
        let issuer = self.issuer.clone();
        match &self.cause {
            Cause::Violation(violation) => of_violation(violation, issuer),
            Cause::Misconfigured(Misconfiguration::BindingUnreadable { .. }) => {
                issuer.map(|issuer| Remedy::Client { issuer })
            }
            Cause::Misconfigured(found) => of_misconfiguration(found),
            Cause::Refused(crate::error::Refusal::OAuth { error, .. }) => {
                of_refusal(*error, self.stage, issuer)
            }
            Cause::Refused(_)
            | Cause::Resting(_)
            | Cause::Unreachable(_)
            | Cause::NotPersisted(_)
            | Cause::OutOfPatience(_)
            | Cause::Abandoned => None,
        }
    }
}

fn of_violation(violation: &Violation, issuer: Option<IssuerId>) -> Option<Remedy> {
    if let Violation::PlaceRefused {
        flaw: PlaceFlaw::Url(UrlFlaw::Address(_) | UrlFlaw::Resolved),
        ..
    }
    | Violation::Metadata(MetadataFlaw::Endpoint {
        flaw: UrlFlaw::Address(_) | UrlFlaw::Resolved,
        ..
    }) = violation
    {
        return Some(Remedy::AllowHost);
    }
    let issuer = issuer?;
    if let Violation::AuthorizationOrigin { endpoint } = violation {
        let origin = endpoint.origin().into();
        Some(Remedy::AuthorizationOrigin { issuer, origin })
    } else if let Violation::VerificationOrigin { page } = violation {
        let origin = page.origin().into();
        Some(Remedy::VerificationOrigin { issuer, origin })
    } else if *violation == Violation::NoPkce {
        Some(Remedy::Pkce { issuer })
    } else if *violation == Violation::Token(UnexpectedToken::Body) {
        Some(Remedy::FormAnswers { issuer })
    } else {
        None
    }
}

fn of_misconfiguration(found: &Misconfiguration) -> Option<Remedy> {
    match found {
        Misconfiguration::NoClient { issuer }
        | Misconfiguration::OtherIssuer { found: issuer, .. } => {
            let issuer = issuer.clone();
            Some(Remedy::Client { issuer })
        }
        Misconfiguration::ServerUnknown => Some(Remedy::AuthorizationServer),
        Misconfiguration::DpopRequired | Misconfiguration::DpopUnavailable => Some(Remedy::Dpop),
        Misconfiguration::BindingUnreadable { .. }
        | Misconfiguration::NoRedirectUri
        | Misconfiguration::NoPrincipal
        | Misconfiguration::PushedRequestsRequired
        | Misconfiguration::ClientMethod(_)
        | Misconfiguration::KeyMissing
        | Misconfiguration::SignerFailed
        | Misconfiguration::NoAssertion
        | Misconfiguration::AssertionNotAllowed { .. }
        | Misconfiguration::NoDeviceGrant
        | Misconfiguration::GrantNotOffered => None,
    }
}

fn of_refusal(error: OAuthError, stage: Stage, issuer: Option<IssuerId>) -> Option<Remedy> {
    if error == OAuthError::InvalidScope {
        Some(Remedy::Scopes)
    } else if error == OAuthError::InvalidTarget {
        Some(Remedy::OmitResource { issuer: issuer? })
    } else if stage == Stage::Registration {
        Some(Remedy::Client { issuer: issuer? })
    } else {
        None
    }
}
