//! Connections that a host leaves after a refused request.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use http::StatusCode;

use super::StartFlaw;

type Opens = Box<dyn Fn() -> Result<reqwest::Client, StartFlaw> + Send + Sync>;

/// The HTTP client of a host for one MCP server. Some servers close a connection after they refused a request on it, without
/// saying so: a request that is sent there meanwhile is lost. So requests after a refusal are made on new connections.
///
/// ```
/// use mcp_auth_client::asynchronous::{Connections, StartFlaw};
///
/// let open = || reqwest::Client::builder().build().map_err(StartFlaw::Http);
/// # let _first = rustls::crypto::ring::default_provider().install_default();
/// let connections = Connections::new(open)?;
/// let request = connections.client().post("https://mcp.example/mcp");
/// // Its response has come:
/// connections.answered(http::StatusCode::UNAUTHORIZED);
/// # drop(request);
/// # Ok::<(), StartFlaw>(())
/// ```
pub struct Connections {
    open: Opens,
    client: Mutex<reqwest::Client>,
}

impl Connections {
    /// Builds the client. `open` is called again after each refusal.
    ///
    /// # Errors
    /// That of `open`.
    pub fn new(
        open: impl Fn() -> Result<reqwest::Client, StartFlaw> + Send + Sync + 'static,
    ) -> Result<Self, StartFlaw> {
        Ok(Self {
            client: Mutex::new(open()?),
            open: Box::new(open),
        })
    }

    /// Returns the client for the next request.
    pub fn client(&self) -> reqwest::Client {
        let client = self.client.lock();
        client.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reports the status of a response. After 400, 401 or 403 the next requests are made on new connections; those under way
    /// continue. Without a new client the former one stays.
    pub fn answered(&self, status: StatusCode) {
        if matches!(status.as_u16(), 400 | 401 | 403)
            && let Ok(other) = (self.open)()
        {
            *self.client.lock().unwrap_or_else(PoisonError::into_inner) = other;
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}
