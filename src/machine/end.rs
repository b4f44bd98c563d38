//! Time that has passed, an authorization that the host abandons, and the sign-out.

use crate::budget::Limited;
use crate::callers::abandoned;
use crate::error::{Cause, Failure, Stage};
use crate::event::{Abandon, Operation};
use crate::state::{Trigger, Work};
use crate::suspended::{Doomed, Leaving, Parting, PartingGrant};

use super::AuthMachine;

impl AuthMachine {
    pub(super) fn time_passed(&mut self) {
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

    pub(super) fn give_up(&mut self, how: Abandon) {
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
        let then = self.work.then();
        let behind = then.and_then(|then| then.take_if(|then| then.is_of_a_person()));
        let queued = self.inbox.len() < queued || behind.is_some();
        self.end_waiting(Cause::Abandoned);
        if let Some(operation) = self.work.attempt() {
            let failure = abandoned(operation.cloned());
            self.drop_work();
            self.core.fail(failure);
        } else if queued && !attempts {
            self.core.fail(abandoned(None));
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
        let clicks =
            |trigger: &Trigger| trigger.is_of_a_person() || trigger.completes_an_authorization();
        let then = self.work.then().and_then(|then| then.as_deref());
        let behind = then.is_some_and(clicks);
        let queued = self.inbox.iter();
        let asked = self.work.attempt().map(Option::<&Operation>::cloned);
        let person = self.core.callers.has_person();
        let asked = asked.or(person.then_some(None)).or_else(|| {
            let under_way = self.work.completes_an_authorization();
            let click = under_way || behind || queued.clone().any(clicks);
            let click = click || self.core.waits_at().is_some();
            click.then(|| self.core.memory.operation.clone())
        });
        let mut waiting = self.core.callers.leave();
        for operation in queued.filter_map(Trigger::operation) {
            if !waiting.contains(operation) {
                waiting.push(operation.clone());
            }
        }
        if let Some(operation) = asked {
            let operation = operation.filter(|own| waiting.contains(own));
            waiting.retain(|other| Some(other) != operation.as_ref());
            self.core.tell(abandoned(operation));
        }
        self.core.abandon(waiting);
    }

    /// Handles a sign-out during another one, which may have read the slot before the user signed in elsewhere: one that waits is
    /// that of now, and one that has begun is followed by another.
    fn sign_out_again(&mut self) {
        let signed_out = self.core.now;
        for queued in &mut self.inbox {
            if let Trigger::SignOut(leaving) = queued {
                leaving.signed_out = signed_out;
                return;
            }
        }
        let doomed = Doomed::of(&mut self.core.memory.clients, false);
        let leaving = Leaving::new(doomed, signed_out);
        self.inbox.push_front(Trigger::SignOut(Box::new(leaving)));
    }

    /// Erases the account; pending results are discarded, and new tokens in them revoked (REFR-12). Pending erasures
    /// and revocations are kept, those of registrations included.
    pub(super) fn sign_out(&mut self) {
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
            return self.sign_out_again();
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
                // A late answer may have come meanwhile.
                let late = unsaved.replace(Box::new(state.into_account()));
                if let Some(late) = late {
                    let grant = PartingGrant::Discarded(late);
                    self.core.part(Parting { id: 0, grant });
                }
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
        let parted = std::mem::take(&mut self.core.parting).into_iter();
        self.core.parting = parted.map(Parting::after_sign_out).collect();
        self.core.memory = self.core.memory.after_sign_out();
        let leaving = Box::new(Leaving {
            known,
            unsaved,
            ..Leaving::new(doomed, self.core.now)
        });
        self.inbox.push_front(Trigger::SignOut(leaving));
    }
}
