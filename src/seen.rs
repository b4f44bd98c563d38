//! The requests before a failure: URL, status and content type of the responses.

use std::fmt;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use serde::Serialize;

use crate::action::Purpose;
use crate::error::Stage;
use crate::event::Outcome;
use crate::wire::text::Untrusted;

/// The number of responses that are kept for a failure; the latest ones.
const MAX_SEEN: usize = 8;

/// One request of the failed step, with its response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Seen {
    /// The URL of the request.
    pub url: Box<str>,
    /// The status of the response; `None` without a response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The `Content-Type` of the response, sanitised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<Untrusted>,
    #[serde(skip)]
    purpose: Purpose,
}

impl Seen {
    fn of(url: Box<str>, purpose: Purpose, outcome: &Outcome) -> Self {
        let response = match outcome {
            Outcome::Response { response, .. } => Some(response),
            Outcome::NeverSent | Outcome::MaybeSent | Outcome::TooLarge | Outcome::Blocked => None,
        };
        Self {
            url,
            status: response.map(|response| response.status().as_u16()),
            content_type: response.and_then(content_type),
            purpose,
        }
    }

    fn belongs_to(&self, stage: Stage) -> bool {
        match self.purpose {
            Purpose::ResourceMetadata => stage == Stage::ResourceMetadata,
            Purpose::ServerMetadata => {
                matches!(stage, Stage::ServerMetadata | Stage::IdentityProvider)
            }
            Purpose::Registration => stage == Stage::Registration,
            Purpose::PushedAuthorization => stage == Stage::Authorization,
            Purpose::Token => matches!(
                stage,
                Stage::Token | Stage::Refresh | Stage::IdentityProvider
            ),
            Purpose::Revocation => stage == Stage::Revocation,
        }
    }
}

fn content_type(response: &Response<Bytes>) -> Option<Untrusted> {
    let value = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    Some(Untrusted::new(value))
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status, &self.content_type) {
            (Some(status), Some(kind)) => {
                write!(f, "{} answered {status}, {:?}", self.url, kind)
            }
            (Some(status), None) => write!(f, "{} answered {status}", self.url),
            (None, _) => write!(f, "{} gave no answer", self.url),
        }
    }
}

/// The requests of the current attempt.
#[derive(Default)]
pub(crate) struct Watch {
    asked: Option<(u64, Box<str>, Purpose)>,
    seen: Vec<Seen>,
}

impl Watch {
    pub(crate) fn asks(&mut self, id: u64, request: &Request<Bytes>, purpose: Purpose) {
        self.asked = Some((id, request.uri().to_string().into(), purpose));
    }

    /// Records the response to a request.
    pub(crate) fn answered(&mut self, id: u64, outcome: &Outcome) {
        let asked = self.asked.take_if(|(asked, _, _)| *asked == id);
        if let Some((_, url, purpose)) = asked {
            if self.seen.len() == MAX_SEEN {
                self.seen.remove(0);
            }
            self.seen.push(Seen::of(url, purpose, outcome));
        }
    }

    /// Starts another attempt.
    pub(crate) fn begin(&mut self) {
        self.seen.clear();
    }

    /// Returns the requests that belong to a failure at this stage.
    pub(crate) fn at(&self, stage: Stage) -> Vec<Seen> {
        let of_stage = self.seen.iter().filter(|seen| seen.belongs_to(stage));
        of_stage.cloned().collect()
    }
}
