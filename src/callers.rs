//! The callers that wait for a token. Each operation is answered under its own name: with `Ready`, `NeedUser` or
//! `Error` (USE-14).
//!
//! A queued event keeps its operation itself. From then on the operation is kept here: while the machine works for
//! it, and while it waits for the result of a pending authorization. Whatever ends the work, an operation that is
//! still here when the machine comes to rest receives that result.

use crate::action::{Action, NeedUser, Why};
use crate::budget::EVENTS_QUEUED;
use crate::error::{Cause, Failure, Stage};
use crate::event::Operation;

/// An operation that waits for an answer.
pub(crate) struct Caller {
    pub(crate) operation: Operation,
    /// Whether the MCP server refused the stored token for it: then only another token answers it.
    pub(crate) refused: bool,
}

/// The result that ended the work, for the callers that it left without an answer.
enum Outcome {
    Failed(Failure),
    NeedsUser(Why),
}

/// The callers that wait, without the queued ones.
#[derive(Default)]
pub(crate) struct Callers {
    /// The caller that the machine works for.
    current: Option<Caller>,
    shared: Option<Box<Shared>>,
}

/// The callers that wait for the result of other work.
#[derive(Default)]
struct Shared {
    /// The callers that wait for the pending authorization, each operation once.
    joined: Vec<Caller>,
    /// The first result since the machine was at rest.
    outcome: Option<Outcome>,
}

impl Callers {
    /// The machine begins to work for this caller, or for none.
    pub(crate) fn begin(&mut self, caller: Option<Caller>) {
        self.current = caller;
    }

    /// The work for the current caller is queued again.
    pub(crate) fn set_aside(&mut self) {
        self.current = None;
    }

    /// Whether the MCP server refused the stored token for the operation that the machine works for.
    pub(crate) fn judged(&mut self, operation: &Operation, refused: bool) {
        self.current = Some(Caller {
            operation: operation.clone(),
            refused,
        });
    }

    /// Another token is stored now, or none.
    pub(crate) fn token_changed(&mut self) {
        if let Some(caller) = &mut self.current {
            caller.refused = false;
        }
        for caller in self.shared.iter_mut().flat_map(|shared| &mut shared.joined) {
            caller.refused = false;
        }
    }

    /// Returns the operation that the machine works for.
    pub(crate) fn current(&self) -> Option<&Operation> {
        self.current.as_ref().map(|caller| &caller.operation)
    }

    /// Returns true when this operation waits for an answer.
    pub(crate) fn has(&self, operation: &Operation) -> bool {
        let joined = self.shared.iter().flat_map(|shared| &shared.joined);
        let mut waiting = self.current.iter().chain(joined);
        waiting.any(|caller| caller.operation == *operation)
    }

    /// Returns true when no caller waits.
    pub(crate) fn is_empty(&self) -> bool {
        let shared = self.shared.as_ref();
        self.current.is_none() && shared.is_none_or(|shared| shared.joined.is_empty())
    }

    /// Returns true when no caller waits at the end of the work.
    pub(crate) fn is_at_rest(&mut self) -> bool {
        let rests = self.is_empty();
        self.shared.take_if(|_| rests);
        rests
    }

    /// `Ready` answers all callers, except those for which the stored token was refused.
    pub(crate) fn ready(&mut self) {
        self.current.take_if(|caller| !caller.refused);
        self.keep_joined(|caller| caller.refused);
    }

    /// A failure answers its operation.
    pub(crate) fn failed(&mut self, failure: &Failure) {
        self.answered(failure.operation.as_ref());
        self.ends_with(|| Outcome::Failed(failure.clone()));
    }

    /// A question answers its operation.
    pub(crate) fn asked(&mut self, need: &NeedUser) {
        self.answered(need.operation.as_ref());
        self.ends_with(|| Outcome::NeedsUser(need.why.clone()));
    }

    fn answered(&mut self, operation: Option<&Operation>) {
        if let Some(operation) = operation {
            self.current
                .take_if(|caller| caller.operation == *operation);
            self.keep_joined(|caller| caller.operation != *operation);
        }
    }

    fn keep_joined(&mut self, keep: impl FnMut(&Caller) -> bool) {
        if let Some(shared) = &mut self.shared {
            shared.joined.retain(keep);
        }
    }

    fn ends_with(&mut self, outcome: impl FnOnce() -> Outcome) {
        if !self.is_empty() {
            let shared = self.shared.get_or_insert_default();
            shared.outcome.get_or_insert_with(outcome);
        }
    }

    /// The current caller waits for the pending authorization. Returns its operation when too many wait already.
    pub(crate) fn join(&mut self) -> Option<Operation> {
        let caller = self.current.take();
        let other = |joined: &Caller| {
            let caller = caller.as_ref();
            caller.is_none_or(|caller| caller.operation != joined.operation)
        };
        self.keep_joined(other);
        if let Some(shared) = &mut self.shared {
            shared.outcome = None;
        }
        let caller = caller?;
        let shared = self.shared.get_or_insert_default();
        if shared.joined.len() >= EVENTS_QUEUED {
            return Some(caller.operation);
        }
        shared.joined.push(caller);
        None
    }

    /// Returns the answers to all callers that wait: the result that ended the work.
    pub(crate) fn answers(&mut self) -> Vec<Action> {
        let shared = self.shared.as_mut();
        let outcome = shared.and_then(|shared| shared.outcome.take());
        let answer = |operation| match &outcome {
            Some(Outcome::NeedsUser(why)) => Action::NeedUser(NeedUser {
                why: why.clone(),
                operation: Some(operation),
            }),
            Some(Outcome::Failed(failure)) => Action::Error(Box::new(Failure {
                operation: Some(operation),
                ..failure.clone()
            })),
            None => Action::Error(Box::new(abandoned(Some(operation)))),
        };
        self.leave().into_iter().map(answer).collect()
    }

    /// Takes out all operations that wait, to answer them.
    pub(crate) fn leave(&mut self) -> Vec<Operation> {
        let joined = self.shared.take().map(|shared| shared.joined);
        let joined = joined.unwrap_or_default().into_iter();
        let waiting = self.current.take().into_iter().chain(joined);
        waiting.map(|caller| caller.operation).collect()
    }
}

/// Returns the failure of an operation whose attempt was cancelled.
pub(crate) fn abandoned(operation: Option<Operation>) -> Failure {
    Failure {
        operation,
        stage: Stage::Authorization,
        issuer: None,
        cause: Cause::Abandoned,
        seen: Vec::new(),
    }
}
