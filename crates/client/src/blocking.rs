//! A blocking driver on `ureq`: without redirects, with verified TLS, with limits while reading.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};

use super::clock::{Clock, Entropy, Surroundings, millis};
use super::connect::{TlsFault, is_no_tls};
use super::http_client::HttpClient;
use super::note::{Note, Watch};
use super::policy::is_blocked;
use super::secrets::{Assertions, NoSecrets, Signer, bearer, prove, sign};
use super::store::{Answered, Store, StoreError, load_from, persist_in};
use super::trust::Trust;
use mcp_auth_machine::action::{Grant, NeedUser, Redirect, SendRequest, ShowCode};
use mcp_auth_machine::error::Cause;
use mcp_auth_machine::present::Presentation;
use mcp_auth_machine::time::MonoMillis;
use mcp_auth_machine::{Action, AuthMachine, Config, Event, Failure, Moment, NoBearer, Phase};

const PATIENCE: Duration = Duration::from_secs(10);

/// The reason why the driver returned to the host.
#[derive(Debug)]
pub enum Pause {
    /// No work is left.
    Idle,
    /// A server or another process needs more time than [`Driver::patience`], or a user has a code: call
    /// [`Driver::run`] again after this duration, or pass in the user's actions meanwhile.
    Resting(Duration),
    /// Redirect the user to this URL.
    Redirect(Box<Redirect>),
    /// Show the user this code, then call [`Driver::run`], which polls the server: it returns
    /// [`Pause::Resting`] until the user has decided.
    ShowCode(Box<ShowCode>),
    /// Ask the user, then pass in `Authorize`.
    NeedUser(Box<NeedUser>),
    /// A token is available.
    Ready(Box<Grant>),
    /// The attempt failed. Stored credentials are unaffected.
    Failed(Box<Failure>),
}

/// Sends a request within this time, in place of the driver's own HTTP client.
type Exchange = Box<dyn FnMut(SendRequest, Duration) -> Event + Send>;

/// A machine with a store and an HTTP client.
pub struct Driver<S> {
    machine: AuthMachine,
    store: S,
    principal: Arc<str>,
    config: Arc<Config>,
    http: HttpClient,
    /// The host's HTTP client, if it has one.
    exchange: Option<Exchange>,
    around: Surroundings,
    watch: Watch,
    actions: VecDeque<Action>,
    patience: Duration,
    deadline: Option<Instant>,
    /// The total time of pauses that were cut short by the deadline.
    skipped: Duration,
    undelivered: Option<Undelivered>,
    store_error: Option<StoreError>,
    signer: Box<dyn Signer + Send>,
    assertions: Box<dyn Assertions + Send>,
}

/// The last request without a response.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Undelivered {
    /// The method and URL, without the query.
    pub request: String,
    /// The error of the HTTP client.
    pub error: String,
    /// The cause in TLS, if the user can fix it.
    pub tls: Option<TlsFault>,
}

impl<S: Store> Driver<S> {
    /// Creates a driver for one principal at one MCP server.
    pub fn new(config: impl Into<Arc<Config>>, principal: impl Into<Arc<str>>, store: S) -> Self {
        let config = config.into();
        let principal = principal.into();
        let http = HttpClient::judged(Trust::new(), config.url_policy().clone());
        let around = Surroundings::default();
        Self {
            machine: AuthMachine::new(Arc::clone(&config), Arc::clone(&principal), around.now()),
            principal,
            store,
            config,
            http,
            exchange: None,
            around,
            watch: Watch::default(),
            actions: VecDeque::new(),
            patience: PATIENCE,
            deadline: None,
            skipped: Duration::ZERO,
            undelivered: None,
            store_error: None,
            signer: Box::new(NoSecrets),
            assertions: Box::new(NoSecrets),
        }
    }

    /// Sets a closure that receives every event and action.
    #[must_use]
    pub fn watched(mut self, watch: impl FnMut(Note<'_>) + Send + 'static) -> Self {
        self.watch = Watch::new(watch);
        self
    }

    /// Sets the signer for the host's keys.
    #[must_use]
    pub fn signer(mut self, signer: impl Signer + Send + 'static) -> Self {
        self.signer = Box::new(signer);
        self
    }

    /// Sets the source of tokens of the host's platform or identity provider.
    #[must_use]
    pub fn assertions(mut self, assertions: impl Assertions + Send + 'static) -> Self {
        self.assertions = Box::new(assertions);
        self
    }

    /// Trusts additional certificate authorities, or presents a client certificate. Default: the platform's
    /// trust store.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.http = HttpClient::judged(trust, self.config.url_policy().clone());
        self
    }

    /// Sends requests with an HTTP client of the host, which answers each of them within the given time. The host
    /// takes over the duties of the driver's own client: TLS, addresses, no redirects, the limit of the body.
    #[must_use]
    pub fn http(
        mut self,
        exchange: impl FnMut(SendRequest, Duration) -> Event + Send + 'static,
    ) -> Self {
        self.exchange = Some(Box::new(exchange));
        self
    }

    /// Sets other clocks, for tests. Call it before the first event: it creates the machine again, at the time of these clocks.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.around.clock = Some(Arc::new(clock));
        // The machine begins by this clock too.
        self.machine = AuthMachine::new(
            Arc::clone(&self.config),
            Arc::clone(&self.principal),
            self.around.now(),
        );
        self
    }

    /// Sets another random source for signatures, for tests. The seed of an authorization is the host's.
    #[must_use]
    pub fn entropy(mut self, entropy: impl Entropy) -> Self {
        self.around.entropy = Some(Arc::new(entropy));
        self
    }

    /// Sets how long the driver sleeps at a time while a refresh is paused. Default: 10 seconds.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets the time by which the driver should return. Requests take no longer, and a pause that would end
    /// later is cut short, after which no more requests are sent: the machine ends its attempt and releases
    /// its lease in the store. While another process refreshes the tokens, or after a server asked for a long delay,
    /// [`Pause::Resting`] is returned at that time instead, and the host ends. Default: the machine's own time limits.
    #[must_use]
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Returns true while a refresh waits that this process does not make: another process refreshes the tokens and holds the
    /// lease, or the server asked for a long delay.
    pub fn waits_without_lease(&self) -> bool {
        self.machine.waits_without_lease()
    }

    /// Returns the last request without a response, unless a response has arrived since.
    pub fn undelivered(&self) -> Option<&Undelivered> {
        self.undelivered.as_ref()
    }

    /// Returns the last error of the store, unless an operation has succeeded since: the reason for a failure with
    /// [`Cause::NotPersisted`](mcp_auth_machine::error::Cause::NotPersisted).
    pub fn store_error(&self) -> Option<&StoreError> {
        self.store_error.as_ref()
    }

    /// Passes an event in and works until the host is needed. A pause answers everything that the host asked for before.
    pub fn handle(&mut self, event: Event) -> Pause {
        let signs_out = matches!(event, Event::SignedOut);
        self.feed(event);
        if signs_out {
            // The answers to operations that waited; the sign-out continues.
            self.collect();
            self.actions.retain(|action| !is_end(action));
        }
        self.run()
    }

    fn collect(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            self.actions.push_back(action);
        }
    }

    /// Works until the host is needed. Call it again after a pause.
    pub fn run(&mut self) -> Pause {
        loop {
            self.collect();
            let Some(action) = self.actions.pop_front() else {
                let polls = self.machine.phase() == Phase::AwaitingDevice;
                match self.rest() {
                    Some(rest) if polls && !rest.is_zero() => return Pause::Resting(rest),
                    None => return Pause::Idle,
                    // Skipped time would break the lease of another process.
                    Some(rest) if rest > self.left(rest) && self.machine.waits_without_lease() => {
                        return Pause::Resting(rest);
                    }
                    Some(rest) if rest > self.left(rest) => {
                        self.skipped = self.skipped.saturating_add(rest);
                    }
                    Some(rest) if rest > self.patience => return Pause::Resting(rest),
                    Some(rest) => self.around.sleep(rest),
                }
                self.feed(Event::Timer);
                continue;
            };
            if let Some(pause) = self.perform(action) {
                return pause;
            }
        }
    }

    /// Performs what the machine asks for beside the last pause: it releases leases, and revokes tokens that it
    /// discards. The last call of a host; pauses are skipped, and requests take no longer than `time` in all. Within that
    /// time, tokens that the store did not take are saved again (TOK-16).
    pub fn finish(&mut self, time: Duration) {
        let now = Instant::now();
        self.deadline = now.checked_add(time);
        self.skipped = Duration::ZERO;
        loop {
            self.collect();
            if let Some(action) = self.actions.pop_front() {
                let _skipped = self.perform(action);
                continue;
            }
            let next = self.machine.timeout(self.now());
            let Some(wait) = next.filter(|_| self.machine.has_unsaved()) else {
                return;
            };
            if wait > self.left(wait) {
                return;
            }
            self.around.sleep(wait);
            self.feed(Event::Timer);
        }
    }

    /// Performs one action; returns the pause that it means.
    fn perform(&mut self, action: Action) -> Option<Pause> {
        self.watch.see(Note::Out(&action));
        let event = match action {
            Action::SendRequest(send) => self.send(send),
            Action::LoadSlot(load) => {
                let answered = load_from(&self.store, load);
                self.stored(answered)
            }
            Action::PersistSlot(persist) => {
                let answered = persist_in(&self.store, persist);
                self.stored(answered)
            }
            Action::Sign(asked) => sign(&mut *self.signer, asked, &self.around),
            Action::ObtainAssertion(obtain) => self.assertions.obtain(obtain),
            Action::Report(_) => return None,
            Action::Redirect(redirect) => return Some(Pause::Redirect(Box::new(redirect))),
            Action::ShowCode(shown) => return Some(Pause::ShowCode(shown)),
            Action::NeedUser(need) => {
                self.drop_answers(
                    |other| matches!(other, Action::NeedUser(other) if other.why == need.why),
                );
                return Some(Pause::NeedUser(Box::new(need)));
            }
            Action::Ready(grant) => return Some(Pause::Ready(Box::new(grant))),
            Action::Error(failure) => {
                self.drop_answers(
                    |other| matches!(other, Action::Error(other) if other.cause == failure.cause),
                );
                return Some(Pause::Failed(failure));
            }
        };
        self.feed(event);
        None
    }

    /// Drops the same answer to other operations (USE-14): the one caller of this driver has it.
    fn drop_answers(&mut self, same: impl Fn(&Action) -> bool) {
        self.collect();
        self.actions.retain(|action| !same(action));
    }

    /// Keeps the error of the store for the host.
    fn stored(&mut self, (event, error): Answered) -> Event {
        if let Some(error) = &error {
            self.watch.see(Note::Store(error));
        }
        self.store_error = error;
        event
    }

    /// Returns how long the machine is paused.
    fn rest(&self) -> Option<Duration> {
        match self.machine.phase() {
            Phase::Resting | Phase::AwaitingUser => None,
            Phase::AwaitingDevice | Phase::Working(_) => self.machine.timeout(self.now()),
        }
    }

    /// Returns the value of `Authorization` for a request to this URL.
    ///
    /// # Errors
    /// [`NoBearer`] with the reason.
    pub fn bearer(&mut self, url: &str) -> Result<HeaderValue, NoBearer> {
        self.machine.bearer(self.now(), url)
    }

    /// Returns the headers of one request with the token: `Authorization`, and `DPoP` for a bound token.
    ///
    /// # Errors
    /// [`NoBearer`] with the reason; [`NoBearer::NotSigned`] when the signer cannot sign.
    pub fn present(&mut self, method: &http::Method, url: &str) -> Result<HeaderMap, NoBearer> {
        match self.machine.present(self.now(), method, url)? {
            Presentation::Bearer(value) => Ok(bearer(value)),
            Presentation::Bound(proof) => prove(&mut *self.signer, *proof, &self.around),
        }
    }

    /// Returns the stored token without its value, even when it has expired. Call [`Driver::run`] once
    /// before.
    pub fn grant(&self) -> Option<Grant> {
        self.machine.grant()
    }

    fn feed(&mut self, event: Event) {
        self.watch.see(Note::In(&event));
        self.machine.handle(self.now(), event);
    }

    /// Returns the current time. Pauses that were cut short advance the monotonic clock only.
    fn now(&self) -> Moment {
        let Moment { wall, mono } = self.around.now();
        let mono = MonoMillis(mono.0.saturating_add(millis(self.skipped)));
        Moment { wall, mono }
    }

    /// Returns this duration, or the time left before the deadline.
    fn left(&self, time: Duration) -> Duration {
        let left = |end: Instant| end.saturating_duration_since(Instant::now());
        self.deadline.map_or(time, |end| left(end).min(time))
    }

    fn send(&mut self, send: SendRequest) -> Event {
        let request = send.request();
        let named = {
            let (scheme, host) = (request.uri().scheme_str(), request.uri().authority());
            let scheme = scheme.unwrap_or_default();
            let host = host.map_or("", http::uri::Authority::as_str);
            let path = request.uri().path();
            format!("{} {scheme}://{host}{path}", request.method())
        };
        if !self.skipped.is_zero() || self.left(Duration::from_millis(1)).is_zero() {
            self.undelivered = Some(Undelivered {
                request: named,
                error: "not sent: the deadline has passed".to_owned(),
                tls: None,
            });
            return send.never_sent();
        }
        let time = self.left(send.time_limit());
        if let Some(exchange) = &mut self.exchange {
            return exchange(send, time);
        }
        let limit = u64::try_from(send.body_limit()).unwrap_or(u64::MAX);
        let copy = request.clone().map(|body| body.to_vec());
        let answer = if copy.method() == http::Method::GET {
            let (parts, _) = copy.into_parts();
            self.exchange(http::Request::from_parts(parts, ()), time, limit)
        } else {
            self.exchange(copy, time, limit)
        };
        self.undelivered = answer.as_ref().err().map(|error| Undelivered {
            request: named,
            error: HttpClient::words(error),
            tls: TlsFault::of(error),
        });
        match answer {
            Ok(response) => send.response(response),
            Err(ureq::Error::Io(error)) if is_blocked(&error) => send.blocked(),
            Err(ureq::Error::BodyExceedsLimit(_)) => send.too_large(),
            Err(
                ureq::Error::HostNotFound
                | ureq::Error::ConnectionFailed
                | ureq::Error::ConnectProxyFailed(_)
                | ureq::Error::InvalidProxyUrl
                | ureq::Error::BadUri(_),
            ) => send.never_sent(),
            Err(error) if is_no_tls(&error) => send.never_sent(),
            Err(_) => send.maybe_sent(),
        }
    }

    fn exchange(
        &self,
        request: http::Request<impl ureq::AsSendBody>,
        time: Duration,
        limit: u64,
    ) -> Result<Response<Bytes>, ureq::Error> {
        let (parts, mut body) = self.http.run(request, time)?.into_parts();
        let body = body.with_config().limit(limit).read_to_vec()?;
        Ok(Response::from_parts(parts, Bytes::from(body)))
    }
}

/// Returns true for the answer to an operation whose attempt was cancelled.
fn is_end(action: &Action) -> bool {
    matches!(action, Action::Error(failure) if failure.cause == Cause::Abandoned)
}

impl<S> std::fmt::Debug for Driver<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver")
            .field("machine", &self.machine)
            .finish_non_exhaustive()
    }
}
