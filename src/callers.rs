//! The callers that wait for a token. Each operation is answered once, under its own name: with `Ready`, `NeedUser` or
//! `Error` (USE-14).
//!
//! Where an operation is stored:
//!
//! - in its queued event, until the machine starts to work for it;
//! - in `Callers::current`, while the machine works for it;
//! - in `Shared::joined`, while it waits for the result of a pending authorization.
//!
//! When the machine becomes idle, every operation that is still in `Callers` receives the result of the last work.
//!
//! An error or a question names an operation only while that operation is in `Callers`. The reason: work may continue after
//! its caller was answered, and the attempts of an authorization are counted for the operation that led to it, which has
//! received `NeedUser` long before. An answer also serves the earlier, queued requests of its operation; a later request
//! is a new one.

use crate::account::Tokens;
use crate::action::{Action, NeedUser, Why};
use crate::budget::EVENTS_QUEUED;
use crate::error::{Cause, Failure, Stage};
use crate::event::Operation;
use crate::few::Few;
use crate::secret::Secret;
use crate::time::UnixMillis;

/// An operation that waits for an answer.
pub(crate) struct Caller {
    pub(crate) operation: Operation,
    /// The token that the MCP server refused for this operation: only another one answers it.
    pub(crate) refused: Option<Box<RefusedToken>>,
}

impl Caller {
    /// Returns true when these tokens answer the operation.
    fn is_served_by(&self, tokens: &Tokens) -> bool {
        let refused = self.refused.as_ref();
        refused.is_none_or(|refused| !refused.is(tokens))
    }
}

/// An access token that the MCP server refused.
pub(crate) struct RefusedToken {
    token: Secret,
    /// When this machine's account received it: a server may issue the same text again, and that is another token. `None` while
    /// the account holds no such token: then every token of this text counts as refused.
    received: Option<UnixMillis>,
}

impl RefusedToken {
    /// Returns the identity of a token that was refused, by the tokens that are stored.
    pub(crate) fn among(token: &Secret, stored: Option<&Tokens>) -> Box<Self> {
        let same = stored.filter(|stored| stored.access.secret().same(token.expose()));
        Box::new(Self {
            token: token.clone(),
            received: same.map(|stored| stored.received),
        })
    }

    /// Returns true when the access token of these is the refused one.
    fn is(&self, tokens: &Tokens) -> bool {
        let is_it = self.received.is_none_or(|at| at == tokens.received);
        is_it && tokens.access.secret().same(self.token.expose())
    }
}

/// The result of the work, for the callers that have received no answer during it.
enum Outcome {
    Failed(Failure),
    NeedsUser(Why),
}

/// The callers that wait for an answer, without the queued ones.
#[derive(Default)]
pub(crate) struct Callers {
    /// The caller for which the machine works; `None` if a person or a timer caused the work, and after the caller was
    /// answered.
    current: Option<Caller>,
    /// Whether an `Authorize` waits for a token of a grant without a user. It is answered by `Ready`, or by an error or a
    /// question without an operation.
    person: bool,
    /// Whether `Ready` was emitted since the queue was last checked against the answers.
    ready: bool,
    shared: Option<Box<Shared>>,
    /// The operations of the errors and questions since then.
    told: Few<Operation>,
}

/// The answers given, which also serve queued requests of the same operations.
pub(crate) struct Answers {
    /// The operations of errors and questions.
    operations: Few<Operation>,
    /// Whether `Ready` was among them.
    pub(crate) ready: bool,
}

impl Answers {
    /// Returns true when these answers serve a request of this operation; `refused`: with the stored token.
    pub(crate) fn serve(&self, operation: &Operation, refused: bool) -> bool {
        self.operations.contains(operation) || self.ready && !refused
    }
}

/// The callers that share the result of a pending authorization, and that result.
#[derive(Default)]
struct Shared {
    /// The callers that wait for the pending authorization, each operation once.
    joined: Vec<Caller>,
    /// The first result since the machine was idle.
    outcome: Option<Outcome>,
}

impl Callers {
    /// Begins work for this caller, or for none.
    pub(crate) fn begin(&mut self, caller: Option<Caller>) {
        self.current = caller;
    }

    /// Notes that an `Authorize` caused the work under way.
    pub(crate) fn person_waits(&mut self) {
        self.person = true;
    }

    /// Returns true when an `Authorize` waits for a token of a grant without a user.
    pub(crate) fn has_person(&self) -> bool {
        self.person
    }

    /// Removes the current caller, because its work is queued again. Returns false when there is none.
    pub(crate) fn set_aside(&mut self) -> bool {
        self.current.take().is_some()
    }

    /// Notes the token that the MCP server refused for the current operation; `None` if any token answers it.
    pub(crate) fn judged(&mut self, refused: Option<Box<RefusedToken>>) {
        if let Some(caller) = &mut self.current {
            caller.refused = refused;
        }
    }

    /// Returns the operation that the machine works for.
    pub(crate) fn current(&self) -> Option<&Operation> {
        self.current.as_ref().map(|caller| &caller.operation)
    }

    /// Returns true when this operation waits for an answer.
    pub(crate) fn has(&self, operation: &Operation) -> bool {
        self.current() == Some(operation) || self.joins(operation)
    }

    /// Returns true when a caller waits that these tokens answer.
    pub(crate) fn has_one_for(&self, tokens: &Tokens) -> bool {
        let mut waiting = self.current.iter().chain(self.joined());
        waiting.any(|caller| caller.is_served_by(tokens))
    }

    /// Returns true when this operation waits for the result of the pending authorization.
    pub(crate) fn joins(&self, operation: &Operation) -> bool {
        self.joined().any(|caller| caller.operation == *operation)
    }

    /// Returns the callers that wait for the result of the pending authorization.
    fn joined(&self) -> impl Iterator<Item = &Caller> {
        self.shared.iter().flat_map(|shared| &shared.joined)
    }

    /// Takes the answers since the last call, for the queue.
    #[inline]
    pub(crate) fn take_answers(&mut self) -> Option<Answers> {
        (self.ready || !self.told.is_empty()).then(|| Answers {
            operations: std::mem::take(&mut self.told),
            ready: std::mem::take(&mut self.ready),
        })
    }

    /// Returns true when no caller waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.current.is_none() && self.joined().next().is_none()
    }

    /// Returns true when no caller waits at the end of the work; then also drops the result.
    pub(crate) fn is_at_rest(&mut self) -> bool {
        let rests = self.is_empty();
        self.shared.take_if(|_| rests);
        rests
    }

    /// Marks all callers as answered by `Ready` with these tokens, except those for which the access token was refused.
    pub(crate) fn ready(&mut self, tokens: &Tokens) {
        self.current.take_if(|caller| caller.is_served_by(tokens));
        self.keep_joined(|caller| !caller.is_served_by(tokens));
        self.person = false;
        self.ready = true;
    }

    /// Marks the operation of this failure as answered, and keeps the failure as the result of the work.
    ///
    /// The failure of a callback or a revocation is never the answer to an `Authorize` of a grant without a user.
    pub(crate) fn failed(&mut self, failure: &Failure) {
        let is_of_other_work = matches!(failure.stage, Stage::Callback | Stage::Revocation);
        if failure.operation.is_some() || !is_of_other_work {
            self.answered(failure.operation.as_ref());
        }
        self.ends_with(|| Outcome::Failed(failure.clone()));
    }

    /// Marks the operation of this question as answered, and keeps the question as the result of the work.
    pub(crate) fn asked(&mut self, need: &NeedUser) {
        self.answered(need.operation.as_ref());
        self.ends_with(|| Outcome::NeedsUser(need.why.clone()));
    }

    /// Marks an operation as answered, with all its requests; for `None`, the `Authorize`.
    pub(crate) fn answered(&mut self, operation: Option<&Operation>) {
        if let Some(operation) = operation {
            self.current
                .take_if(|caller| caller.operation == *operation);
            self.keep_joined(|caller| caller.operation != *operation);
            self.told.push(operation.clone());
        } else {
            self.person = false;
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

    /// Makes the current caller wait for the pending authorization. Returns its operation when too many wait already.
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

    /// Drops the result of the work: what one caller was told is not the answer to the others.
    pub(crate) fn have_no_result(&mut self) {
        if let Some(shared) = &mut self.shared {
            shared.outcome = None;
        }
    }

    /// Returns the current caller; without one, makes one of those that wait for the pending authorization the current one.
    pub(crate) fn next_one(&mut self) -> Option<(Operation, Option<Secret>)> {
        let joined = self.shared.as_mut().map(|shared| &mut shared.joined);
        if let (None, Some(joined)) = (&self.current, joined)
            && !joined.is_empty()
        {
            self.current = Some(joined.remove(0));
        }
        let caller = self.current.as_ref()?;
        let refused = caller.refused.as_ref().map(|refused| refused.token.clone());
        Some((caller.operation.clone(), refused))
    }

    /// Removes and returns the callers that the work left without a result, because its token was refused for them or
    /// (`is_over`) has expired: they need another one.
    pub(crate) fn left_for_a_renewal(&mut self, is_over: bool) -> Vec<(Operation, Option<Secret>)> {
        let shared = self.shared.as_mut();
        let Some(shared) = shared.filter(|shared| shared.outcome.is_none()) else {
            return Vec::new();
        };
        let left = shared
            .joined
            .extract_if(.., |caller| is_over || caller.refused.is_some());
        let token = |refused: Box<RefusedToken>| refused.token;
        let left = left.map(|caller| (caller.operation, caller.refused.map(token)));
        left.collect()
    }

    /// Removes all callers that wait, and returns their answers: the result of the work.
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
        let waiting = self.leave();
        self.told.extend(waiting.iter().cloned());
        waiting.into_iter().map(answer).collect()
    }

    /// Removes and returns all operations that wait, each once, so that they can be answered.
    pub(crate) fn leave(&mut self) -> Vec<Operation> {
        let current = self.current.take().map(|caller| caller.operation);
        let joined = self.shared.take().map(|shared| shared.joined);
        let joined = joined.unwrap_or_default().into_iter();
        // The operation of the current request may also wait for the authorization.
        let others = joined.map(|caller| caller.operation);
        let others = others.filter(|other| current.as_ref() != Some(other));
        let others: Vec<_> = others.collect();
        current.into_iter().chain(others).collect()
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
