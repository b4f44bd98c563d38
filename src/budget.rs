//! Limits: every loop that a peer can cause costs a permit (SEC-15, SEC-16).

use std::time::Duration;

/// What a budget limits; named in the error when it is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limited {
    /// HTTP requests of one flow.
    Requests,
    /// Registration requests of one flow (REG-28).
    Registrations,
    /// Authorization attempts for one operation (STEP-07).
    Authorizations,
    /// Authorizations of one MCP server in a short time (E11).
    Redirects,
    /// Time of the part of a flow that needs no person (SEC-15).
    FlowTime,
    /// Time the user has for the authorization (AUTHZ-17).
    UserTime,
}

/// HTTP requests of one flow (SEC-16).
pub const REQUESTS_PER_FLOW: u8 = 40;
/// Registration requests of one flow (REG-28).
pub const REGISTRATIONS_PER_FLOW: u8 = 2;
/// Redirects followed for one document (SEC-08).
pub const DOCUMENT_REDIRECTS: u8 = 3;
/// Authorization attempts for one operation, the first included (STEP-07).
pub const AUTHORIZATIONS_PER_OPERATION: u8 = 3;
/// Authorizations of one MCP server within [`REDIRECT_WINDOW`], whatever they are for (E11).
pub const REDIRECTS_PER_WINDOW: u8 = 12;
/// The window of [`REDIRECTS_PER_WINDOW`].
pub const REDIRECT_WINDOW: Duration = Duration::from_secs(10 * 60);
/// Time limit of a discovery request (SEC-15).
pub const DISCOVERY_TIME: Duration = Duration::from_secs(10);
/// Time limit of a registration or token request (SEC-15).
pub const TOKEN_TIME: Duration = Duration::from_secs(30);
/// Time limit of the part of a flow that needs no person (SEC-15).
pub const FLOW_TIME: Duration = Duration::from_secs(60);
/// Time limit for a signature, or a token of the host's platform.
pub const SIGN_TIME: Duration = Duration::from_secs(30);
/// How long one process has the refresh token to itself (D01); longer than [`TOKEN_TIME`].
pub const LEASE_TIME: Duration = Duration::from_secs(35);
/// Refresh requests for one renewal (TOK-21).
pub const REFRESHES_PER_RENEWAL: u8 = 3;
/// How often a renewal looks at the store while another process has the lease, or is faster.
pub const LOOKS_PER_RENEWAL: u8 = 240;
/// Shortest and longest wait after a renewal that failed for now (11.4, L10).
pub const RENEWAL_REST: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// Time limit for the host's store.
pub const SLOT_TIME: Duration = Duration::from_secs(30);
/// Time the user has for an authorization, unless the host says otherwise (AUTHZ-17).
pub const USER_TIME: Duration = Duration::from_secs(10 * 60);
/// How long a permanent failure of an operation is remembered (STEP-08).
pub const FAILURE_MEMORY: Duration = Duration::from_secs(10 * 60);
/// Operations whose attempts are counted one by one; the least recent one is forgotten first.
pub const OPERATIONS_REMEMBERED: usize = 64;
/// How long a registration that all principals share is kept after it was made, whatever a token endpoint
/// says; and how long before an attempt it was made for that attempt.
pub const REGISTRATION_REST: Duration = Duration::from_secs(60);
/// Refused methods of registered clients that are remembered, at all servers together.
pub const METHODS_REMEMBERED: usize = 16;
/// Cached documents that one errand relies on: the resource's, its server's, the identity provider's, and
/// as many to spare.
pub(crate) const DOCUMENTS_RELIED_ON: usize = 6;
/// Servers whose nonces are remembered.
pub const ORIGINS_REMEMBERED: usize = 8;
/// Events kept while the machine is busy; more are dropped, and reported.
pub const EVENTS_QUEUED: usize = 16;

/// The right to do one limited thing once.
#[must_use]
#[derive(Debug)]
pub(crate) struct Permit(());

impl Permit {
    /// For an authorization that a person asks for: only a person limits those.
    pub(crate) fn for_a_person() -> Self {
        Self(())
    }
}

/// A number of permits.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    left: u8,
    limited: Limited,
}

impl Budget {
    pub(crate) const fn new(limit: u8, limited: Limited) -> Self {
        Self {
            left: limit,
            limited,
        }
    }

    pub(crate) fn left(&self) -> u8 {
        self.left
    }

    pub(crate) fn take(&mut self) -> Result<Permit, Limited> {
        self.left = self.left.checked_sub(1).ok_or(self.limited)?;
        Ok(Permit(()))
    }
}
