//! Refreshing a token: adopt the result of another process, check that the resource still lists the issuer,
//! lease the refresh token, back off (REFR, ISO-04, ISO-05, USE-08 to USE-10).
//!
//! Each pause, lost race and response leads back to [`Renewal::go`], which decides the next step from the
//! current knowledge.

use std::time::Duration;

use crate::account::RefreshTokenId;
use crate::action::Why;
use crate::budget::LOOKS_PER_RENEWAL;
use crate::config::{Discovery, MachineFlow, SignIn};
use crate::core::Core;
use crate::error::{Cause, Failure, Misconfiguration, Stage, Violation};
use crate::grant::ClientOrigin;
use crate::issuer::{IssuerId, Server, ServerSource};
use crate::record::ResourceFacts;
use crate::report::Decision;
use crate::state::attempt::{Errand, ServerErrand};
use crate::state::challenge::ask::ask_because;
use crate::state::discovery::cached_resource::LoadingResource;
use crate::state::discovery::listing::order;
use crate::state::discovery::resource::FetchingResource;
use crate::state::pause::Pausing;
use crate::state::renewal::ends::WRITES;
use crate::state::renewal::lease::Leasing;
use crate::state::renewal::remains::refused;
use crate::state::save::save_before;
use crate::state::sign_in::repeat::ask_user;
use crate::state::trigger::Trigger;
use crate::state::{Next, Step, done, wait_in};
use crate::suspended::{Occasion, Renewal};
use crate::time::MonoMillis;

impl Renewal {
    /// Decides the next step from the current account slot.
    pub(crate) fn go(self: Box<Self>, core: &mut Core) -> Step {
        if self.is_served(core) {
            core.ready();
            return done();
        }
        if core.held.unsaved.is_some() {
            return save_before(core, self);
        }
        let Some((issuer, source, left)) = core.held.at.as_ref().map(|at| {
            let left = at.held().still_listed().err();
            let left = left.map(|to| (at.held().client.origin, to.clone()));
            (at.issuer().clone(), at.server().facts().source, left)
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
        if !core.held.is_renewable(core.now) || self.has_spent(core) || !may_refresh {
            return if self.has_another(core) {
                core.ready();
                done()
            } else {
                self.needs_user(core)
            };
        }
        if let Some(until) = self.not_before.filter(|until| core.now.mono < *until) {
            return wait_in(Pausing::begin(core, Trigger::Renew(self), until));
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

    /// Returns true when an answer to the stored refresh token was taken in this renewal.
    fn has_spent(&self, core: &Core) -> bool {
        let refresh = core
            .held
            .tokens()
            .and_then(|tokens| tokens.refresh.as_ref());
        let is_spent = |token| self.spent.contains(&RefreshTokenId::of(token));
        !self.spent.is_empty() && refresh.is_some_and(is_spent)
    }

    pub(crate) fn needs_user(self: Box<Self>, core: &mut Core) -> Step {
        match self.effort.operation {
            Some(operation) => {
                let why = self.refusal.map(|cause| Why::RenewalRefused { cause });
                let occasion = match self.refused {
                    None => Occasion::Wanted,
                    Some(refused) => Occasion::Refused(refused.token),
                };
                ask_because(core, operation, occasion, why)
            }
            None => done(),
        }
    }

    // ---- Has the resource changed its issuer?

    /// Returns true when the resource's metadata must be read first. A refused token may mean that the
    /// resource has changed its issuer (ISO-05), or lists the old one again. Not read when the host
    /// configured the server, nor, without a metadata location in the challenge, at a server that had no
    /// metadata.
    fn must_read_resource(&self, core: &Core, source: ServerSource, left: bool) -> bool {
        let named_place = self.refused.as_ref().is_some_and(|r| r.named_place);
        // The metadata that was read for another operation a moment ago counts for this one.
        let left = left && !core.memory.has_just_read_the_resource(core.now.mono);
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
    fn moved(
        self: Box<Self>,
        core: &mut Core,
        from: IssuerId,
        origin: ClientOrigin,
        to: IssuerId,
    ) -> Step {
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
        ask_user(core, why, self.effort.operation)
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
        Ok(Next::ReadServer(
            ServerErrand::Resource(Errand::Renew(self)),
            facts,
            0,
        ))
    }

    /// Updates the stored metadata; sends nothing when the endpoint moved to another origin (A22).
    pub(crate) fn met(self: Box<Self>, core: &mut Core, server: &Server) -> Step {
        let Some(mut at) = core.held.take() else {
            return self.go(core);
        };
        match at.revalidate(server) {
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
                refused(core, self, cause)
            }
        }
    }

    // ---- Is another process refreshing?

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
        wait_in(Pausing::begin(core, Trigger::Renew(self), until))
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
