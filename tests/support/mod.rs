//! A host for tests: owns a machine and a store, answers slots at once, hands everything else out.

#![allow(dead_code, clippy::wrong_self_convention)]

pub mod fuzzed;
pub mod playbook;
pub mod reference;
pub mod world;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use mcp_auth_machine::action::{
    Grant, NeedUser, PersistSlot, Purpose, Redirect, SendRequest, ShowCode, Why,
};
use mcp_auth_machine::config::ConfigBuilder;
use mcp_auth_machine::error::Cause;
use mcp_auth_machine::event::{Authorization, Challenge, Operation};
use mcp_auth_machine::report::Decision;
use mcp_auth_machine::slot::{SlotContents, Stored};
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::wire::pkce::Seed;
use mcp_auth_machine::{Action, AuthMachine, Config, Event, Failure, Moment};

pub const MCP: &str = "https://mcp.example/mcp";
pub const AS: &str = "https://as.example";
pub const REDIRECT: &str = "http://127.0.0.1:3000/callback";
pub const META: &str = "https://as.example/.well-known/oauth-authorization-server";
pub const OPENID: &str = "https://as.example/.well-known/openid-configuration";
pub const REGISTER: &str = "https://as.example/register";
pub const TOKEN: &str = "https://as.example/token";
pub const PRM: &str = "https://mcp.example/.well-known/oauth-protected-resource/mcp";

/// How the store behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreMode {
    #[default]
    Works,
    WritesFail,
    LoadsFail,
    /// Slot actions are handed out like everything else.
    Manual,
}

#[derive(Default)]
pub struct Store {
    pub slots: BTreeMap<String, Stored>,
    pub mode: StoreMode,
    /// The metadata documents that were served, by place; see [`Host::documents_again`].
    pub served: BTreeMap<String, String>,
}

impl Store {
    pub fn persist(&mut self, action: PersistSlot) -> Event {
        if self.mode == StoreMode::WritesFail {
            return action.failed();
        }
        let key = action.slot().to_string();
        let current = self.slots.get(&key).cloned();
        if current.as_ref().map(|stored| stored.revision) != action.expected() {
            return action.conflict(current);
        }
        match action.write() {
            Some(stored) => self.slots.insert(key, stored.clone()),
            None => self.slots.remove(&key),
        };
        action.done()
    }

    /// Makes what is in the slots of one kind unreadable, under the revisions that they have.
    pub fn damage(&mut self, kind: &str) {
        let of_kind = |(key, _): &(&String, &mut Stored)| key.starts_with(kind);
        for (_, stored) in self.slots.iter_mut().filter(of_kind) {
            stored.contents = SlotContents::new("v1.AAAAAAAAAAAAAAAAAAAAAA.{}");
        }
    }

    /// The slots of one kind, by the first part of their names: `account`, `pending`, …
    pub fn of_kind(&self, kind: &str) -> Vec<&Stored> {
        self.slots
            .iter()
            .filter(|(key, _)| key.starts_with(kind))
            .map(|(_, stored)| stored)
            .collect()
    }
}

pub struct Host {
    pub machine: AuthMachine,
    pub store: Store,
    pub now: Moment,
    pub actions: VecDeque<Action>,
    pub reports: Vec<Decision>,
    /// Everything that went to and fro; see [`playbook`].
    pub log: Vec<String>,
    /// Signatures made so far.
    pub signatures: u8,
    /// Seeds used so far; a new process must not reuse them.
    pub seeds: u8,
    /// An authorization was begun.
    pub begun: bool,
}

pub fn config() -> ConfigBuilder {
    Config::builder(MCP, REDIRECT).client_name("Test client")
}

/// Entropy that differs for each number.
pub fn seed(number: u8) -> Seed {
    let mut bytes = [number; 64];
    bytes[0] = 0xA5;
    bytes[47] = number.wrapping_mul(7).wrapping_add(1);
    bytes[63] = !number;
    Seed::with_key(bytes).unwrap()
}

impl Host {
    pub fn new(config: ConfigBuilder) -> Self {
        Self::on(Arc::new(config.build().unwrap()), Store::default())
    }

    /// A new process with this configuration on an existing store.
    pub fn on(config: Arc<Config>, store: Store) -> Self {
        Self::for_user(config, store, "alice")
    }

    pub fn for_user(config: Arc<Config>, store: Store, principal: &str) -> Self {
        let now = Moment::new(1_800_000_000_000, 1_000);
        Self::begin(AuthMachine::new(config, principal), store, now, 0)
    }

    /// A new process at this time, with seeds that were not used yet.
    pub fn resumed(config: Arc<Config>, store: Store, now: Moment, seeds: u8) -> Self {
        Self::begin(AuthMachine::new(config, "alice"), store, now, seeds)
    }

    fn begin(machine: AuthMachine, store: Store, now: Moment, seeds: u8) -> Self {
        let mut host = Self {
            machine,
            store,
            now,
            actions: VecDeque::new(),
            reports: Vec::new(),
            log: Vec::new(),
            signatures: 0,
            seeds,
            begun: false,
        };
        host.pump();
        host
    }

    pub fn handle(&mut self, event: Event) {
        self.begun |= matches!(event, Event::Authorize(_));
        self.log.push(playbook::happened(&event));
        self.machine.handle(self.now, event);
        self.pump();
    }

    /// Moves both clocks.
    pub fn pass(&mut self, millis: u64) {
        self.now = Moment::new(self.now.wall.0 + millis, self.now.mono.0 + millis);
    }

    fn pump(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            self.log.extend(playbook::asked(&action));
            match (action, self.store.mode) {
                (Action::Report(decision), _) => self.reports.push(*decision),
                (Action::LoadSlot(load), StoreMode::LoadsFail) => {
                    self.machine.handle(self.now, load.failed());
                }
                (Action::LoadSlot(load), StoreMode::Works | StoreMode::WritesFail) => {
                    let found = self.store.slots.get(&load.slot().to_string()).cloned();
                    self.machine.handle(self.now, load.found(found));
                }
                (Action::PersistSlot(persist), mode) if mode != StoreMode::Manual => {
                    let event = self.store.persist(persist);
                    self.machine.handle(self.now, event);
                }
                (action, _) => self.actions.push_back(action),
            }
        }
    }

    pub fn challenged(&mut self, status: u16, www_authenticate: &[&str]) {
        self.challenged_for("tools/call x", status, www_authenticate, None);
    }

    pub fn challenged_for(
        &mut self,
        operation: &str,
        status: u16,
        www_authenticate: &[&str],
        sent: Option<&str>,
    ) {
        let mut headers = HeaderMap::new();
        for line in www_authenticate {
            headers.append("www-authenticate", HeaderValue::from_str(line).unwrap());
        }
        let mut challenge = Challenge::new(operation, status, headers);
        if let Some(sent) = sent {
            challenge = challenge.sent(sent);
        }
        self.handle(Event::Challenged(challenge));
    }

    pub fn authorize(&mut self) {
        let seed = self.next_seed();
        self.handle(Event::Authorize(seed.into()));
    }

    pub fn next_seed(&mut self) -> Seed {
        self.seeds += 1;
        seed(self.seeds)
    }

    pub fn authorize_with(&mut self, authorization: Authorization) {
        self.handle(Event::Authorize(authorization));
    }

    pub fn accepted(&mut self, operation: &str) {
        self.handle(Event::Accepted(Operation::new(operation)));
    }

    /// An authorization reads both metadata documents, whatever was read before: those that a test has
    /// served already are served again as they were, unless it serves this one next.
    fn documents_again(&mut self, but: Option<&str>) {
        while let (true, Some(Action::SendRequest(send))) = (self.begun, self.actions.front()) {
            let url = send.request().uri().to_string();
            let document = match send.purpose() {
                Purpose::ResourceMetadata | Purpose::ServerMetadata if but != Some(&*url) => {
                    self.store.served.get(&url).cloned()
                }
                _ => None,
            };
            let Some(document) = document else { break };
            let Some(Action::SendRequest(send)) = self.actions.pop_front() else {
                break;
            };
            self.handle(send.response(response(200, &[], &document)));
        }
    }

    #[track_caller]
    pub fn next(&mut self) -> Action {
        self.documents_again(None);
        if matches!(
            self.actions.front(),
            Some(Action::Redirect(_) | Action::ShowCode(_) | Action::Error(_))
        ) {
            self.begun = false;
        }
        self.actions.pop_front().expect("an action")
    }

    #[track_caller]
    pub fn request(&mut self) -> SendRequest {
        match self.next() {
            Action::SendRequest(send) => send,
            other => panic!("expected a request, got {other:?}"),
        }
    }

    /// Expects a request to this URL and answers it.
    #[track_caller]
    pub fn serve(&mut self, url: &str, status: u16, body: &str) -> Request<Bytes> {
        self.serve_with(url, status, &[("content-type", "application/json")], body)
    }

    #[track_caller]
    pub fn serve_with(
        &mut self,
        url: &str,
        status: u16,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Request<Bytes> {
        self.documents_again(Some(url));
        let begun = std::mem::take(&mut self.begun);
        let send = self.request();
        self.begun = begun;
        let request = copy(send.request());
        assert_eq!(request.uri().to_string(), url);
        if let (200, Purpose::ResourceMetadata | Purpose::ServerMetadata) = (status, send.purpose())
        {
            self.store.served.insert(url.to_owned(), body.to_owned());
        }
        self.handle(send.response(response(status, headers, body)));
        request
    }

    #[track_caller]
    pub fn need_user(&mut self) -> NeedUser {
        match self.next() {
            Action::NeedUser(need) => need,
            other => panic!("expected NeedUser, got {other:?}"),
        }
    }

    /// The reason for which a token is not renewed, when the user is asked for that.
    #[track_caller]
    pub fn renewal_refused(&mut self) -> Cause {
        match self.need_user().why {
            Why::RenewalRefused { cause } => *cause,
            other => panic!("expected a refused renewal, got {other:?}"),
        }
    }

    #[track_caller]
    pub fn redirect(&mut self) -> Redirect {
        match self.next() {
            Action::Redirect(redirect) => redirect,
            other => panic!("expected a redirect, got {other:?}"),
        }
    }

    #[track_caller]
    pub fn code(&mut self) -> ShowCode {
        match self.next() {
            Action::ShowCode(shown) => *shown,
            other => panic!("expected a code, got {other:?}"),
        }
    }

    #[track_caller]
    pub fn ready(&mut self) -> Grant {
        match self.next() {
            Action::Ready(grant) => grant,
            other => panic!("expected Ready, got {other:?}"),
        }
    }

    #[track_caller]
    pub fn error(&mut self) -> Failure {
        match self.next() {
            Action::Error(failure) => *failure,
            other => panic!("expected an error, got {other:?}"),
        }
    }

    #[track_caller]
    pub fn quiet(&self) {
        assert!(self.actions.is_empty(), "unexpected: {:?}", self.actions);
    }

    /// The bearer for the MCP URL.
    pub fn token(&mut self) -> Option<String> {
        let now = self.now;
        let value = self.machine.bearer(now, MCP).ok()?;
        Some(value.to_str().unwrap().to_owned())
    }

    /// A refusal with this challenge, and consent.
    #[track_caller]
    pub fn ask(&mut self, challenge: &str) {
        self.challenged(401, &[challenge]);
        self.need_user();
        self.authorize();
    }

    /// A refusal, consent, and discovery with ordinary documents, up to the registration answer.
    #[track_caller]
    pub fn discover(&mut self, prm: &str, metadata: &str) {
        self.discover_by(&announcing(), prm, metadata);
    }

    #[track_caller]
    fn discover_by(&mut self, challenge: &str, prm: &str, metadata: &str) {
        self.ask(challenge);
        self.serve(PRM, 200, prm);
        self.serve(META, 200, metadata);
    }

    /// Everything up to the redirect, by dynamic registration.
    #[track_caller]
    pub fn to_redirect(&mut self) -> Redirect {
        self.to_redirect_by(&announcing())
    }

    #[track_caller]
    pub fn to_redirect_by(&mut self, challenge: &str) -> Redirect {
        self.discover_by(challenge, &prm(), &metadata());
        self.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
        self.redirect()
    }

    pub fn callback(&mut self, query: &str) {
        self.handle(Event::CallbackParams(Callback::from_url(format!(
            "{REDIRECT}?{query}"
        ))));
    }

    /// The whole cold flow.
    #[track_caller]
    pub fn sign_in(&mut self) -> Grant {
        let redirect = self.to_redirect();
        self.callback(&format!("code=c-1&state={}", state_of(&redirect)));
        self.serve(TOKEN, 200, &token_answer("at-1"));
        self.ready()
    }

    /// The cold flow with this token answer; a first request with the token was accepted.
    #[track_caller]
    pub fn signed_in(config: ConfigBuilder, answer: &str) -> Self {
        Self::signed_in_by(config, &announcing(), answer)
    }

    #[track_caller]
    pub fn signed_in_by(config: ConfigBuilder, challenge: &str, answer: &str) -> Self {
        let mut host = Self::new(config);
        let redirect = host.to_redirect_by(challenge);
        host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
        host.serve(TOKEN, 200, answer);
        host.ready();
        host.accepted("tools/call x");
        host
    }

    /// From the redirect on: signs in at this issuer with a token that lives for a minute, lets it expire and requests a
    /// token; the next action is the refresh request.
    #[track_caller]
    pub fn to_refresh(&mut self, issuer: &str) {
        let redirect = self.redirect();
        self.callback(&format!("code=c&state={}", state_of(&redirect)));
        let answer = renewable_for("at-1", "rt-1", "60");
        self.serve(&format!("{issuer}/token"), 200, &answer);
        self.ready();
        self.pass(60_000);
        self.wanted("x");
    }

    /// The MCP server refuses the token held.
    #[track_caller]
    pub fn refused(&mut self, www_authenticate: &str) {
        let sent = self.token();
        self.challenged_for("tools/call x", 401, &[www_authenticate], sent.as_deref());
    }

    pub fn wanted(&mut self, operation: &str) {
        self.handle(Event::Wanted(Operation::new(operation)));
    }

    /// Lets the time pass until the machine wants to be woken, and wakes it.
    #[track_caller]
    pub fn wake(&mut self) -> u64 {
        let deadline = self.machine.deadline().expect("a deadline");
        let wait = deadline.0.saturating_sub(self.now.mono.0);
        self.pass(wait);
        self.handle(Event::Timer);
        wait
    }

    /// Answers what asks for slots from a store that several hosts share, in any mode.
    pub fn share(&mut self, store: &mut Store) {
        assert_eq!(self.store.mode, StoreMode::Manual);
        while let Some(at) = self
            .actions
            .iter()
            .position(|action| matches!(action, Action::LoadSlot(_) | Action::PersistSlot(_)))
        {
            let event = match self.actions.remove(at) {
                Some(Action::LoadSlot(load)) => {
                    let found = store.slots.get(&load.slot().to_string()).cloned();
                    load.found(found)
                }
                Some(Action::PersistSlot(persist)) => store.persist(persist),
                other => panic!("{other:?}"),
            };
            self.handle(event);
        }
    }

    /// A heading in the log.
    pub fn chapter(&mut self, heading: &str) {
        self.log.push(format!("# {heading}"));
    }

    /// Signs what is asked for, without a key; header and claims of it.
    #[track_caller]
    pub fn signs(&mut self) -> (serde_json::Value, serde_json::Value) {
        let Action::Sign(sign) = self.next() else {
            panic!("expected something to sign")
        };
        self.signatures += 1;
        let prepared = sign.prepare([self.signatures; 16]);
        let parts = decoded(std::str::from_utf8(prepared.input()).unwrap());
        self.handle(prepared.signature(&[7; 64]));
        parts
    }

    /// How often a report with this code was made.
    pub fn reported(&self, code: &str) -> usize {
        self.reports
            .iter()
            .filter(|decision| serde_json::to_value(decision).unwrap()["code"] == code)
            .count()
    }
}

/// A challenge that says where the resource's metadata is.
pub fn announcing() -> String {
    format!("Bearer resource_metadata=\"{PRM}\"")
}

pub fn prm() -> String {
    format!(r#"{{"resource":"{MCP}","authorization_servers":["{AS}"]}}"#)
}

pub fn metadata() -> String {
    metadata_with("")
}

/// Ordinary metadata without `iss`, with further members (each with a leading comma).
pub fn metadata_with(more: &str) -> String {
    metadata_of(AS, more)
}

pub fn metadata_of(issuer: &str, more: &str) -> String {
    format!(
        r#"{{"issuer":"{issuer}","authorization_endpoint":"{issuer}/authorize","token_endpoint":"{issuer}/token",
        "registration_endpoint":"{issuer}/register","response_types_supported":["code"],
        "code_challenge_methods_supported":["S256"],"token_endpoint_auth_methods_supported":["none"]{more}}}"#
    )
}

pub fn token_answer(token: &str) -> String {
    format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":3600}}"#)
}

/// A token that lives for an hour, with a refresh token.
pub fn renewable(token: &str, refresh: &str) -> String {
    renewable_for(token, refresh, "3600")
}

pub fn renewable_for(token: &str, refresh: &str, expires_in: &str) -> String {
    format!(
        r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{expires_in},"refresh_token":"{refresh}"}}"#
    )
}

/// The contents of a record with this JSON, under a checksum that holds.
pub fn sealed(json: &str) -> Stored {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use sha2::Digest;
    let digest = sha2::Sha256::digest(json.as_bytes());
    let digest = URL_SAFE_NO_PAD.encode(&digest[..16]);
    Stored {
        revision: digest.parse().unwrap(),
        contents: SlotContents::new(format!("v1.{digest}.{json}")),
    }
}

/// Header and claims of a JWT, or of its signing input.
pub fn decoded(jwt: &str) -> (serde_json::Value, serde_json::Value) {
    use base64::Engine;
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let mut parts = jwt
        .split('.')
        .map(|part| serde_json::from_slice(&engine.decode(part).unwrap()));
    (
        parts.next().unwrap().unwrap(),
        parts.next().unwrap().unwrap(),
    )
}

pub fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::copy_from_slice(body.as_bytes()));
    *response.status_mut() = status.try_into().unwrap();
    for (name, value) in headers {
        response.headers_mut().append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    response
}

pub fn copy(request: &Request<Bytes>) -> Request<Bytes> {
    let mut copy = Request::new(request.body().clone());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// The parameters of a query or form body, decoded.
pub fn parameters(text: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect()
}

pub fn query(url: &str) -> Vec<(String, String)> {
    parameters(url.split_once('?').map_or("", |(_, query)| query))
}

pub fn get(parameters: &[(String, String)], name: &str) -> Option<String> {
    let mut found = parameters.iter().filter(|(known, _)| known == name);
    let value = found.next().map(|(_, value)| value.clone());
    assert!(found.next().is_none(), "{name} occurs twice");
    value
}

pub fn body(request: &Request<Bytes>) -> Vec<(String, String)> {
    parameters(std::str::from_utf8(request.body()).unwrap())
}

pub fn state_of(redirect: &Redirect) -> String {
    get(&query(redirect.url.as_str()), "state").unwrap()
}

impl Host {
    /// A refusal, consent, and the resource's metadata.
    #[track_caller]
    pub fn discover_prm_only(&mut self) {
        self.challenged(401, &[&format!("Bearer resource_metadata=\"{PRM}\"")]);
        self.need_user();
        self.authorize();
        self.serve(PRM, 200, &prm());
    }
}
