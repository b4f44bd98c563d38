//! Observing a driver.

use super::store::StoreError;
use mcp_auth_machine::{Action, Event};

/// An event or action, for display. Its types redact secrets.
#[derive(Debug)]
pub enum Note<'a> {
    /// An event for the machine.
    In(&'a Event),
    /// An action of the machine.
    Out(&'a Action),
    /// An error of the store, which the machine learns only as a failed action.
    Store(&'a StoreError),
}

type See = Box<dyn FnMut(Note<'_>) + Send>;

/// The host's closure, if set.
#[derive(Default)]
pub(super) struct Watch(Option<See>);

impl Watch {
    pub(super) fn new(watch: impl FnMut(Note<'_>) + Send + 'static) -> Self {
        Self(Some(Box::new(watch)))
    }

    pub(super) fn see(&mut self, note: Note<'_>) {
        #[cfg(feature = "tracing")]
        match &note {
            Note::In(event) => tracing::debug!(?event),
            Note::Out(action) => tracing::debug!(?action),
            Note::Store(error) => tracing::warn!(%error),
        }
        if let Some(watch) = &mut self.0 {
            watch(note);
        }
    }
}

#[cfg(all(test, feature = "tracing"))]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::fmt::{Debug, Write};
    use std::sync::{Arc, Mutex};

    use http::HeaderMap;
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};

    use super::*;
    use mcp_auth_machine::event::Challenge;
    use mcp_auth_machine::wire::callback::Callback;

    /// Records the fields of every event.
    #[derive(Clone, Default)]
    struct Writer(Arc<Mutex<String>>);

    impl Visit for Writer {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            writeln!(self.0.lock().unwrap(), "{field}: {value:?}").unwrap();
        }
    }

    impl tracing::Subscriber for Writer {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &tracing::Event<'_>) {
            event.record(&mut self.clone());
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn sec32_what_is_traced_shows_no_secret() {
        let writer = Writer::default();
        tracing::subscriber::with_default(writer.clone(), || {
            let mut watch = Watch::default();
            let challenge = Challenge::new("tools/list", 401, HeaderMap::new());
            let challenge = challenge.sent("Bearer hidden-token");
            watch.see(Note::In(&Event::Challenged(challenge)));
            let callback = "http://127.0.0.1:9/callback?code=hidden-code&state=hidden-state";
            let callback = Callback::from_url(callback);
            watch.see(Note::In(&Event::CallbackParams(callback)));
        });
        let text = writer.0.lock().unwrap().clone();
        assert!(text.contains("event: Challenged"), "{text}");
        assert!(text.contains("event: CallbackParams"), "{text}");
        assert!(!text.contains("hidden"), "{text}");
    }
}
