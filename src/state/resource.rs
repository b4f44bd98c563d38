//! Fetching protected resource metadata from its ordered list of places (DISC-02 to DISC-15).

use std::collections::VecDeque;

use bytes::Bytes;
use http::HeaderMap;

use crate::action::{Purpose, UrlSource};
use crate::config::{Legacy, MetadataCache, Strictness};
use crate::core::{Ask, Core};
use crate::error::{Cause, Misconfiguration, Stage, Violation};
use crate::event::Outcome;
use crate::issuer::{IssuerId, ServerSource};
use crate::record::{ResourceFacts, write_resource};
use crate::report::{Decision, Verdict};
use crate::slot::Slot;
use crate::state::fetch::{Fetch, Fetched, Place, Tried, report};
use crate::state::server::FetchingServer;
use crate::state::{Attempt, ChoosingServer, Step, Work};
use crate::wire::http_fields::freshness;
use crate::wire::json::JsonFlaw;
use crate::wire::resource::{ResourceDocument, canonical_identifier, covers};
use crate::wire::text::Untrusted;
use crate::wire::url::WebUrl;
use crate::wire::well_known::resource_locations;

/// A place with what is known of it.
struct Candidate {
    url: WebUrl,
    /// The MCP server or the host named it; a document there is final (DISC-10, DISC-11).
    announced: bool,
}

pub(crate) struct FetchingResource {
    pub(crate) attempt: Box<Attempt>,
    fetch: Fetch,
    announced: bool,
    rest: VecDeque<Candidate>,
    tried: Tried,
}

impl FetchingResource {
    /// The announced places, then the well-known ones.
    pub(crate) fn begin(core: &mut Core, attempt: Box<Attempt>) -> Step {
        let config = core.config();
        let mut places: VecDeque<Candidate> = core
            .memory
            .resource_metadata
            .iter()
            .map(|url| Candidate {
                url: url.clone(),
                announced: true,
            })
            .collect();
        for location in resource_locations(config.mcp_url()) {
            match config.url_policy().check(&location) {
                Ok(url) if !places.iter().any(|known| known.url == url) => {
                    places.push_back(Candidate {
                        url,
                        announced: false,
                    });
                }
                Ok(_) | Err(_) => {}
            }
        }
        Self::next(core, attempt, places, Tried::default())
    }

    /// The one place that the host configured (DISC-20).
    pub(crate) fn begin_at(core: &mut Core, attempt: Box<Attempt>, url: WebUrl) -> Step {
        let places = VecDeque::from([Candidate {
            url,
            announced: true,
        }]);
        Self::next(core, attempt, places, Tried::default())
    }

    fn next(
        core: &mut Core,
        mut attempt: Box<Attempt>,
        mut rest: VecDeque<Candidate>,
        tried: Tried,
    ) -> Step {
        let Some(candidate) = rest.pop_front() else {
            return nowhere(core, attempt, tried);
        };
        let place = Place {
            stage: Stage::ResourceMetadata,
            purpose: Purpose::ResourceMetadata,
            source: if candidate.announced {
                UrlSource::McpServer
            } else {
                UrlSource::Host
            },
            legacy: false,
        };
        let fetch = Fetch::begin(core, &mut attempt, candidate.url, place)?;
        Ok(Work::FetchingResource(Self {
            attempt,
            fetch,
            announced: candidate.announced,
            rest,
            tried,
        }))
    }

    pub(crate) fn ask(&self) -> &Ask {
        &self.fetch.ask
    }

    pub(crate) fn replied(mut self, core: &mut Core, outcome: Outcome) -> Step {
        let url = self.fetch.url().clone();
        match self.fetch.replied(core, &mut self.attempt, outcome)? {
            Fetched::Again(fetch) => return Ok(Work::FetchingResource(Self { fetch, ..self })),
            Fetched::Body(body, headers) => {
                let root = self.rest.is_empty() && !self.announced;
                match accept(core, &body, self.announced, root) {
                    Ok(Some(facts)) => {
                        report(core, url, Verdict::Found);
                        return found(core, self.attempt, facts, &headers);
                    }
                    Ok(None) => report(core, url, Verdict::Absent),
                    Err(cause) => {
                        report(core, url, Verdict::Invalid);
                        return Err(self.attempt.fails(Stage::ResourceMetadata, None, cause));
                    }
                }
            }
            Fetched::Absent => {}
            Fetched::Transient => self.tried.transient = true,
            Fetched::Refused(flaw) => self.tried.refused = Some(flaw),
        }
        Self::next(core, self.attempt, self.rest, self.tried)
    }
}

/// Judges a body: `None` when it is no document at all.
fn accept(
    core: &mut Core,
    body: &Bytes,
    announced: bool,
    root: bool,
) -> Result<Option<ResourceFacts>, Cause> {
    let document = match ResourceDocument::parse(body) {
        Ok(document) => document,
        Err(JsonFlaw::NotAnObject) => return Ok(None),
        Err(JsonFlaw::Malformed) => {
            return Err(Cause::Violation(Violation::ResourceMetadataMalformed));
        }
    };
    let Some(resource) = document.resource() else {
        return if announced {
            Err(Cause::Violation(Violation::NoResource))
        } else {
            Ok(None)
        };
    };
    let config = core.config();
    let covered = match config.strictness {
        Strictness::Tolerant => covers(resource, config.mcp_url(), config.url_policy()),
        Strictness::Strict if root => Ok(resource == config.mcp_url().origin()),
        Strictness::Strict => Ok(resource == &*config.mcp_url_given),
    };
    if covered != Ok(true) {
        return Err(Cause::Violation(Violation::OtherResource {
            got: Untrusted::new(resource),
        }));
    }
    if !document.accepts_header() {
        return Err(Cause::Violation(Violation::NoHeaderMethod));
    }
    if document.requires_dpop() {
        return Err(Cause::Misconfigured(Misconfiguration::DpopRequired));
    }
    let mut servers = Vec::new();
    for entry in document.authorization_servers() {
        match IssuerId::new(entry, core.config().url_policy()) {
            Ok(issuer) => servers.push(issuer),
            Err(flaw) => core.report(|| Decision::EntryUnusable {
                entry: Untrusted::new(entry),
                reason: flaw.to_string(),
            }),
        }
    }
    if servers.is_empty() {
        return Err(Cause::Violation(Violation::NoAuthorizationServer));
    }
    Ok(Some(ResourceFacts {
        id: resource.into(),
        servers,
        scopes: document.scopes_supported(),
        requires_dpop: false,
    }))
}

fn found(
    core: &mut Core,
    attempt: Box<Attempt>,
    facts: ResourceFacts,
    headers: &HeaderMap,
) -> Step {
    core.memory.resource_metadata_seen = true;
    if core.config().metadata_cache == MetadataCache::Slots {
        let seconds = freshness(headers, core.now.wall.seconds());
        let expires = core.now.wall.plus_seconds(seconds);
        let slot = Slot::resource_metadata(core.identity.mcp_url());
        let stored = write_resource(&core.identity, &facts, expires);
        let expected = core.memory.cached_resource.replace(stored.revision);
        // Nothing depends on a cache: the answer is not waited for.
        core.persist(slot, expected, Some(stored), Some(expires));
    }
    ChoosingServer::begin(core, attempt, facts)
}

/// No place had a document.
fn nowhere(core: &mut Core, attempt: Box<Attempt>, tried: Tried) -> Step {
    if let Some(cause) = tried.obstacle() {
        return Err(attempt.fails(Stage::ResourceMetadata, None, cause));
    }
    let known = core
        .held
        .at
        .as_ref()
        .is_some_and(|at| at.server().facts().source == ServerSource::Metadata);
    let announced = !core.memory.resource_metadata.is_empty();
    // A server that published metadata once does not become a legacy one (LEG-02).
    if known || announced || core.memory.resource_metadata_seen {
        let cause = Cause::Misconfigured(Misconfiguration::ServerUnknown);
        return Err(attempt.fails(Stage::ResourceMetadata, None, cause));
    }
    let config = core.config();
    match (
        &config.legacy,
        IssuerId::new(config.mcp_url().origin(), config.url_policy()),
    ) {
        (Legacy::On { .. }, Ok(base)) => {
            let facts = ResourceFacts {
                id: canonical_identifier(config.mcp_url()),
                servers: vec![base],
                scopes: None,
                requires_dpop: false,
            };
            FetchingServer::begin_legacy(core, attempt, facts)
        }
        (Legacy::Off, _) | (Legacy::On { .. }, Err(_)) => Err(attempt.fails(
            Stage::ResourceMetadata,
            None,
            Cause::Misconfigured(Misconfiguration::ServerUnknown),
        )),
    }
}
