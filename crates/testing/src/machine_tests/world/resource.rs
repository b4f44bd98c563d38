//! The MCP server, and the way actions are answered.

use http::{HeaderMap, HeaderValue};
use mcp_auth_machine::action::{AssertionKind, SubjectTokenKind};
use mcp_auth_machine::event::{Authorization, Challenge, Operation};
use mcp_auth_machine::{Action, Event, Phase};

use super::{Habit, How, OPERATION, PRM, PROVIDER, SECOND, Said, THIRD, World, issuer_named};

/// The scopes that operations need.
pub const SCOPES: [&str; 4] = ["read", "write", "read admin", "write"];
/// Everything that the resource ever asks for, in an odd document too.
pub const WANTED: [&str; 5] = ["read", "write", "admin", "x", "body"];

/// The states of an authorization before its scopes are chosen, and of a refresh that reads documents.
const OF_AN_ATTEMPT: [&str; 8] = [
    "loading_resource",
    "fetching_resource",
    "choosing_server",
    "loading_server",
    "fetching_server",
    "loading_registration",
    "registering",
    "saving_registration",
];

impl World {
    /// The token that an instance would send now.
    pub(super) fn token(&mut self, at: usize) -> Option<String> {
        let now = self.now;
        let text = self.instances[at].presents(now)?;
        self.ledger.presented(at, &text, now);
        Some(text)
    }

    pub(super) fn resource(&mut self, at: usize, said: Said) {
        let sent = self.token(at);
        self.ledger.external(at);
        // The effect of an answer during another flow is checked after that flow.
        let instance = &self.instances[at];
        let idle = instance.actions.is_empty() && instance.machine.phase() == Phase::Resting;
        if !idle && said == Said::Unauthorized && sent.is_some() {
            let held = self.instances[at].machine.grant();
            let held = held.map(|grant| issuer_named(grant.issuer.as_str()));
            if held != Some(self.named) {
                self.facts.note("refused again after the resource moved");
            }
        }
        self.ledger.hears(at);
        let second = !idle && self.events.is_multiple_of(2);
        let operation = if second { SECOND } else { OPERATION };
        match said {
            Said::Wanted => self.wants(at, operation),
            Said::Honest if sent.is_some() => {
                self.tell(at, Event::Accepted(Operation::new(OPERATION)));
            }
            Said::Honest | Said::Unauthorized => {
                let line = format!("Bearer resource_metadata=\"{PRM}\"");
                self.challenge(at, operation, 401, &line, sent.as_deref());
            }
            Said::Scoped(which) => {
                let scopes = SCOPES[usize::from(which) % SCOPES.len()];
                if self.ledger.is_consenting(at) {
                    self.facts.note("scopes named beside an authorization");
                }
                let line = format!("Bearer scope=\"{scopes}\", resource_metadata=\"{PRM}\"");
                self.challenge(at, operation, 401, &line, sent.as_deref());
            }
            Said::Forbidden(which) => {
                let scopes = SCOPES[usize::from(which) % SCOPES.len()];
                let line = format!(
                    "Bearer error=\"insufficient_scope\", scope=\"{scopes}\", resource_metadata=\"{PRM}\""
                );
                if sent.is_some() && idle {
                    self.ledger.lacks(at, scopes);
                }
                if sent.is_some() && self.setup.client.has_user() {
                    self.lacks_meanwhile(at, scopes);
                }
                self.challenge(at, operation, 403, &line, sent.as_deref());
            }
        }
    }

    /// Scopes are missing while an authorization may be under way (S47).
    fn lacks_meanwhile(&mut self, at: usize, scopes: &str) {
        let machine = &self.instances[at].machine;
        let prepares =
            matches!(machine.phase(), Phase::Working(name) if OF_AN_ATTEMPT.contains(&name));
        let granted = machine.grant().map(|grant| grant.scopes);
        let granted: Vec<String> = granted
            .iter()
            .flat_map(|scopes| scopes.iter().map(str::to_owned))
            .collect();
        if prepares
            && !self.setup.has(Habit::NoStepUps)
            && self.ledger.lacks_meanwhile(at, scopes, &granted)
        {
            self.facts.note("scopes missing beside an authorization");
        }
    }

    /// The host wants a token for an operation.
    pub(super) fn wants(&mut self, at: usize, operation: &str) {
        self.instances[at].wishes(operation, None);
        self.tell(at, Event::Wanted(Operation::new(operation)));
    }

    pub(super) fn challenge(
        &mut self,
        at: usize,
        operation: &str,
        status: u16,
        line: &str,
        sent: Option<&str>,
    ) {
        if operation == SECOND {
            self.facts.note("two operations at once");
        }
        self.instances[at].wishes(operation, sent);
        let mut headers = HeaderMap::new();
        if let Ok(line) = HeaderValue::from_str(line) {
            headers.append("www-authenticate", line);
        }
        let mut challenge = Challenge::new(operation, status, headers);
        if let Some(sent) = sent {
            self.ledger.token_refused(sent);
            challenge = challenge.sent(sent);
        }
        self.tell(at, Event::Challenged(challenge));
    }

    /// Two requests are refused, of which the first was sent with the current token and the second with none. The account that
    /// the instance reads for the first one is damaged; the second time it is as it was.
    pub(super) fn blink(&mut self, at: usize) {
        let mut sent = self.token(at);
        let mut how = How::Says(1);
        while !self.is_busy(at) && (sent.is_some() || how == How::Honest) {
            self.ledger.external(at);
            let line = format!("Bearer resource_metadata=\"{PRM}\"");
            self.challenge(at, THIRD, 401, &line, sent.take().as_deref());
            let is_account = |action: &Action| match action {
                Action::LoadSlot(load) => load.slot().to_string().starts_with("account/"),
                _ => false,
            };
            let Some(action) = self.instances[at].actions.iter().position(is_account) else {
                return;
            };
            // The slot itself is as it was.
            let tampered = self.shelf.tampered;
            self.answer(at, action, how);
            self.shelf.tampered = tampered;
            if std::mem::replace(&mut how, How::Honest) == How::Honest {
                return self.facts.note("damaged for a moment");
            }
        }
    }

    /// An outstanding action gets its answer.
    pub(super) fn answer(&mut self, at: usize, action: usize, how: How) {
        let Some(action) = self.instances[at].actions.remove(action) else {
            return;
        };
        if how == How::Forgotten {
            return self.facts.note("forgotten");
        }
        let fails = how == How::Fails;
        if let Action::LoadSlot(_) | Action::PersistSlot(_) = action {
            self.instances[at].at_store = false;
        }
        match action {
            Action::SendRequest(send) => self.serve(at, send, how),
            Action::LoadSlot(load) => {
                if fails {
                    self.facts.note("load failed");
                    self.ledger.store_failed(at);
                    return self.tell(at, load.failed());
                }
                let key = load.slot().to_string();
                let found = match how {
                    How::Says(which) => self.says(which),
                    _ => self.shelf.load(&key).cloned(),
                };
                self.saw(at, &key, load.id(), found.as_ref());
                self.tell(at, load.found(found));
            }
            Action::PersistSlot(persist) => {
                if let Some(revision) = self.shelf.load(&persist.slot().to_string()) {
                    let known = self.knows(at, &revision.revision.to_string());
                    self.ledger.replaces(at, &persist, known, &self.shelf);
                }
                let event = self.stored(at, persist, how);
                if let How::Slow(seconds) = how {
                    self.facts.note("slow to save");
                    self.suspended(u64::from(seconds) * 1_000);
                }
                self.tell(at, event);
            }
            Action::Redirect(redirect) => self.visit(&redirect),
            Action::ShowCode(shown) => self.approve(shown.user_code.as_str()),
            Action::NeedUser(_) => {
                self.ledger.external(at);
                self.ledger.agrees(at);
                let seed = self.seed();
                let authorization = Authorization::new(seed);
                let authorization = if self.setup.has(Habit::OtherDevice) {
                    authorization.on_other_device()
                } else {
                    authorization
                };
                self.tell(at, Event::Authorize(authorization));
            }
            Action::Sign(sign) if fails => self.tell(at, sign.failed()),
            Action::Sign(sign) => {
                self.minted += 1;
                let random = std::array::from_fn(|at| (self.minted >> (at % 4 * 8)) as u8);
                self.tell(at, sign.prepare(random).signature(&[7; 64]));
            }
            Action::ObtainAssertion(asked) if fails => self.tell(at, asked.failed()),
            Action::ObtainAssertion(asked) => {
                let event = match asked.kind().clone() {
                    AssertionKind::Workload { audience } => {
                        let jwt = self.mint("wl", issuer_named(&audience));
                        asked.workload(jwt)
                    }
                    _ => {
                        let token = self.mint("sub", PROVIDER);
                        asked.subject(token, SubjectTokenKind::IdToken)
                    }
                };
                self.tell(at, event);
            }
            Action::Ready(_) | Action::Error(_) | Action::Report(_) => {}
        }
    }
}
