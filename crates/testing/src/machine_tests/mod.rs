//! For the tests of the machine itself: a host in short words, a hostile world, slow readers and the fuzz targets.
//!
//! Not for hosts: it uses what the machine keeps to itself, and changes with it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::wildcard_enum_match_arm,
    clippy::should_implement_trait,
    clippy::wrong_self_convention,
    missing_docs,
    unreachable_pub
)]

pub mod fuzzed;
pub mod reference;
pub mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use mcp_auth_machine::action::{Grant, PersistSlot, Redirect, Why};
use mcp_auth_machine::config::ConfigBuilder;
use mcp_auth_machine::error::Cause;
use mcp_auth_machine::event::{Challenge, Operation};
use mcp_auth_machine::slot::{Slot, SlotContents, Stored};
use mcp_auth_machine::time::UnixMillis;
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::{Action, AuthMachine, Config, Event, Moment, StoredBearer};

pub use crate::conversation::{Conversation, START, Slots, response, seed};
pub use crate::documents::{ISSUER as AS, MCP, METADATA as META, PRM, REDIRECT, REGISTER, TOKEN};
pub use crate::spelled_out;

pub const OPENID: &str = "https://as.example/.well-known/openid-configuration";

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
    /// The metadata documents that were served, by place: the answer where one is read again.
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

impl Slots for Store {
    fn perform(&mut self, action: Action) -> Result<Event, Box<Action>> {
        match (action, self.mode) {
            (Action::LoadSlot(load), StoreMode::LoadsFail) => Ok(load.failed()),
            (Action::LoadSlot(load), StoreMode::Works | StoreMode::WritesFail) => {
                let found = self.slots.get(&load.slot().to_string()).cloned();
                Ok(load.found(found))
            }
            (Action::PersistSlot(persist), mode) if mode != StoreMode::Manual => {
                Ok(self.persist(persist))
            }
            (action, _) => Err(Box::new(action)),
        }
    }

    fn documents(&mut self) -> Option<&mut BTreeMap<String, String>> {
        Some(&mut self.served)
    }
}

/// The host of most tests.
pub type Host = Conversation<Store>;

pub fn config() -> ConfigBuilder {
    Config::builder(MCP, REDIRECT).client_name("Test client")
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
        Self::begin(AuthMachine::new(config, principal, START), store)
    }

    /// A new process at this time, with seeds that were not used yet.
    pub fn resumed(config: Arc<Config>, store: Store, now: Moment, seeds: u8) -> Self {
        Self::resume(AuthMachine::new(config, "alice", now), store, now, seeds)
    }

    /// Moves both clocks.
    pub fn pass(&mut self, millis: u64) {
        self.move_clocks(Duration::from_millis(millis));
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

    pub fn accepted(&mut self, operation: &str) {
        self.handle(Event::Accepted(Operation::new(operation)));
    }

    #[track_caller]
    pub fn next(&mut self) -> Action {
        self.next_action()
    }

    /// The reason for which a token is not renewed, when the user is asked for that.
    #[track_caller]
    pub fn renewal_refused(&mut self) -> Cause {
        match self.need_user().why {
            Why::RenewalRefused { cause } => *cause,
            other => panic!("expected a refused renewal, got {other:?}"),
        }
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
        u64::try_from(self.until_deadline().as_millis()).unwrap()
    }

    /// Answers what asks for slots from a store that several hosts share, in any mode.
    pub fn share(&mut self, store: &mut Store) {
        while self.share_one(store) {}
    }

    /// Answers the first action that asks for a slot; false without one.
    pub fn share_one(&mut self, store: &mut Store) -> bool {
        assert_eq!(self.store.mode, StoreMode::Manual);
        let asks = |action: &Action| matches!(action, Action::LoadSlot(_) | Action::PersistSlot(_));
        let Some(at) = self.actions.iter().position(asks) else {
            return false;
        };
        let event = match self.actions.remove(at) {
            Some(Action::LoadSlot(load)) => {
                let found = store.slots.get(&load.slot().to_string()).cloned();
                load.found(found)
            }
            Some(Action::PersistSlot(persist)) => store.persist(persist),
            other => panic!("{other:?}"),
        };
        self.handle(event);
        true
    }

    /// A heading in the playbook.
    pub fn chapter(&mut self, heading: &str) {
        self.playbook.chapter(heading);
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

/// The token that a stored account has at rest, which must be the one that a new machine offers. `None`: only a machine can
/// tell.
pub fn at_rest(
    config: &Arc<Config>,
    principal: &str,
    stored: &Stored,
    now: Moment,
) -> Option<StoredBearer> {
    let found = StoredBearer::read(config, principal, stored, now)?;
    let offered = offered(config, principal, stored, now);
    let (authorization, expires) = offered.expect("a token at rest that no machine offers");
    assert_eq!(
        (&found.authorization, found.expires),
        (&authorization, expires)
    );
    assert!(found.authorization.is_sensitive());
    Some(found)
}

/// The token that a new machine offers for this account, with its expiry.
pub fn offered(
    config: &Arc<Config>,
    principal: &str,
    stored: &Stored,
    now: Moment,
) -> Option<(HeaderValue, Option<UnixMillis>)> {
    let mut machine = AuthMachine::new(Arc::clone(config), principal, now);
    machine.handle(now, Event::Wanted(Operation::new("x")));
    loop {
        match machine.poll_action()? {
            Action::LoadSlot(load)
                if load.slot() == Slot::account(principal, config.mcp_url().as_str()) =>
            {
                machine.handle(now, load.found(Some(stored.clone())));
            }
            Action::Report(_) => {}
            Action::Ready(grant) => {
                let value = machine.bearer(now, config.mcp_url().as_str()).ok()?;
                return Some((value, grant.expires));
            }
            _ => return None,
        }
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
