//! Events: the input of the machine.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response};

use crate::grant::SubjectTokenKind;
use crate::need_user::NeedUser;
pub use crate::operation::Operation;
use crate::redirect_uri::RedirectUri;
use crate::secret::Secret;
use crate::slot::Stored;
use crate::ticket::Ticket;
use crate::wire::callback::{BrowserBinding, Callback};
use crate::wire::pkce::Seed;
use crate::wire::scopes::Scopes;

/// An input of the machine. Results of actions, such as [`Event::HttpResponse`], are created by the action
/// itself, which is consumed.
#[derive(Debug)]
pub enum Event {
    /// The host requests, and consents to, an authorization, and supplies its entropy. With a grant that
    /// needs no user, this requests a token.
    Authorize(Authorization),
    /// The MCP server responded with 401, 403 or 400. Answered as [`Event::Wanted`].
    Challenged(Challenge),
    /// The MCP server accepted a request; the attempt counter of the operation restarts.
    Accepted(Operation),
    /// The host needs a valid access token now. Answered with [`Action::Ready`](crate::Action::Ready),
    /// perhaps after a refresh, or with [`Action::NeedUser`](crate::Action::NeedUser) or
    /// [`Action::Error`](crate::Action::Error) for this operation, once (USE-14).
    Wanted(Operation),
    /// The result of a `SendRequest`.
    HttpResponse(Reply),
    /// The authorization server redirected the user to the host.
    CallbackParams(Callback),
    /// The result of a `LoadSlot`.
    SlotLoaded(Loaded),
    /// The result of a `PersistSlot`.
    SlotPersisted(Persisted),
    /// The result of a `Sign`.
    Signed(Signed),
    /// The result of an `ObtainAssertion`.
    AssertionObtained(Assertion),
    /// The headers of a response, usually of the MCP server. A DPoP nonce in them is used from now on. Only
    /// needed with DPoP (DPOP-12).
    Observed(Observed),
    /// Time has passed. Early timers are harmless; [`AuthMachine::deadline`](crate::AuthMachine::deadline)
    /// returns when one is due.
    Timer,
    /// The user or the host cancelled the authorization.
    Abandoned(Abandon),
    /// The user signed out: erase and revoke the tokens of this principal for this MCP server. Everything that waits is
    /// answered with [`Cause::Abandoned`](crate::error::Cause::Abandoned) first.
    SignedOut,
}

/// A request to authorize, with the entropy of one attempt.
#[derive(Debug)]
pub struct Authorization {
    pub(crate) seed: Seed,
    pub(crate) redirect_uri: Option<RedirectUri>,
    pub(crate) browser: Option<BrowserBinding>,
    pub(crate) scopes: Option<Scopes>,
    pub(crate) answers: Option<Box<NeedUser>>,
    pub(crate) on: Where,
}

/// Where the user authorizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// In a browser that is redirected to the host afterwards.
    Here,
    /// In a browser of another device, with a code (RFC 8628).
    OtherDevice,
}

impl Authorization {
    /// Creates a request with the configured redirect URI and the scopes that the servers name.
    pub fn new(seed: Seed) -> Self {
        Self {
            seed,
            redirect_uri: None,
            browser: None,
            scopes: None,
            answers: None,
            on: Where::Here,
        }
    }

    /// Answers this question, which a machine of this process or of another has asked for the same account: the
    /// authorization requests the scopes and consents to the authorization server that the question names, even when
    /// that machine is gone. Otherwise it answers the last question of its own machine (STEP-15).
    #[must_use]
    pub fn answering(mut self, need: &NeedUser) -> Self {
        self.answers = Some(Box::new(need.clone()));
        self
    }

    /// Lets the user authorize in a browser of any device, with a code (the device authorization grant,
    /// RFC 8628), for hosts without a browser. The machine emits
    /// [`Action::ShowCode`](crate::Action::ShowCode) in place of a redirect, and polls the server at its
    /// [`deadline`](crate::AuthMachine::deadline). Needs no redirect URI; a redirect URI and a browser
    /// binding are ignored.
    #[doc(alias = "device_code")]
    #[doc(alias = "rfc8628")]
    #[must_use]
    pub fn on_other_device(mut self) -> Self {
        self.on = Where::OtherDevice;
        self
    }

    /// Replaces the redirect URI, for example by one with the port of a loopback listener (AUTHZ-09).
    #[must_use]
    pub fn redirect_uri(mut self, uri: RedirectUri) -> Self {
        self.redirect_uri = Some(uri);
        self
    }

    /// Binds the callback to this browser session (CB-14).
    #[must_use]
    pub fn browser(mut self, browser: BrowserBinding) -> Self {
        self.browser = Some(browser);
        self
    }

    /// Requests exactly these scopes (SCOPE-04).
    #[must_use]
    pub fn scopes(mut self, scopes: Scopes) -> Self {
        self.scopes = Some(scopes);
        self
    }
}

impl From<Seed> for Authorization {
    fn from(seed: Seed) -> Self {
        Self::new(seed)
    }
}

/// A refusal by the MCP endpoint itself. Responses of redirect targets and other origins are not challenges
/// (USE-13).
#[derive(Clone)]
pub struct Challenge {
    pub(crate) operation: Operation,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) sent: Option<Secret>,
}

impl Challenge {
    /// Creates a challenge from the refused operation, the status, and the response headers.
    pub fn new(operation: impl Into<Operation>, status: u16, headers: HeaderMap) -> Self {
        Self {
            operation: operation.into(),
            status,
            headers,
            sent: None,
        }
    }

    /// Sets the token that the request carried: the value of `Authorization`, or the token alone.
    #[must_use]
    pub fn sent(mut self, authorization: &str) -> Self {
        let token = match authorization.split_once(' ') {
            Some((_, token)) => token,
            None => authorization,
        };
        self.sent = Some(Secret::new(token));
        self
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenge")
            .field("operation", &self.operation)
            .field("status", &self.status)
            .field("token_sent", &self.sent.is_some())
            .finish_non_exhaustive()
    }
}

/// How an authorization is cancelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Abandon {
    /// Cancels the authorization.
    #[default]
    Cancelled,
    /// Cancels, and erases the dynamic registration: the server showed an error page instead of
    /// redirecting, as servers do that do not know the client any more. Allowed at any time; takes effect
    /// after the work under way. Stored tokens are kept. Completion is reported as `NeedUser` with
    /// [`Why::ClientForgotten`](crate::action::Why::ClientForgotten) (QUIRK-14, AUTHZ-19).
    ResetRegistration,
}

/// The response to a request, or the reason why none arrived.
pub struct Reply {
    pub(crate) ticket: Ticket,
    pub(crate) outcome: Outcome,
}

impl Reply {
    /// Returns the number of the action, as in [`SendRequest::id`](crate::action::SendRequest::id).
    pub fn id(&self) -> u64 {
        self.ticket.id()
    }

    /// Returns the response, if one arrived, for drivers that log it. Its body may contain secrets.
    pub fn response(&self) -> Option<&Response<Bytes>> {
        match &self.outcome {
            Outcome::Response { response, .. } => Some(response),
            Outcome::NeverSent | Outcome::MaybeSent | Outcome::TooLarge | Outcome::Blocked => None,
        }
    }
}

pub(crate) enum Outcome {
    Response {
        response: Response<Bytes>,
        final_url: Option<String>,
    },
    NeverSent,
    MaybeSent,
    TooLarge,
    Blocked,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match &self.outcome {
            Outcome::Response { response, .. } => {
                return write!(
                    f,
                    "Reply({}, status {}, {} bytes)",
                    self.ticket.id(),
                    response.status().as_u16(),
                    response.body().len()
                );
            }
            Outcome::NeverSent => "never sent",
            Outcome::MaybeSent => "maybe sent",
            Outcome::TooLarge => "too large",
            Outcome::Blocked => "blocked",
        };
        write!(f, "Reply({}, {outcome})", self.ticket.id())
    }
}

/// A signature, completed to a token.
#[derive(Debug)]
pub struct Signed {
    pub(crate) ticket: Ticket,
    pub(crate) token: Option<Secret>,
}

/// A token of the host's platform.
#[derive(Debug)]
pub struct Assertion {
    pub(crate) ticket: Ticket,
    pub(crate) token: Option<(Secret, Option<SubjectTokenKind>)>,
}

/// The headers of a response, with its URL.
#[derive(Debug)]
pub struct Observed {
    pub(crate) url: Box<str>,
    pub(crate) nonce: Option<Box<str>>,
}

impl Observed {
    /// Creates an observation from a response's URL and headers; only `DPoP-Nonce` is kept.
    pub fn new(url: &str, headers: &HeaderMap) -> Self {
        Self {
            url: url.into(),
            nonce: nonce(headers),
        }
    }
}

/// Returns the value of `DPoP-Nonce`, if there is exactly one and it is well-formed (DPOP-12).
pub(crate) fn nonce(headers: &HeaderMap) -> Option<Box<str>> {
    const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
    let mut found = headers.get_all(&DPOP_NONCE).iter();
    let text = found.next()?.to_str().ok()?;
    (found.next().is_none() && crate::wire::jwt::is_nonce(text)).then(|| text.into())
}

/// The result of a load.
#[derive(Debug)]
pub struct Loaded {
    pub(crate) ticket: Ticket,
    pub(crate) found: Result<Option<Stored>, ()>,
}

/// The result of a write.
#[derive(Debug)]
pub struct Persisted {
    pub(crate) ticket: Ticket,
    pub(crate) outcome: Persistence,
}

#[derive(Debug)]
pub(crate) enum Persistence {
    Done,
    Failed,
    Conflict(Option<Stored>),
}
