//! What is held at the authenticated-at issuer: one value, replaced whole.

use std::fmt;

use crate::grant::{Client, CodeGrant, Resource};
use crate::issuer::AtIssuer;
use crate::secret::Secret;
use crate::time::{Moment, MonoMillis, UnixMillis};
use crate::wire::callback::IssBinding;
use crate::wire::scopes::Scopes;
use crate::wire::token::{Granted, Lifetime};

/// A client and its tokens at one authorization server, for one resource (TOK-17).
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) client: Client,
    pub(crate) resource: Resource,
    pub(crate) requested: Scopes,
    pub(crate) granted: Scopes,
    pub(crate) iss_binding: IssBinding,
    pub(crate) tokens: Option<Tokens>,
}

#[derive(Clone)]
pub(crate) struct Tokens {
    pub(crate) access: Secret,
    pub(crate) refresh: Option<Secret>,
    pub(crate) received: UnixMillis,
    pub(crate) lifetime: Lifetime,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[account]")
    }
}

impl AtIssuer<CodeGrant> {
    /// A token answer turns the grant into an account at the same server.
    pub(crate) fn redeemed(self, granted: Granted, now: Moment) -> AtIssuer<Account> {
        self.then(|grant| {
            let parts = grant.redirected.0;
            Account {
                client: parts.client,
                resource: parts.resource,
                granted: granted.scope.unwrap_or_else(|| parts.requested.clone()),
                requested: parts.requested,
                iss_binding: grant.iss_binding,
                tokens: Some(Tokens {
                    access: granted.access_token,
                    refresh: granted.refresh_token,
                    received: now.wall,
                    lifetime: granted.lifetime,
                }),
            }
        })
    }
}

/// Until when the access token may be used, by both clocks (SEC-35).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Validity {
    /// Until refused.
    Unknown,
    /// Once: it expired on receipt (TOK-13).
    Once,
    /// Nothing usable any more.
    Over,
    /// While both clocks are before these.
    Until(UnixMillis, MonoMillis),
}

impl Validity {
    /// From a token's own record, seen now. What remains never exceeds the lifetime, however the
    /// wall clock was moved meanwhile.
    pub(crate) fn of(tokens: Option<&Tokens>, now: Moment) -> Self {
        let Some(tokens) = tokens else {
            return Self::Over;
        };
        let seconds = match tokens.lifetime {
            Lifetime::Unknown => return Self::Unknown,
            Lifetime::Seconds(0) => return Self::Once,
            Lifetime::Seconds(seconds) => seconds,
        };
        let lifetime = seconds.saturating_mul(1_000);
        let expires = tokens.received.plus_seconds(seconds);
        let remaining = expires.0.saturating_sub(now.wall.0).min(lifetime);
        Self::Until(expires, MonoMillis(now.mono.0.saturating_add(remaining)))
    }

    pub(crate) fn holds(self, now: Moment) -> bool {
        match self {
            Self::Unknown | Self::Once => true,
            Self::Over => false,
            Self::Until(wall, mono) => now.wall < wall && now.mono < mono,
        }
    }
}
