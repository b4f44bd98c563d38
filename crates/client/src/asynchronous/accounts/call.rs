//! One request for one account, and its repetitions.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::super::client::Call;
use super::super::job::Stopped;
use super::flights::Share;
use super::table::Lease;
use super::{Accounts, Server, key};
use crate::meter;
use mcp_auth_machine::event::Operation;

/// One request to an MCP server for one principal, and its repetitions.
///
/// Ask for [`headers`](Self::headers) before each attempt, and show each answer to [`again`](Self::again).
pub struct AccountCall {
    accounts: Accounts,
    server: Server,
    principal: Arc<str>,
    operation: Operation,
    method: Method,
    /// The token that was at hand and was sent.
    sent: Option<HeaderValue>,
    /// The machine that takes part, from the first question on that no token at hand answers.
    machine: Option<(Call, Lease)>,
}

impl AccountCall {
    pub(super) fn new(
        accounts: Accounts,
        server: &Server,
        principal: &str,
        operation: Operation,
        method: Method,
    ) -> Self {
        Self {
            accounts,
            server: server.clone(),
            principal: principal.into(),
            operation,
            method,
            sent: None,
            machine: None,
        }
    }

    /// The headers of the next attempt, or none when only the user could help: then the server's refusal says what
    /// is needed, if anything is.
    ///
    /// # Errors
    /// [`Stopped`], but never [`Stopped::NeedUser`].
    pub async fn headers(&mut self) -> Result<HeaderMap, Stopped> {
        if self.machine.is_none() {
            let (server, principal) = (&self.server, &self.principal);
            let found = match self.accounts.token(server, principal) {
                Some(value) => Some(value),
                None => {
                    let read = self.accounts.read_token(server, principal, &self.operation);
                    match read.await {
                        Ok(found) => found,
                        Err(Stopped::NeedUser(_)) => {
                            self.sent = None;
                            return Ok(HeaderMap::new());
                        }
                        Err(other) => return Err(other),
                    }
                }
            };
            if let Some(value) = found {
                self.sent = Some(value.clone());
                return Ok(crate::secrets::bearer(value));
            }
        }
        let (call, _) = self.machine().await?;
        call.headers().await
    }

    /// Takes the status and the headers of the MCP endpoint's own answer (USE-13), and does what has to be done about
    /// a 401, 403 or 400. `true`: send the request again, with new headers. `false`: the answer stands.
    ///
    /// # Errors
    /// [`Stopped`]: sending again would not help. [`Stopped::NeedUser`]: [`begin`](Accounts::begin) a sign-in.
    pub async fn again(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<bool, Stopped> {
        let is_refusal = matches!(status.as_u16(), 400 | 401 | 403);
        if self.machine.is_none() && !is_refusal {
            if status.is_success() {
                let (server, principal) = (&self.server, &self.principal);
                self.accounts.accepted(server, principal, &self.operation);
            }
            return Ok(false);
        }
        let mut lead = None;
        if status == StatusCode::UNAUTHORIZED
            && let Some(sent) = self.sent_last().cloned()
        {
            let key = key(&self.server, Arc::clone(&self.principal));
            self.accounts.0.warm.refused(&key, &sent);
            if self.machine.is_none() {
                // Another token is tried first, whatever else a challenge says, as with a challenge to an older token.
                match self.accounts.0.refusals.join(&key, sent) {
                    Share::Follow(judged) => {
                        judged.wait().await;
                        if self.is_served() {
                            return Ok(true);
                        }
                    }
                    Share::Lead(own) => lead = Some(own),
                    Share::Alone | Share::Full => {}
                }
            }
        }
        let (call, _) = self.machine().await?;
        let told = call.again(status, headers).await;
        if let Some(lead) = lead {
            lead.end(|| ());
        }
        told
    }

    /// Returns true if another token than the refused one is at hand.
    fn is_served(&mut self) -> bool {
        let found = self.accounts.token(&self.server, &self.principal);
        let is_served = found.is_some() && found != self.sent;
        if is_served {
            meter::refusal(StatusCode::UNAUTHORIZED.as_u16());
            meter::absorbed();
            self.sent = None;
        }
        is_served
    }

    fn sent_last(&self) -> Option<&HeaderValue> {
        match &self.machine {
            Some((call, _)) => call.sent(),
            None => self.sent.as_ref(),
        }
    }

    async fn machine(&mut self) -> Result<&mut (Call, Lease), Stopped> {
        let held = match self.machine.take() {
            Some(held) => held,
            None => {
                let lease = self.accounts.lease(&self.server, &self.principal).await?;
                let (operation, method) = (self.operation.clone(), self.method.clone());
                let client = lease.client();
                let call = client.call(operation, method, self.server.url());
                (call.that_sent(self.sent.take()), lease)
            }
        };
        Ok(self.machine.insert(held))
    }
}

impl fmt::Debug for AccountCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountCall")
            .field("server", &self.server.url())
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}
