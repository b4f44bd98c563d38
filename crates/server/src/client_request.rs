//! An authorization request of a client that waits for something else: consent, or an upstream server.

use mcp_auth_machine::wire::scopes::Scopes;
use serde::{Deserialize, Serialize};

use super::pkce::CodeChallenge;
use super::redirect::RedirectTarget;
use super::response::ResponseMode;

/// A validated authorization request: the client is known, the redirect URI is registered, and a challenge
/// is present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRequest {
    client_id: String,
    client_name: Option<String>,
    redirect_uri: String,
    scopes: String,
    state: Option<String>,
    challenge: CodeChallenge,
    resource: Option<String>,
    mode: ResponseMode,
}

impl ClientRequest {
    /// Creates a request from the required parts.
    pub fn new(
        client_id: &str,
        target: &RedirectTarget,
        scopes: &Scopes,
        challenge: CodeChallenge,
    ) -> Self {
        Self {
            client_id: client_id.to_owned(),
            client_name: None,
            redirect_uri: target.as_str().to_owned(),
            scopes: scopes.as_str().to_owned(),
            state: None,
            challenge,
            resource: None,
            mode: ResponseMode::Query,
        }
    }

    /// Sets the client's self-chosen name.
    #[must_use]
    pub fn client_name(mut self, name: &str) -> Self {
        self.client_name = Some(name.chars().take(100).collect());
        self
    }

    /// Sets the `state` to return.
    #[must_use]
    pub fn state(mut self, state: &str) -> Self {
        self.state = Some(state.to_owned());
        self
    }

    /// Sets the `resource`.
    #[must_use]
    pub fn resource(mut self, resource: &str) -> Self {
        self.resource = Some(resource.to_owned());
        self
    }

    /// How the client wants the response sent, after
    /// [`AuthorizationServer::response_mode`](super::AuthorizationServer::response_mode) allowed it.
    #[must_use]
    pub fn response_mode(mut self, mode: ResponseMode) -> Self {
        self.mode = mode;
        self
    }

    /// How the response is sent.
    pub fn requested_mode(&self) -> ResponseMode {
        self.mode
    }

    /// The name that the client gave itself, as it was given.
    pub(super) fn client_name_shown(&self) -> Option<&str> {
        self.client_name.as_deref()
    }

    /// Returns the client identifier.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Returns the redirect URI of the response. Look it up among the client's redirect URIs again.
    pub fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// Returns the scopes.
    pub fn scopes(&self) -> &str {
        &self.scopes
    }

    /// Returns the client's `state`.
    pub fn client_state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// Returns the challenge that the proxy's code is bound to.
    pub fn challenge(&self) -> CodeChallenge {
        self.challenge
    }

    /// Returns the resource.
    pub fn requested_resource(&self) -> Option<&str> {
        self.resource.as_deref()
    }
}
