//! The person at the browser, as the driver sees one.

use std::future::Future;

use tokio::sync::{mpsc, oneshot};

use super::job::{Job, Message};
use mcp_auth_machine::action::{NeedUser, Redirect, Why};
use mcp_auth_machine::event::Authorization;
use mcp_auth_machine::wire::callback::Callback;

/// Asks a person, sends the person to a browser, and brings the callback back. At most one sign-in
/// is under way at a time, whoever waits for it. Both futures run on tasks of their own and are
/// dropped when the sign-in ends without them.
pub trait User: Send + Sync + 'static {
    /// Whether the user wants to sign in, or to allow more. To agree, give the authorization back,
    /// perhaps with a redirect URI or a browser binding of this attempt; `None` says no.
    ///
    /// Agrees, unless the MCP server changed its authorization server: then nobody should agree
    /// without having been shown both (ISO-09).
    fn consent(
        &self,
        need: NeedUser,
        authorization: Authorization,
    ) -> impl Future<Output = Option<Authorization>> + Send {
        let agreed = !matches!(need.why, Why::ServerChanged { .. });
        async move { agreed.then_some(authorization) }
    }

    /// Sends the user there, and hands in whatever comes back until it was the answer. Returning
    /// before that gives the sign-in up.
    fn redirect(&self, redirect: Redirect, callbacks: Callbacks)
    -> impl Future<Output = ()> + Send;
}

/// Nobody can be asked: what needs a user fails with [`Stopped::NeedUser`](super::Stopped::NeedUser).
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl User for Nobody {
    async fn consent(&self, _: NeedUser, _: Authorization) -> Option<Authorization> {
        None
    }

    async fn redirect(&self, _: Redirect, _: Callbacks) {}
}

/// Where callbacks are handed in during a sign-in.
#[derive(Clone, Debug)]
pub struct Callbacks(pub(super) mpsc::WeakUnboundedSender<Message>);

impl Callbacks {
    /// Hands one in, whole. `false`: it was not the answer to this sign-in, and changed nothing: go
    /// on listening. `true`: the sign-in is over, well or not; who waited for it is told.
    pub async fn hand_in(&self, callback: Callback) -> bool {
        let Some(messages) = self.0.upgrade() else {
            return true;
        };
        let (reply, told) = oneshot::channel();
        let job = Job::CameBack {
            callback: Some(callback),
            reply,
        };
        let sent = messages.send(Message::Job(job)).is_ok();
        drop(messages);
        // A failure, and a driver that is gone, end the sign-in as well.
        !sent || !matches!(told.await, Ok(Ok(false)))
    }
}
