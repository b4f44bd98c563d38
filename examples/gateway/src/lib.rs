//! A gateway with many users, several MCP servers, and several instances behind one store: a sign-in starts on one
//! instance, and its callback may land on another.
//!
//! ```sh
//! cargo run -p mcp-auth -- demo --serve            # prints the URL of an MCP server
//! cargo run -p example-gateway -- --mcp URL \
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
//! The store's contents are sealed with a key that Redis does not have. SIGTERM, or Ctrl-C, ends a process gracefully:
//! requests and refreshes under way are finished and stored, and the next process continues from the store.
//!
//! `--load 1000` starts the built-in servers, lets that many users sign in and call tools through the gateway, and
//! prints how long that took:
//!
//! ```sh
//! cargo run --release -p example-gateway -- --load 1000
//! ```

mod cookies;
mod guard;
pub mod keys;
mod load;
mod pages;
mod web;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use mcp_auth_client::asynchronous::{Accounts, Network};
use mcp_auth_client::{AsyncRedisStore, MemoryStore, Sealed, SharedStore};
use mcp_auth_machine::Config;
use mcp_auth_machine::config::RegistrationSharing;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use cookies::Cookies;
use guard::Origins;
use keys::Keys;
use web::{Gateway, router};

/// The time limit of a request to the MCP server, including its response.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Any error: the program prints it and ends.
pub type Failed = Box<dyn Error + Send + Sync>;

/// The command line.
#[derive(Parser)]
pub struct Settings {
    /// An MCP server; several may be named.
    #[arg(long, required_unless_present = "load")]
    pub mcp: Vec<String>,
    /// Where browsers reach the gateway: its callback is at `/callback` below it.
    #[arg(long, required_unless_present = "load", default_value = "")]
    pub public: String,
    /// Where the instances listen.
    #[arg(long, required_unless_present = "load")]
    pub listen: Vec<SocketAddr>,
    /// Redis, for instances in several processes.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis: Option<String>,
    /// The secret that all instances share.
    #[arg(long, env = "GATEWAY_KEY", hide_env_values = true)]
    pub key: Option<String>,
    /// Drives a gateway with this many simulated users against the built-in servers, and prints figures.
    #[arg(long, conflicts_with_all = ["mcp", "public", "listen"])]
    pub load: Option<usize>,
}

/// Runs the gateway, or with `--load` a load test against it.
///
/// # Errors
/// The gateway cannot start, or a simulated user fails.
pub async fn run(settings: Settings) -> Result<(), Failed> {
    // Sets the only TLS provider that is linked; a second call has no effect.
    let _first = rustls::crypto::ring::default_provider().install_default();
    match settings.load {
        Some(users) => load::run(users, settings).await,
        None => serve(settings).await,
    }
}

/// Serves until the process is asked to end.
///
/// # Errors
/// Why it could not serve.
pub async fn serve(settings: Settings) -> Result<(), Failed> {
    serve_until(settings, asked_to_end()).await
}

/// Serves until `end` is ready.
async fn serve_until(settings: Settings, end: impl Future<Output = ()>) -> Result<(), Failed> {
    let _first = rustls::crypto::ring::default_provider().install_default();
    let keys = Arc::new(match &settings.key {
        Some(secret) => Keys::new(secret)?,
        None if settings.redis.is_none() => Keys::random()?,
        None => return Err("GATEWAY_KEY is missing: instances have to share one".into()),
    });
    let store = match &settings.redis {
        Some(url) => {
            let redis = AsyncRedisStore::open(url, "mcp-gateway:")?;
            SharedStore::new(Sealed::new(redis, Arc::clone(&keys)))
        }
        None => SharedStore::new(MemoryStore::default()),
    };
    let configs = settings.mcp.iter().map(|mcp| {
        Config::builder(mcp, format!("{}/callback", settings.public))
            .client_name("Example gateway")
            // All users belong to this gateway (ISO-12).
            .registration_sharing(RegistrationSharing::AcrossPrincipals)
            .build()
            .map(Arc::new)
    });
    let configs = configs.collect::<Result<Vec<_>, _>>()?;
    let network = Network::builder().build()?;
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
    let (ends, ended) = watch::channel(false);
    let mut instances = JoinSet::new();
    let mut all = Vec::new();
    for address in settings.listen {
        let listener = TcpListener::bind(address).await?;
        println!("listening on http://{}", listener.local_addr()?);
        let accounts = Accounts::builder(store.clone()).network(&network).start()?;
        all.push(accounts.clone());
        let gateway = Gateway::new(accounts, &configs, Arc::clone(&keys), http.clone(), cookies);
        let router = router(gateway, Arc::clone(&origins));
        let mut ended = ended.clone();
        let end = async move { drop(ended.wait_for(|ended| *ended).await) };
        let serving = axum::serve(listener, router).with_graceful_shutdown(end);
        instances.spawn(async move { serving.await });
    }
    tokio::select! {
        () = end => {}
        Some(ended) = instances.join_next() => ended??,
    }
    // No new requests; those under way are finished.
    ends.send_replace(true);
    while let Some(ended) = instances.join_next().await {
        ended??;
    }
    for accounts in all {
        accounts.close().await?;
    }
    Ok(())
}

/// Waits for SIGTERM or Ctrl-C.
async fn asked_to_end() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminated) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupted => {}
                _ = terminated.recv() => {}
            }
            return;
        }
    }
    #[cfg(not(unix))]
    if interrupted.await.is_ok() {
        return;
    }
    std::future::pending().await
}
