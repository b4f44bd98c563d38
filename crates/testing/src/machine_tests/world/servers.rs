//! The authorization servers: two honest and strict, one that lies, and an identity provider.

use std::collections::BTreeSet;

use http::Request;
use mcp_auth_machine::action::SendRequest;
use mcp_auth_machine::error::Cause;
use mcp_auth_machine::{Action, Event, Phase};
use sha2::{Digest, Sha256};

use super::documents::odd;
use super::scanner::POISON;
use super::token_endpoint::client_of;
use super::{
    ELSEWHERE, EVIL, Habit, How, LIAR, PROVIDER, PROVIDER_URL, World, issuer_named, server_of,
};
use crate::machine_tests::{body, copy, get, metadata_of, response};

const ID_JAG: &str = "urn:ietf:params:oauth:token-type:id-jag";
pub const ERRORS: [&str; 10] = [
    "invalid_grant",
    "invalid_client",
    "invalid_scope",
    "temporarily_unavailable",
    "unauthorized_client",
    "invalid_target",
    "interaction_required",
    "consent_required",
    "invalid_request",
    "server_error",
];
/// The metadata member of a server that sends `iss` in callbacks.
const ADVERTISED: &str = r#""authorization_response_iss_parameter_supported":true"#;
/// The liar's documents: what is wrong with each, by number.
pub const LIES: u8 = 8;

#[derive(Clone, Debug)]
struct Code {
    text: String,
    from: usize,
    challenge: String,
    used: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Refresh {
    pub(super) text: String,
    pub(super) client: String,
    pub(super) family: u32,
    pub(super) dead: bool,
}

/// A device code, until it is redeemed.
#[derive(Clone, Debug)]
struct Device {
    code: String,
    user_code: String,
    client: String,
    approved: bool,
}

/// The state of the servers.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    codes: Vec<Code>,
    devices: Vec<Device>,
    pub(super) refresh: Vec<Refresh>,
    pub(super) families: u32,
    /// A refresh token that was replaced is still accepted.
    pub(super) grace: bool,
    /// No refresh token is replaced.
    pub(super) keeps: bool,
    pub(super) registered: [u32; 3],
    /// The clients that registered themselves and are still known.
    pub(super) clients: BTreeSet<String>,
}

pub fn challenge_of(verifier: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

impl Registry {
    pub(super) fn code(&mut self, text: &str, from: usize, challenge: &str) {
        self.codes.push(Code {
            text: text.to_owned(),
            from,
            challenge: challenge.to_owned(),
            used: false,
        });
    }

    /// Redeems a code; true if it is valid here, and used for the first time.
    pub(super) fn redeem(&mut self, text: &str, at: usize, verifier: &str) -> bool {
        let known = |code: &&mut Code| code.text == text && code.from == at && !code.used;
        let Some(code) = self.codes.iter_mut().find(known) else {
            return false;
        };
        code.used = true;
        code.challenge.is_empty() || code.challenge == challenge_of(verifier)
    }

    pub(super) fn device(&mut self, code: &str, user_code: &str, client: &str) {
        self.devices.push(Device {
            code: code.to_owned(),
            user_code: user_code.to_owned(),
            client: client.to_owned(),
            approved: false,
        });
    }

    pub(super) fn approve(&mut self, user_code: &str) {
        for device in &mut self.devices {
            device.approved |= device.user_code == user_code;
        }
    }

    /// Redeems a device code of this client, once; or says the error.
    pub(super) fn redeem_device(
        &mut self,
        server: usize,
        code: &str,
        client: &str,
    ) -> Result<(), &'static str> {
        let own = code.starts_with(&format!("dc~{server}~"));
        let known = |device: &Device| own && device.code == code && device.client == client;
        match self.devices.iter().position(known) {
            None => Err("invalid_grant"),
            Some(at) if self.devices[at].approved => {
                self.devices.remove(at);
                Ok(())
            }
            // A hasty client would see it more than once in a row.
            Some(_) => Err("authorization_pending"),
        }
    }

    /// The family of a refresh token that is valid for this client; the reuse of a rotated one revokes its family.
    pub(super) fn rotate(&mut self, text: &str, client: &str) -> Result<u32, bool> {
        let known = |token: &&mut Refresh| token.text == text;
        let Some(token) = self.refresh.iter_mut().find(known) else {
            return Err(false);
        };
        if token.client != client {
            return Err(false);
        }
        let (family, reused) = (token.family, token.dead && !self.grace);
        token.dead = true;
        if reused {
            self.end(family);
            return Err(true);
        }
        Ok(family)
    }

    fn end(&mut self, family: u32) {
        for token in &mut self.refresh {
            token.dead |= token.family == family;
        }
    }
}

impl World {
    /// A request gets its answer, or none.
    pub(super) fn serve(&mut self, at: usize, send: SendRequest, how: How) {
        let request = copy(send.request());
        let url = request.uri().to_string();
        let to = server_of(&url);
        let before = self.ledger.heard_by(at);
        let waited = self.ledger.is_newest(at, send.id());
        if waited {
            self.ledger.answered(at);
        }
        self.ledger.hears_http(at, self.now);
        // An answer that the instance no longer waits for says nothing of what it does now.
        let unreached = !waited && self.ledger.is_unreached(at);
        let (mut late, mut came) = (false, String::new());
        let event = match how {
            How::NeverSent => {
                self.ledger.unreached(at);
                send.never_sent()
            }
            How::Blocked => {
                self.ledger.unreached(at);
                send.blocked()
            }
            How::TooLarge => {
                self.ledger.unreached(at);
                send.too_large()
            }
            How::Lost => {
                let _nobody_hears = self.reply(&request, &url, to, How::Honest);
                self.ledger.unreached(at);
                send.maybe_sent()
            }
            How::Misdelivered => {
                self.ledger.unreached(at);
                return self.misdeliver(at, send);
            }
            How::Busy(status) => {
                // The server may have rotated a token before it failed.
                let _nobody_hears = self.reply(&request, &url, to, How::Honest);
                self.ledger.unreached(at);
                send.response(response(status, &[("retry-after", "1")], "<html>busy"))
            }
            How::Redirected => {
                let location = format!("{ELSEWHERE}/token");
                self.ledger.unreached(at);
                send.response(response(307, &[("location", &location)], ""))
            }
            How::Garbage(which) => {
                self.ledger.unreached(at);
                let text = match which {
                    0 => "[[[[{\"issuer\":".to_owned(),
                    _ => format!(r#"{{"access_token":["at~1~0"],"issuer":7,"x":"{POISON}"}}"#),
                };
                let json = [("content-type", "application/json")];
                send.response(response(200, &json, &text))
            }
            How::Refused(error) => {
                let error = ERRORS[usize::from(error) % ERRORS.len()];
                let text =
                    format!(r#"{{"error":"{error}","error_description":"{POISON}\u001b[31m"}}"#);
                let status = if error == "invalid_client" { 401 } else { 400 };
                self.told((at, send.id()), &request, waited, status, &text);
                send.response(response(status, &[], &text))
            }
            How::Honest
            | How::Lie(_)
            | How::Odd { .. }
            | How::Fails
            | How::Lies
            | How::Slow(_)
            | How::Says(_)
            | How::Forgotten => {
                let replaces = self.takes_late(at, &request);
                late = how == How::Honest && self.is_late(at, send.id(), &request, to);
                let waits = waited && self.is_refreshing(at);
                let (status, mut text) = self.reply(&request, &url, to, how);
                let mut counts = true;
                if let How::Odd { member, kind } = how {
                    // Whether it is still a document that counts is for the machine to say.
                    counts = false;
                    self.facts.note("a member of another type");
                    text = odd(&url, &text, member, kind);
                    // The mark in the URL says what this document advertises (S07).
                    if !text.contains(ADVERTISED) {
                        text = match to {
                            Some(0) => text.replace("/authorize\"", "/authorize?v=8\""),
                            Some(_) | None => text.replace("/authorize?v=9\"", "/authorize\""),
                        };
                    }
                }
                if waited {
                    self.ledger.describes(at, &url, &text);
                }
                self.told((at, send.id()), &request, waited && counts, status, &text);
                if (waits || replaces) && status == 200 {
                    self.ledger.replaced(at, send.id(), &body(&request), &text);
                }
                came = text.clone();
                let mut headers = vec![("content-type", "application/json")];
                if self.setup.has(Habit::KeptForADay) {
                    headers.push(("cache-control", "max-age=86400"));
                }
                send.response(response(status, &headers, &text))
            }
        };
        if unreached {
            self.ledger.unreached(at);
        }
        let queued = self.instances[at].actions.len();
        self.tell(at, event);
        if late {
            self.is_taken(at, queued, &body(&request), &came);
        }
        let late = |action: &Action| match action {
            Action::Error(failure) => !matches!(failure.cause, Cause::Refused(_)),
            _ => false,
        };
        if self.instances[at].actions.iter().skip(queued).any(late) {
            // The document was rejected, or arrived too late.
            self.ledger.unheard(at, before);
        }
    }

    fn is_refreshing(&self, at: usize) -> bool {
        self.instances[at].machine.phase() == Phase::Working("refreshing")
    }

    /// Whether this is the answer of an honest server to a refresh whose time limit has passed, and may still be taken.
    fn is_late(
        &mut self,
        at: usize,
        id: u64,
        request: &Request<bytes::Bytes>,
        to: Option<usize>,
    ) -> bool {
        let machine = &self.instances[at].machine;
        let free = match machine.phase() {
            Phase::Resting => true,
            Phase::Working(name) => name == "pausing",
            Phase::AwaitingUser | Phase::AwaitingDevice => false,
        };
        let honest = to.is_some_and(|to| to == 0 || to == 2);
        free && honest && self.takes_late(at, request) && self.ledger.is_last_refresh(at, id)
    }

    /// Whether an instance takes the answer to this refresh, whenever it comes.
    pub(super) fn takes_late(&mut self, at: usize, request: &Request<bytes::Bytes>) -> bool {
        let form = body(request);
        let grant = get(&form, "grant_type");
        let refreshes = grant.as_deref() == Some("refresh_token");
        let free = !self.instances[at].machine.has_unsaved() && !self.shelf.tampered;
        let stored = self.shelf.account();
        free && refreshes && self.ledger.takes_late(at, &form, stored)
    }

    /// The tokens of a late answer are written to the account (S59).
    fn is_taken(&mut self, at: usize, queued: usize, form: &[(String, String)], answer: &str) {
        let answer: serde_json::Value = serde_json::from_str(answer).unwrap_or_default();
        let Some(access) = answer["access_token"].as_str() else {
            return;
        };
        if get(form, "refresh_token").as_deref() == answer["refresh_token"].as_str()
            || answer["refresh_token"].is_null()
        {
            // The access token may have expired meanwhile.
            return;
        }
        if answer["scope"].is_string() {
            // The token may be for other scopes, and is then of no use (REFR-03).
            return;
        }
        self.facts.note("a late answer to a refresh");
        let writes = |action: &Action| match action {
            Action::PersistSlot(persist) => {
                let written = persist.write();
                written.is_some_and(|stored| stored.contents.expose().contains(access))
            }
            _ => false,
        };
        let mut actions = self.instances[at].actions.iter().skip(queued);
        assert!(
            actions.any(writes),
            "S59: the late answer to a refresh is dropped, and the account holds the token that was sent"
        );
    }

    /// An instance hears a whole answer; whether it still waits for it.
    fn told(
        &mut self,
        (at, id): (usize, u64),
        request: &Request<bytes::Bytes>,
        waited: bool,
        status: u16,
        text: &str,
    ) {
        let url = request.uri().to_string();
        self.ledger.read(at, &url, text, waited);
        if request.method() != http::Method::POST {
            return;
        }
        let form = body(request);
        let answer: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        let is_error = answer["error"].is_string();
        let granted = status == 200 && answer["access_token"].is_string() && !is_error;
        if granted && url.ends_with("/token") {
            return self.ledger.granted((at, id), &form, text, self.now);
        }
        if let (Some(code), Some(server)) = (answer["device_code"].as_str(), server_of(&url)) {
            self.ledger.device(at, server, code);
            if self.instances[at].machine.grant().is_some() && self.shelf.account().is_some() {
                self.ledger.device_beside(code);
            }
        }
        if let (Some(secret), Some(server)) = (answer["client_secret"].as_str(), server_of(&url)) {
            self.ledger.issues(at, server, secret);
        }
        if ["/token", "/par", "/device"]
            .iter()
            .any(|path| url.ends_with(path))
        {
            if let Some(refresh) = get(&form, "refresh_token")
                && text.contains("invalid_grant")
                && let Some(token) = self.servers.refresh.iter_mut().find(|t| t.text == refresh)
            {
                token.dead = true;
            }
            let client = client_of(request, &form);
            self.ledger.refused(at, &url, &form, &client, text);
            if waited && is_error {
                self.ledger.hears_refused(at, &client, text);
            }
        }
    }

    fn misdeliver(&mut self, at: usize, send: SendRequest) {
        let other = (at + 1) % self.instances.len();
        if other == at {
            return self.tell(at, send.maybe_sent());
        }
        self.facts.note("answer for another machine");
        // Applies the effects of time first, such as a clock that was set back, to separate them from the answer's.
        self.tell(other, Event::Timer);
        let queued = |world: &Self| {
            let instance = &world.instances[other];
            (instance.actions.len(), instance.machine.phase())
        };
        let before = queued(self);
        let answer = send.response(response(200, &[], &self.metadata(0, None)));
        self.tell(other, answer);
        assert_eq!(
            before,
            queued(self),
            "S23: an answer for another machine was taken"
        );
    }

    fn reply(
        &mut self,
        request: &Request<bytes::Bytes>,
        url: &str,
        to: Option<usize>,
        how: How,
    ) -> (u16, String) {
        let lie = match (how, to) {
            (How::Lie(lie), Some(LIAR)) => Some(lie % LIES),
            _ => None,
        };
        match to {
            None => (200, self.resource_metadata(how)),
            Some(PROVIDER) if url.contains("/.well-known/") => {
                let document = metadata_of(PROVIDER_URL, "");
                (
                    200,
                    document.replace(r#"["none"]"#, r#"["client_secret_basic"]"#),
                )
            }
            Some(PROVIDER) => self.exchange(request),
            // Where a document that was wrong for a while sends its clients.
            Some(EVIL) => (404, String::new()),
            Some(server) if url.contains("/.well-known/") => (200, self.metadata(server, lie)),
            Some(server) if url.ends_with("/register") => self.register(server, request, lie),
            Some(server) if url.ends_with("/par") => self.pushed(server, request),
            Some(server) if url.ends_with("/device") => self.device(server, request),
            Some(server) if url.ends_with("/revoke") => {
                self.facts.note("revoked");
                let token = get(&body(request), "token");
                let known = self
                    .servers
                    .refresh
                    .iter()
                    .find(|t| Some(&t.text) == token.as_ref());
                if let Some(family) = known.map(|token| token.family) {
                    self.servers.end(family);
                }
                assert!(server != PROVIDER);
                (200, String::new())
            }
            Some(server) => self.token_endpoint(server, request, lie),
        }
    }

    fn exchange(&mut self, request: &Request<bytes::Bytes>) -> (u16, String) {
        self.facts.note("exchange");
        let audience = get(&body(request), "audience").unwrap_or_default();
        let jag = self.mint("jag", issuer_named(&audience));
        let answer = format!(
            r#"{{"access_token":"{jag}","issued_token_type":"{ID_JAG}","token_type":"N_A"}}"#
        );
        (200, answer)
    }
}
