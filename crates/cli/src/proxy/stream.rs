//! A stream of events: each message of it is a line for the client.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use sse_stream::{Sse, SseStream};
use tokio_stream::{Stream, StreamExt};

use super::message::is_message;
use super::remote::MOST;

/// The longest wait before a stream is opened again.
const LONGEST: Duration = Duration::from_secs(30);

/// The place in a stream, for its resumption.
#[derive(Default)]
pub(super) struct Place {
    pub(super) last: Option<String>,
    retry: Option<Duration>,
}

impl Place {
    /// Takes note of an event.
    fn pass(&mut self, event: &Sse) {
        // An empty identifier takes the former one back.
        if let Some(id) = &event.id {
            self.last = Some(id.clone()).filter(|id| !id.is_empty());
        }
        if let Some(millis) = event.retry {
            self.retry = Some(Duration::from_millis(millis).min(LONGEST));
        }
    }

    /// The wait before the next attempt of these.
    pub(super) fn rest(&self, attempt: u32) -> Duration {
        let base = self.retry.unwrap_or(Duration::from_millis(500));
        base.saturating_mul(2_u32.saturating_pow(attempt.min(6)))
            .min(LONGEST)
    }
}

/// Reads the events of one answer.
pub(super) struct Events {
    stream: Pin<Box<dyn Stream<Item = Result<Sse, sse_stream::Error>> + Send>>,
    /// The bytes since the last event.
    read: Arc<AtomicUsize>,
}

impl Events {
    pub(super) fn of(answer: reqwest::Response) -> Self {
        Self::limited(answer.bytes_stream(), MOST)
    }

    /// Reads events of at most this many bytes; a longer one ends the stream.
    fn limited(
        bytes: impl Stream<Item = reqwest::Result<Bytes>> + Send + 'static,
        most: usize,
    ) -> Self {
        let read = Arc::new(AtomicUsize::new(0));
        let bytes = Limited {
            bytes: Box::pin(bytes),
            read: Arc::clone(&read),
            most,
        };
        let stream = Box::pin(SseStream::from_bytes_stream(bytes));
        Self { stream, read }
    }

    /// The next message; `None` at the end of the stream, or when it breaks off. Events of other names, such as `ping` or
    /// `endpoint`, and other data are passed over: the client reads one message per line.
    pub(super) async fn message(&mut self, place: &mut Place) -> Option<String> {
        while let Some((name, data)) = self.event(place).await {
            if has_message(name.as_deref()) && is_message(&data) {
                return Some(data);
            }
        }
        None
    }

    /// The data of the event `endpoint`; `None` when a message or the end of the stream comes before it.
    pub(super) async fn endpoint(&mut self, place: &mut Place) -> Option<String> {
        while let Some((name, data)) = self.event(place).await {
            if name.as_deref() == Some("endpoint") {
                return Some(data);
            }
            if has_message(name.as_deref()) {
                return None;
            }
        }
        None
    }

    /// The next event with data: its name and its data.
    async fn event(&mut self, place: &mut Place) -> Option<(Option<String>, String)> {
        while let Some(Ok(event)) = self.stream.next().await {
            self.read.store(0, Ordering::Relaxed);
            place.pass(&event);
            match event.data {
                Some(data) if !data.trim().is_empty() => return Some((event.event, data)),
                Some(_) | None => {}
            }
        }
        None
    }
}

/// Returns true if an event of this name carries a message. An event without a name is one named `message`.
fn has_message(name: Option<&str>) -> bool {
    name.is_none_or(|name| name.is_empty() || name == "message")
}

type Chunks = Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>;

/// A body that breaks off where one event is too long to be kept in memory.
struct Limited {
    bytes: Chunks,
    read: Arc<AtomicUsize>,
    most: usize,
}

/// The reason why a stream ends early.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Network(#[from] reqwest::Error),
    #[error("an event is longer than {0} bytes")]
    TooLong(usize),
}

impl Stream for Limited {
    type Item = Result<Bytes, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(self.bytes.as_mut().poll_next(context));
        let Some(chunk) = next else {
            return Poll::Ready(None);
        };
        let chunk = chunk?;
        let before = self.read.fetch_add(chunk.len(), Ordering::Relaxed);
        if before.saturating_add(chunk.len()) > self.most {
            let broken = Broken::TooLong(self.most);
            eprintln!("mcp-auth: {broken}");
            return Poll::Ready(Some(Err(broken)));
        }
        Poll::Ready(Some(Ok(chunk)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn events(chunks: Vec<String>, most: usize) -> Vec<String> {
        let chunks = tokio_stream::iter(chunks.into_iter().map(|text| Ok(Bytes::from(text))));
        let mut events = Events::limited(chunks, most);
        let read = async {
            let mut found = Vec::new();
            let mut place = Place::default();
            while let Some(data) = events.message(&mut place).await {
                found.push(data);
            }
            found
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(read)
    }

    /// A server cannot fill the memory with one event; any number of shorter ones passes.
    #[test]
    fn an_event_has_a_longest_length() {
        let event = |length: usize| format!("data: {{\"method\":\"{}\"}}\n\n", "x".repeat(length));
        let many = vec![event(50); 40];
        assert_eq!(events(many, 100).len(), 40);
        let long = vec![event(50), event(200), event(50)];
        assert_eq!(events(long, 100).len(), 1);
        let start = format!("data: {}", "x".repeat(60));
        let endless = vec![start, "x".repeat(60), "\n\n".to_owned()];
        assert!(events(endless, 100).is_empty());
    }
    /// A gateway sends `event: endpoint` on the stream of the newer transport too, and others send heartbeats.
    #[test]
    fn only_messages_are_lines_for_the_client() {
        let notification = r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#;
        let batch = r#"[{"jsonrpc":"2.0","id":1,"result":{}}]"#;
        let stream = [
            "event: endpoint\ndata: /mcp/all\n\n".to_owned(),
            format!("event: ping\ndata: {notification}\n\n"),
            "data: ping\n\n".to_owned(),
            "data: {}\n\n".to_owned(),
            format!("data: {notification}\n\n"),
            format!("event: message\ndata: {batch}\n\n"),
        ];
        assert_eq!(events(stream.to_vec(), 1_000), [notification, batch]);
    }
}
