//! The parts common to several records: a server snapshot and a client.

use std::ops::Not;

use serde::{Deserialize, Serialize};

use super::{Opened, RecordFlaw};
use crate::grant::{AssertionKey, BasicEncoding, Client, ClientMethod, ClientOrigin};
use crate::issuer::{
    CredentialEndpoint, CredentialEndpoints, Endpoint, Facts, IssuerId, Server, ServerSource,
};
use crate::secret::Secret;
use crate::time::UnixMillis;
use crate::wire::url::{UrlPolicy, WebUrl};
use crate::wire::words::{
    AuthMethod, ChallengeMethod, GrantProfile, GrantType, KnownScope, ResponseType,
    SigningAlgorithm, Words,
};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerRecord<'a> {
    issuer: &'a str,
    source: ServerSource,
    fresh_until: u64,
    authorization_endpoint: Option<&'a str>,
    token_endpoint: &'a str,
    registration_endpoint: Option<&'a str>,
    revocation_endpoint: Option<&'a str>,
    pushed_endpoint: Option<&'a str>,
    #[serde(default, skip_serializing_if = "Not::not")]
    requires_par: bool,
    advertises_iss: bool,
    #[serde(default, skip_serializing_if = "Not::not")]
    supports_cimd: bool,
    #[serde(default)]
    response_types: Words<ResponseType>,
    #[serde(default)]
    grant_types: Words<GrantType>,
    #[serde(default)]
    scopes: Words<KnownScope>,
    #[serde(default)]
    challenge_methods: Words<ChallengeMethod>,
    #[serde(default)]
    auth_methods: Words<AuthMethod>,
    #[serde(default)]
    revocation_auth_methods: Words<AuthMethod>,
    #[serde(default)]
    assertion_algorithms: Words<SigningAlgorithm>,
    #[serde(default)]
    dpop_algorithms: Words<SigningAlgorithm>,
    #[serde(default)]
    grant_profiles: Words<GrantProfile>,
}

impl<'a> ServerRecord<'a> {
    pub(super) fn of(server: &'a Server) -> Self {
        let facts = server.facts();
        let endpoint = |of| facts.endpoints.get(of).map(CredentialEndpoint::as_str);
        Self {
            issuer: facts.issuer.as_str(),
            source: facts.source,
            fresh_until: facts.fresh_until.0,
            authorization_endpoint: facts.authorization_endpoint.as_ref().map(WebUrl::as_str),
            token_endpoint: facts.endpoints.token().as_str(),
            registration_endpoint: endpoint(Endpoint::Registration),
            revocation_endpoint: endpoint(Endpoint::Revocation),
            pushed_endpoint: endpoint(Endpoint::PushedAuthorization),
            requires_par: facts.requires_par,
            advertises_iss: facts.advertises_iss,
            supports_cimd: facts.supports_cimd,
            response_types: facts.response_types,
            grant_types: facts.grant_types,
            scopes: facts.scopes,
            challenge_methods: facts.challenge_methods,
            auth_methods: facts.auth_methods,
            revocation_auth_methods: facts.revocation_auth_methods,
            assertion_algorithms: facts.assertion_algorithms,
            dpop_algorithms: facts.dpop_algorithms,
            grant_profiles: facts.grant_profiles,
        }
    }

    /// Validates every URL again, because the record may be read under another configuration.
    pub(super) fn restore(
        self,
        policy: &UrlPolicy,
        opened: &Opened<'_>,
    ) -> Result<Server, RecordFlaw> {
        let url = |text: &str| policy.check(text).map_err(|_| RecordFlaw::Url);
        let facts = Facts {
            issuer: IssuerId::new(self.issuer, policy).map_err(|_| RecordFlaw::Url)?,
            source: self.source,
            fresh_until: UnixMillis(self.fresh_until),
            authorization_endpoint: self.authorization_endpoint.map(url).transpose()?,
            endpoints: CredentialEndpoints::restore(
                url(self.token_endpoint)?,
                |further| {
                    let text = match further {
                        Endpoint::Token => None,
                        Endpoint::Registration => self.registration_endpoint,
                        Endpoint::Revocation => self.revocation_endpoint,
                        Endpoint::PushedAuthorization => self.pushed_endpoint,
                    };
                    text.map(url).transpose()
                },
                opened,
            )?,
            requires_par: self.requires_par,
            advertises_iss: self.advertises_iss,
            supports_cimd: self.supports_cimd,
            response_types: self.response_types,
            grant_types: self.grant_types,
            scopes: self.scopes,
            challenge_methods: self.challenge_methods,
            auth_methods: self.auth_methods,
            revocation_auth_methods: self.revocation_auth_methods,
            assertion_algorithms: self.assertion_algorithms,
            dpop_algorithms: self.dpop_algorithms,
            grant_profiles: self.grant_profiles,
        };
        Ok(Server::restore(facts, opened))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientRecord<'a> {
    id: std::borrow::Cow<'a, str>,
    origin: ClientOrigin,
    method: MethodRecord<'a>,
    secret_expires_at: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum MethodRecord<'a> {
    None,
    Basic {
        secret: std::borrow::Cow<'a, str>,
        encoding: BasicEncoding,
    },
    Post {
        secret: std::borrow::Cow<'a, str>,
    },
    PrivateKeyJwt {
        key: std::borrow::Cow<'a, str>,
        algorithm: SigningAlgorithm,
        kid: Option<std::borrow::Cow<'a, str>>,
    },
    StaticAssertion {
        assertion: std::borrow::Cow<'a, str>,
    },
    Unnamed,
}

impl<'a> ClientRecord<'a> {
    pub(super) fn of(client: &'a Client) -> Self {
        Self {
            id: (*client.id).into(),
            origin: client.origin,
            method: match &client.method {
                ClientMethod::None => MethodRecord::None,
                ClientMethod::Basic(secret, encoding) => MethodRecord::Basic {
                    secret: secret.expose().into(),
                    encoding: *encoding,
                },
                ClientMethod::Post(secret) => MethodRecord::Post {
                    secret: secret.expose().into(),
                },
                ClientMethod::PrivateKeyJwt(key) => MethodRecord::PrivateKeyJwt {
                    key: (*key.name).into(),
                    algorithm: key.algorithm,
                    kid: key.kid.as_deref().map(Into::into),
                },
                ClientMethod::StaticAssertion(assertion) => MethodRecord::StaticAssertion {
                    assertion: assertion.expose().into(),
                },
                ClientMethod::Unnamed => MethodRecord::Unnamed,
            },
            secret_expires_at: client.secret_expires_at,
        }
    }

    pub(super) fn restore(self) -> Client {
        Client {
            id: self.id.into(),
            origin: self.origin,
            method: match self.method {
                MethodRecord::None => ClientMethod::None,
                MethodRecord::Basic { secret, encoding } => {
                    ClientMethod::Basic(Secret::new(secret), encoding)
                }
                MethodRecord::Post { secret } => ClientMethod::Post(Secret::new(secret)),
                MethodRecord::PrivateKeyJwt {
                    key,
                    algorithm,
                    kid,
                } => ClientMethod::PrivateKeyJwt(AssertionKey {
                    name: key.into(),
                    algorithm,
                    kid: kid.map(Into::into),
                }),
                MethodRecord::StaticAssertion { assertion } => {
                    ClientMethod::StaticAssertion(Secret::new(assertion))
                }
                MethodRecord::Unnamed => ClientMethod::Unnamed,
            },
            secret_expires_at: self.secret_expires_at,
        }
    }
}

/// The default: every request names the resource (RES-03). A record contains the member only where the host
/// configured otherwise.
pub(super) fn sent() -> bool {
    true
}

pub(super) fn is_sent(sent: &bool) -> bool {
    *sent
}
