//! The choice among several authorization servers (DISC-16).

use crate::config::DynamicRegistration;
use crate::core::{Ask, Core};
use crate::record::ResourceFacts;
use crate::slot::Stored;
use crate::state::attempt::{Attempt, Errand, ServerErrand};
use crate::state::client::known_client::has_registration;
use crate::state::discovery::listing::order;
use crate::state::{Next, Step, Work, wait_in};
use crate::suspended::Obtaining;

/// Continues an authorization with the listed servers.
pub(crate) fn choose_server(core: &mut Core, attempt: Box<Attempt>, facts: ResourceFacts) -> Step {
    // A redirect that is out does not outlive a list without its server (ISO-07).
    let waits_at = core.waiting.as_ref().map(|waiting| waiting.at.issuer());
    if waits_at.is_some_and(|issuer| !core.config().lists(&facts, issuer)) {
        core.stop_waiting();
    }
    ChoosingServer::begin(core, attempt, facts)
}

/// Continues a token request without a user with the first of the listed servers.
pub(crate) fn first_listed(
    core: &Core,
    obtaining: Box<Obtaining>,
    mut facts: ResourceFacts,
) -> Step {
    order(core, &mut facts);
    read_first(Errand::Obtain(obtaining), facts)
}

fn read_first(errand: Errand, facts: ResourceFacts) -> Step {
    Ok(Next::ReadServer(ServerErrand::Resource(errand), facts, 0))
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
            return read_first(Errand::Authorize(attempt), facts);
        }
        Self::look(core, attempt, facts, 0)
    }

    fn look(core: &mut Core, attempt: Box<Attempt>, facts: ResourceFacts, at: usize) -> Step {
        let Some(issuer) = facts.servers.get(at) else {
            return read_first(Errand::Authorize(attempt), facts);
        };
        let slot = attempt.way.registration_slot(core, issuer);
        let ask = core.load(slot);
        wait_in(Work::ChoosingServer(Self {
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
                let slot = way.registration_slot(core, issuer);
                has_registration(core, way, issuer, slot, &stored)
            }
            (Ok(_) | Err(()), _) => false,
        };
        if known {
            if let Some(first) = facts.servers_mut().get_mut(..=self.at) {
                first.rotate_right(1);
            }
            return read_first(Errand::Authorize(self.attempt), facts);
        }
        Self::look(core, self.attempt, facts, self.at.saturating_add(1))
    }
}
