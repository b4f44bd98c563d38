//! One request of the transport, retried as the driver decides.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, Method};
use mcp_auth_client::asynchronous::{Client, Connections, StartFlaw, Stopped};
use reqwest::Response;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;

use crate::answer;
use crate::connections::connections;
use crate::error::{TransportError, failed};

/// The HTTP client of rmcp's streamable HTTP transport. Every request carries a valid token of this
/// authorization, and the driver handles the server's challenges.
///
/// Its clones share the connections and the authorization.
#[derive(Clone)]
pub struct AuthorizedClient {
    connections: Arc<Connections>,
    authorization: Client,
}

impl AuthorizedClient {
    /// Creates a client with the default settings of `reqwest`.
    ///
    /// # Errors
    /// Those of [`with_settings`](Self::with_settings).
    pub fn new(authorization: Client) -> Result<Self, StartFlaw> {
        Self::with_settings(authorization, reqwest::Client::builder)
    }

    /// Creates a client with settings such as proxies and time limits; a limit for whole requests also ends
    /// streams. In any case no redirect is followed, only the driver retries requests, and TLS is verified
    /// with the trust anchors of the platform. The settings are taken again after a refused request, for other
    /// connections.
    ///
    /// # Errors
    /// [`StartFlaw`] without trust anchors, or with invalid settings.
    pub fn with_settings(
        authorization: Client,
        settings: impl Fn() -> reqwest::ClientBuilder + Send + Sync + 'static,
    ) -> Result<Self, StartFlaw> {
        let connections = Arc::new(connections(settings)?);
        Ok(Self {
            connections,
            authorization,
        })
    }

    /// Returns the transport to the MCP server at this URL, which must be the one in the driver's
    /// configuration: the driver returns its token for no other URL.
    #[must_use]
    pub fn transport(self, url: impl Into<Arc<str>>) -> StreamableHttpClientTransport<Self> {
        let config = StreamableHttpClientTransportConfig::with_uri(url);
        StreamableHttpClientTransport::with_client(self, config)
    }

    /// Sends a request until its response is final.
    pub(crate) async fn send(&self, outgoing: Outgoing<'_>) -> Result<Response, Unanswered> {
        let method = outgoing.method.clone();
        let mut call = self
            .authorization
            .call(outgoing.operation, method, outgoing.url);
        loop {
            let mut headers = outgoing.headers.clone();
            headers.extend(call.headers().await.map_err(Unanswered::without)?);
            let mut request = self
                .connections
                .client()
                .request(outgoing.method.clone(), outgoing.url)
                .headers(headers);
            if let Some(body) = &outgoing.body {
                request = request.body(body.clone());
            }
            let response = request.send().await.map_err(Unanswered::Failed)?;
            let status = response.status();
            self.connections.answered(status);
            // The end of a session does not justify a sign-in.
            if outgoing.method == Method::DELETE && !status.is_success() {
                return Ok(response);
            }
            match call.again(status, response.headers()).await {
                Ok(true) => {}
                Ok(false) => return Ok(response),
                Err(stopped) => {
                    let challenge = answer::text(response.headers(), WWW_AUTHENTICATE.as_str());
                    return Err(Unanswered::Stopped {
                        stopped,
                        challenge: Some(challenge.unwrap_or_default()),
                    });
                }
            }
        }
    }
}

impl fmt::Debug for AuthorizedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthorizedClient")
    }
}

/// A request of the transport, without its authorization.
pub(crate) struct Outgoing<'a> {
    pub(crate) operation: &'a str,
    pub(crate) method: Method,
    pub(crate) url: &'a str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
}

/// The reason for a missing response.
pub(crate) enum Unanswered {
    Failed(reqwest::Error),
    Stopped {
        stopped: Stopped,
        /// The server's previous challenge; `None` if no request was sent.
        challenge: Option<String>,
    },
}

impl Unanswered {
    fn without(stopped: Stopped) -> Self {
        Self::Stopped {
            stopped,
            challenge: None,
        }
    }
}

impl From<Unanswered> for TransportError {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Failed(error) => failed(error),
            Unanswered::Stopped { stopped, .. } => failed(stopped),
        }
    }
}
