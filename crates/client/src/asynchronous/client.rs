//! The handle that tasks share.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode};
use tokio::sync::{mpsc, oneshot, watch};

use super::device::{DeviceSignIn, Poller, Shown};
use super::job::{Begun, Job, Message, Refusal, Stopped, Target, Told, Wish, sent};
use super::saver::Unsaved;
use super::start::Builder;
use crate::async_store::SharedStore;
use crate::store::Store;
use mcp_auth_machine::action::{Grant, Redirect};
use mcp_auth_machine::event::{Abandon, Authorization, Observed, Operation};
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::{Config, Event};

/// The authorization of one principal at one MCP server, shared by its clones. Its task ends after the last
/// clone, or with [`close`](Self::close).
#[derive(Clone)]
pub struct Client {
    messages: mpsc::UnboundedSender<Box<Message>>,
    /// Whether tokens are lost, once the task has ended.
    ended: watch::Receiver<bool>,
}

impl Client {
    pub(super) fn new(
        messages: mpsc::UnboundedSender<Box<Message>>,
        ended: watch::Receiver<bool>,
    ) -> Self {
        Self { messages, ended }
    }

    /// Returns a builder for one principal at one MCP server. The store runs on blocking threads.
    pub fn builder<S: Store + Send + Sync + 'static>(
        config: impl Into<Arc<Config>>,
        principal: impl Into<Arc<str>>,
        store: S,
    ) -> Builder {
        Self::builder_on(config, principal, SharedStore::blocking(store))
    }

    /// Returns a builder with an asynchronous store, or one that is shared with other clients.
    pub fn builder_on(
        config: impl Into<Arc<Config>>,
        principal: impl Into<Arc<str>>,
        store: SharedStore,
    ) -> Builder {
        Builder::new(config.into(), principal.into(), store)
    }

    /// Starts one request to the MCP server, with its retries: the method that most hosts need.
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

    /// Returns the headers of one request with a valid token: `Authorization`, and `DPoP` for a bound
    /// token. The token is refreshed first if necessary, and the user signs in if no other way is left.
    /// Call it again for each request.
    ///
    /// # Errors
    /// [`Stopped`] when no token is available.
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

    pub(super) async fn wanted(&self, target: Target, wish: Wish) -> Result<HeaderMap, Stopped> {
        self.ask(|reply| Job::Wanted {
            target,
            wish,
            reply,
        })
        .await
    }

    /// Starts an authorization and returns its redirect, for hosts whose users are at another device, such
    /// as web servers. `None`: a token is available without a redirect. With an authorization pending,
    /// returns the same redirect.
    ///
    /// # Errors
    /// [`Stopped::Failed`] when no redirect is possible; [`Stopped::NeedUser`] when the user must confirm
    /// something first, such as a change of the authorization server.
    pub async fn begin(
        &self,
        authorization: impl Into<Authorization>,
    ) -> Result<Option<Redirect>, Stopped> {
        let authorization = Some(Box::new(authorization.into()));
        self.ask(|reply| Job::Begin {
            authorization,
            reply: Begun::Redirect(reply),
        })
        .await
    }

    /// Starts a device authorization (RFC 8628) and returns its code, for a user in a browser of any device. The
    /// driver polls the server meanwhile. `None`: a token is available without the user. With a code pending,
    /// returns the same code.
    ///
    /// # Errors
    /// [`Stopped::Failed`] when the server does not offer the grant, or issued no code; [`Stopped::NeedUser`]
    /// when the user must confirm something first, such as a change of the authorization server.
    pub async fn begin_on_other_device(
        &self,
        authorization: impl Into<Authorization>,
    ) -> Result<Option<DeviceSignIn>, Stopped> {
        let shown = self.show_code(authorization.into()).await?;
        Ok(shown.map(|shown| DeviceSignIn::new(shown, Poller::Client(self.clone()))))
    }

    pub(super) async fn show_code(
        &self,
        authorization: Authorization,
    ) -> Result<Option<Shown>, Stopped> {
        let authorization = Some(Box::new(authorization.on_other_device()));
        self.ask(|reply| Job::Begin {
            authorization,
            reply: Begun::Code(reply),
        })
        .await
    }

    /// Passes a callback on, perhaps of an authorization that another instance prepared. `true`: a token is
    /// available. `false`: the callback belongs to no sign-in of this principal, and was ignored.
    ///
    /// # Errors
    /// [`Stopped::Failed`] when the callback is unusable; [`Stopped::NeedUser`] when the user is needed
    /// again.
    pub async fn came_back(&self, callback: Callback) -> Result<bool, Stopped> {
        let callback = Some(callback);
        self.ask(|reply| Job::CameBack { callback, reply }).await
    }

    /// Cancels the authorization; callers that wait for the sign-in receive an error.
    pub fn abandon(&self, how: Abandon) {
        self.tell(Message::Abandon(how));
    }

    /// Returns the stored token without its value, even when it has expired. `None`: the account has none.
    ///
    /// # Errors
    /// [`Stopped::Failed`] when the account slot cannot be read, or its record is of a newer version; [`Stopped::Ended`] and
    /// [`Stopped::SignedOut`].
    pub async fn grant(&self) -> Result<Option<Grant>, Stopped> {
        self.ask(Job::Grant).await
    }

    /// Erases the account, then revokes its tokens where the server supports revocation. Callers that wait
    /// for a token receive an error.
    ///
    /// # Errors
    /// [`Stopped::Failed`]: at the stage `revocation` when the account is erased but a token was not
    /// revoked; at another stage when the account could not be erased.
    pub async fn sign_out(&self) -> Result<(), Stopped> {
        self.ask(|reply| Job::SignOut {
            failure: None,
            reply,
        })
        .await
    }

    /// Ends the driver for all its handles, which return [`Stopped::Ended`] from now on, and waits until
    /// work in flight is completed and stored. Call it at the end of a program, before the runtime stops.
    ///
    /// # Errors
    /// [`Unsaved`]: the store did not take the tokens within [`save_time`](Builder::save_time).
    pub async fn close(mut self) -> Result<(), Unsaved> {
        self.tell(Message::Close);
        // The channel closes when the task ends.
        while self.ended.changed().await.is_ok() {}
        Unsaved::check(usize::from(*self.ended.borrow()))
    }

    /// Closed when the task has ended.
    pub(super) fn ended(&self) -> watch::Receiver<bool> {
        self.ended.clone()
    }

    /// Tells the machine something that has no answer.
    pub(super) fn note(&self, event: Event) {
        self.tell(Message::Note(event));
    }

    /// Has the task finish and end, whoever else has a handle.
    pub(super) fn tell_close(&self) {
        self.tell(Message::Close);
    }

    async fn ask<T>(&self, job: impl FnOnce(Told<T>) -> Job) -> Result<T, Stopped> {
        let (reply, told) = oneshot::channel();
        self.tell(Message::Job(job(reply)));
        told.await.unwrap_or(Err(Stopped::Ended))
    }

    fn tell(&self, message: Message) {
        // Without a task, the caller's reply channel is closed.
        drop(self.messages.send(Box::new(message)));
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

/// One request to the MCP server, with its retries.
///
/// Call [`headers`](Self::headers) before each attempt, and pass each response to [`again`](Self::again).
///
/// Some servers leave a connection after they refused a request there, without a word: a request that is sent again at once
/// can be lost there. [`Connections`](super::Connections) leaves such connections; so does an HTTP client without idle ones,
/// such as one of `reqwest` with `pool_max_idle_per_host(0)`.
#[derive(Debug)]
pub struct Call {
    client: Client,
    target: Target,
    sent: Option<http::HeaderValue>,
    ready: bool,
}

impl Call {
    /// The `Authorization` header of the last attempt.
    pub(super) fn sent(&self) -> Option<&http::HeaderValue> {
        self.sent.as_ref()
    }

    /// Continues after an attempt with this header.
    pub(super) fn that_sent(self, sent: Option<http::HeaderValue>) -> Self {
        Self { sent, ..self }
    }

    /// Returns the headers of the next attempt: those of [`Client::authorize`], or none when only the user
    /// could help: the server's challenge then names what is needed. A sign-in that is under way is
    /// awaited.
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

    /// Handles the status and the headers of the MCP endpoint's own response (USE-13): after a 401, 403 or
    /// 400 it refreshes the token, has the user sign in, or requests more scopes. `true`: send the request
    /// again, with new headers. `false`: the response is final.
    ///
    /// # Errors
    /// [`Stopped`] when a retry would not help.
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
