//! Limits: every loop that a server can cause consumes permits (SEC-15, SEC-16).

use std::time::Duration;

/// The limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limited {
    /// The HTTP requests of one flow.
    Requests,
    /// The registration requests of one flow (REG-28).
    Registrations,
    /// The authorization attempts for one operation (STEP-07).
    Authorizations,
    /// The authorizations at one MCP server within [`REDIRECT_WINDOW`] (E11).
    Redirects,
    /// The time of one flow without user interaction (SEC-15).
    FlowTime,
    /// The time for the user to complete the authorization (AUTHZ-17).
    UserTime,
    /// The operations that wait for a token at the same time: [`EVENTS_QUEUED`].
    Callers,
}

/// The number of HTTP requests per flow (SEC-16).
pub const REQUESTS_PER_FLOW: u8 = 40;
/// The number of registration requests per flow (REG-28).
pub const REGISTRATIONS_PER_FLOW: u8 = 2;
/// The number of redirects that are followed per document (SEC-08).
pub const DOCUMENT_REDIRECTS: u8 = 3;
/// The number of authorization attempts per operation, including the first (STEP-07).
pub const AUTHORIZATIONS_PER_OPERATION: u8 = 3;
/// The number of authorizations per MCP server within [`REDIRECT_WINDOW`], over all operations (E11).
pub const REDIRECTS_PER_WINDOW: u8 = 12;
/// The window of [`REDIRECTS_PER_WINDOW`].
pub const REDIRECT_WINDOW: Duration = Duration::from_secs(10 * 60);
/// The time limit of a discovery request (SEC-15).
pub const DISCOVERY_TIME: Duration = Duration::from_secs(10);
/// The time limit of a registration or token request (SEC-15).
pub const TOKEN_TIME: Duration = Duration::from_secs(30);
/// The time limit of one flow without user interaction (SEC-15).
pub const FLOW_TIME: Duration = Duration::from_secs(60);
/// The time limit for a signature, or a token of the host's platform.
pub const SIGN_TIME: Duration = Duration::from_secs(30);
/// The duration of a refresh lease, longer than [`TOKEN_TIME`] (D01).
pub const LEASE_TIME: Duration = Duration::from_secs(35);
/// By how much the wall clocks of two hosts may differ: a host whose clock is further ahead takes a lease that it has not seen
/// before for an expired one (D01).
pub(crate) const CLOCKS_DIFFER: Duration = LEASE_TIME;
/// How much earlier than its lease a refresh request ends, so that its tokens can be stored; a lease with less than
/// this left is written again instead of being used (D01).
pub(crate) const LEASE_RESERVE: Duration = Duration::from_secs(2);
/// The number of refreshes per operation since its last success, where its late refusals are those of older tokens: the
/// stored token has expired, and nothing was heard about it. One that was refused itself is refreshed once (USE-08).
pub(crate) const REFRESHES_PER_OPERATION: u8 = 4;
/// The number of refresh requests per refresh (TOK-21).
pub const REFRESHES_PER_RENEWAL: u8 = 3;
/// How many times a refresh polls the store while another process holds the lease or writes first.
pub const LOOKS_PER_RENEWAL: u8 = 240;
/// The shortest and longest back-off after a refresh that failed temporarily (11.4, L10).
pub const RENEWAL_REST: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// The time limit for an operation of the host's store.
pub const SLOT_TIME: Duration = Duration::from_secs(30);
/// How old the result of an early read of a registration may be (REG-31). Another process may have replaced the registration
/// since. Beside a server that takes longer to answer, another read costs little.
pub(crate) const EARLY_READ: Duration = Duration::from_secs(1);
/// The waits before tokens that the store did not take are saved again without an event, in milliseconds (TOK-16). While
/// the lease of the refresh lasts, at most 5 seconds: after it, another process sends the refresh token that was spent.
pub(crate) const SAVE_WAITS: [u64; 14] = [
    200, 1_000, 2_000, 5_000, 5_000, 5_000, 5_000, 5_000, 5_000, 20_000, 40_000, 60_000, 60_000,
    60_000,
];
/// The default time for the user to complete an authorization (AUTHZ-17).
pub const USER_TIME: Duration = Duration::from_secs(10 * 60);
/// The number of polls with one device code (DEV-08).
pub const POLLS_PER_CODE: u8 = 240;
/// How long a permanent failure of an operation is remembered (STEP-08).
pub const FAILURE_MEMORY: Duration = Duration::from_secs(10 * 60);
/// How long what was read counts as current: the account slot for a user's request, since no user completes a sign-in at another
/// instance and requests one here within that time; the resource's metadata for the operations that waited beside the one that
/// read it.
pub(crate) const JUST_READ: Duration = Duration::from_secs(1);
/// The number of operations with their own attempt counters; the least recent one is dropped first.
pub const OPERATIONS_REMEMBERED: usize = 64;
/// How long a shared registration is protected from refusals at the token endpoint after it was made. A
/// registration made this long before an attempt counts as older than the attempt.
pub const REGISTRATION_REST: Duration = Duration::from_secs(60);
/// Clocks that differ by no more than this show the same time: `Date` has whole seconds, and the response
/// has traveled (DPOP-20).
pub(crate) const SAME_TIME: Duration = Duration::from_secs(2);
/// The number of rejected authentication methods that are remembered, over all servers.
pub const METHODS_REMEMBERED: usize = 16;
/// The number of token requests whose late answers are still handled: those in flight at sign-outs, and refreshes whose time limit
/// has passed. Discarded tokens that wait for their revocation count too. The oldest is dropped first.
pub(crate) const PARTINGS_REMEMBERED: usize = 4;
/// The number of cached documents that one flow uses: those of the resource, its server and the identity
/// provider, and as many spare.
pub(crate) const DOCUMENTS_RELIED_ON: usize = 6;
/// The number of servers with a stored DPoP nonce.
pub const ORIGINS_REMEMBERED: usize = 8;
/// The number of operations that wait while the machine is busy, and of those that wait for a pending authorization;
/// further ones are answered with an error (USE-14).
pub const EVENTS_QUEUED: usize = 64;
/// The number of callbacks queued while the machine is busy; further ones are ignored (L04).
pub const CALLBACKS_QUEUED: usize = 4;

/// The right to perform one limited action once.
#[must_use]
#[derive(Debug)]
pub(crate) struct Permit(());

impl Permit {
    /// Creates a permit for an authorization that the user initiated: such authorizations are not limited.
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
