//! From lines of the client to requests, and from answers and streams to lines.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::Transport;
use super::authorization::Refused;
use super::legacy::Legacy;
use super::message::{Envelope, Kind, failure, on_one_line, version_of};
use super::remote::{
    Outgoing, Remote, SESSION, Unanswered, VERSION, content_type, is_foreign, is_stream,
};
use super::running::Running;
use super::standard_headers::{SINCE, Tools};
use super::stream::{Events, Place};

/// Requests under way at once; further ones wait.
const UNDER_WAY: usize = 4_096;
/// A notification is delivered before the next message is sent, unless it takes longer than this.
const IN_ORDER: Duration = Duration::from_secs(10);
/// Attempts to resume the stream of an answer.
const RESUMPTIONS: u32 = 6;
/// The end of a session may take this long.
const FAREWELL: Duration = Duration::from_secs(2);

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

/// The agreement of the two ends.
#[derive(Default)]
struct Session {
    id: Option<HeaderValue>,
    version: Option<String>,
    /// The client's request that began the session, for a new one where the server ends it.
    initialize: Option<String>,
    legacy: Option<Legacy>,
    stream: Option<JoinHandle<()>>,
    tools: Tools,
    /// Methods of requests whose results are looked at.
    asked: HashMap<String, String>,
    /// Requests whose answers come on the stream of the older transport.
    open: HashSet<String>,
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
        if let Some(legacy) = self.legacy() {
            self.session().open.insert(id.get().to_owned());
            let sent = legacy.send(&self.0.remote, line).await;
            return self.sent_to(&legacy, sent, Some(id)).await;
        }
        if self.0.transport == Transport::SseOnly && method == "initialize" {
            return self.begin_legacy(line, None).await;
        }
        let (mut answer, sent) = self.post(line).await?;
        if answer.status() == StatusCode::NOT_FOUND
            && let Some(ended) = sent
        {
            self.renew_session(&ended).await?;
            (answer, _) = self.post(line).await?;
        }
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
        let url = self.0.remote.url().to_string();
        let kind = content_type(&answer);
        let text = self.0.remote.text(answer).await?;
        // An error of the server is its answer, whatever the status.
        let answers = Envelope::of(&text)
            .is_some_and(|message| message.kind() == Some(Kind::Response) && same(message.id, id));
        if answers {
            self.give(&text).await;
            return Ok(());
        }
        let kind = kind.unwrap_or_else(|| "no content type".to_owned());
        let said = Envelope::of(&text)
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

    fn legacy(&self) -> Option<Legacy> {
        self.session().legacy.clone()
    }

    async fn begin_legacy(&self, line: &str, status: Option<StatusCode>) -> Result<(), Failed> {
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
    async fn sent_to(
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
    async fn legacy_ended(&self) {
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

    /// The headers that go with a message, or with a request for a stream.
    fn headers(&self, method: Option<&str>, params: &Value) -> HeaderMap {
        let is_since = self.is_since(params);
        let session = self.session();
        let mut headers = HeaderMap::new();
        let version = version_of(params).or(session.version.as_deref());
        if is_since && let Some(method) = method {
            headers.extend(session.tools.headers(method, params));
        }
        if let Some(Ok(version)) = version.map(HeaderValue::from_str) {
            headers.insert(VERSION, version);
        }
        if let Some(id) = session.id.clone().filter(|_| method != Some("initialize")) {
            headers.insert(SESSION, id);
        }
        headers
    }

    /// Sends a message; returns the answer, and the session that it was sent in.
    async fn post(
        &self,
        line: &str,
    ) -> Result<(reqwest::Response, Option<HeaderValue>), Unanswered> {
        let message = Envelope::of(line);
        let params = message.as_ref().map_or(Value::Null, Envelope::parameters);
        let method = message.and_then(|message| message.method);
        let tool = params.get("name").and_then(Value::as_str);
        let operation = match (method.as_deref(), tool) {
            (Some("tools/call"), Some(tool)) => format!("tools/call {tool}"),
            (Some(method), _) => method.to_owned(),
            (None, _) => "a response".to_owned(),
        };
        let headers = self.headers(method.as_deref(), &params);
        let sent = headers.get(SESSION).cloned();
        let outgoing = Outgoing::post(&operation, headers, line);
        let answer = self.0.remote.send(outgoing).await?;
        let begins = method.as_deref() == Some("initialize") && answer.status().is_success();
        let named = answer.headers().get(SESSION).cloned();
        let mut session = self.session();
        // A late answer of a former session names none for the present one.
        if begins || named.is_some() && session.id == sent {
            session.id = named;
        }
        drop(session);
        Ok((answer, sent))
    }

    /// Gives the client the messages of an answer's stream until the response has come.
    async fn follow(&self, answer: reqwest::Response, id: &RawValue) -> Result<(), Failed> {
        let mut place = Place::default();
        let mut events = Events::of(answer);
        for attempt in 0..=RESUMPTIONS {
            while let Some((_, data)) = events.next(&mut place).await {
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
    fn listen(&self) {
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
                        while let Some((_, data)) = events.next(&mut place).await {
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

    /// Begins a new session in the place of one that the server ended, with the client's own request.
    async fn renew_session(&self, ended: &HeaderValue) -> Result<(), Failed> {
        let _one = self.0.renewal.lock().await;
        if self.session().id.as_ref() != Some(ended) {
            return Ok(());
        }
        let initialize = self.session().initialize.clone();
        let initialize = initialize.ok_or_else(|| Failed::words("the server ended the session"))?;
        // Until the new session has begun, further requests find that the former one has ended.
        let (answer, _) = self.post(&initialize).await?;
        let status = answer.status();
        if !status.is_success() {
            let url = self.0.remote.url();
            return Err(Failed::words(format!(
                "{url} ended the session, and answered a new one with status {status}"
            )));
        }
        // The client has its answer already; this one is read to its end and dropped.
        drop(self.0.remote.text(answer).await);
        let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        let _accepted = self.post(initialized).await?;
        self.listen();
        Ok(())
    }

    /// Looks at the results that the transport depends on.
    fn note(&self, text: &str) {
        let mut session = self.session();
        if session.asked.is_empty() && session.open.is_empty() {
            return;
        }
        let Some(message) =
            Envelope::of(text).filter(|message| message.kind() == Some(Kind::Response))
        else {
            return;
        };
        if let Some(id) = message.id {
            session.open.remove(id.get());
        }
        let method = message.id.and_then(|id| session.asked.remove(id.get()));
        let result = message
            .result
            .map(|raw| serde_json::from_str::<Value>(raw.get()));
        let (Some(method), Some(Ok(result))) = (method, result) else {
            return;
        };
        if method == "initialize" {
            let version = result.get("protocolVersion").and_then(Value::as_str);
            session.version = version.map(str::to_owned);
        } else {
            session.tools.learn(&result);
        }
    }

    /// Ends the session.
    pub(super) async fn close(self) {
        let (id, stream) = {
            let mut session = self.session();
            (session.id.take(), session.stream.take())
        };
        if let Some(stream) = stream {
            stream.abort();
        }
        if let Some(id) = id {
            let mut headers = self.headers(None, &Value::Null);
            headers.insert(SESSION, id);
            let farewell = Outgoing {
                method: Method::DELETE,
                url: None,
                operation: "the end of the session",
                headers,
                body: None,
            };
            let _unanswered = timeout(FAREWELL, self.0.remote.send(farewell)).await;
        }
    }
}

/// Whether two identifiers are the same JSON value.
fn same(one: Option<&RawValue>, other: &RawValue) -> bool {
    let value = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).ok();
    one.is_some_and(|one| one.get() == other.get() || value(one) == value(other))
}

/// Why a request has no answer of the server.
struct Failed {
    words: String,
    data: Option<Value>,
}

impl Failed {
    fn words(words: impl Into<String>) -> Self {
        Self {
            words: words.into(),
            data: None,
        }
    }
}

impl From<Unanswered> for Failed {
    fn from(unanswered: Unanswered) -> Self {
        let data = match &unanswered {
            Unanswered::Refused(Refused::SignIn { url }) => Some(json!({ "url": url })),
            Unanswered::Refused(_)
            | Unanswered::Network { .. }
            | Unanswered::TooLong { .. }
            | Unanswered::Beside { .. } => None,
        };
        Self {
            words: unanswered.to_string(),
            data,
        }
    }
}
