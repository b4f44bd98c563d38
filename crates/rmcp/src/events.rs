//! Streams of server-sent events, with the transport's limit for the size of an event.

use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::StreamExt as _;
use reqwest::Response;
use rmcp::transport::streamable_http_client::SseError;
use sse_stream::{Sse, SseStream};

use crate::error::Error;

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Read(Error),
    #[error("a server-sent event is larger than {0} bytes")]
    TooLarge(usize),
}

pub(crate) fn events(
    response: Response,
    limit: usize,
) -> BoxStream<'static, Result<Sse, SseError>> {
    let mut size = EventSize::default();
    let chunks = response.bytes_stream().map(move |chunk| {
        let chunk: Bytes = chunk.map_err(|error| Broken::Read(error.into()))?;
        if size.admits(&chunk, limit) {
            Ok(chunk)
        } else {
            Err(Broken::TooLarge(limit))
        }
    });
    SseStream::from_bytes_stream(chunks).boxed()
}

/// The size of the event that is being received. Complete comments do not count, because servers send them
/// to keep streams alive.
#[derive(Debug, Default)]
struct EventSize {
    lines: usize,
    line: usize,
    comment: bool,
    after_cr: bool,
    exceeded: bool,
}

impl EventSize {
    fn admits(&mut self, chunk: &[u8], limit: usize) -> bool {
        for byte in chunk {
            let second_of_crlf = std::mem::replace(&mut self.after_cr, *byte == b'\r');
            match byte {
                b'\n' if second_of_crlf => {}
                b'\r' | b'\n' => self.end_line(),
                _ => {
                    if self.line == 0 {
                        self.comment = *byte == b':';
                    }
                    self.line = self.line.saturating_add(1);
                }
            }
            if self.lines.saturating_add(self.line) > limit {
                self.exceeded = true;
            }
        }
        !self.exceeded
    }

    fn end_line(&mut self) {
        if self.line == 0 {
            self.lines = 0;
        } else if !self.comment {
            self.lines = self.lines.saturating_add(self.line);
        }
        self.line = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(chunks: &[&str], limit: usize) -> bool {
        let mut size = EventSize::default();
        let mut admits = true;
        for chunk in chunks {
            admits = size.admits(chunk.as_bytes(), limit);
        }
        admits
    }

    #[test]
    fn an_event_may_be_as_large_as_the_limit() {
        assert!(admitted(&["data: 12", "\n\ndata: 34\n\n"], 8));
        assert!(admitted(&["data: 12\r", "\n\r\ndata: 34\r\n\r\n"], 8));
        assert!(!admitted(&["data: 1", "23\n\n"], 8));
    }

    #[test]
    fn the_lines_of_an_event_count_together() {
        for end in ["\n", "\r", "\r\n"] {
            let event = format!("data: 12{end}data: 34{end}{end}");
            assert!(admitted(&[&event, &event], 16), "{end:?}");
            assert!(!admitted(&[&event], 15), "{end:?}");
        }
    }

    #[test]
    fn comments_do_not_add_up() {
        let alive = ": still here\n";
        assert!(admitted(&[alive; 100], 16));
        assert!(!admitted(&[":", "a comment without an end"], 16));
    }

    #[test]
    fn what_was_too_large_stays_so() {
        assert!(!admitted(&["data: 123\n\n", "data: 1\n\n"], 8));
    }
}
