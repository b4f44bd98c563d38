//! The pages: fixed text without data of the request (CB-13), and the state of accounts, escaped.

use std::fmt::Write as _;

use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use mcp_auth_client::asynchronous::{Counts, Stopped};
use mcp_auth_machine::action::{Grant, Why};

const HOME: &str = r#"<!doctype html><title>Gateway</title>
<h1>Gateway</h1>
<form method="post" action="/login">
  <p>Stands for your single sign-on: <input name="user"> <button>sign in here</button></p>
</form>
<p><a href="/status">Your accounts</a></p>
"#;

const CAME_BACK: &str = r#"<!doctype html><title>Gateway</title>
<p>You can close this page. <a href="/">Back to the gateway</a></p>
"#;

const SIGN_IN: &str = r#"<!doctype html><title>Gateway</title>
<p><a href="/">Sign in at the gateway first.</a></p>
"#;

const CONNECT: &str = r#"<!doctype html><title>Gateway</title>
<p><a href="/">Connect the MCP server first.</a></p>
"#;

const MORE: &str = r#"<!doctype html><title>Gateway</title>
<p>This tool needs more rights than you have granted. <a href="/">Connect the MCP server again.</a></p>
"#;

const FAILED: &str = r#"<!doctype html><title>Gateway</title>
<p>That did not work. <a href="/">Back to the gateway</a></p>
"#;

/// Returns a page; `guard` adds its headers (SEC-38).
fn page(status: StatusCode, text: impl Into<String>) -> Response {
    (status, Html(text.into())).into_response()
}

/// Returns the page with the forms for each of these MCP servers.
pub(crate) fn home<'a>(servers: impl Iterator<Item = &'a str>) -> Response {
    let mut text = HOME.to_owned();
    for (number, url) in servers.enumerate() {
        let url = escaped(url);
        let place = match number {
            0 => "/connect".to_owned(),
            _ => format!("/connect?server={number}"),
        };
        // Writing to text cannot fail.
        let _written = write!(
            text,
            r#"<h2>{url}</h2>
<p><a href="{place}">Connect the MCP server</a></p>
<form method="post" action="/call">
  <input type="hidden" name="server" value="{number}">
  <p><input name="tool" value="echo"> <input name="text" value="hello"> <button>call</button></p>
</form>
<form method="post" action="/disconnect">
  <p><input type="hidden" name="server" value="{number}"> <button>disconnect</button></p>
</form>
"#
        );
    }
    page(StatusCode::OK, text)
}

/// Returns the page with the user's accounts, and what this instance is doing.
pub(crate) fn status(accounts: &[(String, Option<Grant>)], counts: Counts) -> Response {
    let mut text =
        "<!doctype html><title>Gateway</title>\n<h1>Your accounts</h1>\n<table>\n".to_owned();
    for (url, grant) in accounts {
        let state = match grant {
            None => "not connected".to_owned(),
            Some(grant) => {
                let end = grant.expires.map_or_else(
                    || "no stated end".to_owned(),
                    |end| format!("until {} s after 1970", end.0 / 1_000),
                );
                format!("{}, {}, {end}", grant.issuer, grant.scopes.as_str())
            }
        };
        let _written = writeln!(
            text,
            "<tr><td>{}</td><td>{}</td></tr>",
            escaped(url),
            escaped(&state)
        );
    }
    let _written = write!(
        text,
        "</table>\n<h1>This instance</h1>\n<p>{} machines ({} in use, {} with unsaved tokens), {} callers wait, \
         {} tokens in memory, {} requests served from memory</p>\n<p><a href=\"/\">Back to the gateway</a></p>\n",
        counts.machines, counts.working, counts.unsaved, counts.waiting, counts.tokens, counts.warm
    );
    page(StatusCode::OK, text)
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// Returns the page after every callback, regardless of its result.
pub(crate) fn came_back() -> Response {
    page(StatusCode::OK, CAME_BACK)
}

/// The reason for an error page.
pub(crate) enum Problem {
    /// The user is not signed in at the gateway.
    NoSession,
    /// The gateway has no such MCP server.
    NoServer,
    /// The user must connect the MCP server.
    NotConnected,
    /// The user must allow more scopes.
    TooFewScopes,
    /// As much is going on as this instance bears.
    Busy,
    /// Any other error, which is logged and not shown in the browser.
    Failed(String),
}

impl Problem {
    pub(crate) fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<Stopped> for Problem {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::NeedUser(need) if matches!(need.why, Why::ScopeMissing { .. }) => {
                Self::TooFewScopes
            }
            Stopped::NeedUser(_) => Self::NotConnected,
            Stopped::Busy => Self::Busy,
            Stopped::Failed(_)
            | Stopped::NotPresented(_)
            | Stopped::SignedOut
            | Stopped::NoEntropy
            | Stopped::StoreFailed(_)
            | Stopped::UnknownServer
            | Stopped::Ended => Self::failed(stopped),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        match self {
            Self::NoSession => page(StatusCode::UNAUTHORIZED, SIGN_IN),
            Self::NoServer => page(StatusCode::NOT_FOUND, FAILED),
            Self::NotConnected => page(StatusCode::FORBIDDEN, CONNECT),
            Self::TooFewScopes => page(StatusCode::FORBIDDEN, MORE),
            Self::Busy => page(StatusCode::SERVICE_UNAVAILABLE, FAILED),
            Self::Failed(why) => {
                eprintln!("{why}");
                page(StatusCode::BAD_GATEWAY, FAILED)
            }
        }
    }
}
