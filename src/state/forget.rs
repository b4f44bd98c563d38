//! Forgetting a dynamic registration that the server does not know any more (TOK-19, QUIRK-14), with
//! the tokens that hang on it.

use crate::action::Why;
use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, Stage, StoreFlaw};
use crate::issuer::IssuerId;
use crate::record::read_registration;
use crate::slot::{Slot, Stored};
use crate::state::client::registration_slot;
use crate::state::save::{Kept, SavingAccount};
use crate::state::{Step, Work};

/// Reads the slot, so that only what is there is cleared.
pub(crate) struct ForgettingClient {
    pub(crate) ask: Ask,
    slot: Slot,
    issuer: IssuerId,
    redirect_uri: Box<str>,
    client_id: Box<str>,
}

impl ForgettingClient {
    pub(crate) fn begin(
        core: &mut Core,
        issuer: &IssuerId,
        redirect_uri: &str,
        client_id: &str,
    ) -> Work {
        core.memory.client_forgotten = true;
        let slot = registration_slot(core, issuer, redirect_uri);
        let ask = core.load(slot);
        Work::ForgettingClient(Self {
            ask,
            slot,
            issuer: issuer.clone(),
            redirect_uri: redirect_uri.into(),
            client_id: client_id.into(),
        })
    }

    pub(crate) fn loaded(self, core: &mut Core, found: Result<Option<Stored>, ()>) -> Step {
        match found {
            Ok(Some(stored)) => {
                let known = read_registration(&core.identity, &self.redirect_uri, &stored);
                let same = known.is_ok_and(|known| {
                    known.issuer() == &self.issuer
                        && known.is(|known| known.client.id == self.client_id)
                });
                if same {
                    // A registration that stays is found out again, once.
                    core.persist(self.slot, Some(stored.revision), None, None);
                }
            }
            Ok(None) => {}
            Err(()) => {
                return Err(Failure {
                    operation: core.memory.operation.clone(),
                    stage: Stage::Registration,
                    issuer: Some(self.issuer),
                    cause: Cause::NotPersisted(StoreFlaw::Load),
                });
            }
        }
        let bound = core.held.at.as_ref().filter(|at| {
            let account = at.held();
            at.issuer() == &self.issuer
                && account.client.id == self.client_id
                && account.tokens.is_some()
        });
        if let Some(at) = bound {
            let without = at.clone().then(|mut account| {
                account.tokens = None;
                account
            });
            return Ok(SavingAccount::begin(core, without, Kept::ClientForgotten));
        }
        let operation = core.memory.operation.clone();
        core.need_user(Why::ClientForgotten, operation);
        Ok(Work::Idle)
    }
}
