//! Sign-out: the account is erased first, even when later steps fail, then its tokens are revoked where the
//! server supports revocation (REV). A crash in between leaves no usable token in the store.

use crate::account::Account;
use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, Stage, StoreFlaw};
use crate::event::{Outcome, Persistence};
use crate::issuer::AtIssuer;
use crate::memory::Erasure;
use crate::record::{AccountAsRead, read_account};
use crate::slot::{Revision, Stored};
use crate::state::{Step, Trigger, Work, wait_in};
use crate::suspended::{Leaving, Parting, PartingGrant};

/// How many times the erasure is attempted against concurrent writes of other processes.
const WRITES: u8 = 3;

impl Leaving {
    /// Takes over the contents of the slot, which are those of the known account or newer ones.
    fn finds(&mut self, core: &Core, stored: &Stored) {
        let Ok(AccountAsRead { at, .. }) = read_account(&core.identity, stored) else {
            return;
        };
        let at = match &self.known {
            Some(known) => at.confined_to(known.server()),
            None => at,
        };
        self.doomed.meets(&at);
        let tokens = at.held().tokens.as_ref();
        // The write of the unsaved tokens may have succeeded.
        let same = |unsaved: &mut Box<AtIssuer<Account>>| {
            let unsaved = unsaved.held().tokens.as_ref();
            unsaved
                .zip(tokens)
                .is_some_and(|(unsaved, stored)| stored.is(&unsaved.access, unsaved.received))
        };
        let _stored = self.unsaved.take_if(same);
        if tokens.is_some() || self.known.is_none() {
            self.known = Some(Box::new(at));
        }
    }
}

/// Reads the slot, to erase and revoke its contents.
pub(crate) struct FindingAccount {
    pub(crate) ask: Ask,
    leaving: Box<Leaving>,
}

impl FindingAccount {
    pub(crate) fn begin(core: &mut Core, leaving: Box<Leaving>) -> Work {
        let slot = core.account_slot();
        let ask = core.load(slot);
        Work::FindingAccount(Self { ask, leaving })
    }

    pub(crate) fn loaded(self, core: &mut Core, found: Result<Option<Stored>, ()>) -> Step {
        let mut leaving = self.leaving;
        match found {
            Ok(Some(stored)) if leaving.only.is_some_and(|only| only != stored.revision) => {
                finish(core, *leaving, None)
            }
            Ok(Some(stored)) => {
                let revision = stored.revision;
                leaving.finds(core, &stored);
                wait_in(Erasing::begin(core, leaving, revision, WRITES))
            }
            Ok(None) => finish(core, *leaving, None),
            Err(()) => match leaving.only.or(core.held.revision) {
                // Unreadable, but possibly erasable.
                Some(revision) => wait_in(Erasing::begin(core, leaving, revision, WRITES)),
                None => {
                    let unknown = leaving.only;
                    finish(core, *leaving, Some((StoreFlaw::Load, unknown)))
                }
            },
        }
    }
}

/// Clears the slot.
pub(crate) struct Erasing {
    pub(crate) ask: Ask,
    leaving: Box<Leaving>,
    revision: Revision,
    writes_left: u8,
}

impl Erasing {
    fn begin(core: &mut Core, leaving: Box<Leaving>, revision: Revision, writes_left: u8) -> Work {
        let slot = core.account_slot();
        let ask = core.persist(slot, Some(revision), None, None);
        Work::Erasing(Self {
            ask,
            leaving,
            revision,
            writes_left: writes_left.saturating_sub(1),
        })
    }

    pub(crate) fn persisted(self, core: &mut Core, outcome: Persistence) -> Step {
        let flaw = match outcome {
            Persistence::Done | Persistence::Conflict(None) => None,
            Persistence::Conflict(Some(_)) if self.leaving.only.is_some() => None,
            Persistence::Conflict(Some(stored)) if self.writes_left > 0 => {
                let mut leaving = self.leaving;
                leaving.finds(core, &stored);
                return wait_in(Self::begin(
                    core,
                    leaving,
                    stored.revision,
                    self.writes_left,
                ));
            }
            Persistence::Conflict(Some(_)) => Some(StoreFlaw::Conflict),
            Persistence::Failed => Some(StoreFlaw::Write),
        };
        let flaw = flaw.map(|flaw| (flaw, Some(self.revision)));
        finish(core, *self.leaving, flaw)
    }
}

impl Parting {
    /// Returns the token request of a dropped state, if it has one.
    pub(crate) fn of(work: Work) -> Option<Self> {
        let (ask, grant) = if let Work::Exchanging(state) = work {
            let (ask, at) = state.into_grant();
            (ask, PartingGrant::Code(at))
        } else if let Work::Polling(state) = work {
            let (ask, at) = state.into_grant();
            (ask, PartingGrant::Device(at))
        } else if let Work::Refreshing(state) = work {
            let (ask, at) = state.into_grant();
            (ask, PartingGrant::Refresh(at))
        } else if let Work::Requesting(state) = work {
            let (ask, at) = state.into_grant();
            (ask, PartingGrant::Machine(at))
        } else {
            return None;
        };
        Some(Self { id: ask.id, grant })
    }

    /// Returns what is to be done with the tokens of a late response: those that arrive after a sign-out are revoked
    /// (REFR-12), those of an overdue refresh are saved.
    pub(crate) fn answered(self, core: &mut Core, outcome: Outcome) -> Option<Trigger> {
        let at = match self.grant {
            PartingGrant::Overdue(overdue) => {
                let late = overdue.answered(core, outcome)?;
                return Some(Trigger::Save(Some(Box::new(late))));
            }
            PartingGrant::Code(at) => at.late(core, outcome),
            PartingGrant::Device(at) => at.late(core, outcome),
            PartingGrant::Refresh(at) => at.late(core, outcome),
            PartingGrant::Machine(at) => at.late(core, outcome),
            PartingGrant::Discarded(at) => Some(*at),
        };
        Some(Trigger::Revoke(Box::new(at?)))
    }

    /// After a sign-out the tokens of an overdue refresh are revoked, like those of any other.
    pub(crate) fn after_sign_out(self) -> Self {
        if let PartingGrant::Overdue(overdue) = self.grant {
            let grant = PartingGrant::Refresh(overdue.at);
            Self { grant, ..self }
        } else {
            self
        }
    }
}

/// Erases the registrations and revokes the tokens, whether the slot was erased or not.
fn finish(core: &mut Core, leaving: Leaving, flaw: Option<(StoreFlaw, Option<Revision>)>) -> Step {
    let Leaving {
        known,
        unsaved,
        mut doomed,
        only,
    } = leaving;
    let accounts = [unsaved, known].into_iter().flatten();
    let accounts: Vec<_> = accounts.map(|at| *at).collect();
    for at in &accounts {
        doomed.meets(at);
    }
    core.held = crate::core::Held::erased(core.event, core.now.mono);
    if only.is_some() {
        // Another process may have written since.
        core.held.read_at = None;
    }
    core.memory.erasure = match flaw.and_then(|(_, revision)| revision) {
        None => Erasure::Done,
        Some(revision) if only.is_some() => Erasure::FailedAgain(revision),
        Some(revision) => Erasure::Failed(revision),
    };
    if let Some((flaw, _)) = flaw {
        core.held.read_at = None;
        core.fail(Failure {
            operation: None,
            stage: Stage::Slots,
            issuer: accounts.first().map(|at| at.issuer().clone()),
            cause: Cause::NotPersisted(flaw),
            seen: Vec::new(),
        });
    }
    doomed.forget(core, accounts)
}
