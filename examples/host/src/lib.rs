//! A host with its own loop over the machine's actions: with `ureq`, a store of its own, and the clocks of the system.
//! Its tests are those that `docs/testing.md` describes.

mod network;

use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderValue};
use mcp_auth_machine::action::{LoadSlot, PersistSlot};
use mcp_auth_machine::event::{Challenge, Operation};
use mcp_auth_machine::time::MonoMillis;
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::wire::pkce::Seed;
use mcp_auth_machine::{Action, AuthMachine, Config, Event, Moment};

/// The store of the host.
pub trait Records {
    /// Performs the action.
    fn load(&self, load: LoadSlot) -> Event;

    /// Performs the action.
    fn persist(&self, persist: PersistSlot) -> Event;
}

/// The next step of the host.
#[derive(Debug)]
pub enum Next {
    /// Send the request with this `Authorization`.
    Send(HeaderValue),
    /// Open this URL in the user's browser.
    Open(String),
    /// Report this error.
    Report(String),
    /// Wait for the user.
    Wait,
}

/// The machine, with a count of its failures: a layer as hosts put them around the machine.
pub struct Session {
    machine: AuthMachine,
    failures: usize,
}

impl Session {
    pub fn new(config: impl Into<std::sync::Arc<Config>>, now: Moment) -> Self {
        Self {
            machine: AuthMachine::new(config, "alice", now),
            failures: 0,
        }
    }

    pub fn handle(&mut self, now: Moment, event: Event) {
        self.machine.handle(now, event);
    }

    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.machine.poll_action();
        self.failures += usize::from(matches!(action, Some(Action::Error(_))));
        action
    }

    pub fn deadline(&self) -> Option<MonoMillis> {
        self.machine.deadline()
    }

    pub fn machine(&mut self) -> &mut AuthMachine {
        &mut self.machine
    }

    pub fn failures(&self) -> usize {
        self.failures
    }
}

/// The whole host, for one user and one MCP server.
pub struct Host<R> {
    session: Session,
    records: R,
    url: String,
    begun: Instant,
    /// The URL that is open in the browser.
    open: Option<String>,
}

impl<R: Records> Host<R> {
    pub fn new(config: Config, records: R) -> Self {
        let now = Moment::new(SystemTime::now(), Duration::ZERO);
        Self {
            url: config.mcp_url().as_str().to_owned(),
            session: Session::new(config, now),
            records,
            begun: Instant::now(),
            open: None,
        }
    }

    /// Returns what comes before a request to this URL.
    pub fn before(&mut self, url: &str) -> Next {
        if let Some(open) = &self.open {
            return Next::Open(open.clone());
        }
        self.run(Event::Wanted(Operation::new("tools/call")), url)
    }

    /// The MCP server accepted a request.
    pub fn accepted(&mut self) {
        let now = self.now();
        self.session
            .handle(now, Event::Accepted(Operation::new("tools/call")));
    }

    /// The MCP server answered with 401 or 403 to a request with `sent`.
    pub fn refused(&mut self, status: u16, headers: HeaderMap, sent: Option<&str>) -> Next {
        let mut challenge = Challenge::new("tools/call", status, headers);
        if let Some(sent) = sent {
            challenge = challenge.sent(sent);
        }
        let url = self.url.clone();
        self.run(Event::Challenged(challenge), &url)
    }

    /// The browser requested the redirect URI.
    pub fn callback(&mut self, whole: &str) -> Next {
        let url = self.url.clone();
        self.run(Event::CallbackParams(Callback::from_url(whole)), &url)
    }

    fn now(&self) -> Moment {
        Moment::new(SystemTime::now(), self.begun.elapsed())
    }

    /// Performs actions until the host has to do something.
    fn run(&mut self, event: Event, url: &str) -> Next {
        let now = self.now();
        self.session.handle(now, event);
        loop {
            let event = match self.session.poll_action() {
                None if self.open.is_some() => return Next::Wait,
                None => match self.session.machine.timeout(self.now()) {
                    None => return Next::Report("nothing is left to do".to_owned()),
                    Some(left) => {
                        std::thread::sleep(left);
                        Event::Timer
                    }
                },
                Some(Action::SendRequest(send)) => network::send(send),
                Some(Action::LoadSlot(load)) => self.records.load(load),
                Some(Action::PersistSlot(persist)) => self.records.persist(persist),
                Some(Action::NeedUser(_)) => match seed() {
                    Some(seed) => Event::Authorize(seed.into()),
                    None => return Next::Report("no random bytes".to_owned()),
                },
                Some(Action::Redirect(redirect)) => {
                    let url = redirect.url.as_str().to_owned();
                    self.open = Some(url.clone());
                    return Next::Open(url);
                }
                Some(Action::Ready(_)) => {
                    self.open = None;
                    let now = self.now();
                    return match self.session.machine.bearer(now, url) {
                        Ok(value) => Next::Send(value),
                        Err(error) => Next::Report(error.to_string()),
                    };
                }
                Some(Action::Error(failure)) => {
                    self.open = None;
                    return Next::Report(failure.to_string());
                }
                // This host uses no keys, assertion grants, device sign-ins or reports.
                Some(other) => match other.decline() {
                    Some(event) => event,
                    None => continue,
                },
            };
            let now = self.now();
            self.session.handle(now, event);
        }
    }
}

fn seed() -> Option<Seed> {
    let mut bytes = [0; 64];
    getrandom::fill(&mut bytes).ok()?;
    Seed::with_key(bytes).ok()
}
