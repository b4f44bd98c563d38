//! How long an access token may be used.

use std::time::Duration;

use crate::account::Tokens;
use crate::budget::TOKEN_TIME;
use crate::time::{Moment, MonoMillis, UnixMillis, millis};
use crate::wire::token::Lifetime;

/// By how many milliseconds a clock may be set back without consequence.
const CLOCK_TOLERANCE: u64 = 60_000;

/// How long the access token may be used, by both clocks (SEC-35).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Validity {
    /// Until a request with it is refused.
    Unknown,
    /// For one request: it had expired on receipt, in this process (TOK-13).
    Once,
    /// Expired.
    Over,
    /// While both clocks are before these times.
    Until(UnixMillis, MonoMillis),
}

impl Validity {
    /// Returns the validity of a token that has just been received. One whose lifetime passed while its answer was awaited is used
    /// once, unless the answer took longer than its time limit.
    pub(crate) fn on_receipt(tokens: &Tokens, now: Moment) -> Self {
        let validity = Self::of(Some(tokens), now);
        let waited = now.wall.0.saturating_sub(tokens.received.0);
        match tokens.lifetime {
            Lifetime::Seconds(0) => Self::Once,
            Lifetime::Seconds(_) if !validity.holds(now) && waited <= millis(TOKEN_TIME) => {
                Self::Once
            }
            Lifetime::Unknown | Lifetime::Seconds(_) => validity,
        }
    }

    /// Returns the validity of a stored token. The remaining time never exceeds the lifetime, even if the
    /// wall clock was changed. A token that had expired on receipt is valid only in the process that
    /// received it.
    pub(crate) fn of(tokens: Option<&Tokens>, now: Moment) -> Self {
        tokens.map_or(Self::Over, |tokens| {
            let is_renewable = tokens.refresh.is_some();
            Self::of_stored(tokens.received, tokens.lifetime, is_renewable, now)
        })
    }

    /// Returns the validity of a stored token with this time of receipt, beside a refresh token or not.
    pub(crate) fn of_stored(
        received: UnixMillis,
        lifetime: Lifetime,
        is_renewable: bool,
        now: Moment,
    ) -> Self {
        let seconds = match lifetime {
            Lifetime::Unknown => return Self::Unknown,
            Lifetime::Seconds(0) => return Self::Over,
            Lifetime::Seconds(seconds) => seconds,
        };
        // A time of receipt in the future comes from a clock that was ahead, so the age is unknown: the
        // token is refreshed if possible, and otherwise used until refused.
        if received.0.saturating_sub(now.wall.0) > CLOCK_TOLERANCE {
            return if is_renewable {
                Self::Over
            } else {
                Self::Unknown
            };
        }
        let lifetime = seconds.saturating_mul(1_000);
        let expires = received.plus_seconds(seconds);
        let remaining = expires.0.saturating_sub(now.wall.0).min(lifetime);
        Self::Until(expires, MonoMillis(now.mono.0.saturating_add(remaining)))
    }

    /// Returns true if the token stays valid for at least this time.
    pub(crate) fn holds_for(self, now: Moment, margin: Duration) -> bool {
        self.holds(now.plus(margin))
    }

    pub(crate) fn holds(self, now: Moment) -> bool {
        match self {
            Self::Unknown | Self::Once => true,
            Self::Over => false,
            Self::Until(wall, mono) => now.wall < wall && now.mono < mono,
        }
    }
}
