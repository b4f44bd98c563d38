//! The context that all states share: identity, account, history and pending actions.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};

use crate::account::{Account, Standing, Tokens, Validity};
use crate::action::{
    Action, AssertionKind, Grant, LoadSlot, NeedUser, ObtainAssertion, PersistSlot, Purpose,
    SendRequest, Sign, ToSign, UrlSource, Why,
};
use crate::budget::{Limited, PARTINGS_REMEMBERED, Permit, SLOT_TIME};
use crate::callers::{Callers, abandoned};
use crate::config::{Config, Discovery};
use crate::error::{Cause, Failure, Stage};
use crate::event::{Observed, Operation};
use crate::frame::{Opened, RecordFlaw, key_of};
use crate::identity::Identity;
use crate::issuer::{AtIssuer, IssuerId};
use crate::memory::Memory;
use crate::record::{read_account, write_account};
use crate::report::Decision;
use crate::slot::{Revision, Slot, SlotKind, Stored};
use crate::state::{Parting, Pending, Unsaved, Waiting};
use crate::ticket::{Owner, Ticket};
use crate::time::{Moment, MonoMillis, UnixMillis};
use crate::watch::Watch;
use crate::wire::json::{Kind, of_another_type};
use crate::wire::token::AccessToken;
use crate::wire::words::SigningAlgorithm;
use crate::wish::Wish;

/// How long the contents of the account slot count as those that a user's request was made beside.
const JUST_READ: Duration = Duration::from_secs(60);

/// A pending action: returned to the host, its result awaited.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) id: u64,
    pub(crate) until: MonoMillis,
}

/// The known contents of the account slot.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) at: Option<Box<AtIssuer<Account>>>,
    pub(crate) revision: Option<Revision>,
    /// Whether the record of this revision says exactly what `at` and `lease` say.
    pub(crate) is_exact: bool,
    /// The refresh lease that some process holds.
    pub(crate) lease: Option<Lease>,
    /// The account that the store failed to keep: retained, but not used (TOK-16).
    pub(crate) unsaved: Option<Box<Unsaved>>,
    /// The event in which the slot was last read.
    pub(crate) read_at: Option<u64>,
    /// When the slot was last read or written.
    pub(crate) known_at: MonoMillis,
    pub(crate) validity: Option<Validity>,
    /// The token that this process received last, with its expiry by the monotonic clock. That expiry holds
    /// however long the store takes, and however the wall clock changes meanwhile (SEC-35).
    received: Option<Box<Received>>,
    pub(crate) proof: Proof,
}

/// A refresh lease. Its holder's wall clock says when it ends early; how long it blocks this process is measured by
/// the monotonic clock of this process, since the wall clocks of two hosts differ (D01).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    pub(crate) until: UnixMillis,
    /// When this process first saw it.
    pub(crate) seen: MonoMillis,
}

struct Received {
    access: AccessToken,
    at: UnixMillis,
    validity: Validity,
}

/// The evidence about the stored token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Proof {
    /// None: it came from the store, or a request with it succeeded.
    #[default]
    Assumed,
    /// It was authorized at this time; no request with it has succeeded yet (E08).
    Authorized(MonoMillis),
    /// It was refreshed at this time; no request with it has succeeded yet (USE-08).
    Refreshed(MonoMillis),
}

impl Held {
    /// Returns an empty account slot.
    pub(crate) fn erased(event: u64) -> Self {
        Self {
            read_at: Some(event),
            ..Self::default()
        }
    }

    /// Returns true if the slot was read a moment ago, so that it still holds this account.
    pub(crate) fn is_just_read(&self, now: MonoMillis) -> bool {
        now < self.known_at.plus(JUST_READ)
    }

    pub(crate) fn is_read(&self) -> bool {
        self.read_at.is_some()
    }

    pub(crate) fn is_usable(&self, now: Moment) -> bool {
        self.at.is_some() && self.validity.is_some_and(|validity| validity.holds(now))
    }

    /// Records that the slot now has these contents.
    pub(crate) fn is_stored_as(&mut self, revision: Revision) {
        self.revision = Some(revision);
        self.is_exact = true;
    }

    /// Takes the account, to change it ahead of its record.
    pub(crate) fn take(&mut self) -> Option<Box<AtIssuer<Account>>> {
        self.is_exact = false;
        self.at.take()
    }

    pub(crate) fn tokens(&self) -> Option<&Tokens> {
        self.at.as_ref()?.held().tokens.as_ref()
    }

    /// Returns the validity of these tokens: the known one of the same issuance, or one derived from the
    /// record.
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

    /// Records tokens that are about to be stored, with the expiry of newly received ones.
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
            self.received = Some(Box::new(Received {
                access: tokens.access.clone(),
                at: tokens.received,
                validity: Validity::on_receipt(tokens, now),
            }));
        }
    }

    /// Returns true if the token is usable, and not so close to expiry that it should be refreshed
    /// (USE-10).
    pub(crate) fn is_fresh(&self, now: Moment) -> bool {
        let renewable = self.tokens().filter(|tokens| tokens.refresh.is_some());
        let margin = renewable.map_or(Duration::ZERO, Tokens::margin);
        self.at.is_some() && self.validity.is_some_and(|v| v.holds_for(now, margin))
    }
}

pub(crate) struct Core {
    pub(crate) identity: Identity,
    pub(crate) now: Moment,
    /// Counts events, to tell whether data was read during the current one.
    pub(crate) event: u64,
    pub(crate) owner: Arc<Owner>,
    next_id: u64,
    /// The event in which `Ready` was last emitted.
    said_ready: Option<NonZeroU64>,
    outbox: VecDeque<Action>,
    pub(crate) held: Held,
    pub(crate) waiting: Option<Box<Waiting>>,
    /// The pending device authorization, which excludes a pending redirect.
    pub(crate) device: Option<Box<Pending>>,
    /// Token requests in flight at a sign-out, until they are answered.
    pub(crate) parting: Vec<Parting>,
    pub(crate) memory: Memory,
    /// The requests of the current attempt, with their responses.
    pub(crate) watch: Watch,
    /// The operations that wait for an answer.
    pub(crate) callers: Callers,
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
            device: None,
            parting: Vec::new(),
            memory: Memory::default(),
            watch: Watch::default(),
            callers: Callers::default(),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        self.identity.config()
    }

    /// Remembers a token request that is still in flight, to revoke what its answer brings.
    pub(crate) fn part(&mut self, parting: Parting) {
        if self.parting.len() >= PARTINGS_REMEMBERED {
            self.parting.remove(0);
        }
        self.parting.push(parting);
    }

    pub(crate) fn poll(&mut self) -> Option<Action> {
        self.outbox.pop_front()
    }

    /// Same as [`poll`](Self::poll) while no work is under way. The last action frees the memory of the outbox, because a
    /// machine may be idle for hours beside thousands of others.
    pub(crate) fn poll_at_rest(&mut self) -> Option<Action> {
        if self.outbox.len() > 1 {
            return self.poll();
        }
        self.watch = Watch::default();
        std::mem::take(&mut self.outbox).pop_front()
    }

    fn ticket(&mut self, wait: Duration) -> (Ticket, Ask) {
        self.next_id = self.next_id.saturating_add(1);
        let ask = Ask {
            id: self.next_id,
            until: self.now.mono.plus(wait),
        };
        (Ticket::new(&self.owner, self.next_id), ask)
    }

    /// Emits an HTTP request; the only way to do so, at the cost of a permit.
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
        let addresses = self.config().url_policy().addresses(request.uri());
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

    /// Waits until a time, without an action.
    pub(crate) fn pause(&mut self, until: MonoMillis) -> Ask {
        self.next_id = self.next_id.saturating_add(1);
        Ask {
            id: self.next_id,
            until,
        }
    }

    /// Returns a placeholder without an action.
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

    #[inline]
    pub(crate) fn emit(&mut self, action: Action) {
        if self.outbox.capacity() == 0 {
            // More than two actions at once are rare.
            self.outbox.reserve_exact(2);
        }
        self.outbox.push_back(action);
    }

    /// Erases the cached documents that the attempt used, for this process and all others, because they may be the
    /// cause of its failure.
    pub(crate) fn distrust(&mut self) {
        for (slot, revision) in self.memory.distrust() {
            self.persist(slot, Some(revision), None, None);
        }
    }

    /// Starts the back-off after a refresh that failed. The next one reads the server's document first, at its source
    /// (META-18).
    pub(crate) fn refresh_failed(&mut self, retry_after: Option<Duration>, cause: &Cause) {
        self.memory.rest.failed(self.now, retry_after, cause);
        self.distrust();
    }

    /// Emits a failure with the requests of its stage.
    pub(crate) fn fail(&mut self, mut failure: Failure) {
        self.distrust();
        failure.seen = match &failure.cause {
            // No server was involved.
            Cause::Abandoned
            | Cause::NotPersisted(_)
            | Cause::Resting(_)
            | Cause::OutOfPatience(Limited::UserTime | Limited::Callers) => Vec::new(),
            Cause::Violation(_)
            | Cause::Refused(_)
            | Cause::Unreachable(_)
            | Cause::OutOfPatience(_)
            | Cause::Misconfigured(_) => self.watch.at(failure.stage),
        };
        self.callers.failed(&failure);
        self.emit(Action::Error(Box::new(failure)));
    }

    /// Fails the work for the current caller.
    pub(crate) fn fail_current(&mut self, failure: Failure) {
        let operation = failure
            .operation
            .or_else(|| self.callers.current().cloned());
        self.fail(Failure {
            operation,
            ..failure
        });
    }

    /// Fails operations that nothing works for any more.
    pub(crate) fn abandon(&mut self, operations: Vec<Operation>) {
        for operation in operations {
            self.fail(abandoned(Some(operation)));
        }
    }

    /// Answers an operation beside which too many wait (USE-14).
    pub(crate) fn turn_away(&mut self, operation: Operation) {
        self.emit(Action::Error(Box::new(Failure {
            operation: Some(operation),
            stage: Stage::Challenge,
            issuer: None,
            cause: Cause::OutOfPatience(Limited::Callers),
            seen: Vec::new(),
        })));
    }

    /// Called when no work is under way: the callers that it left without an answer receive its result, unless an
    /// authorization is pending, here or with its callback at another instance: they share its result (USE-14).
    pub(crate) fn rest(&mut self, elsewhere: bool) {
        if self.callers.is_at_rest() {
            return;
        }
        if elsewhere || self.waits_at().is_some() {
            let now = self.now.mono;
            if let Some(waiting) = &mut self.waiting {
                waiting.rest.look_soon(now);
            }
            if let Some(operation) = self.callers.join() {
                self.turn_away(operation);
            }
            return;
        }
        for answer in self.callers.answers() {
            self.emit(answer);
        }
    }

    pub(crate) fn need_user(&mut self, why: Why, operation: Option<Operation>) {
        let beside = self.held.is_usable(self.now);
        self.memory.question.ask(&why, beside);
        self.put(NeedUser { why, operation });
    }

    fn put(&mut self, need: NeedUser) {
        self.callers.asked(&need);
        self.emit(Action::NeedUser(need));
    }

    /// Asks for the user in the middle of an authorization: the next one continues it, for the same reason.
    pub(crate) fn need_consent(&mut self, why: Why, operation: Option<Operation>, wish: Wish) {
        let beside = self.held.is_usable(self.now);
        self.memory.question.ask_for(wish, beside);
        self.put(NeedUser { why, operation });
    }

    /// Returns true if the host enabled reports.
    pub(crate) fn reports(&self) -> bool {
        self.config().reports
    }

    /// Emits a report if the host enabled reports; the closure runs only then.
    pub(crate) fn report(&mut self, decision: impl FnOnce() -> Decision) {
        if self.reports() {
            self.emit(Action::Report(Box::new(decision())));
        }
    }

    /// Reports document members of a wrong type, if the host enabled reports (DISC-17).
    pub(crate) fn report_other_types(&mut self, body: &[u8], members: &[(&'static str, Kind)]) {
        if self.reports() {
            let names = of_another_type(body, members);
            if !names.is_empty() {
                self.report(|| Decision::MembersIgnored { names });
            }
        }
    }

    pub(crate) fn account_slot(&self) -> Slot {
        self.identity.account_slot()
    }

    /// Adopts the contents of the account slot. An unusable record counts as absent and stays in the store.
    pub(crate) fn adopt(&mut self, stored: Option<&Stored>) -> Result<(), RecordFlaw> {
        if stored.is_some_and(|stored| self.holds(stored)) {
            self.held.read_at = Some(self.event);
            self.held.known_at = self.now.mono;
            return Ok(());
        }
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
        let moved = self.memory.left.is_some();
        self.held.is_exact = read.is_ok() && !moved;
        let (at, lease, flaw) = match read {
            Ok(Some((at, _))) if replaced(&at) => (None, None, Some(RecordFlaw::Foreign)),
            Ok(Some((at, lease))) => (Some(at), lease, None),
            Ok(None) => (None, None, None),
            Err(flaw) => (None, None, Some(flaw)),
        };
        if let Some(key) = key {
            self.identity.seal_with(key);
        }
        let recorded = at.as_ref().map(|at| at.held().standing.clone());
        let at = at.map(|at| Box::new(self.bound_by_what_was_heard(at)));
        self.held.is_exact &= at.as_ref().map(|at| &at.held().standing) == recorded.as_ref();
        // The same token keeps its monotonic expiry and its evidence (SEC-35).
        let tokens = at.as_ref().and_then(|at| at.held().tokens.as_ref());
        let unchanged = match (tokens, self.held.tokens()) {
            (Some(new), Some(old)) => new.is(&old.access, old.received),
            (_, _) => false,
        };
        if !unchanged {
            self.held.proof = Proof::Assumed;
            self.callers.token_changed();
        }
        self.held.validity = Some(self.held.validity_of(tokens, self.now));
        self.held.at = at;
        let known = self.held.lease.filter(|known| Some(known.until) == lease);
        let seen = self.now.mono;
        self.held.lease = lease.map(|until| known.unwrap_or(Lease { until, seen }));
        self.held.revision = stored.map(|stored| stored.revision);
        self.held.read_at = Some(self.event);
        self.held.known_at = self.now.mono;
        // A token that is bound to a key that the host no longer has makes no request succeed (DPOP-02).
        let binding = self
            .held
            .at
            .as_ref()
            .and_then(|at| at.held().binding.as_ref());
        if binding.is_some_and(|binding| self.config().key_of(binding).is_none()) {
            self.held.validity = Some(Validity::Over);
        }
        match flaw {
            None => Ok(()),
            Some(flaw) => {
                let slot = self.account_slot();
                self.report_unusable(slot, flaw);
                Err(flaw)
            }
        }
    }

    /// Returns true if the account was read from these contents, or written to them, and has not changed since. The
    /// contents are still checked, since a store may keep a revision beside altered ones (S26).
    fn holds(&mut self, stored: &Stored) -> bool {
        let moved = self.memory.left.is_some();
        let known = self.held.is_exact && self.held.revision == Some(stored.revision);
        if moved || self.held.at.is_none() || !known {
            return false;
        }
        let opened = Opened::open(stored, SlotKind::Account);
        let key = opened.as_ref().ok().and_then(|opened| opened.key);
        if let Some(key) = key {
            self.identity.seal_with(key);
        }
        opened.is_ok()
    }

    /// Applies a known change of issuer that the store did not keep; where the host configured the server, what it
    /// configured.
    pub(crate) fn bound_by_what_was_heard(&self, at: AtIssuer<Account>) -> AtIssuer<Account> {
        match (&self.config().discovery, self.left_for(at.issuer())) {
            // The host's word stands in the place of the resource's (DISC-20).
            (Discovery::Issuer(own) | Discovery::ServerMetadata(own, _), _) => {
                let standing = Standing::by(self.config(), own, at.issuer());
                at.standing(standing)
            }
            (Discovery::Standard | Discovery::ResourceMetadata(_), Some(to)) => {
                at.standing(Standing::LeftFor(to))
            }
            (Discovery::Standard | Discovery::ResourceMetadata(_), None) => at,
        }
    }

    /// Returns the issuer that the resource lists in place of this one, as far as this process has read.
    pub(crate) fn left_for(&self, issuer: &IssuerId) -> Option<IssuerId> {
        let left = self.memory.left.as_ref();
        left.filter(|left| left.from == *issuer)
            .map(|left| left.to.clone())
    }

    /// Returns true if the resource is known to have left the account's issuer, or an earlier one.
    pub(crate) fn knows_of_a_move(&self) -> bool {
        let held = self.held.at.as_ref().map(|at| at.held().still_listed());
        self.memory.left.is_some() || held.is_some_and(|listed| listed.is_err())
    }

    /// Returns the issuer of the pending authorization.
    pub(crate) fn waits_at(&self) -> Option<&IssuerId> {
        let redirected = self.waiting.as_ref().map(|waiting| waiting.at.issuer());
        redirected.or(self.device.as_ref().map(|device| device.issuer()))
    }

    /// Drops the pending authorization, with its record. Returns its issuer and operation.
    pub(crate) fn stop_waiting(&mut self) -> Option<(IssuerId, Option<Operation>)> {
        if let Some(pending) = self.device.take() {
            return Some((pending.issuer().clone(), pending.operation().cloned()));
        }
        let waiting = self.waiting.take()?;
        self.persist(waiting.rest.slot, Some(waiting.rest.revision), None, None);
        Some((waiting.at.issuer().clone(), self.memory.operation.clone()))
    }

    /// Marks the known metadata as stale: it is fetched again before use. The account's metadata snapshot
    /// is marked too, for every process (META-18).
    pub(crate) fn doubt(&mut self) {
        self.memory.doubtful = true;
        self.held.at = self.held.take().map(|at| Box::new(at.aged()));
    }

    pub(crate) fn report_unusable(&mut self, slot: Slot, flaw: RecordFlaw) {
        self.report(|| Decision::RecordUnusable {
            slot: slot.to_string(),
            reason: flaw.to_string(),
        });
    }

    /// Releases the refresh lease. Fire-and-forget: an unreleased lease expires.
    pub(crate) fn release_lease(&mut self) {
        if self.held.lease.take().is_none() {
            return;
        }
        if let Some(at) = &self.held.at {
            let stored = write_account(&self.identity, at, None);
            let expected = self.held.revision;
            self.held.is_stored_as(stored.revision);
            let slot = self.account_slot();
            self.persist(slot, expected, Some(stored), None);
        }
    }

    /// Records that the user declined or cancelled. The scopes of a step-up are not added to later
    /// requests; those of a first sign-in stay necessary.
    pub(crate) fn declined(&mut self) {
        self.memory.declined(self.now.mono);
        if self.held.is_usable(self.now) {
            self.memory.demanded.clear();
        }
    }

    /// Reports a clock difference after a rejected proof (DPOP-20).
    pub(crate) fn compare_clocks(&mut self, headers: &HeaderMap) {
        let Some(theirs) = crate::wire::http_fields::date(headers) else {
            return;
        };
        let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
        let seconds = signed(theirs).saturating_sub(signed(self.now.wall.seconds()));
        self.report(|| Decision::ClockDiffers { seconds });
    }

    /// Stores the nonce for the next proof at a server (DPOP-12).
    pub(crate) fn observe(&mut self, observed: &Observed) {
        let url = self.config().url_policy().check(&observed.url);
        if let (Ok(url), Some(nonce)) = (url, &observed.nonce) {
            self.memory.nonces.keep(url.origin(), nonce.clone());
        }
    }

    /// Returns true if `Ready` was emitted during this event.
    pub(crate) fn said_ready(&self) -> bool {
        self.said_ready
            .is_some_and(|event| event.get() == self.event)
    }

    /// Emits `Ready`, once per event and never for an expired token.
    pub(crate) fn ready(&mut self) {
        let usable = self.held.is_usable(self.now);
        let Some(grant) = self.grant().filter(|_| usable) else {
            return;
        };
        self.memory.question.answered_by_a_token();
        self.callers.ready();
        if !self.said_ready() {
            self.said_ready = NonZeroU64::new(self.event);
            self.emit(Action::Ready(grant));
        }
    }

    /// Returns the stored token without its value.
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

    /// Returns the host and port of the MCP server.
    pub(crate) fn mcp_host(&self) -> &str {
        self.config().mcp_url().authority()
    }
}
