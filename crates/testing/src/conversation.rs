//! A conversation with the bare machine: the test is the servers, the browser and the user, the store answers by itself.

// An expectation that is not met fails the test, whatever came instead.
#![allow(clippy::panic, clippy::wildcard_enum_match_arm)]

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use mcp_auth_machine::action::{Grant, NeedUser, Purpose, Redirect, SendRequest, ShowCode};
use mcp_auth_machine::event::Authorization;
use mcp_auth_machine::report::Decision;
use mcp_auth_machine::time::{MonoMillis, UnixMillis};
use mcp_auth_machine::wire::pkce::Seed;
use mcp_auth_machine::{Action, AuthMachine, Event, Failure, Moment};

use super::{Playbook, TestStore};

/// Fails the test.
#[track_caller]
pub(crate) fn fail(why: &str) -> ! {
    panic!("{why}")
}

/// When a [`Conversation`] begins: in January 2027, an hour after the process has started.
pub const START: Moment = moment(1_800_000_000_000, 3_600_000);

/// Returns the moment at which the clocks show these times, in milliseconds: since the Unix epoch, and since any fixed point.
pub const fn moment(unix_millis: u64, mono_millis: u64) -> Moment {
    Moment {
        wall: UnixMillis(unix_millis),
        mono: MonoMillis(mono_millis),
    }
}

/// Returns entropy for tests that differs for each number.
pub fn seed(number: u8) -> Seed {
    let mut bytes = [number; 64];
    let ends = [
        0xA5,
        number.wrapping_mul(7).wrapping_add(1),
        number ^ u8::MAX,
    ];
    for (at, value) in [0, 47, 63].into_iter().zip(ends) {
        if let Some(byte) = bytes.get_mut::<usize>(at) {
            *byte = value;
        }
    }
    match Seed::with_key(bytes) {
        Ok(seed) => seed,
        Err(weak) => fail(&weak.to_string()),
    }
}

/// The store of a [`Conversation`].
pub trait Slots {
    /// Performs an action of a slot, or returns it: then the test performs it.
    ///
    /// # Errors
    /// The action, where the test performs it, and where it is not one of a slot.
    fn perform(&mut self, action: Action) -> Result<Event, Box<Action>>;

    /// Returns the metadata documents that an authorization reads again and the test serves once: by URL. Without them,
    /// the test serves every request.
    fn documents(&mut self) -> Option<&mut BTreeMap<String, String>> {
        None
    }
}

impl Slots for TestStore {
    fn perform(&mut self, action: Action) -> Result<Event, Box<Action>> {
        match action {
            Action::LoadSlot(load) => Ok(self.load(load)),
            Action::PersistSlot(persist) => Ok(self.persist(persist)),
            action => Err(Box::new(action)),
        }
    }
}

/// A machine and a store in conversation with a test: what [`TestHost`](super::TestHost) and the tests of the machine
/// itself have in common.
///
/// Slots are answered at once; the test takes every other action in the machine's order. Each method that takes an action
/// panics when another one came, with both and the conversation up to there. Time stands still unless the test moves it.
pub struct Conversation<S> {
    /// The machine.
    pub machine: AuthMachine,
    /// The store.
    pub store: S,
    /// The current time.
    pub now: Moment,
    /// The actions that the test has not taken.
    pub actions: VecDeque<Action>,
    /// The reports up to now.
    pub reports: Vec<Decision>,
    /// The conversation up to now.
    pub playbook: Playbook,
    /// How many seeds were used; a new process must not reuse them.
    pub seeds: u8,
    /// How many signatures were made.
    pub signatures: u8,
    /// An authorization began, and has not led to the user or to a failure.
    pub begun: bool,
}

impl<S: Slots> Conversation<S> {
    /// Begins a conversation on a store.
    pub fn begin(machine: AuthMachine, store: S) -> Self {
        Self::resume(machine, store, START, 0)
    }

    /// Begins a conversation at this time, with seeds that were not used before.
    pub fn resume(machine: AuthMachine, store: S, now: Moment, seeds: u8) -> Self {
        let mut conversation = Self {
            machine,
            store,
            now,
            actions: VecDeque::new(),
            reports: Vec::new(),
            playbook: Playbook::new(),
            seeds,
            signatures: 0,
            begun: false,
        };
        conversation.pump();
        conversation
    }

    /// Passes an event in. The other methods do that in the words of a test.
    pub fn handle(&mut self, event: Event) {
        self.begun |= matches!(event, Event::Authorize(_));
        self.playbook.event(&event);
        self.machine.handle(self.now, event);
        self.pump();
    }

    fn pump(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            self.playbook.action(&action);
            match action {
                Action::Report(decision) => self.reports.push(*decision),
                action => match self.store.perform(action) {
                    Ok(event) => {
                        self.playbook.event(&event);
                        self.machine.handle(self.now, event);
                    }
                    Err(action) => self.actions.push_back(*action),
                },
            }
        }
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

    /// Returns entropy that this conversation has not used.
    pub fn next_seed(&mut self) -> Seed {
        self.seeds = self.seeds.wrapping_add(1);
        seed(self.seeds)
    }

    /// Moves both clocks, without an event.
    pub fn move_clocks(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }

    /// Lets the time pass until the machine's deadline, passes `Timer` in, and returns how long that was.
    ///
    /// # Panics
    /// When the machine has no deadline.
    #[track_caller]
    pub fn until_deadline(&mut self) -> Duration {
        let Some(wait) = self.machine.timeout(self.now) else {
            fail(&self.told("a deadline", "none"))
        };
        self.move_clocks(wait);
        self.handle(Event::Timer);
        wait
    }

    /// Serves metadata that the test has served before, in an authorization, unless the test serves it next.
    fn documents_again(&mut self, but: Option<&str>) {
        while let (true, Some(Action::SendRequest(send))) = (self.begun, self.actions.front()) {
            let url = send.request().uri().to_string();
            let is_document = matches!(
                send.purpose(),
                Purpose::ResourceMetadata | Purpose::ServerMetadata
            );
            let known = self.store.documents().filter(|_| is_document);
            let document = known.and_then(|known| known.get(&url).cloned());
            let (Some(document), true) = (document, but != Some(&*url)) else {
                break;
            };
            if let Some(Action::SendRequest(send)) = self.actions.pop_front() {
                self.handle(send.response(response(200, &[], &document)));
            }
        }
    }

    fn take(&mut self, but: Option<&str>) -> Option<Action> {
        self.documents_again(but);
        let action = self.actions.pop_front();
        let ends = |action: &Action| {
            matches!(
                action,
                Action::Redirect(_) | Action::ShowCode(_) | Action::Error(_)
            )
        };
        self.begun &= !action.as_ref().is_some_and(ends);
        action
    }

    /// Takes the next action.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn next_action(&mut self) -> Action {
        self.expect("an action", None)
    }

    /// Expects a request to any URL.
    ///
    /// # Panics
    /// When the next action is another one.
    #[track_caller]
    pub fn request(&mut self) -> SendRequest {
        match self.expect("a request", None) {
            Action::SendRequest(send) => send,
            other => self.differs("a request", &other),
        }
    }

    /// Expects a request to this URL, for an outcome of the test's choice: `host.handle(send.maybe_sent())`.
    ///
    /// # Panics
    /// When the next action is another one.
    #[track_caller]
    pub fn request_to(&mut self, url: &str) -> SendRequest {
        let expected = format!("a request to {url}");
        match self.expect(&expected, Some(url)) {
            Action::SendRequest(send) if *send.request().uri() == *url => send,
            other => self.differs(&expected, &other),
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
        if let (200, Purpose::ResourceMetadata | Purpose::ServerMetadata, Some(known)) =
            (status, send.purpose(), self.store.documents())
        {
            known.insert(url.to_owned(), body.to_owned());
        }
        self.handle(send.response(response(status, headers, body)));
        request
    }

    /// Expects that the user is needed.
    ///
    /// # Panics
    /// When the next action is another one.
    #[track_caller]
    pub fn need_user(&mut self) -> NeedUser {
        match self.expect("NeedUser", None) {
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
        match self.expect("Redirect", None) {
            Action::Redirect(redirect) => redirect,
            other => self.differs("Redirect", &other),
        }
    }

    /// Expects a code for the user of another device.
    ///
    /// # Panics
    /// When the next action is another one.
    #[track_caller]
    pub fn code(&mut self) -> ShowCode {
        match self.expect("ShowCode", None) {
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
        match self.expect("Ready", None) {
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
        match self.expect("Error", None) {
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

    /// Returns what the test has not taken, as the message of a failure.
    pub(crate) fn left(&self) -> Option<String> {
        let first = self.actions.front()?;
        let count = self.actions.len();
        Some(self.told(
            "no action at the end of the script",
            &format!("{count} that the test did not take, the first of them {first:?}"),
        ))
    }

    #[track_caller]
    fn expect(&mut self, expected: &str, url: Option<&str>) -> Action {
        match self.take(url) {
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

impl<S> fmt::Debug for Conversation<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conversation")
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

/// Returns a response with these headers.
///
/// # Panics
/// When the status or a header is invalid.
#[track_caller]
pub fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Response<Bytes> {
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
