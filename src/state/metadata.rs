//! Cached public metadata (DISC-19, META-18), for requests that need no user. An authorization reads both
//! documents at their source, so that no user is redirected on stale metadata.

use crate::config::{MetadataCache, SignIn};
use crate::core::{Ask, Core};
use crate::frame::RecordFlaw;
use crate::record::{ResourceFacts, read_resource, read_server};
use crate::slot::{Found, Revision, Slot, Stored};
use crate::state::attempt::{Errand, ServerErrand};
use crate::state::discover::listed;
use crate::state::resource::FetchingResource;
use crate::state::server::{FetchingServer, arrived};
use crate::state::{Step, Work};

/// The treatment of a document's cache slot after the document was fetched.
#[derive(Clone, Copy)]
pub(crate) enum Cached {
    /// Keep the slot: unreadable, written by a newer version, or no cache in use.
    Left,
    /// Replace the slot, if it still has this revision.
    Replaced(Found),
}

impl Cached {
    /// Returns the treatment of a record with this flaw: a record of a newer version is kept.
    fn flawed(flaw: RecordFlaw, slot: Slot, revision: Revision) -> Self {
        match flaw {
            RecordFlaw::Newer => Self::Left,
            RecordFlaw::Damaged | RecordFlaw::Foreign | RecordFlaw::Url => {
                Self::over(slot, Some(revision))
            }
        }
    }

    /// Replaces the slot as it was found.
    fn over(slot: Slot, revision: Option<Revision>) -> Self {
        Self::Replaced(Found { slot, revision })
    }
}

/// Reads cached resource metadata, for a client without a user. A refresh fetches the document itself
/// (DISC-18) and only replaces the cache.
pub(crate) struct LoadingResource {
    pub(crate) ask: Ask,
    pub(crate) errand: Errand,
}

impl LoadingResource {
    pub(crate) fn begin(core: &mut Core, errand: Errand) -> Step {
        let uses = match (
            &errand,
            &core.config().sign_in,
            core.config().metadata_cache,
        ) {
            (_, _, MetadataCache::Off) | (_, SignIn::User, _) | (Errand::Authorize(_), _, _) => {
                false
            }
            (Errand::Renew(_) | Errand::Obtain(_), SignIn::Machine(_), MetadataCache::Slots) => {
                true
            }
        };
        if !uses {
            return FetchingResource::begin(core, errand, Cached::Left);
        }
        let ask = core.load(core.identity.resource_slot());
        Ok(Work::LoadingResource(Self { ask, errand }))
    }

    /// An unreadable cache counts as empty.
    pub(crate) fn loaded(self, core: &mut Core, found: Result<Option<Stored>, ()>) -> Step {
        let slot = core.identity.resource_slot();
        let cached = match found {
            Err(()) => Cached::Left,
            Ok(None) => Cached::over(slot, None),
            Ok(Some(stored)) => match read_resource(&core.identity, &stored) {
                Ok((facts, fresh_until)) => {
                    let wanted = match &self.errand {
                        // The cached document may be older than the last known move of the resource (ISO-04).
                        Errand::Obtain(_) => {
                            core.memory.resource_metadata.is_empty()
                                && !core.knows_of_a_move()
                                && !core.memory.is_outdated(&facts)
                        }
                        Errand::Authorize(_) | Errand::Renew(_) => false,
                    };
                    let fresh = fresh_until.is_fresh(core.now.wall);
                    if wanted && fresh && !core.memory.doubtful {
                        core.memory.rely_on(slot, stored.revision);
                        return listed(core, self.errand, facts);
                    }
                    Cached::over(slot, Some(stored.revision))
                }
                Err(flaw) => {
                    core.report_unusable(slot, flaw);
                    Cached::flawed(flaw, slot, stored.revision)
                }
            },
        };
        FetchingResource::begin(core, self.errand, cached)
    }
}

/// Records the resource's metadata. A change marks the cached metadata of its authorization servers as
/// stale (META-18).
pub(crate) fn heard(core: &mut Core, facts: &ResourceFacts) {
    if core.memory.heard(facts) {
        core.doubt();
    }
}

/// Reads the cached metadata of an authorization server.
pub(crate) struct LoadingServer {
    pub(crate) ask: Ask,
    slot: Slot,
    pub(crate) errand: ServerErrand,
    facts: ResourceFacts,
    entry: usize,
}

impl LoadingServer {
    /// An authorization fetches the document at its source instead.
    pub(crate) fn begin(
        core: &mut Core,
        errand: ServerErrand,
        facts: ResourceFacts,
        entry: usize,
    ) -> Step {
        let uses = match (&errand, core.config().metadata_cache) {
            (_, MetadataCache::Off) | (ServerErrand::Resource(Errand::Authorize(_)), _) => false,
            (
                ServerErrand::Resource(Errand::Renew(_) | Errand::Obtain(_)) | ServerErrand::Idp(_),
                MetadataCache::Slots,
            ) => true,
        };
        match facts.servers.get(entry).filter(|_| uses) {
            None => FetchingServer::begin(core, errand, facts, entry, Cached::Left),
            Some(issuer) => {
                let slot = Slot::server_metadata(issuer.as_str());
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
        let cached = match (found, facts.servers.get(entry)) {
            (Err(()), _) | (_, None) => Cached::Left,
            (Ok(None), Some(_)) => Cached::over(slot, None),
            (Ok(Some(stored)), Some(asked)) => {
                match read_server(&core.identity, asked, &stored, core.now.wall) {
                    Ok(Some(server))
                        if core.config().is_expected(asked, server.issuer())
                            && !core.memory.doubtful =>
                    {
                        core.memory.rely_on(slot, stored.revision);
                        return arrived(core, errand, facts, server);
                    }
                    Ok(_) => Cached::over(slot, Some(stored.revision)),
                    Err(flaw) => {
                        core.report_unusable(slot, flaw);
                        Cached::flawed(flaw, slot, stored.revision)
                    }
                }
            }
        };
        FetchingServer::begin(core, errand, facts, entry, cached)
    }
}
