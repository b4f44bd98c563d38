//! The first request to an MCP server: `initialize`, and what its answer means.

use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::{CONTENT_TYPE, LOCATION};
use serde_json::{Value, json};

/// How much of an answer is read: enough to see a JSON-RPC object.
const BODY: u64 = 65_536;

/// The kind of server that answers at the URL.
pub(crate) enum Answer {
    /// 401 or 403: authorization is asked for, or not enough.
    Refused(u16, HeaderMap),
    /// A JSON-RPC answer or an event stream: an MCP server, and it took the request.
    Mcp,
    /// Something else: no MCP server is here, or it cannot answer now.
    Other(Other),
}

/// An answer that is none of an MCP server.
#[derive(Debug)]
pub(crate) struct Other {
    /// The URL that was asked.
    pub(crate) url: String,
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    /// Where a redirect leads.
    pub(crate) location: Option<String>,
}

impl Other {
    /// Whether trying again later may help: the server is busy or broken.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self.status, 408 | 425 | 429 | 500..)
    }

    /// A stable name.
    pub(crate) fn code(&self) -> &'static str {
        match self.status {
            _ if self.is_temporary() => "mcp_server_unavailable",
            300..400 => "mcp_url_redirects",
            _other => "not_an_mcp_server",
        }
    }

    /// The answer that came and the next step, for the person who gave the URL.
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

/// Sends `initialize`, with these headers of a token or without any.
///
/// # Errors
/// The words of the HTTP client, without an answer.
pub(crate) fn initialize(url: &str, token: &HeaderMap, end: Instant) -> Result<Answer, String> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err("the time of the command has ended (--timeout)".to_owned());
    }
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(left.min(Duration::from_secs(30))))
        .build()
        .into();
    let message = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "mcp-auth", "version": env!("CARGO_PKG_VERSION") },
        },
    });
    let mut request = agent
        .post(url)
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream");
    for (name, value) in token {
        request = request.header(name, value);
    }
    let mut answer = request
        .send(message.to_string())
        .map_err(|error| error.to_string())?;
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
    let streams = content_type
        .as_deref()
        .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/event-stream"));
    if streams && (200..300).contains(&status) {
        return Ok(Answer::Mcp);
    }
    let body = answer.body_mut().with_config().limit(BODY).read_to_vec();
    let body: Value = serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
    if body.get("jsonrpc").is_some() {
        return Ok(Answer::Mcp);
    }
    Ok(Answer::Other(Other {
        url: url.to_owned(),
        status,
        content_type,
        location: location.map(|to| resolve(url, &to)),
    }))
}

/// A location as a URL where it is a path.
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
