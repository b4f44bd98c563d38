//! Errors, without secrets.

use std::error::Error as StdError;

use mcp_auth_client::asynchronous::Stopped;
use rmcp::transport::DynamicTransportError;
use rmcp::transport::streamable_http_client::StreamableHttpError;

/// The reason why a request of the transport has no response. It contains no token and no URL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No token is available for the request.
    #[error("not authorized: {0}")]
    Stopped(Box<Stopped>),
    /// The request could not be sent, or its response could not be read.
    #[error("the exchange with the MCP server failed: {0}")]
    Http(reqwest::Error),
}

impl From<Stopped> for Error {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(Box::new(stopped))
    }
}

impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

pub(crate) type TransportError = StreamableHttpError<Error>;

pub(crate) fn failed(error: impl Into<Error>) -> TransportError {
    StreamableHttpError::Client(error.into())
}

/// Returns the reason for a missing token, if that made rmcp's transport fail: the error inside
/// [`ServiceError::TransportSend`](rmcp::ServiceError::TransportSend) and
/// [`ClientInitializeError::TransportError`](rmcp::service::ClientInitializeError::TransportError).
#[must_use]
pub fn stopped(error: &DynamicTransportError) -> Option<&Stopped> {
    let inner: &(dyn StdError + 'static) = &*error.error;
    match inner.downcast_ref::<TransportError>() {
        Some(StreamableHttpError::Client(Error::Stopped(stopped))) => Some(stopped),
        _ => None,
    }
}
