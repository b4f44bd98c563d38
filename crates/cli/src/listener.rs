//! The callbacks and the lines that the user's session receives.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mcp_auth_client::{LoopbackHost, LoopbackListener, LoopbackPort};

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

pub(crate) struct Listener {
    listener: LoopbackListener,
    sender: SyncSender<Incoming>,
    incoming: Receiver<Incoming>,
}

impl Listener {
    /// Binds a loopback port.
    pub(crate) fn start(host: LoopbackHost, port: LoopbackPort) -> io::Result<Self> {
        // HTTP dates cannot represent it, and token expiry could not be checked.
        if SystemTime::now() < UNIX_EPOCH {
            return Err(io::Error::other(
                "the clock of this machine is before 1970: set it",
            ));
        }
        let (sender, incoming) = sync_channel(64);
        let callbacks = sender.clone();
        let listener = LoopbackListener::builder()
            .host(host)
            .port(port)
            .page(PAGE)
            .listen(move |url| {
                // The channel is full only after more callbacks than the command reads; further ones are dropped.
                let _dropped = callbacks.try_send(Incoming::Callback(url));
            })
            .map_err(|error| match port {
                LoopbackPort::Only(_) => {
                    let said =
                        format!("{error}: end the program that has it, or give another --port");
                    io::Error::new(error.kind(), said)
                }
                LoopbackPort::Any | LoopbackPort::Preferred(_) => error,
            })?;
        Ok(Self {
            listener,
            sender,
            incoming,
        })
    }

    pub(crate) fn redirect_uri(&self) -> &str {
        self.listener.redirect_uri()
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.port()
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
