//! A renewal from its start to its end: its budgets, the lease of another process, and what a failure leaves.

use crate::account::Naming;
use crate::budget::{Budget, LOOKS_PER_RENEWAL, Limited, REFRESHES_PER_RENEWAL};
use crate::core::Core;
use crate::error::{Cause, Stage, StoreFlaw};
use crate::event::Operation;
use crate::report::Decision;
use crate::secret::Secret;
use crate::state::challenge::react::may_refresh;
use crate::state::{Next, Step, done};
use crate::suspended::{Effort, Refused, Renewal};
use crate::time::MonoMillis;

/// How many times in succession the lease is written against conflicts.
pub(crate) const WRITES: u8 = 3;

impl Renewal {
    pub(crate) fn new(core: &Core, operation: Operation, refused: Option<Refused>) -> Box<Self> {
        // The metadata counts as known once the account slot records what it said, for every process.
        let durable = core.memory.has_recorded_the_move();
        let resource_known = refused
            .as_ref()
            .is_some_and(|refused| durable && core.memory.resource_read >= Some(refused.event));
        Box::new(Self {
            effort: Effort::new(core, Some(operation)),
            refused,
            resource_known,
            server_known: false,
            refreshes: Budget::new(REFRESHES_PER_RENEWAL, Limited::Requests),
            looks: Budget::new(LOOKS_PER_RENEWAL, Limited::Requests),
            writes: WRITES,
            lease: None,
            not_before: None,
            delayed: false,
            naming: Naming::default(),
            is_for_others: false,
            spent: Vec::new(),
            refusal: None,
        })
    }

    /// Creates the renewal for an operation that still waits although the tokens that it waited for have come: this one was
    /// refused for it, or the stored one has expired.
    pub(crate) fn of_a_caller(
        core: &Core,
        operation: Operation,
        refused: Option<Secret>,
    ) -> Box<Self> {
        let refused = refused.map(|token| Refused {
            may_refresh: may_refresh(core, &operation),
            event: core.event,
            named_place: false,
            token: Some(token),
        });
        Self::new(core, operation, refused)
    }

    /// Handles a token request of the host that no challenge caused.
    pub(crate) fn wanted(core: &mut Core, operation: Operation) -> Step {
        if core.held.is_fresh(core.now) {
            core.ready();
            return done();
        }
        Ok(Next::Renew(Self::new(core, operation, None)))
    }

    /// Requests a token for a person: the next `Ready`, error or question answers the sign-in.
    pub(crate) fn for_a_person(core: &mut Core) -> Step {
        core.callers.person_waits();
        let operation = core.memory.operation_of_a_person();
        Self::wanted(core, operation)
    }

    pub(crate) fn operation(&self) -> Option<&Operation> {
        self.effort.operation.as_ref()
    }

    /// Fails this attempt; a token that has not expired stays usable (REFR-07).
    pub(crate) fn fails_for_now(self, core: &mut Core, at: Stage, cause: Cause) -> Step {
        let issuer = core.held.at.as_ref().map(|at| at.issuer().clone());
        if self.has_another(core) {
            core.report(|| Decision::RenewalPutOff {
                reason: cause.code(),
            });
            core.ready();
            return done();
        }
        Err(self.effort.fails(at, issuer.as_ref(), cause))
    }

    /// Handles a server that rejects the refresh without ending the grant: keeps the tokens and asks the
    /// user, unless a usable token is left.
    pub(crate) fn ends_refused(mut self: Box<Self>, core: &mut Core, cause: Cause) -> Step {
        core.distrust();
        if self.has_another(core) {
            return self.fails_for_now(core, Stage::Refresh, cause);
        }
        self.refusal = Some(Box::new(cause));
        Ok(Next::NeedsUser(self))
    }

    /// Metadata that has disappeared is not a change: the issuer in use stays (A21), and one that was
    /// removed before stays removed.
    pub(crate) fn nowhere(mut self: Box<Self>, core: &mut Core) -> Step {
        self.resource_known = true;
        core.memory.resource_read = Some(core.event);
        Ok(Next::Renew(self))
    }

    /// Returns when another process's lease ends, while it lasts.
    pub(crate) fn foreign_lease(&self, core: &Core) -> Option<MonoMillis> {
        let lease = core.held.lease?;
        if self.lease.is_some() && self.lease == core.held.revision {
            return None;
        }
        (core.now.mono < lease.ends).then_some(lease.ends)
    }

    /// Restarts after a conflict of the lease. Without the lease of another process, the third conflict in succession is a
    /// failure of the store.
    pub(crate) fn after_a_conflict(mut self: Box<Self>, core: &mut Core) -> Step {
        self.writes = self.writes.saturating_sub(1);
        if self.writes == 0 && self.foreign_lease(core).is_none() {
            let cause = Cause::NotPersisted(StoreFlaw::Conflict);
            return self.fails_for_now(core, Stage::Slots, cause);
        }
        self.again(core)
    }

    /// Restarts after another process changed the record, a bounded number of times.
    pub(crate) fn again(mut self: Box<Self>, core: &mut Core) -> Step {
        self.lease = None;
        // Another account may be there now, of which nothing was learnt.
        self.naming = Naming::default();
        match self.looks.take() {
            Ok(_look) => Ok(Next::Renew(self)),
            Err(_) => self.fails_for_now(core, Stage::Refresh, Cause::unreachable(None)),
        }
    }
}
