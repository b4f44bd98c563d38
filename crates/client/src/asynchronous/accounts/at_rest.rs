//! An account at rest: what its record says is read from the store, without a machine in the table.

use std::sync::Arc;

use http::HeaderValue;

use super::flights::Share;
use super::warm::{Key, cleared};
use super::{Accounts, Server, key};
use crate::async_store::read_from;
use crate::asynchronous::job::Stopped;
use crate::meter;
use crate::store::{StoreError, loaded};
use mcp_auth_machine::action::{Grant, NeedUser};
use mcp_auth_machine::event::Operation;
use mcp_auth_machine::slot::{Slot, Stored};
use mcp_auth_machine::{Action, AuthMachine, Event, Failure, StoredBearer};

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

/// A slot that was read.
type Known = (Slot, Result<Option<Stored>, StoreError>);

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
        // Callers that come after a change of the account share no read that began before the change.
        let changes = self.0.warm.changes(&key);
        let found = match self.0.reads.join(&key, changes) {
            Share::Lead(lead) => {
                let found = self.read(server, &key, operation, changes).await;
                lead.end(|| found.clone());
                found
            }
            Share::Follow(shared) => match shared.wait().await {
                Some(found) => found,
                None => self.read(server, &key, operation, changes).await,
            },
            Share::Alone => self.read(server, &key, operation, changes).await,
            Share::Full => {
                meter::busy();
                return Err(Stopped::Busy);
            }
        };
        found.told(operation)
    }

    /// Reads the account. `changes`: the number of its changes before the read.
    async fn read(
        &self,
        server: &Server,
        key: &Key,
        operation: &Operation,
        changes: Option<u64>,
    ) -> AtRest {
        let warm = &self.0.warm;
        let slot = Slot::account(&key.principal, server.url());
        // A principal without a name has no slot.
        let found = match &*key.principal {
            "" => None,
            _named => Some(read_from(&self.0.parts.store, slot).await),
        };
        let now = warm.now();
        // Most records need no machine.
        if let Some(Ok(Some(stored))) = &found
            && let Some(found) = StoredBearer::read(&server.config, &key.principal, stored, now)
        {
            let value = found.authorization;
            warm.publish_unchanged(key, value.clone(), found.expires, now, changes);
            return AtRest::Token(value);
        }
        let known = found.map(|found| (slot, found));
        // On the heap, as few callers need it.
        Box::pin(self.judge(server, key, operation, known, changes)).await
    }

    /// Has a machine judge the account that was read.
    async fn judge(
        &self,
        server: &Server,
        key: &Key,
        operation: &Operation,
        known: Option<Known>,
        changes: Option<u64>,
    ) -> AtRest {
        let warm = &self.0.warm;
        let now = warm.now();
        let mut machine = AuthMachine::new(server.config.clone(), Arc::clone(&key.principal), now);
        machine.handle(now, Event::Wanted(operation.clone()));
        match self.first_answer(&mut machine, known).await {
            Some(Action::Ready(grant)) => {
                let now = warm.now();
                let Ok(value) = machine.bearer(now, server.url()) else {
                    return AtRest::NeedsAMachine;
                };
                let cleared = cleared(&value);
                warm.publish_unchanged(key, cleared, grant.expires, now, changes);
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
        if let Some(Action::Error(failure)) = self.first_answer(&mut machine, None).await {
            return Err(Stopped::Failed(failure));
        }
        Ok(machine.grant())
    }

    /// Reads the slots that a machine asks for, up to its first action that is neither a read nor a report. One has been read
    /// already.
    async fn first_answer(
        &self,
        machine: &mut AuthMachine,
        mut known: Option<Known>,
    ) -> Option<Action> {
        loop {
            match machine.poll_action()? {
                Action::LoadSlot(load) => {
                    let slot = load.slot();
                    let found = match known.take() {
                        Some((own, found)) if own == slot => found,
                        Some(_) | None => read_from(&self.0.parts.store, slot).await,
                    };
                    let (loaded, trouble) = loaded(load, found);
                    #[cfg(feature = "tracing")]
                    if let Some(error) = &trouble {
                        tracing::warn!(%error);
                    }
                    drop(trouble);
                    machine.handle(self.0.warm.now(), loaded);
                }
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
}
