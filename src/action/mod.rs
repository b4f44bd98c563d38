//! Actions: the work that the machine requests from its host.

mod sign;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};

use crate::error::Failure;
use crate::event::{Abandon, Event, Loaded, Outcome, Persisted, Persistence, Reply};
pub use crate::grant::SubjectTokenKind;
use crate::issuer::IssuerId;
pub use crate::need_user::{NeedUser, Why};
use crate::report::Decision;
use crate::slot::{Revision, Slot, Stored};
use crate::ticket::Ticket;
use crate::time::UnixMillis;
pub use crate::wire::address::AddressPolicy;
use crate::wire::callback::IssBinding;
pub use crate::wire::device::UserCode;
use crate::wire::pkce::State;
use crate::wire::scopes::Scopes;
pub(crate) use sign::ToSign;
pub use sign::{AssertionKind, ObtainAssertion, Prepared, Sign};

/// One piece of work for the host. Pending actions are independent of each other: an action that depends on
/// a result is returned only after that result.
#[derive(Debug)]
pub enum Action {
    /// Send one HTTP request.
    SendRequest(SendRequest),
    /// Open a URL in the user's browser.
    Redirect(Redirect),
    /// Show the user a code, and the page to enter it at (RFC 8628 section 3.3).
    ShowCode(Box<ShowCode>),
    /// Read a slot.
    LoadSlot(LoadSlot),
    /// Write or clear a slot.
    PersistSlot(PersistSlot),
    /// Sign with a key of the host.
    Sign(Sign),
    /// Obtain a token from the host's platform or identity provider.
    ObtainAssertion(ObtainAssertion),
    /// The user is needed: reply with [`Event::Authorize`] when the user agrees. Answers its operation, which waits for nothing
    /// then: the authorization has an answer of its own (USE-14).
    NeedUser(NeedUser),
    /// A token can be presented now: retry the waiting requests. Answers every operation, except one whose request was
    /// refused with the token that is still stored (USE-14).
    Ready(Grant),
    /// The attempt failed, for its operation; without one, no operation is answered (USE-14). Stored credentials stay,
    /// except those that a server ended.
    Error(Box<Failure>),
    /// The reason for a decision, for users and logs. May be ignored.
    Report(Box<Decision>),
}

impl Action {
    /// Returns the event that declines this action, for hosts that do not support it: a failure for requests, slots, signing and
    /// assertions, a cancellation for [`Redirect`](Self::Redirect) and [`ShowCode`](Self::ShowCode). `None` for actions that await no
    /// event. The flow continues if it can; otherwise it ends with [`Error`](Self::Error).
    ///
    /// ```
    /// # use mcp_auth_machine::{Action, AuthMachine, Event, Moment};
    /// # fn send(request: mcp_auth_machine::action::SendRequest) {}
    /// fn perform(machine: &mut AuthMachine, now: Moment, action: Action) {
    ///     match action {
    ///         Action::SendRequest(request) => send(request),
    ///         other => {
    ///             if let Some(event) = other.decline() {
    ///                 machine.handle(now, event);
    ///             }
    ///         }
    ///     }
    /// }
    /// ```
    pub fn decline(self) -> Option<Event> {
        match self {
            Self::SendRequest(send) => Some(send.never_sent()),
            Self::LoadSlot(load) => Some(load.failed()),
            Self::PersistSlot(persist) => Some(persist.failed()),
            Self::Sign(sign) => Some(sign.failed()),
            Self::ObtainAssertion(obtain) => Some(obtain.failed()),
            Self::Redirect(_) | Self::ShowCode(_) => Some(Event::Abandoned(Abandon::Cancelled)),
            Self::NeedUser(_) | Self::Ready(_) | Self::Error(_) | Self::Report(_) => None,
        }
    }
}

/// The purpose of a request (SEC-06).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Protected resource metadata (RFC 9728).
    ResourceMetadata,
    /// Authorization server metadata (RFC 8414).
    ServerMetadata,
    /// Dynamic client registration (RFC 7591).
    Registration,
    /// A token request.
    Token,
    /// Token revocation after sign-out (RFC 7009).
    Revocation,
    /// A pushed authorization request (RFC 9126, AUTHZ-20).
    PushedAuthorization,
    /// A request for a device code (RFC 8628, DEV-01).
    DeviceAuthorization,
}

impl Purpose {
    /// Returns a stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ResourceMetadata => "resource_metadata",
            Self::ServerMetadata => "server_metadata",
            Self::Registration => "registration",
            Self::Token => "token",
            Self::Revocation => "revocation",
            Self::PushedAuthorization => "pushed_authorization",
            Self::DeviceAuthorization => "device_authorization",
        }
    }
}

/// The party that supplied the URL of a request (SEC-06).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UrlSource {
    /// The host: configured, or derived from the MCP URL.
    Host,
    /// The MCP server.
    McpServer,
    /// The authorization server.
    AuthorizationServer,
}

/// One HTTP request. Send it with TLS verification, without cookies, and without following redirects
/// (SEC-03).
pub struct SendRequest {
    /// Boxed, because all actions would be as large, and they are moved often.
    pub(crate) request: Box<Request<Bytes>>,
    pub(crate) purpose: Purpose,
    pub(crate) supplied_by: UrlSource,
    pub(crate) addresses: AddressPolicy,
    pub(crate) time_limit: Duration,
    pub(crate) ticket: Ticket,
}

impl SendRequest {
    /// Returns the request. Its body and its `authorization` header may contain secrets.
    pub fn request(&self) -> &Request<Bytes> {
        &self.request
    }

    /// Returns the purpose of the request.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Returns the party that supplied the URL.
    pub fn supplied_by(&self) -> UrlSource {
        self.supplied_by
    }

    /// Returns the policy for the addresses that the driver may connect to.
    pub fn addresses(&self) -> AddressPolicy {
        self.addresses
    }

    /// Returns the largest response body in bytes; a driver stops reading there and reports
    /// [`SendRequest::too_large`] (SEC-13).
    pub fn body_limit(&self) -> usize {
        crate::wire::json::MAX_BODY_BYTES
    }

    /// Returns the time limit of the whole exchange (SEC-15).
    pub fn time_limit(&self) -> Duration {
        self.time_limit
    }

    /// Returns the number of this action, unique within this machine, for logs and protocols.
    pub fn id(&self) -> u64 {
        self.ticket.id()
    }

    /// Reports the response.
    pub fn response(self, response: Response<Bytes>) -> Event {
        self.reply(Outcome::Response {
            response,
            final_url: None,
        })
    }

    /// Reports the response with the URL that the HTTP stack received it from; a response from another URL
    /// is rejected (H07).
    pub fn response_from(self, response: Response<Bytes>, final_url: impl Into<String>) -> Event {
        self.reply(Outcome::Response {
            response,
            final_url: Some(final_url.into()),
        })
    }

    /// Reports that the request was certainly not sent: no connection was made.
    pub fn never_sent(self) -> Event {
        self.reply(Outcome::NeverSent)
    }

    /// Reports that no usable response arrived, although the server may have received the request.
    pub fn maybe_sent(self) -> Event {
        self.reply(Outcome::MaybeSent)
    }

    /// Reports that the response was larger than [`SendRequest::body_limit`].
    pub fn too_large(self) -> Event {
        self.reply(Outcome::TooLarge)
    }

    /// Reports that the host name resolved to an address that the policy denies.
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

/// A URL for a browser: `https`, or `http` on loopback, without characters that a shell interprets. Open it
/// without a shell nevertheless (AUTHZ-11, AUTHZ-12).
#[derive(Clone, PartialEq, Eq)]
pub struct BrowserUrl(pub(crate) String);

impl BrowserUrl {
    /// Returns the URL as text. It contains `state`: show it only to the user.
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

/// A redirect of the user to an authorization server. The pending record is already stored.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// The URL to open.
    pub url: BrowserUrl,
    /// The authorization server.
    pub issuer: IssuerId,
    /// The host and port of the MCP server that the user authorizes access to (AUTHZ-14).
    pub mcp_host: Arc<str>,
    /// The client identifier that the authorization server may show.
    pub client_id: Arc<str>,
    /// The requested scopes, which are opaque identifiers (SCOPE-13).
    pub scopes: Scopes,
    /// Whether the user has not authorized at this issuer for this MCP server before (ISO-09).
    pub new_issuer: bool,
    /// The time until which the callback is accepted.
    pub expires: UnixMillis,
    pub(crate) state: State,
}

impl Redirect {
    /// A slot for a host with many principals: where it may keep whose sign-in this is, until
    /// [`expires`](Self::expires). It is that of the callback
    /// ([`Callback::route`](crate::wire::callback::Callback::route)), and the machine never uses it.
    pub fn route(&self) -> Slot {
        Slot::route(self.state.digest())
    }
}

/// A code for the user, who enters it at a page of the authorization server in a browser of any device
/// (RFC 8628 section 3.3). Show the code also beside a page that contains it: the user compares both (section
/// 5.4), because a code that someone else sent signs that one in (DEV-06). The machine polls meanwhile:
/// answer with nothing, and send [`Event::Timer`] at [`deadline`](crate::AuthMachine::deadline).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ShowCode {
    /// The code to enter.
    pub user_code: UserCode,
    /// The page to open, which the user may have to type.
    pub verification_uri: BrowserUrl,
    /// The page with the code in its URL, for a link or a QR code.
    pub verification_uri_complete: Option<BrowserUrl>,
    /// The authorization server.
    pub issuer: IssuerId,
    /// The host and port of the MCP server that the user authorizes access to (AUTHZ-14).
    pub mcp_host: Arc<str>,
    /// The client identifier that the authorization server may show.
    pub client_id: Box<str>,
    /// The requested scopes, which are opaque identifiers (SCOPE-13).
    pub scopes: Scopes,
    /// Whether the user has not authorized at this issuer for this MCP server before (ISO-09).
    pub new_issuer: bool,
    /// The time at which the code expires.
    pub expires: UnixMillis,
}

/// A request to read a slot.
#[derive(Debug)]
pub struct LoadSlot {
    pub(crate) slot: Slot,
    pub(crate) ticket: Ticket,
}

impl LoadSlot {
    /// Returns the slot.
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Returns the number of this action, unique within this machine.
    pub fn id(&self) -> u64 {
        self.ticket.id()
    }

    /// Reports the contents of the slot; `None`: the slot is empty.
    pub fn found(self, stored: Option<Stored>) -> Event {
        Event::SlotLoaded(Loaded {
            ticket: self.ticket,
            found: Ok(stored),
        })
    }

    /// Reports that the store could not be read.
    pub fn failed(self) -> Event {
        Event::SlotLoaded(Loaded {
            ticket: self.ticket,
            found: Err(()),
        })
    }
}

/// A compare-and-swap: write or clear a slot if it still has the revision [`PersistSlot::expected`].
#[derive(Debug)]
pub struct PersistSlot {
    pub(crate) slot: Slot,
    pub(crate) expected: Option<Revision>,
    pub(crate) write: Option<Stored>,
    pub(crate) expires: Option<UnixMillis>,
    pub(crate) ticket: Ticket,
}

impl PersistSlot {
    /// Returns the slot.
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Returns the expected revision; `None`: the slot must be empty.
    pub fn expected(&self) -> Option<Revision> {
        self.expected
    }

    /// Returns the contents to write, with their revision; `None`: clear the slot.
    pub fn write(&self) -> Option<&Stored> {
        self.write.as_ref()
    }

    /// Returns the time after which the store may drop the contents.
    pub fn expires(&self) -> Option<UnixMillis> {
        self.expires
    }

    /// Returns the number of this action, unique within this machine.
    pub fn id(&self) -> u64 {
        self.ticket.id()
    }

    /// Reports that the write is durable.
    pub fn done(self) -> Event {
        self.outcome(Persistence::Done)
    }

    /// Reports that the write failed, or that its result is unknown.
    pub fn failed(self) -> Event {
        self.outcome(Persistence::Failed)
    }

    /// Reports that the slot has another revision, with its current contents.
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

/// The stored token, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The authorization server that issued it.
    pub issuer: IssuerId,
    /// The granted scopes.
    pub scopes: Scopes,
    /// The expiry, if known.
    pub expires: Option<UnixMillis>,
    /// How the issuer of the callback was verified.
    pub iss_binding: IssBinding,
    /// Whether the token was requested for this resource only (RFC 8707, RES-11).
    pub audience_bound: bool,
    /// Whether another token follows without the user: the authorization server issued a refresh token, or the grant needs
    /// no user. Otherwise the user signs in again when this token expires (QUIRK-08).
    pub renewable: bool,
}
