//! The pages: fixed text without data of the request (CB-13).

use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use mcp_auth_client::asynchronous::Stopped;

pub(crate) const HOME: &str = r#"<!doctype html><title>Gateway</title>
<h1>Gateway</h1>
<form method="post" action="/login">
  <p>Stands for your single sign-on: <input name="user"> <button>sign in here</button></p>
</form>
<p><a href="/connect">Connect the MCP server</a></p>
<form method="post" action="/call">
  <p><input name="tool" value="echo"> <input name="text" value="hello"> <button>call</button></p>
</form>
<form method="post" action="/disconnect"><p><button>disconnect</button></p></form>
"#;

const CAME_BACK: &str = r#"<!doctype html><title>Gateway</title>
<p>You can close this page. <a href="/">Back to the gateway</a></p>
"#;

const SIGN_IN: &str = r#"<!doctype html><title>Gateway</title>
<p><a href="/">Sign in at the gateway first.</a></p>
"#;

const CONNECT: &str = r#"<!doctype html><title>Gateway</title>
<p><a href="/connect">Connect the MCP server first.</a></p>
"#;

const FAILED: &str = r#"<!doctype html><title>Gateway</title>
<p>That did not work. <a href="/">Back to the gateway</a></p>
"#;

/// Returns a page; `guard` adds its headers (SEC-38).
pub(crate) fn page(status: StatusCode, text: &'static str) -> Response {
    (status, Html(text)).into_response()
}

/// Returns the page after every callback, regardless of its result.
pub(crate) fn came_back() -> Response {
    page(StatusCode::OK, CAME_BACK)
}

/// The reason for an error page.
pub(crate) enum Problem {
    /// The user is not signed in at the gateway.
    NoSession,
    /// The user must connect the MCP server, or allow more scopes.
    NotConnected,
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
            Stopped::NeedUser(_) => Self::NotConnected,
            Stopped::Failed(_)
            | Stopped::NotPresented(_)
            | Stopped::SignedOut
            | Stopped::NoEntropy
            | Stopped::Busy
            | Stopped::StoreFailed
            | Stopped::UnknownServer
            | Stopped::Ended => Self::failed(stopped),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        match self {
            Self::NoSession => page(StatusCode::UNAUTHORIZED, SIGN_IN),
            Self::NotConnected => page(StatusCode::FORBIDDEN, CONNECT),
            Self::Failed(why) => {
                eprintln!("{why}");
                page(StatusCode::BAD_GATEWAY, FAILED)
            }
        }
    }
}
