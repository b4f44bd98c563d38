//! The requests of the client that are under way, and their cancellation.
//!
//! Up to revision 2025-11-25 a notification cancels a request, and the server may end the stream of the response without
//! one. From 2026-07-28 on the end of that stream cancels it: servers drop the notification.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::Notify;

/// The requests under way, by their identifiers.
#[derive(Default)]
pub(super) struct Running(Mutex<HashMap<String, Request>>);

struct Request {
    /// The end of its stream cancels it.
    by_closing: bool,
    is_cancelled: bool,
    closing: Arc<Notify>,
}

/// Returns an identifier as a key: `"1"` is not `1`.
fn key(id: &RawValue) -> String {
    let value: Value = serde_json::from_str(id.get()).unwrap_or_default();
    value.to_string()
}

impl Running {
    fn requests(&self) -> MutexGuard<'_, HashMap<String, Request>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a request; returns what ends it early.
    pub(super) fn begin(&self, id: &RawValue, by_closing: bool) -> Arc<Notify> {
        let closing = Arc::new(Notify::new());
        let request = Request {
            by_closing,
            is_cancelled: false,
            closing: Arc::clone(&closing),
        };
        self.requests().insert(key(id), request);
        closing
    }

    /// Removes a request; returns true if the client cancelled it.
    pub(super) fn end(&self, id: &RawValue) -> bool {
        let ended = self.requests().remove(&key(id));
        ended.is_some_and(|request| request.is_cancelled)
    }

    /// Returns true if the client cancelled the request.
    pub(super) fn is_cancelled(&self, id: &RawValue) -> bool {
        let requests = self.requests();
        requests
            .get(&key(id))
            .is_some_and(|request| request.is_cancelled)
    }

    /// Cancels a request; returns true if its stream is closed for that, and `None` for a request that is not under way.
    pub(super) fn cancel(&self, id: &Value) -> Option<bool> {
        let mut requests = self.requests();
        let request = requests.get_mut(&id.to_string())?;
        request.is_cancelled = true;
        if request.by_closing {
            request.closing.notify_one();
        }
        Some(request.by_closing)
    }
}
