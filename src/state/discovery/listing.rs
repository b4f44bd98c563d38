//! The list of authorization servers in a resource's metadata: its order, and what it says about an issuer.

use crate::config::{Config, DynamicRegistration};
use crate::core::Core;
use crate::issuer::IssuerId;
use crate::record::ResourceFacts;
use crate::wire::resource::canonical_identifier;

/// Orders the entries: the host's choice, then the issuer in use, then the one that the user was asked to move to, then issuers
/// with configured credentials, then document order. So the server that a question names is the one that its answer leads to,
/// and the one that the next question names, while it is listed (ISO-09). Returns true when a criterion other than document order decided.
pub(crate) fn order(core: &Core, facts: &mut ResourceFacts) -> bool {
    let held = core.held.at.as_ref().map(|at| at.issuer());
    order_beside(core, held, facts)
}

/// Same as [`order`], beside an account of this issuer.
pub(crate) fn order_beside(
    core: &Core,
    held: Option<&IssuerId>,
    facts: &mut ResourceFacts,
) -> bool {
    let config = core.config();
    let offered = core.memory.offered.as_deref();
    let offered = offered.filter(|(from, _)| held == Some(from));
    let rank = |issuer: &IssuerId| {
        let preferred = config.preferred_issuers.iter().position(|p| p == issuer);
        let in_use = held == Some(issuer);
        let named = offered.is_some_and(|(_, to)| config.is_expected(issuer, to));
        let configured = config.has_credentials_for(issuer);
        match (preferred, in_use, named, configured) {
            (Some(place), _, _, _) => place,
            (None, true, _, _) => usize::MAX.saturating_sub(3),
            (None, false, true, _) => usize::MAX.saturating_sub(2),
            (None, false, false, true) => usize::MAX.saturating_sub(1),
            (None, false, false, false) => usize::MAX,
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

/// Returns true when another process has read metadata that no longer lists the account's issuer, and this document
/// still does (ISO-04).
pub(crate) fn is_superseded(core: &Core, facts: &ResourceFacts) -> bool {
    core.held.at.as_ref().is_some_and(|at| {
        at.held().still_listed().is_err() && core.config().lists(facts, at.issuer())
    })
}

pub(crate) fn without_resource_metadata(config: &Config, issuer: &IssuerId) -> ResourceFacts {
    let id = canonical_identifier(config.mcp_url());
    ResourceFacts::without_document(id, issuer.clone())
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
    pub(crate) fn facts_of(&self, issuer: &IssuerId) -> ResourceFacts {
        ResourceFacts::of_server(self.entry_for(issuer))
    }
}
