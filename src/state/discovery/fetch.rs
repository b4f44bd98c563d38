//! Fetching one public document: same-origin redirects are followed, all others are rejected (SEC-08);
//! every other response is classified (DISC-08, META-07).

use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderMap, Response};

use crate::action::{Purpose, UrlSource};
use crate::budget::{DISCOVERY_TIME, DOCUMENT_REDIRECTS};
use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, PlaceFlaw, Stage, Violation};
use crate::event::Outcome;
use crate::frame::RecordFlaw;
use crate::report::{Decision, Verdict};
use crate::slot::{Found, Revision, Slot};
use crate::suspended::Effort;
use crate::wire::http_fields::is_transient;
use crate::wire::json::MAX_BODY_BYTES;
use crate::wire::text::Untrusted;
use crate::wire::url::{UrlFlaw, WebUrl};

/// A document that is being fetched.
pub(crate) struct Fetch {
    pub(crate) ask: Ask,
    url: WebUrl,
    place: Place,
    hops_left: u8,
}

/// The kind of a metadata location.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) stage: Stage,
    pub(crate) purpose: Purpose,
    pub(crate) source: UrlSource,
    /// Whether the request carries the protocol version header (LEG-05).
    pub(crate) legacy: bool,
}

/// The result of a fetch.
pub(crate) enum Fetched {
    /// Status 200: a candidate document with the URL it came from.
    Body(WebUrl, Bytes, HeaderMap),
    /// No document at this URL.
    Absent,
    /// A failure that a retry may resolve.
    Transient,
    /// A document or URL that must not be used.
    Refused(WebUrl, PlaceFlaw),
    /// A same-origin redirect, to be followed.
    Again(Fetch),
}

/// The results of the locations tried so far, none of which had the document.
#[derive(Default)]
pub(crate) struct Tried {
    pub(crate) transient: bool,
    refused: Option<Box<(Untrusted, PlaceFlaw)>>,
}

impl Tried {
    /// Records that a location is not used, with the reason.
    pub(crate) fn refuse(&mut self, place: &str, flaw: PlaceFlaw) {
        self.refused = Some(Box::new((Untrusted::new(place), flaw)));
    }

    /// Returns the error that prevents the conclusion that no document exists (DISC-09).
    pub(crate) fn obstacle(&self) -> Option<Cause> {
        if self.transient {
            Some(Cause::Unreachable(crate::error::Unreachable {
                code_spent: false,
                retry_at: None,
            }))
        } else {
            self.refused
                .as_deref()
                .cloned()
                .map(|(place, flaw)| Cause::Violation(Violation::PlaceRefused { place, flaw }))
        }
    }
}

impl Fetch {
    pub(crate) fn begin(
        core: &mut Core,
        effort: &mut Effort,
        url: WebUrl,
        place: Place,
    ) -> Result<Self, Failure> {
        Self::send(core, effort, url, place, DOCUMENT_REDIRECTS)
    }

    fn send(
        core: &mut Core,
        effort: &mut Effort,
        url: WebUrl,
        place: Place,
        hops_left: u8,
    ) -> Result<Self, Failure> {
        let permit = effort.request(core, place.stage)?;
        let config = core.config();
        let version = place.legacy.then_some(&config.protocol_version);
        let request_url = config.url_policy().request_url(&url);
        let request = config.request_headers.discovery(request_url, version);
        let ask = core.send(permit, request, place.purpose, place.source, DISCOVERY_TIME);
        Ok(Self {
            ask,
            url,
            place,
            hops_left,
        })
    }

    pub(crate) fn replied(
        self,
        core: &mut Core,
        effort: &mut Effort,
        outcome: Outcome,
    ) -> Result<Fetched, Failure> {
        let response = match outcome {
            Outcome::NeverSent | Outcome::MaybeSent => {
                return Ok(self.verdict(core, Fetched::Transient));
            }
            Outcome::Blocked => {
                return Ok(self.refused(core, PlaceFlaw::Url(UrlFlaw::Resolved)));
            }
            Outcome::TooLarge => return Ok(self.refused(core, PlaceFlaw::TooLarge)),
            Outcome::Response {
                response,
                final_url,
            } => {
                if final_url.is_some_and(|found| found != self.url.as_str()) {
                    let cause = Cause::Violation(Violation::Redirected);
                    return Err(effort.fails(self.place.stage, None, cause));
                }
                response
            }
        };
        let fetched = match response.status().as_u16() {
            200 if response.body().len() > MAX_BODY_BYTES => {
                return Ok(self.refused(core, PlaceFlaw::TooLarge));
            }
            200 => {
                let (parts, body) = response.into_parts();
                return Ok(Fetched::Body(self.url, body, parts.headers));
            }
            301 | 302 | 303 | 307 | 308 => return self.follow(core, effort, &response),
            300..=399 => return Ok(self.refused(core, PlaceFlaw::RedirectsNowhere)),
            status if is_transient(status) => Fetched::Transient,
            _other => Fetched::Absent,
        };
        Ok(self.verdict(core, fetched))
    }

    fn follow(
        self,
        core: &mut Core,
        effort: &mut Effort,
        response: &Response<Bytes>,
    ) -> Result<Fetched, Failure> {
        let target = response
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .ok_or(PlaceFlaw::RedirectsNowhere)
            .and_then(|text| {
                let policy = core.config().url_policy();
                let elsewhere = || PlaceFlaw::RedirectsElsewhere(Untrusted::new(text));
                match policy.resolve(&self.url, text) {
                    Ok(url) if url.origin() == self.url.origin() => Ok(url),
                    // The redirect target is outside the allowed addresses as well.
                    Ok(_) | Err(_) => Err(elsewhere()),
                }
            });
        match (target, self.hops_left.checked_sub(1)) {
            (Ok(url), Some(hops_left)) => {
                let place = self.place;
                core.report(|| Decision::PlaceTried {
                    url: self.url,
                    verdict: Verdict::Redirected,
                });
                Self::send(core, effort, url, place, hops_left).map(Fetched::Again)
            }
            (Err(flaw), _) => Ok(self.refused(core, flaw)),
            (Ok(_), None) => Ok(self.refused(core, PlaceFlaw::RedirectsTooOften)),
        }
    }

    fn refused(self, core: &mut Core, flaw: PlaceFlaw) -> Fetched {
        let place = self.url.clone();
        self.verdict(core, Fetched::Refused(place, flaw))
    }

    fn verdict(self, core: &mut Core, fetched: Fetched) -> Fetched {
        let verdict = match &fetched {
            Fetched::Body(..) => Verdict::Found,
            Fetched::Absent => Verdict::Absent,
            Fetched::Transient => Verdict::Transient,
            Fetched::Refused(..) => Verdict::Refused,
            Fetched::Again(_) => Verdict::Redirected,
        };
        report(core, self.url, verdict);
        fetched
    }
}

pub(crate) fn report(core: &mut Core, url: WebUrl, verdict: Verdict) {
    core.report(|| Decision::PlaceTried { url, verdict });
}

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
    pub(crate) fn flawed(flaw: RecordFlaw, slot: Slot, revision: Revision) -> Self {
        match flaw {
            RecordFlaw::Newer => Self::Left,
            RecordFlaw::Damaged | RecordFlaw::Foreign | RecordFlaw::Url => {
                Self::over(slot, Some(revision))
            }
        }
    }

    /// Replaces the slot as it was found.
    pub(crate) fn over(slot: Slot, revision: Option<Revision>) -> Self {
        Self::Replaced(Found { slot, revision })
    }
}
