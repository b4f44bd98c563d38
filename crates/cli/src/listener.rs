//! The loopback listener for the callback (AUTHZ-10, CB-13): the expected path alone, a page that
//! reflects nothing.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use axum::Router;
use axum::extract::OriginalUri;
use axum::http::header::{CACHE_CONTROL, REFERRER_POLICY};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use tokio::net::TcpListener;

const PAGE: &str = "<!doctype html><title>Signed in</title><p>You can close this page.</p>";
pub(crate) struct Listener {
    redirect_uri: String,
    port: u16,
    sender: SyncSender<String>,
    callbacks: Receiver<String>,
}

impl Listener {
    /// Binds a port of the loopback interface: the preferred one where it is free.
    pub(crate) async fn start(preferred: Option<u16>) -> io::Result<Self> {
        let socket = match TcpListener::bind(("127.0.0.1", preferred.unwrap_or(0))).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                TcpListener::bind(("127.0.0.1", 0)).await?
            }
            other => other?,
        };
        let address = socket.local_addr()?;
        let origin = format!("http://{address}");
        let (sender, callbacks) = sync_channel(8);
        let redirect_uri = format!("{origin}/callback");
        let to = sender.clone();
        let handler = move |OriginalUri(uri): OriginalUri| callback(origin, to, uri.to_string());
        let router = Router::new().route("/callback", get(handler));
        tokio::spawn(async move { axum::serve(socket, router).await });
        Ok(Self {
            redirect_uri,
            port: address.port(),
            sender,
            callbacks,
        })
    }

    pub(crate) fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// For callbacks that come another way, such as pasted ones.
    pub(crate) fn sender(&self) -> SyncSender<String> {
        self.sender.clone()
    }

    /// The full URL of the next callback.
    pub(crate) fn wait(&self, patience: Duration) -> Result<String, RecvTimeoutError> {
        self.callbacks.recv_timeout(patience)
    }
}

async fn callback(origin: String, sender: SyncSender<String>, uri: String) -> impl IntoResponse {
    // A full channel means that nobody waits for this many: the rest is dropped.
    let _dropped = sender.try_send(format!("{origin}{uri}"));
    let headers = [
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (headers, Html(PAGE))
}
