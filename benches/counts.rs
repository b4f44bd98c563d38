//! The core's scenarios for instruction counts by callgrind (`.ci/run-counts.sh`), with all responses in
//! memory and immediate results of slots.
//!
//! `counts NAME ROUNDS` runs one scenario this many times; `counts` prints the names.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    missing_docs
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use mcp_auth_machine::action::{PersistSlot, Purpose, SendRequest};
use mcp_auth_machine::config::{ConfigBuilder, PreRegistered};
use mcp_auth_machine::event::{Challenge, Operation};
use mcp_auth_machine::slot::{Slot, Stored};
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::wire::pkce::Seed;
use mcp_auth_machine::{Action, AuthMachine, Config, Event};

/// When a process begins, in milliseconds: both clocks.
const NOW: u64 = 1_800_000_000_000;
const MCP: &str = "https://mcp.example.com/mcp";
const AS: &str = "https://as.example.com";
const REDIRECT: &str = "http://127.0.0.1:3000/callback";
const CHALLENGE: &str = r#"Bearer resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp", scope="files:read""#;
const STEP_UP: &str = r#"Bearer error="insufficient_scope", resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp", scope="files:write""#;
const REFUSED: &str = r#"Bearer error="invalid_token", resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp""#;
const RESOURCE: &str = r#"{"resource":"https://mcp.example.com/mcp","authorization_servers":["https://as.example.com"],"scopes_supported":["files:read"]}"#;
const SERVER: &str = r#"{"issuer":"https://as.example.com","authorization_endpoint":"https://as.example.com/authorize","token_endpoint":"https://as.example.com/token","registration_endpoint":"https://as.example.com/register","response_types_supported":["code"],"code_challenge_methods_supported":["S256"],"grant_types_supported":["authorization_code","refresh_token"],"token_endpoint_auth_methods_supported":["none"],"authorization_response_iss_parameter_supported":true,"client_id_metadata_document_supported":true}"#;
const REGISTERED: &str = r#"{"client_id":"c1","redirect_uris":["http://127.0.0.1:3000/callback"],"token_endpoint_auth_method":"none"}"#;

/// A process with its machine, store and servers.
struct Host {
    machine: AuthMachine,
    store: BTreeMap<Slot, Stored>,
    now: u64,
    tokens: u64,
    /// The lifetime of access tokens, in seconds.
    lifetime: u32,
    /// How long the server's metadata is fresh, as its header says.
    fresh: Option<&'static str>,
    /// Whether the callback is passed in at once, or kept.
    returns: bool,
    callback: Option<Callback>,
    readies: usize,
}

impl Host {
    fn new(config: &Arc<Config>, store: BTreeMap<Slot, Stored>) -> Self {
        Self {
            machine: AuthMachine::new(
                Arc::clone(config),
                "alice",
                mcp_auth_testing::moment(NOW, NOW),
            ),
            store,
            now: NOW,
            tokens: 0,
            lifetime: 3600,
            fresh: None,
            returns: true,
            callback: None,
            readies: 0,
        }
    }

    fn handle(&mut self, event: Event) {
        let now = mcp_auth_testing::moment(self.now, self.now);
        self.machine.handle(now, event);
    }

    fn challenged(&mut self, operation: &str, status: u16, text: &'static str, sent: Option<&str>) {
        let mut headers = HeaderMap::new();
        headers.insert("www-authenticate", HeaderValue::from_static(text));
        let challenge = Challenge::new(operation, status, headers);
        self.handle(Event::Challenged(match sent {
            Some(token) => challenge.sent(token),
            None => challenge,
        }));
    }

    fn work(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::LoadSlot(load) => {
                    let stored = self.store.get(&load.slot()).cloned();
                    self.handle(load.found(stored));
                }
                Action::PersistSlot(persist) => self.persist(persist),
                Action::SendRequest(send) => self.answer(send),
                Action::NeedUser(_) => {
                    let seed = std::array::from_fn(|at| u8::try_from(at).unwrap_or_default());
                    self.handle(Event::Authorize(Seed::with_key(seed).unwrap().into()));
                }
                Action::Redirect(redirect) => {
                    let url = redirect.url.as_str();
                    let (_, rest) = url.split_once("state=").unwrap();
                    let (state, _) = rest.split_once('&').unwrap();
                    let callback = Callback::from_url(format!(
                        "{REDIRECT}?code=abc&state={state}&iss=https%3A%2F%2Fas.example.com"
                    ));
                    if self.returns {
                        self.handle(Event::CallbackParams(callback));
                    } else {
                        self.callback = Some(callback);
                    }
                }
                Action::Ready(_) => self.readies += 1,
                other => panic!("{other:?}"),
            }
        }
    }

    fn persist(&mut self, persist: PersistSlot) {
        let held = self.store.get(&persist.slot());
        if held.map(|stored| stored.revision) != persist.expected() {
            let held = held.cloned();
            return self.handle(persist.conflict(held));
        }
        match persist.write() {
            Some(stored) => self.store.insert(persist.slot(), stored.clone()),
            None => self.store.remove(&persist.slot()),
        };
        self.handle(persist.done());
    }

    fn answer(&mut self, send: SendRequest) {
        black_box(send.request());
        let (status, body) = match send.purpose() {
            Purpose::ResourceMetadata => (200, Bytes::from_static(RESOURCE.as_bytes())),
            Purpose::ServerMetadata => (200, Bytes::from_static(SERVER.as_bytes())),
            Purpose::Registration => (201, Bytes::from_static(REGISTERED.as_bytes())),
            Purpose::Token => {
                self.tokens += 1;
                let (number, lifetime) = (self.tokens, self.lifetime);
                let body = format!(
                    r#"{{"access_token":"at-{number}","token_type":"Bearer","expires_in":{lifetime},"refresh_token":"rt-{number}","scope":"files:read"}}"#
                );
                (200, Bytes::from(body))
            }
            other => panic!("{other:?}"),
        };
        let mut response = Response::new(body);
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
        let kind = HeaderValue::from_static("application/json");
        response.headers_mut().insert("content-type", kind);
        if let Some(fresh) = self.fresh {
            let fresh = HeaderValue::from_static(fresh);
            response.headers_mut().insert("cache-control", fresh);
        }
        self.handle(send.response(response));
    }

    fn bearer(&mut self) -> String {
        let now = mcp_auth_testing::moment(self.now, self.now);
        let header = self.machine.bearer(now, MCP).unwrap();
        header.to_str().unwrap().to_owned()
    }

    /// Signs in, from the first challenge to a token.
    fn sign_in(&mut self) {
        self.challenged("tools/call", 401, CHALLENGE, None);
        self.work();
        assert_eq!(self.readies, 1);
    }
}

fn config(client: impl Fn(ConfigBuilder) -> ConfigBuilder) -> Arc<Config> {
    let builder = Config::builder(MCP, REDIRECT)
        .client_name("x")
        .reports(false);
    Arc::new(client(builder).build().unwrap())
}

/// Signs in repeatedly, each time as a new process with an empty store.
fn cold(rounds: usize, config: &Arc<Config>) {
    for _ in 0..rounds {
        let mut host = Host::new(config, BTreeMap::new());
        host.sign_in();
        black_box(host.bearer());
    }
}

/// Signs in once, and refreshes the expired token repeatedly.
fn refresh(rounds: usize, config: &Arc<Config>) {
    let mut host = Host::new(config, BTreeMap::new());
    host.sign_in();
    for round in 0..rounds {
        host.now += 3_601_000;
        host.handle(Event::Wanted(Operation::new("tools/call")));
        host.work();
        assert_eq!(host.readies, round + 2);
        host.handle(Event::Accepted(Operation::new("tools/call")));
    }
}

/// The same while the server's metadata is fresh: the lease, the request, and the new tokens.
fn refresh_alone(rounds: usize, config: &Arc<Config>) {
    let mut host = Host::new(config, BTreeMap::new());
    (host.lifetime, host.fresh) = (60, Some("max-age=86400"));
    host.sign_in();
    for round in 0..rounds {
        host.now += 61_000;
        host.handle(Event::Wanted(Operation::new("tools/call")));
        host.work();
        assert_eq!(host.readies, round + 2);
        host.handle(Event::Accepted(Operation::new("tools/call")));
    }
}

/// Signs in, and authorizes once more for a tool that needs more scopes.
fn step_up(rounds: usize, config: &Arc<Config>) {
    for _ in 0..rounds {
        let mut host = Host::new(config, BTreeMap::new());
        host.sign_in();
        let sent = host.bearer();
        host.challenged("tools/call write", 403, STEP_UP, Some(&sent));
        host.work();
        assert_eq!(host.readies, 2);
    }
}

/// One process redirects the user, another one handles the callback.
fn elsewhere(rounds: usize, config: &Arc<Config>) {
    for _ in 0..rounds {
        let mut first = Host::new(config, BTreeMap::new());
        first.returns = false;
        first.challenged("tools/call", 401, CHALLENGE, None);
        first.work();
        let mut second = Host::new(config, std::mem::take(&mut first.store));
        second.handle(Event::CallbackParams(first.callback.take().unwrap()));
        second.work();
        assert_eq!(second.readies, 1);
    }
}

/// Sixteen concurrent challenges for the same token: one refresh serves them all.
fn storm(rounds: usize, config: &Arc<Config>) {
    const OPERATIONS: [&str; 16] = [
        "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p",
    ];
    for _ in 0..rounds {
        let mut host = Host::new(config, BTreeMap::new());
        host.sign_in();
        host.handle(Event::Accepted(Operation::new("tools/call")));
        let (sent, tokens) = (host.bearer(), host.tokens);
        for operation in OPERATIONS {
            host.challenged(operation, 401, REFUSED, Some(&sent));
        }
        host.work();
        assert_eq!(host.tokens, tokens + 1);
        assert!(host.readies > 1);
    }
}

/// Returns a stored token.
fn bearer(rounds: usize, config: &Arc<Config>) {
    let mut host = Host::new(config, BTreeMap::new());
    host.sign_in();
    let now = mcp_auth_testing::moment(host.now, host.now);
    for _ in 0..rounds {
        black_box(host.machine.bearer(now, MCP).unwrap());
    }
}

fn main() {
    let dynamic = || config(|builder| builder);
    let configured = || config(|builder| builder.pre_registered(AS, PreRegistered::new("c1")));
    let document = || {
        let url = "https://app.example.com/client.json";
        config(|builder| builder.client_metadata_url(url))
    };
    type Scenario<'a> = (&'static str, Box<dyn Fn(usize) + 'a>);
    let scenarios: [Scenario<'_>; 9] = [
        ("cold-dynamic", Box::new(|rounds| cold(rounds, &dynamic()))),
        (
            "cold-configured",
            Box::new(|rounds| cold(rounds, &configured())),
        ),
        (
            "cold-document",
            Box::new(|rounds| cold(rounds, &document())),
        ),
        ("refresh", Box::new(|rounds| refresh(rounds, &dynamic()))),
        (
            "refresh-alone",
            Box::new(|rounds| refresh_alone(rounds, &dynamic())),
        ),
        ("step-up", Box::new(|rounds| step_up(rounds, &dynamic()))),
        (
            "elsewhere",
            Box::new(|rounds| elsewhere(rounds, &dynamic())),
        ),
        ("storm", Box::new(|rounds| storm(rounds, &dynamic()))),
        ("bearer", Box::new(|rounds| bearer(rounds, &dynamic()))),
    ];
    // `cargo bench` adds an argument of its own.
    let mut arguments = std::env::args().skip(1).filter(|text| text != "--bench");
    let (name, rounds) = (arguments.next(), arguments.next());
    match (name, rounds.and_then(|text| text.parse().ok())) {
        (Some(name), Some(rounds)) => {
            let (_, run) = scenarios.iter().find(|(known, _)| *known == name).unwrap();
            run(rounds);
        }
        (_, _) => scenarios.iter().for_each(|(name, _)| println!("{name}")),
    }
}
