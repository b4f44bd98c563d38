//! The older transport: answers come on a stream of their own.

use http::StatusCode;
use serde_json::value::RawValue;

use super::super::legacy::Legacy;
use super::super::message::{Envelope, failure};
use super::super::remote::Unanswered;
use super::Relay;
use super::failed::Failed;

impl Relay {
    pub(super) fn legacy(&self) -> Option<Legacy> {
        self.session().legacy.clone()
    }

    pub(super) async fn begin_legacy(
        &self,
        line: &str,
        status: Option<StatusCode>,
    ) -> Result<(), Failed> {
        let (relay, after) = (self.clone(), self.clone());
        let opened = Legacy::open(
            &self.0.remote,
            move |text| {
                let relay = relay.clone();
                async move { relay.give(&text).await }
            },
            async move { after.legacy_ended().await },
        );
        let legacy = opened.await.map_err(|error| {
            let also = status.map(|status| format!("status {status} to a message, and "));
            Failed::words(format!("{}{error}", also.unwrap_or_default()))
        })?;
        let id = Envelope::of(line).and_then(|message| message.id);
        if let Some(id) = id {
            self.session().open.insert(id.get().to_owned());
        }
        self.session().legacy = Some(legacy.clone());
        let sent = legacy.send(&self.0.remote, line).await;
        self.sent_to(&legacy, sent, id).await
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
                self.legacy_ended().await;
                Ok(())
            }
            Ok(()) => Ok(()),
            Err(unsent) => {
                let is_open = id.is_none_or(|id| self.session().open.remove(id.get()));
                if is_open { Err(unsent.into()) } else { Ok(()) }
            }
        }
    }

    /// Answers the requests whose answers would have come on the stream that ended.
    pub(super) async fn legacy_ended(&self) {
        let open = {
            let mut session = self.session();
            session.legacy = None;
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
