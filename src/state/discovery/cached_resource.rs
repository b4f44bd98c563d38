//! Cached metadata of the resource (DISC-19), for requests that need no user. An authorization reads both
//! documents at their source, so that no user is redirected on stale metadata.

use crate::config::{MetadataCache, SignIn};
use crate::core::{Ask, Core};
use crate::record::read_resource;
use crate::slot::Stored;
use crate::state::attempt::Errand;
use crate::state::discovery::fetch::Cached;
use crate::state::discovery::resource::FetchingResource;
use crate::state::{Next, Step, Work, wait_in};

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
        wait_in(Work::LoadingResource(Self { ask, errand }))
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
                        return Ok(Next::Listed(self.errand, facts));
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
