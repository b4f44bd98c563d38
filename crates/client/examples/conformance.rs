//! A client for the official MCP conformance suite: a thin loop around the blocking driver.
//!
//! The suite starts it with the server's URL as the last argument and the scenario in the environment.
//! Without a browser, the example fetches the authorization URL itself, without following the redirect, and
//! passes the whole `Location` to the machine.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use http::header::AUTHORIZATION;
use mcp_auth_client::signer::SoftwareKey;
use mcp_auth_client::{Driver, MemoryStore, Pause, seed};
use mcp_auth_machine::action::{ObtainAssertion, SubjectTokenKind};
use mcp_auth_machine::config::{
    ConfigBuilder, Dpop, DpopPolicy, Enterprise, IssuerSettings, JwtBearerSupport, Legacy,
    PreRegistered, ResourceParameter, WorkloadIdentity,
};
use mcp_auth_machine::event::{Challenge, Observed, Operation};
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
    let mut secrets = Secrets::default();
    let config = configure(&url, &scenario, &mut secrets)?.build()?;
    let mut client = Client::new(url, version, config, secrets);
    client.call("tools/list", json!({}))?;
    client.call(
        "tools/call",
        json!({ "name": "test-tool", "arguments": {} }),
    )
}

/// Returns the configuration of each scenario.
fn configure(url: &str, scenario: &str, host: &mut Secrets) -> Result<ConfigBuilder, Failed> {
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
        let client = text("client_id").map(PreRegistered::new);
        let client = match (client, text("client_secret"), text("private_key_pem")) {
            (Some(client), Some(secret), _) => Some(client.secret(secret)),
            (Some(client), None, Some(pem)) => {
                let key = SoftwareKey::from_pem(KEY, pem)?;
                let client = client.key(key.describe()?);
                host.key = Some(key);
                Some(client)
            }
            (_, _, _) => None,
        };
        if let Some(client) = client {
            config = match text("issuer") {
                Some(issuer) => config.pre_registered(issuer, client),
                None => config.pre_registered_unbound(client),
            };
        }
        if scenario.starts_with("auth/client-credentials") {
            config = config.client_credentials();
        }
        if let Some(jwt) = text("valid_jwt") {
            // The suite does not name the server for the assertion: the resource's server is allowed.
            config = config.workload_identity(WorkloadIdentity::at(issuer_of(url)?));
            host.token = Some((jwt.to_owned(), None));
        }
        if let (Some(issuer), Some(id)) = (text("idp_issuer"), text("idp_client_id")) {
            let mut enterprise = Enterprise::new(issuer, PreRegistered::new(id)).public_client();
            if let Some(endpoint) = text("idp_token_endpoint") {
                let metadata = json!({ "issuer": issuer, "token_endpoint": endpoint });
                enterprise = enterprise.metadata(metadata.to_string());
            }
            // The operator knows that the resource's server supports the profile, which it does not
            // advertise.
            let settings = IssuerSettings::new().jwt_bearer(JwtBearerSupport::Assumed);
            config = config
                .enterprise(enterprise)
                .issuer_settings(issuer_of(url)?, settings);
            let token = text("idp_id_token").ok_or("no ID token")?;
            host.token = Some((token.to_owned(), Some(SubjectTokenKind::IdToken)));
        }
    }
    if scenario.starts_with("auth/dpop") {
        let key = SoftwareKey::generate(KEY)?;
        config = config.dpop(Dpop::new(DpopPolicy::IfSupported).key(key.describe()?));
        host.key = Some(key);
    }
    Ok(config)
}

/// The name of the client's key.
const KEY: &str = "conformance";

/// The secrets of the host.
#[derive(Default)]
struct Secrets {
    key: Option<SoftwareKey>,
    token: Option<(String, Option<SubjectTokenKind>)>,
}

/// Returns the issuer that the resource names, in place of an operator's configuration.
fn issuer_of(url: &str) -> Result<String, Failed> {
    let (origin, path) = url.split_at(
        url.match_indices('/')
            .nth(2)
            .map_or(url.len(), |(at, _)| at),
    );
    let place = format!("{origin}/.well-known/oauth-protected-resource{path}");
    let document: Value =
        serde_json::from_str(&ureq::get(&place).call()?.body_mut().read_to_string()?)?;
    let issuer = document
        .pointer("/authorization_servers/0")
        .and_then(Value::as_str);
    Ok(issuer.ok_or("no authorization server")?.to_owned())
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
    fn new(url: String, version: String, config: Config, secrets: Secrets) -> Self {
        let settings = ureq::Agent::config_builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(10)))
            .build();
        let mut driver = Driver::new(Arc::new(config), "conformance", MemoryStore::default());
        if let Some(key) = secrets.key {
            driver = driver.signer(key);
        }
        if let Some((token, kind)) = secrets.token {
            driver = driver.assertions(move |asked: ObtainAssertion| match kind {
                Some(kind) => asked.subject(token.as_str(), kind),
                None => asked.workload(token.as_str()),
            });
        }
        Self {
            url,
            version,
            driver,
            http: settings.new_agent(),
            started: Instant::now(),
            id: 0,
        }
    }

    /// Sends one MCP request, and retries it while the machine supplies new credentials.
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
            let presented = self
                .driver
                .present(&Method::POST, &self.url)
                .unwrap_or_default();
            let mut request = self
                .http
                .post(&self.url)
                .header("content-type", "application/json")
                .header("accept", "application/json, text/event-stream")
                .header("mcp-protocol-version", &self.version);
            for (name, value) in &presented {
                request = request.header(name, value);
            }
            let answer = request.send(body.to_string())?;
            let status = answer.status().as_u16();
            let seen = Observed::new(&self.url, answer.headers());
            self.driver.handle(Event::Observed(seen));
            if !matches!(status, 401 | 403) {
                self.driver.handle(Event::Accepted(Operation::new(method)));
                return match status {
                    200..=299 => Ok(()),
                    _refused => Err(format!("{method}: status {status}").into()),
                };
            }
            let mut challenge = Challenge::new(method, status, answer.headers().clone());
            if let Some(sent) = presented.get(AUTHORIZATION) {
                challenge = challenge.sent(sent.to_str()?);
            }
            self.authorize(Event::Challenged(challenge))?;
        }
        Err("the time limit has passed".into())
    }

    fn authorize(&mut self, event: Event) -> Result<(), Failed> {
        let mut pause = self.driver.handle(event);
        loop {
            pause = match pause {
                Pause::Ready(_) => return Ok(()),
                Pause::Failed(failure) => return Err(failure),
                Pause::Idle | Pause::Resting(_) | Pause::ShowCode(_) => {
                    return Err("nothing is left to do".into());
                }
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
