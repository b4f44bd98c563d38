//! The queue: events of callers (`Wanted`, `Challenged`), `Authorize` and callbacks wait here until the work before them is
//! done.

use std::collections::VecDeque;

use crate::budget::{CALLBACKS_QUEUED, EVENTS_QUEUED};
use crate::callers::Caller;
use crate::core::Core;
use crate::error::{Cause, Failure, Stage, StoreFlaw};
use crate::event::{Authorization, Where};
use crate::memory::Erasure;
use crate::report::Decision;
use crate::state::{Step, Trigger, Work, recall_reason, start, start_authorization};
use crate::suspended::{Doomed, Leaving, Renewal};
use crate::wire::callback::Callback;
use crate::wish::Click;

use super::AuthMachine;

impl AuthMachine {
    /// Queues the request of a caller. When the queue is full, drops the earlier of two requests of one operation; if no
    /// operation has two, answers this request with an error (USE-14).
    pub(super) fn queue(&mut self, trigger: Trigger) {
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

    /// Returns true when work may start at once: none is under way or queued.
    fn may_start(&self) -> bool {
        let idle = matches!(self.work, Work::Idle) && self.inbox.is_empty();
        idle && self.core.memory.erasure == Erasure::Done
    }

    /// Starts work at once if none is under way or queued, so that the queue allocates no memory; otherwise queues it.
    fn take_on(&mut self, trigger: Trigger) {
        if self.may_start() && !trigger.is_served(&self.core) {
            self.rest(false);
            self.drop_answered();
            self.begin(trigger);
        } else {
            self.inbox.push_back(trigger);
        }
    }

    /// Drops a queued request whose operation has another request in the queue, or makes this one: one for any token if there is
    /// one, otherwise the earlier one. Returns true if there was such a request.
    fn drop_repeated(&mut self, incoming: &Trigger) -> bool {
        let callers = self.inbox.iter().enumerate();
        let callers = callers.filter(|(_, queued)| queued.is_of_a_caller());
        let has_another = |(at, queued): &(usize, &Trigger)| {
            let others = callers.clone().filter(|(other, _)| other != at);
            let mut others = others.map(|(_, other)| other).chain([incoming]);
            others.any(|other| other.operation() == queued.operation())
        };
        let mut repeated = callers.clone().filter(has_another);
        let mut contents = repeated.clone();
        let content = contents.find(|(_, queued)| matches!(queued, Trigger::Wanted(_)));
        let at = content.or_else(|| repeated.next()).map(|(at, _)| at);
        at.is_some_and(|at| self.inbox.remove(at).is_some())
    }

    /// Queues an `Authorize`. If an attempt is under way that fits it, the `Authorize` joins that attempt instead.
    pub(super) fn authorize(&mut self, mut authorization: Authorization) {
        if self.core.config().other_devices {
            authorization.on = Where::OtherDevice;
        }
        let click = Click::new(&mut self.core.memory.question, authorization);
        if let Some(asked) = &click.authorization.answers {
            recall_reason(&mut self.core, &asked.why);
        }
        for trigger in &mut self.inbox {
            if let Trigger::Authorize(waits) = trigger {
                return waits.join(click);
            }
        }
        if let Work::LoadingAccount(state) = &mut self.work
            && let Some(waits) = state.click()
        {
            return waits.join(click);
        }
        let behind = self.work.then().and_then(Option::as_deref_mut);
        if let Some(waits) = behind.and_then(Trigger::click) {
            return waits.join(click);
        }
        let wanted = &click.authorization;
        let demanded = self.core.memory.demanded.all();
        let scopes = wanted
            .scopes
            .as_ref()
            .or(demanded.filter(|_| click.for_scopes));
        let config = self.core.identity.config();
        if let Some(attempt) = self.work.uncounted() {
            attempt.wish = attempt.wish.joined_by(click.wish());
        }
        let elsewhere = !self.work.serves(wanted, scopes, config);
        // A device code is shown again for it, between two polls.
        let polls = matches!(self.work, Work::Polling(_));
        if self.work.attempt().is_some() && !elsewhere && !polls {
            return;
        }
        if self.may_start() {
            self.rest(false);
            self.drop_answered();
            self.begin_for(None, |core| start_authorization(core, click));
        } else {
            self.inbox.push_back(Trigger::Authorize(Box::new(click)));
        }
    }

    /// Queues a callback; one whose `state` matches the pending authorization jumps the queue (L04).
    pub(super) fn came_back(&mut self, callback: Callback) {
        // In an empty queue its position does not matter.
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

    /// Starts queued work until the machine waits for an event, or the queue is empty.
    pub(super) fn settle(&mut self) {
        loop {
            self.drop_answered();
            if !self.inbox.is_empty() {
                self.serve();
                self.drop_answered();
                if self.inbox.iter().any(Trigger::is_urgent) {
                    self.give_way();
                }
            }
            if !matches!(self.work, Work::Idle) {
                return;
            }
            let elsewhere = |trigger: &Trigger| matches!(trigger, Trigger::TakenElsewhere(_));
            let awaits = self.inbox.iter().any(elsewhere);
            self.rest(awaits);
            self.drop_answered();
            let discarded = |core: &mut Core| core.take_discarded().map(Trigger::Revoke);
            let trigger = self.next_trigger();
            let Some(trigger) = trigger.or_else(|| discarded(&mut self.core)) else {
                return;
            };
            self.begin(trigger);
        }
    }

    /// Answers the callers that are left when no work is under way. Queues a renewal for each one that needs another token
    /// than the work has brought.
    fn rest(&mut self, elsewhere: bool) {
        for (operation, refused) in self.core.rest(elsewhere) {
            let renewal = Renewal::of_a_caller(&self.core, operation, refused);
            self.inbox.push_back(Trigger::Renew(renewal));
        }
    }

    fn begin(&mut self, trigger: Trigger) {
        let caller = trigger.caller(&self.core);
        self.begin_for(caller, |core| start(core, trigger));
    }

    fn begin_for(&mut self, caller: Option<Caller>, work: impl FnOnce(&mut Core) -> Step) {
        self.core.watch.begin();
        self.core.callers.begin(caller);
        self.step(|_, core| work(core));
    }

    /// Takes the next queued work. An erasure that the store did not confirm is repeated first; while it fails, the account is
    /// not used (REV-03).
    fn next_trigger(&mut self) -> Option<Trigger> {
        let ends = |trigger: &Trigger| matches!(trigger, Trigger::SignOut(_) | Trigger::Revoke(_));
        if !self.inbox.front().is_none_or(ends) {
            match self.core.memory.erasure {
                Erasure::Done => {}
                Erasure::Failed(remnant) => {
                    let doomed = Doomed::of(&mut self.core.memory.clients, false);
                    let leaving = Leaving {
                        only: Some(remnant),
                        ..Leaving::new(doomed, remnant.signed_out)
                    };
                    return Some(Trigger::SignOut(Box::new(leaving)));
                }
                Erasure::FailedAgain(remnant) => {
                    self.core.memory.erasure = Erasure::Failed(remnant);
                    let flaw = match remnant.revision {
                        Some(_) => StoreFlaw::Write,
                        None => StoreFlaw::Load,
                    };
                    let queued = std::mem::take(&mut self.inbox);
                    let (stay, end) = queued.into_iter().partition::<VecDeque<_>, _>(ends);
                    self.inbox = stay;
                    let mut told = Vec::new();
                    for trigger in end {
                        let operation = trigger.operation().cloned();
                        if operation.is_some() && told.contains(&operation) {
                            continue;
                        }
                        told.push(operation.clone());
                        self.core.tell(Failure {
                            operation,
                            stage: Stage::Slots,
                            issuer: None,
                            cause: Cause::NotPersisted(flaw),
                            seen: Vec::new(),
                        });
                    }
                    self.drop_answered();
                }
            }
        }
        self.inbox.pop_front()
    }

    /// Answers queued requests that the stored token already satisfies: a challenge to an older token at once; a token
    /// request only after a `Ready` in this event, or while a refresh is paused.
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

    /// Drops the queued requests that the last answers also serve (USE-14). Exception: a refresh,
    /// or a token request without a user, that is due or has begun stays queued without a caller.
    fn drop_answered(&mut self) {
        let Some(answers) = self.core.callers.take_answers() else {
            return;
        };
        let core = &self.core;
        let mut renews = self.inbox.iter().any(Trigger::renews_for_nobody);
        self.inbox.retain_mut(|trigger| {
            let operation = trigger.operation();
            let refused = trigger.refuses_the_stored_token(core);
            let served = operation.is_some_and(|own| answers.serve(own, refused));
            !served || trigger.goes_on(core, answers.ready, &mut renews)
        });
    }

    /// Moves a paused refresh to the end of the queue.
    fn give_way(&mut self) {
        let work = std::mem::replace(&mut self.work, Work::Idle);
        if let Work::Pausing(mut pausing) = work {
            if !self.core.callers.set_aside() {
                pausing.then.waits_no_more();
            }
            self.inbox.push_back(pausing.then);
            self.inbox
                .make_contiguous()
                .sort_by_key(|trigger| !trigger.is_urgent());
        } else {
            self.work = work;
        }
    }
}
