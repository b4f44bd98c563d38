//! The back-off after a refresh that failed.

use std::time::Duration;

use crate::budget::RENEWAL_REST;
use crate::error::{Cause, Resting};
use crate::time::{Moment, MonoMillis, UnixMillis, millis};

/// The back-off after a refresh that failed temporarily.
#[derive(Default)]
pub(crate) struct Rest {
    until: MonoMillis,
    /// The cause, and the end by the wall clock.
    after: Option<Box<(Cause, UnixMillis)>>,
    failures: u32,
}

impl Rest {
    /// Starts or extends the back-off after a failed refresh.
    pub(crate) fn failed(&mut self, now: Moment, retry_after: Option<Duration>, cause: &Cause) {
        let (shortest, longest) = RENEWAL_REST;
        let grown = shortest.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        // A shorter `Retry-After` does not shorten the back-off (L10).
        let wait = grown.min(longest).max(retry_after.unwrap_or_default());
        self.failures = self.failures.saturating_add(1);
        self.until = now.mono.plus(wait);
        let until = UnixMillis(now.wall.0.saturating_add(millis(wait)));
        self.after = Some(Box::new((cause.clone(), until)));
    }

    /// Returns true when the last refresh failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Returns the end of the back-off, by the wall clock.
    pub(crate) fn retry_at(&self) -> Option<UnixMillis> {
        self.after.as_ref().map(|after| after.1)
    }

    /// Returns the cause of the back-off while it lasts, with its end.
    pub(crate) fn cause(&self, now: Moment) -> Option<Cause> {
        let (after, until) = self.after.as_deref().filter(|_| now.mono < self.until)?;
        Some(match after {
            Cause::Unreachable(_) => Cause::unreachable(Some(*until)),
            Cause::Violation(_)
            | Cause::Refused(_)
            | Cause::Resting(_)
            | Cause::NotPersisted(_)
            | Cause::OutOfPatience(_)
            | Cause::Misconfigured(_)
            | Cause::Abandoned => Cause::Resting(Resting {
                after: Box::new(after.clone()),
                retry_at: *until,
            }),
        })
    }
}
