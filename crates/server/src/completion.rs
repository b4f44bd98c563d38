//! `iss` for responses that another library or custom code builds (AS-01).

use http::header::LOCATION;
use http::{HeaderValue, Response, StatusCode};
use url::form_urlencoded::{self, byte_serialize};

use super::authorization::AuthorizationServer;

/// The reason why a response cannot be completed. Do not send such a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum CompletionError {
    /// The response has neither `code` nor `error`, so it is not an authorization response.
    #[error("the response holds neither `code` nor `error`")]
    NotAResponse,
    /// The response names another issuer, or `iss` twice.
    #[error("the response holds an `iss` that is not this server's")]
    OtherIssuer,
    /// The response has characters that a URL cannot contain.
    #[error("the response is not a URL")]
    NotAUrl,
}

impl AuthorizationServer {
    /// Adds `iss` to a complete `Location`, in its query or its fragment. A response that has it is
    /// unchanged, so this may be applied to every response of any origin.
    ///
    /// Returns the location unchanged for a server without `iss` ([`AuthorizationServer::without_iss`]).
    ///
    /// # Errors
    /// [`CompletionError`] when the location is not such a response.
    pub fn complete(&self, location: &str) -> Result<String, CompletionError> {
        if !location.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(CompletionError::NotAUrl);
        }
        let (before, fragment) = match location.split_once('#') {
            Some((before, fragment)) => (before, Some(fragment)),
            None => (location, None),
        };
        let query = before.split_once('?').map(|(_, query)| query);
        let parameters = match (fragment, query) {
            (Some(fragment), _) if is_response(pairs(fragment)) => Some(fragment),
            (_, Some(query)) if is_response(pairs(query)) => Some(query),
            (_, _) => None,
        };
        let parameters = parameters.ok_or(CompletionError::NotAResponse)?;
        let Some(issuer) = self.iss() else {
            return Ok(location.to_owned());
        };
        // Some clients would read one in the other part.
        let parts = [query, fragment];
        let named = parts.into_iter().flatten().flat_map(pairs);
        if is_named(named, issuer)? {
            return if is_named(pairs(parameters), issuer)? {
                Ok(location.to_owned())
            } else {
                Err(CompletionError::OtherIssuer)
            };
        }
        let joint = if parameters.ends_with('&') { "" } else { "&" };
        let iss: String = byte_serialize(issuer.as_bytes()).collect();
        let in_fragment = fragment.is_some_and(|fragment| is_response(pairs(fragment)));
        let (head, tail) = match fragment {
            Some(fragment) if !in_fragment => (before, format!("#{fragment}")),
            Some(_) | None => (location, String::new()),
        };
        Ok(format!("{head}{joint}iss={iss}{tail}"))
    }

    /// Adds `iss` to the fields of a form that the browser will post.
    ///
    /// # Errors
    /// [`CompletionError`] when the fields are not such a response.
    pub fn complete_form(
        &self,
        mut fields: Vec<(String, String)>,
    ) -> Result<Vec<(String, String)>, CompletionError> {
        let read = || {
            fields
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
        };
        if !is_response(read()) {
            return Err(CompletionError::NotAResponse);
        }
        if let Some(issuer) = self.iss()
            && !is_named(read(), issuer)?
        {
            fields.push(("iss".to_owned(), issuer.to_owned()));
        }
        Ok(fields)
    }

    /// Completes an HTTP response of another library: a redirect with an authorization response receives
    /// `iss`, and 303 instead of a status that would repeat the request's body (AS-08). All other responses
    /// are unchanged.
    ///
    /// # Errors
    /// [`CompletionError::OtherIssuer`] and [`CompletionError::NotAUrl`].
    pub fn complete_http<B>(
        &self,
        mut response: Response<B>,
    ) -> Result<Response<B>, CompletionError> {
        let Some(location) = response.headers().get(LOCATION) else {
            return Ok(response);
        };
        if !response.status().is_redirection() {
            return Ok(response);
        }
        let location = location.to_str().map_err(|_| CompletionError::NotAUrl)?;
        let complete = match self.complete(location) {
            Ok(complete) => complete,
            Err(CompletionError::NotAResponse) => return Ok(response),
            Err(error @ (CompletionError::OtherIssuer | CompletionError::NotAUrl)) => {
                return Err(error);
            }
        };
        let complete = HeaderValue::try_from(complete).map_err(|_| CompletionError::NotAUrl)?;
        response.headers_mut().insert(LOCATION, complete);
        if matches!(response.status().as_u16(), 301 | 307 | 308) {
            *response.status_mut() = StatusCode::SEE_OTHER;
        }
        Ok(response)
    }
}

fn pairs(text: &str) -> impl Iterator<Item = (String, String)> {
    form_urlencoded::parse(text.as_bytes()).into_owned()
}

fn is_response<N: AsRef<str>>(mut pairs: impl Iterator<Item = (N, N)>) -> bool {
    pairs.any(|(name, _)| matches!(name.as_ref(), "code" | "error"))
}

/// Returns true if `iss` occurs once with this value.
fn is_named<N: AsRef<str>>(
    pairs: impl Iterator<Item = (N, N)>,
    issuer: &str,
) -> Result<bool, CompletionError> {
    let mut values = pairs
        .filter(|(name, _)| name.as_ref() == "iss")
        .map(|(_, value)| value);
    match (values.next(), values.next()) {
        (None, _) => Ok(false),
        (Some(value), None) if value.as_ref() == issuer => Ok(true),
        (Some(_), _) => Err(CompletionError::OtherIssuer),
    }
}
