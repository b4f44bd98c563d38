//! An account at rest: what its record says is read from the store, without a machine in the table.

use std::sync::Arc;

use http::HeaderValue;

use super::flights::Share;
use super::warm::Key;
use super::{Accounts, Server, key};
use crate::async_store::load_from;
use crate::asynchronous::job::Stopped;
use crate::meter;
use mcp_auth_machine::action::{Grant, LoadSlot, NeedUser};
use mcp_auth_machine::event::Operation;
use mcp_auth_machine::{Action, AuthMachine, Event, Failure};

/// The answer of an account record to a request for a token.
#[derive(Clone)]
pub(super) enum AtRest {
    /// A token that needs nothing.
    Token(HeaderValue),
    /// A machine is needed, for a refresh or a proof.
    NeedsAMachine,
    NeedsTheUser(NeedUser),
    Failed(Box<Failure>),
}

impl AtRest {
    /// Returns the answer to a caller with this operation.
    fn told(self, operation: &Operation) -> Result<Option<HeaderValue>, Stopped> {
        match self {
            Self::Token(value) => Ok(Some(value)),
            Self::NeedsAMachine => Ok(None),
            Self::NeedsTheUser(mut need) => {
                meter::user_is_needed(&need);
                need.operation = Some(operation.clone());
                Err(Stopped::NeedUser(need))
            }
            Self::Failed(mut failure) => {
                meter::failed(&failure);
                failure.operation = Some(operation.clone());
                Err(Stopped::Failed(failure))
            }
        }
    }
}

impl Accounts {
    /// Returns the stored token of an account that has no machine, where nothing has to be done for it, or the one that
    /// replaces a refused one. `None`: a machine is needed, for a refresh or a proof.
    ///
    /// # Errors
    /// [`Stopped::NeedUser`] without a token; [`Stopped::Failed`] when the store cannot be read; [`Stopped::Busy`];
    /// [`Stopped::Ended`].
    pub(super) async fn read_token(
        &self,
        server: &Server,
        principal: &str,
        operation: &Operation,
    ) -> Result<Option<HeaderValue>, Stopped> {
        // On the heap: the futures of callers with a token at hand stay small.
        Box::pin(self.read_shared(server, principal, operation)).await
    }

    async fn read_shared(
        &self,
        server: &Server,
        principal: &str,
        operation: &Operation,
    ) -> Result<Option<HeaderValue>, Stopped> {
        let key = key(server, principal);
        if self.0.table.has(&key)? {
            // A machine that judges a refused token will have another one at hand.
            let Some(judged) = self.0.refusals.under_way(&key) else {
                return Ok(None);
            };
            judged.wait().await;
            return Ok(self.token(server, principal));
        }
        let found = match self.0.reads.join(&key, ()) {
            Share::Lead(lead) => {
                let found = self.read(server, &key, operation).await;
                lead.end(|| found.clone());
                found
            }
            Share::Follow(shared) => match shared.wait().await {
                Some(found) => found,
                None => self.read(server, &key, operation).await,
            },
            Share::Alone => self.read(server, &key, operation).await,
            Share::Full => {
                meter::busy();
                return Err(Stopped::Busy);
            }
        };
        found.told(operation)
    }

    async fn read(&self, server: &Server, key: &Key, operation: &Operation) -> AtRest {
        let changes = self.0.warm.changes(key);
        let now = self.0.warm.now();
        let mut machine = AuthMachine::new(server.config.clone(), Arc::clone(&key.principal), now);
        machine.handle(now, Event::Wanted(operation.clone()));
        match self.first_answer(&mut machine).await {
            Some(Action::Ready(grant)) => {
                let now = self.0.warm.now();
                let Ok(value) = machine.bearer(now, server.url()) else {
                    return AtRest::NeedsAMachine;
                };
                let warm = &self.0.warm;
                warm.publish_unchanged(key, &value, grant.expires, now, changes);
                AtRest::Token(value)
            }
            Some(Action::NeedUser(need)) => AtRest::NeedsTheUser(need),
            Some(Action::Error(failure)) => AtRest::Failed(failure),
            // The machine of the table does what is needed.
            Some(
                Action::SendRequest(_)
                | Action::PersistSlot(_)
                | Action::Sign(_)
                | Action::ObtainAssertion(_)
                | Action::Redirect(_)
                | Action::ShowCode(_)
                | Action::LoadSlot(_)
                | Action::Report(_),
            )
            | None => AtRest::NeedsAMachine,
        }
    }

    /// Returns the stored token without its value.
    pub(super) async fn read_grant(
        &self,
        server: &Server,
        principal: &str,
    ) -> Result<Option<Grant>, Stopped> {
        let now = self.0.warm.now();
        let mut machine = AuthMachine::new(server.config.clone(), principal, now);
        if let Some(Action::Error(failure)) = self.first_answer(&mut machine).await {
            return Err(Stopped::Failed(failure));
        }
        Ok(machine.grant())
    }

    /// Reads the slots that a machine asks for, up to its first action that is neither a read nor a report.
    async fn first_answer(&self, machine: &mut AuthMachine) -> Option<Action> {
        loop {
            match machine.poll_action()? {
                Action::LoadSlot(load) => self.loads(machine, load).await,
                Action::Report(_) => {}
                answer @ (Action::Ready(_)
                | Action::NeedUser(_)
                | Action::Error(_)
                | Action::SendRequest(_)
                | Action::PersistSlot(_)
                | Action::Sign(_)
                | Action::ObtainAssertion(_)
                | Action::Redirect(_)
                | Action::ShowCode(_)) => return Some(answer),
            }
        }
    }

    async fn loads(&self, machine: &mut AuthMachine, load: LoadSlot) {
        let (loaded, trouble) = load_from(&self.0.parts.store, load).await;
        #[cfg(feature = "tracing")]
        if let Some(error) = &trouble {
            tracing::warn!(%error);
        }
        drop(trouble);
        machine.handle(self.0.warm.now(), loaded);
    }
}
