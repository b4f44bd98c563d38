//! The older transport: answers come on a stream of their own.

use std::time::Duration;

use http::StatusCode;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::legacy::Legacy;
use super::super::message::{Envelope, INITIALIZED, Kind, failure};
use super::super::remote::Unanswered;
use super::Relay;
use super::failed::Failed;

/// A server answers the request that begins a session within this time.
const BEGINNING: Duration = Duration::from_secs(20);

impl Relay {
    pub(super) fn legacy(&self) -> Option<Legacy> {
        self.session().legacy.clone()
    }

    /// Begins a session on a stream, with the client's request.
    pub(super) async fn begin_legacy(
        &self,
        line: &str,
        status: Option<StatusCode>,
    ) -> Result<(), Failed> {
        let legacy = self.open_stream(status).await?;
        let id = Envelope::of(line).and_then(|message| message.id);
        if let Some(id) = id {
            self.session().open.insert(id.get().to_owned());
        }
        {
            let mut session = self.session();
            session.is_older = true;
            session.legacy = Some(legacy.clone());
        }
        let sent = legacy.send(&self.0.remote, line).await;
        self.sent_to(&legacy, sent, id).await
    }

    /// Sends a request whose answer comes on the stream; on another stream, in another session, where the former has ended.
    pub(super) async fn exchange_on_stream(&self, line: &str, id: &RawValue) -> Result<(), Failed> {
        let open = || self.session().open.insert(id.get().to_owned());
        let mut legacy = self.renewed_stream(None).await?;
        open();
        let mut sent = legacy.send(&self.0.remote, line).await;
        if let Err(Unanswered::Undelivered { status, .. }) = &sent
            && matches!(
                *status,
                StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::BAD_REQUEST
            )
        {
            // The server no longer knows the session of the stream.
            self.session().open.remove(id.get());
            legacy = self.renewed_stream(Some(&legacy)).await?;
            open();
            sent = legacy.send(&self.0.remote, line).await;
        }
        self.sent_to(&legacy, sent, Some(id)).await
    }

    /// Returns the stream, or another one on which the client's own request began another session: where the stream has ended,
    /// or is this one.
    async fn renewed_stream(&self, over: Option<&Legacy>) -> Result<Legacy, Failed> {
        let _one = self.0.renewal.lock().await;
        let current = self.legacy().filter(|legacy| !legacy.has_ended());
        match (current, over) {
            (Some(current), None) => return Ok(current),
            (Some(current), Some(over)) if !current.is_same(over) => return Ok(current),
            (Some(_) | None, _) => {}
        }
        self.answer_open().await;
        let url = self.0.remote.url();
        let ended = || Failed::words(format!("the stream of {url} ended"));
        let initialize = self.session().initialize.clone().ok_or_else(ended)?;
        let id = Envelope::of(&initialize).and_then(|message| message.id);
        let id = id.ok_or_else(ended)?.get().to_owned();
        let legacy = self.open_stream(None).await?;
        let (told, answered) = oneshot::channel();
        self.session().repeated = Some((id, told));
        legacy.send(&self.0.remote, &initialize).await?;
        let begun = timeout(BEGINNING, answered).await;
        self.session().repeated = None;
        if !matches!(begun, Ok(Ok(()))) || legacy.has_ended() {
            return Err(ended());
        }
        legacy.send(&self.0.remote, INITIALIZED).await?;
        self.session().legacy = Some(legacy.clone());
        Ok(legacy)
    }

    /// Takes the answer to a request that was repeated on a new stream: the client has it already.
    pub(super) fn is_repeated(&self, text: &str) -> bool {
        let mut session = self.session();
        let Some((id, _)) = &session.repeated else {
            return false;
        };
        let answers = Envelope::of(text).is_some_and(|message| {
            let named = message.id.is_some_and(|named| named.get() == id);
            named && message.kind() == Some(Kind::Response)
        });
        if !answers {
            return false;
        }
        if let Some((_, told)) = session.repeated.take() {
            // The caller may have gone on.
            let _late = told.send(());
        }
        true
    }

    async fn open_stream(&self, status: Option<StatusCode>) -> Result<Legacy, Failed> {
        let (relay, after) = (self.clone(), self.clone());
        let number = {
            let mut session = self.session();
            session.streams = session.streams.saturating_add(1);
            session.streams
        };
        let opened = Legacy::open(
            &self.0.remote,
            move |text| {
                let relay = relay.clone();
                async move { relay.give(&text).await }
            },
            async move { after.stream_ended(number).await },
        );
        opened.await.map_err(|error| {
            let also = status.map(|status| format!("status {status} to a message, and "));
            Failed::words(format!("{}{error}", also.unwrap_or_default()))
        })
    }

    /// Handles the result of sending a request whose answer comes on the stream. Whoever takes it from the open ones
    /// answers it, once.
    pub(super) async fn sent_to(
        &self,
        legacy: &Legacy,
        sent: Result<(), Unanswered>,
        id: Option<&RawValue>,
    ) -> Result<(), Failed> {
        match sent {
            Ok(()) if legacy.has_ended() => {
                // It may have ended before the request counted as open.
                self.answer_open().await;
                Ok(())
            }
            Ok(()) => Ok(()),
            Err(unsent) => {
                let is_open = id.is_none_or(|id| self.session().open.remove(id.get()));
                if is_open { Err(unsent.into()) } else { Ok(()) }
            }
        }
    }

    async fn stream_ended(&self, number: u64) {
        if self.session().streams == number {
            self.answer_open().await;
        }
    }

    /// Answers the requests whose answers would have come on the stream that ended.
    async fn answer_open(&self) {
        let open = {
            let mut session = self.session();
            session.legacy = None;
            session.repeated = None;
            std::mem::take(&mut session.open)
        };
        let url = self.0.remote.url();
        let words = format!("the stream of {url} ended before its response");
        for id in open {
            if let Ok(id) = serde_json::from_str::<&RawValue>(&id) {
                self.give(&failure(id, &words, None)).await;
            }
        }
    }
}
