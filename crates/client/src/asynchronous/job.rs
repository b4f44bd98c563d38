//! What the handles ask of the task.

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method};
use tokio::sync::oneshot;

use crate::clock::now;
use mcp_auth_machine::action::{Grant, NeedUser, Redirect};
use mcp_auth_machine::event::{Abandon, Authorization, Challenge, Operation};
use mcp_auth_machine::present::Presentation;
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::{AuthMachine, Event, Failure, NoBearer};

/// Why there is no token.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Stopped {
    /// Nothing more without the user, and there is none, or the user said no.
    #[error("the user is needed: {}", .0.why.as_str())]
    NeedUser(NeedUser),
    /// The attempt is over; the failure says whose fault it is and what to do next.
    #[error(transparent)]
    Failed(Box<Failure>),
    /// The token that is held cannot be presented there.
    #[error(transparent)]
    NotPresented(NoBearer),
    /// The user signed out meanwhile.
    #[error("the user signed out")]
    SignedOut,
    /// The operating system has no random bytes to give: no sign-in was started (SEC-34).
    #[error("the operating system has no random bytes")]
    NoEntropy,
    /// The driver was closed, or is gone with its runtime.
    #[error("the driver has ended")]
    Ended,
}

pub(super) type Told<T> = oneshot::Sender<Result<T, Stopped>>;

pub(super) enum Message {
    Job(Job),
    /// An event that asks for nothing.
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

/// One question, and who waits for its answer.
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
    /// The user of this driver agreed.
    Consented(Option<Box<Authorization>>),
    /// The host has a user of its own.
    Begin {
        authorization: Option<Box<Authorization>>,
        reply: Told<Option<Redirect>>,
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

/// How much a token is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// The user is asked if need be.
    AtAnyRate,
    /// The user is not asked: the server's refusal will say what is needed.
    IfThereIsOne,
    /// There is one: this was just said.
    Ready,
}

/// The MCP server's no.
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) sent: Option<HeaderValue>,
}

impl Job {
    /// The user's side comes before everybody else's.
    pub(super) fn is_urgent(&self) -> bool {
        match self {
            Self::Consented(_) | Self::Begin { .. } | Self::CameBack { .. } => true,
            Self::SignOut { .. } => true,
            Self::Wanted { .. } | Self::Refused { .. } | Self::Grant(_) => false,
        }
    }

    /// Whether there was a good token a moment ago.
    pub(super) fn is_ready(&self) -> bool {
        matches!(
            self,
            Self::Wanted {
                wish: Wish::Ready,
                ..
            }
        )
    }

    /// Whether nobody waits for the answer. What a user did counts all the same.
    pub(super) fn is_deserted(&self) -> bool {
        match self {
            Self::Wanted { reply, .. } => reply.is_closed(),
            Self::Refused { reply, .. } => reply.is_closed(),
            Self::Begin { reply, .. } => reply.is_closed(),
            Self::Grant(reply) => reply.is_closed(),
            Self::Consented(_) | Self::CameBack { .. } | Self::SignOut { .. } => false,
        }
    }

    /// The question, in the machine's words.
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

    /// Whether a failure that came of asking others is this one's too.
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

    /// What a good token at hand would be presented as for it, when that is an answer: not the one
    /// that was refused.
    pub(super) fn served_by(&self, machine: &mut AuthMachine) -> Option<Presentation> {
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
        let presentation = machine.present(now(), &target.method, &target.url).ok()?;
        match (&presentation, sent) {
            (Presentation::Bearer(value), Some(sent)) if sent == Some(value) => None,
            (Presentation::Bound(_), Some(_)) => None,
            (Presentation::Bearer(_) | Presentation::Bound(_), _) => Some(presentation),
        }
    }

    /// Whether this token is the very one that was refused.
    pub(super) fn refuses(&self, presentation: &Presentation) -> bool {
        match (self, presentation) {
            (Self::Refused { refusal, .. }, Presentation::Bearer(value)) => {
                refusal.sent.as_ref() == Some(value)
            }
            (Self::Refused { .. }, Presentation::Bound(_)) => true,
            (_, Presentation::Bearer(_) | Presentation::Bound(_)) => false,
        }
    }

    /// There will be no answer.
    pub(super) fn stop(self, why: Stopped) {
        // Whoever is gone does not hear it.
        match self {
            Self::Wanted { reply, .. } => drop(reply.send(Err(why))),
            Self::Refused { reply, .. } | Self::CameBack { reply, .. } => {
                drop(reply.send(Err(why)));
            }
            Self::Begin { reply, .. } => drop(reply.send(Err(why))),
            Self::SignOut { reply, .. } => drop(reply.send(Err(why))),
            Self::Grant(reply) => drop(reply.send(Err(why))),
            Self::Consented(_) => {}
        }
    }

    /// It failed, with its own operation named.
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

/// The header that says which token was sent.
pub(super) fn sent(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(AUTHORIZATION).cloned()
}
