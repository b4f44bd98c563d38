//! The loopback listener for the callback (AUTHZ-10, CB-13): the expected path alone, a page that
//! reflects nothing.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::OriginalUri;
use axum::http::header::{CACHE_CONTROL, REFERRER_POLICY};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use tokio::net::TcpListener;

/// It says nothing about how the sign-in went on: that is not known when it is shown.
const PAGE: &str = "<!doctype html><title>mcp-auth</title><p>You can close this page and go back to \
                    the terminal.</p>";

/// One message for the person's session.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// The full URL of a callback.
    Callback(String),
    /// A line that was typed or pasted.
    Line(String),
}

/// Which port the listener gets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Port {
    /// Any that is free.
    Any,
    /// This one where it is free, otherwise any.
    Preferred(u16),
    /// This one: servers know the client by it.
    Only(u16),
}

pub(crate) struct Listener {
    redirect_uri: String,
    port: u16,
    sender: SyncSender<Incoming>,
    incoming: Receiver<Incoming>,
}

impl Listener {
    /// Binds a port of the loopback interface.
    pub(crate) async fn start(host: &str, port: Port) -> io::Result<Self> {
        // HTTP has no date for it, and no token can be told good or over.
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
            let router = Router::new().route("/callback", get(handler));
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

    /// For callbacks that come another way, such as pasted ones.
    pub(crate) fn sender(&self) -> SyncSender<Incoming> {
        self.sender.clone()
    }

    /// Waits for the next message.
    pub(crate) fn wait(&self, patience: Duration) -> Result<Incoming, RecvTimeoutError> {
        self.incoming.recv_timeout(patience)
    }
}

/// `localhost` is both loopback addresses: browsers try one or the other first.
async fn bind(host: &str, port: u16) -> io::Result<Vec<TcpListener>> {
    let first = TcpListener::bind(("127.0.0.1", port)).await?;
    let port = first.local_addr()?.port();
    let mut sockets = vec![first];
    if host == "localhost" {
        match TcpListener::bind(("::1", port)).await {
            Ok(second) => sockets.push(second),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            // This machine has no IPv6.
            Err(_) => {}
        }
    }
    Ok(sockets)
}

async fn callback(origin: String, sender: SyncSender<Incoming>, uri: String) -> impl IntoResponse {
    // A full channel means that nobody waits for this many: the rest is dropped.
    let _dropped = sender.try_send(Incoming::Callback(format!("{origin}{uri}")));
    let headers = [
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (headers, Html(PAGE))
}
