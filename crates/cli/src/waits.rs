//! The time of the command, and what it waits for meanwhile. Each wait ends with that time, and the message about its end
//! names what was waited for.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mcp_auth_machine::action::{Purpose, SendRequest};

/// How long a wait may take after the time of the command, for what its end writes.
const LAST: Duration = Duration::from_secs(1);

/// The party or the file that a command waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Another program has locked this file.
    Lock(PathBuf),
    /// The keyring of the system does not answer.
    Keyring,
    /// A server has not answered a request: the server, and the request without its query.
    Request(&'static str, String),
}

impl Wait {
    /// Returns the wait for the response to a request.
    pub(crate) fn answer_to(send: &SendRequest) -> Self {
        let server = match send.purpose() {
            Purpose::ResourceMetadata => "the MCP server",
            Purpose::ServerMetadata
            | Purpose::Registration
            | Purpose::PushedAuthorization
            | Purpose::DeviceAuthorization
            | Purpose::Token
            | Purpose::Revocation => "the authorization server",
        };
        let request = send.request();
        let url = request.uri().to_string();
        let url = url.split('?').next().unwrap_or_default();
        Self::Request(server, format!("{} {url}", request.method()))
    }
}

struct Waits {
    end: Option<Instant>,
    open: Vec<(u64, Wait)>,
    next: u64,
}

static WAITS: Mutex<Waits> = Mutex::new(Waits {
    end: None,
    open: Vec::new(),
    next: 0,
});

/// The way in which a command ended: of two ends at once, the command reports one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Result,
    Failure,
    /// Its time ended first.
    Time,
}

static ENDED: Mutex<Option<End>> = Mutex::new(None);

fn waits() -> MutexGuard<'static, Waits> {
    WAITS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets the end of the command's time.
pub(crate) fn until(end: Instant) {
    waits().end = Some(end);
}

/// Returns the end of the command's time, if it has one.
pub(crate) fn end() -> Option<Instant> {
    waits().end
}

/// Returns how long a wait for another program may take: `most`, or less where the time of the command ends earlier.
pub(crate) fn at_most(most: Duration) -> Duration {
    let left = end().map(|end| end.saturating_duration_since(Instant::now()));
    left.map_or(most, |left| most.min(left.max(LAST)))
}

/// Notes a wait, until the value is dropped.
pub(crate) fn note(wait: Wait) -> Noted {
    let mut waits = waits();
    let id = waits.next;
    waits.next = id.wrapping_add(1);
    waits.open.push((id, wait));
    Noted(id)
}

/// A wait that has not ended.
pub(crate) struct Noted(u64);

impl Drop for Noted {
    fn drop(&mut self) {
        waits().open.retain(|(id, _)| *id != self.0);
    }
}

/// Returns what the command waits for now, the latest first.
pub(crate) fn current() -> Option<Wait> {
    waits().open.last().map(|(_, wait)| wait.clone())
}

/// Notes the end that the command is about to report, and returns the one that was noted first.
pub(crate) fn ends(end: End) -> End {
    let mut ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
    *ended.get_or_insert(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_wait_is_the_current_one_until_it_ends() {
        let first = note(Wait::Keyring);
        let second = note(Wait::Lock(PathBuf::from("lock")));
        assert_eq!(current(), Some(Wait::Lock(PathBuf::from("lock"))));
        drop(second);
        assert_eq!(current(), Some(Wait::Keyring));
        drop(first);
        assert_eq!(current(), None);
    }
}
