//! The connections to the MCP server. Some servers leave a connection after they refused a request there, without a word:
//! a request that is sent there meanwhile is lost.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mcp_auth_client::Trust;
use mcp_auth_client::asynchronous::{StartFlaw, http_client};
use url::Url;

use crate::probe::USER_AGENT;

const CONNECT: Duration = Duration::from_secs(20);

/// An HTTP client, whose idle connections can be left.
pub(super) struct Connections {
    url: Url,
    trust: Trust,
    client: Mutex<reqwest::Client>,
}

impl Connections {
    pub(super) fn new(url: &Url, trust: &Trust) -> Result<Self, StartFlaw> {
        Ok(Self {
            url: url.clone(),
            trust: trust.clone(),
            client: Mutex::new(client(url, trust)?),
        })
    }

    /// Returns the client for the next request.
    pub(super) fn client(&self) -> reqwest::Client {
        let client = self.client.lock();
        client.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has the requests from now on made on other connections. Those under way continue.
    pub(super) fn leave(&self) {
        if let Ok(other) = client(&self.url, &self.trust) {
            let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
            *client = other;
        }
    }
}

fn client(url: &Url, trust: &Trust) -> Result<reqwest::Client, StartFlaw> {
    let settings = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT);
    http_client(settings, trust, url)
}
