//! Fetching protected resource metadata from its ordered list of locations (DISC-02 to DISC-15).

use bytes::Bytes;
use http::HeaderMap;

use crate::action::{Purpose, UrlSource};
use crate::config::{DpopPolicy, Legacy, Strictness};
use crate::core::{Ask, Core};
use crate::error::{Cause, Misconfiguration, Stage, Violation};
use crate::event::Outcome;
use crate::few::Few;
use crate::issuer::{IssuerId, ServerSource};
use crate::record::{ResourceFacts, ResourceMembers, write_resource};
use crate::report::{Decision, Verdict};
use crate::state::attempt::{Errand, ServerErrand};
use crate::state::discovery::fetch::{Cached, Fetch, Fetched, Place, Tried, report};
use crate::state::discovery::server::FetchingServer;
use crate::state::discovery::standing::SavingStanding;
use crate::state::{Step, Work, wait_in};
use crate::wire::http_fields::freshness;
use crate::wire::json::JsonFlaw;
use crate::wire::resource::{OPTIONAL, ResourceDocument, canonical_identifier, covers};
use crate::wire::text::Untrusted;
use crate::wire::url::WebUrl;
use crate::wire::well_known::resource_locations;

/// The position in the ordered list of locations: announced ones, then well-known ones.
struct Plan {
    /// The locations that were announced when the search began.
    announced: Few<WebUrl>,
    tried: usize,
    well_known: usize,
    /// The host configured the only location (DISC-20).
    configured: bool,
    cached: Cached,
}

impl Plan {
    /// Returns the next location, and whether it was announced: a document there is final (DISC-10,
    /// DISC-11).
    fn next(&mut self, core: &Core) -> Option<(WebUrl, bool)> {
        if self.configured {
            return None;
        }
        if let Some(url) = self.announced.get(self.tried) {
            self.tried = self.tried.saturating_add(1);
            return Some((url.clone(), true));
        }
        let config = core.config();
        for location in resource_locations(config.mcp_url()).skip(self.well_known) {
            self.well_known = self.well_known.saturating_add(1);
            match config.url_policy().check(&location) {
                Ok(url) if !self.announced.contains(&url) => return Some((url, false)),
                Ok(_) | Err(_) => {}
            }
        }
        None
    }

    /// Returns true when the last location is the one at the root of the origin.
    fn is_at_root(&self, core: &Core) -> bool {
        resource_locations(core.config().mcp_url())
            .nth(self.well_known)
            .is_none()
    }
}

pub(crate) struct FetchingResource {
    pub(crate) errand: Errand,
    fetch: Fetch,
    announced: bool,
    plan: Plan,
    tried: Tried,
}

impl FetchingResource {
    /// Starts with the announced locations, then the well-known ones.
    pub(crate) fn begin(core: &mut Core, errand: Errand, cached: Cached) -> Step {
        let plan = Plan {
            announced: core.memory.resource_metadata.clone(),
            tried: 0,
            well_known: 0,
            configured: false,
            cached,
        };
        Self::next(core, errand, plan, Tried::default())
    }

    /// Fetches the only location that the host configured (DISC-20). The document is not cached, since
    /// other machines may not use it.
    pub(crate) fn begin_at(core: &mut Core, errand: Errand, url: WebUrl) -> Step {
        let plan = Plan {
            announced: Few::new(),
            tried: 0,
            well_known: 0,
            configured: true,
            cached: Cached::Left,
        };
        Self::look(core, errand, plan, Tried::default(), url, true)
    }

    fn next(core: &mut Core, errand: Errand, mut plan: Plan, tried: Tried) -> Step {
        match plan.next(core) {
            Some((url, announced)) => Self::look(core, errand, plan, tried, url, announced),
            None => nowhere(core, errand, tried),
        }
    }

    fn look(
        core: &mut Core,
        mut errand: Errand,
        plan: Plan,
        tried: Tried,
        url: WebUrl,
        announced: bool,
    ) -> Step {
        let place = Place {
            stage: Stage::ResourceMetadata,
            purpose: Purpose::ResourceMetadata,
            source: match (plan.configured, announced) {
                (false, true) => UrlSource::McpServer,
                (true, _) | (false, false) => UrlSource::Host,
            },
            legacy: false,
        };
        let fetch = Fetch::begin(core, errand.effort(), url, place)?;
        wait_in(Work::FetchingResource(Self {
            errand,
            fetch,
            announced,
            plan,
            tried,
        }))
    }

    pub(crate) fn ask(&self) -> &Ask {
        &self.fetch.ask
    }

    pub(crate) fn replied(mut self, core: &mut Core, outcome: Outcome) -> Step {
        match self.fetch.replied(core, self.errand.effort(), outcome)? {
            Fetched::Again(fetch) => {
                return wait_in(Work::FetchingResource(Self { fetch, ..self }));
            }
            Fetched::Body(url, body, headers) => {
                let root = !self.announced && self.plan.is_at_root(core);
                match accept(core, &body, self.announced, root) {
                    Ok(Some(facts)) => {
                        report(core, url, Verdict::Found);
                        return found(core, self.errand, facts, self.plan.cached, &headers);
                    }
                    Ok(None) => report(core, url, Verdict::Absent),
                    Err(cause) => {
                        report(core, url, Verdict::Invalid);
                        let empty = cause == Cause::Violation(Violation::NoAuthorizationServer);
                        return match self.errand {
                            // An empty list is not a change of issuer (A21).
                            Errand::Renew(renewal) if empty => renewal.nowhere(core),
                            errand @ (Errand::Authorize(_)
                            | Errand::Renew(_)
                            | Errand::Obtain(_)) => {
                                errand.ends(core, Stage::ResourceMetadata, None, cause)
                            }
                        };
                    }
                }
            }
            Fetched::Absent => {}
            Fetched::Transient => self.tried.transient = true,
            Fetched::Refused(place, flaw) => self.tried.refuse(place.as_str(), flaw),
        }
        Self::next(core, self.errand, self.plan, self.tried)
    }
}

/// Checks a body; `None`: not a metadata document.
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
        let expected = if config.strictness == Strictness::Strict && root {
            config.mcp_url().origin()
        } else {
            config.mcp_url().as_str()
        };
        return Err(Cause::Violation(Violation::OtherResource {
            expected: expected.into(),
            got: Untrusted::new(resource),
        }));
    }
    core.report_other_types(body, OPTIONAL);
    let config = core.config();
    if !document.accepts_header() {
        return Err(Cause::Violation(Violation::NoHeaderMethod));
    }
    let never = config.dpop.policy == DpopPolicy::Never;
    if document.requires_dpop() && never {
        return Err(Cause::Misconfigured(Misconfiguration::DpopRequired));
    }
    let mut servers = Few::new();
    for entry in document.authorization_servers() {
        if core.reports() && entry.contains("/.well-known/") {
            core.report(|| Decision::EntryLooksLikeDocument {
                entry: Untrusted::new(entry),
            });
        }
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
    let members = ResourceMembers {
        id: core.config().mcp_url().shared_as(resource),
        servers,
        scopes: document.scopes_like(core.memory.demanded.all()),
        requires_dpop: document.requires_dpop(),
        dpop_algorithms: document.dpop_algorithms(),
    };
    Ok(Some(members.into()))
}

fn found(
    core: &mut Core,
    errand: Errand,
    facts: ResourceFacts,
    cached: Cached,
    headers: &HeaderMap,
) -> Step {
    core.memory.resource_metadata_seen = true;
    core.memory.resource_read = Some(core.event);
    heard(core, &facts);
    if let Cached::Replaced(found) = cached {
        let seconds = freshness(headers, core.now.wall.seconds());
        let expires = core.now.wall.plus_seconds(seconds);
        let stored = write_resource(&core.identity, &facts, expires);
        core.memory.rely_on(found.slot, stored.revision);
        // A cache write; its result is not awaited.
        core.persist(found.slot, found.revision, Some(stored), Some(expires));
    }
    SavingStanding::judge(core, errand, facts)
}

/// Continues when no location has a document.
fn nowhere(core: &mut Core, errand: Errand, tried: Tried) -> Step {
    if let Some(cause) = tried.obstacle() {
        return errand.ends(core, Stage::ResourceMetadata, None, cause);
    }
    let errand = match errand {
        Errand::Renew(renewal) => return renewal.nowhere(core),
        errand @ (Errand::Authorize(_) | Errand::Obtain(_)) => errand,
    };
    let known = core
        .held
        .at
        .as_ref()
        .is_some_and(|at| at.server().facts().source == ServerSource::Metadata);
    let announced = !core.memory.resource_metadata.is_empty();
    // A server that once published metadata is never treated as legacy (LEG-02).
    if known || announced || core.memory.resource_metadata_seen {
        let cause = Cause::Misconfigured(Misconfiguration::ServerUnknown);
        return Err(errand.fails(Stage::ResourceMetadata, None, cause));
    }
    let config = core.config();
    match (
        &config.legacy,
        IssuerId::new(config.mcp_url().origin(), config.url_policy()),
    ) {
        (Legacy::Published { .. } | Legacy::On { .. }, Ok(base)) => {
            let id = canonical_identifier(config.mcp_url());
            let facts = ResourceFacts::without_document(id, base);
            FetchingServer::begin_legacy(core, ServerErrand::Resource(errand), facts)
        }
        (Legacy::Off, _) | (Legacy::Published { .. } | Legacy::On { .. }, Err(_)) => Err(errand
            .fails(
                Stage::ResourceMetadata,
                None,
                Cause::Misconfigured(Misconfiguration::ServerUnknown),
            )),
    }
}

/// Records the resource's metadata. A change marks the cached metadata of its authorization servers as
/// stale (META-18).
pub(crate) fn heard(core: &mut Core, facts: &ResourceFacts) {
    if core.memory.heard(facts) {
        core.doubt();
    }
}
