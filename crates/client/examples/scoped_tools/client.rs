//! A small MCP client on the blocking driver, for a user who agrees to everything.

use std::error::Error;
use std::time::Duration;

use mcp_auth_client::{Driver, MemoryStore, Pause, seed};
use mcp_auth_machine::event::{Challenge, Operation};
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::{Config, Event, Failure};
use serde_json::json;

/// No listener: the callback is taken from the redirect itself.
const REDIRECT_URI: &str = "http://127.0.0.1:9/callback";

/// The result of a call.
pub(crate) enum Ended {
    Answered,
    Refused(Box<Failure>),
}

impl Ended {
    pub(crate) fn is_answer(&self) -> bool {
        matches!(self, Self::Answered)
    }
}

pub(crate) struct Client {
    url: String,
    driver: Driver<MemoryStore>,
    http: ureq::Agent,
    redirects: usize,
}

impl Client {
    pub(crate) fn new(url: &str) -> Result<Self, Box<dyn Error>> {
        let config = Config::builder(url, REDIRECT_URI)
            .client_name("scoped tools")
            .build()?;
        let http = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(Duration::from_secs(10)))
            .build();
        Ok(Self {
            url: url.to_owned(),
            driver: Driver::new(config, "user", MemoryStore::default()),
            http: http.into(),
            redirects: 0,
        })
    }

    /// Returns how many times the user was redirected.
    pub(crate) fn redirects(&self) -> usize {
        self.redirects
    }

    pub(crate) fn call(&mut self, tool: &str) -> Result<Ended, Box<dyn Error>> {
        self.call_while(tool, || {})
    }

    /// Calls a tool until it succeeds or fails; `before` runs before each attempt.
    pub(crate) fn call_while(
        &mut self,
        tool: &str,
        mut before: impl FnMut(),
    ) -> Result<Ended, Box<dyn Error>> {
        let operation = format!("tools/call {tool}");
        loop {
            before();
            let bearer = self.driver.bearer(&self.url).ok();
            let mut request = self
                .http
                .post(&self.url)
                .header("content-type", "application/json");
            if let Some(bearer) = &bearer {
                request = request.header("authorization", bearer);
            }
            let arguments = json!({ "name": tool, "arguments": { "text": tool } });
            let message =
                json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": arguments });
            let answer = request.send(message.to_string())?;
            let status = answer.status().as_u16();
            println!("   {operation} → {status}");
            if !matches!(status, 401 | 403) {
                let accepted = Operation::new(&operation);
                self.driver.handle(Event::Accepted(accepted));
                return Ok(Ended::Answered);
            }
            let operation = operation.as_str();
            let mut challenge = Challenge::new(operation, status, answer.headers().clone());
            if let Some(bearer) = &bearer {
                challenge = challenge.sent(bearer.to_str()?);
            }
            if let Err(failure) = self.authorize(Event::Challenged(challenge))? {
                return Ok(Ended::Refused(failure));
            }
        }
    }

    /// Performs the machine's actions until a token is available.
    fn authorize(&mut self, event: Event) -> Result<Result<(), Box<Failure>>, Box<dyn Error>> {
        let mut pause = self.driver.handle(event);
        loop {
            pause = match pause {
                Pause::Ready(_) => return Ok(Ok(())),
                Pause::Failed(failure) => return Ok(Err(failure)),
                Pause::Idle | Pause::Resting(_) | Pause::ShowCode(_) => {
                    return Err("nothing is left to do".into());
                }
                Pause::NeedUser(need) => {
                    println!("   the user is asked: {}", need.why.as_str());
                    self.driver.handle(Event::Authorize(seed()?.into()))
                }
                Pause::Redirect(redirect) => {
                    println!("   browser: scopes {:?}", redirect.scopes.as_str());
                    self.redirects = self.redirects.saturating_add(1);
                    let answer = self.http.get(redirect.url.as_str()).call()?;
                    let location = answer.headers().get("location").ok_or("no redirect")?;
                    let callback = Callback::from_url(location.to_str()?);
                    self.driver.handle(Event::CallbackParams(callback))
                }
            };
        }
    }
}
