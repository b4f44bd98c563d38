//! HTTP with SSE, the transport of revision 2024-11-05: one stream with everything that the server says,
//! and an endpoint for messages that the stream names first.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderMap;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use url::Url;

use super::remote::{Outgoing, Remote, Unanswered, is_stream};
use super::stream::{Events, Place};

/// The endpoint is named at once, or not at all.
const FIRST_EVENT: Duration = Duration::from_secs(20);

/// An open stream and its endpoint.
#[derive(Clone)]
pub(super) struct Legacy {
    endpoint: Url,
    ended: Arc<AtomicBool>,
    _reading: Arc<Reading>,
}

/// Reads the stream for as long as the session lives.
struct Reading(JoinHandle<()>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why this transport cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum LegacyError {
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    #[error("{url} has no stream of events (status {status})")]
    NoStream { url: String, status: u16 },
    #[error("the stream of {url} names no endpoint for messages")]
    NoEndpoint { url: String },
    #[error("the stream of {url} names an endpoint on another origin: {endpoint}")]
    OtherOrigin { url: String, endpoint: String },
}

impl Legacy {
    /// Opens the stream; its messages go to this function. `ended` follows the last one.
    pub(super) async fn open<F, T>(
        remote: &Remote,
        give: F,
        ended: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Self, LegacyError>
    where
        F: Fn(String) -> T + Send + 'static,
        T: Future<Output = ()> + Send,
    {
        let url = remote.url().to_string();
        let answer = remote
            .send(Outgoing::stream(HeaderMap::new(), None))
            .await?;
        let status = answer.status();
        if !status.is_success() || !is_stream(&answer) {
            let status = status.as_u16();
            return Err(LegacyError::NoStream { url, status });
        }
        let mut events = Events::of(answer);
        let mut place = Place::default();
        let named = timeout(FIRST_EVENT, events.endpoint(&mut place))
            .await
            .ok()
            .flatten();
        let Some(endpoint) = named.and_then(|data| remote.url().join(data.trim()).ok()) else {
            return Err(LegacyError::NoEndpoint { url });
        };
        // The token is for this server alone.
        if endpoint.origin() != remote.url().origin() {
            let endpoint = endpoint.to_string();
            return Err(LegacyError::OtherOrigin { url, endpoint });
        }
        let has_ended = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&has_ended);
        let reading = tokio::spawn(async move {
            while let Some(data) = events.message(&mut place).await {
                give(data).await;
            }
            ends.store(true, Ordering::SeqCst);
            ended.await;
        });
        Ok(Self {
            endpoint,
            ended: has_ended,
            _reading: Arc::new(Reading(reading)),
        })
    }

    /// Returns true for two handles of one stream.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.ended, &other.ended)
    }

    /// Returns true if the stream has ended: no further answer comes.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Sends a message; its answer comes on the stream.
    pub(super) async fn send(&self, remote: &Remote, line: &str) -> Result<(), Unanswered> {
        let mut outgoing = Outgoing::post("a message", HeaderMap::new(), line);
        outgoing.url = Some(&self.endpoint);
        let answer = remote.send(outgoing).await?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(Unanswered::Undelivered {
            url: self.endpoint.to_string(),
            status: answer.status(),
        })
    }
}
