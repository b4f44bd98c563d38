//! A host for tests of the bare machine: the test is a conversation, the store answers by itself.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};
use mcp_auth_machine::action::{Grant, Redirect};
use mcp_auth_machine::config::ConfigBuilder;
use mcp_auth_machine::event::{Challenge, Operation};
use mcp_auth_machine::present::Presentation;
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::{AuthMachine, Config, Event, Moment, NoBearer};
use url::form_urlencoded;

use super::conversation::fail;
use super::{Conversation, Playbook, START, TestStore, documents};

/// The operation of [`TestHost::refused`] and its fellows.
const OPERATION: &str = "tools/call x";

/// A host whose servers, browser and clock are the test.
///
/// Slots are answered at once from a [`TestStore`]; the test takes every other action in the machine's order, with the
/// methods of [`Conversation`]. Each of these panics when another action came, with both and the conversation up to there.
/// A host that is dropped with actions that the test has not taken fails the test: the script is unfinished.
/// Time stands still unless the test moves it.
pub struct TestHost {
    inner: Conversation<TestStore>,
    url: String,
    redirect_uri: String,
    sent: Option<String>,
    finished: bool,
}

impl Deref for TestHost {
    type Target = Conversation<TestStore>;

    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

impl DerefMut for TestHost {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.inner
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
        Self {
            url: config.mcp_url().as_str().to_owned(),
            redirect_uri: documents::REDIRECT.to_owned(),
            inner: Conversation::begin(AuthMachine::new(config, principal, START), store),
            sent: None,
            finished: false,
        }
    }

    /// Continues a process on the same store at the time of another, with seeds that it has not used.
    #[must_use]
    pub fn after(mut self, other: &Self) -> Self {
        self.inner.now = other.inner.now;
        self.inner.seeds = other.inner.seeds;
        self
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
        self.move_clocks(time);
    }

    /// Lets the time pass until the machine's deadline, passes `Timer` in, and returns how long that was.
    ///
    /// # Panics
    /// When the machine has no deadline.
    #[track_caller]
    pub fn wake(&mut self) -> Duration {
        self.until_deadline()
    }

    // ---- Actions ----

    /// Expects a redirect of the user. [`callback`](Self::callback) goes to its redirect URI.
    ///
    /// # Panics
    /// When the next action is another one.
    #[track_caller]
    pub fn redirect(&mut self) -> Redirect {
        let redirect = self.inner.redirect();
        let uri = documents::parameter(redirect.url.as_str(), "redirect_uri");
        self.redirect_uri = uri.unwrap_or_default();
        redirect
    }

    /// Returns the value of `Authorization` for the MCP URL. The next [`refused`](Self::refused) is about it.
    ///
    /// # Errors
    /// [`NoBearer`] with the reason.
    pub fn bearer(&mut self) -> Result<HeaderValue, NoBearer> {
        let now = self.inner.now;
        let value = self.inner.machine.bearer(now, &self.url)?;
        self.sent = value.to_str().ok().map(str::to_owned);
        Ok(value)
    }

    /// Signs in with ordinary documents and dynamic registration, up to [`ready`](Conversation::ready).
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
        &mut self.inner.machine
    }

    /// Returns the store.
    pub fn store(&self) -> &TestStore {
        &self.inner.store
    }

    /// Returns the current time.
    pub fn now(&self) -> Moment {
        self.inner.now
    }

    /// Returns the conversation, for a snapshot.
    pub fn playbook(&self) -> &Playbook {
        &self.inner.playbook
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

    fn current(&mut self) -> Option<String> {
        let now = self.inner.now;
        let value = self
            .inner
            .machine
            .present(now, &Method::POST, &self.url)
            .ok()?;
        match value {
            Presentation::Bearer(value) => value.to_str().ok().map(str::to_owned),
            Presentation::Bound(_) => None,
        }
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
            .field("machine", &self.inner.machine)
            .finish_non_exhaustive()
    }
}

/// Returns the `state` of a redirect, percent-encoded.
fn state_of(redirect: &Redirect) -> Option<String> {
    let state = documents::parameter(redirect.url.as_str(), "state")?;
    Some(form_urlencoded::byte_serialize(state.as_bytes()).collect())
}
