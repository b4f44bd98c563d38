//! The start of discovery, and the choice among several authorization servers (DISC-16, DISC-20).

use crate::budget::FLOW_TIME;
use crate::config::{Config, Discovery, DynamicRegistration};
use crate::core::{Ask, Core};
use crate::error::{Cause, Stage, Violation};
use crate::event::Where;
use crate::issuer::IssuerId;
use crate::record::ResourceFacts;
use crate::slot::Stored;
use crate::state::attempt::{Errand, ServerErrand};
use crate::state::client::{has_registration, registration_slot};
use crate::state::metadata::{LoadingResource, LoadingServer};
use crate::state::repeat::{asks_for_more, recall};
use crate::state::resource::FetchingResource;
use crate::state::server::{arrived, configured};
use crate::state::{Attempt, CheckingPending, Step, Work};
use crate::wire::resource::canonical_identifier;
use crate::wish::Click;

/// Starts an attempt. With an authorization pending, repeats its redirect or its code when it still fits;
/// one of the other way is dropped.
pub(crate) fn discover(core: &mut Core, mut click: Click) -> Step {
    if let Some(answered) = click.authorization.answers.take() {
        recall(core, *answered);
    }
    match click.authorization.on {
        Where::Here if core.waiting.is_some() => return Ok(CheckingPending::begin(core, click)),
        Where::OtherDevice if !asks_for_more(core, &click) => {
            let now = core.now.mono;
            if let Some(pending) = core.device.take_if(|pending| pending.is_timely(now)) {
                pending.emit(core);
                core.device = Some(pending);
                return Ok(Work::Idle);
            }
        }
        Where::Here | Where::OtherDevice => {}
    }
    core.stop_waiting();
    read_documents(core, click)
}

/// Starts an attempt beside a redirect that may be out: that one ends where the documents lead elsewhere now.
pub(crate) fn read_documents(core: &mut Core, click: Click) -> Step {
    if let Some(key) = click.authorization.seed.revision_key() {
        core.identity.seal_with(key);
    }
    let attempt = Attempt::new(core, click)?;
    locate(core, Errand::Authorize(attempt))
}

/// Locates the resource's authorization server: by configuration, by metadata read a moment ago, or by
/// metadata.
pub(crate) fn locate(core: &mut Core, errand: Errand) -> Step {
    // Metadata read a moment ago, for the challenge that this flow answers.
    let just_read = core.memory.resource.take().map(|read| *read);
    if let Some((at, facts)) = just_read
        && core.now.mono < at.plus(FLOW_TIME)
        && !is_superseded(core, &facts)
    {
        return listed(core, errand, facts);
    }
    match &core.config().discovery {
        Discovery::Standard => LoadingResource::begin(core, errand),
        Discovery::ResourceMetadata(url) => {
            let url = url.clone();
            FetchingResource::begin_at(core, errand, url)
        }
        Discovery::Issuer(issuer) => {
            let facts = without_resource_metadata(core.config(), issuer);
            LoadingServer::begin(core, ServerErrand::Resource(errand), facts, 0)
        }
        Discovery::ServerMetadata(issuer, json) => {
            let facts = without_resource_metadata(core.config(), issuer);
            match configured(core.config(), issuer, json) {
                Ok(server) => arrived(core, ServerErrand::Resource(errand), facts, server),
                Err(flaw) => Err(errand.fails(
                    Stage::ServerMetadata,
                    Some(issuer),
                    Cause::Violation(Violation::Metadata(flaw)),
                )),
            }
        }
    }
}

/// Returns true when another process has read metadata that no longer lists the account's issuer, and this document
/// still does (ISO-04).
pub(crate) fn is_superseded(core: &Core, facts: &ResourceFacts) -> bool {
    core.held.at.as_ref().is_some_and(|at| {
        at.held().still_listed().is_err() && core.config().lists(facts, at.issuer())
    })
}

/// Continues with the servers that the resource lists.
pub(crate) fn listed(core: &mut Core, errand: Errand, mut facts: ResourceFacts) -> Step {
    match errand {
        Errand::Authorize(attempt) => {
            // A redirect that is out does not outlive a list without its server (ISO-07).
            let waits_at = core.waiting.as_ref().map(|waiting| waiting.at.issuer());
            if waits_at.is_some_and(|issuer| !core.config().lists(&facts, issuer)) {
                core.stop_waiting();
            }
            ChoosingServer::begin(core, attempt, facts)
        }
        Errand::Renew(renewal) => renewal.listed(core, facts),
        Errand::Obtain(_) => {
            order(core, &mut facts);
            LoadingServer::begin(core, ServerErrand::Resource(errand), facts, 0)
        }
    }
}

fn without_resource_metadata(config: &Config, issuer: &IssuerId) -> ResourceFacts {
    let id = canonical_identifier(config.mcp_url());
    ResourceFacts::without_document(id, issuer.clone())
}

/// Orders the entries: the host's choice, then the issuer in use, then issuers with configured credentials,
/// then document order. Returns true when a criterion other than document order decided.
pub(crate) fn order(core: &Core, facts: &mut ResourceFacts) -> bool {
    let config = core.config();
    let held = core.held.at.as_ref().map(|at| at.issuer());
    let rank = |issuer: &IssuerId| {
        let preferred = config.preferred_issuers.iter().position(|p| p == issuer);
        let in_use = held == Some(issuer);
        let configured = config.has_credentials_for(issuer);
        match (preferred, in_use, configured) {
            (Some(place), _, _) => place,
            (None, true, _) => usize::MAX.saturating_sub(2),
            (None, false, true) => usize::MAX.saturating_sub(1),
            (None, false, false) => usize::MAX,
        }
    };
    let decided = facts
        .servers
        .iter()
        .any(|issuer| rank(issuer) != usize::MAX);
    if facts.servers.len() > 1 {
        facts.servers_mut().sort_by_key(rank);
    }
    decided
}

/// Looks for a stored registration at each of several entries, in document order (DISC-16, second rule).
pub(crate) struct ChoosingServer {
    pub(crate) ask: Ask,
    pub(crate) attempt: Box<Attempt>,
    facts: ResourceFacts,
    at: usize,
}

impl ChoosingServer {
    /// Orders the entries; without another criterion, one with a stored registration comes first.
    pub(crate) fn begin(core: &mut Core, attempt: Box<Attempt>, mut facts: ResourceFacts) -> Step {
        let decided = order(core, &mut facts);
        let config = core.config();
        let registers = config.dynamic_registration != DynamicRegistration::Never;
        if decided || facts.servers.len() < 2 || !registers {
            return LoadingServer::begin(
                core,
                ServerErrand::Resource(Errand::Authorize(attempt)),
                facts,
                0,
            );
        }
        Self::look(core, attempt, facts, 0)
    }

    fn look(core: &mut Core, attempt: Box<Attempt>, facts: ResourceFacts, at: usize) -> Step {
        let Some(issuer) = facts.servers.get(at) else {
            return LoadingServer::begin(
                core,
                ServerErrand::Resource(Errand::Authorize(attempt)),
                facts,
                0,
            );
        };
        let slot = registration_slot(core, issuer, attempt.way.registration());
        let ask = core.load(slot);
        Ok(Work::ChoosingServer(Self {
            ask,
            attempt,
            facts,
            at,
        }))
    }

    pub(crate) fn loaded(self, core: &mut Core, found: Result<Option<Stored>, ()>) -> Step {
        let mut facts = self.facts;
        let way = &self.attempt.way;
        let known = match (found, facts.servers.get(self.at)) {
            (Ok(Some(stored)), Some(issuer)) => {
                let slot = registration_slot(core, issuer, way.registration());
                has_registration(core, way, issuer, slot, &stored)
            }
            (Ok(_) | Err(()), _) => false,
        };
        if known {
            if let Some(first) = facts.servers_mut().get_mut(..=self.at) {
                first.rotate_right(1);
            }
            return LoadingServer::begin(
                core,
                ServerErrand::Resource(Errand::Authorize(self.attempt)),
                facts,
                0,
            );
        }
        Self::look(core, self.attempt, facts, self.at.saturating_add(1))
    }
}
