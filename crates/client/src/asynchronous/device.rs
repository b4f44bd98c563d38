//! A device authorization that the host began for its own user: the code to show, and its end.

use std::fmt;

use tokio::sync::oneshot;

use super::accounts::Lease;
use super::client::Client;
use super::job::{Stopped, Told};
use mcp_auth_machine::action::ShowCode;

/// A code of a device authorization, and the channel for its end.
pub(super) struct Shown {
    pub(super) code: Box<ShowCode>,
    pub(super) end: oneshot::Receiver<Result<(), Stopped>>,
}

/// The machine that polls, for as long as the host waits.
pub(super) enum Poller {
    Client(#[expect(dead_code, reason = "keeps the driver")] Client),
    Account(#[expect(dead_code, reason = "keeps the machine")] Lease),
}

/// A device authorization (RFC 8628) under way: see [`Client::begin_on_other_device`].
///
/// The driver polls the authorization server while this value exists. After a drop it polls for as long as the
/// driver has other work; [`Client::abandon`] cancels.
pub struct DeviceSignIn {
    shown: Shown,
    _poller: Poller,
}

impl DeviceSignIn {
    pub(super) fn new(shown: Shown, poller: Poller) -> Self {
        Self {
            shown,
            _poller: poller,
        }
    }

    /// Returns the code and the page to enter it at. Show both with issuer, MCP host and scopes (DEV-06).
    pub fn code(&self) -> &ShowCode {
        &self.shown.code
    }

    /// Waits for the end: a token is stored, or the reason why there is none.
    ///
    /// # Errors
    /// [`Stopped::Failed`] when the user declined, the code expired, or the host cancelled;
    /// [`Stopped::NeedUser`] when the code cannot be used any more, because a redirect replaced it or the server
    /// changed; [`Stopped::SignedOut`]; [`Stopped::Ended`].
    pub async fn ended(self) -> Result<(), Stopped> {
        self.shown.end.await.unwrap_or(Err(Stopped::Ended))
    }
}

impl fmt::Debug for DeviceSignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DeviceSignIn").field(self.code()).finish()
    }
}

/// The channels to those who wait for the end of a device authorization.
#[derive(Default)]
pub(super) struct Waiting(Vec<Told<()>>);

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the code with a channel for the end.
    pub(super) fn add(&mut self, code: Box<ShowCode>) -> Shown {
        let (told, end) = oneshot::channel();
        // A page that is loaded again leaves the former one's channel.
        self.0.retain(|told| !told.is_closed());
        self.0.push(told);
        Shown { code, end }
    }

    /// Tells all how it ended.
    pub(super) fn end(&mut self, how: &Result<(), Stopped>) {
        for told in self.0.drain(..) {
            // The host may not wait.
            drop(told.send(how.clone()));
        }
    }
}
