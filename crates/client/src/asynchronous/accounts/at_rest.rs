//! An account at rest: what its record says is read from the store, without a machine in the table.

use http::HeaderValue;

use super::flights::{Turn, end_of};
use super::{Accounts, Server, key};
use crate::async_store::load_from;
use crate::asynchronous::job::Stopped;
use crate::clock::now;
use crate::meter;
use mcp_auth_machine::action::{Grant, LoadSlot};
use mcp_auth_machine::event::Operation;
use mcp_auth_machine::{Action, AuthMachine, Event};

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
        Box::pin(self.read(server, principal, operation)).await
    }

    async fn read(
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
            end_of(judged).await;
            return Ok(self.token(server, principal));
        }
        let _lead = match self.0.reads.join(&key, ()) {
            Turn::Others(ended) => {
                end_of(ended).await;
                if let Some(value) = self.token(server, principal) {
                    return Ok(Some(value));
                }
                None
            }
            turn @ (Turn::Mine(_) | Turn::Alone) => Some(turn),
            Turn::Full => {
                meter::busy();
                return Err(Stopped::Busy);
            }
        };
        let changes = self.0.warm.changes(&key);
        let mut machine = AuthMachine::new(server.config.clone(), principal);
        machine.handle(now(), Event::Wanted(operation.clone()));
        while let Some(action) = machine.poll_action() {
            match action {
                Action::LoadSlot(load) => self.loads(&mut machine, load).await,
                Action::Ready(grant) => {
                    let now = now();
                    let value = machine.bearer(now, server.url()).ok();
                    if let Some(value) = &value {
                        let warm = &self.0.warm;
                        warm.publish_unchanged(&key, value, grant.expires, now, changes);
                    }
                    return Ok(value);
                }
                Action::NeedUser(need) => {
                    meter::user_is_needed(&need);
                    return Err(Stopped::NeedUser(need));
                }
                Action::Error(failure) => {
                    meter::failed(&failure);
                    return Err(Stopped::Failed(failure));
                }
                // The machine of the table does what is needed.
                Action::SendRequest(_)
                | Action::PersistSlot(_)
                | Action::Sign(_)
                | Action::ObtainAssertion(_)
                | Action::Redirect(_)
                | Action::ShowCode(_) => return Ok(None),
                Action::Report(_) => {}
            }
        }
        Ok(None)
    }

    /// Returns the stored token without its value.
    pub(super) async fn read_grant(
        &self,
        server: &Server,
        principal: &str,
    ) -> Result<Option<Grant>, Stopped> {
        let mut machine = AuthMachine::new(server.config.clone(), principal);
        while let Some(action) = machine.poll_action() {
            match action {
                Action::LoadSlot(load) => self.loads(&mut machine, load).await,
                Action::Error(failure) => return Err(Stopped::Failed(failure)),
                Action::SendRequest(_)
                | Action::Redirect(_)
                | Action::ShowCode(_)
                | Action::PersistSlot(_)
                | Action::Sign(_)
                | Action::ObtainAssertion(_)
                | Action::NeedUser(_)
                | Action::Ready(_)
                | Action::Report(_) => {}
            }
        }
        Ok(machine.grant())
    }

    async fn loads(&self, machine: &mut AuthMachine, load: LoadSlot) {
        let (loaded, trouble) = load_from(&self.0.parts.store, load).await;
        #[cfg(feature = "tracing")]
        if let Some(error) = &trouble {
            tracing::warn!(%error);
        }
        drop(trouble);
        machine.handle(now(), loaded);
    }
}
