//! A gateway with many users and several instances behind one store: a sign-in starts on one instance,
//! and its callback may land on another.
//!
//! ```sh
//! cargo run -p mcp-auth -- demo --serve            # prints the URL of an MCP server
//! cargo run -p mcp-auth-client --features redis,reqwest --example gateway -- --mcp URL \
//!     --public http://127.0.0.1:8081 --listen 127.0.0.1:8080 --listen 127.0.0.1:8081
//! ```
//!
//! Open <http://127.0.0.1:8080>: connecting begins there and ends at the other instance. Both are in
//! one process and share a store in memory. With `REDIS_URL`, and the same `GATEWAY_KEY` (32 random
//! bytes in base64url) for all, each can be a process of its own:
//!
//! ```sh
//! export REDIS_URL=redis://127.0.0.1:6379 GATEWAY_KEY=$(openssl rand -base64 32 | tr +/ -_ | tr -d =)
//! ```
//!
//! The store's contents are sealed with a key that Redis does not have.

mod cookies;
mod guard;
pub(crate) mod keys;
mod pages;
mod web;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use mcp_auth_client::{MemoryStore, RedisStore, Sealed};
use mcp_auth_machine::Config;
use mcp_auth_machine::config::RegistrationSharing;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use cookies::Cookies;
use guard::Origins;
use keys::Keys;
use web::{Gateway, SharedStore, router};

/// The time limit of a request to the MCP server, including its response.
const TIME_LIMIT: Duration = Duration::from_secs(30);

type Failed = Box<dyn Error + Send + Sync>;

#[derive(Parser)]
pub(crate) struct Settings {
    /// The MCP server.
    #[arg(long)]
    pub(crate) mcp: String,
    /// Where browsers reach the gateway: its callback is at `/callback` below it.
    #[arg(long)]
    pub(crate) public: String,
    /// Where the instances listen.
    #[arg(long, required = true)]
    pub(crate) listen: Vec<SocketAddr>,
    /// Redis, for instances in several processes.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub(crate) redis: Option<String>,
    /// The secret that all instances share.
    #[arg(long, env = "GATEWAY_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    serve(Settings::parse()).await
}

pub(crate) async fn serve(settings: Settings) -> Result<(), Failed> {
    // Sets the only TLS provider that is linked; a second call has no effect.
    let _first = rustls::crypto::ring::default_provider().install_default();
    let keys = Arc::new(match &settings.key {
        Some(secret) => Keys::new(secret)?,
        None if settings.redis.is_none() => Keys::random()?,
        None => return Err("GATEWAY_KEY is missing: instances have to share one".into()),
    });
    let store: SharedStore = match &settings.redis {
        Some(url) => {
            let redis = RedisStore::open(url, "mcp-gateway:")?;
            Arc::new(Sealed::new(redis, Arc::clone(&keys)))
        }
        None => Arc::new(MemoryStore::default()),
    };
    let config = Config::builder(&settings.mcp, format!("{}/callback", settings.public))
        .client_name("Example gateway")
        // All users belong to this gateway (ISO-12).
        .registration_sharing(RegistrationSharing::AcrossPrincipals)
        .build()?;
    let config = Arc::new(config);
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIME_LIMIT)
        .build()?;

    let cookies = Cookies {
        secure: settings.public.starts_with("https:"),
    };
    let listening = settings.listen.iter();
    let listening = listening.map(|address| format!("http://{address}"));
    let origins = Origins::new(listening.chain([settings.public.clone()]));
    let origins = Arc::new(origins);
    let mut instances = JoinSet::new();
    for address in settings.listen {
        let listener = TcpListener::bind(address).await?;
        println!("listening on http://{}", listener.local_addr()?);
        let (store, keys) = (Arc::clone(&store), Arc::clone(&keys));
        let gateway = Gateway::new(Arc::clone(&config), store, keys, http.clone(), cookies);
        let router = router(gateway, Arc::clone(&origins));
        instances.spawn(async move { axum::serve(listener, router).await });
    }
    while let Some(ended) = instances.join_next().await {
        ended??;
    }
    Ok(())
}
