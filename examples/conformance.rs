//! A client for the official MCP conformance suite: a thin loop around the blocking driver.
//!
//! The suite starts it with the server's URL as the last argument and the scenario in the
//! environment. There is no browser: the authorization URL is fetched here without following the
//! redirect, and the `Location` goes to the machine whole.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mcp_auth_machine::config::{ConfigBuilder, Legacy, PreRegistered, ResourceParameter};
use mcp_auth_machine::driver::{Driver, MemoryStore, Pause, seed};
use mcp_auth_machine::event::{Challenge, Operation};
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::{Config, Event};
use serde_json::{Value, json};

type Failed = Box<dyn std::error::Error>;

const REDIRECT_URI: &str = "http://localhost:3000/callback";
const CLIENT_METADATA_URL: &str = "https://conformance-test.local/client-metadata.json";
const LIMIT: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failed> {
    let url = std::env::args().next_back().ok_or("no server URL")?;
    let scenario = std::env::var("MCP_CONFORMANCE_SCENARIO").unwrap_or_default();
    let version = std::env::var("MCP_CONFORMANCE_PROTOCOL_VERSION")
        .unwrap_or_else(|_| "2025-11-25".to_owned());
    let config = configure(&url, &scenario)?.build()?;
    let mut client = Client::new(url, version, config);
    client.call("tools/list", json!({}))?;
    client.call(
        "tools/call",
        json!({ "name": "test-tool", "arguments": {} }),
    )
}

/// What the host of each scenario knows.
fn configure(url: &str, scenario: &str) -> Result<ConfigBuilder, Failed> {
    let mut config = Config::builder(url, REDIRECT_URI)
        .client_name("mcp-auth-machine conformance client")
        .client_metadata_url(CLIENT_METADATA_URL);
    if scenario.starts_with("auth/2025-03-26") {
        config = config.legacy(Legacy::On {
            resource: ResourceParameter::Send,
        });
    }
    if let Ok(text) = std::env::var("MCP_CONFORMANCE_CONTEXT") {
        let context: Value = serde_json::from_str(&text)?;
        let text = |name: &str| context.get(name).and_then(Value::as_str);
        if let (Some(id), Some(secret)) = (text("client_id"), text("client_secret")) {
            let client = PreRegistered::new(id).secret(secret);
            config = match text("issuer") {
                Some(issuer) => config.pre_registered(issuer, client),
                None => config.pre_registered_unbound(client),
            };
        }
    }
    Ok(config)
}

struct Client {
    url: String,
    version: String,
    driver: Driver<MemoryStore>,
    http: ureq::Agent,
    started: Instant,
    id: u64,
}

impl Client {
    fn new(url: String, version: String, config: Config) -> Self {
        let settings = ureq::Agent::config_builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(10)))
            .build();
        Self {
            url,
            version,
            driver: Driver::new(Arc::new(config), "conformance", MemoryStore::default()),
            http: settings.new_agent(),
            started: Instant::now(),
            id: 0,
        }
    }

    /// One MCP request, repeated for as long as the machine brings something new.
    fn call(&mut self, method: &str, mut params: Value) -> Result<(), Failed> {
        if self.version == "2026-07-28"
            && let Some(params) = params.as_object_mut()
        {
            let meta = json!({
                "io.modelcontextprotocol/protocolVersion": self.version,
                "io.modelcontextprotocol/clientCapabilities": {},
            });
            params.insert("_meta".to_owned(), meta);
        }
        while self.started.elapsed() < LIMIT {
            self.id = self.id.saturating_add(1);
            let body =
                json!({ "jsonrpc": "2.0", "id": self.id, "method": method, "params": params });
            let bearer = self.driver.bearer(&self.url).ok();
            let mut request = self
                .http
                .post(&self.url)
                .header("content-type", "application/json")
                .header("accept", "application/json, text/event-stream")
                .header("mcp-protocol-version", &self.version);
            if let Some(bearer) = &bearer {
                request = request.header("authorization", bearer);
            }
            let answer = request.send(body.to_string())?;
            let status = answer.status().as_u16();
            if !matches!(status, 401 | 403) {
                self.driver.handle(Event::Accepted(Operation::new(method)));
                return match status {
                    200..=299 => Ok(()),
                    _refused => Err(format!("{method}: status {status}").into()),
                };
            }
            let mut challenge = Challenge::new(method, status, answer.headers().clone());
            if let Some(bearer) = &bearer {
                challenge = challenge.sent(bearer.to_str()?);
            }
            self.authorize(Event::Challenged(challenge))?;
        }
        Err("the time is over".into())
    }

    fn authorize(&mut self, event: Event) -> Result<(), Failed> {
        let mut pause = self.driver.handle(event);
        loop {
            pause = match pause {
                Pause::Ready(_) => return Ok(()),
                Pause::Failed(failure) => return Err(failure),
                Pause::Idle | Pause::Resting(_) => return Err("nothing is left to do".into()),
                Pause::NeedUser(_) => self.driver.handle(Event::Authorize(seed()?.into())),
                Pause::Redirect(redirect) => {
                    let answer = self.http.get(redirect.url.as_str()).call()?;
                    let location = answer.headers().get("location");
                    let callback = Callback::from_url(location.ok_or("no redirect")?.to_str()?);
                    self.driver.handle(Event::CallbackParams(callback))
                }
            };
        }
    }
}
