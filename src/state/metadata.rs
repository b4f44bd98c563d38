//! Reading cached public metadata before fetching it (DISC-19, META-18).

use crate::config::MetadataCache;
use crate::core::{Ask, Core};
use crate::record::{RecordFlaw, ResourceFacts, read_resource, read_server};
use crate::slot::{Found, Slot, Stored};
use crate::state::attempt::{Errand, ServerErrand};
use crate::state::discover::listed;
use crate::state::resource::{CachedResource, FetchingResource};
use crate::state::server::{Cached, FetchingServer, arrived};
use crate::state::{Step, Work};

pub(crate) struct LoadingResource {
    pub(crate) ask: Ask,
    pub(crate) errand: Errand,
    wanted: Wanted,
}

/// What a cached document is good for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// A fresh one is used.
    Fresh,
    /// It is only replaced (DISC-18).
    Replaced,
}

impl LoadingResource {
    /// From the cache if it is fresh.
    pub(crate) fn begin(core: &mut Core, errand: Errand) -> Step {
        Self::load(core, errand, Wanted::Fresh)
    }

    /// Read anew, whatever the cache holds.
    pub(crate) fn begin_anew(core: &mut Core, errand: Errand) -> Step {
        Self::load(core, errand, Wanted::Replaced)
    }

    fn load(core: &mut Core, errand: Errand, wanted: Wanted) -> Step {
        match core.config().metadata_cache {
            MetadataCache::Off => FetchingResource::begin(core, errand, CachedResource::Left),
            MetadataCache::Slots => {
                let slot = core.identity.resource_slot();
                let ask = core.load(slot);
                Ok(Work::LoadingResource(Self {
                    ask,
                    errand,
                    wanted,
                }))
            }
        }
    }

    /// A cache that cannot be read is no obstacle.
    pub(crate) fn loaded(self, core: &mut Core, found: Result<Option<Stored>, ()>) -> Step {
        let stored = match found {
            Ok(Some(stored)) => stored,
            Ok(None) => {
                return FetchingResource::begin(core, self.errand, CachedResource::Replaced(None));
            }
            Err(()) => return FetchingResource::begin(core, self.errand, CachedResource::Left),
        };
        core.memory.resource_metadata_seen = true;
        let replaced = CachedResource::Replaced(Some(stored.revision));
        let cached = match read_resource(&core.identity, &stored) {
            Ok((facts, fresh_until)) => {
                // Where they differ, one of them is old: the resource itself decides.
                let recalled = core.memory.recalls(&facts);
                let fresh = recalled && fresh_until.is_fresh(core.now.wall);
                if self.wanted == Wanted::Fresh && fresh {
                    return listed(core, self.errand, facts);
                }
                replaced
            }
            Err(flaw) => {
                core.report_unusable(core.identity.resource_slot(), flaw);
                match flaw {
                    RecordFlaw::Newer => CachedResource::Left,
                    RecordFlaw::Damaged | RecordFlaw::Foreign | RecordFlaw::Url => replaced,
                }
            }
        };
        FetchingResource::begin(core, self.errand, cached)
    }
}

/// What the resource says of itself. Where that changed, so may have what its servers say of themselves
/// (META-18).
pub(crate) fn heard(core: &mut Core, facts: &ResourceFacts) {
    if core.memory.heard(facts) {
        for listed in &facts.servers {
            let (issuer, _) = core.config().expected_issuer(listed);
            core.memory.doubt(&issuer);
        }
    }
}

pub(crate) struct LoadingServer {
    pub(crate) ask: Ask,
    slot: Slot,
    pub(crate) errand: ServerErrand,
    facts: ResourceFacts,
    entry: usize,
}

impl LoadingServer {
    pub(crate) fn begin(
        core: &mut Core,
        errand: ServerErrand,
        facts: ResourceFacts,
        entry: usize,
    ) -> Step {
        let cached = match (core.config().metadata_cache, facts.servers.get(entry)) {
            (MetadataCache::Slots, Some(issuer)) => Some(Slot::server_metadata(issuer.as_str())),
            (MetadataCache::Slots, None) | (MetadataCache::Off, _) => None,
        };
        match cached {
            None => FetchingServer::begin(core, errand, facts, entry, Cached::default()),
            Some(slot) => {
                let ask = core.load(slot);
                Ok(Work::LoadingServer(Self {
                    ask,
                    slot,
                    errand,
                    facts,
                    entry,
                }))
            }
        }
    }

    pub(crate) fn loaded(self, core: &mut Core, found: Result<Option<Stored>, ()>) -> Step {
        let Self {
            slot,
            errand,
            facts,
            entry,
            ..
        } = self;
        let stored = found.ok().flatten();
        let mut revision = stored.as_ref().map(|stored| stored.revision);
        let mut doubted = None;
        if let (Some(stored), Some(asked)) = (&stored, facts.servers.get(entry)) {
            match read_server(&core.identity, asked, stored, core.now.wall) {
                Ok(Some(server)) if core.config().is_expected(asked, server.issuer()) => {
                    if !core.memory.doubts(&server) {
                        return arrived(core, errand, facts, server);
                    }
                    doubted = Some(server);
                }
                Ok(_) => {}
                Err(flaw) => {
                    if flaw == RecordFlaw::Newer {
                        revision = None;
                    }
                    core.report_unusable(slot, flaw);
                }
            }
        }
        let found = Some(Found { slot, revision });
        FetchingServer::begin(core, errand, facts, entry, Cached { found, doubted })
    }
}
