//! The instances of one process, from their start to a graceful end.

use std::sync::Arc;
use std::time::Duration;

use mcp_auth_client::asynchronous::{Accounts, Network};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cookies::Cookies;
use crate::store::{self, PREFIX};
use crate::web::{Gateway, router};
use crate::{Failed, Settings};

/// The time limit of a request to the MCP server, including its response.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Serves until the process is asked to end.
///
/// # Errors
/// Why it could not serve.
pub async fn serve(settings: Settings) -> Result<(), Failed> {
    serve_until(settings, PREFIX, asked_to_end()).await
}

/// Serves until `end` is ready. Keys in Redis begin with `prefix`.
pub(crate) async fn serve_until(
    mut settings: Settings,
    prefix: &str,
    end: impl Future<Output = ()>,
) -> Result<(), Failed> {
    let _first = rustls::crypto::ring::default_provider().install_default();
    let keys = Arc::new(settings.keys()?);
    let mut listeners = Vec::new();
    for address in &mut settings.listen {
        let listener = TcpListener::bind(*address).await;
        let listener = listener.map_err(|error| format!("--listen {address}: {error}"))?;
        // Port 0 asks for any.
        *address = listener.local_addr()?;
        listeners.push(listener);
    }
    let configs = settings.configs()?;
    let origins = Arc::new(settings.origins()?);
    let store = store::open(settings.redis.as_deref(), prefix, &keys)?;
    let network = Network::builder().build()?;
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIME_LIMIT)
        .build()?;
    let cookies = Cookies {
        secure: origins.is_secure(),
    };
    if settings.redis.is_some() {
        store::watch(store.clone()).await;
    }
    let (ends, ended) = watch::channel(false);
    let mut instances = JoinSet::new();
    let mut all = Vec::new();
    for listener in listeners {
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
    let finished = async {
        while let Some(ended) = instances.join_next().await {
            ended??;
        }
        Ok::<_, Failed>(())
    };
    match timeout(settings.grace, finished).await {
        Ok(finished) => finished?,
        // A client that sends no more of its request would keep the process forever.
        Err(_) => eprintln!(
            "requests are under way still after {} s (--grace): their connections are closed",
            settings.grace.as_secs()
        ),
    }
    close(all).await
}

/// Has everything stored that is under way. Each instance has `save_time` for that, all at once.
async fn close(all: Vec<Accounts>) -> Result<(), Failed> {
    let mut closing = JoinSet::new();
    for accounts in all {
        closing.spawn(async move { accounts.close().await });
    }
    let mut told = Ok(());
    while let Some(closed) = closing.join_next().await {
        told = told.and(closed?);
    }
    Ok(told?)
}

/// Waits for SIGTERM or Ctrl-C.
pub(crate) async fn asked_to_end() {
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
