//! The requests of the current attempt, from which a failure names those of its stage.

use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use crate::action::Purpose;
use crate::error::{Seen, Stage};
use crate::event::Outcome;
use crate::wire::text::Untrusted;

/// The number of responses that are kept for a failure; the latest ones.
const MAX_SEEN: usize = 8;

/// A request with its response, as it is remembered until a failure needs it.
struct Exchange {
    /// The action that asks, until it is answered.
    asked: Option<u64>,
    url: Bytes,
    purpose: Purpose,
    status: Option<u16>,
    content_type: Option<HeaderValue>,
    content_encoding: Option<HeaderValue>,
    missing: &'static str,
}

impl Exchange {
    fn of(id: u64, url: Bytes, purpose: Purpose) -> Self {
        Self {
            asked: Some(id),
            url,
            purpose,
            status: None,
            content_type: None,
            content_encoding: None,
            missing: "gave no answer",
        }
    }

    fn answered(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Response { response, .. } => {
                self.status = Some(response.status().as_u16());
                // One pass costs less than two look-ups, for the few headers of such a response.
                for (name, value) in response.headers() {
                    let place = match *name {
                        CONTENT_TYPE => &mut self.content_type,
                        // A host that decompressed the body may have left the header.
                        CONTENT_ENCODING if std::str::from_utf8(response.body()).is_err() => {
                            &mut self.content_encoding
                        }
                        _ => continue,
                    };
                    place.get_or_insert_with(|| value.clone());
                }
                self.missing = "";
            }
            Outcome::NeverSent | Outcome::MaybeSent => {}
            Outcome::TooLarge => self.missing = "gave an answer that is too large",
            Outcome::Blocked => self.missing = "was not contacted",
        }
    }

    fn seen(&self) -> Seen {
        let text = |value: &Option<HeaderValue>| {
            let text = value.as_ref().and_then(|value| value.to_str().ok());
            text.map(Untrusted::new)
        };
        Seen {
            url: String::from_utf8_lossy(&self.url).into(),
            status: self.status,
            content_type: text(&self.content_type),
            content_encoding: text(&self.content_encoding),
            missing: self.missing,
        }
    }

    fn belongs_to(&self, stage: Stage) -> bool {
        match self.purpose {
            Purpose::ResourceMetadata => stage == Stage::ResourceMetadata,
            Purpose::ServerMetadata => {
                matches!(stage, Stage::ServerMetadata | Stage::IdentityProvider)
            }
            Purpose::Registration => stage == Stage::Registration,
            Purpose::PushedAuthorization | Purpose::DeviceAuthorization => {
                stage == Stage::Authorization
            }
            Purpose::Token => matches!(
                stage,
                Stage::Token | Stage::Refresh | Stage::IdentityProvider
            ),
            Purpose::Revocation => stage == Stage::Revocation,
        }
    }
}

/// The requests of the current attempt.
#[derive(Default)]
pub(crate) struct Watch {
    /// Only the last request may be without an answer.
    seen: Vec<Exchange>,
}

impl Watch {
    pub(crate) fn asks(&mut self, id: u64, url: Bytes, purpose: Purpose) {
        self.seen.pop_if(|last| last.asked.is_some());
        if self.seen.len() == MAX_SEEN {
            self.seen.remove(0);
        }
        self.seen.push(Exchange::of(id, url, purpose));
    }

    /// Records the response to a request.
    pub(crate) fn answered(&mut self, id: u64, outcome: &Outcome) {
        let last = self.seen.last_mut();
        if let Some(last) = last.filter(|last| last.asked == Some(id)) {
            last.asked = None;
            last.answered(outcome);
        }
    }

    /// Starts another attempt.
    pub(crate) fn begin(&mut self) {
        *self = Self::default();
    }

    /// Returns the answered requests that belong to a failure at this stage.
    pub(crate) fn at(&self, stage: Stage) -> Vec<Seen> {
        let answered = self.seen.iter().filter(|seen| seen.asked.is_none());
        let of_stage = answered.filter(|seen| seen.belongs_to(stage));
        of_stage.map(Exchange::seen).collect()
    }
}
