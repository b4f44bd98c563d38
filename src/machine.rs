//! The machine: events in, actions out.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use crate::action::{Action, Grant};
use crate::budget::{CALLBACKS_QUEUED, EVENTS_QUEUED, Limited};
use crate::callers::abandoned;
use crate::config::Config;
use crate::core::{Ask, Core, Proof};
use crate::error::{Cause, Failure, Stage, StoreFlaw};
use crate::event::{Abandon, Authorization, Event, Operation, Reply, Where};
use crate::identity::Identity;
use crate::memory::Erasure;
use crate::report::Decision;
use crate::state::{Doomed, Leaving, LoadingAccount, Parting, Step, Trigger, Work, judge, start};
use crate::ticket::Ticket;
use crate::time::{Moment, MonoMillis};
use crate::wire::callback::Callback;
use crate::wish::Click;

/// The authorization of one principal at one MCP server.
///
/// Pass events to [`handle`](Self::handle), take actions from [`poll_action`](Self::poll_action) until it
/// returns `None`, and send [`Event::Timer`] at [`deadline`](Self::deadline). No method blocks, fails or
/// panics; an unexpected event changes nothing.
pub struct AuthMachine {
    pub(crate) core: Core,
    work: Work,
    inbox: VecDeque<Trigger>,
}

impl AuthMachine {
    /// Creates a machine for one principal. The first action reads the account slot, so that a stored token
    /// is found. A callback of an authorization that another instance prepared may be passed at once.
    ///
    /// A principal without a name has no account: every event that needs one fails with
    /// [`Misconfiguration::NoPrincipal`](crate::error::Misconfiguration::NoPrincipal), and no slot is touched.
    pub fn new(config: impl Into<Arc<Config>>, principal: impl Into<Arc<str>>) -> Self {
        let identity = Identity::new(config.into(), principal.into());
        let mut core = Core::new(identity);
        let work = if core.identity.is_named() {
            LoadingAccount::begin(&mut core, None)
        } else {
            Work::Idle
        };
        Self {
            core,
            work,
            inbox: VecDeque::new(),
        }
    }

    /// Processes an event. Never fails: results are returned as actions.
    pub fn handle(&mut self, now: Moment, event: Event) {
        self.core.now = now;
        self.core.event = self.core.event.saturating_add(1);
        match event {
            Event::HttpResponse(reply) => self.replied(reply),
            Event::SlotLoaded(loaded) => {
                self.answer(&loaded.ticket, |work, core| work.loaded(core, loaded.found));
            }
            Event::SlotPersisted(persisted) => {
                self.answer(&persisted.ticket, |work, core| {
                    work.persisted(core, persisted.outcome)
                });
            }
            Event::Signed(signed) => {
                self.answer(&signed.ticket, |work, core| work.signed(core, signed.token));
            }
            Event::AssertionObtained(assertion) => {
                self.answer(&assertion.ticket, |work, core| {
                    work.obtained(core, assertion.token)
                });
            }
            Event::Observed(observed) => self.core.observe(&observed),
            Event::Challenged(challenge) => {
                if let Some(judged) = judge(&mut self.core, challenge) {
                    self.queue(Trigger::Challenged(Box::new(judged)));
                }
            }
            Event::Wanted(operation) => self.queue(Trigger::Wanted(operation)),
            Event::Authorize(authorization) => self.authorize(authorization),
            Event::CallbackParams(callback) => self.came_back(callback),
            Event::Accepted(operation) => {
                self.core.memory.forget(&operation);
                self.core.held.proof = Proof::Assumed;
            }
            Event::Timer => self.time_passed(),
            Event::Abandoned(how) => self.give_up(how),
            Event::SignedOut => self.sign_out(),
        }
        self.settle();
    }

    /// Returns the next action, if any. Actions may be carried out in any order, except the writes of one slot: these in the
    /// order in which they come.
    pub fn poll_action(&mut self) -> Option<Action> {
        if matches!(self.work, Work::Idle) && self.inbox.is_empty() {
            self.inbox = VecDeque::new();
            self.core.poll_at_rest()
        } else {
            self.core.poll()
        }
    }

    /// Returns when [`Event::Timer`] is due, by the monotonic clock.
    pub fn deadline(&self) -> Option<MonoMillis> {
        let work = self.work.ask().map(|ask| ask.until);
        let user = self.core.waiting.as_ref();
        let user = user.and_then(|waiting| waiting.rest.next);
        let device = self.core.device.as_ref().map(|device| device.deadline());
        let save = self.core.held.unsaved.as_ref();
        let save = save.filter(|_| matches!(self.work, Work::Idle));
        let save = save.and_then(|unsaved| unsaved.again.at);
        work.into_iter().chain(user).chain(device).chain(save).min()
    }

    /// Returns the current phase.
    pub fn phase(&self) -> Phase {
        if !matches!(self.work, Work::Idle) {
            Phase::Working(self.work.name())
        } else if self.core.device.is_some() {
            Phase::AwaitingDevice
        } else if self.core.waiting.is_some() {
            Phase::AwaitingUser
        } else {
            Phase::Resting
        }
    }

    /// Returns true while a refresh waits and this machine holds no lease for it: another process refreshes the tokens, or
    /// the server asked for a long delay (REFR-05, REFR-07). The lease of another process ends by time alone. So a host that
    /// runs out of time stops here, and never passes a later time than it is: that would break the lease, and the refresh
    /// token would be sent twice.
    pub fn waits_without_lease(&self) -> bool {
        self.work.waits_without_lease()
    }

    /// Returns true while a redirect or a device authorization is pending, whatever else the machine does.
    pub fn has_pending_authorization(&self) -> bool {
        self.core.waits_at().is_some() || matches!(self.work, Work::Polling(_))
    }

    /// Returns the stored token without its value, even when it has expired. `None` also before the account
    /// slot has been read.
    pub fn grant(&self) -> Option<Grant> {
        self.core.grant()
    }

    /// Returns true while the machine holds an account that the store did not take, such as refreshed tokens: they are lost
    /// with the machine. They are saved again at [`deadline`](Self::deadline), ten times within some minutes, and at the next
    /// [`Event::Wanted`] (TOK-16).
    pub fn has_unsaved(&self) -> bool {
        self.core.held.unsaved.is_some()
    }

    fn replied(&mut self, Reply { ticket, outcome }: Reply) {
        if self.is_pending(&ticket) {
            self.core.watch.answered(ticket.id(), &outcome);
            self.step(|work, core| work.replied(core, outcome));
        } else if let Some(parting) = self.parting(&ticket)
            && let Some(at) = parting.granted(&mut self.core, outcome)
        {
            // New tokens that arrive after sign-out are revoked (REFR-12).
            self.inbox.push_back(Trigger::Revoke(Box::new(at)));
        }
    }

    fn answer(&mut self, ticket: &Ticket, step: impl FnOnce(Work, &mut Core) -> Step) {
        if self.is_pending(ticket) {
            self.step(step);
        } else {
            self.parting(ticket);
        }
    }

    /// Returns true for the ticket of the action whose result the work awaits.
    fn is_pending(&self, ticket: &Ticket) -> bool {
        let is_its = |ask: &Ask| ask.id == ticket.id();
        self.work.ask().is_some_and(is_its) && ticket.is_of(&self.core.owner)
    }

    /// Takes the request that a sign-out left behind with this ticket.
    fn parting(&mut self, ticket: &Ticket) -> Option<Parting> {
        let id = ticket.is_of(&self.core.owner).then(|| ticket.id())?;
        let partings = &mut self.core.parting;
        partings.extract_if(.., |parting| parting.id == id).next()
    }

    fn step(&mut self, step: impl FnOnce(Work, &mut Core) -> Step) {
        let work = std::mem::replace(&mut self.work, Work::Idle);
        match step(work, &mut self.core) {
            Ok(next) => self.work = next,
            Err(failure) => self.core.fail_current(failure),
        }
    }

    /// Queues the request of a caller. When too many wait, a request of an operation that asks again is dropped; where
    /// each operation waits once, this one is answered with an error (USE-14).
    fn queue(&mut self, trigger: Trigger) {
        if self.inbox.len() >= EVENTS_QUEUED
            && self
                .inbox
                .iter()
                .filter(|queued| queued.is_of_a_caller())
                .count()
                >= EVENTS_QUEUED
            && !self.drop_repeated(&trigger)
        {
            self.core.report(|| Decision::EventDropped);
            if let Some(operation) = trigger.operation() {
                self.core.turn_away(operation.clone());
            }
            return;
        }
        self.take_on(trigger);
    }

    /// Starts work at once where none is under way or queued, so that the queue needs no memory, and queues it otherwise.
    fn take_on(&mut self, trigger: Trigger) {
        let idle = matches!(self.work, Work::Idle) && self.inbox.is_empty();
        let served = trigger.is_served(&self.core);
        if idle && !served && self.core.memory.erasure == Erasure::Done {
            self.core.rest(false);
            self.begin(trigger);
        } else {
            self.inbox.push_back(trigger);
        }
    }

    /// Drops a queued request whose operation asks again later in the queue, or with this request. Returns true if there
    /// was one.
    fn drop_repeated(&mut self, incoming: &Trigger) -> bool {
        let asks_again = |(at, queued): (usize, &Trigger)| {
            let later = self.inbox.iter().skip(at.saturating_add(1));
            let mut later = later
                .chain([incoming])
                .filter(|later| later.is_of_a_caller());
            queued.is_of_a_caller() && later.any(|later| later.operation() == queued.operation())
        };
        let found = self.inbox.iter().enumerate().position(asks_again);
        found.is_some_and(|at| self.inbox.remove(at).is_some())
    }

    /// Queues an authorization, unless an attempt is under way, which it joins.
    fn authorize(&mut self, mut authorization: Authorization) {
        if self.core.config().other_devices {
            authorization.on = Where::OtherDevice;
        }
        let click = Click::new(&mut self.core.memory.question, authorization);
        for trigger in &mut self.inbox {
            if let Trigger::Authorize(waits) = trigger {
                return waits.join(click);
            }
        }
        let wanted = &click.authorization;
        let config = self.core.identity.config();
        let elsewhere = match self.work.uncounted() {
            Some(attempt) => {
                attempt.wish = attempt.wish.joined_by(click.wish());
                !attempt.way.is_that_of(wanted, config)
            }
            None => !self.work.comes_back_to(wanted, config),
        };
        // Between two polls the code is shown again.
        let polls = matches!(self.work, Work::Polling(_));
        if self.work.attempt().is_none() || elsewhere || polls {
            self.take_on(Trigger::Authorize(Box::new(click)));
        }
    }

    /// Queues a callback; one whose `state` matches the pending authorization jumps the queue (L04).
    fn came_back(&mut self, callback: Callback) {
        // Alone in the queue, it is the next one anyway.
        if self.inbox.is_empty() {
            return self.take_on(Trigger::CameBack(callback));
        }
        let is_own = |callback: &Callback| match (&self.core.waiting, callback.state()) {
            (Some(waiting), Some(state)) => waiting.at.held().0.state.same(&state),
            (_, _) => false,
        };
        let own = is_own(&callback);
        let mut queued = 0_usize;
        let mut has_own = false;
        let mut last = None;
        for (at, trigger) in self.inbox.iter().enumerate() {
            if let Trigger::CameBack(other) = trigger {
                queued = queued.saturating_add(1);
                has_own |= own && is_own(other);
                last = Some(at);
            }
        }
        let is_full = queued >= CALLBACKS_QUEUED;
        let first = own && !has_own;
        if is_full {
            self.core.report(|| Decision::EventDropped);
            match last.filter(|_| first) {
                Some(last) => drop(self.inbox.remove(last)),
                None => return,
            }
        }
        if first {
            self.inbox.push_front(Trigger::CameBack(callback));
        } else {
            self.inbox.push_back(Trigger::CameBack(callback));
        }
    }

    /// Starts queued work until an action is pending.
    fn settle(&mut self) {
        loop {
            if !self.inbox.is_empty() {
                self.serve();
                if self.inbox.iter().any(Trigger::is_urgent) {
                    self.give_way();
                }
            }
            if !matches!(self.work, Work::Idle) {
                return;
            }
            let elsewhere = |trigger: &Trigger| matches!(trigger, Trigger::TakenElsewhere(_));
            let awaits = self.inbox.iter().any(elsewhere);
            self.core.rest(awaits);
            let Some(trigger) = self.next_trigger() else {
                return;
            };
            self.begin(trigger);
        }
    }

    fn begin(&mut self, trigger: Trigger) {
        self.core.watch.begin();
        let caller = trigger.caller(&self.core);
        self.core.callers.begin(caller);
        self.step(|_, core| start(core, trigger));
    }

    /// Takes the next queued work. An erasure that the store did not confirm is repeated before; while it fails, nothing of
    /// the account is used (REV-03).
    fn next_trigger(&mut self) -> Option<Trigger> {
        let ends = |trigger: &Trigger| matches!(trigger, Trigger::SignOut(_) | Trigger::Revoke(_));
        if !self.inbox.front().is_none_or(ends) {
            match self.core.memory.erasure {
                Erasure::Done => {}
                Erasure::Failed(revision) => {
                    let leaving = Leaving {
                        only: Some(revision),
                        known: None,
                        unsaved: None,
                        doomed: Doomed::of(&mut self.core.memory.clients, false),
                    };
                    return Some(Trigger::SignOut(Box::new(leaving)));
                }
                Erasure::FailedAgain(revision) => {
                    self.core.memory.erasure = Erasure::Failed(revision);
                    let queued = std::mem::take(&mut self.inbox);
                    let (stay, end) = queued.into_iter().partition::<VecDeque<_>, _>(ends);
                    self.inbox = stay;
                    for trigger in end {
                        self.core.fail(Failure {
                            operation: trigger.operation().cloned(),
                            stage: Stage::Slots,
                            issuer: None,
                            cause: Cause::NotPersisted(StoreFlaw::Write),
                            seen: Vec::new(),
                        });
                    }
                }
            }
        }
        self.inbox.pop_front()
    }

    /// Answers queued requests that the stored token already satisfies: a challenge that names an older
    /// token at once; a token request only when no refresh is running, or while it is paused.
    fn serve(&mut self) {
        let core = &mut self.core;
        let pausing = matches!(self.work, Work::Pausing(_));
        let settled = pausing || core.said_ready();
        let before = self.inbox.len();
        self.inbox.retain(|trigger| {
            let is_refusal = matches!(trigger, Trigger::Challenged(_));
            let served = (settled || is_refusal) && trigger.is_served(core);
            let content = pausing && trigger.can_do_with(core);
            !served && !content
        });
        if self.inbox.len() < before {
            core.ready();
        }
    }

    /// Moves a paused refresh to the end of the queue.
    fn give_way(&mut self) {
        let work = std::mem::replace(&mut self.work, Work::Idle);
        if let Work::Pausing(pausing) = work {
            self.core.callers.set_aside();
            self.inbox.push_back(pausing.then);
            self.inbox
                .make_contiguous()
                .sort_by_key(|trigger| !trigger.is_urgent());
        } else {
            self.work = work;
        }
    }

    fn time_passed(&mut self) {
        let now = self.core.now.mono;
        if self.work.ask().is_some_and(|ask| ask.until <= now) {
            self.step(Work::timed_out);
        }
        if let Some(waiting) = &mut self.core.waiting
            && waiting.rest.next.take_if(|next| *next <= now).is_some()
        {
            self.inbox.push_back(Trigger::Look);
        }
        if let Some(pending) = &mut self.core.device {
            if pending.is_over(now) {
                self.end_waiting(Cause::OutOfPatience(Limited::UserTime));
            } else if pending.takes_turn(now) {
                self.inbox.push_back(Trigger::Poll);
            }
        }
        let unsaved = self.core.held.unsaved.as_ref();
        let again = unsaved.and_then(|unsaved| unsaved.again.at);
        if again.is_some_and(|at| at <= now) && matches!(self.work, Work::Idle) {
            self.inbox.push_back(Trigger::Save);
        }
    }

    /// Ends the pending authorization without a callback: clears its record and keeps the stored tokens.
    fn end_waiting(&mut self, cause: Cause) {
        let Some((issuer, operation)) = self.core.stop_waiting() else {
            return;
        };
        let failure = Failure {
            operation,
            stage: Stage::Authorization,
            issuer: Some(issuer),
            cause,
            seen: Vec::new(),
        };
        self.core.fail(failure);
    }

    fn give_up(&mut self, how: Abandon) {
        let attempts = self.core.waits_at().is_some() || self.work.attempt().is_some();
        if attempts {
            self.core.memory.give_back();
        }
        // A new registration continues what the user asked for.
        if how == Abandon::Cancelled {
            self.core.memory.offered = None;
            if attempts {
                self.core.declined();
            }
        }
        self.core.memory.question.withdraw();
        let queued = self.inbox.len();
        self.inbox
            .retain(|trigger| !matches!(trigger, Trigger::Authorize(_)));
        let queued = self.inbox.len() < queued;
        self.end_waiting(Cause::Abandoned);
        if let Some(operation) = self.work.attempt() {
            let failure = abandoned(operation.cloned());
            self.drop_work();
            self.core.fail(failure);
        } else if queued && !attempts {
            self.core
                .fail(abandoned(self.core.memory.operation.clone()));
        }
        match how {
            Abandon::Cancelled => {}
            // Queued after the work under way, which may be using the registration.
            Abandon::ResetRegistration => {
                self.core.memory.clients.reset();
                let resets = |trigger: &Trigger| matches!(trigger, Trigger::Reset);
                if !self.inbox.iter().any(resets) {
                    self.inbox.push_front(Trigger::Reset);
                }
            }
        }
    }

    /// Drops the work under way, and clears the secret record that it may just be writing.
    fn drop_work(&mut self) {
        if let Some((slot, revision)) = self.work.being_written(&self.core) {
            self.core.persist(slot, Some(revision), None, None);
        }
        let work = std::mem::replace(&mut self.work, Work::Idle);
        // A poll may be answered with tokens that nobody wants any more.
        if let Some(parting) = Parting::of(work) {
            self.core.part(parting);
        }
    }

    /// Ends what waits at a sign-out: an authorization, and every operation under its own name.
    fn answer_all(&mut self) {
        let queued = self.inbox.iter();
        let clicks = |trigger: &Trigger| {
            let click = matches!(trigger, Trigger::Authorize(_) | Trigger::Renewed(_));
            click || trigger.completes_an_authorization()
        };
        let asked = self.work.attempt().map(Option::<&Operation>::cloned);
        let asked = asked.or_else(|| {
            let under_way = self.work.completes_an_authorization();
            let click = under_way || queued.clone().any(clicks) || self.core.waits_at().is_some();
            click.then(|| self.core.memory.operation.clone())
        });
        let mut waiting = self.core.callers.leave();
        for operation in queued.filter_map(Trigger::operation) {
            if !waiting.contains(operation) {
                waiting.push(operation.clone());
            }
        }
        if let Some(operation) = asked {
            waiting.retain(|other| Some(other) != operation.as_ref());
            self.core.fail(abandoned(operation));
        }
        self.core.abandon(waiting);
    }

    /// Erases the account; pending results are discarded, and new tokens in them revoked (REFR-12). Pending erasures
    /// and revocations are kept, those of registrations included.
    fn sign_out(&mut self) {
        let waits = |trigger: &Trigger| matches!(trigger, Trigger::SignOut(_));
        let resets = |trigger: &Trigger| matches!(trigger, Trigger::Reset);
        let signing_out = self.work.is_signing_out() || self.inbox.iter().any(waits);
        let loading = matches!(&self.work, Work::LoadingAccount(state) if state.is_for_a_reset());
        let resetting = loading || self.inbox.iter().any(resets);
        self.answer_all();
        self.inbox.retain(|trigger| {
            matches!(trigger, Trigger::SignOut(_) | Trigger::Revoke(_))
                || signing_out && resets(trigger)
        });
        if signing_out {
            return;
        }
        let clients = &mut self.core.memory.clients;
        let mut doomed = Doomed::of(clients, resetting);
        let mut unsaved = self.core.held.unsaved.take().map(|unsaved| unsaved.at);
        let known = self.core.held.at.take();
        if let Work::Revoking(revoking) = &mut self.work {
            revoking.end();
        } else {
            if let Some((slot, revision)) = self.work.being_written(&self.core) {
                self.core.persist(slot, Some(revision), None, None);
            }
            let work = std::mem::replace(&mut self.work, Work::Idle);
            if let Work::SavingAccount(state) = work {
                unsaved = Some(Box::new(state.into_account()));
            } else if let Work::ForgettingClient(state) = work {
                doomed.take_over(state.into_task());
            } else if let Work::ClearingClient(state) = work {
                doomed.take_over(state.into_task());
            } else {
                if let Some(parting) = Parting::of(work) {
                    self.core.part(parting);
                }
            }
        }
        self.core.stop_waiting();
        self.core.memory = self.core.memory.after_sign_out();
        let leaving = Box::new(Leaving {
            known,
            unsaved,
            doomed,
            only: None,
        });
        self.inbox.push_front(Trigger::SignOut(leaving));
    }
}

/// The phase of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Idle.
    Resting,
    /// An authorization is pending: the machine waits for its callback. All necessary data is in a slot.
    AwaitingUser,
    /// A device authorization is pending: the machine polls the server at its [`deadline`](AuthMachine::deadline).
    AwaitingDevice,
    /// An action is pending, in the state of this name.
    Working(&'static str),
}

impl Phase {
    /// The names that [`Phase::Working`] can contain.
    pub const NAMES: &[&'static str] = Work::NAMES;
}

impl fmt::Debug for AuthMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthMachine")
            .field("mcp_url", &self.core.identity.mcp_url())
            .field("phase", &self.phase())
            .field("issuer", &self.core.held.at.as_ref().map(|at| at.issuer()))
            .finish_non_exhaustive()
    }
}
