//! Authorization servers with validated metadata.

use std::sync::Arc;

use super::endpoint::{Endpoints, TokenEndpointMoved};
use super::{AssertionAudience, Endpoint, IssuerId, IssuerSettings};
use crate::frame::Opened;
use crate::time::UnixMillis;
use crate::wire::reserved::reserved_in_query;
use crate::wire::server::ServerDocument;
use crate::wire::text::Untrusted;
use crate::wire::url::{UrlFlaw, UrlPolicy};
use crate::wire::url_text::CheckedUrl;
use crate::wire::words::{
    AuthMethod, ChallengeMethod, GrantProfile, GrantType, KnownScope, ResponseType,
    SigningAlgorithm, Words,
};

/// The source of a server's metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerSource {
    /// A metadata document of the issuer.
    Metadata,
    /// Metadata of a server of revision 2025-03-26, found at the MCP server's origin (LEG).
    LegacyMetadata,
    /// The default endpoints of revision 2025-03-26 (LEG-06).
    LegacyDefaults,
}

impl ServerSource {
    /// Returns the name in records.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::LegacyMetadata => "legacy_metadata",
            Self::LegacyDefaults => "legacy_defaults",
        }
    }
}

/// An authorization server whose metadata names the issuer it was requested for (META-08). A snapshot: one
/// flow uses one, from redirect to token (META-15). Cheap to clone.
#[derive(Clone)]
pub(crate) struct Server(Arc<Facts>);

#[derive(Clone)]
pub(crate) struct Facts {
    pub(crate) issuer: IssuerId,
    pub(crate) source: ServerSource,
    /// The time until which the metadata is fresh (META-18, REFR-11).
    pub(crate) fresh_until: UnixMillis,
    pub(crate) endpoints: Endpoints,
    pub(crate) requires_par: bool,
    pub(crate) advertises_iss: bool,
    pub(crate) supports_cimd: bool,
    pub(crate) response_types: Words<ResponseType>,
    pub(crate) grant_types: Words<GrantType>,
    pub(crate) scopes: Words<KnownScope>,
    pub(crate) challenge_methods: Words<ChallengeMethod>,
    pub(crate) auth_methods: Words<AuthMethod>,
    pub(crate) revocation_auth_methods: Words<AuthMethod>,
    pub(crate) assertion_algorithms: Words<SigningAlgorithm>,
    pub(crate) dpop_algorithms: Words<SigningAlgorithm>,
    pub(crate) grant_profiles: Words<GrantProfile>,
}

impl Facts {
    /// Returns true if the token endpoint lists a method with a client secret.
    pub(crate) fn takes_secrets(&self) -> bool {
        let methods = self.auth_methods;
        methods.has(AuthMethod::ClientSecretBasic) || methods.has(AuthMethod::ClientSecretPost)
    }
}

/// The flaw in a metadata document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MetadataFlaw {
    /// It names another issuer than the one it was requested for (META-08).
    Issuer {
        /// The expected issuer.
        expected: IssuerId,
        /// The issuer in the document.
        got: Untrusted,
    },
    /// It has no `token_endpoint` (META-12).
    NoTokenEndpoint,
    /// An endpoint is not an acceptable URL (META-12, QUIRK-28).
    Endpoint {
        /// The member.
        member: &'static str,
        /// The value of the member.
        got: Untrusted,
        /// The flaw in the URL.
        flaw: UrlFlaw,
    },
    /// The query of a credential endpoint contains a parameter that only the client may set (META-12).
    Parameter {
        /// The member.
        member: &'static str,
        /// The name of the parameter.
        name: Untrusted,
    },
    /// It repeats a member or is nested too deeply (SEC-14).
    Malformed,
}

/// How exactly the issuer in a document must match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlashRule {
    /// Byte by byte.
    Exact,
    /// Except for one final slash (QUIRK-01).
    TolerateOne,
}

/// The audience of a client assertion, created only by [`Server::client_audience`].
#[derive(Clone)]
pub(crate) struct Audience(Box<str>);

impl Audience {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Server {
    /// Validates a document against the issuer it was requested for. The only constructor for discovered
    /// servers.
    pub(crate) fn accept(
        asked: &IssuerId,
        document: &ServerDocument<'_>,
        source: ServerSource,
        fresh_until: UnixMillis,
        slash: SlashRule,
        policy: &UrlPolicy,
    ) -> Result<Self, MetadataFlaw> {
        let named = document.issuer().unwrap_or_default();
        let issuer = if named == asked.as_str() {
            asked.clone()
        } else if slash == SlashRule::TolerateOne && asked.same_but_slash(named) {
            IssuerId(named.into())
        } else {
            return Err(MetadataFlaw::Issuer {
                expected: asked.clone(),
                got: Untrusted::new(named),
            });
        };
        let origin = asked.origin();
        let endpoint = |member, text| match text {
            None => Ok(None),
            Some(text) => {
                let found = policy.judge_beside(origin, text);
                let flawed = |flaw| MetadataFlaw::Endpoint {
                    member,
                    got: Untrusted::new(text),
                    flaw,
                };
                found.map(Some).map_err(flawed)
            }
        };
        let for_credentials = |of: Endpoint, text| {
            let found = endpoint(of.member(), text)?;
            let url = found.as_ref().map(CheckedUrl::borrowed);
            match url.and_then(reserved_in_query) {
                Some(name) => Err(MetadataFlaw::Parameter {
                    member: of.member(),
                    name: Untrusted::new(&name),
                }),
                None => Ok(found),
            }
        };
        let token_endpoint = for_credentials(Endpoint::Token, document.token_endpoint.get())?
            .ok_or(MetadataFlaw::NoTokenEndpoint)?;
        let authorization = document.authorization_endpoint.get();
        let authorization = endpoint("authorization_endpoint", authorization)?;
        Ok(Self(Arc::new(Facts {
            issuer,
            source,
            fresh_until,
            endpoints: Endpoints::with(token_endpoint, authorization, |further| match further {
                Endpoint::Token => Ok(None),
                Endpoint::Registration => {
                    for_credentials(further, document.registration_endpoint.get())
                }
                Endpoint::Revocation => {
                    for_credentials(further, document.revocation_endpoint.get())
                }
                Endpoint::PushedAuthorization => {
                    let text = document.pushed_authorization_request_endpoint.get();
                    for_credentials(further, text)
                }
                // A flaw in it ends no other flow (DEV-02).
                Endpoint::DeviceAuthorization => {
                    let text = document.device_authorization_endpoint.get();
                    Ok(for_credentials(further, text).unwrap_or_default())
                }
            })?,
            requires_par: document.require_pushed_authorization_requests.0,
            advertises_iss: document.authorization_response_iss_parameter_supported.0,
            supports_cimd: document.client_id_metadata_document_supported.0,
            response_types: document.response_types_supported,
            grant_types: document.grant_types_supported,
            scopes: document.scopes_supported,
            challenge_methods: document.code_challenge_methods_supported,
            auth_methods: document.token_endpoint_auth_methods_supported,
            revocation_auth_methods: document.revocation_endpoint_auth_methods_supported,
            assertion_algorithms: document.token_endpoint_auth_signing_alg_values_supported,
            dpop_algorithms: document.dpop_signing_alg_values_supported,
            grant_profiles: document.authorization_grant_profiles_supported,
        })))
    }

    /// Returns the default endpoints of revision 2025-03-26, at the MCP server's origin (LEG-06).
    pub(crate) fn legacy_defaults(base: &IssuerId, policy: &UrlPolicy) -> Result<Self, UrlFlaw> {
        let endpoint = |path: &str| {
            let url = policy.check(&[base.as_str(), path].concat());
            url.map(CheckedUrl::Canonical)
        };
        let (authorization, token) = (endpoint("/authorize")?, endpoint("/token")?);
        Ok(Self(Arc::new(Facts {
            issuer: base.clone(),
            source: ServerSource::LegacyDefaults,
            fresh_until: UnixMillis::MAX,
            endpoints: Endpoints::with(token, Some(authorization), |further| match further {
                Endpoint::Registration => endpoint("/register").map(Some),
                Endpoint::Token
                | Endpoint::Revocation
                | Endpoint::PushedAuthorization
                | Endpoint::DeviceAuthorization => Ok(None),
            })?,
            requires_par: false,
            advertises_iss: false,
            supports_cimd: false,
            response_types: Words::ABSENT,
            grant_types: Words::ABSENT,
            scopes: Words::ABSENT,
            challenge_methods: Words::ABSENT,
            auth_methods: Words::ABSENT,
            revocation_auth_methods: Words::ABSENT,
            assertion_algorithms: Words::ABSENT,
            dpop_algorithms: Words::ABSENT,
            grant_profiles: Words::ABSENT,
        })))
    }

    /// Restores a server from a record with a valid checksum, written from a validated server.
    pub(crate) fn restore(facts: Facts, _checked: &Opened<'_>) -> Self {
        Self(Arc::new(facts))
    }

    /// Returns the metadata for existing credentials after a later document of the same issuer, and the
    /// endpoints that are not followed (REFR-11).
    pub(super) fn followed_by(
        &self,
        now: &Self,
    ) -> Result<(Self, Vec<Endpoint>), TokenEndpointMoved> {
        if now.issuer() != self.issuer() {
            return Err(TokenEndpointMoved);
        }
        let (endpoints, moved) = self.0.endpoints.followed_by(&now.0.endpoints)?;
        let Some(endpoints) = endpoints else {
            return Ok((now.clone(), moved));
        };
        let facts = Facts {
            endpoints,
            ..(*now.0).clone()
        };
        Ok((Self(Arc::new(facts)), moved))
    }

    /// Returns true if a redirect and its code go to the same places by both documents.
    pub(crate) fn leads_where(&self, other: &Self) -> bool {
        let (own, other) = (self.facts(), other.facts());
        own.issuer == other.issuer
            && own.source == other.source
            && own.endpoints == other.endpoints
            && own.requires_par == other.requires_par
            && own.advertises_iss == other.advertises_iss
    }

    /// Returns the audience of an assertion. A token endpoint on another origin may belong to another server, which
    /// would accept the assertion: the issuer is named instead (B03).
    pub(crate) fn audience(&self, wanted: AssertionAudience) -> &str {
        let endpoint = self.token_endpoint();
        match wanted {
            AssertionAudience::TokenEndpoint if self.issuer().is_origin(endpoint.origin()) => {
                endpoint.as_str()
            }
            AssertionAudience::Issuer | AssertionAudience::TokenEndpoint => self.issuer().as_str(),
        }
    }

    /// Returns the audience of a client assertion for one of the endpoints: no other than the token endpoint may
    /// receive an assertion for that.
    pub(crate) fn client_audience(&self, at: Endpoint, settings: &IssuerSettings) -> Audience {
        let wanted = match at {
            Endpoint::Token => settings.client_assertion_audience,
            Endpoint::Revocation
            | Endpoint::PushedAuthorization
            | Endpoint::Registration
            | Endpoint::DeviceAuthorization => AssertionAudience::Issuer,
        };
        Audience(self.audience(wanted).into())
    }

    /// Returns true if the metadata is fresh; configured metadata stays fresh.
    pub(crate) fn is_fresh(&self, now: UnixMillis) -> bool {
        !self.is_fetched() || self.0.fresh_until.is_fresh(now)
    }

    /// Returns the server with fetched metadata marked as stale.
    pub(crate) fn aged(self) -> Self {
        if self.is_fetched() {
            Self(Arc::new(Facts {
                fresh_until: UnixMillis::default(),
                ..(*self.0).clone()
            }))
        } else {
            self
        }
    }

    /// Returns true if the metadata was fetched from the issuer, and can be fetched again.
    pub(crate) fn is_fetched(&self) -> bool {
        self.0.source == ServerSource::Metadata && self.0.fresh_until != UnixMillis::MAX
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.0
    }

    /// Returns the issuer of the validated metadata, byte for byte.
    pub(crate) fn issuer(&self) -> &IssuerId {
        &self.0.issuer
    }
}
