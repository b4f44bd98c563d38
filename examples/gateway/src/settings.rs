//! The settings: options and environment variables, and what is checked before anything starts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use mcp_auth_machine::Config;
use mcp_auth_machine::config::{ConfigError, RegistrationSharing};
use reqwest::Url;

use crate::Failed;
use crate::keys::{Keys, NEW_KEY};
use crate::origins::Origins;

/// A gateway: many users, several MCP servers, and any number of instances behind one store.
#[derive(Clone, Parser)]
#[command(name = "gateway", after_help = after_help())]
pub struct Settings {
    /// The URL of an MCP server; repeat it for several.
    #[arg(long, value_name = "URL", required_unless_present = "load")]
    pub mcp: Vec<String>,
    /// The address of an instance, such as 127.0.0.1:8080; repeat it for several instances in this process.
    #[arg(long, value_name = "ADDRESS:PORT", required_unless_present = "load", value_parser = address)]
    pub listen: Vec<SocketAddr>,
    /// Where browsers reach the gateway, such as `https://gateway.example`. Callbacks arrive there, at /callback. The
    /// first address that is listened on unless set.
    #[arg(long, value_name = "ORIGIN")]
    pub public: Option<String>,
    /// Redis, which instances in several processes share, such as redis://127.0.0.1:6379. The store is in memory unless
    /// set.
    #[arg(long, value_name = "URL", env = "REDIS_URL", hide_env_values = true)]
    pub redis: Option<String>,
    /// The secret that all instances share: 32 random bytes in base64url without padding (43 characters). Required with
    /// Redis. Better in the environment: other users of this computer can read options.
    #[arg(long, env = "GATEWAY_KEY", hide_env_values = true)]
    pub key: Option<String>,
    /// How long requests under way may take after SIGTERM or Ctrl-C. Then their connections are closed.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub grace: Duration,
    /// Drives a gateway with this many simulated users against built-in servers, and prints figures. With Redis, its
    /// records have a prefix of their own and are removed at the end.
    #[arg(long, value_name = "USERS", conflicts_with_all = ["mcp", "public", "listen"])]
    pub load: Option<usize>,
}

fn after_help() -> String {
    format!(
        "\
To try it:
  cargo run -p mcp-auth -- demo --serve       prints the URL of an MCP server
  gateway --mcp URL --listen 127.0.0.1:8080

A new key:
  {NEW_KEY}"
    )
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let expected = "an IP address and a port are expected, such as 127.0.0.1:8080";
    text.parse().map_err(|_| expected.to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse()
        .map_err(|_| "a number of seconds is expected")?;
    Ok(Duration::from_secs(seconds))
}

impl Settings {
    /// Returns the keys: those of the secret, or random ones where no other process needs them.
    pub(crate) fn keys(&self) -> Result<Keys, Failed> {
        match &self.key {
            Some(secret) => {
                Keys::new(secret).map_err(|error| format!("GATEWAY_KEY: {error}").into())
            }
            None if self.redis.is_none() || self.load.is_some() => Ok(Keys::random()?),
            None => Err(format!(
                "GATEWAY_KEY is not set, and with Redis (--redis or REDIS_URL) all instances share one.\n\
                 Next: {NEW_KEY}"
            )
            .into()),
        }
    }

    /// Returns the public origin.
    fn public(&self) -> Result<Url, Failed> {
        let first = self.listen.first();
        let text = match (&self.public, first) {
            (Some(public), _) => public.clone(),
            (None, Some(first)) => format!("http://{first}"),
            (None, None) => return Err("--listen is missing".into()),
        };
        let expected = "an origin is expected, such as https://gateway.example";
        let url =
            Url::parse(&text).map_err(|error| format!("--public {text}: {error}; {expected}"))?;
        let is_origin = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !matches!(url.scheme(), "http" | "https") || !is_origin {
            return Err(format!("--public {text}: {expected}, without a path").into());
        }
        Ok(url)
    }

    /// Returns the origins of this gateway.
    pub(crate) fn origins(&self) -> Result<Origins, Failed> {
        let listen = self.listen.iter().filter_map(|address| {
            // An address is a valid host.
            Url::parse(&format!("http://{address}")).ok()
        });
        Ok(Origins::new(&self.public()?, listen))
    }

    /// Returns the settings for each MCP server.
    pub(crate) fn configs(&self) -> Result<Vec<Arc<Config>>, Failed> {
        let callback = self.public()?.join("/callback")?;
        let configs = self.mcp.iter().map(|mcp| {
            let config = Config::builder(mcp, callback.as_str())
                .client_name("Example gateway")
                // All users belong to this gateway (ISO-12).
                .registration_sharing(RegistrationSharing::AcrossPrincipals)
                .build();
            let at = |error| {
                if matches!(error, ConfigError::RedirectUri(_)) {
                    format!("--public: the callback {callback}: {error}")
                } else {
                    format!("--mcp {mcp}: {error}")
                }
            };
            config.map(Arc::new).map_err(|error| at(error).into())
        });
        configs.collect()
    }
}
