//! Sign-out: the account is erased first, even when later steps fail, then its tokens are revoked where the
//! server supports revocation (REV). A crash in between leaves no usable token in the store.

use crate::account::Account;
use crate::budget::CLOCKS_DIFFER;
use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, Stage, StoreFlaw};
use crate::event::{Outcome, Persistence};
use crate::issuer::AtIssuer;
use crate::memory::{Erasure, Remnant};
use crate::record::{AccountAsRead, read_account};
use crate::slot::{AuthorizationId, Revision, Stored};
use crate::state::{Step, Trigger, Work, wait_in};
use crate::suspended::{Leaving, Parting, PartingGrant};
use crate::time::{Moment, UnixMillis, millis};

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
            self.was_read = true;
        }
    }

    /// Returns true when the slot holds the account of a sign-in that came after the sign-out, because the store was slow, this
    /// process was suspended, or an earlier try failed.
    ///
    /// - The authorization that brought its tokens decides. The revision and the time of receipt do not, because another process
    ///   may have leased or refreshed the same tokens.
    /// - At a repetition, another authorization is a later one if the slot was read since the sign-out. Otherwise its time decides:
    ///   this process may not have known the account of which the user signed out, and a sign-in may have been under way.
    /// - An unreadable record is erased, since the user has signed out.
    fn spares(&self, core: &Core, stored: &Stored) -> bool {
        let only = self.only.as_ref();
        if only.is_some_and(|remnant| remnant.revision == Some(stored.revision)) {
            return false;
        }
        let Ok(AccountAsRead { at, .. }) = read_account(&core.identity, stored) else {
            return false;
        };
        let account = at.held();
        let earlier = only.and_then(|remnant| remnant.authorization);
        let known = self.authorization().or(earlier);
        if account.authorization.is_none() || account.authorization == known {
            return false;
        }
        let was_read = only.is_some_and(|remnant| self.was_read || remnant.was_read);
        known.is_some() && was_read || is_after(account.authorized, self.signed_out, core.now)
    }

    /// Returns the authorization that brought the known tokens.
    fn authorization(&self) -> Option<AuthorizationId> {
        let known = self.known.as_ref()?;
        known.held().authorization
    }

    /// Returns what is left of the account. At a repetition the time of the first sign-out counts.
    fn remnant(&self, core: &Core, revision: Option<Revision>) -> Remnant {
        let earlier = match core.memory.erasure {
            Erasure::Done => None,
            Erasure::Failed(earlier) | Erasure::FailedAgain(earlier) => Some(earlier),
        };
        let earlier = self.only.or(earlier);
        let known = earlier.and_then(|earlier| earlier.authorization);
        let was_read = earlier.is_some_and(|earlier| earlier.was_read);
        Remnant {
            revision: revision.or(self.only.and_then(|first| first.revision)),
            authorization: self.authorization().or(known),
            was_read: self.was_read || was_read,
            signed_out: self.signed_out,
        }
    }
}

/// Returns true if the user signed in at this time after the sign-out, whatever the clocks show: those of two hosts differ by
/// up to [`CLOCKS_DIFFER`], and the wall clock may have been behind at the sign-out, and set since. A sign-in within that time
/// is erased too, since the user must not stay signed in; so is one whose time is that far in the future.
fn is_after(signed_in: Option<UnixMillis>, signed_out: Moment, now: Moment) -> bool {
    let differ = millis(CLOCKS_DIFFER);
    let ahead = signed_out.set_ahead(now);
    let signed_out = signed_out.wall.0.saturating_add(ahead);
    let after = signed_out.saturating_add(differ);
    let until = now.wall.0.saturating_add(differ);
    signed_in.is_some_and(|at| after < at.0 && at.0 <= until)
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
            Ok(Some(stored)) if leaving.spares(core, &stored) => spared(core, *leaving),
            Ok(Some(stored)) => {
                let revision = stored.revision;
                leaving.finds(core, &stored);
                wait_in(Erasing::begin(core, leaving, revision, WRITES))
            }
            Ok(None) => finish(core, *leaving, None),
            Err(()) => {
                let remnant = leaving.remnant(core, core.held.revision);
                match remnant.revision {
                    // Unreadable, but possibly erasable.
                    Some(revision) => wait_in(Erasing::begin(core, leaving, revision, WRITES)),
                    None => finish(core, *leaving, Some((StoreFlaw::Load, remnant))),
                }
            }
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
            Persistence::Conflict(Some(stored)) if self.leaving.spares(core, &stored) => {
                return spared(core, *self.leaving);
            }
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
        let remnant = self.leaving.remnant(core, Some(self.revision));
        let flaw = flaw.map(|flaw| (flaw, remnant));
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

    /// Returns the work that a late response causes. Tokens that arrive after a sign-out are revoked (REFR-12). For an overdue
    /// refresh, see [`Overdue::answered`](crate::suspended::Overdue::answered).
    pub(crate) fn answered(self, core: &mut Core, outcome: Outcome) -> Option<Trigger> {
        let at = match self.grant {
            PartingGrant::Overdue(overdue) => return overdue.answered(core, self.id, outcome),
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

/// Ends the sign-out beside the account of a later sign-in, which is read when it is needed.
fn spared(core: &mut Core, leaving: Leaving) -> Step {
    let step = finish(core, leaving, None);
    core.held.read_at = None;
    step
}

/// Erases the registrations and revokes the tokens, whether the slot was erased or not.
fn finish(core: &mut Core, leaving: Leaving, flaw: Option<(StoreFlaw, Remnant)>) -> Step {
    let Leaving {
        known,
        was_read: _,
        unsaved,
        mut doomed,
        signed_out: _,
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
    core.memory.erasure = match flaw {
        None => Erasure::Done,
        Some((_, remnant)) if only.is_some() => Erasure::FailedAgain(remnant),
        Some((_, remnant)) => Erasure::Failed(remnant),
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
