//! `iss` for responses that are made elsewhere: by another library, or by hand (AS-01).

use http::header::LOCATION;
use http::{HeaderValue, Response, StatusCode};
use url::form_urlencoded::{self, byte_serialize};

use super::authorization::AuthorizationServer;

/// Why a finished response cannot be completed. Do not send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum CompletionError {
    /// It holds neither `code` nor `error`, so it is not an authorization response.
    #[error("the response holds neither `code` nor `error`")]
    NotAResponse,
    /// It names another issuer, or names one twice.
    #[error("the response holds an `iss` that is not this server's")]
    OtherIssuer,
    /// It holds characters that no URL may hold.
    #[error("the response is not a URL")]
    NotAUrl,
}

impl AuthorizationServer {
    /// Completes a finished `Location`, in its query or its fragment, with `iss`. One that is complete
    /// stays as it is, so this may be called on every response, whoever made it.
    ///
    /// A server that sends no `iss` ([`AuthorizationServer::without_iss`]) leaves it as it is.
    ///
    /// # Errors
    /// [`CompletionError`].
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
        // One in the other part would be read by some clients.
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

    /// Completes the fields of a form that the browser will post.
    ///
    /// # Errors
    /// [`CompletionError`].
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

    /// Completes an HTTP response of another library: a redirect that is an authorization response gets
    /// `iss`, and 303 instead of a status that would repeat the request's body (AS-08). Everything
    /// else stays as it is.
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

/// Whether `iss` is there, once and with this value.
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
