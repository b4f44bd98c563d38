//! Commit before use (TOK-16): an account is handed out only after the store has it.

use crate::account::Account;
use crate::action::Why;
use crate::core::{Ask, Core, Proof};
use crate::error::{Cause, Failure, Stage, StoreFlaw};
use crate::event::{Operation, Persistence};
use crate::issuer::AtIssuer;
use crate::record::{RecordFlaw, write_account};
use crate::secret::Secret;
use crate::slot::Revision;
use crate::state::forget::After;
use crate::state::load_account::Trigger;
use crate::state::sign_out::Revoking;
use crate::state::{LoadingAccount, Renewal, Step, Work, start};
use crate::wire::callback::Callback;

/// How often a write is tried against other processes.
const WRITES: u8 = 3;

/// Why an account is written: that decides what it may replace.
pub(crate) enum Kept {
    /// The user has just authorized it: it comes before whatever is there.
    Authorized,
    /// It was renewed: it replaces the account that holds the token sent, and nothing else (REFR-05).
    Refreshed { renewal: Box<Renewal>, sent: Secret },
    /// The server refused what was sent: that alone is erased (REFR-06).
    Dropped { renewal: Box<Renewal>, sent: Secret },
    /// The server forgot the client: the tokens of that client go with it (TOK-19).
    ClientForgotten(Box<After>),
}

/// What the store did not keep.
pub(crate) struct Unsaved {
    pub(crate) at: Box<AtIssuer<Account>>,
    pub(crate) kept: Kept,
}

pub(crate) struct SavingAccount {
    pub(crate) ask: Ask,
    at: Box<AtIssuer<Account>>,
    pub(crate) revision: Revision,
    kept: Kept,
    writes_left: u8,
    /// A callback that came when an earlier save had failed.
    then: Option<Callback>,
}

impl SavingAccount {
    pub(crate) fn begin(core: &mut Core, at: AtIssuer<Account>, kept: Kept) -> Work {
        Self::write(core, Box::new(at), kept, None, WRITES.saturating_sub(1))
    }

    fn write(
        core: &mut Core,
        at: Box<AtIssuer<Account>>,
        kept: Kept,
        then: Option<Callback>,
        writes_left: u8,
    ) -> Work {
        core.held.receive(at.held().tokens.as_ref(), core.now);
        let stored = write_account(&core.identity, &at, None);
        let revision = stored.revision;
        let slot = core.account_slot();
        let ask = core.persist(slot, core.held.revision, Some(stored), None);
        Work::SavingAccount(Self {
            ask,
            at,
            revision,
            kept,
            writes_left,
            then,
        })
    }

    /// The account, when its user has signed out meanwhile.
    pub(crate) fn into_account(self) -> AtIssuer<Account> {
        *self.at
    }

    pub(crate) fn persisted(self, core: &mut Core, outcome: Persistence) -> Step {
        let flaw = match outcome {
            Persistence::Done => return self.committed(core),
            Persistence::Failed => StoreFlaw::Write,
            Persistence::Conflict(current) => match core.adopt(current.as_ref()) {
                Err(flaw @ RecordFlaw::Newer) => StoreFlaw::Record(flaw),
                Ok(()) | Err(_) if !self.replaces(core) => return self.gives_way(core),
                Ok(()) | Err(_) => match self.writes_left.checked_sub(1) {
                    Some(left) => {
                        let at = Box::new(standing_as_held(core, *self.at));
                        return Ok(Self::write(core, at, self.kept, self.then, left));
                    }
                    None => StoreFlaw::Conflict,
                },
            },
        };
        self.not_kept(core, flaw)
    }

    /// Whether this may replace what the slot was just found to hold.
    fn replaces(&self, core: &Core) -> bool {
        let held = core.held.at.as_ref();
        match &self.kept {
            Kept::Authorized => true,
            Kept::Refreshed { sent, .. } | Kept::Dropped { sent, .. } => {
                held.is_some_and(|at| at.held().has_refresh(sent))
            }
            Kept::ClientForgotten(_) => held.is_some_and(|at| {
                at.issuer() == self.at.issuer() && at.held().client.id == self.at.held().client.id
            }),
        }
    }

    /// Somebody else changed the account: theirs is adopted.
    fn gives_way(self, core: &mut Core) -> Step {
        match (self.kept, self.then) {
            (Kept::Refreshed { renewal, .. }, then) if core.held.at.is_none() => {
                // The user has signed out elsewhere: nobody is to have what came (REFR-12).
                if then.is_none() {
                    let operation = renewal.operation().cloned();
                    core.need_user(Why::NoCredentials, operation);
                }
                Revoking::begin(core, *self.at, then)
            }
            (Kept::Refreshed { renewal, .. } | Kept::Dropped { renewal, .. }, None) => {
                renewal.again(core)
            }
            (Kept::ClientForgotten(after), None) if !core.held.is_usable(core.now) => {
                after.run(core)
            }
            (
                Kept::Refreshed { .. }
                | Kept::Dropped { .. }
                | Kept::Authorized
                | Kept::ClientForgotten(_),
                then,
            ) => {
                if core.held.is_usable(core.now) {
                    core.ready();
                } else if then.is_none() {
                    let operation = core.memory.operation.clone();
                    core.need_user(Why::ClientForgotten, operation);
                }
                next(core, then)
            }
        }
    }

    fn not_kept(self, core: &mut Core, flaw: StoreFlaw) -> Step {
        let issuer = self.at.issuer().clone();
        let (stage, operation) = match &self.kept {
            Kept::Authorized | Kept::ClientForgotten(_) => {
                (Stage::Token, core.memory.operation.clone())
            }
            Kept::Refreshed { renewal, .. } | Kept::Dropped { renewal, .. } => {
                (Stage::Refresh, renewal.operation().cloned())
            }
        };
        // Not lost: the next event that needs a token tries to save it again.
        let (at, kept) = (self.at, self.kept);
        core.held.unsaved = Some(Box::new(Unsaved { at, kept }));
        Err(Failure {
            operation,
            stage,
            issuer: Some(issuer),
            cause: Cause::NotPersisted(flaw),
            seen: Vec::new(),
        })
    }

    fn committed(self, core: &mut Core) -> Step {
        let tokens = self.at.held().tokens.as_ref();
        core.held.validity = Some(core.held.validity_of(tokens, core.now));
        core.held.at = Some(*self.at);
        core.held.revision = Some(self.revision);
        core.held.lease = None;
        core.held.read_at = Some(core.event);
        let now = core.now.mono;
        match (self.kept, self.then) {
            (Kept::Authorized, then) => {
                core.held.proof = Proof::Authorized(now);
                core.memory.succeeded(now);
                let operation = core.memory.operation.clone();
                ready_or_slow(core, Stage::Token, operation);
                next(core, then)
            }
            (Kept::Refreshed { renewal, .. }, then) => {
                core.held.proof = Proof::Refreshed(now);
                core.memory.refreshed(renewal.operation(), now);
                ready_or_slow(core, Stage::Refresh, renewal.operation().cloned());
                next(core, then)
            }
            // What is left may be good enough; otherwise the user is needed.
            (Kept::Dropped { renewal, .. }, None) => renewal.go(core),
            (Kept::ClientForgotten(after), None) => after.run(core),
            (Kept::Dropped { .. } | Kept::ClientForgotten(_), then) => next(core, then),
        }
    }
}

/// What another process was told by the resource about this issuer is not overwritten (ISO-04).
fn standing_as_held(core: &Core, at: AtIssuer<Account>) -> AtIssuer<Account> {
    match &core.held.at {
        Some(held) if held.issuer() == at.issuer() => at.standing(held.held().standing.clone()),
        Some(_) | None => at,
    }
}

/// What was saved can be used, unless it was over before the store had it: the next wish renews it then.
fn ready_or_slow(core: &mut Core, stage: Stage, operation: Option<Operation>) {
    if core.held.is_usable(core.now) {
        core.ready();
    } else {
        core.fail(Failure {
            operation,
            stage,
            issuer: core.held.at.as_ref().map(|at| at.issuer().clone()),
            cause: Cause::NotPersisted(StoreFlaw::Slow),
            seen: Vec::new(),
        });
    }
}

/// What comes after: the callback that waited for this.
pub(crate) fn next(core: &mut Core, then: Option<Callback>) -> Step {
    match then {
        Some(callback) => start(core, Trigger::CameBack(callback)),
        None => Ok(Work::Idle),
    }
}

/// Tries to save what an earlier write failed to. Wishes are fulfilled by what is saved; a callback is
/// looked at after it.
pub(crate) fn save_again(core: &mut Core, then: Option<Callback>) -> Step {
    match core.held.unsaved.take() {
        Some(unsaved) => Ok(SavingAccount::write(
            core,
            unsaved.at,
            unsaved.kept,
            then,
            WRITES.saturating_sub(1),
        )),
        None => Ok(LoadingAccount::begin(core, None)),
    }
}
