//! The pages: fixed text without data of the request (CB-13), and the state of accounts, escaped.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{Html, IntoResponse, Response};
use mcp_auth_client::asynchronous::{Counts, Stopped};
use mcp_auth_machine::action::{Grant, Why};
use mcp_auth_machine::error::{Cause, StoreFlaw};
use mcp_auth_machine::time::UnixMillis;

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

const AWAY: &str = r#"<!doctype html><title>Gateway</title>
<p>The gateway cannot read its store at the moment. Your accounts are kept; try again in a few seconds.
<a href="/">Back to the gateway</a></p>
"#;

const BUSY: &str = r#"<!doctype html><title>Gateway</title>
<p>The gateway has as much to do as it can; try again in a second. <a href="/">Back to the gateway</a></p>
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
        let place = connect(number);
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
    let mut text = "<!doctype html><title>Gateway</title>\n<h1>Your accounts</h1>\n<table>\n\
         <tr><th>MCP server</th><th>Authorization server</th><th>Scopes</th><th>Token</th></tr>\n"
        .to_owned();
    let now = SystemTime::now();
    for (number, (url, grant)) in accounts.iter().enumerate() {
        let url = escaped(url);
        let _written = match grant {
            None => writeln!(
                text,
                "<tr><td>{url}</td><td colspan=\"3\">not connected: <a href=\"{}\">connect</a></td></tr>",
                connect(number)
            ),
            Some(grant) => writeln!(
                text,
                "<tr><td>{url}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                escaped(grant.issuer.as_str()),
                escaped(grant.scopes.as_str()),
                validity(grant, now)
            ),
        };
    }
    let _written = write!(
        text,
        "</table>\n<h1>This instance</h1>\n<ul>\n\
         <li>{}, {} of them in a request</li>\n\
         <li>{} with new tokens that the store has not taken yet</li>\n\
         <li>{} for room</li>\n\
         <li>{} in memory; {} served from there since the start</li>\n\
         </ul>\n<p><a href=\"/\">Back to the gateway</a></p>\n",
        counted(counts.machines, "account at work", "accounts at work"),
        counts.working,
        counted(counts.unsaved, "account", "accounts"),
        counted(counts.waiting, "request waits", "requests wait"),
        counted(counts.tokens, "token", "tokens"),
        counted(counts.warm, "request", "requests"),
    );
    page(StatusCode::OK, text)
}

/// Returns a number with its noun.
fn counted(number: impl Into<Number>, one: &str, several: &str) -> String {
    let Number(number) = number.into();
    let noun = if number == 1 { one } else { several };
    format!("{number} {noun}")
}

struct Number(u64);

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl From<usize> for Number {
    fn from(number: usize) -> Self {
        Self(u64::try_from(number).unwrap_or(u64::MAX))
    }
}

/// Returns how long a token is valid, and what happens then.
fn validity(grant: &Grant, now: SystemTime) -> String {
    let then = if grant.renewable {
        "then it is refreshed"
    } else {
        "then you connect again"
    };
    let Some(UnixMillis(expires)) = grant.expires else {
        return "valid; its end is not known".to_owned();
    };
    let Some(end) = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(expires)) else {
        return "valid without an end".to_owned();
    };
    match end.duration_since(now) {
        Ok(left) => format!("valid for {}, {then}", span(left)),
        Err(since) => {
            let next = if grant.renewable {
                "the next call refreshes it"
            } else {
                "connect again"
            };
            format!("expired {} ago; {next}", span(since.duration()))
        }
    }
}

/// Returns a time for people: in the largest unit that fits.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => counted(seconds, "second", "seconds"),
        60..3_600 => counted(seconds / 60, "minute", "minutes"),
        3_600..86_400 => counted(seconds / 3_600, "hour", "hours"),
        _ => counted(seconds / 86_400, "day", "days"),
    }
}

/// Returns the path at which the user connects an MCP server.
fn connect(server: usize) -> String {
    match server {
        0 => "/connect".to_owned(),
        _ => format!("/connect?server={server}"),
    }
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
    /// The user must connect an MCP server: its number, and the scopes that are missing.
    Connect(usize, Option<String>),
    /// As much is going on as this instance bears.
    Busy,
    /// The store does not answer: logged, and not shown in the browser.
    StoreAway(String),
    /// Any other error, which is logged and not shown in the browser.
    Failed(String),
}

impl Problem {
    pub(crate) fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    /// Returns the page for a request that received no token for the MCP server with this number.
    pub(crate) fn stopped(stopped: Stopped, server: usize) -> Self {
        match stopped {
            Stopped::NeedUser(need) => {
                let scopes = if let Why::ScopeMissing { scopes, .. } = need.why {
                    Some(scopes.as_str().to_owned())
                } else {
                    None
                };
                Self::Connect(server, scopes)
            }
            Stopped::Busy => Self::Busy,
            Stopped::StoreFailed(_) => Self::StoreAway(stopped.to_string()),
            Stopped::Failed(ref failure) if is_of_the_store(&failure.cause) => {
                Self::StoreAway(stopped.to_string())
            }
            Stopped::Failed(_)
            | Stopped::NotPresented(_)
            | Stopped::SignedOut
            | Stopped::NoEntropy
            | Stopped::UnknownServer
            | Stopped::Ended => Self::failed(stopped),
        }
    }
}

/// Returns true for a failure of the store that passes.
fn is_of_the_store(cause: &Cause) -> bool {
    matches!(
        cause,
        Cause::NotPersisted(
            StoreFlaw::Load | StoreFlaw::Write | StoreFlaw::Conflict | StoreFlaw::Slow
        )
    )
}

/// Returns the page that asks the user to connect an MCP server.
fn asks(server: usize, scopes: Option<&str>) -> Response {
    let place = connect(server);
    let text = match scopes {
        None => format!("<p><a href=\"{place}\">Connect the MCP server first.</a></p>"),
        // The first sign-in asks for what every tool needs, and for no more.
        Some(scopes) => format!(
            "<p>This tool needs more rights than you have granted: {}. <a href=\"{place}\">Grant them</a>, and call it \
             again.</p>",
            escaped(scopes)
        ),
    };
    let back = "<p><a href=\"/\">Back to the gateway</a></p>";
    let text = format!("<!doctype html><title>Gateway</title>\n{text}\n{back}\n");
    page(StatusCode::FORBIDDEN, text)
}

/// Returns the page for a gateway that cannot answer now, with the seconds after which it may.
fn later(text: &'static str, seconds: &'static str) -> Response {
    let mut response = page(StatusCode::SERVICE_UNAVAILABLE, text);
    let seconds = axum::http::HeaderValue::from_static(seconds);
    response.headers_mut().insert(RETRY_AFTER, seconds);
    response
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        match self {
            Self::NoSession => page(StatusCode::UNAUTHORIZED, SIGN_IN),
            Self::NoServer => page(StatusCode::NOT_FOUND, FAILED),
            Self::Connect(server, scopes) => asks(server, scopes.as_deref()),
            Self::Busy => later(BUSY, "1"),
            Self::StoreAway(why) => {
                eprintln!("{why}");
                later(AWAY, "5")
            }
            Self::Failed(why) => {
                eprintln!("{why}");
                page(StatusCode::BAD_GATEWAY, FAILED)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_for_people() {
        assert_eq!(counted(1_u64, "token", "tokens"), "1 token");
        assert_eq!(counted(0_usize, "token", "tokens"), "0 tokens");
        for (seconds, told) in [
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "1 minute"),
            (3_599, "59 minutes"),
            (7_200, "2 hours"),
            (86_400, "1 day"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), told);
        }
    }
}
