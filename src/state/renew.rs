//! Refreshing a token: adopt the result of another process, check that the resource still lists the issuer,
//! lease the refresh token, back off (REFR, ISO-04, ISO-05, USE-08 to USE-10).
//!
//! Each pause, lost race and response leads back to [`Renewal::go`], which decides the next step from the
//! current knowledge.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::account::{Account, Naming};
use crate::action::Why;
use crate::budget::{Budget, LEASE_TIME, LOOKS_PER_RENEWAL, Limited, REFRESHES_PER_RENEWAL};
use crate::config::{Config, Discovery, DynamicRegistration, MachineFlow, SignIn};
use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, Misconfiguration, Stage, StoreFlaw, Violation};
use crate::event::Operation;
use crate::grant::{CLOCK_SKEW_MILLIS, ClientOrigin};
use crate::issuer::{AtIssuer, IssuerId, Server, ServerSource};
use crate::record::ResourceFacts;
use crate::report::Decision;
use crate::state::attempt::{Errand, ServerErrand};
use crate::state::decide::ask_because;
use crate::state::discover::order;
use crate::state::lease::Leasing;
use crate::state::repeat::ask_user;
use crate::state::{
    FetchingResource, LoadingAccount, LoadingResource, LoadingServer, Step, Trigger, Work,
};
use crate::suspended::{Effort, Refused, Renewal};
use crate::time::{MonoMillis, millis};

/// How many times in succession the lease is written against conflicts.
const WRITES: u8 = 3;

impl Renewal {
    pub(crate) fn new(core: &Core, operation: Operation, refused: Option<Refused>) -> Box<Self> {
        let resource_known = refused
            .as_ref()
            .is_some_and(|refused| core.memory.resource_read >= NonZeroU64::new(refused.event));
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
            refusal: None,
        })
    }

    pub(crate) fn operation(&self) -> Option<&Operation> {
        self.effort.operation.as_ref()
    }

    /// Returns true when the stored token satisfies the request.
    pub(crate) fn is_served(&self, core: &Core) -> bool {
        match &self.refused {
            None => core.held.is_fresh(core.now),
            Some(_) => self.has_another(core),
        }
    }

    /// Returns true when the stored token is usable and differs from the refused one.
    pub(crate) fn has_another(&self, core: &Core) -> bool {
        let refused = self.refused.as_ref().and_then(|r| r.token.as_ref());
        let held = core.held.at.as_deref().map(AtIssuer::held);
        let same = match (refused, held) {
            (Some(token), Some(account)) => account.has_access(token),
            (_, _) => false,
        };
        core.held.is_usable(core.now) && !same
    }

    /// Returns true when the MCP server refused the stored token.
    pub(crate) fn refuses_the_stored_token(&self, core: &Core) -> bool {
        self.refused.is_some() && !self.has_another(core)
    }

    /// Decides the next step from the current account slot.
    pub(crate) fn go(self: Box<Self>, core: &mut Core) -> Step {
        if self.is_served(core) {
            core.ready();
            return Ok(Work::Idle);
        }
        let Some((issuer, source, left, renewable)) = core.held.at.as_ref().map(|at| {
            let Account { tokens, client, .. } = at.held();
            let left = at.held().still_listed().err();
            let left = left.map(|to| (client.origin, to.clone()));
            // A refresh token is bound to its client, and useless to the next registration (REG-25,
            // TOK-19).
            let renewable = tokens
                .as_ref()
                .is_some_and(|tokens| tokens.refresh.is_some())
                && !client.is_expired(core.now.wall.seconds());
            (
                at.issuer().clone(),
                at.server().facts().source,
                left,
                renewable,
            )
        }) else {
            return self.needs_user(core);
        };
        if !self.resource_known && self.must_read_resource(core, source, left.is_some()) {
            return self.read_resource(core);
        }
        if let Some((origin, to)) = left {
            return self.moved(core, issuer, origin, to);
        }
        let may_refresh = self.refused.as_ref().is_none_or(|r| r.may_refresh);
        if !renewable || !may_refresh {
            return if self.has_another(core) {
                core.ready();
                Ok(Work::Idle)
            } else {
                self.needs_user(core)
            };
        }
        if let Some(until) = self.not_before.filter(|until| core.now.mono < *until) {
            return Ok(Pausing::begin(core, Trigger::Renew(self), until));
        }
        let rest = core.memory.rest.cause(core.now);
        if let Some(cause) = rest.filter(|_| self.not_before.is_none()) {
            return match core.memory.renewal_refused.clone() {
                Some(refused) => self.ends_refused(core, *refused),
                None => self.fails_for_now(core, Stage::Refresh, cause),
            };
        }
        if let Some(until) = self.foreign_lease(core) {
            return self.look_later(core, until);
        }
        if !self.server_known && self.is_stale(core) {
            return self.read_server(core, issuer);
        }
        Leasing::begin(core, self)
    }

    /// Handles a server that rejects the refresh without ending the grant: keeps the tokens and asks the
    /// user, unless a usable token is left.
    pub(crate) fn ends_refused(mut self, core: &mut Core, cause: Cause) -> Step {
        core.distrust();
        if self.has_another(core) {
            return self.fails_for_now(core, Stage::Refresh, cause);
        }
        self.refusal = Some(Box::new(cause));
        self.needs_user(core)
    }

    fn needs_user(self, core: &mut Core) -> Step {
        match self.effort.operation {
            Some(operation) => {
                let why = self.refusal.map(|cause| Why::RenewalRefused { cause });
                ask_because(core, operation, self.refused.is_some(), why)
            }
            None => Ok(Work::Idle),
        }
    }

    /// Fails this attempt; a token that has not expired stays usable (REFR-07).
    pub(crate) fn fails_for_now(self, core: &mut Core, at: Stage, cause: Cause) -> Step {
        let issuer = core.held.at.as_ref().map(|at| at.issuer().clone());
        if self.has_another(core) {
            core.report(|| Decision::RenewalPutOff {
                reason: cause.code(),
            });
            core.ready();
            return Ok(Work::Idle);
        }
        Err(self.effort.fails(at, issuer.as_ref(), cause))
    }

    // ---- Has the resource changed its issuer?

    /// Returns true when the resource's metadata must be read first. A refused token may mean that the
    /// resource has changed its issuer (ISO-05), or lists the old one again. Not read when the host
    /// configured the server, nor, without a metadata location in the challenge, at a server that had no
    /// metadata.
    fn must_read_resource(&self, core: &Core, source: ServerSource, left: bool) -> bool {
        let named_place = self.refused.as_ref().is_some_and(|r| r.named_place);
        let by_metadata = match source {
            ServerSource::Metadata => left || self.refused.is_some(),
            ServerSource::LegacyMetadata | ServerSource::LegacyDefaults => left || named_place,
        };
        match &core.config().discovery {
            Discovery::Standard | Discovery::ResourceMetadata(_) => by_metadata,
            Discovery::Issuer(_) | Discovery::ServerMetadata(..) => false,
        }
    }

    /// Fetches the resource's metadata, never from a cache (DISC-18).
    fn read_resource(self: Box<Self>, core: &mut Core) -> Step {
        match &core.config().discovery {
            Discovery::ResourceMetadata(url) => {
                let url = url.clone();
                FetchingResource::begin_at(core, Errand::Renew(self), url)
            }
            Discovery::Standard | Discovery::Issuer(_) | Discovery::ServerMetadata(..) => {
                LoadingResource::begin(core, Errand::Renew(self))
            }
        }
    }

    /// Metadata that has disappeared is not a change: the issuer in use stays (A21), and one that was
    /// removed before stays removed.
    pub(crate) fn nowhere(mut self: Box<Self>, core: &mut Core) -> Step {
        self.resource_known = true;
        core.memory.resource_read = NonZeroU64::new(core.event);
        self.go(core)
    }

    /// Continues with the listed servers. Their consequences for the account are already stored in it.
    pub(crate) fn listed(mut self: Box<Self>, core: &mut Core, mut facts: ResourceFacts) -> Step {
        self.resource_known = true;
        let waiting = core.waits_at().cloned();
        let gone = |issuer: &IssuerId| !core.config().lists(&facts, issuer);
        if waiting.as_ref().is_some_and(gone) {
            end_flow(core);
        }
        order(core, &mut facts);
        core.memory.resource = Some(Box::new((core.now.mono, facts)));
        self.go(core)
    }

    /// Stops using the old server's tokens and reports the change; the user decides about the new server
    /// (ISO-04, ISO-06, ISO-09).
    fn moved(self, core: &mut Core, from: IssuerId, origin: ClientOrigin, to: IssuerId) -> Step {
        if origin == ClientOrigin::PreRegistered && !core.config().may_meet(&to) {
            let found = to.clone();
            let cause = Cause::Misconfigured(match &core.config().sign_in {
                SignIn::Machine(MachineFlow::Workload(workload)) => {
                    let allowed = workload.allowed.clone();
                    Misconfiguration::AssertionNotAllowed { allowed, found }
                }
                SignIn::User
                | SignIn::Machine(MachineFlow::ClientCredentials | MachineFlow::Enterprise(_)) => {
                    let configured = vec![from];
                    Misconfiguration::OtherIssuer { configured, found }
                }
            });
            return Err(self.effort.fails(Stage::Registration, Some(&to), cause));
        }
        if matches!(core.config().sign_in, SignIn::Machine(_)) {
            // No user is involved; configuration binds the credentials to servers.
            return self.needs_user(core);
        }
        let why = Why::ServerChanged { from, to };
        Ok(ask_user(core, why, self.effort.operation))
    }

    /// Returns true when the account's metadata is old, or a refresh by it has just failed: the server may have moved its
    /// endpoint (META-18). Metadata that the host configured is never old.
    fn is_stale(&self, core: &Core) -> bool {
        let server = core.held.at.as_ref().map(|at| at.server());
        server.is_some_and(|server| {
            let failed = core.memory.rest.has_failed() && server.is_fetched();
            failed || !server.is_fresh(core.now.wall)
        })
    }

    /// Fetches the server's metadata again (REFR-11).
    fn read_server(mut self: Box<Self>, core: &mut Core, issuer: IssuerId) -> Step {
        self.server_known = true;
        let facts = core.config().facts_of(&issuer);
        LoadingServer::begin(core, ServerErrand::Resource(Errand::Renew(self)), facts, 0)
    }

    /// Updates the stored metadata; sends nothing when the endpoint moved to another origin (A22).
    pub(crate) fn met(self: Box<Self>, core: &mut Core, server: Server) -> Step {
        let Some(mut at) = core.held.take() else {
            return self.go(core);
        };
        match at.revalidate(&server) {
            Ok(moved) => {
                for endpoint in moved {
                    let (issuer, member) = (at.issuer().clone(), endpoint.member());
                    core.report(|| Decision::EndpointNotFollowed { issuer, member });
                }
                core.held.at = Some(at);
                self.go(core)
            }
            Err(_moved) => {
                core.held.at = Some(at);
                // An authorization at the new endpoint is another matter: the user can help.
                let cause = Cause::Violation(Violation::TokenEndpointMoved);
                self.ends_refused(core, cause)
            }
        }
    }

    // ---- Is another process refreshing?

    /// Returns when another process's lease ends: by the wall clock, and at most one lease length after this process
    /// first saw it. A lease further in the future than clocks differ is invalid.
    fn foreign_lease(&self, core: &Core) -> Option<MonoMillis> {
        let lease = core.held.lease?;
        if self.lease.is_some() && self.lease == core.held.revision {
            return None;
        }
        let left = lease.until.0.saturating_sub(core.now.wall.0);
        let longest = millis(LEASE_TIME).saturating_add(CLOCK_SKEW_MILLIS);
        let ends = core.now.mono.plus(Duration::from_millis(left));
        let ends = ends.min(lease.seen.plus(LEASE_TIME));
        (left <= longest && core.now.mono < ends).then_some(ends)
    }

    /// Polls the store again soon, to adopt the other process's result (L05).
    fn look_later(mut self: Box<Self>, core: &mut Core, lease_ends: MonoMillis) -> Step {
        self.writes = WRITES;
        let looks_left = self.looks.left();
        if self.looks.take().is_err() {
            return self.fails_for_now(core, Stage::Refresh, Cause::unreachable(None));
        }
        let looked = LOOKS_PER_RENEWAL.saturating_sub(looks_left).min(4);
        let wait = Duration::from_millis(100_u64 << looked).min(Duration::from_secs(1));
        let until = core.now.mono.plus(wait).min(lease_ends);
        Ok(Pausing::begin(core, Trigger::Renew(self), until))
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
            Ok(_look) => self.go(core),
            Err(_) => self.fails_for_now(core, Stage::Refresh, Cause::unreachable(None)),
        }
    }
}

/// Ends the pending authorization when the resource no longer lists its issuer (ISO-07).
fn end_flow(core: &mut Core) {
    let Some((issuer, operation)) = core.stop_waiting() else {
        return;
    };
    core.fail(Failure {
        operation,
        stage: Stage::Authorization,
        issuer: Some(issuer),
        cause: Cause::Violation(Violation::ServerChanged),
        seen: Vec::new(),
    });
}

/// A paused refresh: another process holds the lease, or a server is in back-off. A user's authorization
/// takes precedence.
pub(crate) struct Pausing {
    pub(crate) ask: Ask,
    pub(crate) then: Trigger,
}

impl Pausing {
    pub(crate) fn begin(core: &mut Core, then: Trigger, until: MonoMillis) -> Work {
        let ask = core.pause(until);
        Work::Pausing(Self { ask, then })
    }

    /// Returns true when the pause is for a refresh, and this machine holds no lease for it.
    pub(crate) fn holds_no_lease(&self) -> bool {
        matches!(&self.then, Trigger::Renew(renewal) if renewal.lease.is_none())
    }

    /// Reads the slot again.
    pub(crate) fn elapsed(self, core: &mut Core) -> Step {
        Ok(LoadingAccount::begin(core, Some(self.then)))
    }
}

impl Config {
    /// Returns true when validated resource metadata lists the issuer.
    pub(crate) fn lists(&self, facts: &ResourceFacts, issuer: &IssuerId) -> bool {
        facts
            .servers
            .iter()
            .any(|entry| self.is_expected(entry, issuer))
    }

    /// Returns true when another client may replace a pre-registered one at this issuer (ISO-06).
    pub(crate) fn may_meet(&self, issuer: &IssuerId) -> bool {
        self.has_credentials_for(issuer) || self.dynamic_registration == DynamicRegistration::Always
    }

    /// Returns resource metadata reduced to one server: the entry that is aliased to the issuer, or the
    /// issuer itself.
    fn facts_of(&self, issuer: &IssuerId) -> ResourceFacts {
        ResourceFacts::of_server(self.entry_for(issuer))
    }
}
