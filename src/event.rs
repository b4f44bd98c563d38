//! What a host tells the machine.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response};

use crate::action::SubjectTokenKind;
use crate::config::RedirectUri;
use crate::secret::Secret;
use crate::slot::Stored;
use crate::ticket::Ticket;
use crate::wire::callback::{BrowserBinding, Callback};
use crate::wire::pkce::Seed;
use crate::wire::scopes::Scopes;

/// Something that happened. Answers ([`Event::HttpResponse`], [`Event::SlotLoaded`],
/// [`Event::SlotPersisted`]) are made from the action that asked, which is used up by it.
#[derive(Debug)]
pub enum Event {
    /// The host wants, and consents to, an authorization; it lends the entropy for it. A client that
    /// acts for itself takes it for the wish for a token.
    Authorize(Authorization),
    /// The MCP server answered 401, 403 or 400.
    Challenged(Challenge),
    /// The MCP server accepted a request; that operation's attempts are counted anew.
    Accepted(Operation),
    /// The host is about to send a request and wants a token that is good: one that is stored, or
    /// the news that the user is needed.
    Wanted(Operation),
    /// The answer to a `SendRequest`.
    HttpResponse(Reply),
    /// The user came back.
    CallbackParams(Callback),
    /// The answer to a `LoadSlot`.
    SlotLoaded(Loaded),
    /// The answer to a `PersistSlot`.
    SlotPersisted(Persisted),
    /// The answer to a `Sign`.
    Signed(Signed),
    /// The answer to an `ObtainAssertion`.
    AssertionObtained(Assertion),
    /// An answer of the MCP server or of anybody else: a DPoP nonce in it is used from now on
    /// (DPOP-12). Only hosts with DPoP need to hand these in.
    Observed(Observed),
    /// Time passed. Harmless when early; [`AuthMachine::deadline`](crate::AuthMachine::deadline)
    /// says when it matters.
    Timer,
    /// The user or the host gave up.
    Abandoned(Abandon),
    /// Forget everything held for this principal at this MCP server.
    SignedOut,
}

/// The host's wish to authorize, with the entropy of one attempt.
#[derive(Debug)]
pub struct Authorization {
    pub(crate) seed: Seed,
    pub(crate) redirect_uri: Option<RedirectUri>,
    pub(crate) browser: Option<BrowserBinding>,
    pub(crate) scopes: Option<Scopes>,
}

impl Authorization {
    /// With the configured redirect URI and the scopes that the servers ask for.
    pub fn new(seed: Seed) -> Self {
        Self {
            seed,
            redirect_uri: None,
            browser: None,
            scopes: None,
        }
    }

    /// Uses another redirect URI, such as one with the port that a loopback listener got (AUTHZ-09).
    #[must_use]
    pub fn redirect_uri(mut self, uri: RedirectUri) -> Self {
        self.redirect_uri = Some(uri);
        self
    }

    /// Accepts the callback from this browser session alone (CB-14).
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

/// The name of what the caller wants to do, such as `tools/call search`: attempts are counted by it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Operation(Arc<str>);

impl Operation {
    /// From a name; at most 256 characters of it count.
    pub fn new(name: &str) -> Self {
        let end = name
            .char_indices()
            .nth(256)
            .map_or(name.len(), |(at, _)| at);
        Self(name.get(..end).unwrap_or_default().into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Operation {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A refusal by the MCP endpoint itself; answers of redirect targets and other origins are not
/// challenges (USE-13).
#[derive(Clone)]
pub struct Challenge {
    pub(crate) operation: Operation,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) sent: Option<Secret>,
}

impl Challenge {
    /// The operation that was refused, the status, and the answer's headers.
    pub fn new(operation: impl Into<Operation>, status: u16, headers: HeaderMap) -> Self {
        Self {
            operation: operation.into(),
            status,
            headers,
            sent: None,
        }
    }

    /// Says which token the request carried: the `Authorization` header value or the token alone.
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

/// How an attempt is given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Abandon {
    /// As it is.
    #[default]
    Cancelled,
    /// And the dynamic registration is forgotten: the server showed an error page instead of coming
    /// back, as one does that no longer knows the client (QUIRK-14, AUTHZ-19). It works at any time, after
    /// what is under way; tokens that are held stay, and `NeedUser` with
    /// [`Why::ClientForgotten`](crate::action::Why::ClientForgotten) says that it is done.
    ResetRegistration,
}

/// The answer to a request, or how it was not delivered.
pub struct Reply {
    pub(crate) ticket: Ticket,
    pub(crate) outcome: Outcome,
}

impl Reply {
    /// The number of the action that asked, as [`SendRequest::id`](crate::action::SendRequest::id)
    /// gave it.
    pub fn id(&self) -> u64 {
        self.ticket.id()
    }

    /// The answer, where one came: for drivers that show it. Its body may hold secrets.
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

/// A signature, finished as a token.
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

/// The headers of an answer, and the URL that it came from.
#[derive(Debug)]
pub struct Observed {
    pub(crate) url: Box<str>,
    pub(crate) nonce: Option<Box<str>>,
}

impl Observed {
    /// From an answer's URL and headers; nothing but `DPoP-Nonce` is kept of them.
    pub fn new(url: &str, headers: &HeaderMap) -> Self {
        Self {
            url: url.into(),
            nonce: nonce(headers),
        }
    }
}

/// The one well-formed `DPoP-Nonce` (DPOP-12).
pub(crate) fn nonce(headers: &HeaderMap) -> Option<Box<str>> {
    let mut found = headers.get_all("dpop-nonce").iter();
    let text = found.next()?.to_str().ok()?;
    (found.next().is_none() && crate::wire::jwt::is_nonce(text)).then(|| text.into())
}

/// The answer to a load.
#[derive(Debug)]
pub struct Loaded {
    pub(crate) ticket: Ticket,
    pub(crate) found: Result<Option<Stored>, ()>,
}

/// The answer to a write.
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
