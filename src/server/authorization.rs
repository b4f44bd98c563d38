//! Authorization responses that cannot forget who they come from (AS-01, AS-03, AS-08).

use std::fmt::Write;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
};
use http::{HeaderValue, Response, StatusCode};
use sha2::{Digest, Sha256};
use url::form_urlencoded::Serializer;

use super::issuer::{ServerIssuerFlaw, check};
use super::metadata::MetadataBuilder;
use super::redirect::RedirectTarget;

/// Why a server neither sends `iss` nor says that it does (AS-03).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WithoutIss {
    /// The operator decided so. Clients then cannot tell who answered them.
    OptedOut,
    /// Responses are sent by an upstream server or a gateway in front, which this server does not
    /// control: it cannot promise what they carry (QUIRK-11).
    SentByOthers,
}

/// An authorization server: its issuer, and whether its responses carry it.
///
/// Both the metadata and the responses are made from this value, so they cannot contradict each other.
#[derive(Clone, Debug)]
pub struct AuthorizationServer {
    issuer: Arc<str>,
    without_iss: Option<WithoutIss>,
}

impl AuthorizationServer {
    /// A server that sends `iss` with every response, and says so.
    ///
    /// # Errors
    /// [`ServerIssuerFlaw`] when the text cannot be an issuer (AS-02).
    pub fn new(issuer: &str) -> Result<Self, ServerIssuerFlaw> {
        check(issuer)?;
        Ok(Self {
            issuer: issuer.into(),
            without_iss: None,
        })
    }

    /// A server that does neither; the reason stays visible.
    #[must_use]
    pub fn without_iss(mut self, reason: WithoutIss) -> Self {
        self.without_iss = Some(reason);
        self
    }

    /// The issuer, verbatim.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Why responses carry no `iss`; `None` when they do.
    pub fn lacks_iss(&self) -> Option<WithoutIss> {
        self.without_iss
    }

    /// Metadata for these endpoints (RFC 8414).
    pub fn metadata(&self, authorization_endpoint: &str, token_endpoint: &str) -> MetadataBuilder {
        MetadataBuilder::new(
            &self.issuer,
            self.without_iss.is_none(),
            authorization_endpoint,
            token_endpoint,
        )
    }

    /// The paths at which clients look for the metadata; serve it at each, or answer 404 there (AS-04).
    pub fn metadata_paths(&self) -> Vec<Box<str>> {
        let origin_end = self
            .issuer
            .splitn(4, '/')
            .take(3)
            .map(|part| part.len().saturating_add(1))
            .sum::<usize>()
            .saturating_sub(1);
        crate::wire::well_known::server_locations(&self.issuer)
            .filter_map(|location| location.get(origin_end..).map(Into::into))
            .collect()
    }

    /// Answers an authorization request whose redirect URI was found among the registered ones.
    pub fn respond(&self, target: RedirectTarget) -> Responding {
        Responding {
            server: self.clone(),
            target,
            state: None,
            mode: ResponseMode::Query,
        }
    }
}

/// How a response travels (OAuth 2.0 Multiple Response Types, Form Post Response Mode).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ResponseMode {
    /// In the query of the redirect URI.
    #[default]
    Query,
    /// In its fragment.
    Fragment,
    /// In the body of a form that the browser sends.
    FormPost,
}

/// An error of the authorization endpoint (RFC 6749 section 4.1.2.1 and its extensions).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuthorizationError {
    /// `invalid_request`
    InvalidRequest,
    /// `unauthorized_client`
    UnauthorizedClient,
    /// `access_denied`
    AccessDenied,
    /// `unsupported_response_type`
    UnsupportedResponseType,
    /// `invalid_scope`
    InvalidScope,
    /// `invalid_target`
    InvalidTarget,
    /// `login_required`
    LoginRequired,
    /// `consent_required`
    ConsentRequired,
    /// `interaction_required`
    InteractionRequired,
    /// `server_error`
    ServerError,
    /// `temporarily_unavailable`
    TemporarilyUnavailable,
}

impl AuthorizationError {
    /// The code as sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::AccessDenied => "access_denied",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::LoginRequired => "login_required",
            Self::ConsentRequired => "consent_required",
            Self::InteractionRequired => "interaction_required",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
        }
    }
}

/// A response that is being made.
#[derive(Debug)]
pub struct Responding {
    server: AuthorizationServer,
    target: RedirectTarget,
    state: Option<Box<str>>,
    mode: ResponseMode,
}

impl Responding {
    /// The `state` of the request, given back as it was.
    #[must_use]
    pub fn state(mut self, state: &str) -> Self {
        self.state = Some(state.into());
        self
    }

    /// How the client wants it sent.
    #[must_use]
    pub fn mode(mut self, mode: ResponseMode) -> Self {
        self.mode = mode;
        self
    }

    /// Success.
    pub fn code(self, code: &str) -> AuthorizationResponse {
        self.finish(&[("code", code)])
    }

    /// Refusal. Characters that RFC 6749 does not allow in a description are left out.
    pub fn error(
        self,
        error: AuthorizationError,
        description: Option<&str>,
    ) -> AuthorizationResponse {
        let clean: String = description
            .unwrap_or_default()
            .chars()
            .filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\'))
            .collect();
        let error = ("error", error.as_str());
        if clean.is_empty() {
            self.finish(&[error])
        } else {
            self.finish(&[error, ("error_description", &clean)])
        }
    }

    /// The only place where a response is made: `iss` goes in here (AS-01).
    fn finish(self, pairs: &[(&str, &str)]) -> AuthorizationResponse {
        let iss = match self.server.without_iss {
            None => Some(("iss", &*self.server.issuer)),
            Some(WithoutIss::OptedOut | WithoutIss::SentByOthers) => None,
        };
        let state = self.state.as_deref().map(|state| ("state", state));
        let all = || pairs.iter().copied().chain(state).chain(iss);
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

/// A finished response. A framework's redirect is built from it, and from nothing else.
#[derive(Debug)]
pub struct AuthorizationResponse {
    content: Content,
}

const SUBMIT: &str = "document.forms[0].submit()";

impl AuthorizationResponse {
    /// Where to send the browser; `None` for a form.
    pub fn location(&self) -> Option<&str> {
        match &self.content {
            Content::Location(url) => Some(url),
            Content::Page(_) => None,
        }
    }

    /// The whole HTTP answer: 303 (AS-08), or a page with a form; never cached, no referrer.
    pub fn into_http(self) -> Response<String> {
        let mut response = Response::new(String::new());
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        match self.content {
            Content::Location(url) => match HeaderValue::try_from(url) {
                Ok(url) => {
                    headers.insert(LOCATION, url);
                    *response.status_mut() = StatusCode::SEE_OTHER;
                }
                // A registered redirect URI is ASCII; nothing else gets this far.
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
        // Writing to a string does not fail.
        let _written = write!(
            page,
            "<input type=\"hidden\" name=\"{name}\" value=\"{}\">",
            escaped(value)
        );
    }
    page.push_str("<noscript><button>Continue</button></noscript></form><script>");
    page.push_str(SUBMIT);
    page.push_str("</script>");
    page
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
