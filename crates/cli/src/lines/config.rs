//! The configuration line: the builder's options by name.

mod clients;
mod issuers;
mod words;

use std::time::Duration;

use mcp_auth_machine::Config;
use mcp_auth_machine::config::{ConfigBuilder, IssuerSettings};
use serde::Deserialize;
use serde_json::Value;

use self::clients::{Client, Dpop, Enterprise, Key, Workload};
use self::issuers::{Pin, Settings};
use self::words::{
    ApplicationType, IssPolicy, Legacy, MetadataCache, MetadataOrigin, NamedHosts, PushedRequests,
    RefreshTokens, Registration, Sharing, StepUp, Strictness,
};
use super::entropy::Entropy;
use super::{Members, Misunderstood, bytes, read};

/// Parses the settings of issuers from their own array.
pub(crate) fn issuer_settings(text: &str) -> Result<Vec<(String, IssuerSettings)>, Misunderstood> {
    let found: Vec<Settings> =
        serde_json::from_str(text).map_err(|flaw| Misunderstood::new(flaw.to_string()))?;
    found.into_iter().map(Settings::read).collect()
}

/// Reads the settings of issuers from the items of their array.
pub(crate) fn issuer_settings_of(
    items: &[Value],
) -> Result<Vec<(String, IssuerSettings)>, Misunderstood> {
    let read = |item: &Value| {
        let found: Result<Settings, serde_json::Error> = Settings::deserialize(item);
        found
            .map_err(|flaw| Misunderstood::new(flaw.to_string()))?
            .read()
    };
    items.iter().map(read).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Configuration {
    mcp_url: String,
    redirect_uri: Option<String>,
    principal: String,
    random: Option<String>,
    private_use_redirect_uri: Option<String>,
    custom_scheme_redirect_uri: Option<String>,
    client_name: Option<String>,
    client_uri: Option<String>,
    software_id: Option<String>,
    logo_uri: Option<String>,
    #[serde(default)]
    contacts: Vec<String>,
    policy_uri: Option<String>,
    tos_uri: Option<String>,
    software_statement: Option<String>,
    application_type: Option<ApplicationType>,
    client_metadata_url: Option<String>,
    client_metadata_key: Option<Key>,
    #[serde(default)]
    clients: Vec<Client>,
    dynamic_registration: Option<Registration>,
    registration_sharing: Option<Sharing>,
    resource_metadata_url: Option<String>,
    issuer: Option<String>,
    server_metadata: Option<ServerMetadata>,
    #[serde(default)]
    pins: Vec<Pin>,
    #[serde(default)]
    issuer_settings: Vec<Settings>,
    #[serde(default)]
    authorization_parameters: Vec<(String, String)>,
    #[serde(default)]
    preferred_issuers: Vec<String>,
    scopes: Option<Vec<String>>,
    refresh_tokens: Option<RefreshTokens>,
    legacy: Option<Legacy>,
    strictness: Option<Strictness>,
    iss_policy: Option<IssPolicy>,
    metadata_origin: Option<MetadataOrigin>,
    metadata_cache: Option<MetadataCache>,
    named_hosts: Option<NamedHosts>,
    #[serde(default)]
    allowed_hosts: Vec<String>,
    #[serde(default)]
    allow_loopback_http: bool,
    step_up: Option<StepUp>,
    step_ups_per_operation: Option<u8>,
    max_requests: Option<u8>,
    user_time: Option<u64>,
    #[serde(default)]
    client_credentials: bool,
    workload_identity: Option<Workload>,
    enterprise: Option<Enterprise>,
    dpop: Option<Dpop>,
    pushed_requests: Option<PushedRequests>,
    reports: Option<bool>,
    user_agent: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerMetadata {
    issuer: String,
    document: Value,
}

/// The start of a session.
pub(super) struct Start {
    pub(super) config: Config,
    pub(super) principal: String,
    /// `None` when no key is configured.
    pub(super) entropy: Option<Entropy>,
}

/// Parses the configuration.
pub(super) fn start(members: Members) -> Result<Start, Misunderstood> {
    let given: Configuration = read(members)?;
    let random = given.random.as_deref();
    let entropy = random.map(|text| bytes("random", text)).transpose()?;
    if entropy.is_none() && given.has_key() {
        return Err(Misunderstood::new(
            "a configuration with keys needs `random`: 32 random bytes, others in each process",
        ));
    }
    let principal = given.principal.clone();
    if principal.is_empty() {
        return Err(Misunderstood::new(
            "`principal` is empty: name the user, also where there is only one",
        ));
    }
    let config = given.builder()?.build();
    Ok(Start {
        config: config.map_err(|flaw| Misunderstood::new(flaw.to_string()))?,
        principal,
        entropy: entropy.map(Entropy::new),
    })
}

/// Applies an option if it was given.
fn set<T>(
    to: ConfigBuilder,
    value: Option<T>,
    setter: impl FnOnce(ConfigBuilder, T) -> ConfigBuilder,
) -> ConfigBuilder {
    match value {
        Some(value) => setter(to, value),
        None => to,
    }
}

fn at_most_one(names: &str, given: &[bool]) -> Result<(), Misunderstood> {
    if given.iter().filter(|given| **given).count() > 1 {
        return Err(Misunderstood::new(format!("at most one of {names}")));
    }
    Ok(())
}

impl Configuration {
    fn has_key(&self) -> bool {
        self.client_metadata_key.is_some()
            || self.dpop.as_ref().is_some_and(Dpop::has_key)
            || self.clients.iter().any(Client::has_key)
            || self.enterprise.as_ref().is_some_and(Enterprise::has_key)
    }

    fn builder(self) -> Result<ConfigBuilder, Misunderstood> {
        at_most_one(
            "`resource_metadata_url`, `issuer`, `server_metadata`",
            &[
                self.resource_metadata_url.is_some(),
                self.issuer.is_some(),
                self.server_metadata.is_some(),
            ],
        )?;
        at_most_one(
            "`client_credentials`, `workload_identity`, `enterprise`",
            &[
                self.client_credentials,
                self.workload_identity.is_some(),
                self.enterprise.is_some(),
            ],
        )?;
        type B = ConfigBuilder;
        let mut to = match self.redirect_uri {
            Some(redirect_uri) => Config::builder(self.mcp_url, redirect_uri),
            None => Config::without_user(self.mcp_url),
        };
        to = set(
            to,
            self.private_use_redirect_uri,
            B::private_use_redirect_uri,
        );
        to = set(
            to,
            self.custom_scheme_redirect_uri,
            B::custom_scheme_redirect_uri,
        );
        to = set(to, self.client_name, B::client_name);
        to = set(to, self.client_uri, B::client_uri);
        to = set(to, self.software_id, B::software_id);
        to = set(to, self.logo_uri, B::logo_uri);
        for contact in self.contacts {
            to = to.contact(contact);
        }
        to = set(to, self.policy_uri, B::policy_uri);
        to = set(to, self.tos_uri, B::tos_uri);
        to = set(to, self.software_statement, B::software_statement);
        to = set(to, self.application_type, |to, value| {
            to.application_type(value.into())
        });
        to = set(to, self.client_metadata_url, B::client_metadata_url);
        if let Some(key) = self.client_metadata_key {
            to = to.client_metadata_key(key.read()?);
        }
        for client in self.clients {
            let (issuer, client) = client.read()?;
            to = match issuer {
                Some(issuer) => to.pre_registered(issuer, client),
                None => to.pre_registered_unbound(client),
            };
        }
        to = set(to, self.dynamic_registration, |to, value| {
            to.dynamic_registration(value.into())
        });
        to = set(to, self.registration_sharing, |to, value| {
            to.registration_sharing(value.into())
        });
        to = set(to, self.resource_metadata_url, B::resource_metadata_url);
        to = set(to, self.issuer, B::issuer);
        to = set(to, self.server_metadata, |to, given| {
            to.server_metadata(given.issuer, given.document.to_string())
        });
        for pin in self.pins {
            to = to.pin(pin.entry, pin.issuer);
        }
        for settings in self.issuer_settings {
            let (issuer, settings) = settings.read()?;
            to = to.issuer_settings(issuer, settings);
        }
        for (name, value) in &self.authorization_parameters {
            to = to
                .authorization_parameter(name, value)
                .map_err(|flaw| Misunderstood::new(flaw.to_string()))?;
        }
        for issuer in self.preferred_issuers {
            to = to.prefer_issuer(issuer);
        }
        to = set(to, self.scopes, |to, scopes| to.scopes(&scopes.join(" ")));
        to = set(to, self.refresh_tokens, |to, value| {
            to.refresh_tokens(value.into())
        });
        to = set(to, self.legacy, |to, value| to.legacy(value.into()));
        to = set(to, self.strictness, |to, value| to.strictness(value.into()));
        to = set(to, self.iss_policy, |to, value| to.iss_policy(value.into()));
        to = set(to, self.metadata_origin, |to, value| {
            to.metadata_origin(value.into())
        });
        to = set(to, self.metadata_cache, |to, value| {
            to.metadata_cache(value.into())
        });
        to = set(to, self.named_hosts, |to, value| {
            to.named_hosts(value.into())
        });
        for host in self.allowed_hosts {
            to = to.allow_host(host);
        }
        if self.allow_loopback_http {
            to = to.allow_loopback_http();
        }
        to = set(to, self.step_up, |to, value| to.step_up(value.into()));
        to = set(to, self.step_ups_per_operation, B::step_ups_per_operation);
        to = set(to, self.max_requests, B::max_requests);
        to = set(to, self.user_time, |to, millis| {
            to.user_time(Duration::from_millis(millis))
        });
        if self.client_credentials {
            to = to.client_credentials();
        }
        if let Some(workload) = self.workload_identity {
            to = to.workload_identity(workload.read()?);
        }
        if let Some(enterprise) = self.enterprise {
            to = to.enterprise(enterprise.read()?);
        }
        if let Some(dpop) = self.dpop {
            to = to.dpop(dpop.read()?);
        }
        to = set(to, self.pushed_requests, |to, value| {
            to.pushed_requests(value.into())
        });
        to = set(to, self.reports, B::reports);
        to = set(to, self.user_agent, B::user_agent);
        Ok(to)
    }
}
