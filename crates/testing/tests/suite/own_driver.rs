//! A driver as a host would write it, with `ureq` and a loop over the actions, and the faults that such drivers have.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use mcp_auth_machine::action::{Purpose, SendRequest};
use mcp_auth_machine::event::{Challenge, Operation};
use mcp_auth_machine::wire::address::classify_ip;
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::{Action, AuthMachine, Config, Event, Moment};
use mcp_auth_testing::contract::{Step, TestedDriver};
use mcp_auth_testing::{Swapped, TestStore, documents};

/// A fault of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    FollowsRedirects,
    DropsFailedRequests,
    RetriesRequests,
    IgnoresBodyLimit,
    IgnoresTimeLimit,
    IgnoresAddresses,
    SendsStaleBearer,
    ForgetsSentToken,
    KeepsSuccessToItself,
    SendsBearerAnywhere,
    SendsCookies,
    SendsFormWithoutType,
    PicksOutTheCode,
    ReportsWritesEarly,
    ReportsFailedWritesAsDone,
    IgnoresRevisions,
    DropsSignatures,
    NeverWakes,
    RenewsEachTime,
}

pub struct OwnDriver {
    machine: AuthMachine,
    store: TestStore,
    agent: ureq::Agent,
    fault: Option<Fault>,
    /// The header that a driver without the fault does not keep.
    kept: Option<HeaderMap>,
    /// The URL to open, until its callback.
    open: Option<String>,
    redirect_uri: String,
    /// The MCP URL.
    resource: String,
    begun: Instant,
}

impl OwnDriver {
    pub fn new(config: Config, store: TestStore, fault: Option<Fault>) -> Self {
        let redirects = if fault == Some(Fault::FollowsRedirects) {
            5
        } else {
            0
        };
        let agent = ureq::Agent::config_builder()
            .max_redirects(redirects)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .proxy(None)
            .build();
        let now = Moment::new(SystemTime::now(), Duration::ZERO);
        Self {
            resource: config.mcp_url().as_str().to_owned(),
            machine: AuthMachine::new(Arc::new(config), "alice", now),
            store,
            agent: agent.into(),
            fault,
            kept: None,
            open: None,
            redirect_uri: String::new(),
            begun: Instant::now(),
        }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn now(&self) -> Moment {
        Moment::new(SystemTime::now(), self.begun.elapsed())
    }

    /// Passes an event in, and performs actions until a result or nothing is left.
    fn drive(&mut self, event: Event, url: &str) -> Step {
        let now = self.now();
        self.machine.handle(now, event);
        loop {
            let Some(action) = self.machine.poll_action() else {
                if self.open.is_some() {
                    return Step::Waiting;
                }
                let Some(deadline) = self.machine.deadline() else {
                    return Step::Failed("nothing is left to do".to_owned());
                };
                if self.has(Fault::NeverWakes) || self.has(Fault::DropsFailedRequests) {
                    return Step::Failed("no token came".to_owned());
                }
                let left = deadline.0.saturating_sub(self.now().mono.0);
                std::thread::sleep(Duration::from_millis(left));
                let now = self.now();
                self.machine.handle(now, Event::Timer);
                continue;
            };
            let event = match action {
                Action::SendRequest(send) => match self.send(send) {
                    Some(event) => event,
                    None => continue,
                },
                Action::LoadSlot(load) => self.store.load(load),
                Action::PersistSlot(persist) => self.persist(persist),
                Action::Sign(sign) if self.has(Fault::DropsSignatures) => {
                    drop(sign);
                    continue;
                }
                Action::Sign(sign) => sign.failed(),
                Action::ObtainAssertion(obtain) => obtain.failed(),
                Action::NeedUser(_) => Event::Authorize(random().into()),
                Action::Redirect(redirect) => {
                    let url = redirect.url.as_str().to_owned();
                    self.redirect_uri = documents::parameter(&url, "redirect_uri").unwrap();
                    self.open = Some(url.clone());
                    return Step::Open(url);
                }
                Action::Ready(_) => {
                    self.open = None;
                    return self.present(url);
                }
                Action::Error(failure) => {
                    self.open = None;
                    return Step::Failed(failure.to_string());
                }
                Action::ShowCode(_) | Action::Report(_) => continue,
            };
            let now = self.now();
            self.machine.handle(now, event);
        }
    }

    fn present(&mut self, url: &str) -> Step {
        if let (true, Some(kept)) = (self.has(Fault::SendsStaleBearer), &self.kept) {
            return Step::Headers(kept.clone());
        }
        let now = self.now();
        let url = match self.has(Fault::SendsBearerAnywhere) {
            true => self.resource.clone(),
            false => url.to_owned(),
        };
        match self.machine.bearer(now, &url) {
            Ok(value) => {
                let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, value)]);
                self.kept = Some(headers.clone());
                Step::Headers(headers)
            }
            Err(error) => Step::Failed(error.to_string()),
        }
    }

    fn send(&mut self, send: SendRequest) -> Option<Event> {
        let permits = send.addresses();
        let host = send.request().uri().host().unwrap_or_default().to_owned();
        let port = send.request().uri().port_u16().unwrap_or(443);
        use std::net::ToSocketAddrs as _;
        let found = (host.trim_matches(['[', ']']), port).to_socket_addrs();
        let mut found = found.into_iter().flatten();
        let blocked = !found.any(|address| permits.permits(classify_ip(address.ip())));
        if blocked && !self.has(Fault::IgnoresAddresses) {
            return Some(send.blocked());
        }
        let mut answer = self.exchange(&send);
        let is_token = send.purpose() == Purpose::Token;
        if answer.is_err() && is_token && self.has(Fault::RetriesRequests) {
            answer = self.exchange(&send);
        }
        Some(match answer {
            Ok(response) => send.response(response),
            Err(_) if self.has(Fault::DropsFailedRequests) => return None,
            Err(ureq::Error::BodyExceedsLimit(_)) => send.too_large(),
            Err(ureq::Error::ConnectionFailed | ureq::Error::HostNotFound) => send.never_sent(),
            Err(_) => send.maybe_sent(),
        })
    }

    fn exchange(&self, send: &SendRequest) -> Result<Response<Bytes>, ureq::Error> {
        let (mut parts, body) = send.request().clone().into_parts();
        if self.has(Fault::SendsCookies) {
            let cookie = HeaderValue::from_static("session=of-the-contract");
            parts.headers.insert("cookie", cookie);
        }
        if self.has(Fault::SendsFormWithoutType) {
            parts.headers.remove("content-type");
        }
        let time = match self.has(Fault::IgnoresTimeLimit) {
            true => Duration::from_secs(22),
            false => send.time_limit(),
        };
        let limit = match self.has(Fault::IgnoresBodyLimit) {
            true => u64::MAX,
            false => u64::try_from(send.body_limit()).unwrap(),
        };
        let answer = if parts.method == Method::GET {
            let request = self.agent.configure_request(Request::from_parts(parts, ()));
            self.agent.run(request.timeout_global(Some(time)).build())
        } else {
            let request = Request::from_parts(parts, body.to_vec());
            let request = self.agent.configure_request(request);
            self.agent.run(request.timeout_global(Some(time)).build())
        };
        let (parts, mut body) = answer?.into_parts();
        let body = body.with_config().limit(limit).read_to_vec()?;
        Ok(Response::from_parts(parts, Bytes::from(body)))
    }

    fn persist(&self, persist: mcp_auth_machine::action::PersistSlot) -> Event {
        if self.has(Fault::ReportsWritesEarly) {
            let (slot, expected) = (persist.slot(), persist.expected());
            let (store, write) = (self.store.clone(), persist.write().cloned());
            std::thread::spawn(move || store.swap(slot, expected, write.as_ref()));
            return persist.done();
        }
        let swap = self
            .store
            .swap(persist.slot(), persist.expected(), persist.write());
        match swap {
            Ok(Swapped::Done) => persist.done(),
            Ok(Swapped::Conflict(current)) if self.has(Fault::IgnoresRevisions) => {
                let revision = current.map(|stored| stored.revision);
                let _written = self.store.swap(persist.slot(), revision, persist.write());
                persist.done()
            }
            Ok(Swapped::Conflict(current)) => persist.conflict(current),
            Err(_) if self.has(Fault::ReportsFailedWritesAsDone) => persist.done(),
            Err(_) => persist.failed(),
        }
    }
}

impl TestedDriver for OwnDriver {
    fn headers(&mut self, _: &Method, url: &str) -> Step {
        if let Some(open) = &self.open {
            return Step::Open(open.clone());
        }
        if let (true, Some(kept)) = (self.has(Fault::RenewsEachTime), self.kept.take()) {
            self.accepted();
            return self.refused(401, HeaderMap::new(), kept.get("authorization").cloned());
        }
        let wanted = Event::Wanted(Operation::new("tools/list"));
        self.drive(wanted, url)
    }

    fn accepted(&mut self) {
        if !self.has(Fault::KeepsSuccessToItself) {
            let now = self.now();
            let accepted = Event::Accepted(Operation::new("tools/list"));
            self.machine.handle(now, accepted);
        }
    }

    fn refused(&mut self, status: u16, headers: HeaderMap, sent: Option<HeaderValue>) -> Step {
        let mut challenge = Challenge::new("tools/list", status, headers);
        if let (false, Some(sent)) = (self.has(Fault::ForgetsSentToken), sent) {
            challenge = challenge.sent(sent.to_str().unwrap());
        }
        let url = self.resource.clone();
        self.drive(Event::Challenged(challenge), &url)
    }

    fn callback(&mut self, url: &str) -> Step {
        let callback = if self.has(Fault::PicksOutTheCode) {
            // The host trusts whatever arrives: it adds the `state` that it remembers.
            let code = documents::parameter(url, "code").unwrap_or_default();
            let open = self.open.clone().unwrap_or_default();
            let state = documents::parameter(&open, "state").unwrap_or_default();
            Callback::from_url(format!("{}?code={code}&state={state}", self.redirect_uri))
        } else {
            Callback::from_url(url)
        };
        let url = self.resource.clone();
        self.drive(Event::CallbackParams(callback), &url)
    }
}

fn random() -> mcp_auth_machine::wire::pkce::Seed {
    use std::hash::{BuildHasher as _, RandomState};
    let mut bytes = [0; 64];
    for part in bytes.chunks_mut(8) {
        part.copy_from_slice(&RandomState::new().hash_one("seed").to_le_bytes());
    }
    mcp_auth_machine::wire::pkce::Seed::with_key(bytes).unwrap()
}
