//! Authorization responses that cannot forget who they come from (AS-01, AS-08).

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::form_urlencoded::Serializer;

use super::authorization::AuthorizationServer;
use super::authorization_error::AuthorizationError;
use super::redirect::RedirectTarget;

/// The response mode (OAuth 2.0 Multiple Response Type Encoding Practices, Form Post Response Mode).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ResponseMode {
    /// In the query of the redirect URI.
    #[default]
    Query,
    /// In the fragment of the redirect URI.
    Fragment,
    /// In the body of a form that the browser posts.
    FormPost,
}

impl ResponseMode {
    /// Returns the value of `response_mode`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Fragment => "fragment",
            Self::FormPost => "form_post",
        }
    }
}

/// The reason why a response is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// The metadata does not advertise this mode.
    #[error("the response mode {} is not served: AuthorizationServer::with_response_mode", .0.as_str())]
    Mode(ResponseMode),
    /// The parameter has its own method, or is repeated.
    #[error("the parameter {0:?} has its own method, or is there already")]
    Parameter(String),
    /// RFC 6749 does not allow this error code.
    #[error("{0:?} is not an error code")]
    ErrorCode(String),
}

const OWN: &[&str] = &["code", "error", "error_description", "iss", "state"];

/// A response in progress.
#[derive(Debug)]
pub struct Responding {
    server: AuthorizationServer,
    target: RedirectTarget,
    state: Option<Box<str>>,
    mode: ResponseMode,
    further: Vec<(Box<str>, Box<str>)>,
}

impl Responding {
    pub(super) fn new(server: AuthorizationServer, target: RedirectTarget) -> Self {
        Self {
            server,
            target,
            state: None,
            mode: ResponseMode::Query,
            further: Vec::new(),
        }
    }

    /// Sets the `state` of the request, returned unchanged.
    #[must_use]
    pub fn state(mut self, state: &str) -> Self {
        self.state = Some(state.into());
        self
    }

    /// Sets the response mode of the request.
    ///
    /// # Errors
    /// [`ResponseError::Mode`] for a mode that the metadata does not advertise.
    pub fn mode(mut self, mode: ResponseMode) -> Result<Self, ResponseError> {
        if !self.server.serves(mode) {
            return Err(ResponseError::Mode(mode));
        }
        self.mode = mode;
        Ok(self)
    }

    /// Adds a parameter, such as `session_state` or `error_uri`.
    ///
    /// # Errors
    /// [`ResponseError::Parameter`] for a parameter that this type sends itself, or a repeated one.
    pub fn parameter(mut self, name: &str, value: &str) -> Result<Self, ResponseError> {
        let repeated = self.further.iter().any(|(known, _)| **known == *name);
        if name.is_empty() || repeated || OWN.contains(&name) {
            return Err(ResponseError::Parameter(name.to_owned()));
        }
        self.further.push((name.into(), value.into()));
        Ok(self)
    }

    /// Returns a successful response.
    pub fn code(self, code: &str) -> AuthorizationResponse {
        self.finish(&[("code", code)])
    }

    /// Returns an error response. Characters that RFC 6749 does not allow in a description are dropped.
    pub fn error(
        self,
        error: AuthorizationError,
        description: Option<&str>,
    ) -> AuthorizationResponse {
        self.refuse(error.as_str(), description)
    }

    /// Returns an error response with a code of an extension.
    ///
    /// # Errors
    /// [`ResponseError::ErrorCode`] for a text that RFC 6749 section 4.1.2.1 does not allow.
    pub fn error_code(
        self,
        code: &str,
        description: Option<&str>,
    ) -> Result<AuthorizationResponse, ResponseError> {
        if code.is_empty() || !code.chars().all(is_error_text) {
            return Err(ResponseError::ErrorCode(code.to_owned()));
        }
        Ok(self.refuse(code, description))
    }

    fn refuse(self, code: &str, description: Option<&str>) -> AuthorizationResponse {
        let text = description.unwrap_or_default();
        let clean: String = text.chars().filter(|c| is_error_text(*c)).collect();
        let error = ("error", code);
        if clean.is_empty() {
            self.finish(&[error])
        } else {
            self.finish(&[error, ("error_description", &clean)])
        }
    }

    /// Builds every response, and adds `iss` (AS-01).
    fn finish(self, pairs: &[(&str, &str)]) -> AuthorizationResponse {
        let iss = self.server.iss().map(|issuer| ("iss", issuer));
        let state = self.state.as_deref().map(|state| ("state", state));
        let further = || self.further.iter().map(|(name, value)| (&**name, &**value));
        let all = || {
            let pairs = pairs.iter().copied().chain(further());
            pairs.chain(state).chain(iss)
        };
        let content = match self.mode {
            ResponseMode::Query | ResponseMode::Fragment => {
                let mut answer = Serializer::new(String::new());
                answer.extend_pairs(all());
                let answer = answer.finish();
                let target = self.target.as_str();
                let joint = match (self.mode, target.split_once('?')) {
                    (ResponseMode::Fragment, _) => "#",
                    (ResponseMode::Query | ResponseMode::FormPost, None) => "?",
                    (ResponseMode::Query | ResponseMode::FormPost, Some((_, ""))) => "",
                    (ResponseMode::Query | ResponseMode::FormPost, Some(_)) => "&",
                };
                Content::Location([target, joint, &answer].concat())
            }
            ResponseMode::FormPost => Content::Page(page(self.target.as_str(), all())),
        };
        AuthorizationResponse { content }
    }
}

#[derive(Debug)]
enum Content {
    Location(String),
    Page(String),
}

fn is_error_text(c: char) -> bool {
    matches!(c, ' '..='~') && !matches!(c, '"' | '\\')
}

/// A complete response, the only source of a framework's redirect.
#[derive(Debug)]
pub struct AuthorizationResponse {
    content: Content,
}

const SUBMIT: &str = "document.forms[0].submit()";

impl AuthorizationResponse {
    /// Returns the redirect target; `None` for a form.
    pub fn location(&self) -> Option<&str> {
        match &self.content {
            Content::Location(url) => Some(url),
            Content::Page(_) => None,
        }
    }

    /// Returns the complete HTTP response: 303 (AS-08), or a page with a form; never cached, without
    /// referrer.
    pub fn into_http(self) -> Response<String> {
        let mut response = Response::new(String::new());
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        match self.content {
            Content::Location(url) => match HeaderValue::try_from(url) {
                Ok(url) => {
                    headers.insert(LOCATION, url);
                    *response.status_mut() = StatusCode::SEE_OTHER;
                }
                // A registered redirect URI is ASCII.
                Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
            },
            Content::Page(page) => {
                let script = STANDARD.encode(Sha256::digest(SUBMIT));
                let policy = format!(
                    "default-src 'none'; script-src 'sha256-{script}'; frame-ancestors 'none'"
                );
                if let Ok(policy) = HeaderValue::try_from(policy) {
                    headers.insert(CONTENT_SECURITY_POLICY, policy);
                }
                let html = HeaderValue::from_static("text/html; charset=utf-8");
                headers.insert(CONTENT_TYPE, html);
                *response.body_mut() = page;
            }
        }
        response
    }
}

fn page<'a>(target: &str, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut page = format!(
        "<!doctype html><title>Signing in</title><form method=\"post\" action=\"{}\">",
        escaped(target)
    );
    for (name, value) in pairs {
        // Writing to a string cannot fail.
        let _written = write!(
            page,
            "<input type=\"hidden\" name=\"{}\" value=\"{}\">",
            escaped(name),
            escaped(value)
        );
    }
    page.push_str("<noscript><button>Continue</button></noscript></form><script>");
    page.push_str(SUBMIT);
    page.push_str("</script>");
    page
}

/// Escapes text for HTML, between tags and in quoted attributes.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
