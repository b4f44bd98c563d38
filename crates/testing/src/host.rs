//! A host for tests of the bare machine: the test is a conversation, the store answers by itself.

// An expectation that is not met fails the test, whatever came instead.
#![allow(clippy::panic, clippy::wildcard_enum_match_arm)]

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use mcp_auth_machine::action::{Grant, NeedUser, Redirect, SendRequest, ShowCode};
use mcp_auth_machine::config::ConfigBuilder;
use mcp_auth_machine::event::{Authorization, Challenge, Operation};
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::wire::pkce::Seed;
use mcp_auth_machine::{Action, AuthMachine, Config, Event, Failure, Moment, NoBearer};
use url::form_urlencoded;

use super::{Playbook, TestStore, documents};

/// The operation of [`TestHost::refused`] and its fellows.
const OPERATION: &str = "tools/call x";

/// Fails the test.
#[track_caller]
pub(crate) fn fail(why: &str) -> ! {
    panic!("{why}")
}

/// A host whose servers, browser and clock are the test.
///
/// Slots are answered at once from a [`TestStore`]; the test takes every other action in the machine's order.
/// Each method that takes an action panics when another one came, with both and the conversation up to there.
/// A host that is dropped with actions that the test has not taken fails the test: the script is unfinished.
/// Time stands still unless the test moves it.
pub struct TestHost {
    machine: AuthMachine,
    store: TestStore,
    url: String,
    redirect_uri: String,
    now: Moment,
    actions: VecDeque<Action>,
    playbook: Playbook,
    seeds: u8,
    sent: Option<String>,
    finished: bool,
}

/// Returns entropy for tests that differs for each number.
pub fn seed(number: u8) -> Seed {
    let mut bytes = [number; 64];
    for (at, byte) in bytes.iter_mut().enumerate() {
        let at = u8::try_from(at).unwrap_or_default();
        *byte = number.wrapping_mul(31).wrapping_add(at.wrapping_mul(7));
    }
    match Seed::with_key(bytes) {
        Ok(seed) => seed,
        Err(weak) => fail(&weak.to_string()),
    }
}

impl TestHost {
    /// Creates a host for the user `alice` on an empty store.
    ///
    /// # Panics
    /// When the configuration is invalid.
    #[track_caller]
    pub fn new(config: ConfigBuilder) -> Self {
        match config.build() {
            Ok(config) => Self::on(config, "alice", TestStore::new()),
            Err(error) => fail(&format!("the configuration is invalid: {error}")),
        }
    }

    /// Creates a host for a principal on a store, which other hosts may share or have used before.
    pub fn on(config: impl Into<Arc<Config>>, principal: &str, store: TestStore) -> Self {
        let config = config.into();
        let mut host = Self {
            url: config.mcp_url().as_str().to_owned(),
            redirect_uri: documents::REDIRECT.to_owned(),
            machine: AuthMachine::new(config, principal),
            store,
            now: Moment::new(1_800_000_000_000, 1_000),
            actions: VecDeque::new(),
            playbook: Playbook::new(),
            seeds: 0,
            sent: None,
            finished: false,
        };
        host.pump();
        host
    }

    /// Continues a process on the same store at the time of another, with seeds that it has not used.
    #[must_use]
    pub fn after(mut self, other: &Self) -> Self {
        self.now = other.now;
        self.seeds = other.seeds;
        self
    }

    /// Passes an event in. The other methods do that in the words of a test.
    pub fn handle(&mut self, event: Event) {
        self.playbook.event(&event);
        self.machine.handle(self.now, event);
        self.pump();
    }

    fn pump(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            self.playbook.action(&action);
            let event = match action {
                Action::LoadSlot(load) => self.store.load(load),
                Action::PersistSlot(persist) => self.store.persist(persist),
                Action::Report(_) => continue,
                action @ (Action::SendRequest(_)
                | Action::Redirect(_)
                | Action::ShowCode(_)
                | Action::Sign(_)
                | Action::ObtainAssertion(_)
                | Action::NeedUser(_)
                | Action::Ready(_)
                | Action::Error(_)) => {
                    self.actions.push_back(action);
                    continue;
                }
            };
            self.playbook.event(&event);
            self.machine.handle(self.now, event);
        }
    }

    // ---- Events ----

    /// The MCP server answers with this status and `WWW-Authenticate` to a request with the current token.
    pub fn refused(&mut self, status: u16, www_authenticate: &str) {
        let mut headers = HeaderMap::new();
        match HeaderValue::from_str(www_authenticate) {
            Ok(value) => headers.insert("www-authenticate", value),
            Err(_) => fail(&format!("not a header: {www_authenticate:?}")),
        };
        let mut challenge = Challenge::new(OPERATION, status, headers);
        if let Some(sent) = self.sent.take().or_else(|| self.current()) {
            challenge = challenge.sent(&sent);
        }
        self.handle(Event::Challenged(challenge));
    }

    /// The MCP server accepts a request.
    pub fn accepted(&mut self) {
        self.handle(Event::Accepted(Operation::new(OPERATION)));
    }

    /// The host is about to send a request.
    pub fn wanted(&mut self) {
        self.handle(Event::Wanted(Operation::new(OPERATION)));
    }

    /// The user agrees to sign in.
    pub fn authorize(&mut self) {
        let seed = self.next_seed();
        self.handle(Event::Authorize(seed.into()));
    }

    /// The user agrees, with settings of the host. [`next_seed`](Self::next_seed) supplies the entropy.
    pub fn authorize_with(&mut self, authorization: Authorization) {
        self.handle(Event::Authorize(authorization));
    }

    /// Returns entropy that this host has not used.
    pub fn next_seed(&mut self) -> Seed {
        self.seeds = self.seeds.wrapping_add(1);
        seed(self.seeds)
    }

    /// The callback of this redirect, with these parameters and its `state`.
    pub fn callback(&mut self, redirect: &Redirect, query: &str) {
        let state = state_of(redirect).unwrap_or_default();
        self.callback_with(&format!("{query}&state={state}"));
    }

    /// A browser comes with exactly these parameters.
    pub fn callback_with(&mut self, query: &str) {
        let url = format!("{}?{query}", self.redirect_uri);
        self.handle(Event::CallbackParams(Callback::from_url(url)));
    }

    /// Moves both clocks, without an event.
    pub fn pass(&mut self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let Moment { wall, mono } = self.now;
        self.now = Moment::new(wall.0.saturating_add(millis), mono.0.saturating_add(millis));
    }

    /// Lets the time pass until the machine's deadline, passes `Timer` in, and returns how long that was.
    ///
    /// # Panics
    /// When the machine has no deadline.
    #[track_caller]
    pub fn wake(&mut self) -> Duration {
        let Some(deadline) = self.machine.deadline() else {
            fail(&self.told("a deadline", "none"))
        };
        let wait = Duration::from_millis(deadline.0.saturating_sub(self.now.mono.0));
        self.pass(wait);
        self.handle(Event::Timer);
        wait
    }

    // ---- Actions ----

    /// Takes the next action.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn next_action(&mut self) -> Action {
        match self.actions.pop_front() {
            Some(action) => action,
            None => fail(&self.told("an action", "none")),
        }
    }

    /// Expects a request to this URL, answers it with JSON, and returns it.
    ///
    /// # Panics
    /// When the next action is another one.
    #[track_caller]
    pub fn serve(&mut self, url: &str, status: u16, body: &str) -> Request<Bytes> {
        self.serve_with(url, status, &[("content-type", "application/json")], body)
    }

    /// Same as [`serve`](Self::serve), with these headers.
    ///
    /// # Panics
    /// When the next action is another one.
    #[track_caller]
    pub fn serve_with(
        &mut self,
        url: &str,
        status: u16,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Request<Bytes> {
        let send = self.request_to(url);
        let request = send.request().clone();
        self.handle(send.response(response(status, headers, body)));
        request
    }

    /// Expects a request to this URL, for an outcome of the test's choice: `host.handle(send.maybe_sent())`.
    ///
    /// # Panics
    /// When the next action is another one.
    #[track_caller]
    pub fn request_to(&mut self, url: &str) -> SendRequest {
        let expected = format!("a request to {url}");
        match self.next_but(&expected) {
            Action::SendRequest(send) if *send.request().uri() == *url => send,
            other => self.differs(&expected, &other),
        }
    }

    /// Expects that the user is needed.
    ///
    /// # Panics
    /// When the next action is another one.
    #[track_caller]
    pub fn need_user(&mut self) -> NeedUser {
        match self.next_but("NeedUser") {
            Action::NeedUser(need) => need,
            other => self.differs("NeedUser", &other),
        }
    }

    /// Expects a redirect of the user.
    ///
    /// # Panics
    /// When the next action is another one.
    #[track_caller]
    pub fn redirect(&mut self) -> Redirect {
        match self.next_but("Redirect") {
            Action::Redirect(redirect) => {
                let uri = documents::parameter(redirect.url.as_str(), "redirect_uri");
                self.redirect_uri = uri.unwrap_or_default();
                redirect
            }
            other => self.differs("Redirect", &other),
        }
    }

    /// Expects a code for the user of another device.
    ///
    /// # Panics
    /// When the next action is another one.
    #[track_caller]
    pub fn code(&mut self) -> ShowCode {
        match self.next_but("ShowCode") {
            Action::ShowCode(shown) => *shown,
            other => self.differs("ShowCode", &other),
        }
    }

    /// Expects a token.
    ///
    /// # Panics
    /// When the next action is another one.
    #[track_caller]
    pub fn ready(&mut self) -> Grant {
        match self.next_but("Ready") {
            Action::Ready(grant) => grant,
            other => self.differs("Ready", &other),
        }
    }

    /// Expects that the attempt failed.
    ///
    /// # Panics
    /// When the next action is another one.
    #[track_caller]
    pub fn error(&mut self) -> Failure {
        match self.next_but("Error") {
            Action::Error(failure) => *failure,
            other => self.differs("Error", &other),
        }
    }

    /// Expects that the machine asks for nothing.
    ///
    /// # Panics
    /// When an action is there.
    #[track_caller]
    pub fn quiet(&self) {
        if let Some(action) = self.actions.front() {
            fail(&self.told("nothing", &format!("{action:?}")));
        }
    }

    /// Returns the value of `Authorization` for the MCP URL. The next [`refused`](Self::refused) is about it.
    ///
    /// # Errors
    /// [`NoBearer`] with the reason.
    pub fn bearer(&mut self) -> Result<HeaderValue, NoBearer> {
        let value = self.machine.bearer(self.now, &self.url)?;
        self.sent = value.to_str().ok().map(str::to_owned);
        Ok(value)
    }

    /// Signs in with ordinary documents and dynamic registration, up to [`ready`](Self::ready).
    ///
    /// # Panics
    /// When the machine asks for anything else: the configuration is not for [`documents::MCP`].
    #[track_caller]
    pub fn sign_in(&mut self, token_response: &str) -> Grant {
        self.refused(401, "Bearer");
        self.need_user();
        self.authorize();
        self.serve(documents::PRM, 200, &documents::resource());
        self.serve(documents::METADATA, 200, &documents::metadata());
        self.serve(documents::REGISTER, 201, r#"{"client_id":"client-1"}"#);
        let redirect = self.redirect();
        self.callback(&redirect, "code=code-1");
        self.serve(documents::TOKEN, 200, token_response);
        self.ready()
    }

    // ---- Around ----

    /// Returns the machine.
    pub fn machine(&mut self) -> &mut AuthMachine {
        &mut self.machine
    }

    /// Returns the store.
    pub fn store(&self) -> &TestStore {
        &self.store
    }

    /// Returns the current time.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// Returns the conversation, for a snapshot.
    pub fn playbook(&self) -> &Playbook {
        &self.playbook
    }

    /// Ends the script: every action has been taken. Dropping the host does the same.
    ///
    /// # Panics
    /// When an action was not taken.
    #[track_caller]
    pub fn finish(mut self) {
        self.finished = true;
        if let Some(left) = self.left() {
            fail(&left);
        }
    }

    fn left(&self) -> Option<String> {
        let first = self.actions.front()?;
        let count = self.actions.len();
        Some(self.told(
            "no action at the end of the script",
            &format!("{count} that the test did not take, the first of them {first:?}"),
        ))
    }

    fn current(&mut self) -> Option<String> {
        let value = self
            .machine
            .present(self.now, &Method::POST, &self.url)
            .ok()?;
        match value {
            mcp_auth_machine::present::Presentation::Bearer(value) => {
                value.to_str().ok().map(str::to_owned)
            }
            mcp_auth_machine::present::Presentation::Bound(_) => None,
        }
    }

    #[track_caller]
    fn next_but(&mut self, expected: &str) -> Action {
        match self.actions.pop_front() {
            Some(action) => action,
            None => fail(&self.told(expected, "nothing: the machine waits for an event")),
        }
    }

    #[track_caller]
    fn differs(&self, expected: &str, came: &Action) -> ! {
        fail(&self.told(expected, &shown(came)))
    }

    fn told(&self, expected: &str, came: &str) -> String {
        let text = self.playbook.text();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(12);
        let last = lines.get(from..).unwrap_or_default().join("\n    ");
        format!(
            "the machine does not follow the script\n  expected: {expected}\n      came: {came}\n  \
             the conversation (> to the machine, < from it), its end:\n    {last}"
        )
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        if self.finished || std::thread::panicking() {
            return;
        }
        if let Some(left) = self.left() {
            fail(&left);
        }
    }
}

impl fmt::Debug for TestHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestHost")
            .field("machine", &self.machine)
            .finish_non_exhaustive()
    }
}

/// An action with the sentence of a failure, which its `Debug` text lacks.
fn shown(action: &Action) -> String {
    if let Action::Error(failure) = action {
        format!("Error: {failure}")
    } else if let Action::SendRequest(send) = action {
        let request = send.request();
        let purpose = send.purpose().as_str();
        format!("{} {} ({purpose})", request.method(), request.uri())
    } else {
        format!("{action:?}")
    }
}

/// Returns the `state` of a redirect, percent-encoded.
fn state_of(redirect: &Redirect) -> Option<String> {
    let state = documents::parameter(redirect.url.as_str(), "state")?;
    Some(form_urlencoded::byte_serialize(state.as_bytes()).collect())
}

#[track_caller]
fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::copy_from_slice(body.as_bytes()));
    match http::StatusCode::from_u16(status) {
        Ok(status) => *response.status_mut() = status,
        Err(_) => fail(&format!("not a status: {status}")),
    }
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        match (name, HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) => response.headers_mut().append(name, value),
            (_, _) => fail(&format!("not a header: {value:?}")),
        };
    }
    response
}
