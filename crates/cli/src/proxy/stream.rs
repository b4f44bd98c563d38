//! A stream of events: each message of it is a line for the client.

use std::time::Duration;

use sse_stream::{Sse, SseStream};
use tokio_stream::StreamExt;

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
    stream: SseStream<reqwest::Body>,
}

impl Events {
    pub(super) fn of(answer: reqwest::Response) -> Self {
        Self {
            stream: SseStream::new(reqwest::Body::from(answer)),
        }
    }

    /// The next event with data; `None` at the end of the stream, or when it breaks off.
    pub(super) async fn next(&mut self, place: &mut Place) -> Option<(Option<String>, String)> {
        while let Some(Ok(event)) = self.stream.next().await {
            place.pass(&event);
            match event.data {
                Some(data) if !data.trim().is_empty() => return Some((event.event, data)),
                Some(_) | None => {}
            }
        }
        None
    }
}
