//! Answers to the callers: `Ready`, `Error` or `NeedUser`.

use std::time::Duration;

use crate::action::{Action, Grant, NeedUser, Why};
use crate::budget::Limited;
use crate::callers::abandoned;
use crate::error::{Cause, Failure, Stage};
use crate::event::Operation;
use crate::secret::Secret;
use crate::wish::Wish;

use super::Core;

impl Core {
    /// Erases the cached documents that the attempt used, for all processes, because they may be the cause of its
    /// failure.
    pub(crate) fn distrust(&mut self) {
        for (slot, revision) in self.memory.distrust() {
            self.persist(slot, Some(revision), None, None);
        }
    }

    /// Starts the back-off after a failed refresh. The next refresh first fetches the server's metadata, uncached
    /// (META-18).
    pub(crate) fn refresh_failed(&mut self, retry_after: Option<Duration>, cause: &Cause) {
        self.memory.rest.failed(self.now, retry_after, cause);
        self.distrust();
    }

    /// Fails an authorization, or work for which no operation waits. The failure keeps its operation only if that operation
    /// waits for the authorization (USE-14).
    pub(crate) fn fail(&mut self, failure: Failure) {
        let operation = failure.operation.filter(|own| self.callers.joins(own));
        self.tell(Failure {
            operation,
            ..failure
        });
    }

    /// Emits a failure with the requests of its stage.
    pub(crate) fn tell(&mut self, mut failure: Failure) {
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

    /// Fails the work for the current caller, if one waits for it.
    pub(crate) fn fail_current(&mut self, failure: Failure) {
        match self.callers.current().cloned() {
            None => self.fail(failure),
            current @ Some(_) => self.tell(Failure {
                operation: current,
                ..failure
            }),
        }
    }

    /// Fails these operations with `Abandoned`, because their work has ended.
    pub(crate) fn abandon(&mut self, operations: Vec<Operation>) {
        for operation in operations {
            self.tell(abandoned(Some(operation)));
        }
    }

    /// Fails an operation because too many others wait already (USE-14).
    pub(crate) fn turn_away(&mut self, operation: Operation) {
        self.callers.answered(Some(&operation));
        self.emit(Action::Error(Box::new(Failure {
            operation: Some(operation),
            stage: Stage::Challenge,
            issuer: None,
            cause: Cause::OutOfPatience(Limited::Callers),
            seen: Vec::new(),
        })));
    }

    /// Answers the callers that the work left without an answer; called when no work is under way. They receive the result
    /// of the work. Exceptions: if an authorization is pending, here or (`elsewhere`) with its callback at another instance,
    /// they wait for its result (USE-14). Without a result, those that the stored token does not serve, because it was refused or
    /// has expired, are returned for a renewal, with the token that was refused.
    pub(crate) fn rest(&mut self, elsewhere: bool) -> Vec<(Operation, Option<Secret>)> {
        if self.callers.is_at_rest() {
            return Vec::new();
        }
        if elsewhere || self.waits_at().is_some() {
            let now = self.now.mono;
            if let Some(waiting) = &mut self.waiting {
                waiting.rest.look_soon(now);
            }
            if let Some(operation) = self.callers.join() {
                self.turn_away(operation);
            }
            return Vec::new();
        }
        let is_over = self.held.at.is_some() && !self.held.is_usable(self.now);
        let left = self.callers.left_for_a_renewal(is_over);
        for answer in self.callers.answers() {
            self.emit(answer);
        }
        left
    }

    /// Asks the user to sign in, because another process has signed out (REFR-12): for the operation that waits, or this one. The
    /// sign-out has also ended a pending authorization that began beside the account; one that did not continues, and its callers
    /// wait for it.
    pub(crate) fn signed_out_elsewhere(&mut self, operation: Option<Operation>) {
        let redirect = self.waiting.as_ref();
        let redirect = redirect.is_some_and(|waiting| waiting.at.held().0.beside_account);
        let device = self.device.as_ref();
        if redirect || device.is_some_and(|pending| pending.at.held().request.beside_account) {
            self.stop_waiting();
        }
        let waiting = self.callers.current().cloned();
        if self.waits_at().is_none() {
            self.need_user(Why::NoCredentials, waiting.or(operation));
        } else if waiting.is_some() {
            if let Some(operation) = self.callers.join() {
                self.turn_away(operation);
            }
        } else {
            self.need_user(Why::NoCredentials, None);
        }
    }

    pub(crate) fn need_user(&mut self, why: Why, operation: Option<Operation>) {
        let beside = self.held.is_usable(self.now);
        let asks_for_scopes = matches!(why, Why::ScopeMissing { .. });
        let lacks = asks_for_scopes && !self.has_what_was_demanded();
        self.memory.question.ask(&why, beside, lacks);
        self.put(why, operation);
    }

    /// Emits a question, which names its operation only if that operation waits for an answer (USE-14).
    fn put(&mut self, why: Why, operation: Option<Operation>) {
        let operation = operation.filter(|own| self.callers.has(own));
        let need = NeedUser { why, operation };
        self.callers.asked(&need);
        self.emit(Action::NeedUser(need));
    }

    /// Asks for the user in the middle of an authorization: the next `Authorize` continues it, for the same reason. An operation
    /// that waits for a redirect waits on until that one is replaced.
    pub(crate) fn need_consent(&mut self, why: Why, operation: Option<Operation>, wish: Wish) {
        let operation = operation.filter(|_| self.waits_at().is_none());
        let beside = self.held.is_usable(self.now);
        self.memory.question.ask_for(wish, beside);
        self.put(why, operation);
    }

    /// Returns true if `Ready` was emitted during this event.
    pub(crate) fn said_ready(&self) -> bool {
        self.said_ready == Some(self.event)
    }

    /// Emits `Ready`, once per event and never for an expired token.
    pub(crate) fn ready(&mut self) {
        let usable = self.held.is_usable(self.now);
        let Some(grant) = self.grant().filter(|_| usable) else {
            return;
        };
        let has_all = self.has_what_was_demanded();
        self.memory.question.answered_by_a_token(has_all);
        if let Some(tokens) = self.held.tokens() {
            self.callers.ready(tokens);
        }
        if !self.said_ready() {
            self.said_ready = Some(self.event);
            self.emit(Action::Ready(grant));
        }
    }

    /// Emits `Ready` if a caller waits whose request was not refused with the stored token.
    pub(crate) fn serve_others(&mut self) {
        let tokens = self.held.tokens();
        if tokens.is_some_and(|tokens| self.callers.has_one_for(tokens)) {
            self.ready();
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
            renewable: tokens.refresh.is_some() || !account.obtained.is_by_user(),
        })
    }
}
