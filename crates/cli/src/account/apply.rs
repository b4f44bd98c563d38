//! The settings of an account, converted to a machine's configuration and to a transcript line.

use mcp_auth_machine::Secret;
use mcp_auth_machine::config::{
    ConfigBuilder, Dpop, DpopPolicy, Legacy, PreRegistered, ResourceParameter,
};
use mcp_auth_machine::wire::words::AuthMethod;
use serde_json::{Map, Value, json};

use super::keys::{Keys, read};
use super::settings::Settings;
use crate::lines::config::issuer_settings;
use crate::lines::record::key_json;
use crate::problem::Problem;

impl Settings {
    fn secret_text(&self) -> Result<Option<String>, Problem> {
        if let Some(typed) = &self.typed {
            return Ok(Some(typed.as_str().to_owned()));
        }
        if let Some(path) = &self.client_secret_file {
            return Ok(Some(read(path)?.trim().to_owned()));
        }
        let Some(name) = &self.client_secret_env else {
            return Ok(None);
        };
        let found = std::env::var(name)
            .map_err(|_| format!("the environment variable {name} holds no client secret"))?;
        Ok(Some(found))
    }

    /// Applies the settings to a configuration, and reads the key files.
    pub(super) fn apply(&self, mut to: ConfigBuilder) -> Result<(ConfigBuilder, Keys), Problem> {
        let mut keys = Keys::default();
        if let Some(id) = &self.client_id {
            let mut client = PreRegistered::new(id);
            if let Some(secret) = self.secret_text()? {
                client = client.secret(Secret::from(secret));
            }
            if let Some(path) = &self.client_key {
                client = client.key(keys.read(path)?);
            }
            let method = self.auth_method.as_deref();
            if let Some(method) = method.and_then(AuthMethod::from_spelling) {
                client = client.method(method);
            }
            to = match &self.issuer {
                Some(issuer) => to.pre_registered(issuer, client),
                None => to.pre_registered_unbound(client),
            };
        }
        if self.client_credentials {
            to = to.client_credentials();
        }
        if let Some(url) = &self.client_metadata_url {
            to = to.client_metadata_url(url);
        }
        if let Some(scopes) = self.scopes() {
            to = to.scopes(scopes);
        }
        to = self.find(to)?;
        if let Some(path) = &self.issuer_settings {
            let found = issuer_settings(&read(path)?);
            let found = found.map_err(|flaw| format!("{}: {flaw}", path.display()))?;
            for (issuer, settings) in found {
                to = to.issuer_settings(issuer, settings);
            }
        }
        if let Some(path) = &self.dpop_key {
            to = to.dpop(Dpop::new(DpopPolicy::Require).key(keys.read(path)?));
        }
        Ok((to, keys))
    }

    /// Applies the location of the authorization server.
    fn find(&self, mut to: ConfigBuilder) -> Result<ConfigBuilder, Problem> {
        if let Some(issuer) = &self.authorization_server {
            to = to.issuer(issuer);
        }
        if let Some((issuer, document)) = self.metadata()? {
            to = to.server_metadata(issuer, document.to_string());
        }
        if let Some(url) = &self.resource_metadata {
            to = to.resource_metadata_url(url);
        }
        for issuer in &self.prefer_issuer {
            to = to.prefer_issuer(issuer);
        }
        for host in &self.allow_host {
            to = to.allow_host(host);
        }
        if self.legacy {
            to = to.legacy(Legacy::On {
                resource: ResourceParameter::Send,
            });
        }
        Ok(to)
    }

    /// Returns the metadata of the given file, with its issuer.
    fn metadata(&self) -> Result<Option<(String, Value)>, Problem> {
        let Some(path) = &self.server_metadata else {
            return Ok(None);
        };
        let document: Value = serde_json::from_str(&read(path)?)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let issuer = document.get("issuer").and_then(Value::as_str);
        let issuer = issuer
            .ok_or_else(|| {
                format!(
                    "{}: a JSON object with `issuer` is expected",
                    path.display()
                )
            })?
            .to_owned();
        Ok(Some((issuer, document)))
    }

    /// Adds the settings to a transcript's configuration line.
    pub(super) fn describe(&self, keys: &Keys, to: &mut Map<String, Value>) {
        let key = |path: &Option<std::path::PathBuf>| {
            let name = path.as_ref()?.display().to_string();
            keys.described(&name).map(|key| key_json(&key))
        };
        let mut put = |name: &str, value: Value| {
            to.insert(name.to_owned(), value);
        };
        if let Some(id) = &self.client_id {
            let secret = self.secret_text().unwrap_or_default();
            let client = json!({
                "issuer": self.issuer, "client_id": id, "client_secret": secret,
                "token_endpoint_auth_method": self.auth_method, "key": key(&self.client_key),
            });
            put("clients", json!([client]));
        }
        put("client_credentials", self.client_credentials.into());
        if let Some(url) = &self.client_metadata_url {
            put("client_metadata_url", url.as_str().into());
        }
        if let Some(scopes) = self.scopes() {
            put("scopes", json!([scopes]));
        }
        if let Some(issuer) = &self.authorization_server {
            put("issuer", issuer.as_str().into());
        }
        if let Ok(Some((issuer, document))) = self.metadata() {
            put(
                "server_metadata",
                json!({ "issuer": issuer, "document": document }),
            );
        }
        if let Some(url) = &self.resource_metadata {
            put("resource_metadata_url", url.as_str().into());
        }
        if !self.prefer_issuer.is_empty() {
            put("preferred_issuers", json!(self.prefer_issuer));
        }
        if !self.allow_host.is_empty() {
            put("allowed_hosts", json!(self.allow_host));
        }
        if self.legacy {
            put("legacy", true.into());
        }
        let adapted = self
            .issuer_settings
            .as_deref()
            .and_then(|path| read(path).ok());
        if let Some(adapted) = adapted.and_then(|text| serde_json::from_str(&text).ok()) {
            put("issuer_settings", adapted);
        }
        if self.dpop_key.is_some() {
            let keys = json!([{ "issuer": null, "key": key(&self.dpop_key) }]);
            put("dpop", json!({ "policy": "require", "keys": keys }));
        }
    }
}
