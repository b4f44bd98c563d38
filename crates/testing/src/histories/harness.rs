//! The world of a history: servers, browser, store and time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use mcp_auth_machine::action::{Purpose, Redirect, SendRequest};
use mcp_auth_machine::event::{Abandon, Challenge, Operation};
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::{Action, Config, Event, Moment};
use serde_json::json;

use super::oracle::Oracle;
use super::{Answer, Outside, Return, Step, System};
use crate::documents::{self, MCP, REDIRECT};
use crate::{START, TestStore, seed};

/// The authorization servers. The first announces and sends `iss`, the second does not.
const ISSUERS: [&str; 2] = ["https://a.example", "https://b.example"];

/// The most steps from the moment at which everything is ordinary to a token.
const HEALS_IN: usize = 160;

/// The outcome of a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// The number of requests.
    pub requests: usize,
    /// The number of redirects of the user.
    pub redirects: usize,
    /// How often a token became available.
    pub ready: usize,
    /// How many attempts failed.
    pub failures: usize,
}

pub(super) struct Harness<S, F> {
    factory: F,
    config: Option<Arc<Config>>,
    system: Option<S>,
    store: TestStore,
    now: Moment,
    oracle: Oracle,
    under_way: Vec<SendRequest>,
    /// The redirect that the user may follow, and its authorization server.
    redirect: Option<(Redirect, usize)>,
    /// The last callback.
    came: Option<String>,
    /// The server that the resource names.
    named: usize,
    /// The challenges of a server that may name any place for its metadata (CHAL-07).
    challenges: Vec<String>,
    is_asked: bool,
    store_fails: bool,
    minted: usize,
    seeds: u8,
    summary: Summary,
}

impl<S: System, F: FnMut(Arc<Config>, Moment) -> S> Harness<S, F> {
    pub(super) fn new(factory: F) -> Self {
        let config = Config::builder(MCP, REDIRECT)
            .client_name("A history")
            .build();
        let mut harness = Self {
            factory,
            config: config.ok().map(Arc::new),
            system: None,
            store: TestStore::new(),
            now: START,
            oracle: Oracle::new(),
            under_way: Vec::new(),
            redirect: None,
            came: None,
            named: 0,
            challenges: Vec::new(),
            is_asked: false,
            store_fails: false,
            minted: 0,
            seeds: 0,
            summary: Summary::default(),
        };
        harness.restart();
        harness
    }

    fn restart(&mut self) {
        self.under_way.clear();
        self.is_asked = false;
        let config = self.config.clone();
        self.system = config.map(|config| (self.factory)(config, self.now));
        self.pump();
    }

    fn tell(&mut self, event: Event) {
        self.oracle.event(&event);
        if let Some(system) = &mut self.system {
            system.handle(self.now, event);
        }
        self.pump();
    }

    /// Performs what can be performed at once.
    fn pump(&mut self) {
        while let Some(action) = self.system.as_mut().and_then(System::poll_action) {
            self.oracle.action(&action);
            let event = match action {
                Action::LoadSlot(load) => self.store.load(load),
                Action::PersistSlot(persist) => self.store.persist(persist),
                Action::Sign(sign) => sign.failed(),
                Action::ObtainAssertion(obtain) => obtain.failed(),
                Action::SendRequest(send) => {
                    self.summary.requests = self.summary.requests.saturating_add(1);
                    self.under_way.push(send);
                    continue;
                }
                Action::Redirect(redirect) => {
                    self.redirected(redirect);
                    continue;
                }
                Action::NeedUser(_) => {
                    self.is_asked = true;
                    continue;
                }
                Action::Ready(_) => {
                    self.summary.ready = self.summary.ready.saturating_add(1);
                    continue;
                }
                Action::Error(_) => {
                    self.summary.failures = self.summary.failures.saturating_add(1);
                    continue;
                }
                Action::ShowCode(_) | Action::Report(_) => continue,
            };
            self.oracle.event(&event);
            if let Some(system) = &mut self.system {
                system.handle(self.now, event);
            }
        }
        let now = self.now;
        let elsewhere = [
            "https://a.example/mcp",
            "https://mcp.example.evil.example/mcp",
        ];
        for url in elsewhere {
            let shown = self
                .system
                .as_mut()
                .and_then(|system| system.bearer(now, url));
            if shown.is_some() {
                self.oracle
                    .finds("S30", format!("a token is returned for {url}"));
            }
        }
    }

    fn redirected(&mut self, redirect: Redirect) {
        self.summary.redirects = self.summary.redirects.saturating_add(1);
        let pending = self
            .store
            .slots()
            .iter()
            .any(|slot| slot.starts_with("pending"));
        if !pending {
            let why = "the user is redirected without a stored record";
            self.oracle.finds("S16", why);
        }
        let issuer = redirect.issuer.to_string();
        match ISSUERS.iter().position(|known| issuer.contains(known)) {
            Some(at) => self.redirect = Some((redirect, at)),
            None => self.oracle.finds(
                "S10",
                format!("a redirect to {issuer}, which the resource never named"),
            ),
        }
    }

    pub(super) fn apply(&mut self, step: &Step) {
        match step {
            Step::Next => self.next(),
            Step::Wanted => self.tell(Event::Wanted(Operation::new("x"))),
            Step::Refused => self.refuses(401, r#"Bearer error="invalid_token""#),
            Step::WantsScopes => {
                self.refuses(403, r#"Bearer error="insufficient_scope", scope="one two""#);
            }
            Step::Accepted => self.tell(Event::Accepted(Operation::new("x"))),
            Step::Authorize => self.authorize(),
            Step::Answer(which, how) => self.answer(*which, *how),
            Step::Return(how) => self.returns(*how),
            Step::Wait(seconds) => self.wait(Duration::from_secs((*seconds).into())),
            Step::Moves => self.named = 1_usize.saturating_sub(self.named),
            Step::StoreFails => {
                self.store_fails = !self.store_fails;
                self.store.writes_fail(self.store_fails);
            }
            Step::Restart => self.restart(),
            Step::Abandon => self.tell(Event::Abandoned(Abandon::Cancelled)),
            Step::SignOut => self.tell(Event::SignedOut),
            Step::Outside(outside) => {
                self.oracle.forged_callback(&outside.url());
                if let Outside::Challenged {
                    www_authenticate, ..
                } = outside
                {
                    self.challenges.extend_from_slice(www_authenticate);
                }
                self.tell(outside.event());
            }
        }
    }

    fn next(&mut self) {
        if !self.under_way.is_empty() {
            self.answer(0, Answer::Ordinary);
        } else if self.is_asked {
            self.authorize();
        } else if self.redirect.is_some() {
            self.returns(Return::Ordinary);
        } else {
            self.tell(Event::Wanted(Operation::new("x")));
        }
    }

    fn refuses(&mut self, status: u16, challenge: &'static str) {
        let value = HeaderValue::from_static(challenge);
        let headers = HeaderMap::from_iter([(http::header::WWW_AUTHENTICATE, value)]);
        let mut refused = Challenge::new("x", status, headers);
        let now = self.now;
        let sent = self
            .system
            .as_mut()
            .and_then(|system| system.bearer(now, MCP));
        if let Some(sent) = sent.as_ref().and_then(|sent| sent.to_str().ok()) {
            refused = refused.sent(sent);
        }
        self.tell(Event::Challenged(refused));
    }

    fn authorize(&mut self) {
        self.is_asked = false;
        self.seeds = self.seeds.wrapping_add(1);
        self.tell(Event::Authorize(seed(self.seeds).into()));
    }

    fn wait(&mut self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or_default();
        let Moment { wall, mono } = self.now;
        self.now = crate::moment(wall.0.saturating_add(millis), mono.0.saturating_add(millis));
        let deadline = self.system.as_ref().and_then(System::deadline);
        if deadline.is_some_and(|deadline| deadline <= self.now.mono) {
            self.tell(Event::Timer);
        }
    }

    fn mint(&mut self, kind: &str, issuer: usize) -> String {
        self.minted = self.minted.saturating_add(1);
        let name = ["a", "b"].get(issuer).copied().unwrap_or("x");
        format!("{kind}-{name}-{}", self.minted)
    }

    fn answer(&mut self, which: u8, how: Answer) {
        if self.under_way.is_empty() {
            return;
        }
        let at = usize::from(which)
            .checked_rem(self.under_way.len())
            .unwrap_or(0);
        let send = self.under_way.remove(at);
        let event = match how {
            Answer::Ordinary => {
                let response = self.ordinary(&send, false);
                send.response(response)
            }
            Answer::Foreign => {
                let response = self.ordinary(&send, true);
                send.response(response)
            }
            Answer::Status(status) => {
                let error = match status {
                    401 => "invalid_client",
                    _ => "invalid_grant",
                };
                send.response(document(status, &json!({ "error": error }).to_string()))
            }
            Answer::Garbage => send.response(document(200, "<!doctype html>")),
            Answer::Redirected => {
                let mut response = document(307, "");
                let to = HeaderValue::from_static("https://elsewhere.example/");
                response.headers_mut().insert("location", to);
                send.response(response)
            }
            Answer::NeverSent => send.never_sent(),
            Answer::MaybeSent => send.maybe_sent(),
            Answer::TooLarge => send.too_large(),
            Answer::Blocked => send.blocked(),
        };
        self.tell(event);
    }

    /// The ordinary response, or that of the other server.
    fn ordinary(&mut self, send: &SendRequest, is_foreign: bool) -> Response<Bytes> {
        let url = send.request().uri().to_string();
        let asked = ISSUERS.iter().position(|issuer| url.starts_with(issuer));
        let Some(asked) = asked else {
            if url != documents::PRM {
                // In full, or relative to the MCP server.
                let path = url.strip_prefix("https://mcp.example").unwrap_or(&url);
                let names = |challenge: &String| challenge.contains(path);
                let is_named = self.challenges.iter().any(names);
                if !is_named && !url.starts_with("https://mcp.example/.well-known/") {
                    self.oracle.finds("S15", format!("a request to {url}"));
                }
                return document(404, "");
            }
            let named = ISSUERS.get(self.named).copied().unwrap_or_default();
            let resource = if is_foreign {
                "https://other.example/mcp"
            } else {
                MCP
            };
            return document(200, &documents::resource_of(resource, named));
        };
        let of = if is_foreign {
            1_usize.saturating_sub(asked)
        } else {
            asked
        };
        let issuer = ISSUERS.get(of).copied().unwrap_or_default();
        match send.purpose() {
            Purpose::ServerMetadata => {
                let more = json!({
                    "revocation_endpoint": format!("{issuer}/revoke"),
                    "authorization_response_iss_parameter_supported": of == 0,
                });
                document(200, &documents::metadata_of(issuer, &more))
            }
            Purpose::Registration => {
                let id = self.mint("client", asked);
                document(201, &json!({ "client_id": id }).to_string())
            }
            Purpose::Token => {
                let (access, refresh) = (self.mint("access", asked), self.mint("refresh", asked));
                document(200, &documents::renewable(&access, &refresh, 3600))
            }
            Purpose::ResourceMetadata
            | Purpose::Revocation
            | Purpose::PushedAuthorization
            | Purpose::DeviceAuthorization => document(200, "{}"),
        }
    }

    fn returns(&mut self, how: Return) {
        let replayed = match how {
            Return::Replayed => self.came.clone(),
            Return::Ordinary | Return::ForeignState | Return::MixedUp | Return::Refused => None,
        };
        let url = match (replayed, &self.redirect) {
            (Some(url), _) => url,
            (None, None) => return,
            (None, Some((redirect, issuer))) => {
                let issuer = *issuer;
                let state = documents::parameter(redirect.url.as_str(), "state");
                let state = state.unwrap_or_default();
                let iss = match issuer {
                    0 => "&iss=https://a.example",
                    _ => "",
                };
                match how {
                    Return::Ordinary | Return::Replayed => {
                        self.redirect = None;
                        let code = self.mint("code", issuer);
                        let url = format!("{REDIRECT}?code={code}&state={state}{iss}");
                        let origin = ISSUERS.get(issuer).copied().unwrap_or_default();
                        self.oracle.callback(&url, origin);
                        url
                    }
                    Return::ForeignState => {
                        let code = self.mint("forged", issuer);
                        let url = format!("{REDIRECT}?code={code}&state=of-somebody-else{iss}");
                        self.oracle.forged_callback(&url);
                        url
                    }
                    Return::MixedUp => {
                        self.redirect = None;
                        let code = self.mint("forged", issuer);
                        let url = format!(
                            "{REDIRECT}?code={code}&state={state}&iss=https://evil.example"
                        );
                        self.oracle.forged_callback(&url);
                        url
                    }
                    Return::Refused => {
                        self.redirect = None;
                        format!("{REDIRECT}?error=access_denied&state={state}{iss}")
                    }
                }
            }
        };
        self.came = Some(url.clone());
        self.tell(Event::CallbackParams(Callback::from_url(url)));
    }

    /// Everything turns ordinary, and a token must come.
    pub(super) fn heal(mut self) -> Summary {
        self.store_fails = false;
        self.store.writes_fail(false);
        let mut failed = self.summary.failures;
        for _ in 0..HEALS_IN {
            let now = self.now;
            let held = self
                .system
                .as_mut()
                .and_then(|system| system.bearer(now, MCP));
            if held.is_some() && self.under_way.is_empty() {
                self.oracle.assert_clean();
                return self.summary;
            }
            self.next();
            if self.summary.failures > failed {
                // A pause after failures ends.
                failed = self.summary.failures;
                self.wait(Duration::from_secs(660));
            } else if self.under_way.is_empty() && !self.is_asked && self.redirect.is_none() {
                self.wait(Duration::from_secs(60));
            }
        }
        self.oracle
            .finds("L01", "no token, although everything is ordinary");
        self.oracle.assert_clean();
        self.summary
    }
}

fn document(status: u16, body: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::copy_from_slice(body.as_bytes()));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", json);
    response
}
