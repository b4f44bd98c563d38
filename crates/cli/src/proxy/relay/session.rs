//! The session of the two ends: what they agreed on, its headers, its renewal and its end.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::legacy::Legacy;
use super::super::message::{Envelope, INITIALIZED, Kind, version_of};
use super::super::remote::{Outgoing, SESSION, Unanswered, VERSION, content_type};
use super::super::standard_headers::Tools;
use super::failed::Failed;
use super::{Relay, same};

/// The end of a session may take this long.
const FAREWELL: Duration = Duration::from_secs(2);

/// The answer to a message.
pub(super) enum Answer {
    /// Its body is not read.
    Begun(reqwest::Response),
    /// It is read to its end.
    Whole {
        status: StatusCode,
        kind: Option<String>,
        text: String,
    },
}

/// The agreement of the two ends.
#[derive(Default)]
pub(super) struct Session {
    pub(super) id: Option<HeaderValue>,
    pub(super) version: Option<String>,
    /// The client's request that began the session, for a new one where the server ends it.
    pub(super) initialize: Option<String>,
    pub(super) legacy: Option<Legacy>,
    pub(super) stream: Option<JoinHandle<()>>,
    pub(super) tools: Tools,
    /// Methods of requests whose results are looked at.
    pub(super) asked: HashMap<String, String>,
    /// Requests whose answers come on the stream of the older transport.
    pub(super) open: HashSet<String>,
    /// Whether the server has the older transport only.
    pub(super) is_older: bool,
    /// The streams of the older transport so far: the end of a former one concerns nobody.
    pub(super) streams: u64,
    /// The request that was repeated to begin another session on a new stream of the older transport, and the task that awaits its
    /// answer: the client has one already.
    pub(super) repeated: Option<(String, oneshot::Sender<()>)>,
}

impl Relay {
    /// The headers that go with a message, or with a request for a stream.
    pub(super) fn headers(&self, method: Option<&str>, params: &Value) -> HeaderMap {
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
    pub(super) async fn post(
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

    /// Sends a request in the session, and once more in a new one where the server has ended it. The transport names status
    /// 404 for that; many servers answer 400 with words about the session.
    pub(super) async fn post_in_session(
        &self,
        line: &str,
        id: &RawValue,
    ) -> Result<Answer, Failed> {
        let (answer, sent) = self.post(line).await?;
        let Some(ended) = sent else {
            return Ok(Answer::Begun(answer));
        };
        match answer.status() {
            StatusCode::NOT_FOUND => {}
            status @ StatusCode::BAD_REQUEST => {
                let kind = content_type(&answer);
                let text = self.0.remote.text(answer).await?;
                if !says_that_the_session_ended(&text, id) {
                    return Ok(Answer::Whole { status, kind, text });
                }
            }
            _ => return Ok(Answer::Begun(answer)),
        }
        self.renew_session(&ended).await?;
        let (answer, _) = self.post(line).await?;
        Ok(Answer::Begun(answer))
    }

    /// Begins a new session in the place of one that the server ended, with the client's own request.
    pub(super) async fn renew_session(&self, ended: &HeaderValue) -> Result<(), Failed> {
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
        let _accepted = self.post(INITIALIZED).await?;
        self.listen();
        Ok(())
    }

    /// Looks at the results that the transport depends on.
    pub(super) fn note(&self, text: &str) {
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
    pub(in super::super) async fn close(self) {
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

/// Whether a refusal is about the session, and no answer to the request of this identifier.
fn says_that_the_session_ended(text: &str, id: &RawValue) -> bool {
    let answers = Envelope::of(text).is_some_and(|message| same(message.id, id));
    !answers && text.to_ascii_lowercase().contains("session")
}
