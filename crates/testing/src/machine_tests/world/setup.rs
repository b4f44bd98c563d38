//! The client of a history, and the number of its instances.

use std::sync::Arc;

use mcp_auth_machine::Config;
use mcp_auth_machine::config::{
    ConfigBuilder, Dpop, DpopPolicy, DynamicRegistration, Enterprise, PreRegistered,
    PushedRequests, WorkloadIdentity,
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
    /// Was registered beforehand, without a known issuer.
    Unbound,
    /// Registers itself, and binds its tokens to a key.
    Bound,
    /// Acts for itself, with a secret.
    Credentials,
    /// Acts for itself, with a key.
    Key,
    /// Has its platform's word, for the first and the last server.
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

    /// Whether it registers itself.
    pub fn registers(self) -> bool {
        matches!(self, Self::Dynamic | Self::Bound)
    }

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
    /// The habits of the honest servers and of the host, a bit each.
    #[serde(default)]
    pub habits: u8,
    /// The honest servers take parameters that they do not know.
    #[serde(default)]
    pub lenient: bool,
}

/// Ways of honest servers and hosts that a client has to live with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Servers take pushed requests, and the host uses that.
    Pushed,
    /// The first server looks for `client_id` in the form before it looks at Basic, and does not offer `none`.
    FormFirst,
    /// A refresh token that has ended is refused with another word than `invalid_grant`.
    OddRefusals,
    /// Answers of the token endpoint name a scope that was never asked for.
    ForeignScopes,
    /// The host allows no step-up.
    NoStepUps,
    /// Documents may be kept for a day.
    KeptForADay,
    /// Servers offer the device authorization grant, and the host's user is at another device.
    OtherDevice,
}

impl Habit {
    pub const fn bit(self) -> u8 {
        match self {
            Self::Pushed => 1,
            Self::FormFirst => 2,
            Self::OddRefusals => 4,
            Self::ForeignScopes => 8,
            Self::NoStepUps => 16,
            Self::KeptForADay => 32,
            Self::OtherDevice => 64,
        }
    }
}

impl Setup {
    pub fn new(client: Client, instances: usize) -> Self {
        Self {
            client,
            instances,
            habits: 0,
            lenient: false,
        }
    }

    /// With habits by a free number: half of the worlds have none.
    pub fn habits(self, choice: u8) -> Self {
        let habits = if choice & 1 == 0 { 0 } else { choice >> 1 };
        Self { habits, ..self }
    }

    pub fn with(self, habit: Habit) -> Self {
        let habits = self.habits | habit.bit();
        Self { habits, ..self }
    }

    /// In short, for lists.
    pub fn told(self) -> String {
        format!(
            "{:?}/{}/{:05b}",
            self.client,
            self.instances,
            self.habits & 31
        )
    }

    pub fn has(self, habit: Habit) -> bool {
        self.habits & habit.bit() != 0
    }

    pub fn config(self) -> Arc<Config> {
        Arc::new(self.builder().build().unwrap())
    }

    pub fn builder(self) -> ConfigBuilder {
        let secret = |issuer: usize| {
            PreRegistered::new(format!("pre~{issuer}~0")).secret(format!("sec~{issuer}~0"))
        };
        let config = Config::builder(MCP, REDIRECT).client_name("Test client");
        let config = match self.has(Habit::Pushed) {
            true => config.pushed_requests(PushedRequests::WhenOffered),
            false => config,
        };
        let config = match self.has(Habit::NoStepUps) {
            true => config.step_ups_per_operation(0),
            false => config,
        };
        match self.client {
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
            Client::Workload => {
                config.workload_identity(WorkloadIdentity::at(ISSUERS[0]).and_at(ISSUERS[2]))
            }
            Client::Enterprise => config
                .pre_registered(ISSUERS[0], secret(0))
                .enterprise(Enterprise::new(PROVIDER_URL, secret(3))),
        }
    }
}
