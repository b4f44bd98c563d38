//! Cached metadata of an authorization server (META-18), for requests that need no user.

use crate::config::MetadataCache;
use crate::core::{Ask, Core};
use crate::record::{ResourceFacts, read_server};
use crate::slot::{Slot, Stored};
use crate::state::attempt::{Errand, ServerErrand};
use crate::state::discovery::fetch::Cached;
use crate::state::discovery::server::FetchingServer;
use crate::state::{Next, Step, Work, wait_in};

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
                wait_in(Work::LoadingServer(Self {
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
                        return Ok(Next::Found(errand, facts, server));
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
