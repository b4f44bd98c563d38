//! An authorization server: the source of its metadata and of its authorization responses (AS-03).

use std::sync::Arc;

use super::authorization_error::AuthorizationError;
use super::issuer::{IssuerError, check};
use super::metadata::{MetadataBuilder, ServerFacts};
use super::redirect::RedirectTarget;
use super::response::{Responding, ResponseMode};

/// The reason why a server neither sends nor advertises `iss` (AS-03).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WithoutIss {
    /// The operator opted out. Clients then cannot identify the responding server.
    OptedOut,
    /// An upstream server or a gateway sends the responses, so this server cannot promise their content
    /// (QUIRK-11).
    SentByOthers,
}

/// An authorization server: its issuer, and whether its responses carry `iss`.
///
/// Metadata and responses are both derived from this value, so they cannot contradict each other.
#[derive(Clone, Debug)]
pub struct AuthorizationServer {
    issuer: Arc<str>,
    without_iss: Option<WithoutIss>,
    response_modes: Vec<ResponseMode>,
}

impl AuthorizationServer {
    /// Creates a server that sends and advertises `iss`.
    ///
    /// # Errors
    /// [`IssuerError`] when the text is not a valid issuer (AS-02).
    pub fn new(issuer: &str) -> Result<Self, IssuerError> {
        check(issuer)?;
        Ok(Self {
            issuer: issuer.into(),
            without_iss: None,
            response_modes: vec![ResponseMode::Query],
        })
    }

    /// Disables `iss` for the given reason.
    #[must_use]
    pub fn without_iss(mut self, reason: WithoutIss) -> Self {
        self.without_iss = Some(reason);
        self
    }

    /// Supports and advertises a further response mode. The query is always supported.
    #[must_use]
    pub fn with_response_mode(mut self, mode: ResponseMode) -> Self {
        if !self.response_modes.contains(&mode) {
            self.response_modes.push(mode);
        }
        self
    }

    /// Returns the requested response mode; the query without a request.
    ///
    /// # Errors
    /// [`AuthorizationError::InvalidRequest`] for an unsupported mode; send that error by the query.
    pub fn response_mode(&self, asked: Option<&str>) -> Result<ResponseMode, AuthorizationError> {
        let Some(asked) = asked else {
            return Ok(ResponseMode::Query);
        };
        let mut served = self.response_modes.iter();
        served
            .find(|mode| mode.as_str() == asked)
            .copied()
            .ok_or(AuthorizationError::InvalidRequest)
    }

    /// Returns the `iss` of responses; `None` when disabled.
    pub(super) fn iss(&self) -> Option<&str> {
        match self.without_iss {
            None => Some(&self.issuer),
            Some(WithoutIss::OptedOut | WithoutIss::SentByOthers) => None,
        }
    }

    pub(super) fn serves(&self, mode: ResponseMode) -> bool {
        self.response_modes.contains(&mode)
    }

    /// Returns the issuer, byte for byte.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns the reason for responses without `iss`; `None` when they carry it.
    pub fn lacks_iss(&self) -> Option<WithoutIss> {
        self.without_iss
    }

    /// Returns a builder for the metadata with these endpoints (RFC 8414).
    pub fn metadata(&self, authorization_endpoint: &str, token_endpoint: &str) -> MetadataBuilder {
        let modes = self.response_modes.iter();
        let facts = ServerFacts {
            issuer: &self.issuer,
            iss: self.without_iss.is_none(),
            response_modes: modes.map(|mode| mode.as_str()).collect(),
        };
        MetadataBuilder::new(&facts, authorization_endpoint, token_endpoint)
    }

    /// Returns the paths of the metadata. Serve it at each, or respond with 404 there (AS-04).
    pub fn metadata_paths(&self) -> Vec<Box<str>> {
        let origin_end = self
            .issuer
            .splitn(4, '/')
            .take(3)
            .map(|part| part.len().saturating_add(1))
            .sum::<usize>()
            .saturating_sub(1);
        mcp_auth_machine::wire::well_known::server_locations(&self.issuer)
            .filter_map(|location| location.get(origin_end..).map(Into::into))
            .collect()
    }

    /// Starts the response to an authorization request with a registered redirect URI.
    pub fn respond(&self, target: RedirectTarget) -> Responding {
        Responding::new(self.clone(), target)
    }
}
