//! An MCP client: requests, challenges and retries with the blocking driver.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use http::header::AUTHORIZATION;
use mcp_auth_client::signer::SoftwareKey;
use mcp_auth_client::{Driver, MemoryStore, Note, Pause, Store, seed};
use mcp_auth_machine::action::Why;
use mcp_auth_machine::config::{ConfigBuilder, Dpop, DpopPolicy, PreRegistered};
use mcp_auth_machine::event::{Abandon, Authorization, Challenge, Operation};
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::{Action, Config, Event, Failure};
use serde_json::{Value, json};

use super::stage::{SERVICE, Stage};
use crate::describe::{describe, line};
use crate::lines::record::{Recorder, key_json};
use crate::listener::{Incoming, Listener};

/// The number of attempts per request: the first, and one after each authorization.
const TRIES: u8 = 4;

const NAME: &str = "mcp-auth demo";
const PRINCIPAL: &str = "demo user";

const PATIENCE: Duration = Duration::from_secs(30);

/// The redirect URI of a client without a callback listener.
const NOWHERE: &str = "http://127.0.0.1:9/callback";

/// The result of a call.
pub(super) enum Outcome {
    Answered(String),
    Failed(Box<Failure>),
    /// The user declined.
    Declined(Why),
}

pub(super) struct Client {
    url: String,
    driver: Driver<Box<dyn Store>>,
    listener: Option<Listener>,
    http: ureq::Agent,
    browser: ureq::Agent,
    /// The URLs of the machine's requests.
    sent: Arc<Mutex<Vec<String>>>,
    recorder: Recorder,
    /// Whether the user signs in with a code in a browser of another device.
    on_other_device: bool,
}

impl Client {
    pub(super) fn new(stage: &Stage, recorder: &Recorder) -> Result<Self, Box<dyn Error>> {
        Self::with_listener(stage, Box::new(MemoryStore::default()), recorder)
    }

    /// Creates a client whose user can sign in.
    pub(super) fn with_listener(
        stage: &Stage,
        store: Box<dyn Store>,
        recorder: &Recorder,
    ) -> Result<Self, Box<dyn Error>> {
        let listener = stage.listener()?;
        let (url, back) = (stage.mcp_url(), listener.redirect_uri());
        let mut client = Self::on_store(url, back, store, recorder)?;
        client.listener = Some(listener);
        Ok(client)
    }

    /// Creates a client that uses a stored account.
    pub(super) fn on_store(
        url: &str,
        redirect_uri: &str,
        store: Box<dyn Store>,
        recorder: &Recorder,
    ) -> Result<Self, Box<dyn Error>> {
        recorder.start(|| Self::line(url, redirect_uri, json!({})));
        let config = Self::configure(url, redirect_uri).build()?;
        Self::build(url, config, store, recorder)
    }

    /// Returns the configuration as a transcript line.
    fn line(url: &str, redirect_uri: &str, mut more: Value) -> Value {
        if let Some(members) = more.as_object_mut() {
            for (name, value) in [
                ("mcp_url", url),
                ("redirect_uri", redirect_uri),
                ("principal", PRINCIPAL),
                ("client_name", NAME),
            ] {
                members.insert(name.to_owned(), value.into());
            }
        }
        more
    }

    fn configure(url: &str, redirect_uri: &str) -> ConfigBuilder {
        Config::builder(url, redirect_uri)
            .client_name(NAME)
            .reports(true)
    }

    /// Creates a client with tokens bound to a key of this process.
    pub(super) fn with_key(stage: &Stage, recorder: &Recorder) -> Result<Self, Box<dyn Error>> {
        let listener = stage.listener()?;
        let key = SoftwareKey::generate("demo")?;
        let described = key.describe()?;
        recorder.start(|| {
            let keys = json!([{ "issuer": null, "key": key_json(&described) }]);
            let dpop = json!({ "dpop": { "policy": "require", "keys": keys } });
            Self::line(stage.mcp_url(), listener.redirect_uri(), dpop)
        });
        let dpop = Dpop::new(DpopPolicy::Require).key(described);
        let config = Self::configure(stage.mcp_url(), listener.redirect_uri()).dpop(dpop);
        let store = Box::new(MemoryStore::default());
        let mut client = Self::build(stage.mcp_url(), config.build()?, store, recorder)?;
        client.driver = client.driver.signer(key);
        client.listener = Some(listener);
        Ok(client)
    }

    /// Creates a client without a user.
    pub(super) fn for_itself(stage: &Stage, recorder: &Recorder) -> Result<Self, Box<dyn Error>> {
        let (id, secret) = SERVICE;
        recorder.start(|| {
            let client = json!({
                "issuer": stage.issuer(), "client_id": id, "client_secret": secret,
            });
            let more = json!({ "clients": [client], "client_credentials": true });
            Self::line(stage.mcp_url(), NOWHERE, more)
        });
        let config = Self::configure(stage.mcp_url(), NOWHERE)
            .pre_registered(stage.issuer(), PreRegistered::new(id).secret(secret))
            .client_credentials();
        let store = Box::new(MemoryStore::default());
        Self::build(stage.mcp_url(), config.build()?, store, recorder)
    }

    fn build(
        url: &str,
        config: Config,
        store: Box<dyn Store>,
        recorder: &Recorder,
    ) -> Result<Self, Box<dyn Error>> {
        let noted = recorder.clone();
        let url = url.to_owned();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&sent);
        let driver = Driver::new(config, PRINCIPAL, recorder.store(store)).watched(move |note| {
            noted.see(&note);
            if let Note::Out(Action::SendRequest(send)) = &note {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.push(send.request().uri().to_string());
            }
            if let Some(text) = describe(&note) {
                println!("{text}");
            }
        });
        let settings = || {
            ureq::Agent::config_builder()
                .proxy(None)
                .http_status_as_error(false)
                .timeout_global(Some(Duration::from_secs(10)))
        };
        Ok(Self {
            url,
            driver,
            listener: None,
            http: settings()
                .max_redirects(0)
                .max_redirects_will_error(false)
                .build()
                .into(),
            browser: settings().build().into(),
            sent,
            recorder: recorder.clone(),
            on_other_device: false,
        })
    }

    /// Has the user sign in with a code in a browser of another device.
    pub(super) fn on_other_device(self) -> Self {
        Self {
            on_other_device: true,
            ..self
        }
    }

    /// Returns how many requests the machine has sent to a server.
    pub(super) fn sent_to(&self, origin: &str) -> usize {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.iter().filter(|url| url.starts_with(origin)).count()
    }

    /// Calls `tools/list`, after requesting a token.
    pub(super) fn list(&mut self) -> Result<Outcome, Box<dyn Error>> {
        self.recorder.operation("wanted", "tools/list");
        let pause = self
            .driver
            .handle(Event::Wanted(Operation::new("tools/list")));
        if let Some(outcome) = self.authorize(pause)? {
            return Ok(outcome);
        }
        match self.call("tools/list", json!({}))? {
            Ok(_tools) => Ok(Outcome::Answered("tools/list".to_owned())),
            Err(outcome) => Ok(outcome),
        }
    }

    /// Calls `tools/list`, then the first tool in the result.
    pub(super) fn tools(&mut self) -> Result<Outcome, Box<dyn Error>> {
        let listed = match self.call("tools/list", json!({}))? {
            Ok(answer) => answer,
            Err(outcome) => return Ok(outcome),
        };
        let tool = listed
            .pointer("/result/tools/0/name")
            .and_then(Value::as_str)
            .ok_or("the MCP server lists no tool")?
            .to_owned();
        let arguments = json!({ "name": tool, "arguments": { "text": "hello from the demo" } });
        match self.call("tools/call", arguments)? {
            Ok(answer) => {
                let text = answer
                    .pointer("/result/content/0/text")
                    .and_then(Value::as_str);
                let text = text.ok_or("the tool answered nothing")?;
                Ok(Outcome::Answered(text.to_owned()))
            }
            Err(outcome) => Ok(outcome),
        }
    }

    fn call(
        &mut self,
        method: &str,
        params: Value,
    ) -> Result<Result<Value, Outcome>, Box<dyn Error>> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        for _ in 0..TRIES {
            let presented = self
                .driver
                .present(&Method::POST, &self.url)
                .unwrap_or_default();
            let mut request = self
                .http
                .post(&self.url)
                .header("content-type", "application/json")
                .header("accept", "application/json, text/event-stream");
            for (name, value) in &presented {
                request = request.header(name, value);
            }
            let mut answer = request.send(body.to_string())?;
            let status = answer.status().as_u16();
            println!("{}", line("mcp", &format!("{method} → {status}")));
            if !matches!(status, 401 | 403) {
                self.recorder.operation("accepted", method);
                self.driver.handle(Event::Accepted(Operation::new(method)));
                let text = answer.body_mut().read_to_string()?;
                return Ok(Ok(serde_json::from_str(&text)?));
            }
            let sent = presented.get(AUTHORIZATION).map(|sent| sent.to_str());
            let sent = sent.transpose()?;
            self.recorder
                .challenged(method, status, answer.headers(), sent);
            let mut challenge = Challenge::new(method, status, answer.headers().clone());
            if let Some(sent) = sent {
                challenge = challenge.sent(sent);
            }
            let pause = self.driver.handle(Event::Challenged(challenge));
            if let Some(outcome) = self.authorize(pause)? {
                return Ok(Err(outcome));
            }
        }
        Err(format!("{method} was refused {TRIES} times").into())
    }

    /// Works until the machine is ready or fails.
    fn authorize(&mut self, mut pause: Pause) -> Result<Option<Outcome>, Box<dyn Error>> {
        loop {
            pause = match pause {
                Pause::Ready(_) => return Ok(None),
                Pause::Failed(failure) => return Ok(Some(Outcome::Failed(failure))),
                Pause::Resting(rest) => {
                    std::thread::sleep(rest);
                    self.driver.run()
                }
                Pause::Idle => return Err("nothing is left to do".into()),
                Pause::NeedUser(need) if matches!(need.why, Why::ServerChanged { .. }) => {
                    self.recorder.plain("abandoned");
                    self.driver.handle(Event::Abandoned(Abandon::Cancelled));
                    return Ok(Some(Outcome::Declined(need.why)));
                }
                Pause::NeedUser(_) => {
                    self.recorder.authorize(self.on_other_device);
                    let mut authorization = Authorization::new(seed()?);
                    if self.on_other_device {
                        authorization = authorization.on_other_device();
                    }
                    self.driver.handle(Event::Authorize(authorization))
                }
                Pause::ShowCode(shown) => {
                    // The demo's user opens the page on another device, and approves.
                    let page = shown.verification_uri.as_str();
                    println!("{}", line("user", &format!("enters a code at {page}")));
                    let code = shown.user_code.as_str();
                    self.browser.post(page).send_form([("user_code", code)])?;
                    self.driver.run()
                }
                Pause::Redirect(redirect) => {
                    // The demo's consent page approves automatically.
                    println!("{}", line("browser", "opens the authorization URL"));
                    self.browser.get(redirect.url.as_str()).call()?;
                    let listener = self
                        .listener
                        .as_ref()
                        .ok_or("this client has no user to sign in")?;
                    let Incoming::Callback(callback) = listener.wait(PATIENCE)? else {
                        return Err("nothing is typed in the demo".into());
                    };
                    self.recorder.callback(&callback);
                    self.driver
                        .handle(Event::CallbackParams(Callback::from_url(callback)))
                }
            };
        }
    }
}
