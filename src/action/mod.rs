//! What the machine asks of its host.

mod sign;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};

use crate::error::{Cause, Failure};
use crate::event::{Event, Loaded, Operation, Outcome, Persisted, Persistence, Reply};
use crate::issuer::IssuerId;
use crate::report::Decision;
use crate::slot::{Revision, Slot, Stored};
use crate::ticket::Ticket;
use crate::time::UnixMillis;
pub use crate::wire::address::AddressPolicy;
use crate::wire::callback::IssBinding;
use crate::wire::scopes::Scopes;
use crate::wire::text::Untrusted;
use crate::wire::words::AuthMethod;
pub(crate) use sign::ToSign;
pub use sign::{AssertionKind, ObtainAssertion, Prepared, Sign, SubjectTokenKind};

/// One piece of work. Actions are independent of each other: what depends on an answer does not
/// exist before the answer.
#[derive(Debug)]
pub enum Action {
    /// Send one HTTP request.
    SendRequest(SendRequest),
    /// Send the user's browser to a URL.
    Redirect(Redirect),
    /// Read a slot.
    LoadSlot(LoadSlot),
    /// Write or clear a slot.
    PersistSlot(PersistSlot),
    /// Sign with a key of the host.
    Sign(Sign),
    /// Obtain a token of the host's platform or identity provider.
    ObtainAssertion(ObtainAssertion),
    /// Nothing more without the user: answer with [`Event::Authorize`] when the user agrees.
    NeedUser(NeedUser),
    /// [`AuthMachine::bearer`](crate::AuthMachine::bearer) answers now: retry what was waiting.
    Ready(Grant),
    /// This attempt is over. What was held is still held.
    Error(Box<Failure>),
    /// Why something was done; for people and logs, never needed.
    Report(Box<Decision>),
}

/// What a request is for (SEC-06).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Protected resource metadata.
    ResourceMetadata,
    /// Authorization server metadata.
    ServerMetadata,
    /// Dynamic client registration.
    Registration,
    /// A token: for a code, or by refresh.
    Token,
    /// Revocation of a token after sign-out (REV).
    Revocation,
    /// A pushed authorization request (AUTHZ-20).
    PushedAuthorization,
}

impl Purpose {
    /// A stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ResourceMetadata => "resource_metadata",
            Self::ServerMetadata => "server_metadata",
            Self::Registration => "registration",
            Self::Token => "token",
            Self::Revocation => "revocation",
            Self::PushedAuthorization => "pushed_authorization",
        }
    }
}

/// Who supplied the URL of a request (SEC-06).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UrlSource {
    /// The host's configuration, or built from the MCP URL.
    Host,
    /// The MCP server.
    McpServer,
    /// The authorization server.
    AuthorizationServer,
}

/// One HTTP request: TLS verified (SEC-03), no redirect followed, no cookies.
pub struct SendRequest {
    pub(crate) request: Request<Bytes>,
    pub(crate) purpose: Purpose,
    pub(crate) supplied_by: UrlSource,
    pub(crate) addresses: AddressPolicy,
    pub(crate) time_limit: Duration,
    pub(crate) ticket: Ticket,
}

impl SendRequest {
    /// The request. Its body and its `authorization` header may hold secrets.
    pub fn request(&self) -> &Request<Bytes> {
        &self.request
    }

    /// What it is for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Who supplied its URL.
    pub fn supplied_by(&self) -> UrlSource {
        self.supplied_by
    }

    /// To which addresses the driver may connect.
    pub fn addresses(&self) -> AddressPolicy {
        self.addresses
    }

    /// Largest answer body in bytes; reading stops there with [`SendRequest::too_large`] (SEC-13).
    pub fn body_limit(&self) -> usize {
        crate::wire::json::MAX_BODY_BYTES
    }

    /// How long the whole exchange may take (SEC-15).
    pub fn time_limit(&self) -> Duration {
        self.time_limit
    }

    /// A number that names this action among those of this machine, for logs and protocols.
    pub fn id(&self) -> u64 {
        self.ticket.id()
    }

    /// The answer.
    pub fn response(self, response: Response<Bytes>) -> Event {
        self.reply(Outcome::Response {
            response,
            final_url: None,
        })
    }

    /// The answer, with the URL that it came from as the HTTP stack saw it: an answer from another
    /// URL is refused (H07).
    pub fn response_from(self, response: Response<Bytes>, final_url: impl Into<String>) -> Event {
        self.reply(Outcome::Response {
            response,
            final_url: Some(final_url.into()),
        })
    }

    /// The request is known not to have left: no connection was made.
    pub fn never_sent(self) -> Event {
        self.reply(Outcome::NeverSent)
    }

    /// No usable answer came, but the server may have seen the request.
    pub fn maybe_sent(self) -> Event {
        self.reply(Outcome::MaybeSent)
    }

    /// The answer was larger than [`SendRequest::body_limit`].
    pub fn too_large(self) -> Event {
        self.reply(Outcome::TooLarge)
    }

    /// The address policy does not permit the address that the host name resolved to.
    pub fn blocked(self) -> Event {
        self.reply(Outcome::Blocked)
    }

    fn reply(self, outcome: Outcome) -> Event {
        Event::HttpResponse(Reply {
            ticket: self.ticket,
            outcome,
        })
    }
}

impl fmt::Debug for SendRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SendRequest({}, {}, {} {})",
            self.id(),
            self.purpose.as_str(),
            self.request.method(),
            self.request.uri()
        )
    }
}

/// A URL for a browser: `https`, or loopback `http`, without characters that a shell could read as
/// more than text (AUTHZ-11, F02). Open it without a shell all the same (AUTHZ-12).
#[derive(Clone, PartialEq, Eq)]
pub struct BrowserUrl(pub(crate) Box<str>);

impl BrowserUrl {
    /// The text to open. It carries `state`: show it to the user alone.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BrowserUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.split('?').next().unwrap_or_default())?;
        f.write_str("?…")
    }
}

/// The user is to be sent to an authorization server. The record that the callback needs is stored.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// Where to.
    pub url: BrowserUrl,
    /// The authorization server.
    pub issuer: IssuerId,
    /// Host and port of the MCP server for which the user authorizes (AUTHZ-14).
    pub mcp_host: Box<str>,
    /// The client identifier that will be shown.
    pub client_id: Box<str>,
    /// The scopes requested: opaque identifiers (SCOPE-13).
    pub scopes: Scopes,
    /// Whether this resource was used with another issuer before, or with none (ISO-09).
    pub new_issuer: bool,
    /// Until when a callback is accepted.
    pub expires: UnixMillis,
}

/// Read a slot.
#[derive(Debug)]
pub struct LoadSlot {
    pub(crate) slot: Slot,
    pub(crate) ticket: Ticket,
}

impl LoadSlot {
    /// Which one.
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// A number that names this action among those of this machine.
    pub fn id(&self) -> u64 {
        self.ticket.id()
    }

    /// What the store holds.
    pub fn found(self, stored: Option<Stored>) -> Event {
        Event::SlotLoaded(Loaded {
            ticket: self.ticket,
            found: Ok(stored),
        })
    }

    /// The store could not be read.
    pub fn failed(self) -> Event {
        Event::SlotLoaded(Loaded {
            ticket: self.ticket,
            found: Err(()),
        })
    }
}

/// Write or clear a slot, only if it still holds what [`PersistSlot::expected`] says.
#[derive(Debug)]
pub struct PersistSlot {
    pub(crate) slot: Slot,
    pub(crate) expected: Option<Revision>,
    pub(crate) write: Option<Stored>,
    pub(crate) expires: Option<UnixMillis>,
    pub(crate) ticket: Ticket,
}

impl PersistSlot {
    /// Which one.
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// The revision that must be there; `None`: the slot must be empty.
    pub fn expected(&self) -> Option<Revision> {
        self.expected
    }

    /// What to write with its revision; `None`: clear the slot.
    pub fn write(&self) -> Option<&Stored> {
        self.write.as_ref()
    }

    /// After this time the contents are of no use; a store may drop them.
    pub fn expires(&self) -> Option<UnixMillis> {
        self.expires
    }

    /// A number that names this action among those of this machine.
    pub fn id(&self) -> u64 {
        self.ticket.id()
    }

    /// Done, durably.
    pub fn done(self) -> Event {
        self.outcome(Persistence::Done)
    }

    /// Not done, or not known to be.
    pub fn failed(self) -> Event {
        self.outcome(Persistence::Failed)
    }

    /// Not done: the slot holds something else, namely this.
    pub fn conflict(self, current: Option<Stored>) -> Event {
        self.outcome(Persistence::Conflict(current))
    }

    fn outcome(self, outcome: Persistence) -> Event {
        Event::SlotPersisted(Persisted {
            ticket: self.ticket,
            outcome,
        })
    }
}

/// Why the user is needed, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeedUser {
    /// Why.
    pub why: Why,
    /// The operation that waits, when one was named.
    pub operation: Option<Operation>,
}

/// Why nothing goes on without the user.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// Nothing is held for this MCP server.
    NoCredentials,
    /// The token is refused or over, and cannot be renewed.
    TokenOver,
    /// The authorization server does not renew the token, and says why (11.4).
    RenewalRefused {
        /// Its refusal.
        cause: Box<Cause>,
    },
    /// The token lacks scopes (STEP-01).
    ScopeMissing {
        /// The scopes that the MCP server named.
        scopes: Scopes,
        /// Its description, sanitised; not for end users.
        description: Option<Untrusted>,
    },
    /// The resource now uses another authorization server; sending `Authorize` consents to it (ISO-09).
    ServerChanged {
        /// The issuer at which the user is authenticated.
        from: IssuerId,
        /// The issuer found now.
        to: IssuerId,
    },
    /// The server no longer knows the client; the registration was forgotten (TOK-19).
    ClientForgotten,
    /// The server refused the client that was just registered, by its method of authentication; the next
    /// registration asks for another one (REG-21).
    MethodRefused {
        /// The method refused.
        refused: AuthMethod,
        /// The method that the next registration asks for.
        next: AuthMethod,
    },
    /// The server refused scopes. The next authorization registers the client for these, or leaves out
    /// what only earlier requests needed (9.1).
    ScopesRefused {
        /// The scopes in question.
        scopes: Scopes,
    },
    /// The server refused `offline_access`; it will not be asked for again (9.1).
    OfflineAccessRefused,
}

impl Why {
    /// A stable name.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NoCredentials => "no_credentials",
            Self::TokenOver => "token_over",
            Self::RenewalRefused { .. } => "renewal_refused",
            Self::ScopeMissing { .. } => "scope_missing",
            Self::ServerChanged { .. } => "server_changed",
            Self::ClientForgotten => "client_forgotten",
            Self::MethodRefused { .. } => "method_refused",
            Self::ScopesRefused { .. } => "scopes_refused",
            Self::OfflineAccessRefused => "offline_access_refused",
        }
    }
}

/// What is held now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The authorization server that issued it.
    pub issuer: IssuerId,
    /// The scopes granted.
    pub scopes: Scopes,
    /// When it expires, if that is known.
    pub expires: Option<UnixMillis>,
    /// How sure it is that the user came back from that server.
    pub iss_binding: IssBinding,
    /// Whether the token was requested for this resource alone (RES-11).
    pub audience_bound: bool,
}
