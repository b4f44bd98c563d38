//! Who the client of a history is, and on how many instances it runs.

use std::sync::Arc;

use mcp_auth_machine::Config;
use mcp_auth_machine::config::{
    Dpop, DpopPolicy, DynamicRegistration, Enterprise, PreRegistered, WorkloadIdentity,
};
use mcp_auth_machine::key::{PublicKey, SigningKey};
use mcp_auth_machine::wire::words::SigningAlgorithm;
use serde::{Deserialize, Serialize};

use super::{ISSUERS, MCP, PROVIDER_URL, REDIRECT};

/// How the client of a history is known, and how it gets its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Client {
    /// Registers itself.
    Dynamic,
    /// Has published a document.
    Document,
    /// Was registered at the first and the last server beforehand, with a secret.
    Registered,
    /// Was registered beforehand, nobody says where.
    Unbound,
    /// Registers itself, and binds its tokens to a key.
    Bound,
    /// Acts for itself, with a secret.
    Credentials,
    /// Acts for itself, with a key.
    Key,
    /// Has its platform's word.
    Workload,
    /// Has its organisation's word.
    Enterprise,
}

impl Client {
    pub const ALL: [Self; 9] = [
        Self::Dynamic,
        Self::Document,
        Self::Registered,
        Self::Unbound,
        Self::Bound,
        Self::Credentials,
        Self::Key,
        Self::Workload,
        Self::Enterprise,
    ];
    pub const WITH_USER: [Self; 4] = [
        Self::Dynamic,
        Self::Document,
        Self::Registered,
        Self::Unbound,
    ];

    pub fn has_user(self) -> bool {
        match self {
            Self::Dynamic | Self::Document | Self::Registered | Self::Unbound | Self::Bound => true,
            Self::Credentials | Self::Key | Self::Workload | Self::Enterprise => false,
        }
    }
}

pub const DOCUMENT: &str = "https://client.example/id.json";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    pub client: Client,
    pub instances: usize,
}

impl Setup {
    pub fn config(self) -> Arc<Config> {
        let secret = |issuer: usize| {
            PreRegistered::new(format!("pre~{issuer}~0")).secret(format!("sec~{issuer}~0"))
        };
        let config = Config::builder(MCP, REDIRECT).client_name("Test client");
        let config = match self.client {
            Client::Dynamic => config.dynamic_registration(DynamicRegistration::Always),
            Client::Document => config
                .client_metadata_url(DOCUMENT)
                .dynamic_registration(DynamicRegistration::Never),
            Client::Registered => config
                .pre_registered(ISSUERS[0], secret(0))
                .pre_registered(ISSUERS[2], secret(2)),
            Client::Unbound => {
                config.pre_registered_unbound(PreRegistered::new("pre~9~0").secret("sec~9~0"))
            }
            Client::Bound => {
                let jwk = r#"{"kty":"OKP","crv":"Ed25519","x":"abc"}"#;
                let key = SigningKey::new("key", [SigningAlgorithm::Es256]);
                let key = key.public(PublicKey::from_jwk(jwk).unwrap());
                config
                    .dynamic_registration(DynamicRegistration::Always)
                    .dpop(Dpop::new(DpopPolicy::IfSupported).key(key))
            }
            Client::Credentials => config
                .pre_registered(ISSUERS[0], secret(0))
                .pre_registered(ISSUERS[2], secret(2))
                .client_credentials(),
            Client::Key => {
                let client = |issuer: usize| {
                    PreRegistered::new(format!("pre~{issuer}~0"))
                        .key(SigningKey::new("key", [SigningAlgorithm::Es256]))
                };
                config
                    .pre_registered(ISSUERS[0], client(0))
                    .pre_registered(ISSUERS[2], client(2))
                    .client_credentials()
            }
            Client::Workload => config.workload_identity(WorkloadIdentity::at(ISSUERS[0])),
            Client::Enterprise => config
                .pre_registered(ISSUERS[0], secret(0))
                .enterprise(Enterprise::new(PROVIDER_URL, secret(3))),
        };
        Arc::new(config.build().unwrap())
    }
}
