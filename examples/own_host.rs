//! A host without HTTP library, runtime or clock: servers, browser and store are played by functions, so the same
//! lines are printed at every run. The `Debug` text of actions contains no secrets; a test can compare it whole.
//!
//! ```sh
//! cargo run --example own_host
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use mcp_auth_machine::event::Challenge;
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::wire::pkce::Seed;
use mcp_auth_machine::{Action, AuthMachine, Config, Event, Moment};

const MCP: &str = "https://mcp.example/mcp";

/// An MCP server and an authorization server. A real client follows no redirect and verifies certificates.
fn send(request: &Request<Bytes>) -> Response<Bytes> {
    let body = match request.uri().to_string().as_str() {
        "https://mcp.example/.well-known/oauth-protected-resource/mcp" => {
            r#"{"resource": "https://mcp.example/mcp", "authorization_servers": ["https://as.example"]}"#
        }
        "https://as.example/.well-known/oauth-authorization-server" => {
            r#"{"issuer": "https://as.example",
                "authorization_endpoint": "https://as.example/authorize",
                "token_endpoint": "https://as.example/token",
                "registration_endpoint": "https://as.example/register",
                "code_challenge_methods_supported": ["S256"]}"#
        }
        "https://as.example/register" => r#"{"client_id": "c1"}"#,
        "https://as.example/token" => {
            r#"{"access_token": "t1", "token_type": "Bearer", "expires_in": 3600}"#
        }
        _ => "",
    };
    Response::new(Bytes::from(body))
}

/// A browser and a user who consents: the callback URL, whole.
fn browse(url: &str) -> String {
    let parameters = url.split_once('?').map_or("", |(_, query)| query);
    let state = parameters
        .split('&')
        .find(|pair| pair.starts_with("state="));
    format!(
        "http://127.0.0.1:3000/callback?code=abc&{}",
        state.unwrap_or_default()
    )
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let config = Config::builder(MCP, "http://127.0.0.1:3000/callback").build()?;
    let now = Moment::new(SystemTime::now(), Duration::ZERO); // the system's time, and the time since a fixed point
    let mut machine = AuthMachine::new(config, "alice", now);
    let mut store = BTreeMap::new();

    let mut headers = HeaderMap::new();
    headers.insert("www-authenticate", HeaderValue::from_static("Bearer"));
    machine.handle(
        now,
        Event::Challenged(Challenge::new("tools/list", 401, headers)),
    );

    while let Some(action) = machine.poll_action() {
        println!("{action:?}");
        let event = match action {
            Action::SendRequest(request) => {
                let response = send(request.request());
                request.response(response)
            }
            Action::LoadSlot(load) => {
                let found = store.get(&load.slot()).cloned();
                load.found(found)
            }
            // A real store compares `persist.expected()` with the stored revision first.
            Action::PersistSlot(persist) => {
                match persist.write() {
                    Some(contents) => store.insert(persist.slot(), contents.clone()),
                    None => store.remove(&persist.slot()),
                };
                persist.done()
            }
            // A real host takes 48 bytes from the operating system.
            Action::NeedUser(_) => Event::Authorize(
                Seed::new(*b"the entropy of an example, which is never random")?.into(),
            ),
            Action::Redirect(redirect) => {
                Event::CallbackParams(Callback::from_url(browse(redirect.url.as_str())))
            }
            Action::Ready(_) => break,
            Action::Error(failure) => return Err(failure),
            // This host uses no keys, assertion grants, device sign-ins or reports.
            other @ (Action::Sign(_)
            | Action::ObtainAssertion(_)
            | Action::ShowCode(_)
            | Action::Report(_)) => match other.decline() {
                Some(event) => event,
                None => continue,
            },
        };
        machine.handle(now, event);
    }
    println!("signed in: {} stored slots", store.len());
    assert_eq!(machine.bearer(now, MCP)?, "Bearer t1");
    Ok(())
}
