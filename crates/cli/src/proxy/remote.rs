//! Requests to the MCP server, with the authorization of the account.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use mcp_auth_client::asynchronous::{Connections, http_client};
use url::Url;

use super::authorization::{Authorization, Refused};
use crate::probe::USER_AGENT;

const BOTH: &str = "application/json, text/event-stream";
pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
pub(super) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
const EVENTS: &str = "text/event-stream";
const CONNECT: Duration = Duration::from_secs(20);
/// The longest message of a server, in bytes; images and files are parts of messages.
pub(super) const MOST: usize = 64 * 1_024 * 1_024;

/// The MCP server.
#[derive(Clone)]
pub(super) struct Remote {
    connections: Arc<Connections>,
    url: Url,
    headers: HeaderMap,
    authorization: Arc<Authorization>,
}

/// The reason why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("{url} cannot be reached: {words}")]
    Network { url: String, words: String },
    #[error("{url} sent a message of more than {MOST} bytes")]
    TooLong { url: String },
    #[error("{url} answered a message with status {status}")]
    Undelivered { url: String, status: StatusCode },
    #[error("the token is not for {url}, which the stream names: {why}")]
    Beside { url: String, why: &'static str },
}

/// One request, without its authorization.
pub(super) struct Outgoing<'a> {
    pub(super) method: Method,
    pub(super) url: Option<&'a Url>,
    /// The name that attempts are counted by.
    pub(super) operation: &'a str,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<&'a str>,
}

impl<'a> Outgoing<'a> {
    /// A message.
    pub(super) fn post(operation: &'a str, headers: HeaderMap, body: &'a str) -> Self {
        let mut headers = headers;
        headers.insert(ACCEPT, HeaderValue::from_static(BOTH));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self {
            method: Method::POST,
            url: None,
            operation,
            headers,
            body: Some(body),
        }
    }

    /// The server's stream, after the event that was received last.
    pub(super) fn stream(headers: HeaderMap, last: Option<&str>) -> Self {
        let mut headers = headers;
        headers.insert(ACCEPT, HeaderValue::from_static(EVENTS));
        if let Some(Ok(last)) = last.map(HeaderValue::from_str) {
            headers.insert(LAST_EVENT, last);
        }
        Self {
            method: Method::GET,
            url: None,
            operation: "the stream",
            headers,
            body: None,
        }
    }
}

impl Remote {
    pub(super) fn new(
        url: &str,
        headers: HeaderMap,
        authorization: Authorization,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let url = Url::parse(url)?;
        let (server, trust) = (url.clone(), authorization.trust().clone());
        let connections = Connections::new(move || {
            let settings = reqwest::Client::builder()
                .user_agent(USER_AGENT)
                // The response is not decompressed (QUIRK-35).
                .default_headers(HeaderMap::from_iter([(
                    ACCEPT_ENCODING,
                    HeaderValue::from_static("identity"),
                )]))
                .connect_timeout(CONNECT);
            http_client(settings, &trust, &server)
        })?;
        Ok(Self {
            connections: Arc::new(connections),
            url,
            headers,
            authorization: Arc::new(authorization),
        })
    }

    /// Ends a sign-in that the user has not completed.
    pub(super) async fn close(&self) {
        self.authorization.close().await;
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Sends a request until its answer stands: after a refusal with another token, or after a sign-in.
    pub(super) async fn send(
        &self,
        outgoing: Outgoing<'_>,
    ) -> Result<reqwest::Response, Unanswered> {
        let url = outgoing.url.unwrap_or(&self.url);
        let method = &outgoing.method;
        let mut call = self.authorization.call(outgoing.operation, method, url);
        let mut beside = false;
        loop {
            let presented = match call.headers().await {
                // The endpoint of the older transport: the server of the stream named it.
                Err(Refused::Outside) if url != &self.url && !beside => {
                    self.may_be_beside(url)?;
                    beside = true;
                    call = self
                        .authorization
                        .call(outgoing.operation, method, &self.url);
                    call.headers().await?
                }
                other => other?,
            };
            // Its proof is for the URL of the stream.
            if beside && presented.contains_key("dpop") {
                return Err(Unanswered::Beside {
                    url: url.to_string(),
                    why: "a token that is bound to a key is used within its resource only (USE-04)",
                });
            }
            let http = self.connections.client();
            let mut request = http.request(method.clone(), url.clone());
            request = request.headers(self.headers.clone());
            request = request.headers(outgoing.headers.clone());
            request = request.headers(presented);
            if let Some(body) = outgoing.body {
                request = request.body(body.to_owned());
            }
            let answer = request.send().await.map_err(|error| self.network(&error))?;
            self.connections.answered(answer.status());
            let again = call.again(answer.status(), answer.headers()).await?;
            if !again {
                return Ok(answer);
            }
        }
    }

    /// Checks that an endpoint outside of the token's resource is in the directory of the stream: on a host with
    /// tenants by path, a server cannot have the token sent to another tenant.
    fn may_be_beside(&self, endpoint: &Url) -> Result<(), Unanswered> {
        if is_beside(&self.url, endpoint) {
            return Ok(());
        }
        Err(Unanswered::Beside {
            url: endpoint.to_string(),
            why: "it is neither within the resource of the token nor in the directory of the stream",
        })
    }

    /// Reads the body of an answer, up to [`MOST`] bytes.
    pub(super) async fn text(&self, mut answer: reqwest::Response) -> Result<String, Unanswered> {
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.network(&error))? {
            if body.len().saturating_add(chunk.len()) > MOST {
                let url = self.url.to_string();
                return Err(Unanswered::TooLong { url });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    pub(super) fn network(&self, error: &reqwest::Error) -> Unanswered {
        let mut words = Vec::new();
        let mut source: Option<&dyn std::error::Error> = Some(error);
        while let Some(error) = source {
            words.push(error.to_string());
            source = error.source();
        }
        Unanswered::Network {
            url: self.url.to_string(),
            words: words.join(": "),
        }
    }
}

/// Whether an endpoint is in the directory of the stream that named it, on the same origin.
fn is_beside(stream: &Url, endpoint: &Url) -> bool {
    let path = stream.path();
    let end = path.rfind('/').map_or(0, |at| at.saturating_add(1));
    let directory = path.get(..end).unwrap_or_default();
    stream.origin() == endpoint.origin() && endpoint.path().starts_with(directory)
}

/// Whether an answer is a stream of events.
pub(super) fn is_stream(answer: &reqwest::Response) -> bool {
    content_type(answer).is_some_and(|text| text.starts_with(EVENTS))
}

pub(super) fn content_type(answer: &reqwest::Response) -> Option<String> {
    let value = answer.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.trim().to_ascii_lowercase())
}

/// Whether a server that gives this status to a message may have the older transport only.
pub(super) fn is_foreign(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 404 | 405)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// USE-04: a stream has the token sent to its own directory, and to no other tenant of its host.
    #[test]
    fn an_endpoint_beside_the_stream_is_in_its_directory() {
        let beside = |stream: &str, endpoint: &str| {
            let stream = Url::parse(stream).unwrap();
            let endpoint = stream.join(endpoint).unwrap();
            is_beside(&stream, &endpoint)
        };
        let tenant = "https://mcp.example/tenant-a/sse";
        for (stream, endpoint) in [
            ("https://mcp.example/sse", "/messages/?session_id=1"),
            (tenant, "messages?session_id=1"),
            (tenant, "/tenant-a/messages/1"),
            ("https://mcp.example", "/messages"),
        ] {
            assert!(beside(stream, endpoint), "{stream} {endpoint}");
        }
        for endpoint in [
            "/tenant-b/messages",
            "/messages",
            "../tenant-b/messages",
            "/tenant-a/../tenant-b/messages",
            "/tenant-ab/messages",
            "https://other.example/tenant-a/messages",
            "http://mcp.example/tenant-a/messages",
        ] {
            assert!(!beside(tenant, endpoint), "{endpoint}");
        }
    }
}
