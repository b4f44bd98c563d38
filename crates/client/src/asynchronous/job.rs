//! The requests of the handles to the task.

use std::sync::Arc;

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method};
use tokio::sync::oneshot;

use super::device::Shown;
use crate::store::StoreError;
use mcp_auth_machine::action::{Grant, NeedUser, Redirect};
use mcp_auth_machine::event::{Abandon, Authorization, Challenge, Operation};
use mcp_auth_machine::present::Presentation;
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::{AuthMachine, Event, Failure, Moment, NoBearer};

/// The reason why no token is available.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Stopped {
    /// The user is needed, but none is configured, or the user declined.
    #[error("the user is needed: {}", .0.why.as_str())]
    NeedUser(NeedUser),
    /// The attempt failed; see [`Failure`] for the responsible party and the next step.
    #[error(transparent)]
    Failed(Box<Failure>),
    /// The stored token cannot be used for that URL.
    #[error(transparent)]
    NotPresented(NoBearer),
    /// The user signed out meanwhile.
    #[error("the user signed out")]
    SignedOut,
    /// The operating system has no random bytes, so no sign-in was started (SEC-34).
    #[error("the operating system has no random bytes")]
    NoEntropy,
    /// As many accounts are at work as permitted, and as many callers wait as permitted: try again later.
    #[error("as many accounts are at work, and as many callers wait, as this process permits")]
    Busy,
    /// The store could not be read or written: whose sign-in this is cannot be known, or was not written down.
    #[error(transparent)]
    StoreFailed(Arc<StoreError>),
    /// A callback of a sign-in at an MCP server that this process was not told about.
    #[error("the MCP server of this sign-in is not known to this process")]
    UnknownServer,
    /// The driver was closed, or its runtime ended.
    #[error("the driver has ended")]
    Ended,
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::StoreFailed(Arc::new(error))
    }
}

pub(super) type Told<T> = oneshot::Sender<Result<T, Stopped>>;

/// A message of a handle to the task. Messages are boxed, because the queue of a channel has room for 32 of them from the start.
pub(super) enum Message {
    Job(Job),
    /// An event without a reply.
    Note(Event),
    Abandon(Abandon),
    Close,
}

/// The request that a token is for.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) operation: Operation,
    pub(super) method: Method,
    pub(super) url: Box<str>,
}

/// One request to the machine, with the channel for its reply.
pub(super) enum Job {
    Wanted {
        target: Target,
        wish: Wish,
        reply: Told<HeaderMap>,
    },
    Refused {
        target: Target,
        refusal: Refusal,
        reply: Told<bool>,
    },
    /// The reply of the driver's user.
    Consented(Option<Box<Authorization>>),
    /// An authorization for the host's own user.
    Begin {
        authorization: Option<Box<Authorization>>,
        reply: Begun,
    },
    CameBack {
        callback: Option<Callback>,
        reply: Told<bool>,
    },
    SignOut {
        failure: Option<Box<Failure>>,
        reply: Told<()>,
    },
    Grant(Told<Option<Grant>>),
}

/// The reply to a host that begins for its own user.
pub(super) enum Begun {
    /// A URL to open.
    Redirect(Told<Option<Redirect>>),
    /// A code to enter in a browser of any device.
    Code(Told<Option<Shown>>),
}

impl Begun {
    fn is_closed(&self) -> bool {
        match self {
            Self::Redirect(reply) => reply.is_closed(),
            Self::Code(reply) => reply.is_closed(),
        }
    }

    /// A token is available without the user.
    pub(super) fn end_without_user(self) {
        // The caller may be gone.
        match self {
            Self::Redirect(reply) => drop(reply.send(Ok(None))),
            Self::Code(reply) => drop(reply.send(Ok(None))),
        }
    }

    fn stop(self, why: Stopped) {
        match self {
            Self::Redirect(reply) => drop(reply.send(Err(why))),
            Self::Code(reply) => drop(reply.send(Err(why))),
        }
    }
}

/// How urgently a token is needed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Ask the user if necessary.
    AtAnyRate,
    /// Never ask the user: the server's challenge will name what is needed.
    IfThereIsOne,
    /// A token is available, as just reported.
    Ready,
}

/// A challenge of the MCP server.
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) sent: Option<HeaderValue>,
}

impl Job {
    /// Returns true for the user's actions, which take precedence.
    pub(super) fn is_urgent(&self) -> bool {
        match self {
            Self::Consented(_) | Self::Begin { .. } | Self::CameBack { .. } => true,
            Self::SignOut { .. } => true,
            Self::Wanted { .. } | Self::Refused { .. } | Self::Grant(_) => false,
        }
    }

    /// Returns true if a valid token was reported a moment ago.
    pub(super) fn is_ready(&self) -> bool {
        matches!(
            self,
            Self::Wanted {
                wish: Wish::Ready,
                ..
            }
        )
    }

    /// Returns true if the caller is gone. A user's action counts nevertheless.
    pub(super) fn is_deserted(&self) -> bool {
        match self {
            Self::Wanted { reply, .. } => reply.is_closed(),
            Self::Refused { reply, .. } => reply.is_closed(),
            Self::Begin { reply, .. } => reply.is_closed(),
            Self::Grant(reply) => reply.is_closed(),
            Self::Consented(_) | Self::CameBack { .. } | Self::SignOut { .. } => false,
        }
    }

    /// Returns the event for the machine.
    pub(super) fn event(&mut self) -> Option<Event> {
        match self {
            Self::Wanted { target, .. } => Some(Event::Wanted(target.operation.clone())),
            Self::Refused {
                target, refusal, ..
            } => {
                let (status, headers) = (refusal.status, refusal.headers.clone());
                let mut challenge = Challenge::new(target.operation.clone(), status, headers);
                if let Some(sent) = refusal.sent.as_ref().and_then(|sent| sent.to_str().ok()) {
                    challenge = challenge.sent(sent);
                }
                Some(Event::Challenged(challenge))
            }
            Self::Consented(authorization) | Self::Begin { authorization, .. } => {
                authorization.take().map(|a| Event::Authorize(*a))
            }
            Self::CameBack { callback, .. } => callback.take().map(Event::CallbackParams),
            Self::SignOut { .. } => Some(Event::SignedOut),
            Self::Grant(_) => None,
        }
    }

    /// Returns true if a failure of a remote server applies to both jobs.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Wanted { .. }, Self::Wanted { .. }) => true,
            (Self::Refused { refusal: a, .. }, Self::Refused { refusal: b, .. }) => {
                let challenges = |of: &Refusal| -> Vec<HeaderValue> {
                    of.headers
                        .get_all(WWW_AUTHENTICATE)
                        .iter()
                        .cloned()
                        .collect()
                };
                a.status == b.status && a.sent == b.sent && challenges(a) == challenges(b)
            }
            (_, _) => false,
        }
    }

    /// Returns the presentation of the stored token if it answers the job, that is, if it is not the
    /// refused one.
    pub(super) fn served_by(&self, machine: &mut AuthMachine, now: Moment) -> Option<Presentation> {
        let (target, sent) = match self {
            Self::Wanted { target, .. } => (target, None),
            Self::Refused {
                target, refusal, ..
            } if refusal.status != 400 => (target, Some(refusal.sent.as_ref())),
            Self::Refused { .. }
            | Self::Consented(_)
            | Self::Begin { .. }
            | Self::CameBack { .. }
            | Self::SignOut { .. }
            | Self::Grant(_) => return None,
        };
        let presentation = machine.present(now, &target.method, &target.url).ok()?;
        match (&presentation, sent) {
            (Presentation::Bearer(value), Some(sent)) if sent == Some(value) => None,
            (Presentation::Bound(_), Some(_)) => None,
            (Presentation::Bearer(_) | Presentation::Bound(_), _) => Some(presentation),
        }
    }

    /// Returns true if this token is the refused one.
    pub(super) fn refuses(&self, presentation: &Presentation) -> bool {
        match (self, presentation) {
            (Self::Refused { refusal, .. }, Presentation::Bearer(value)) => {
                refusal.sent.as_ref() == Some(value)
            }
            (Self::Refused { .. }, Presentation::Bound(_)) => true,
            (_, Presentation::Bearer(_) | Presentation::Bound(_)) => false,
        }
    }

    /// Fails the job.
    pub(super) fn stop(self, why: Stopped) {
        // The caller may be gone.
        match self {
            Self::Wanted { reply, .. } => drop(reply.send(Err(why))),
            Self::Refused { reply, .. } | Self::CameBack { reply, .. } => {
                drop(reply.send(Err(why)));
            }
            Self::Begin { reply, .. } => reply.stop(why),
            Self::SignOut { reply, .. } => drop(reply.send(Err(why))),
            Self::Grant(reply) => drop(reply.send(Err(why))),
            Self::Consented(_) => {}
        }
    }

    /// Fails the job, with its own operation in the failure.
    pub(super) fn fail(self, failure: &Failure) {
        let mut failure = failure.clone();
        match &self {
            Self::Wanted { target, .. } | Self::Refused { target, .. } => {
                failure.operation = Some(target.operation.clone());
            }
            Self::Consented(_)
            | Self::Begin { .. }
            | Self::CameBack { .. }
            | Self::SignOut { .. }
            | Self::Grant(_) => {}
        }
        self.stop(Stopped::Failed(Box::new(failure)));
    }
}

/// Returns the header that carried the token.
pub(super) fn sent(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(AUTHORIZATION).cloned()
}
