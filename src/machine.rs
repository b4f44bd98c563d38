//! The machine: events in, actions out.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use crate::action::{Action, Grant, SubjectTokenKind};
use crate::budget::{EVENTS_QUEUED, Limited};
use crate::config::Config;
use crate::core::{Core, Proof};
use crate::error::{Cause, Failure, Stage};
use crate::event::{Abandon, Event, Outcome, Persistence};
use crate::identity::Identity;
use crate::report::Decision;
use crate::secret::Secret;
use crate::slot::Stored;
use crate::state::{LoadingAccount, Parting, Step, Trigger, Work, judge, start};
use crate::time::{Moment, MonoMillis};
use crate::wire::callback::Callback;

/// The authorization of one principal at one MCP server.
///
/// Feed it events with [`handle`](Self::handle), take work from [`poll_action`](Self::poll_action)
/// until there is none, and send [`Event::Timer`] at [`deadline`](Self::deadline). Nothing here
/// blocks, fails or panics; whatever is not expected changes nothing.
pub struct AuthMachine {
    pub(crate) core: Core,
    work: Work,
    inbox: VecDeque<Trigger>,
}

impl AuthMachine {
    /// A machine for one principal. It asks for the account slot at once, so that a token that is
    /// stored is found; a callback that another instance prepared can be handed in right away.
    pub fn new(config: impl Into<Arc<Config>>, principal: impl Into<Arc<str>>) -> Self {
        let identity = Identity::new(config.into(), principal.into());
        let mut core = Core::new(identity);
        let work = LoadingAccount::begin(&mut core, None);
        Self {
            core,
            work,
            inbox: VecDeque::new(),
        }
    }

    /// Takes note of an event. Never fails: what follows is in the actions.
    pub fn handle(&mut self, now: Moment, event: Event) {
        self.core.now = now;
        self.core.event = self.core.event.saturating_add(1);
        match event {
            Event::HttpResponse(reply) => {
                if reply.ticket.is_of(&self.core.owner) {
                    self.answer(reply.ticket.id(), Answer::Reply(reply.outcome));
                }
            }
            Event::SlotLoaded(loaded) => {
                if loaded.ticket.is_of(&self.core.owner) {
                    self.answer(loaded.ticket.id(), Answer::Loaded(loaded.found));
                }
            }
            Event::SlotPersisted(persisted) => {
                if persisted.ticket.is_of(&self.core.owner) {
                    self.answer(persisted.ticket.id(), Answer::Persisted(persisted.outcome));
                }
            }
            Event::Signed(signed) => {
                if signed.ticket.is_of(&self.core.owner) {
                    self.answer(signed.ticket.id(), Answer::Signed(signed.token));
                }
            }
            Event::AssertionObtained(assertion) => {
                if assertion.ticket.is_of(&self.core.owner) {
                    self.answer(assertion.ticket.id(), Answer::Obtained(assertion.token));
                }
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

    /// The next piece of work, if there is any. Actions may be carried out in any order.
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.core.poll();
        if matches!(self.work, Work::Idle) && self.inbox.is_empty() && self.core.release() {
            self.inbox = VecDeque::new();
        }
        action
    }

    /// When [`Event::Timer`] is due, by the monotonic clock.
    pub fn deadline(&self) -> Option<MonoMillis> {
        let work = self.work.ask().map(|ask| ask.until);
        let user = self.core.waiting.as_ref().map(|waiting| waiting.rest.until);
        match (work, user) {
            (Some(work), Some(user)) => Some(work.min(user)),
            (work, user) => work.or(user),
        }
    }

    /// What the machine is doing.
    pub fn phase(&self) -> Phase {
        match (&self.work, &self.core.waiting) {
            (Work::Idle, None) => Phase::Resting,
            (Work::Idle, Some(_)) => Phase::AwaitingUser,
            (_, _) => Phase::Working(self.work.name()),
        }
    }

    /// The token that is held, whether or not it is over. `None` also before the account slot has been
    /// read.
    pub fn grant(&self) -> Option<Grant> {
        self.core.grant()
    }

    fn answer(&mut self, id: u64, answer: Answer) {
        if self.work.ask().is_none_or(|ask| ask.id != id) {
            return self.late(id, answer);
        }
        if let Answer::Reply(outcome) = &answer {
            self.core.watch.answered(id, outcome);
        }
        self.step(|work, core| match answer {
            Answer::Reply(outcome) => work.replied(core, outcome),
            Answer::Loaded(found) => work.loaded(core, found),
            Answer::Persisted(outcome) => work.persisted(core, outcome),
            Answer::Signed(token) => work.signed(core, token),
            Answer::Obtained(token) => work.obtained(core, token),
        });
    }

    /// An answer that came after the user had signed out: what it brings is revoked (REFR-12).
    fn late(&mut self, id: u64, answer: Answer) {
        let parting = self.core.parting.take_if(|parting| parting.id == id);
        if let (Some(parting), Answer::Reply(outcome)) = (parting, answer)
            && let Some(at) = parting.granted(&mut self.core, outcome)
        {
            self.inbox.push_back(Trigger::Revoke(Box::new(at)));
        }
    }

    fn step(&mut self, step: impl FnOnce(Work, &mut Core) -> Step) {
        let work = std::mem::replace(&mut self.work, Work::Idle);
        match step(work, &mut self.core) {
            Ok(next) => self.work = next,
            Err(failure) => self.core.fail(failure),
        }
    }

    fn queue(&mut self, trigger: Trigger) {
        if self.inbox.len() < EVENTS_QUEUED {
            self.inbox.push_back(trigger);
        } else {
            self.core.report(|| Decision::EventDropped);
        }
    }

    /// A wish to authorize joins an attempt that is under way.
    fn authorize(&mut self, authorization: crate::event::Authorization) {
        let waits = |trigger: &Trigger| matches!(trigger, Trigger::Authorize(_));
        if self.work.attempt().is_none() && !self.inbox.iter().any(waits) {
            self.queue(Trigger::Authorize(Box::new(authorization)));
        }
    }

    /// The callback of our own authorization comes before anything else that waits (L04).
    fn came_back(&mut self, callback: Callback) {
        let state = callback.state();
        let own = match (&self.core.waiting, state) {
            (Some(waiting), Some(state)) => waiting.at.held().0.state.same(&state),
            (_, _) => false,
        };
        if own {
            self.inbox.push_front(Trigger::CameBack(callback));
        } else {
            self.queue(Trigger::CameBack(callback));
        }
    }

    /// Starts what waits, as far as it can be started.
    fn settle(&mut self) {
        loop {
            self.serve();
            if self.inbox.iter().any(Trigger::is_urgent) {
                self.give_way();
            }
            if !matches!(self.work, Work::Idle) {
                return;
            }
            let Some(trigger) = self.inbox.pop_front() else {
                return;
            };
            self.core.watch.begin();
            self.step(|_, core| start(core, trigger));
        }
    }

    /// A refusal of an older token is answered at once. Who wants any token waits for a renewal under
    /// way, unless that only waits itself.
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

    /// A renewal that waits goes to the end of the line.
    fn give_way(&mut self) {
        let work = std::mem::replace(&mut self.work, Work::Idle);
        if let Work::Pausing(pausing) = work {
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
        if self
            .core
            .waiting
            .as_ref()
            .is_some_and(|w| w.rest.until <= now)
        {
            self.end_waiting(Cause::OutOfPatience(Limited::UserTime));
        }
    }

    /// The user will not come back: the record is cleared, what is held stays.
    fn end_waiting(&mut self, cause: Cause) {
        let Some(waiting) = self.core.waiting.take() else {
            return;
        };
        self.core
            .persist(waiting.rest.slot, Some(waiting.rest.revision), None, None);
        let failure = Failure {
            operation: self.core.memory.operation.clone(),
            stage: Stage::Authorization,
            issuer: Some(waiting.at.issuer().clone()),
            cause,
            seen: Vec::new(),
        };
        self.core.fail(failure);
    }

    fn give_up(&mut self, how: Abandon) {
        let attempts = self.core.waiting.is_some() || self.work.attempt().is_some();
        if attempts {
            self.core.declined();
            self.core.memory.give_back();
        }
        self.inbox
            .retain(|trigger| !matches!(trigger, Trigger::Authorize(_)));
        self.end_waiting(Cause::Abandoned);
        if let Some(operation) = self.work.attempt() {
            let failure = attempt_failure(operation.cloned());
            self.drop_work();
            self.core.fail(failure);
        }
        match how {
            Abandon::Cancelled => {}
            // After whatever is under way, which may just be using the registration.
            Abandon::ResetRegistration => {
                self.core.memory.registers_anew = true;
                let resets = |trigger: &Trigger| matches!(trigger, Trigger::Reset);
                if !self.inbox.iter().any(resets) {
                    self.inbox.push_front(Trigger::Reset);
                }
            }
        }
    }

    /// Drops what is under way. A secret record that is just being written is cleared after it.
    fn drop_work(&mut self) {
        if let Some((slot, revision)) = self.work.being_written(&self.core) {
            self.core.persist(slot, Some(revision), None, None);
        }
        self.work = Work::Idle;
    }

    /// Forgets everything held; answers still under way are discarded (REFR-12).
    fn sign_out(&mut self) {
        // What is to be erased or revoked already still is.
        self.inbox
            .retain(|trigger| matches!(trigger, Trigger::SignOut(_) | Trigger::Revoke(_)));
        let waits = |trigger: &Trigger| matches!(trigger, Trigger::SignOut(_));
        if self.work.is_signing_out() || self.inbox.iter().any(waits) {
            return;
        }
        let unsaved = self.core.held.unsaved.take().map(|unsaved| unsaved.at);
        let mut known = unsaved.or_else(|| self.core.held.at.take().map(Box::new));
        if let Work::Revoking(revoking) = &mut self.work {
            revoking.end();
        } else {
            if let Some((slot, revision)) = self.work.being_written(&self.core) {
                self.core.persist(slot, Some(revision), None, None);
            }
            let work = std::mem::replace(&mut self.work, Work::Idle);
            if let Work::SavingAccount(state) = work {
                known = Some(Box::new(state.into_account()));
            } else {
                self.core.parting = Parting::of(work).map(Box::new);
            }
        }
        if let Some(waiting) = self.core.waiting.take() {
            self.core
                .persist(waiting.rest.slot, Some(waiting.rest.revision), None, None);
        }
        self.core.memory = crate::memory::Memory::default();
        self.core.held.at = None;
        self.inbox.push_front(Trigger::SignOut(known));
    }
}

fn attempt_failure(operation: Option<crate::event::Operation>) -> Failure {
    Failure {
        operation,
        stage: Stage::Authorization,
        issuer: None,
        cause: Cause::Abandoned,
        seen: Vec::new(),
    }
}

enum Answer {
    Reply(Outcome),
    Loaded(Result<Option<Stored>, ()>),
    Persisted(Persistence),
    Signed(Option<Secret>),
    Obtained(Option<(Secret, Option<SubjectTokenKind>)>),
}

/// What the machine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing.
    Resting,
    /// Waiting for the user at the browser; everything it needs is in a slot.
    AwaitingUser,
    /// Waiting for the answer to an action, in the state of this name.
    Working(&'static str),
}

impl Phase {
    /// The names that [`Phase::Working`] can carry.
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
