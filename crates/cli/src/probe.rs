//! The first request to an MCP server: `initialize`, and its classification.

use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use mcp_auth_client::{HttpClient, TlsFault};
use mcp_auth_machine::wire::http_fields::is_transient;
use serde_json::{Value, json};

use crate::speaker;

/// The `User-Agent` of all requests of the command.
pub(crate) const USER_AGENT: &str = concat!("mcp-auth/", env!("CARGO_PKG_VERSION"));

/// How many bytes of a response are read: enough to recognise a JSON-RPC object.
const BODY: u64 = 1_048_576;

/// The kind of server at the URL.
pub(crate) enum Answer {
    /// 401 or 403: the server requires authorization, or more of it.
    Refused(u16, HeaderMap),
    /// A JSON-RPC response or an event stream: an MCP server that accepted the request.
    Mcp,
    /// Any other response: not an MCP server, or one that is unavailable.
    Other(Other),
}

/// A response that is not from an MCP server.
#[derive(Debug)]
pub(crate) struct Other {
    /// The URL of the request.
    pub(crate) url: String,
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    /// The target of a redirect.
    pub(crate) location: Option<String>,
}

impl Other {
    /// Returns true if a retry may succeed later.
    pub(crate) fn is_temporary(&self) -> bool {
        is_transient(self.status)
    }

    /// Returns true if it may mean that the token is not valid: some servers answer 400 or 500, or redirect
    /// to a page, where 401 is required.
    pub(crate) fn may_concern_the_token(&self) -> bool {
        matches!(self.status, 300..=500) && !matches!(self.status, 408 | 425 | 429)
    }

    /// Returns a stable name.
    pub(crate) fn code(&self) -> &'static str {
        match self.status {
            _ if self.is_temporary() => "mcp_server_unavailable",
            300..400 => "mcp_url_redirects",
            _other => "not_an_mcp_server",
        }
    }

    /// Returns the response and the next step, for the user who gave the URL.
    pub(crate) fn words(&self) -> String {
        let Self { url, status, .. } = self;
        let kind = self.content_type.as_deref().unwrap_or("no content type");
        if let Some(to) = &self.location {
            return format!(
                "{url} answered {status}, a redirect to {to}: if that is the MCP server, use this URL"
            );
        }
        let next = match status {
            429 => "the server asks for fewer requests; try again later",
            _ if self.is_temporary() => "the server cannot answer now; try again later",
            404 => "there is nothing at this URL; look at its path",
            405 => {
                "this URL takes no POST, as an MCP server of the Streamable HTTP transport does; look \
                 at its path"
            }
            _other => "an MCP server does not answer so; look at the URL",
        };
        format!("{url} answered {status} ({kind}) to `initialize`: {next}")
    }
}

/// Returns the option that helps after a TLS failure.
pub(crate) fn remedy(fault: TlsFault) -> String {
    match fault {
        TlsFault::UnknownIssuer => format!(
            "; if a private certificate authority signed it, name its certificate in SSL_CERT_FILE, or {}",
            speaker::again("--ca-file FILE")
        ),
        TlsFault::ClientCertificate => format!(
            "; the server wants a certificate of the client: {}",
            speaker::again(
                "--client-cert and --client-cert-key, and --client-cert-host where another server announced it"
            )
        ),
        _ => String::new(),
    }
}

/// Returns the remedy for a server on this machine that may answer without TLS.
fn without_tls(url: &str, words: &str) -> String {
    let is_here = url::Url::parse(url).is_ok_and(|url| {
        let host = url.host_str().unwrap_or_default();
        host == "localhost" || host == "[::1]" || host.starts_with("127.")
    });
    match url.strip_prefix("https://") {
        Some(plain) if is_here && words.contains("no TLS connection") => {
            format!("; if the server has no TLS at this port, use http://{plain}")
        }
        Some(_) | None => String::new(),
    }
}

/// Sends `initialize`, with the headers of a token or without.
///
/// # Errors
/// The error of the HTTP client, without a response.
pub(crate) fn initialize(
    http: &HttpClient,
    url: &str,
    token: &HeaderMap,
    end: Instant,
) -> Result<Answer, String> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        let limit = speaker::limit();
        return Err(format!("the time of the command has ended ({limit})"));
    }
    let message = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "mcp-auth", "version": env!("CARGO_PKG_VERSION") },
        },
    });
    let request = http::Request::post(url)
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json, text/event-stream")
        .header(http::header::USER_AGENT, USER_AGENT)
        .body(message.to_string());
    let request = with_token(request.map_err(|error| error.to_string())?, token);
    let time = left.min(Duration::from_secs(30));
    let mut answer = http.run(request, time).map_err(|error| {
        let fault = TlsFault::of(&error);
        let words = HttpClient::words(&error);
        let remedy = fault.map_or_else(|| without_tls(url, &words), remedy);
        format!("{words}{remedy}")
    })?;
    let status = answer.status().as_u16();
    if matches!(status, 401 | 403) {
        return Ok(Answer::Refused(status, answer.headers().clone()));
    }
    let text = |name| {
        let value = answer.headers().get(name)?;
        Some(value.to_str().ok()?.to_owned())
    };
    let content_type = text(CONTENT_TYPE);
    let location = text(LOCATION).filter(|_| (300..400).contains(&status));
    if is_stream(&answer) {
        return Ok(Answer::Mcp);
    }
    let body = answer.body_mut().with_config().limit(BODY).read_to_vec();
    let body: Value = serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
    if body.get("jsonrpc").is_some() {
        return Ok(Answer::Mcp);
    }
    if let Some(answer) = older_transport(http, url, token, (status, end)) {
        return Ok(answer);
    }
    Ok(Answer::Other(Other {
        url: url.to_owned(),
        status,
        content_type,
        location: location.map(|to| resolve(url, &to)),
    }))
}

/// Asks a server that takes no POST for the event stream of the HTTP+SSE transport of revision 2024-11-05: its refusal is a
/// challenge. `None` for any other answer.
fn older_transport(
    http: &HttpClient,
    url: &str,
    token: &HeaderMap,
    (status, end): (u16, Instant),
) -> Option<Answer> {
    // The proof of a token that is bound to a key is for POST.
    if !matches!(status, 400 | 404 | 405) || token.contains_key("dpop") {
        return None;
    }
    let request = http::Request::get(url)
        .header(ACCEPT, "text/event-stream")
        .header(http::header::USER_AGENT, USER_AGENT)
        .body(String::new());
    let request = with_token(request.ok()?, token);
    let left = end.saturating_duration_since(Instant::now());
    let answer = http.run(request, left.min(Duration::from_secs(10))).ok()?;
    let found = answer.status().as_u16();
    if matches!(found, 401 | 403) {
        return Some(Answer::Refused(found, answer.headers().clone()));
    }
    is_stream(&answer).then_some(Answer::Mcp)
}

/// Returns a request with the headers of a token.
fn with_token(mut request: http::Request<String>, token: &HeaderMap) -> http::Request<String> {
    for (name, value) in token {
        request.headers_mut().insert(name.clone(), value.clone());
    }
    request
}

/// Returns true for an event stream.
fn is_stream<T>(answer: &http::Response<T>) -> bool {
    let kind = answer.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok());
    let streams =
        kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/event-stream"));
    streams && answer.status().is_success()
}

/// Resolves a location that is a path.
fn resolve(url: &str, location: &str) -> String {
    if !location.starts_with('/') || location.starts_with("//") {
        return location.to_owned();
    }
    let origin = url.split_once("://").map(|(scheme, rest)| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        format!("{scheme}://{host}")
    });
    format!("{}{location}", origin.unwrap_or_default())
}
