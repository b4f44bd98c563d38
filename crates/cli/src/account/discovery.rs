//! Options for the authorization server: where it is, which of several, and which hosts may be contacted.

use std::path::PathBuf;

use mcp_auth_machine::config::{ConfigBuilder, IssuerSettings, Legacy, ResourceParameter};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::assumed::{Assumed, Told};
use super::keys::read;
use crate::facts;
use crate::lines::config::{issuer_settings, issuer_settings_of};
use crate::problem::Problem;

/// The location of the authorization server, and what is known of it.
#[derive(clap::Args, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Discovery {
    /// The issuer of the authorization server, for an MCP server that does not name one. It is used in place of
    /// those that the MCP server names, which login tells; "" for those again
    #[arg(long, value_name = "URL", conflicts_with_all = ["server_metadata", "resource_metadata"],
        value_parser = server_url_or_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) authorization_server: Option<String>,
    /// A file with the authorization server's metadata (a JSON object with `issuer` and its endpoints),
    /// for a server that does not publish it. It is used in place of those that the MCP server names
    #[arg(long, value_name = "FILE", conflicts_with = "resource_metadata")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server_metadata: Option<PathBuf>,
    /// The URL of the protected resource metadata, for an MCP server that does not announce it
    #[arg(long, value_name = "URL", value_parser = server_url)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resource_metadata: Option<String>,
    /// Of several authorization servers, the issuer to use; may be given again, in order
    #[arg(long, value_name = "URL", value_parser = server_url)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) prefer_issuer: Vec<String>,
    /// Support a server of revision 2025-03-26, which publishes no resource metadata
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) legacy: bool,
    /// A host on a private network that may be contacted although a server announced it; may be given
    /// again
    #[arg(long, value_name = "HOST", value_parser = host)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) allow_host: Vec<String>,
    /// A file with what is known of authorization servers that deviate: a JSON array, an object with
    /// `issuer` for each, as in the configuration of `drive`
    #[arg(long, value_name = "FILE")]
    pub(super) issuer_settings: Option<PathBuf>,
    #[command(flatten)]
    #[serde(skip)]
    pub(super) told: Told,
    /// The statements of the user about one authorization server.
    #[arg(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) assumed: Option<Assumed>,
}

/// The settings of authorization servers that deviate.
#[derive(Default)]
struct OfIssuers {
    /// As the file and a transcript spell it.
    items: Vec<Value>,
    settings: Vec<(String, IssuerSettings)>,
}

/// Accepts the URL of a server. The text stays as it is: an issuer is compared by its bytes.
pub(super) fn server_url(text: &str) -> Result<String, String> {
    let is_http = |url: &url::Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    match url::Url::parse(text) {
        Ok(url) if is_http(&url) && url.username().is_empty() && url.password().is_none() => {
            Ok(text.to_owned())
        }
        Ok(_) | Err(_) => Err("expected a URL such as https://as.example".to_owned()),
    }
}

/// Accepts the same, or nothing, which resets the option.
fn server_url_or_none(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    server_url(text)
}

/// Accepts a name or an address literal, as it stands in a URL.
pub(super) fn host(text: &str) -> Result<String, String> {
    match url::Host::parse(text) {
        Ok(_) if !text.contains(['/', '@']) => Ok(text.to_owned()),
        Ok(_) | Err(_) => {
            Err("expected the host of a URL alone, such as as.corp.example or 10.1.2.3".to_owned())
        }
    }
}

impl Discovery {
    /// Replaces the given values.
    pub(crate) fn over(&mut self, given: Self) {
        let place = given.authorization_server.is_some()
            || given.server_metadata.is_some()
            || given.resource_metadata.is_some();
        if place {
            self.authorization_server = given.authorization_server.filter(|url| !url.is_empty());
            self.server_metadata = given.server_metadata;
            self.resource_metadata = given.resource_metadata;
        }
        if !given.prefer_issuer.is_empty() {
            self.prefer_issuer = given.prefer_issuer;
        }
        if !given.allow_host.is_empty() {
            self.allow_host = given.allow_host;
        }
        if given.issuer_settings.is_some() {
            self.issuer_settings = given.issuer_settings;
        }
        self.legacy |= given.legacy;
        self.told = given.told;
    }

    /// Returns the options by which a user lets hosts of a network be contacted, with the authorization
    /// servers that the settings name.
    pub(super) fn network(&self, servers: Vec<String>) -> Self {
        Self {
            prefer_issuer: servers,
            allow_host: self.allow_host.clone(),
            ..Self::default()
        }
    }

    /// Returns the paths, to make them absolute.
    pub(super) fn paths(&mut self) -> [&mut Option<PathBuf>; 2] {
        [&mut self.server_metadata, &mut self.issuer_settings]
    }

    /// Applies the options to a configuration.
    ///
    /// # Errors
    /// Names the unusable file.
    pub(crate) fn apply(&self, mut to: ConfigBuilder) -> Result<ConfigBuilder, Problem> {
        if let Some(issuer) = self.given() {
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
        let resource = ResourceParameter::Send;
        to = to.legacy(if self.legacy {
            Legacy::On { resource }
        } else {
            Legacy::Published { resource }
        });
        let OfIssuers { items, settings } = self.settings_of_issuers()?;
        facts::configured(&items);
        for (issuer, settings) in settings {
            to = to.issuer_settings(issuer, settings);
        }
        Ok(to)
    }

    /// Returns the settings of issuers: those of the file, with what the user said of one.
    ///
    /// # Errors
    /// Names the unusable file.
    fn settings_of_issuers(&self) -> Result<OfIssuers, Problem> {
        let mut of = OfIssuers::default();
        if let Some(path) = &self.issuer_settings {
            let text = read(path)?;
            let name = |flaw: &dyn std::fmt::Display| format!("{}: {flaw}", path.display());
            of.settings = issuer_settings(&text).map_err(|flaw| name(&flaw))?;
            of.items = serde_json::from_str(&text).map_err(|flaw| name(&flaw))?;
        }
        if let Some(assumed) = &self.assumed {
            assumed.add(&mut of.items);
            of.settings = issuer_settings_of(&of.items).map_err(|flaw| flaw.to_string())?;
        }
        Ok(of)
    }

    /// Returns the issuer of the authorization server that the options give.
    ///
    /// # Errors
    /// Names the unusable file.
    pub(super) fn given_issuer(&self) -> Result<Option<String>, Problem> {
        Ok(match (self.given(), self.metadata()?) {
            (Some(issuer), _) => Some(issuer.to_owned()),
            (None, Some((issuer, _))) => Some(issuer),
            (None, None) => None,
        })
    }

    /// Returns the options without those that give the authorization server.
    pub(super) fn without_server(&self) -> Self {
        Self {
            authorization_server: None,
            server_metadata: None,
            ..self.clone()
        }
    }

    /// Returns true if the options give the authorization server.
    pub(crate) fn gives_server(&self) -> bool {
        self.given().is_some() || self.server_metadata.is_some()
    }

    /// Returns the issuer that the options give; an empty one gives none.
    fn given(&self) -> Option<&str> {
        let given = self.authorization_server.as_deref();
        given.filter(|issuer| !issuer.is_empty())
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

    /// Adds the options to a transcript's configuration line.
    pub(crate) fn describe(&self, to: &mut Map<String, Value>) {
        let mut put = |name: &str, value: Value| {
            to.insert(name.to_owned(), value);
        };
        if let Some(issuer) = self.given() {
            put("issuer", issuer.into());
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
        let legacy = if self.legacy {
            json!(true)
        } else {
            json!("published")
        };
        put("legacy", legacy);
        let items = self.settings_of_issuers().unwrap_or_default().items;
        if !items.is_empty() {
            put("issuer_settings", items.into());
        }
    }
}
