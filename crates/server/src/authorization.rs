//! An authorization server: one value from which its metadata and its responses are made (AS-03).

use std::sync::Arc;

use super::authorization_error::AuthorizationError;
use super::issuer::{IssuerError, check};
use super::metadata::{MetadataBuilder, ServerFacts};
use super::redirect::RedirectTarget;
use super::response::{Responding, ResponseMode};

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
    response_modes: Vec<ResponseMode>,
}

impl AuthorizationServer {
    /// A server that sends `iss` with every response, and says so.
    ///
    /// # Errors
    /// [`IssuerError`] when the text cannot be an issuer (AS-02).
    pub fn new(issuer: &str) -> Result<Self, IssuerError> {
        check(issuer)?;
        Ok(Self {
            issuer: issuer.into(),
            without_iss: None,
            response_modes: vec![ResponseMode::Query],
        })
    }

    /// A server that does neither; the reason stays visible.
    #[must_use]
    pub fn without_iss(mut self, reason: WithoutIss) -> Self {
        self.without_iss = Some(reason);
        self
    }

    /// Serves this way of sending a response too, and says so. The query is always served.
    #[must_use]
    pub fn with_response_mode(mut self, mode: ResponseMode) -> Self {
        if !self.response_modes.contains(&mode) {
            self.response_modes.push(mode);
        }
        self
    }

    /// The way that `response_mode` of a request asks for; the query when it is absent.
    ///
    /// # Errors
    /// [`AuthorizationError::InvalidRequest`] for one that is not served; send it by the query.
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

    /// The value of `iss` in responses; `None` when they carry none.
    pub(super) fn iss(&self) -> Option<&str> {
        match self.without_iss {
            None => Some(&self.issuer),
            Some(WithoutIss::OptedOut | WithoutIss::SentByOthers) => None,
        }
    }

    pub(super) fn serves(&self, mode: ResponseMode) -> bool {
        self.response_modes.contains(&mode)
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
        let modes = self.response_modes.iter();
        let facts = ServerFacts {
            issuer: &self.issuer,
            iss: self.without_iss.is_none(),
            response_modes: modes.map(|mode| mode.as_str()).collect(),
        };
        MetadataBuilder::new(&facts, authorization_endpoint, token_endpoint)
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
        mcp_auth_machine::wire::well_known::server_locations(&self.issuer)
            .filter_map(|location| location.get(origin_end..).map(Into::into))
            .collect()
    }

    /// Answers an authorization request whose redirect URI was found among the registered ones.
    pub fn respond(&self, target: RedirectTarget) -> Responding {
        Responding::new(self.clone(), target)
    }
}
