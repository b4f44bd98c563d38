//! The response to a POST: from the endpoint itself, never redirected, of bounded size (SEC-09, SEC-13).

use bytes::Bytes;
use http::Response;

use crate::error::Violation;
use crate::event::Outcome;
use crate::wire::json::MAX_BODY_BYTES;

/// The error for a missing or unreadable response.
pub(crate) enum NoAnswer {
    /// No usable response; the server may have received the request.
    Unreachable,
    /// The response breaks a rule.
    Violation(Violation),
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
        Outcome::NeverSent | Outcome::MaybeSent | Outcome::Blocked => {
            return Err(NoAnswer::Unreachable);
        }
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
