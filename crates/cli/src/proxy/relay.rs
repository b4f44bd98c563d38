//! From lines of the client to requests, and from answers and streams to lines.

mod failed;
mod older;
mod session;
mod streams;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::timeout;

use self::failed::Failed;
use self::session::{Answer, Session};
use super::Transport;
use super::message::{Envelope, Kind, failure, on_one_line, version_of};
use super::remote::{Remote, VERSION, content_type, is_foreign, is_stream};
use super::running::Running;
use super::standard_headers::SINCE;

/// Requests under way at once; further ones wait.
const UNDER_WAY: usize = 4_096;
/// A notification is delivered before the next message is sent, unless it takes longer than this.
const IN_ORDER: Duration = Duration::from_secs(10);

/// The bridge between one client and one MCP server.
#[derive(Clone)]
pub(super) struct Relay(Arc<Inner>);

struct Inner {
    remote: Remote,
    lines: mpsc::Sender<String>,
    transport: Transport,
    session: Mutex<Session>,
    under_way: Arc<Semaphore>,
    running: Running,
    /// One at a time begins a new session after the former one ended.
    renewal: tokio::sync::Mutex<()>,
}

impl Relay {
    pub(super) fn new(remote: Remote, lines: mpsc::Sender<String>, transport: Transport) -> Self {
        Self(Arc::new(Inner {
            remote,
            lines,
            transport,
            session: Mutex::default(),
            under_way: Arc::new(Semaphore::new(UNDER_WAY)),
            running: Running::default(),
            renewal: tokio::sync::Mutex::default(),
        }))
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.0
            .session
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the client a message.
    async fn give(&self, text: &str) {
        if self.is_repeated(text) {
            return;
        }
        self.note(text);
        // The client may be gone: then nothing is left to tell.
        let _gone = self.0.lines.send(on_one_line(text)).await;
    }

    /// Takes a message of the client.
    pub(super) async fn take(&self, line: String) {
        let kind = Envelope::of(&line).and_then(|message| message.kind());
        match kind {
            Some(Kind::Request) => {
                let relay = self.clone();
                // The semaphore is never closed.
                let permit = Arc::clone(&self.0.under_way).acquire_owned().await;
                let closing = self.begin(&line);
                tokio::spawn(async move {
                    relay.request(&line, &closing).await;
                    drop(permit);
                });
            }
            Some(Kind::Notification) if self.cancels(&line) => {}
            Some(Kind::Notification | Kind::Response) => {
                let relay = self.clone();
                let sending = tokio::spawn(async move { relay.notify(&line).await });
                // Delivered in order; a slow one continues by itself.
                let _late = timeout(IN_ORDER, sending).await;
            }
            None => {
                let words = "the line is not one JSON-RPC message";
                let error = json!({ "code": -32_700, "message": words });
                let answer = json!({ "jsonrpc": "2.0", "id": null, "error": error });
                self.give(&answer.to_string()).await;
            }
        }
    }

    /// Notes a request as under way; returns what ends it early.
    fn begin(&self, line: &str) -> Arc<Notify> {
        let message = Envelope::of(line);
        let params = message.as_ref().map_or(Value::Null, Envelope::parameters);
        let by_closing = self.is_since(&params);
        match message.and_then(|message| message.id) {
            Some(id) => self.0.running.begin(id, by_closing),
            None => Arc::default(),
        }
    }

    /// Returns true if a message is of revision 2026-07-28 or later.
    fn is_since(&self, params: &Value) -> bool {
        let session = self.session();
        let version = version_of(params).or(session.version.as_deref());
        version.is_some_and(|version| version >= SINCE)
    }

    /// Cancels the request that a notification names; returns true if nothing is to be sent for that.
    fn cancels(&self, line: &str) -> bool {
        let Some(message) = Envelope::of(line) else {
            return false;
        };
        if message.method.as_deref() != Some("notifications/cancelled") {
            return false;
        }
        let params = message.parameters();
        let id = params.get("requestId").unwrap_or(&Value::Null);
        let cancelled = self.0.running.cancel(id);
        cancelled.unwrap_or_else(|| self.is_since(&params))
    }

    /// Sends a request, and gives the client its answer, whatever happens, unless the client cancels it.
    async fn request(&self, line: &str, closing: &Notify) {
        let Some((id, method)) =
            Envelope::of(line).and_then(|message| Some((message.id?, message.method?)))
        else {
            return;
        };
        if method == "initialize" {
            self.session().initialize = Some(line.to_owned());
        }
        if matches!(method.as_str(), "initialize" | "tools/list") {
            self.session()
                .asked
                .insert(id.get().to_owned(), method.clone());
        }
        let exchanged = tokio::select! {
            exchanged = self.exchange(line, id, &method) => exchanged,
            () = closing.notified() => Err(Failed::words("cancelled")),
        };
        let is_cancelled = self.0.running.end(id);
        if let Err(failed) = exchanged {
            self.session().asked.remove(id.get());
            if !is_cancelled {
                self.give(&failure(id, &failed.words, failed.data)).await;
            }
        }
    }

    async fn exchange(&self, line: &str, id: &RawValue, method: &str) -> Result<(), Failed> {
        if self.session().is_older && method != "initialize" {
            return self.exchange_on_stream(line, id).await;
        }
        if self.0.transport == Transport::SseOnly && method == "initialize" {
            return self.begin_legacy(line, None).await;
        }
        let answer = match self.post_in_session(line, id).await? {
            Answer::Begun(answer) => answer,
            Answer::Whole { status, kind, text } => {
                return self.conclude(id, method, status, kind, &text).await;
            }
        };
        let status = answer.status();
        if method == "initialize"
            && is_foreign(status)
            && self.0.transport == Transport::HttpFirst
            && !self.is_json_rpc(&answer)
        {
            return self.begin_legacy(line, Some(status)).await;
        }
        if status.is_success() && is_stream(&answer) {
            return self.follow(answer, id).await;
        }
        let kind = content_type(&answer);
        let text = self.0.remote.text(answer).await?;
        self.conclude(id, method, status, kind, &text).await
    }

    /// Gives the client the answer in a body. An error of the server is its answer, whatever the status.
    async fn conclude(
        &self,
        id: &RawValue,
        method: &str,
        status: StatusCode,
        kind: Option<String>,
        text: &str,
    ) -> Result<(), Failed> {
        let answers = Envelope::of(text)
            .is_some_and(|message| message.kind() == Some(Kind::Response) && same(message.id, id));
        if answers {
            self.give(text).await;
            return Ok(());
        }
        let url = self.0.remote.url();
        let kind = kind.unwrap_or_else(|| "no content type".to_owned());
        let said = Envelope::of(text)
            .and_then(|message| message.error.map(RawValue::get).map(str::to_owned));
        Err(Failed {
            words: format!(
                "{url} answered {method} with status {status} and {kind}, not with a JSON-RPC response"
            ),
            data: said.and_then(|said| serde_json::from_str(&said).ok()),
        })
    }

    /// Whether an answer is the server's own word rather than a page in front of it.
    fn is_json_rpc(&self, answer: &reqwest::Response) -> bool {
        content_type(answer).is_some_and(|kind| kind.starts_with("application/json"))
            && answer.headers().contains_key(VERSION)
    }

    /// Sends a notification or a response.
    async fn notify(&self, line: &str) {
        let sent = match self.legacy() {
            Some(legacy) => legacy.send(&self.0.remote, line).await,
            None => self.post(line).await.map(drop),
        };
        if let Err(failed) = sent {
            eprintln!("mcp-auth: a notification was not delivered: {failed}");
            return;
        }
        let begun = Envelope::of(line)
            .is_some_and(|message| message.method.as_deref() == Some("notifications/initialized"));
        if begun && self.legacy().is_none() {
            self.listen();
        }
    }
}

/// Whether two identifiers are the same JSON value.
fn same(one: Option<&RawValue>, other: &RawValue) -> bool {
    let value = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).ok();
    one.is_some_and(|one| one.get() == other.get() || value(one) == value(other))
}
