//! Fetching keys and introspection responses with `reqwest`.

use std::time::Duration;

use http::{Request, Response};

use super::keys::MAX_JWKS_BYTES;
use super::verifier::{Fetch, FetchError};

/// The time limit of one fetch.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// An HTTP client on `reqwest`: without redirects, with a time limit of ten seconds and the size limit of
/// key sets.
#[derive(Clone, Debug)]
pub struct HttpFetch(reqwest::Client);

impl HttpFetch {
    /// Creates a client; the builder sets TLS and proxies. Default: the trust store of the platform.
    ///
    /// # Errors
    /// The error of `reqwest`.
    pub fn new(builder: reqwest::ClientBuilder) -> Result<Self, reqwest::Error> {
        let builder = builder.redirect(reqwest::redirect::Policy::none());
        builder.timeout(TIME_LIMIT).build().map(Self)
    }
}

impl Fetch for HttpFetch {
    async fn fetch(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, FetchError> {
        let request = reqwest::Request::try_from(request).map_err(|_| FetchError)?;
        let mut answer = self.0.execute(request).await.map_err(|_| FetchError)?;
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(|_| FetchError)? {
            if body.len().saturating_add(part.len()) > MAX_JWKS_BYTES {
                return Err(FetchError);
            }
            body.extend_from_slice(&part);
        }
        let mut response = Response::new(body);
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        Ok(response)
    }
}
