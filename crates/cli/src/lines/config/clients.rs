//! Clients and keys.

use mcp_auth_machine::config as library;
use mcp_auth_machine::config::PreRegistered;
use mcp_auth_machine::key::{PublicKey, SigningKey};
use mcp_auth_machine::wire::words::{AuthMethod, SigningAlgorithm};
use serde::Deserialize;
use serde_json::Value;

use super::words::DpopPolicy;
use crate::lines::Misunderstood;

/// A key of the host: its name and public properties.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    name: String,
    algorithms: Vec<SigningAlgorithm>,
    kid: Option<String>,
    /// A JSON Web Key without private members.
    public: Option<Value>,
}

impl Key {
    pub(super) fn read(self) -> Result<SigningKey, Misunderstood> {
        let mut key = SigningKey::new(self.name, self.algorithms);
        if let Some(kid) = &self.kid {
            key = key.kid(kid);
        }
        if let Some(public) = &self.public {
            let public = PublicKey::from_jwk(&public.to_string())
                .map_err(|flaw| Misunderstood::new(format!("`public`: {flaw}")))?;
            key = key.public(public);
        }
        Ok(key)
    }
}

/// A pre-registered client; without an issuer it is bound to the first one discovered.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Client {
    issuer: Option<String>,
    client_id: String,
    client_secret: Option<String>,
    token_endpoint_auth_method: Option<String>,
    key: Option<Key>,
    assertion: Option<String>,
}

impl Client {
    pub(super) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    pub(super) fn read(self) -> Result<(Option<String>, PreRegistered), Misunderstood> {
        let mut client = PreRegistered::new(self.client_id);
        if let Some(secret) = self.client_secret {
            client = client.secret(secret);
        }
        if let Some(method) = self.token_endpoint_auth_method {
            let word = AuthMethod::from_spelling(&method).ok_or_else(|| {
                Misunderstood::new(format!("`{method}` is no `token_endpoint_auth_method`"))
            })?;
            client = client.method(word);
        }
        if let Some(key) = self.key {
            client = client.key(key.read()?);
        }
        if let Some(assertion) = self.assertion {
            client = client.assertion(assertion);
        }
        Ok((self.issuer, client))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Workload {
    issuers: Vec<String>,
    client_id: Option<String>,
}

impl Workload {
    pub(super) fn read(self) -> Result<library::WorkloadIdentity, Misunderstood> {
        let mut issuers = self.issuers.into_iter();
        let first = issuers
            .next()
            .ok_or_else(|| Misunderstood::new("`workload_identity` needs an issuer"))?;
        let mut workload = library::WorkloadIdentity::at(first);
        for issuer in issuers {
            workload = workload.and_at(issuer);
        }
        if let Some(id) = self.client_id {
            workload = workload.client_id(id);
        }
        Ok(workload)
    }
}

/// The identity provider and the client for it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Enterprise {
    client: Client,
    #[serde(default)]
    public_client: bool,
    metadata: Option<Value>,
}

impl Enterprise {
    pub(super) fn has_key(&self) -> bool {
        self.client.has_key()
    }

    pub(super) fn read(self) -> Result<library::Enterprise, Misunderstood> {
        let (issuer, client) = self.client.read()?;
        let issuer = issuer.ok_or_else(|| {
            Misunderstood::new("the client of `enterprise` needs the identity provider's issuer")
        })?;
        let mut enterprise = library::Enterprise::new(issuer, client);
        if self.public_client {
            enterprise = enterprise.public_client();
        }
        if let Some(metadata) = self.metadata {
            enterprise = enterprise.metadata(metadata.to_string());
        }
        Ok(enterprise)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dpop {
    policy: DpopPolicy,
    #[serde(default)]
    keys: Vec<DpopKey>,
}

/// A key for one server, or for all servers without their own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DpopKey {
    issuer: Option<String>,
    key: Key,
}

impl Dpop {
    pub(super) fn has_key(&self) -> bool {
        !self.keys.is_empty()
    }

    pub(super) fn read(self) -> Result<library::Dpop, Misunderstood> {
        let mut dpop = library::Dpop::new(self.policy.into());
        for DpopKey { issuer, key } in self.keys {
            let key = key.read()?;
            dpop = match issuer {
                Some(issuer) => dpop.key_for(issuer, key),
                None => dpop.key(key),
            };
        }
        Ok(dpop)
    }
}
