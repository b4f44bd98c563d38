//! The response to a POST: from the endpoint itself, never redirected, of bounded size (SEC-09, SEC-13).

use bytes::Bytes;
use http::Response;

use crate::error::{PlaceFlaw, Violation};
use crate::event::Outcome;
use crate::wire::json::MAX_BODY_BYTES;
use crate::wire::text::Untrusted;
use crate::wire::url::UrlFlaw;

/// The error for a missing or unreadable response.
pub(crate) enum NoAnswer {
    /// No usable response; the server may have received the request.
    Unreachable,
    /// The response breaks a rule.
    Violation(Violation),
    /// The driver does not connect to the endpoint's address: nothing was sent (SEC-06).
    Blocked,
}

impl NoAnswer {
    /// Returns the violation at this endpoint; `None` when no response came.
    pub(crate) fn at(self, endpoint: &str) -> Option<Violation> {
        match self {
            Self::Unreachable => None,
            Self::Violation(flaw) => Some(flaw),
            Self::Blocked => Some(Violation::PlaceRefused {
                place: Untrusted::new(endpoint),
                flaw: PlaceFlaw::Url(UrlFlaw::Resolved),
            }),
        }
    }
}

/// Returns the response; `is_endpoint` checks the URL that the HTTP stack reports (H07).
pub(crate) fn answer(
    outcome: Outcome,
    is_endpoint: impl FnOnce(&str) -> bool,
) -> Result<Response<Bytes>, NoAnswer> {
    let (response, final_url) = match outcome {
        Outcome::Response {
            response,
            final_url,
        } => (response, final_url),
        Outcome::NeverSent | Outcome::MaybeSent => return Err(NoAnswer::Unreachable),
        Outcome::Blocked => return Err(NoAnswer::Blocked),
        Outcome::TooLarge => return Err(NoAnswer::Violation(Violation::TooLarge)),
    };
    if final_url.is_some_and(|url| !is_endpoint(&url)) || response.status().is_redirection() {
        return Err(NoAnswer::Violation(Violation::Redirected));
    }
    if response.body().len() > MAX_BODY_BYTES {
        return Err(NoAnswer::Violation(Violation::TooLarge));
    }
    Ok(response)
}
