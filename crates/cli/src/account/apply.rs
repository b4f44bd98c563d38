//! The settings of an account, converted to a machine's configuration and to a transcript line.

use mcp_auth_machine::Secret;
use mcp_auth_machine::config::{ConfigBuilder, Dpop, DpopPolicy, PreRegistered};
use mcp_auth_machine::wire::words::AuthMethod;
use serde_json::{Map, Value, json};

use super::keys::{Keys, read};
use super::sealing;
use super::settings::Settings;
use crate::facts;
use crate::lines::record::key_json;
use crate::problem::Problem;

impl Settings {
    fn secret_text(&self) -> Result<Option<String>, Problem> {
        if let Some(typed) = &self.typed {
            return Ok(Some(typed.as_str().to_owned()));
        }
        if let Some(path) = &self.client_secret_file {
            let text = zeroize::Zeroizing::new(read(path)?);
            let place = sealing::place_of(path);
            return Ok(Some(sealing::open(&place, &text)?.trim().to_owned()));
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
            let secret = self.secret_text()?;
            facts::has_client(secret.is_some() || self.client_key.is_some());
            if let Some(secret) = secret {
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
        } else if let Some(path) = &self.client_key {
            to = to.client_metadata_key(keys.read(path)?);
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
        to = self.discovery.apply(to)?;
        for (name, value) in self.parameters() {
            let added = to.authorization_parameter(name, value);
            to = added.map_err(|flaw| flaw.to_string())?;
        }
        if let Some(path) = &self.dpop_key {
            to = to.dpop(Dpop::new(DpopPolicy::Require).key(keys.read(path)?));
        }
        Ok((to, keys))
    }

    /// Adds the settings to a transcript's configuration line.
    pub(super) fn describe(&self, keys: &Keys, to: &mut Map<String, Value>) {
        let key = |path: &Option<std::path::PathBuf>| {
            let name = path.as_ref()?.display().to_string();
            keys.described(&name).map(|key| key_json(&key))
        };
        self.discovery.describe(to);
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
        } else if self.client_key.is_some() {
            put("client_metadata_key", key(&self.client_key).into());
        }
        put("client_credentials", self.client_credentials.into());
        if let Some(url) = &self.client_metadata_url {
            put("client_metadata_url", url.as_str().into());
        }
        if let Some(scopes) = self.scopes() {
            put("scopes", json!([scopes]));
        }
        let parameters: Vec<_> = self.parameters().collect();
        if !parameters.is_empty() {
            put("authorization_parameters", json!(parameters));
        }
        if self.dpop_key.is_some() {
            let keys = json!([{ "issuer": null, "key": key(&self.dpop_key) }]);
            put("dpop", json!({ "policy": "require", "keys": keys }));
        }
    }
}
