//! The account of this machine, as the store and this process know it.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::account::{Account, Issuance, Tokens, Validity};
use crate::budget::{JUST_READ, LEASE_TIME};
use crate::grant::CLOCK_SKEW_MILLIS;
use crate::issuer::AtIssuer;
use crate::secret::Secret;
use crate::slot::{AuthorizationId, Revision};
use crate::suspended::Unsaved;
use crate::time::{Moment, MonoMillis, UnixMillis, millis};
use crate::wire::scopes::Scopes;

/// The known contents of the account slot.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) at: Option<Box<AtIssuer<Account>>>,
    pub(crate) revision: Option<Revision>,
    /// Whether the record of this revision is of a newer version, which is never overwritten (D24).
    pub(crate) is_newer: bool,
    /// Whether the record of this revision says exactly what `at` and `lease` say.
    pub(crate) is_exact: bool,
    /// The refresh lease that some process holds.
    pub(crate) lease: Option<Lease>,
    /// An account that the store failed to keep, or that a late answer brought: retained, but not used (TOK-16).
    pub(crate) unsaved: Option<Box<Unsaved>>,
    /// The event in which the slot was last read.
    pub(crate) read_at: Option<NonZeroU64>,
    /// When the slot was last read or written.
    pub(crate) known_at: MonoMillis,
    pub(crate) validity: Option<Validity>,
    /// The token that this process received last, with its expiry by the monotonic clock. That expiry holds
    /// however long the store takes, and however the wall clock changes meanwhile (SEC-35).
    received: Option<Box<Received>>,
    pub(crate) proof: Proof,
}

/// A refresh lease. The wall clocks are compared once, when this process first sees it: they may be set while it lasts,
/// and a lease that seems over then would have the refresh token sent twice (D01, SEC-35).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    /// Its end by the wall clock of its holder, which also tells two leases apart.
    pub(crate) until: UnixMillis,
    /// Its end for this process.
    pub(crate) ends: MonoMillis,
}

impl Lease {
    /// Returns a lease that this process sees for the first time. It lasts for what is left of it by the wall clock, and
    /// at most for the length of a lease, since the wall clocks of two hosts differ. A lease further in the future than
    /// clocks differ is invalid.
    pub(crate) fn first_seen(until: UnixMillis, now: Moment) -> Self {
        let left = until.0.saturating_sub(now.wall.0);
        let longest = millis(LEASE_TIME).saturating_add(CLOCK_SKEW_MILLIS);
        let lasts = match left <= longest {
            true => LEASE_TIME.min(Duration::from_millis(left)),
            false => Duration::ZERO,
        };
        let ends = now.mono.plus(lasts);
        Self { until, ends }
    }
}

struct Received {
    issuance: Issuance,
    validity: Validity,
}

impl Received {
    /// Returns true if these are the received tokens.
    fn is(&self, tokens: &Tokens) -> bool {
        self.issuance == tokens.issuance()
    }
}

/// The evidence about the stored token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Proof {
    /// None: it came from the store, or a request with it succeeded.
    #[default]
    Assumed,
    /// It was authorized at this time; no request with it has succeeded yet (E08).
    Authorized(MonoMillis),
    /// It was refreshed at this time; no request with it has succeeded yet (USE-08).
    Refreshed(MonoMillis),
}

impl Held {
    /// Returns an empty account slot.
    pub(crate) fn erased(event: NonZeroU64, now: MonoMillis) -> Self {
        Self {
            read_at: Some(event),
            known_at: now,
            ..Self::default()
        }
    }

    /// Returns true if the token was authorized at this time.
    pub(crate) fn was_authorized_at(&self, now: MonoMillis) -> bool {
        self.proof == Proof::Authorized(now)
    }

    /// Returns true if the slot was read a moment ago, so that it still holds this account.
    pub(crate) fn is_just_read(&self, now: MonoMillis) -> bool {
        now < self.known_at.plus(JUST_READ)
    }

    pub(crate) fn is_read(&self) -> bool {
        self.read_at.is_some()
    }

    /// Returns true if the slot was read, and was empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_read() && self.at.is_none() && self.revision.is_none()
    }

    pub(crate) fn is_usable(&self, now: Moment) -> bool {
        self.at.is_some() && self.validity.is_some_and(|validity| validity.holds(now))
    }

    /// Records that the slot now has these contents.
    pub(crate) fn is_stored_as(&mut self, revision: Revision) {
        self.revision = Some(revision);
        self.is_exact = true;
        self.is_newer = false;
    }

    /// Takes the account, to change it ahead of its record.
    pub(crate) fn take(&mut self) -> Option<Box<AtIssuer<Account>>> {
        self.is_exact = false;
        self.at.take()
    }

    /// Returns true if there is a refresh token, and its client has not expired. A refresh token is bound to its client, and
    /// useless to the next registration (REG-25, TOK-19).
    pub(crate) fn is_renewable(&self, now: Moment) -> bool {
        let account = self.at.as_ref().map(|at| at.held());
        account.is_some_and(|account| {
            let tokens = account.tokens.as_ref();
            let has_refresh = tokens.is_some_and(|tokens| tokens.refresh.is_some());
            has_refresh && !account.client.is_expired(now.wall.seconds())
        })
    }

    pub(crate) fn tokens(&self) -> Option<&Tokens> {
        self.at.as_ref()?.held().tokens.as_ref()
    }

    /// Returns a digest of the stored access token, to recognise it later without a second copy of it.
    pub(crate) fn digest(&self) -> Option<NonZeroU64> {
        self.tokens().map(|tokens| tokens.issuance().digest)
    }

    /// Returns the authorization that brought the tokens.
    pub(crate) fn authorization(&self) -> Option<AuthorizationId> {
        self.at.as_ref()?.held().authorization
    }

    /// Returns true if this is the stored access token, usable or not.
    pub(crate) fn has_access(&self, token: &Secret) -> bool {
        let account = self.at.as_ref().map(|at| at.held());
        account.is_some_and(|account| account.has_access(token))
    }

    /// Returns true if all these scopes were requested or granted for the held account.
    pub(crate) fn has_scopes(&self, scopes: &Scopes) -> bool {
        let account = self.at.as_ref().map(|at| at.held());
        account.is_some_and(|account| account.has_scopes(scopes))
    }

    /// Returns the validity of these tokens: the known one of the same issuance, or one derived from the
    /// record.
    pub(crate) fn validity_of(&self, tokens: Option<&Tokens>, now: Moment) -> Validity {
        if let (Some(held), Some(validity)) = (self.tokens(), self.validity)
            && tokens.is_some_and(|tokens| tokens.is(&held.access, held.received))
        {
            return validity;
        }
        match &self.received {
            Some(known) if tokens.is_some_and(|tokens| known.is(tokens)) => known.validity,
            Some(_) | None => Validity::of(tokens, now),
        }
    }

    /// Records tokens that are about to be stored, with the expiry of newly received ones.
    pub(crate) fn receive(&mut self, tokens: Option<&Tokens>, now: Moment) {
        let Some(tokens) = tokens else {
            return;
        };
        let held = self.tokens();
        let known = held.is_some_and(|held| tokens.is(&held.access, held.received))
            || self.received.as_ref().is_some_and(|known| known.is(tokens));
        if !known {
            self.received = Some(Box::new(Received {
                issuance: tokens.issuance(),
                validity: Validity::on_receipt(tokens, now),
            }));
        }
    }

    /// Returns true if the token is usable, and not so close to expiry that it should be refreshed
    /// (USE-10).
    pub(crate) fn is_fresh(&self, now: Moment) -> bool {
        let renewable = self.tokens().filter(|tokens| tokens.refresh.is_some());
        let margin = renewable.map_or(Duration::ZERO, Tokens::margin);
        self.at.is_some() && self.validity.is_some_and(|v| v.holds_for(now, margin))
    }
}
