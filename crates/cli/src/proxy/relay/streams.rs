//! Streams of events: that of an answer, and the one on which the server speaks by itself.

use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::sleep;

use super::super::message::{Envelope, Kind};
use super::super::remote::{Outgoing, Unanswered, is_stream};
use super::super::stream::{Events, Place};
use super::failed::Failed;
use super::{Relay, same};

/// Attempts to resume the stream of an answer.
const RESUMPTIONS: u32 = 6;

impl Relay {
    /// Gives the client the messages of an answer's stream until the response has come.
    pub(super) async fn follow(
        &self,
        answer: reqwest::Response,
        id: &RawValue,
    ) -> Result<(), Failed> {
        let mut place = Place::default();
        let mut events = Events::of(answer);
        for attempt in 0..=RESUMPTIONS {
            while let Some(data) = events.message(&mut place).await {
                let done = Envelope::of(&data).is_some_and(|message| {
                    message.kind() == Some(Kind::Response) && same(message.id, id)
                });
                self.give(&data).await;
                if done {
                    return Ok(());
                }
            }
            // Resumption needs the identifier of an event; the server may leave a cancelled request unanswered.
            if place.last.is_none() || self.0.running.is_cancelled(id) {
                break;
            }
            sleep(place.rest(attempt)).await;
            let outgoing =
                Outgoing::stream(self.headers(None, &Value::Null), place.last.as_deref());
            match self.0.remote.send(outgoing).await {
                Ok(answer) if answer.status().is_success() && is_stream(&answer) => {
                    events = Events::of(answer);
                }
                Ok(answer) if answer.status().is_server_error() => {}
                Ok(_) => break,
                Err(Unanswered::Network { .. }) => {}
                Err(
                    refused @ (Unanswered::Refused(_)
                    | Unanswered::TooLong { .. }
                    | Unanswered::Undelivered { .. }
                    | Unanswered::Beside { .. }),
                ) => return Err(refused.into()),
            }
        }
        let url = self.0.remote.url();
        Err(Failed::words(format!(
            "the stream of {url} ended before its response"
        )))
    }

    /// Opens the stream on which the server speaks by itself, and keeps it open.
    pub(super) fn listen(&self) {
        // Later revisions have no such stream.
        if self.is_since(&Value::Null) {
            return;
        }
        let relay = self.clone();
        let listening = tokio::spawn(async move {
            let mut place = Place::default();
            let mut failures = 0_u32;
            loop {
                let outgoing =
                    Outgoing::stream(relay.headers(None, &Value::Null), place.last.as_deref());
                match relay.0.remote.send(outgoing).await {
                    Ok(answer) if answer.status().is_success() && is_stream(&answer) => {
                        failures = 0;
                        let mut events = Events::of(answer);
                        while let Some(data) = events.message(&mut place).await {
                            relay.give(&data).await;
                        }
                    }
                    Ok(answer) if answer.status().is_server_error() => {
                        failures = failures.saturating_add(1);
                    }
                    // The server has no such stream, or its session ended.
                    Ok(_)
                    | Err(
                        Unanswered::Refused(_)
                        | Unanswered::TooLong { .. }
                        | Unanswered::Undelivered { .. }
                        | Unanswered::Beside { .. },
                    ) => return,
                    Err(Unanswered::Network { .. }) => failures = failures.saturating_add(1),
                }
                sleep(place.rest(failures)).await;
            }
        });
        if let Some(former) = self.session().stream.replace(listening) {
            former.abort();
        }
    }
}
