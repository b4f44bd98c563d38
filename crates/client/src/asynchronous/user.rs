//! The user of the driver.

use std::future::Future;

use tokio::sync::{mpsc, oneshot};

use super::job::{Job, Message};
use mcp_auth_machine::action::{NeedUser, Redirect, ShowCode, Why};
use mcp_auth_machine::event::Authorization;
use mcp_auth_machine::wire::callback::Callback;

/// Asks the user for consent, redirects the user, and passes the callback on. At most one sign-in is under
/// way at a time, for all waiting callers. Both futures run on their own tasks, and are dropped when the
/// sign-in ends without them.
pub trait User: Send + Sync + 'static {
    /// Asks whether the user wants to sign in or to allow more scopes. Return the authorization to agree,
    /// perhaps with a redirect URI or a browser binding for this attempt; `None` declines.
    ///
    /// The default agrees, unless the MCP server changed its authorization server: a user should see both
    /// before agreeing to that (ISO-09).
    fn consent(
        &self,
        need: NeedUser,
        authorization: Authorization,
    ) -> impl Future<Output = Option<Authorization>> + Send {
        let agreed = !matches!(need.why, Why::ServerChanged { .. });
        async move { agreed.then_some(authorization) }
    }

    /// Shows the user the code of a device authorization, which
    /// [`Authorization::on_other_device`] in [`consent`](Self::consent) chose. The driver polls the server
    /// meanwhile, and drops the future when the sign-in has ended; an earlier end of the future has no effect.
    /// The default shows nothing, so that the code expires.
    fn show_code(&self, shown: ShowCode) -> impl Future<Output = ()> + Send {
        drop(shown);
        async {}
    }

    /// Opens the URL for the user, and passes callbacks on until one completes the sign-in. Returning
    /// earlier cancels the sign-in.
    fn redirect(&self, redirect: Redirect, callbacks: Callbacks)
    -> impl Future<Output = ()> + Send;
}

/// A user that is never available: work that needs a user fails with
/// [`Stopped::NeedUser`](super::Stopped::NeedUser).
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl User for Nobody {
    async fn consent(&self, _: NeedUser, _: Authorization) -> Option<Authorization> {
        None
    }

    async fn redirect(&self, _: Redirect, _: Callbacks) {}
}

/// The receiver of callbacks during a sign-in.
#[derive(Clone, Debug)]
pub struct Callbacks(pub(super) mpsc::WeakUnboundedSender<Box<Message>>);

impl Callbacks {
    /// Passes a complete callback on. `false`: the callback does not belong to this sign-in and was
    /// ignored; keep listening. `true`: the sign-in has succeeded or failed, and the waiting callers have
    /// the result.
    pub async fn hand_in(&self, callback: Callback) -> bool {
        let Some(messages) = self.0.upgrade() else {
            return true;
        };
        let (reply, told) = oneshot::channel();
        let job = Job::CameBack {
            callback: Some(callback),
            reply,
        };
        let sent = messages.send(Box::new(Message::Job(job))).is_ok();
        drop(messages);
        // A failure, or the end of the driver, ends the sign-in as well.
        !sent || !matches!(told.await, Ok(Ok(false)))
    }
}
