//! One process: a machine, and what it has asked for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use mcp_auth_machine::action::{NeedUser, Redirect, Why};
use mcp_auth_machine::budget::SLOT_TIME;
use mcp_auth_machine::error::Stage;
use mcp_auth_machine::event::Operation;
use mcp_auth_machine::present::Presentation;
use mcp_auth_machine::report::Decision;
use mcp_auth_machine::slot::SlotKind;
use mcp_auth_machine::{Action, AuthMachine, Config, Moment, Phase};

use super::checks::Ledger;
use super::{Habit, ISSUERS, MCP, Visit, World, issuer_named, scanner};

/// The states in which a machine waits for the account slot.
const OF_THE_ACCOUNT: [&str; 6] = [
    "saving_standing",
    "loading_account",
    "finding_account",
    "saving_account",
    "leasing",
    "erasing",
];

pub struct Instance {
    pub(super) machine: AuthMachine,
    pub(super) actions: VecDeque<Action>,
    /// The revisions that it has read, or wanted to write.
    pub(super) seen: BTreeSet<String>,
    /// The operations that wait for an answer, each with the token that was refused for it.
    pub(super) wishes: BTreeMap<String, Option<String>>,
    /// The same for every request: an operation may have several, for which different tokens were refused.
    asked: BTreeMap<String, BTreeSet<Option<String>>>,
    /// The operations that still wait although a `Ready` came: its token was refused for them (S52).
    refused_again: BTreeSet<String>,
    /// A person asked to sign in, and has no answer yet.
    pub(super) clicked: bool,
    /// A redirect was out before the last event.
    pub(super) pends: bool,
    /// When it wrote the record of its last redirect, in milliseconds.
    opened: u64,
    /// The last thing that it asked for is an operation of the store, not answered yet.
    pub(super) at_store: bool,
}

impl Instance {
    pub(super) fn new(config: Arc<Config>, now: Moment) -> Self {
        let machine = AuthMachine::new(config, "alice", now);
        let left = machine.timeout(now).unwrap_or_default();
        assert!(
            left == SLOT_TIME,
            "S51: the store has {left:?} for the first read"
        );
        Self {
            machine,
            actions: VecDeque::new(),
            seen: BTreeSet::new(),
            wishes: BTreeMap::new(),
            asked: BTreeMap::new(),
            refused_again: BTreeSet::new(),
            clicked: false,
            pends: false,
            opened: now.mono.0,
            at_store: false,
        }
    }

    /// An operation asks for a token, perhaps because this one was refused.
    pub(super) fn wishes(&mut self, operation: &str, sent: Option<&str>) {
        let sent = sent.map(str::to_owned);
        let asked = self.asked.entry(operation.to_owned()).or_default();
        asked.insert(sent.clone());
        self.wishes.insert(operation.to_owned(), sent);
    }

    /// An error or a question answers its operation, which waits for that (S50), and a person. Returns whether the operation
    /// waited beside another one.
    fn hears(&mut self, operation: Option<&Operation>, exact: bool) -> bool {
        let beside = self.asked.len() > 1;
        let waited = operation.map(|own| {
            self.wishes.remove(own.as_str());
            self.refused_again.remove(own.as_str());
            self.asked.remove(own.as_str()).is_some()
        });
        assert!(
            waited != Some(false) || !exact,
            "S50: an answer to {operation:?}, which has none to wait for"
        );
        self.clicked = false;
        waited == Some(true) && beside
    }

    /// The current `Authorization` value of a request, signed where the token is bound to a key.
    pub(super) fn presents(&mut self, now: Moment) -> Option<String> {
        let value = match self.machine.present(now, &http::Method::POST, MCP).ok()? {
            Presentation::Bearer(value) => value,
            Presentation::Bound(proof) => proof.prepare([7; 16]).signature(&[7; 64])?.authorization,
        };
        Some(value.to_str().ok()?.to_owned())
    }
}

/// How long the user has for a redirect, in milliseconds.
const USER_TIME: u64 = 600_000;

/// Whether a question for this reason waits for the redirect that is out. For the other reasons that was of no use.
fn waits_for_a_redirect(why: &Why) -> bool {
    matches!(
        why,
        Why::NoCredentials
            | Why::TokenOver
            | Why::RenewalRefused { .. }
            | Why::ScopeMissing { .. }
            | Why::ServerChanged { .. }
    )
}

impl World {
    /// Takes out what the machine asks for, and judges it there and then.
    pub(super) fn collect(&mut self, at: usize) {
        let now = self.now;
        loop {
            let polled = self.instances[at].machine.poll_action();
            if let Some(Action::NeedUser(need)) = &polled
                && self.instances[at].pends
            {
                self.is_not_exchanged_elsewhere(at, need);
                self.is_not_open(at, need);
            }
            let instance = &mut self.instances[at];
            let Some(action) = polled else {
                scanner::diagnostic("the machine", &format!("{:?}", instance.machine));
                let phase = instance.machine.phase();
                instance.pends = instance.machine.has_pending_authorization();
                if !matches!(phase, Phase::Working(name) if OF_THE_ACCOUNT.contains(&name)) {
                    self.ledger.waits_no_more(at);
                }
                let rests = phase == Phase::Resting && instance.machine.deadline().is_none();
                let waiting = &instance.wishes;
                assert!(
                    !rests || instance.refused_again.is_empty(),
                    "S52: nothing is under way, and these were answered with the token that was refused for them: {:?}",
                    instance.refused_again
                );
                assert!(
                    !rests || waiting.is_empty() && !instance.clicked,
                    "S43: nothing is under way, and these have no answer: {waiting:?}, a click: {}",
                    instance.clicked
                );
                return;
            };
            let text = format!("{action:?}");
            scanner::diagnostic("an action", &text);
            text.hash(&mut self.digest);
            if self.tells {
                println!("  {at} asks for {action:?}");
            }
            let newest = match &action {
                Action::SendRequest(send) => Some(send.id()),
                _ => None,
            };
            // A registration is read beside the request for the metadata of its server (REG-31): that is still waited for.
            let loads = matches!(&action, Action::LoadSlot(_));
            let beside = loads && instance.is_in("fetching_server");
            if !beside {
                self.ledger.asks_for(at, newest);
            }
            match &action {
                Action::LoadSlot(_) if beside => {}
                Action::LoadSlot(_) | Action::PersistSlot(_) => instance.at_store = true,
                Action::SendRequest(_) | Action::Sign(_) | Action::ObtainAssertion(_) => {
                    instance.at_store = false;
                }
                Action::Redirect(_)
                | Action::ShowCode(_)
                | Action::NeedUser(_)
                | Action::Ready(_)
                | Action::Error(_)
                | Action::Report(_) => {}
            }
            match &action {
                Action::SendRequest(send) => {
                    self.ledger.sent(at, send, &self.shelf, &mut self.facts);
                    self.ledger.refreshes(at, send, now, self.shelf.tampered);
                    let limit = send.time_limit().as_millis() as u64;
                    self.ledger.asks_at(at, send.id(), now.mono.0, limit);
                }
                Action::PersistSlot(persist) => {
                    let written = persist.write().map(|stored| stored.revision.to_string());
                    instance.seen.extend(written);
                    self.ledger
                        .waits(at, &persist.slot().to_string(), persist.id());
                    self.ledger.writes(at, persist, now, self.shelf.tampered);
                    self.ledger.leases(at, persist, now, self.shelf.tampered);
                    self.ledger
                        .keeps_lease(at, persist, now, self.shelf.tampered);
                    if persist.slot().kind() == SlotKind::Pending && persist.write().is_some() {
                        instance.opened = now.mono.0;
                    }
                }
                Action::Redirect(redirect) => {
                    let issuer = issuer_named(redirect.issuer.as_str());
                    self.ledger.acts_at(issuer, &self.shelf);
                    self.ledger
                        .redirected(at, redirect, issuer, &self.shelf, &self.setup);
                }
                Action::ShowCode(shown) => {
                    self.facts.note("a code for another device");
                    self.ledger.ends_preparing(at);
                    let issuer = issuer_named(shown.issuer.as_str());
                    self.ledger.acts_at(issuer, &self.shelf);
                    assert!(
                        shown.verification_uri.as_str().starts_with(ISSUERS[issuer]),
                        "DEV-05: {shown:?}"
                    );
                }
                Action::Ready(grant) => {
                    let bearer = instance.presents(now);
                    if let Some(bearer) = &bearer
                        && self.setup.instances == 1
                        && !self.shelf.tampered
                    {
                        self.ledger.outlives_no_sign_out(at, bearer);
                    }
                    let refused = |sent: &Option<String>| sent.is_some() && *sent == bearer;
                    instance.wishes.retain(|_, sent| refused(sent));
                    instance.refused_again = instance.wishes.keys().cloned().collect();
                    instance.asked.retain(|_, asked| {
                        asked.retain(refused);
                        !asked.is_empty()
                    });
                    instance.clicked = false;
                    let issuer = grant.issuer.as_str();
                    self.ledger.acts_at(issuer_named(issuer), &self.shelf);
                    let granted: Vec<String> = grant.scopes.iter().map(str::to_owned).collect();
                    if instance.pends
                        && !instance.machine.has_pending_authorization()
                        && self.ledger.is_open(at, &self.shelf)
                    {
                        self.facts.note("served by another redirect");
                        // The machine has dropped the redirect: what is asked from here on is not about it.
                        instance.pends = false;
                    }
                    let bearer = bearer.as_deref();
                    self.ledger
                        .ready(at, issuer, &granted, bearer, now, &mut self.facts);
                }
                Action::NeedUser(need) => {
                    instance.hears(need.operation.as_ref(), !self.shelf.tampered);
                    self.facts.note(need.why.as_str());
                    self.ledger
                        .asks(at, &need.why, &self.shelf, self.setup.instances);
                    if need.why == Why::NoCredentials && need.operation.is_some() {
                        self.ledger.lacks_credentials(at, &self.shelf);
                    }
                }
                Action::Error(failure) => {
                    let exact = !self.shelf.tampered;
                    let own = failure.operation.as_ref().map(Operation::as_str);
                    let refused = own.and_then(|own| instance.asked.get(own)).cloned();
                    if instance.hears(failure.operation.as_ref(), exact) {
                        self.facts.note("told beside another operation");
                    }
                    self.facts.note(failure.cause.code());
                    let at_redirect = failure.stage == Stage::Authorization;
                    let text = format!("{:?}", failure.cause);
                    self.ledger
                        .says(at, failure.cause.code(), &text, at_redirect);
                    if text == "Violation(ServerChanged)"
                        || own.is_none() && !instance.machine.has_pending_authorization()
                    {
                        // The resource does not list the server of the redirect any more, or the attempt that was to replace
                        // it has failed: the machine has dropped it.
                        instance.pends = false;
                    }
                    if text == "OutOfPatience(UserTime)" && !self.setup.has(Habit::OtherDevice) {
                        self.ledger.runs_out_of_time(at, &self.shelf);
                        let jumped = self.facts.count("wall clock jumped") > 0;
                        if let Some(refused) = refused.filter(|_| !jumped) {
                            self.ledger.has_no_other(at, &refused, now, &self.shelf);
                        }
                    }
                    if failure.stage == Stage::Callback {
                        // The callback has its result (S06).
                        self.ledger.came_back(at, false);
                    }
                    if failure.stage == Stage::Registration && text == "NotPersisted(Load)" {
                        self.ledger.could_not_read(at);
                    }
                    scanner::diagnostic("a failure", &failure.to_string());
                    Ledger::failed(&format!("{failure:?} {failure}"));
                }
                Action::Report(decision) => {
                    scanner::diagnostic("a report", &serde_json::to_string(decision).unwrap());
                    if let Decision::ClientBound { issuer } = &**decision {
                        self.ledger.binds(at, issuer_named(issuer.as_str()));
                    }
                    continue;
                }
                Action::Sign(_) => self.facts.note("signed"),
                Action::LoadSlot(load) => {
                    if load.slot().kind() == SlotKind::Registration {
                        self.ledger.reads_registration(at, beside, now);
                    }
                    self.ledger.waits(at, &load.slot().to_string(), load.id());
                }
                Action::ObtainAssertion(_) => {}
            }
            instance.actions.push_back(action);
        }
    }

    /// The machine asks for the user, and had a redirect out: its code is not being exchanged at another instance (S49). A
    /// reason for which the redirect itself was of no use does not wait.
    fn is_not_exchanged_elsewhere(&self, at: usize, need: &NeedUser) {
        let waits = waits_for_a_redirect(&need.why);
        let exchanges = |(other, instance): (usize, &Instance)| {
            let phase = instance.machine.phase();
            other != at
                && phase == Phase::Working("exchanging")
                && self.ledger.exchanges_for(at, other)
        };
        assert!(
            !waits || !self.instances.iter().enumerate().any(exchanges),
            "S49: the user is asked for, and another instance is exchanging the code: {need:?}"
        );
    }

    /// The machine asks for the user, and had a redirect out: that is not open any more (S53).
    fn is_not_open(&self, at: usize, need: &NeedUser) {
        let left = self.now.mono.0 < self.instances[at].opened + USER_TIME;
        let open = left && self.ledger.is_open(at, &self.shelf);
        // A question for no operation reports that a sign-out elsewhere ended another authorization.
        let open = open && need.operation.is_some();
        assert!(
            !open || !waits_for_a_redirect(&need.why) || self.setup.has(Habit::OtherDevice),
            "S53: the user is asked for, and the callback of the redirect may still arrive: {need:?}"
        );
    }

    /// The user receives the URL and may follow it.
    pub(super) fn visit(&mut self, redirect: &Redirect) {
        self.visits.push(Visit {
            url: redirect.url.as_str().into(),
            issuer: issuer_named(redirect.issuer.as_str()),
        });
        if self.visits.len() > 4 {
            self.visits.remove(0);
        }
    }
}
