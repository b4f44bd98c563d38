//! The parts common to several records: a server snapshot and a client.

use serde::Deserialize;

use super::known::Known;
use super::text::Text;
use crate::frame::{Opened, RecordFlaw};
use crate::grant::{AssertionKey, Client, ClientMethod, ClientOrigin, Resource};
use crate::issuer::{BasicEncoding, Endpoint, Endpoints, Facts, IssuerId, Server, ServerSource};
use crate::key::KeyBinding;
use crate::time::UnixMillis;
use crate::wire::json_writer::JsonWriter;
use crate::wire::url::UrlPolicy;
use crate::wire::url_text::UrlText;
use crate::wire::words::{
    AuthMethod, ChallengeMethod, GrantProfile, GrantType, KnownScope, ResponseType,
    SigningAlgorithm,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerRecord<'a> {
    #[serde(rename = "i", alias = "issuer")]
    issuer: &'a str,
    #[serde(rename = "so", alias = "source")]
    source: ServerSource,
    #[serde(rename = "fu", alias = "fresh_until")]
    fresh_until: u64,
    #[serde(rename = "ae", alias = "authorization_endpoint")]
    authorization_endpoint: Option<&'a str>,
    #[serde(rename = "te", alias = "token_endpoint")]
    token_endpoint: &'a str,
    #[serde(rename = "re", alias = "registration_endpoint")]
    registration_endpoint: Option<&'a str>,
    #[serde(rename = "ve", alias = "revocation_endpoint")]
    revocation_endpoint: Option<&'a str>,
    #[serde(rename = "pe", alias = "pushed_endpoint")]
    pushed_endpoint: Option<&'a str>,
    #[serde(rename = "rp", alias = "requires_par", default)]
    requires_par: bool,
    #[serde(rename = "ai", alias = "advertises_iss")]
    advertises_iss: bool,
    #[serde(rename = "sc", alias = "supports_cimd", default)]
    supports_cimd: bool,
    #[serde(rename = "rt", alias = "response_types", default)]
    response_types: Known<ResponseType>,
    #[serde(rename = "gt", alias = "grant_types", default)]
    grant_types: Known<GrantType>,
    #[serde(rename = "sp", alias = "scopes", default)]
    scopes: Known<KnownScope>,
    #[serde(rename = "cm", alias = "challenge_methods", default)]
    challenge_methods: Known<ChallengeMethod>,
    #[serde(rename = "am", alias = "auth_methods", default)]
    auth_methods: Known<AuthMethod>,
    #[serde(rename = "vm", alias = "revocation_auth_methods", default)]
    revocation_auth_methods: Known<AuthMethod>,
    #[serde(rename = "aa", alias = "assertion_algorithms", default)]
    assertion_algorithms: Known<SigningAlgorithm>,
    #[serde(rename = "da", alias = "dpop_algorithms", default)]
    dpop_algorithms: Known<SigningAlgorithm>,
    #[serde(rename = "gp", alias = "grant_profiles", default)]
    grant_profiles: Known<GrantProfile>,
}

/// Writes a server snapshot as a JSON object.
pub(super) fn write_server(json: &mut JsonWriter, lead: &'static str, server: &Server) {
    let facts = server.facts();
    let endpoints = &facts.endpoints;
    let endpoint = |of| endpoints.url(of).map(UrlText::as_str);
    json.raw(lead);
    json.word(r#"{"i":""#, facts.issuer.as_str());
    json.word(r#","so":""#, facts.source.as_str());
    json.number(r#","fu":"#, facts.fresh_until.0);
    json.some_word(r#","ae":""#, endpoints.authorization().map(UrlText::as_str));
    json.some_word(r#","te":""#, endpoint(Endpoint::Token));
    json.some_word(r#","re":""#, endpoint(Endpoint::Registration));
    json.some_word(r#","ve":""#, endpoint(Endpoint::Revocation));
    json.some_word(r#","pe":""#, endpoint(Endpoint::PushedAuthorization));
    if facts.requires_par {
        json.raw(r#","rp":true"#);
    }
    json.flag(r#","ai":"#, facts.advertises_iss);
    if facts.supports_cimd {
        json.raw(r#","sc":true"#);
    }
    json.words(r#","rt":"#, facts.response_types);
    json.words(r#","gt":"#, facts.grant_types);
    json.words(r#","sp":"#, facts.scopes);
    json.words(r#","cm":"#, facts.challenge_methods);
    json.words(r#","am":"#, facts.auth_methods);
    json.words(r#","vm":"#, facts.revocation_auth_methods);
    json.words(r#","aa":"#, facts.assertion_algorithms);
    json.words(r#","da":"#, facts.dpop_algorithms);
    json.words(r#","gp":"#, facts.grant_profiles);
    json.raw("}");
}

impl ServerRecord<'_> {
    /// Returns the time until which the metadata is fresh.
    pub(super) fn fresh_until(&self) -> UnixMillis {
        UnixMillis(self.fresh_until)
    }

    /// Validates every URL again, because the record may be read under another configuration.
    pub(super) fn restore(
        self,
        policy: &UrlPolicy,
        opened: &Opened<'_>,
    ) -> Result<Server, RecordFlaw> {
        let issuer = IssuerId::new(self.issuer, policy).map_err(|_| RecordFlaw::Url)?;
        let origin = issuer.origin();
        let url = |text| {
            let url = policy.judge_beside(origin, text);
            url.map_err(|_| RecordFlaw::Url)
        };
        let facts = Facts {
            source: self.source,
            fresh_until: UnixMillis(self.fresh_until),
            endpoints: Endpoints::restore(
                url(self.token_endpoint)?,
                self.authorization_endpoint.map(url).transpose()?,
                |further| {
                    let text = match further {
                        Endpoint::Token => None,
                        Endpoint::Registration => self.registration_endpoint,
                        Endpoint::Revocation => self.revocation_endpoint,
                        Endpoint::PushedAuthorization => self.pushed_endpoint,
                        Endpoint::DeviceAuthorization => None,
                    };
                    text.map(url).transpose()
                },
                opened,
            )?,
            requires_par: self.requires_par,
            advertises_iss: self.advertises_iss,
            supports_cimd: self.supports_cimd,
            response_types: self.response_types.0,
            grant_types: self.grant_types.0,
            scopes: self.scopes.0,
            challenge_methods: self.challenge_methods.0,
            auth_methods: self.auth_methods.0,
            revocation_auth_methods: self.revocation_auth_methods.0,
            assertion_algorithms: self.assertion_algorithms.0,
            dpop_algorithms: self.dpop_algorithms.0,
            grant_profiles: self.grant_profiles.0,
            issuer: issuer.clone(),
        };
        Ok(Server::restore(facts, opened))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientRecord<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(rename = "og", alias = "origin")]
    origin: ClientOrigin,
    #[serde(rename = "mt", alias = "method")]
    method: MethodRecord<'a>,
    #[serde(rename = "se", alias = "secret_expires_at")]
    secret_expires_at: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum MethodRecord<'a> {
    None,
    Basic {
        #[serde(borrow)]
        secret: Text<'a>,
        encoding: BasicEncoding,
    },
    Post {
        secret: Text<'a>,
    },
    PrivateKeyJwt {
        key: Text<'a>,
        algorithm: SigningAlgorithm,
        kid: Option<Text<'a>>,
    },
    StaticAssertion {
        assertion: Text<'a>,
    },
    Unnamed,
}

/// Writes a client as a JSON object.
pub(super) fn write_client(json: &mut JsonWriter, lead: &'static str, client: &Client) {
    json.raw(lead);
    json.text(r#"{"id":""#, &client.id);
    json.word(r#","og":""#, client.origin.as_str());
    json.raw(r#","mt":"#);
    match &client.method {
        ClientMethod::None => json.raw(r#""none""#),
        ClientMethod::Unnamed => json.raw(r#""unnamed""#),
        ClientMethod::Basic(secret, encoding) => {
            json.text(r#"{"basic":{"secret":""#, secret.expose());
            json.word(r#","encoding":""#, encoding.as_str());
            json.raw("}}");
        }
        ClientMethod::Post(secret) => {
            json.text(r#"{"post":{"secret":""#, secret.expose());
            json.raw("}}");
        }
        ClientMethod::PrivateKeyJwt(key) => {
            json.text(r#"{"private_key_jwt":{"key":""#, &key.name);
            json.word(r#","algorithm":""#, key.algorithm.as_str());
            json.some(r#","kid":""#, key.kid.as_deref());
            json.raw("}}");
        }
        ClientMethod::StaticAssertion(assertion) => {
            json.text(r#"{"static_assertion":{"assertion":""#, assertion.expose());
            json.raw("}}");
        }
    }
    json.some_number(r#","se":"#, client.secret_expires_at);
    json.raw("}");
}

/// Writes the key that a token is bound to, if it is bound to one.
pub(super) fn write_binding(json: &mut JsonWriter, binding: Option<&KeyBinding>) {
    if let Some(binding) = binding {
        json.text(r#","dpop":{"thumbprint":""#, &binding.thumbprint);
        json.word(r#","algorithm":""#, binding.algorithm.as_str());
        json.flag(r#","required":"#, binding.required);
        json.raw("}");
    }
}

/// Writes a resource; the member about its use only where the host configured otherwise.
pub(super) fn write_resource(json: &mut JsonWriter, resource: &Resource) {
    json.text(r#","r":""#, resource.id.as_str());
    if !resource.sent {
        json.raw(r#","resource_sent":false"#);
    }
}

impl ClientRecord<'_> {
    pub(super) fn restore(self) -> Client {
        Client {
            id: self.id.into(),
            origin: self.origin,
            method: match self.method {
                MethodRecord::None => ClientMethod::None,
                MethodRecord::Basic { secret, encoding } => {
                    ClientMethod::Basic(secret.into(), encoding)
                }
                MethodRecord::Post { secret } => ClientMethod::Post(secret.into()),
                MethodRecord::PrivateKeyJwt {
                    key,
                    algorithm,
                    kid,
                } => ClientMethod::PrivateKeyJwt(Box::new(AssertionKey {
                    name: key.into(),
                    algorithm,
                    kid: kid.map(|kid| kid.into_cow().into()),
                })),
                MethodRecord::StaticAssertion { assertion } => {
                    ClientMethod::StaticAssertion(assertion.into())
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
