//! The profile of an account, beside its slots: the URL of the MCP server and the settings.

use std::path::Path;

use mcp_auth_machine::Config;
use mcp_auth_machine::slot::Slot;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::keys::Keys;
use super::settings::Settings;
use crate::output::plain;
use crate::probe::USER_AGENT;
use crate::problem::Problem;

/// The settings of one account.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Profile {
    pub(super) url: String,
    pub(super) account: String,
    /// The port of the last callback listener, by which servers may know the client.
    pub(super) port: Option<u16>,
    pub(super) settings: Settings,
}

/// The port in the redirect URI of a client without a user.
const NO_PORT: u16 = 9;

impl Profile {
    /// Creates a profile without settings.
    pub(super) fn new(url: &str, account: &str) -> Self {
        Self {
            url: url.to_owned(),
            account: account.to_owned(),
            port: None,
            settings: Settings::default(),
        }
    }

    pub(super) fn redirect_uri(&self) -> String {
        let port = self.port.unwrap_or(NO_PORT);
        let host = self.settings.redirect_host.as_deref();
        format!("http://{}:{port}/callback", host.unwrap_or("127.0.0.1"))
    }

    /// Returns the configuration, with its keys.
    pub(super) fn config(&self) -> Result<(Config, Keys), Problem> {
        let builder = Config::builder(&self.url, self.redirect_uri())
            .client_name("mcp-auth")
            .user_agent(USER_AGENT)
            .reports(true);
        let (builder, keys) = self.settings.apply(builder)?;
        Ok((builder.build()?, keys))
    }

    /// Returns the configuration as a transcript line.
    pub(super) fn line(&self, keys: &Keys) -> Value {
        let mut line = json!({
            "mcp_url": self.url, "redirect_uri": self.redirect_uri(),
            "principal": self.account, "client_name": "mcp-auth", "user_agent": USER_AGENT, "reports": true,
        });
        if let Some(members) = line.as_object_mut() {
            self.settings.describe(keys, members);
        }
        line
    }

    /// Returns the name of the account's files.
    pub(super) fn name(&self) -> Result<String, Problem> {
        name(&self.url, &self.account)
    }

    /// Parses a profile; the error describes its flaw.
    pub(super) fn parse(path: &Path, text: &[u8]) -> Result<Self, String> {
        let found: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let own = name(&found.url, &found.account).map_err(|problem| problem.words())?;
        match path.file_stem() {
            Some(stem) if *stem == *own => Ok(found),
            Some(_) | None => Err(format!(
                "it holds the settings of another account, {} at {}",
                found.account, found.url
            )),
        }
    }
}

/// Returns the canonical URL of an MCP server, as in records.
pub(super) fn canonical(url: &str) -> Result<String, Problem> {
    if url.trim().is_empty() {
        return Err(Problem::Usage(
            "the URL of the MCP server is empty".to_owned(),
        ));
    }
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#', '\\']).next();
    if authority.is_some_and(|authority| authority.contains('@')) {
        return Err(Problem::Usage(
            "the URL holds a user name or a password before its host: leave it out".to_owned(),
        ));
    }
    let config = Config::builder(url, format!("http://127.0.0.1:{NO_PORT}/callback"))
        .build()
        // The words of a usage error have lines, and a URL has none.
        .map_err(|flaw| Problem::Usage(plain(&format!("{url}: {flaw}{}", with_scheme(url)))))?;
    Ok(config.mcp_url().as_str().to_owned())
}

/// Returns the file name of an account.
pub(super) fn name(url: &str, account: &str) -> Result<String, Problem> {
    let slot = Slot::account(account, &canonical(url)?).to_string();
    Ok(slot.rsplit('/').next().unwrap_or_default().to_owned())
}

/// Proposes a URL for a host without a scheme.
fn with_scheme(url: &str) -> String {
    if url.contains("://") || url.starts_with('/') {
        return String::new();
    }
    let secure = format!("https://{url}");
    let is_local = |url: &url::Url| {
        let host = url.host_str().unwrap_or_default();
        host == "localhost" || host == "[::1]" || host.starts_with("127.")
    };
    match url::Url::parse(&secure) {
        Ok(found) if is_local(&found) => format!("; use http://{url}"),
        Ok(_) => format!("; use {secure}"),
        Err(_) => String::new(),
    }
}
