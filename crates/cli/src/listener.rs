//! The callback listener, and the messages that the user's session receives.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mcp_auth_client::{LoopbackHost, LoopbackListener, LoopbackPort};

use crate::speaker;

/// The page shows no result, because the result is unknown when it is served.
const PAGE: &str = "<!doctype html><title>mcp-auth</title><p>You can close this page and go back to \
                    the terminal.</p>";

/// Messages of one kind that wait; further ones are dropped, or wait where they come from.
const WAITING: usize = 64;

/// A message for the user's session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// The full URL of a callback.
    Callback(String),
    /// A typed or pasted line.
    Line(String),
}

/// No message came in time.
#[derive(Debug, thiserror::Error)]
#[error("nothing came in time")]
pub(crate) struct TimedOut;

pub(crate) struct Listener {
    listener: LoopbackListener,
    inbox: Arc<Inbox>,
}

/// The messages that wait. Each program of this machine may send callbacks: those of the pending sign-in have a place of
/// their own, which a flood of others does not take (P11).
#[derive(Default)]
pub(crate) struct Inbox {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// The `state` of the pending sign-in.
    expected: Option<String>,
    own: VecDeque<String>,
    others: VecDeque<String>,
    lines: VecDeque<String>,
    is_closed: bool,
}

impl Inbox {
    fn callback(&self, url: String) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_own = waiting.expected.is_some() && state_of(&url) == waiting.expected;
        let queue = if is_own {
            &mut waiting.own
        } else {
            &mut waiting.others
        };
        if queue.len() < WAITING {
            queue.push_back(url);
            self.changed.notify_all();
        }
    }

    /// Adds a line, when there is room; returns false when nobody reads any more.
    pub(crate) fn line(&self, line: String) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while waiting.lines.len() >= WAITING && !waiting.is_closed {
            let changed = self.changed.wait(waiting);
            waiting = changed.unwrap_or_else(PoisonError::into_inner);
        }
        waiting.lines.push_back(line);
        self.changed.notify_all();
        !waiting.is_closed
    }

    /// Names the sign-in whose callbacks come first.
    fn expect(&self, state: Option<String>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.expected = state;
        waiting.own.clear();
    }

    fn wait(&self, patience: Duration) -> Result<Incoming, TimedOut> {
        let end = Instant::now().checked_add(patience);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let next = waiting.own.pop_front().map(Incoming::Callback);
            let next = next.or_else(|| waiting.lines.pop_front().map(Incoming::Line));
            let next = next.or_else(|| waiting.others.pop_front().map(Incoming::Callback));
            if let Some(next) = next {
                self.changed.notify_all();
                return Ok(next);
            }
            let left = match end {
                Some(end) => end.saturating_duration_since(Instant::now()),
                None => patience,
            };
            if left.is_zero() {
                return Err(TimedOut);
            }
            let changed = self.changed.wait_timeout(waiting, left);
            waiting = changed.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut waiting = self
            .inbox
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        waiting.is_closed = true;
        self.inbox.changed.notify_all();
    }
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
        let inbox = Arc::new(Inbox::default());
        let callbacks = Arc::clone(&inbox);
        let listener = LoopbackListener::builder()
            .host(host)
            .port(port)
            .page(PAGE)
            .listen(move |url| callbacks.callback(url))
            .map_err(|error| match port {
                LoopbackPort::Only(_) => {
                    let port = speaker::with("--port");
                    let said =
                        format!("{error}: end the program that has it, or give another: {port}");
                    io::Error::new(error.kind(), said)
                }
                LoopbackPort::Any | LoopbackPort::Preferred(_) => error,
            })?;
        Ok(Self { listener, inbox })
    }

    pub(crate) fn redirect_uri(&self) -> &str {
        self.listener.redirect_uri()
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.port()
    }

    /// Returns the inbox, for lines from another source, such as pasted callbacks.
    pub(crate) fn inbox(&self) -> Arc<Inbox> {
        Arc::clone(&self.inbox)
    }

    /// Names the authorization URL of the pending sign-in.
    pub(crate) fn expect(&self, authorization: &str) {
        self.inbox.expect(state_of(authorization));
    }

    /// Waits for the next message.
    pub(crate) fn wait(&self, patience: Duration) -> Result<Incoming, TimedOut> {
        self.inbox.wait(patience)
    }
}

/// Returns the `state` of an authorization URL or a callback, decoded: a server may encode it in another way.
fn state_of(url: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let found = pairs.find(|(name, _)| name == "state");
    found.map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn callback(state: &str) -> String {
        format!("http://127.0.0.1:1/callback?code=x&state={state}")
    }

    /// P11: whatever else arrives, before or after, the callback of the sign-in is delivered, and first.
    #[test]
    fn a_flood_of_callbacks_displaces_neither_the_real_one_nor_a_line() {
        let inbox = Inbox::default();
        inbox.expect(Some("a-b".to_owned()));
        let flood = || {
            for number in 0..1_000 {
                inbox.callback(callback(&number.to_string()));
            }
        };
        flood();
        assert!(inbox.line("typed".to_owned()));
        // Encoded in another way than it was sent.
        inbox.callback(callback("a%2Db"));
        flood();
        let next = || inbox.wait(Duration::ZERO).ok();
        assert_eq!(next(), Some(Incoming::Callback(callback("a%2Db"))));
        assert_eq!(next(), Some(Incoming::Line("typed".to_owned())));
        for _ in 0..WAITING {
            assert!(matches!(next(), Some(Incoming::Callback(_))));
        }
        assert_eq!(next(), None);
    }
}
