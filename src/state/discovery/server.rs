//! Fetching authorization server metadata (META), by entry and by location.

use crate::action::{Purpose, UrlSource};
use crate::config::{Config, Discovery};
use crate::core::{Ask, Core};
use http::HeaderMap;

use crate::error::{Cause, Failure, Misconfiguration, PlaceFlaw, Stage, Violation};
use crate::event::Outcome;
use crate::issuer::{IssuerId, MetadataFlaw, Server, ServerSource};
use crate::record::{ResourceFacts, write_server};
use crate::report::{Decision, Verdict};
use crate::state::attempt::{Errand, ServerErrand};
use crate::state::discovery::fetch::{Cached, Fetch, Fetched, Place, Tried, report};
use crate::state::{Next, Step, Work, wait_in};
use crate::time::UnixMillis;
use crate::wire::http_fields::freshness;
use crate::wire::json::JsonFlaw;
use crate::wire::server::{OPTIONAL, ServerDocument};
use crate::wire::text::{Untrusted, joined};
use crate::wire::url::{UrlPolicy, WebUrl};
use crate::wire::well_known::{legacy_server_place, server_places};

pub(crate) struct FetchingServer {
    pub(crate) errand: ServerErrand,
    fetch: Fetch,
    facts: ResourceFacts,
    search: Search,
}

/// The search for the metadata of one entry.
struct Search {
    /// The index of the entry in the resource's list.
    entry: usize,
    asked: IssuerId,
    source: ServerSource,
    /// The number of locations tried.
    places: usize,
    tried: Tried,
    /// The worst flaw seen: a document of another issuer before any other (META-10).
    flaw: Option<Box<MetadataFlaw>>,
    cached: Cached,
}

impl FetchingServer {
    pub(crate) fn begin(
        core: &mut Core,
        mut errand: ServerErrand,
        facts: ResourceFacts,
        entry: usize,
        cached: Cached,
    ) -> Step {
        let Some(asked) = facts.servers.get(entry).cloned() else {
            let cause = Cause::Violation(Violation::NoServerMetadata);
            let failure = errand.fails(Stage::ServerMetadata, facts.servers.first(), cause);
            // With several skipped servers, the first failure is reported.
            return Err(errand.passed_over().unwrap_or(failure));
        };
        let search = Search {
            entry,
            places: 0,
            asked,
            source: ServerSource::Metadata,
            tried: Tried::default(),
            flaw: None,
            cached,
        };
        Self::next(core, errand, facts, search)
    }

    /// Starts at the only location of revision 2025-03-26 (LEG-04).
    pub(crate) fn begin_legacy(
        core: &mut Core,
        errand: ServerErrand,
        facts: ResourceFacts,
    ) -> Step {
        let Some(asked) = facts.servers.first().cloned() else {
            return Self::begin(core, errand, facts, 0, Cached::Left);
        };
        let search = Search {
            entry: 0,
            places: 0,
            asked,
            source: ServerSource::LegacyMetadata,
            tried: Tried::default(),
            flaw: None,
            cached: Cached::Left,
        };
        Self::next(core, errand, facts, search)
    }

    fn next(
        core: &mut Core,
        mut errand: ServerErrand,
        facts: ResourceFacts,
        mut search: Search,
    ) -> Step {
        while let Some(place) = search.next_place(core.config().url_policy()) {
            let Some(url) = place else {
                continue;
            };
            let legacy = search.source == ServerSource::LegacyMetadata;
            let place = Place {
                stage: Stage::ServerMetadata,
                purpose: Purpose::ServerMetadata,
                source: match (&errand, &core.config().discovery) {
                    (ServerErrand::Idp(_), _) => UrlSource::Host,
                    (ServerErrand::Resource(_), Discovery::Issuer(own)) if *own == search.asked => {
                        UrlSource::Host
                    }
                    (ServerErrand::Resource(_), _) if legacy => UrlSource::Host,
                    (ServerErrand::Resource(_), _) => UrlSource::McpServer,
                },
                legacy,
            };
            match Fetch::begin(core, errand.effort(), url, place) {
                Ok(fetch) => {
                    if let ServerErrand::Resource(Errand::Authorize(attempt)) = &mut errand {
                        attempt.read_early(core, &search.asked);
                    }
                    return wait_in(Work::FetchingServer(Self {
                        errand,
                        fetch,
                        facts,
                        search,
                    }));
                }
                // Out of time or requests: the stored metadata stays in use (REFR-11).
                Err(_) if errand.renews() => break,
                Err(limited) => return Err(limited),
            }
        }
        nowhere(core, errand, facts, search)
    }

    pub(crate) fn ask(&self) -> &Ask {
        &self.fetch.ask
    }

    pub(crate) fn replied(mut self, core: &mut Core, outcome: Outcome) -> Step {
        match self.fetch.replied(core, self.errand.effort(), outcome)? {
            Fetched::Again(fetch) => return wait_in(Work::FetchingServer(Self { fetch, ..self })),
            Fetched::Body(url, body, headers) => match self.search.accept(core, &body, &headers) {
                Ok(Some(server)) => {
                    core.report_other_types(&body, OPTIONAL);
                    report(core, url, Verdict::Found);
                    self.search.keep(core, &server);
                    return Ok(Next::Found(self.errand, self.facts, server));
                }
                Ok(None) => report(core, url, Verdict::Absent),
                Err(flaw) => {
                    report(core, url, Verdict::Invalid);
                    self.search.note(flaw);
                }
            },
            Fetched::Absent => {}
            Fetched::Transient => self.search.tried.transient = true,
            Fetched::Refused(place, flaw) => self.search.tried.refuse(place.as_str(), flaw),
        }
        Self::next(core, self.errand, self.facts, self.search)
    }
}

impl Search {
    /// Returns the next location; `Some(None)` for one that is refused.
    fn next_place(&mut self, policy: &UrlPolicy) -> Option<Option<WebUrl>> {
        let at = self.places;
        self.places = at.saturating_add(1);
        let asked = &self.asked;
        let place = match self.source {
            ServerSource::Metadata => server_places(asked.as_str()).nth(at),
            ServerSource::LegacyMetadata | ServerSource::LegacyDefaults => {
                (at == 0).then(|| legacy_server_place(asked.as_str()))
            }
        };
        let tried = &mut self.tried;
        let checked = place.map(|parts| {
            joined(parts, |text| {
                let url = policy.check_beside(asked.origin(), text);
                url.map_err(|flaw| tried.refuse(text, PlaceFlaw::Url(flaw)))
            })
        });
        checked.map(Result::ok)
    }

    fn accept(
        &self,
        core: &Core,
        body: &[u8],
        headers: &HeaderMap,
    ) -> Result<Option<Server>, MetadataFlaw> {
        let document = match ServerDocument::parse(body) {
            Ok(document) => document,
            Err(JsonFlaw::NotAnObject) => return Ok(None),
            Err(JsonFlaw::Malformed) => return Err(MetadataFlaw::Malformed),
        };
        if document.issuer().is_none() {
            return Ok(None);
        }
        let config = core.config();
        let (expected, slash) = config.expected_issuer(&self.asked);
        let policy = config.url_policy();
        let seconds = freshness(headers, core.now.wall.seconds());
        let fresh = core.now.wall.plus_seconds(seconds);
        Server::accept(expected, &document, self.source, fresh, slash, policy).map(Some)
    }

    fn note(&mut self, flaw: MetadataFlaw) {
        let worse = matches!(flaw, MetadataFlaw::Issuer { .. })
            && !matches!(self.flaw.as_deref(), Some(MetadataFlaw::Issuer { .. }));
        if worse || self.flaw.is_none() {
            self.flaw = Some(Box::new(flaw));
        }
    }

    /// Caches the document for the time that its headers allow; the result is not awaited.
    fn keep(&self, core: &mut Core, server: &Server) {
        let expected = core.config().expected_issuer(&self.asked).0;
        if server.issuer() != expected {
            let (listed, named) = (self.asked.clone(), server.issuer().clone());
            core.report(|| Decision::SlashTolerated { listed, named });
        }
        if let (Cached::Replaced(found), ServerSource::Metadata) = (self.cached, self.source) {
            let expires = server.facts().fresh_until;
            let stored = write_server(&core.identity, &self.asked, server);
            core.memory.rely_on(found.slot, stored.revision);
            core.persist(found.slot, found.revision, Some(stored), Some(expires));
        }
    }
}

/// Returns a server from metadata that the host supplies.
pub(crate) fn configured(
    config: &Config,
    issuer: &IssuerId,
    metadata: &[u8],
) -> Result<Server, MetadataFlaw> {
    let document = ServerDocument::parse(metadata).map_err(|_| MetadataFlaw::Malformed)?;
    let (source, slash) = (ServerSource::Metadata, config.slash_rule());
    Server::accept(
        issuer,
        &document,
        source,
        UnixMillis::MAX,
        slash,
        config.url_policy(),
    )
}

/// Handles an unusable listed server. A first sign-in tries the next one; an existing account never changes
/// its issuer unasked (DISC-16).
pub(crate) fn pass_over(
    core: &mut Core,
    mut errand: Errand,
    facts: ResourceFacts,
    issuer: &IssuerId,
    failure: Failure,
) -> Step {
    let is_it = |entry: &IssuerId| entry == issuer || core.config().is_expected(entry, issuer);
    let next = facts
        .servers
        .iter()
        .position(is_it)
        .map(|at| at.saturating_add(1));
    match next.filter(|next| core.held.at.is_none() && *next < facts.servers.len()) {
        Some(next) => {
            let (issuer, reason) = (issuer.clone(), failure.cause.code());
            core.report(|| Decision::ServerPassedOver { issuer, reason });
            errand.effort().passed_over.get_or_insert(failure);
            Ok(Next::ReadServer(
                ServerErrand::Resource(errand),
                facts,
                next,
            ))
        }
        None => Err(errand.effort().passed_over.take().unwrap_or(failure)),
    }
}

/// Continues when no location has a usable document for this entry.
fn nowhere(core: &mut Core, errand: ServerErrand, facts: ResourceFacts, search: Search) -> Step {
    let cause = search
        .flaw
        .map(|flaw| Cause::Violation(Violation::Metadata(*flaw)))
        .or_else(|| search.tried.obstacle());
    let violated = matches!(&cause, Some(Cause::Violation(Violation::Metadata(_))));
    let errand = match errand {
        // The metadata stored with the tokens still holds (A17), unless the new document breaks a rule
        // (REFR-11).
        ServerErrand::Resource(Errand::Renew(renewal)) if !violated => {
            return Ok(Next::Renew(renewal));
        }
        errand @ (ServerErrand::Resource(_) | ServerErrand::Idp(_)) => errand,
    };
    if let Some(cause) = cause {
        let failure = errand.fails(Stage::ServerMetadata, Some(&search.asked), cause);
        return match errand {
            ServerErrand::Resource(errand @ (Errand::Authorize(_) | Errand::Obtain(_))) => {
                pass_over(core, errand, facts, &search.asked, failure)
            }
            ServerErrand::Resource(Errand::Renew(renewal)) => {
                renewal.fails_for_now(core, Stage::ServerMetadata, failure.cause)
            }
            ServerErrand::Idp(_) => Err(failure),
        };
    }
    match search.source {
        // No document: the next entry (DISC-16).
        ServerSource::Metadata => Ok(Next::ReadServer(
            errand,
            facts,
            search.entry.saturating_add(1),
        )),
        // The origin publishes no metadata, and default endpoints are not enabled (LEG-06).
        ServerSource::LegacyMetadata if !core.config().legacy.assumes_endpoints() => {
            let cause = Cause::Misconfigured(Misconfiguration::ServerUnknown);
            Err(errand.fails(Stage::ResourceMetadata, None, cause))
        }
        ServerSource::LegacyMetadata | ServerSource::LegacyDefaults => {
            match Server::legacy_defaults(&search.asked, core.config().url_policy()) {
                Ok(server) => Ok(Next::Found(errand, facts, server)),
                Err(flaw) => Err(errand.fails(
                    Stage::ServerMetadata,
                    Some(&search.asked),
                    Cause::Violation(Violation::PlaceRefused {
                        place: Untrusted::new(search.asked.as_str()),
                        flaw: PlaceFlaw::Url(flaw),
                    }),
                )),
            }
        }
    }
}
