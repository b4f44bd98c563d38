//! What all states share: who the machine is, what it holds, and the desk where actions are laid out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};

use crate::account::{Account, Standing, Tokens, Validity};
use crate::action::{
    Action, AssertionKind, Grant, LoadSlot, NeedUser, ObtainAssertion, PersistSlot, Purpose,
    SendRequest, Sign, ToSign, UrlSource, Why,
};
use crate::budget::{Limited, Permit, SLOT_TIME};
use crate::config::{Config, Discovery};
use crate::error::{Cause, Failure};
use crate::event::{Observed, Operation};
use crate::identity::Identity;
use crate::issuer::AtIssuer;
use crate::memory::Memory;
use crate::record::{RecordFlaw, key_of, read_account, write_account};
use crate::report::Decision;
use crate::seen::Watch;
use crate::slot::{Revision, Slot, SlotKind, Stored};
use crate::state::{Parting, Unsaved, Waiting};
use crate::ticket::{Owner, Ticket};
use crate::time::{Moment, MonoMillis, UnixMillis};
use crate::wire::json::{Kind, of_another_type};
use crate::wire::token::AccessToken;
use crate::wire::words::SigningAlgorithm;

/// An action that was handed out and is waited for.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) id: u64,
    pub(crate) until: MonoMillis,
}

/// What is known of the account slot.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) at: Option<AtIssuer<Account>>,
    pub(crate) revision: Option<Revision>,
    /// Until when some process has the refresh token to itself.
    pub(crate) lease: Option<UnixMillis>,
    /// What the store did not keep when it should have: not lost, and not used (TOK-16).
    pub(crate) unsaved: Option<Box<Unsaved>>,
    /// The event during which the slot was last read.
    pub(crate) read_at: Option<u64>,
    pub(crate) validity: Option<Validity>,
    /// The token that this process received last, with its end by the monotonic clock: that stays,
    /// however long the store takes and wherever the wall clock goes meanwhile (SEC-35).
    received: Option<Received>,
    pub(crate) proof: Proof,
}

struct Received {
    access: AccessToken,
    at: UnixMillis,
    validity: Validity,
}

/// What is known of the token held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It is as good as any: it was stored, or a request with it was accepted.
    #[default]
    Assumed,
    /// It came from an authorization at this time; no request with it was accepted yet (E08).
    Authorized(MonoMillis),
    /// It came from a refresh at this time; no request with it was accepted yet (USE-08).
    Refreshed(MonoMillis),
}

impl Held {
    /// Nothing is held, and the slot is known to be empty.
    pub(crate) fn erased(event: u64) -> Self {
        Self {
            read_at: Some(event),
            ..Self::default()
        }
    }

    pub(crate) fn is_read(&self) -> bool {
        self.read_at.is_some()
    }

    pub(crate) fn is_usable(&self, now: Moment) -> bool {
        self.at.is_some() && self.validity.is_some_and(|validity| validity.holds(now))
    }

    fn tokens(&self) -> Option<&Tokens> {
        self.at.as_ref()?.held().tokens.as_ref()
    }

    /// Until when these tokens may be used: what is known of them already, or what they say.
    pub(crate) fn validity_of(&self, tokens: Option<&Tokens>, now: Moment) -> Validity {
        let same = |access: &AccessToken, received| tokens.is_some_and(|t| t.is(access, received));
        if let (Some(held), Some(validity)) = (self.tokens(), self.validity)
            && same(&held.access, held.received)
        {
            return validity;
        }
        match &self.received {
            Some(known) if same(&known.access, known.at) => known.validity,
            Some(_) | None => Validity::of(tokens, now),
        }
    }

    /// Takes note of tokens that are about to be stored: of those that have just come, their end is known.
    pub(crate) fn receive(&mut self, tokens: Option<&Tokens>, now: Moment) {
        let Some(tokens) = tokens else {
            return;
        };
        let held = self.tokens();
        let known = held.is_some_and(|held| tokens.is(&held.access, held.received))
            || self
                .received
                .as_ref()
                .is_some_and(|known| tokens.is(&known.access, known.at));
        if !known {
            self.received = Some(Received {
                access: tokens.access.clone(),
                at: tokens.received,
                validity: Validity::on_receipt(tokens, now),
            });
        }
    }

    /// Usable, and not so close to its end that it would better be renewed (USE-10).
    pub(crate) fn is_fresh(&self, now: Moment) -> bool {
        let renewable = self.tokens().filter(|tokens| tokens.refresh.is_some());
        let margin = renewable.map_or(Duration::ZERO, Tokens::margin);
        self.at.is_some() && self.validity.is_some_and(|v| v.holds_for(now, margin))
    }
}

pub(crate) struct Core {
    pub(crate) identity: Identity,
    pub(crate) now: Moment,
    /// Counts events, so that what was read during this one is known to be fresh.
    pub(crate) event: u64,
    pub(crate) owner: Arc<Owner>,
    next_id: u64,
    /// The event during which `Ready` was last said.
    said_ready: Option<u64>,
    outbox: VecDeque<Action>,
    pub(crate) held: Held,
    pub(crate) waiting: Option<Box<Waiting>>,
    /// A token request whose answer nobody waits for any more.
    pub(crate) parting: Option<Box<Parting>>,
    pub(crate) memory: Memory,
    /// What servers answer during the attempt under way.
    pub(crate) watch: Watch,
}

impl Core {
    pub(crate) fn new(identity: Identity) -> Self {
        Self {
            identity,
            now: Moment::default(),
            event: 0,
            owner: Arc::new(Owner),
            next_id: 0,
            said_ready: None,
            outbox: VecDeque::new(),
            held: Held::default(),
            waiting: None,
            parting: None,
            memory: Memory::default(),
            watch: Watch::default(),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        self.identity.config()
    }

    pub(crate) fn poll(&mut self) -> Option<Action> {
        self.outbox.pop_front()
    }

    /// Gives back the room of the outbox where it is empty: a machine may rest for hours, beside thousands of
    /// others. Says whether it was.
    pub(crate) fn release(&mut self) -> bool {
        let empty = self.outbox.is_empty();
        if empty {
            self.outbox = VecDeque::new();
        }
        empty
    }

    fn ticket(&mut self, wait: Duration) -> (Ticket, Ask) {
        self.next_id = self.next_id.saturating_add(1);
        let ask = Ask {
            id: self.next_id,
            until: self.now.mono.plus(wait),
        };
        (Ticket::new(&self.owner, self.next_id), ask)
    }

    /// The one way to the network; it costs a permit.
    pub(crate) fn send(
        &mut self,
        _permit: Permit,
        request: Request<Bytes>,
        purpose: Purpose,
        supplied_by: UrlSource,
        time_limit: Duration,
    ) -> Ask {
        let (ticket, ask) = self.ticket(time_limit);
        self.watch.asks(ask.id, &request, purpose);
        let addresses = self.config().url_policy().addresses(request.uri().host());
        self.emit(Action::SendRequest(SendRequest {
            request,
            purpose,
            supplied_by,
            addresses,
            time_limit,
            ticket,
        }));
        ask
    }

    /// Waits without asking for anything.
    pub(crate) fn pause(&mut self, until: MonoMillis) -> Ask {
        self.next_id = self.next_id.saturating_add(1);
        Ask {
            id: self.next_id,
            until,
        }
    }

    /// An ask that nobody answers, for what is about to ask for something.
    pub(crate) fn nobody(&self) -> Ask {
        Ask {
            id: 0,
            until: self.now.mono,
        }
    }

    pub(crate) fn sign(
        &mut self,
        key: Arc<str>,
        algorithm: SigningAlgorithm,
        subject: ToSign,
        time_limit: Duration,
    ) -> Ask {
        let (ticket, ask) = self.ticket(time_limit);
        self.emit(Action::Sign(Sign {
            key,
            algorithm,
            subject,
            ticket,
        }));
        ask
    }

    pub(crate) fn obtain(&mut self, kind: AssertionKind, time_limit: Duration) -> Ask {
        let (ticket, ask) = self.ticket(time_limit);
        self.emit(Action::ObtainAssertion(ObtainAssertion { kind, ticket }));
        ask
    }

    pub(crate) fn load(&mut self, slot: Slot) -> Ask {
        let (ticket, ask) = self.ticket(SLOT_TIME);
        self.emit(Action::LoadSlot(LoadSlot { slot, ticket }));
        ask
    }

    pub(crate) fn persist(
        &mut self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<Stored>,
        expires: Option<UnixMillis>,
    ) -> Ask {
        let (ticket, ask) = self.ticket(SLOT_TIME);
        self.emit(Action::PersistSlot(PersistSlot {
            slot,
            expected,
            write,
            expires,
            ticket,
        }));
        ask
    }

    pub(crate) fn emit(&mut self, action: Action) {
        if self.outbox.capacity() == 0 {
            // There are seldom more at a time.
            self.outbox.reserve_exact(2);
        }
        self.outbox.push_back(action);
    }

    /// The failure with what was seen of the servers at its stage. The documents that the attempt relied on are
    /// not taken from a cache again, here or in another process: they may be the reason.
    pub(crate) fn fail(&mut self, mut failure: Failure) {
        for (slot, revision) in self.memory.distrust() {
            self.persist(slot, Some(revision), None, None);
        }
        failure.seen = match &failure.cause {
            // No server had a part in it.
            Cause::Abandoned
            | Cause::NotPersisted(_)
            | Cause::Resting(_)
            | Cause::OutOfPatience(Limited::UserTime) => Vec::new(),
            Cause::Violation(_)
            | Cause::Refused(_)
            | Cause::Unreachable(_)
            | Cause::OutOfPatience(_)
            | Cause::Misconfigured(_) => self.watch.at(failure.stage),
        };
        self.emit(Action::Error(Box::new(failure)));
    }

    pub(crate) fn need_user(&mut self, why: Why, operation: Option<Operation>) {
        self.memory.user_asked = true;
        self.emit(Action::NeedUser(NeedUser { why, operation }));
    }

    /// Lays out a report, if the host wants any; the closure runs only then.
    pub(crate) fn report(&mut self, decision: impl FnOnce() -> Decision) {
        if self.config().reports {
            self.emit(Action::Report(Box::new(decision())));
        }
    }

    /// Reports the members of a document that have another type than theirs (DISC-17). They are looked for only
    /// where the host wants reports.
    pub(crate) fn report_other_types(&mut self, body: &[u8], members: &[(&'static str, Kind)]) {
        if self.config().reports {
            let names = of_another_type(body, members);
            if !names.is_empty() {
                self.report(|| Decision::MembersIgnored { names });
            }
        }
    }

    pub(crate) fn account_slot(&self) -> Slot {
        self.identity.account_slot()
    }

    /// Takes over what the store holds; anything unusable counts as absent and stays in the store.
    pub(crate) fn adopt(&mut self, stored: Option<&Stored>) -> Result<(), RecordFlaw> {
        let read = stored
            .map(|stored| read_account(&self.identity, stored))
            .transpose();
        let config = self.identity.config();
        let replaced = |at: &AtIssuer<Account>| {
            let client = &at.held().client;
            config.replaces(at.issuer(), &client.id, client.origin)
        };
        let key = stored.filter(|_| read.is_ok());
        let key = key.and_then(|stored| key_of(stored, SlotKind::Account));
        let (at, lease, flaw) = match read {
            Ok(Some((at, _))) if replaced(&at) => (None, None, Some(RecordFlaw::Foreign)),
            Ok(Some((at, lease))) => (Some(at), lease, None),
            Ok(None) => (None, None, None),
            Err(flaw) => (None, None, Some(flaw)),
        };
        if let Some(key) = key {
            self.identity.seal_with(key);
        }
        let at = at.map(|at| self.bound_by_what_was_heard(at));
        // The same token keeps its monotonic deadline and what is known of it (SEC-35).
        let tokens = at.as_ref().and_then(|at| at.held().tokens.as_ref());
        let unchanged = match (tokens, self.held.tokens()) {
            (Some(new), Some(old)) => new.is(&old.access, old.received),
            (_, _) => false,
        };
        if !unchanged {
            self.held.proof = Proof::Assumed;
        }
        self.held.validity = Some(self.held.validity_of(tokens, self.now));
        self.held.at = at;
        self.held.lease = lease;
        self.held.revision = stored.map(|stored| stored.revision);
        self.held.read_at = Some(self.event);
        match flaw {
            None => Ok(()),
            Some(flaw) => {
                let slot = self.account_slot();
                self.report_unusable(slot, flaw);
                Err(flaw)
            }
        }
    }

    /// The resource's word about an issuer holds although the store did not keep it. Where the host names the
    /// server, the resource has no say.
    fn bound_by_what_was_heard(&self, at: AtIssuer<Account>) -> AtIssuer<Account> {
        match (&self.config().discovery, &self.memory.left) {
            (Discovery::Issuer(_) | Discovery::ServerMetadata(..), _) => {
                at.standing(Standing::Listed)
            }
            (Discovery::Standard | Discovery::ResourceMetadata(_), Some(left))
                if *at.issuer() == left.from =>
            {
                at.standing(Standing::LeftFor(left.to.clone()))
            }
            (Discovery::Standard | Discovery::ResourceMetadata(_), Some(_) | None) => at,
        }
    }

    /// The known metadata may be out of date: it is read again before it is used (META-18). The
    /// account's own snapshot says so too, for every process.
    pub(crate) fn doubt(&mut self) {
        self.memory.doubtful = true;
        self.held.at = self.held.at.take().map(AtIssuer::aged);
    }

    pub(crate) fn report_unusable(&mut self, slot: Slot, flaw: RecordFlaw) {
        self.report(|| Decision::RecordUnusable {
            slot: slot.to_string(),
            reason: flaw.to_string(),
        });
    }

    /// Gives the refresh token back to the other processes. Not waited for: a lease that stays ends
    /// by itself.
    pub(crate) fn release_lease(&mut self) {
        if self.held.lease.take().is_none() {
            return;
        }
        if let Some(at) = &self.held.at {
            let stored = write_account(&self.identity, at, None);
            let expected = self.held.revision.replace(stored.revision);
            let slot = self.account_slot();
            self.persist(slot, expected, Some(stored), None);
        }
    }

    /// The user said no, or gave up. What a step-up wanted is not asked for along with anything else;
    /// what a first sign-in needs is needed by the next one too.
    pub(crate) fn declined(&mut self) {
        self.memory.declined(self.now.mono);
        if self.held.is_usable(self.now) {
            self.memory.scope = None;
        }
    }

    /// A proof was refused: perhaps the clocks differ (DPOP-20).
    pub(crate) fn compare_clocks(&mut self, headers: &HeaderMap) {
        let Some(theirs) = crate::wire::http_fields::date(headers) else {
            return;
        };
        let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
        let seconds = signed(theirs).saturating_sub(signed(self.now.wall.seconds()));
        self.report(|| Decision::ClockDiffers { seconds });
    }

    /// Keeps the nonce that a server wants to see next (DPOP-12).
    pub(crate) fn observe(&mut self, observed: &Observed) {
        let url = self.config().url_policy().check(&observed.url);
        if let (Ok(url), Some(nonce)) = (url, &observed.nonce) {
            self.memory.nonces.keep(url.origin(), nonce.clone());
        }
    }

    /// Whether `Ready` was said during this event.
    pub(crate) fn said_ready(&self) -> bool {
        self.said_ready == Some(self.event)
    }

    /// Says that the bearer can be had, once for all who wait; never of a token that has expired.
    pub(crate) fn ready(&mut self) {
        let usable = self.held.is_usable(self.now);
        let Some(grant) = self.grant().filter(|_| usable) else {
            return;
        };
        if self.said_ready.replace(self.event) != Some(self.event) {
            self.emit(Action::Ready(grant));
        }
    }

    /// What is held now.
    pub(crate) fn grant(&self) -> Option<Grant> {
        let at = self.held.at.as_ref()?;
        let account = at.held();
        let tokens = account.tokens.as_ref()?;
        let seconds = tokens.lifetime.seconds();
        let expires = seconds.map(|seconds| tokens.received.plus_seconds(seconds));
        Some(Grant {
            issuer: at.issuer().clone(),
            scopes: account.granted.clone(),
            expires,
            iss_binding: account.iss_binding,
            audience_bound: account.resource.sent,
        })
    }

    /// Host and port of the MCP server.
    pub(crate) fn mcp_host(&self) -> &str {
        self.config().mcp_url().authority()
    }
}
