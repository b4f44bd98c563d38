//! The handle that tasks share.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode};
use tokio::sync::{mpsc, oneshot, watch};

use super::job::{Job, Message, Refusal, Stopped, Target, Told, Wish, sent};
use super::start::Builder;
use crate::async_store::SharedStore;
use crate::store::Store;
use mcp_auth_machine::action::{Grant, Redirect};
use mcp_auth_machine::event::{Abandon, Authorization, Observed, Operation};
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::{Config, Event};

/// The authorization of one principal at one MCP server, shared by its clones. The task behind it
/// ends after the last one, or with [`close`](Self::close).
#[derive(Clone)]
pub struct Client {
    messages: mpsc::UnboundedSender<Message>,
    ended: watch::Receiver<()>,
}

impl Client {
    pub(super) fn new(
        messages: mpsc::UnboundedSender<Message>,
        ended: watch::Receiver<()>,
    ) -> Self {
        Self { messages, ended }
    }

    /// For one principal at one MCP server. The store is used on threads that may block.
    pub fn builder<S: Store + Send + Sync + 'static>(
        config: impl Into<Arc<Config>>,
        principal: impl Into<Arc<str>>,
        store: S,
    ) -> Builder {
        Self::builder_on(config, principal, SharedStore::blocking(store))
    }

    /// For one principal at one MCP server, on a store that is shared with other clients, or asynchronous.
    pub fn builder_on(
        config: impl Into<Arc<Config>>,
        principal: impl Into<Arc<str>>,
        store: SharedStore,
    ) -> Builder {
        Builder::new(config.into(), principal.into(), store)
    }

    /// One request of the MCP server, from its first attempt to its last: what hosts need most.
    pub fn call(
        &self,
        operation: impl Into<Operation>,
        method: Method,
        url: impl Into<Box<str>>,
    ) -> Call {
        Call {
            client: self.clone(),
            target: Target {
                operation: operation.into(),
                method,
                url: url.into(),
            },
            sent: None,
            ready: false,
        }
    }

    /// The headers with which one request presents a good token: `Authorization`, and `DPoP` where
    /// the token is bound to a key. The token is renewed first if it must be, and the user signs in
    /// if nothing else helps. Never for a second request.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn authorize(
        &self,
        operation: impl Into<Operation>,
        method: &Method,
        url: &str,
    ) -> Result<HeaderMap, Stopped> {
        let target = Target {
            operation: operation.into(),
            method: method.clone(),
            url: url.into(),
        };
        self.wanted(target, Wish::AtAnyRate).await
    }

    async fn wanted(&self, target: Target, wish: Wish) -> Result<HeaderMap, Stopped> {
        self.ask(|reply| Job::Wanted {
            target,
            wish,
            reply,
        })
        .await
    }

    /// For hosts whose users are at another place, such as web servers: starts an authorization, and
    /// says where to send the user. `None`: a token is there without the user's going anywhere. While
    /// a user is away already, the same redirect again.
    ///
    /// # Errors
    /// [`Stopped::Failed`] when there is no such place; [`Stopped::NeedUser`] when there is something
    /// else to be asked first, such as whether the change of the authorization server is right.
    pub async fn begin(
        &self,
        authorization: impl Into<Authorization>,
    ) -> Result<Option<Redirect>, Stopped> {
        let authorization = Some(Box::new(authorization.into()));
        self.ask(|reply| Job::Begin {
            authorization,
            reply,
        })
        .await
    }

    /// The user came back, perhaps to another instance than prepared it. `true`: a token is there.
    /// `false`: that was no answer to any sign-in of this principal, and changed nothing.
    ///
    /// # Errors
    /// [`Stopped::Failed`] when the answer cannot be used; [`Stopped::NeedUser`] when the user is
    /// needed once more.
    pub async fn came_back(&self, callback: Callback) -> Result<bool, Stopped> {
        let callback = Some(callback);
        self.ask(|reply| Job::CameBack { callback, reply }).await
    }

    /// The user gave up: who waits for the sign-in is told.
    pub fn abandon(&self, how: Abandon) {
        self.tell(Message::Abandon(how));
    }

    /// The token that is held, whether or not it is over.
    ///
    /// # Errors
    /// [`Stopped::Ended`], [`Stopped::SignedOut`].
    pub async fn grant(&self) -> Result<Option<Grant>, Stopped> {
        self.ask(Job::Grant).await
    }

    /// Erases the account, then revokes what it held where the server can. Whoever waits for a token
    /// is told.
    ///
    /// # Errors
    /// [`Stopped::Failed`]: at the stage `revocation` when the account is erased, but what it held was
    /// not revoked; at another stage when it could not be erased.
    pub async fn sign_out(&self) -> Result<(), Stopped> {
        self.ask(|reply| Job::SignOut {
            failure: None,
            reply,
        })
        .await
    }

    /// Ends the driver for all its handles, which get [`Stopped::Ended`] from now on, and waits until
    /// what is under way is finished and stored: for the end of a program, which would stop the
    /// runtime in the middle of it otherwise.
    pub async fn close(mut self) {
        self.tell(Message::Close);
        // Nothing is ever sent; the task's end closes the channel.
        while self.ended.changed().await.is_ok() {}
    }

    async fn ask<T>(&self, job: impl FnOnce(Told<T>) -> Job) -> Result<T, Stopped> {
        let (reply, told) = oneshot::channel();
        self.tell(Message::Job(job(reply)));
        told.await.unwrap_or(Err(Stopped::Ended))
    }

    fn tell(&self, message: Message) {
        // Without a task there is nobody to tell; who waits for an answer notices.
        drop(self.messages.send(message));
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

/// One request of the MCP server and its repetitions.
///
/// Ask for [`headers`](Self::headers) before each attempt, and show each answer to
/// [`again`](Self::again).
#[derive(Debug)]
pub struct Call {
    client: Client,
    target: Target,
    sent: Option<http::HeaderValue>,
    ready: bool,
}

impl Call {
    /// The headers of the next attempt: those of [`Client::authorize`], or none when only the user
    /// could help: then the server's refusal says what is needed, if anything is. A sign-in that is
    /// under way is waited for.
    ///
    /// # Errors
    /// [`Stopped`], but never [`Stopped::NeedUser`].
    pub async fn headers(&mut self) -> Result<HeaderMap, Stopped> {
        let wish = if std::mem::take(&mut self.ready) {
            Wish::Ready
        } else {
            Wish::IfThereIsOne
        };
        let headers = match self.client.wanted(self.target.clone(), wish).await {
            Err(Stopped::NeedUser(_)) => HeaderMap::new(),
            other => other?,
        };
        self.sent = sent(&headers);
        Ok(headers)
    }

    /// Takes the status and the headers of the MCP endpoint's own answer (USE-13), and does what has
    /// to be done about a 401, 403 or 400: renews, has the user sign in, or allow more. `true`: send
    /// the request again, with new headers. `false`: the answer stands.
    ///
    /// # Errors
    /// [`Stopped`]: sending again would not help.
    pub async fn again(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<bool, Stopped> {
        if headers.contains_key("dpop-nonce") {
            let observed = Observed::new(&self.target.url, headers);
            self.client.tell(Message::Note(Event::Observed(observed)));
        }
        if !matches!(status.as_u16(), 400 | 401 | 403) {
            if status.is_success() {
                let accepted = Event::Accepted(self.target.operation.clone());
                self.client.tell(Message::Note(accepted));
            }
            return Ok(false);
        }
        let target = self.target.clone();
        let refusal = Refusal {
            status: status.as_u16(),
            headers: headers.clone(),
            sent: self.sent.clone(),
        };
        self.ready = self
            .client
            .ask(|reply| Job::Refused {
                target,
                refusal,
                reply,
            })
            .await?;
        Ok(self.ready)
    }
}
