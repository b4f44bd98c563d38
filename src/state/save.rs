//! Commit before use (TOK-16): a token is returned only after the store holds it.

use crate::account::{Account, RefreshTokenId, Standing, TokenKind};
use crate::core::{Ask, Core, Lease, Proof};
use crate::error::{Cause, Failure, Stage, StoreFlaw};
use crate::event::{Operation, Persistence};
use crate::frame::RecordFlaw;
use crate::issuer::AtIssuer;
use crate::record::write_account;
use crate::slot::Revision;
use crate::state::replace::{continues, is_newer, is_usable, place_of, place_of_a_drop};
use crate::state::sign_out::revoke::Revoking;
use crate::state::trigger::{Trigger, resume};
use crate::state::{Next, Step, Work, done, wait_in};
use crate::suspended::{Again, Kept, Renewal, Unsaved};
use crate::time::MonoMillis;

/// How many times a write is attempted against concurrent writes of other processes.
const WRITES: u8 = 3;

pub(crate) struct SavingAccount {
    pub(crate) ask: Ask,
    pub(crate) revision: Revision,
    write: Write,
}

/// The write of an account.
struct Write {
    at: Box<AtIssuer<Account>>,
    kept: Kept,
    writes_left: u8,
    /// An earlier save had failed, or an answer came late: other processes may have gone on meanwhile.
    late: bool,
    /// The event that found an earlier save unfinished.
    then: Option<Box<Trigger>>,
    again: Again,
    /// The lease of another process, which the write keeps.
    lease: Option<Lease>,
}

impl SavingAccount {
    pub(crate) fn begin(core: &mut Core, at: AtIssuer<Account>, kept: Kept) -> Work {
        let write = Write {
            at: Box::new(at),
            kept,
            writes_left: WRITES.saturating_sub(1),
            late: false,
            then: None,
            again: Again::default(),
            lease: None,
        };
        write.send(core)
    }

    /// Returns true when the tokens are those of an authorization by the user, or lost their client in one.
    pub(crate) fn is_of_an_authorization(&self) -> bool {
        let Write { at, kept, late, .. } = &self.write;
        let by_user = at.held().obtained.is_by_user();
        let forgotten = matches!(kept, Kept::ClientForgotten { .. });
        !late && (forgotten || matches!(kept, Kept::Authorized { .. }) && by_user)
    }

    /// The event that waits for the write.
    pub(crate) fn then(&mut self) -> &mut Option<Box<Trigger>> {
        &mut self.write.then
    }

    /// Returns the account, after a sign-out during the write.
    pub(crate) fn into_account(self) -> AtIssuer<Account> {
        *self.write.at
    }

    pub(crate) fn persisted(self, core: &mut Core, outcome: Persistence) -> Step {
        let flaw = match outcome {
            Persistence::Done => return self.committed(core),
            Persistence::Failed => StoreFlaw::Write,
            Persistence::Conflict(current) => {
                let emptied = current.is_none() && core.held.revision.is_some();
                if let Err(flaw @ RecordFlaw::Newer) = core.adopt(current.as_ref()) {
                    return self.write.not_kept(core, StoreFlaw::Record(flaw));
                }
                return self.write.go_on(core, emptied, |write, core| {
                    let write = write.over_the_stored(core);
                    match write.writes_left.checked_sub(1) {
                        Some(writes_left) => {
                            let again = Write {
                                writes_left,
                                ..write
                            };
                            wait_in(again.send(core))
                        }
                        None => write.not_kept(core, StoreFlaw::Conflict),
                    }
                });
            }
        };
        self.write.not_kept(core, flaw)
    }

    fn committed(self, core: &mut Core) -> Step {
        let Write {
            at,
            kept,
            late,
            then,
            lease,
            ..
        } = self.write;
        let tokens = at.held().tokens.as_ref();
        core.held.validity = Some(core.held.validity_of(tokens, core.now));
        core.held.at = Some(at);
        core.held.is_stored_as(self.revision);
        core.held.lease = lease;
        core.held.read_at = Some(core.event);
        core.held.known_at = core.now.mono;
        core.compare_with_late(kept.sent());
        let now = core.now.mono;
        let usable = core.held.is_usable(core.now);
        match (kept, then) {
            (Kept::Authorized { .. }, then) => {
                core.held.proof = Proof::Authorized(now);
                let has_all = core.has_what_was_demanded();
                core.memory.succeeded(core.held.digest(), now, has_all);
                let operation = core.memory.operation.clone();
                // The process was suspended meanwhile: the refresh that is due follows.
                let renewable = core.held.tokens().is_some_and(|t| t.refresh.is_some());
                if !usable && renewable && !late && then.is_none() {
                    return Renewal::for_a_person(core);
                }
                ready_or_slow(core, Stage::Token, operation, late, then)
            }
            (Kept::Refreshed { mut renewal, .. }, None) if renewal.is_for_others && !late => {
                renewal.is_for_others = false;
                Ok(Next::Renew(renewal))
            }
            (Kept::Refreshed { renewal, .. }, then) => {
                // A token that expired before it was stored was no refresh of anything: the next one may follow (USE-08).
                let usable = usable && !renewal.is_for_others;
                if usable {
                    core.held.proof = Proof::Refreshed(requested_at(core));
                }
                let operation = renewal.operation();
                core.memory.refreshed(operation.filter(|_| usable), now);
                ready_or_slow(core, Stage::Refresh, operation.cloned(), late, then)
            }
            // Uses the remaining token if it suffices; asks the user otherwise. The write of a timer asks nobody.
            (Kept::Dropped { renewal, .. }, None) if !late => Ok(Next::Renew(renewal)),
            (Kept::ClientForgotten { after, .. }, then) if is_of_a_caller(&then) => after.run(core),
            (Kept::Dropped { .. } | Kept::ClientForgotten { .. }, then) => resume(core, then),
        }
    }
}

impl Write {
    fn send(self, core: &mut Core) -> Work {
        core.held.receive(self.at.held().tokens.as_ref(), core.now);
        let lease = self.foreign_lease(core);
        let mut at = self.at;
        *at = standing_as_known(core, *at, &self.kept);
        let until = lease.map(|lease| lease.until);
        let stored = write_account(&core.identity, &at, until);
        let revision = stored.revision;
        let slot = core.account_slot();
        // A record of a newer version is not replaced: the write expects an empty slot, and conflicts if the record is still there.
        let expected = core.held.revision.filter(|_| !core.held.is_newer);
        let ask = core.persist(slot, expected, Some(stored), None);
        Work::SavingAccount(SavingAccount {
            ask,
            revision,
            write: Self { at, lease, ..self },
        })
    }

    /// Returns the lease of another process for the refresh token that this write keeps: its refresh is under way (REFR-05). A
    /// lease of a token that this write replaces protects nothing, and ends.
    fn foreign_lease(&self, core: &Core) -> Option<Lease> {
        let lease = core.held.lease?;
        let is_foreign = match &self.kept {
            Kept::Refreshed { renewal, .. } | Kept::Dropped { renewal, .. } => {
                renewal.foreign_lease(core).is_some()
            }
            // An earlier write of these tokens was done, and another process has found them.
            Kept::Authorized { .. } | Kept::ClientForgotten { .. } => core.now.mono < lease.ends,
        };
        let kept = self.at.held().token(TokenKind::RefreshToken)?;
        let held = core.held.at.as_ref()?.held();
        (is_foreign && held.has_refresh(kept)).then_some(lease)
    }

    /// Writes if the account may replace the known contents of the slot; gives way otherwise. `emptied`: the slot held the
    /// account, and is empty.
    fn go_on(
        mut self,
        core: &mut Core,
        emptied: bool,
        write: impl FnOnce(Self, &mut Core) -> Step,
    ) -> Step {
        if self.is_undone(emptied) {
            self.undone(core)
        } else if self.replaces(core) {
            write(self, core)
        } else {
            self.gives_way(core)
        }
    }

    /// Returns true when the user signed out in another process meanwhile: the slot was emptied, and it held the record
    /// that this write replaces (REFR-12).
    ///
    /// - A refresh continues what the sign-out ended.
    /// - An authorization that began beside a stored account is older than the sign-out. Otherwise the record may have
    ///   been gone before the user asked to sign in, unless an earlier write of these tokens failed or found a record.
    /// - A client without a user requests a token whenever it needs one: a sign-out ends no request for the next one.
    fn is_undone(&self, emptied: bool) -> bool {
        match &self.kept {
            Kept::Refreshed { .. } => emptied,
            Kept::Authorized { beside, .. } => {
                let by_user = self.at.held().obtained.is_by_user();
                let again = self.late || self.writes_left.saturating_add(1) < WRITES;
                emptied && (*beside || again) && by_user
            }
            Kept::Dropped { .. } | Kept::ClientForgotten { .. } => false,
        }
    }

    /// Revokes the tokens instead of storing them.
    fn undone(self, core: &mut Core) -> Step {
        let asks = is_of_a_caller(&self.then);
        if asks {
            let operation = self.operation(core).cloned();
            core.signed_out_elsewhere(operation);
        }
        Revoking::begin(core, *self.at, self.then.filter(|_| !asks))
    }

    /// Returns the operation for which the tokens were requested.
    fn operation<'a>(&'a self, core: &'a Core) -> Option<&'a Operation> {
        match &self.kept {
            Kept::Refreshed { renewal, .. } | Kept::Dropped { renewal, .. } => renewal.operation(),
            Kept::Authorized { .. } | Kept::ClientForgotten { .. } => {
                core.memory.operation.as_ref()
            }
        }
    }

    /// Fits the account to write to the current contents of the slot, and returns true when it may replace them.
    fn replaces(&mut self, core: &Core) -> bool {
        let held = core.held.at.as_deref();
        match &self.kept {
            // A late token replaces no newer one, and an expired token no valid one (ISO-09, TOK-16).
            Kept::Authorized { .. } => {
                let valid = core.held.is_usable(core.now);
                !self.is_overtaken(core) && (is_usable(core, &self.at) || !valid)
            }
            // An unreadable record counts as absent.
            Kept::Refreshed { sent, .. } => held.is_none_or(|held| {
                let place = place_of(core, sent, held, (&self.at, self.late));
                place.fit(held, &mut self.at)
            }),
            Kept::Dropped { sent, .. } => held
                .is_some_and(|held| place_of_a_drop(sent, held, &self.at).fit(held, &mut self.at)),
            Kept::ClientForgotten { lost, .. } => core.held.has_access(lost),
        }
    }

    /// Returns true when another process has refreshed the tokens of this authorization, or when the stored account is of a later
    /// sign-in.
    fn is_overtaken(&self, core: &Core) -> bool {
        let Kept::Authorized { over, .. } = self.kept else {
            return false;
        };
        let held = core.held.at.as_ref();
        held.is_some_and(|held| is_newer(core, held, &self.at, over) || continues(held, &self.at))
    }

    /// Notes the account in the slot as the one that this authorization replaces: a later try decides the same, whatever the
    /// wall clock shows then.
    fn over_the_stored(mut self, core: &Core) -> Self {
        if let Kept::Authorized { over, .. } = &mut self.kept {
            *over = core.held.authorization().or(*over);
        }
        self
    }

    /// Adopts the account that another process wrote. A refresh token that this answer has replaced is spent.
    fn gives_way(mut self, core: &mut Core) -> Step {
        let usable = core.held.is_usable(core.now);
        if let Kept::Refreshed { renewal, sent } = &mut self.kept
            && !self.at.held().has_refresh(&sent.token)
        {
            let renewal = match self.then.as_deref_mut() {
                Some(Trigger::Renew(waits)) => waits,
                Some(_) | None => renewal,
            };
            renewal.spent.push(RefreshTokenId::of(&sent.token));
        }
        match (self.kept, self.then) {
            (Kept::Refreshed { renewal, .. } | Kept::Dropped { renewal, .. }, None)
                if !self.late =>
            {
                renewal.again(core)
            }
            // No caller waits, and nothing is refreshed without one.
            (Kept::Refreshed { .. } | Kept::Dropped { .. }, None) if !usable => done(),
            (Kept::ClientForgotten { after, .. }, then) if !usable && is_of_a_caller(&then) => {
                after.run(core)
            }
            (Kept::Authorized { .. }, None) if !usable => match self.late {
                true => done(),
                false => Renewal::for_a_person(core),
            },
            (
                Kept::Refreshed { .. }
                | Kept::Dropped { .. }
                | Kept::Authorized { .. }
                | Kept::ClientForgotten { .. },
                then,
            ) => {
                ready_for(core, &then);
                resume(core, then)
            }
        }
    }

    fn not_kept(self, core: &mut Core, flaw: StoreFlaw) -> Step {
        let issuer = self.at.issuer().clone();
        let waiting = self.then.as_ref().and_then(|then| then.operation());
        let stage = match &self.kept {
            Kept::Authorized { .. } | Kept::ClientForgotten { .. } => Stage::Token,
            Kept::Refreshed { .. } | Kept::Dropped { .. } => Stage::Refresh,
        };
        let operation = waiting.or(self.operation(core)).cloned();
        // Kept: a timer retries the save, and so does the next event that needs a token.
        let again = match flaw {
            // A record of a newer version is never overwritten.
            StoreFlaw::Record(_) => Again::default(),
            StoreFlaw::Load | StoreFlaw::Write | StoreFlaw::Conflict | StoreFlaw::Slow => {
                self.again.after(core.now.mono)
            }
        };
        let (at, kept) = (self.at, self.kept);
        core.held.unsaved = Some(Box::new(Unsaved { at, kept, again }));
        if self.late && self.then.is_none() {
            // The try of a timer answers no caller.
            return done();
        }
        Err(Failure {
            operation,
            stage,
            issuer: Some(issuer),
            cause: Cause::NotPersisted(flaw),
            seen: Vec::new(),
        })
    }
}

/// Keeps the listing state of this issuer that any process read (ISO-04): a token of an authorization that began before
/// does not list the issuer again.
fn standing_as_known(core: &Core, at: AtIssuer<Account>, kept: &Kept) -> AtIssuer<Account> {
    match (&core.held.at, core.left_for(at.issuer())) {
        (Some(held), _) if held.issuer() == at.issuer() => {
            at.standing(held.held().standing.clone())
        }
        (Some(_) | None, Some(to)) => at.standing(Standing::LeftFor(to)),
        // The account has moved to another issuer since this authorization began: the resource is read before a
        // refresh.
        (Some(held), None) if kept.is_overtaken_by(held.held()) => {
            let to = held.issuer().clone();
            at.standing(Standing::LeftFor(to))
        }
        (Some(_) | None, None) => core.bound_by_what_was_heard(at),
    }
}

/// Reports `Ready`, and continues with the event that waited for the write. If the token expired during the write, that
/// event refreshes it; without one, the next request does. The late write of a timer answers no caller.
fn ready_or_slow(
    core: &mut Core,
    stage: Stage,
    operation: Option<Operation>,
    late: bool,
    then: Option<Box<Trigger>>,
) -> Step {
    if core.held.is_usable(core.now) {
        ready_for(core, &then);
    } else if then.is_none() && !late {
        return Err(Failure {
            operation,
            stage,
            issuer: core.held.at.as_ref().map(|at| at.issuer().clone()),
            cause: Cause::NotPersisted(StoreFlaw::Slow),
            seen: Vec::new(),
        });
    }
    resume(core, then)
}

/// Emits `Ready`. While an event waits for the write that this token may not serve, emits it only if another caller is served: the
/// stored token may still be the one with which the waiting caller was refused, or lack what the user has agreed to.
fn ready_for(core: &mut Core, then: &Option<Box<Trigger>>) {
    match then {
        Some(then) if then.is_of_a_caller() => core.serve_others(),
        Some(then) if then.is_of_a_person() && !then.is_served_by_a_save(core) => {
            core.serve_others();
        }
        Some(_) | None => core.ready(),
    }
}

/// Returns when the stored token was requested: the store may have taken long since.
fn requested_at(core: &Core) -> MonoMillis {
    let received = core.held.tokens().map(|tokens| tokens.received);
    let age = received.map_or(0, |at| core.now.wall.0.saturating_sub(at.0));
    MonoMillis(core.now.mono.0.saturating_sub(age))
}

/// Returns true when no event waits for the write, or one that asks for a token.
fn is_of_a_caller(then: &Option<Box<Trigger>>) -> bool {
    then.as_ref().is_none_or(|then| then.operation().is_some())
}

/// Saves what a late answer brought before this renewal sends the spent refresh token again.
pub(crate) fn save_before(core: &mut Core, renewal: Box<Renewal>) -> Step {
    save_again(core, Some(Trigger::Renew(renewal)))
}

/// Retries a failed write, or saves what a late answer brought: for an event that needs the result, or by a timer. The slot may
/// have been read meanwhile.
pub(crate) fn save_again(core: &mut Core, then: Option<Trigger>) -> Step {
    let then = then.map(Box::new);
    let Some(unsaved) = core.held.unsaved.take() else {
        return done();
    };
    let write = Write {
        at: unsaved.at,
        kept: unsaved.kept,
        writes_left: WRITES.saturating_sub(1),
        late: true,
        then,
        again: unsaved.again,
        lease: None,
    };
    let emptied = core.held.is_empty();
    match write.kept {
        Kept::Refreshed { .. } | Kept::Dropped { .. } | Kept::ClientForgotten { .. } => {
            write.go_on(core, emptied, |write, core| wait_in(write.send(core)))
        }
        Kept::Authorized { .. } if write.is_overtaken(core) => write.gives_way(core),
        Kept::Authorized { .. } => wait_in(write.send(core)),
    }
}
