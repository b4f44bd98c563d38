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
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Listener {
    redirect_uri: String,
    callbacks: Receiver<String>,
}

impl Listener {
    /// Binds a free port of the loopback interface.
    pub(super) async fn start() -> io::Result<Self> {
        let socket = TcpListener::bind(("127.0.0.1", 0)).await?;
        let origin = format!("http://{}", socket.local_addr()?);
        let (sender, callbacks) = sync_channel(8);
        let redirect_uri = format!("{origin}/callback");
        let handler =
            move |OriginalUri(uri): OriginalUri| callback(origin, sender, uri.to_string());
        let router = Router::new().route("/callback", get(handler));
        tokio::spawn(async move { axum::serve(socket, router).await });
        Ok(Self {
            redirect_uri,
            callbacks,
        })
    }

    pub(super) fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// The full URL of the next callback.
    pub(super) fn wait(&self) -> Result<String, RecvTimeoutError> {
        self.callbacks.recv_timeout(PATIENCE)
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
