//! The loopback listener for callbacks: it serves the expected path only, and its page reflects no input
//! (AUTHZ-10, CB-13).

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::OriginalUri;
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use tokio::net::TcpListener;

/// The page shows no result, because the result is unknown when it is served.
const PAGE: &str = "<!doctype html><title>mcp-auth</title><p>You can close this page and go back to \
                    the terminal.</p>";

/// A message for the user's session.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// The full URL of a callback.
    Callback(String),
    /// A typed or pasted line.
    Line(String),
}

/// The port of the listener.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Port {
    /// Any free port.
    Any,
    /// This port if it is free, otherwise any.
    Preferred(u16),
    /// This port only: servers know the client by it.
    Only(u16),
}

pub(crate) struct Listener {
    redirect_uri: String,
    port: u16,
    sender: SyncSender<Incoming>,
    incoming: Receiver<Incoming>,
}

impl Listener {
    /// Binds a loopback port.
    pub(crate) async fn start(host: &str, port: Port) -> io::Result<Self> {
        // HTTP dates cannot represent it, and token expiry could not be checked.
        if SystemTime::now() < UNIX_EPOCH {
            return Err(io::Error::other(
                "the clock of this machine is before 1970: set it",
            ));
        }
        let sockets = match port {
            Port::Any => bind(host, 0).await?,
            Port::Only(port) => bind(host, port).await.map_err(|error| {
                let said = format!(
                    "port {port} cannot be used ({error}): end the program that has it, or give \
                     another --port"
                );
                io::Error::new(error.kind(), said)
            })?,
            Port::Preferred(port) => match bind(host, port).await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => bind(host, 0).await?,
                other => other?,
            },
        };
        let port = match sockets.first() {
            Some(socket) => socket.local_addr()?.port(),
            None => return Err(io::ErrorKind::AddrNotAvailable.into()),
        };
        let origin = format!("http://{host}:{port}");
        let (sender, incoming) = sync_channel(64);
        for socket in sockets {
            let (origin, to) = (origin.clone(), sender.clone());
            let handler =
                move |OriginalUri(uri): OriginalUri| callback(origin, to, uri.to_string());
            // A request for the headers alone brings no callback.
            let no_head = async || StatusCode::METHOD_NOT_ALLOWED;
            let router = Router::new().route("/callback", get(handler).head(no_head));
            tokio::spawn(async move { axum::serve(socket, router).await });
        }
        Ok(Self {
            redirect_uri: format!("{origin}/callback"),
            port,
            sender,
            incoming,
        })
    }

    pub(crate) fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns a sender for callbacks from another source, such as pasted ones.
    pub(crate) fn sender(&self) -> SyncSender<Incoming> {
        self.sender.clone()
    }

    /// Waits for the next message.
    pub(crate) fn wait(&self, patience: Duration) -> Result<Incoming, RecvTimeoutError> {
        self.incoming.recv_timeout(patience)
    }
}

/// `localhost` means both loopback addresses: browsers try either one first.
async fn bind(host: &str, port: u16) -> io::Result<Vec<TcpListener>> {
    let first = TcpListener::bind(("127.0.0.1", port)).await?;
    let port = first.local_addr()?.port();
    let mut sockets = vec![first];
    if host == "localhost" {
        match TcpListener::bind(("::1", port)).await {
            Ok(second) => sockets.push(second),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            // The system has no IPv6.
            Err(_) => {}
        }
    }
    Ok(sockets)
}

async fn callback(origin: String, sender: SyncSender<Incoming>, uri: String) -> impl IntoResponse {
    // The channel is full only after more callbacks than the command reads; further ones are dropped.
    let _dropped = sender.try_send(Incoming::Callback(format!("{origin}{uri}")));
    let headers = [
        (CACHE_CONTROL, "no-store"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, Html(PAGE))
}
