//! Time as an argument: the host reads its clocks and passes the values.

use std::time::{Duration, SystemTime};

/// Wall-clock time: milliseconds since the Unix epoch. Used for expiry and in records (SEC-35).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// The latest possible time.
    pub(crate) const MAX: Self = Self(u64::MAX);

    /// Returns the time in whole seconds.
    pub const fn seconds(self) -> u64 {
        self.0 / 1_000
    }

    /// Returns true if a document with this expiry may be used. An expiry more than a day ahead means that
    /// the clock was set back since (DISC-19).
    pub(crate) fn is_fresh(self, now: Self) -> bool {
        const DAY: u64 = 24 * 60 * 60 * 1_000;
        now < self && self.0 <= now.0.saturating_add(DAY)
    }

    pub(crate) fn plus_seconds(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1_000)))
    }
}

/// Monotonic time: milliseconds since any fixed point of this process. Used for timeouts (SEC-35).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonoMillis(pub u64);

impl MonoMillis {
    pub(crate) fn plus(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(millis(wait)))
    }
}

/// The values of both clocks at an event. Either clock may go backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Moment {
    /// The wall clock.
    pub wall: UnixMillis,
    /// The monotonic clock.
    pub mono: MonoMillis,
}

impl Moment {
    /// Creates a moment from both clocks: the system's time, and the time since any fixed point of the process, such as an
    /// [`Instant`](std::time::Instant) at its start. A system time before 1970 counts as 1970.
    ///
    /// ```
    /// use mcp_auth_machine::Moment;
    /// use std::time::{Duration, Instant, SystemTime};
    ///
    /// let started = Instant::now();
    /// let now = Moment::new(SystemTime::now(), started.elapsed());
    /// // Of a recorded time:
    /// let then = Moment::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1), Duration::ZERO);
    /// assert_eq!(then.wall.0, 1_000);
    /// # assert!(then.wall < now.wall);
    /// ```
    pub fn new(wall: SystemTime, running: Duration) -> Self {
        let wall = wall.duration_since(SystemTime::UNIX_EPOCH);
        Self {
            wall: UnixMillis(millis(wall.unwrap_or_default())),
            mono: MonoMillis(millis(running)),
        }
    }

    /// Returns this moment with both clocks moved on, such as the next one of a clock in tests.
    #[must_use]
    pub fn plus(self, wait: Duration) -> Self {
        Self {
            wall: UnixMillis(self.wall.0.saturating_add(millis(wait))),
            mono: self.mono.plus(wait),
        }
    }

    /// Returns this earlier moment by the clocks as they are now. A clock may have been set since, and one may not count the time
    /// of a suspension, so the clock by which more time has passed decides.
    pub(crate) fn seen_from(self, now: Self) -> Self {
        let passed = self.passed(now);
        Self {
            wall: UnixMillis(now.wall.0.saturating_sub(passed)),
            mono: MonoMillis(now.mono.0.saturating_sub(passed)),
        }
    }

    /// Returns the milliseconds since this earlier moment, by the clock by which more time has passed.
    pub(crate) fn passed(self, now: Self) -> u64 {
        let wall = now.wall.0.saturating_sub(self.wall.0);
        let mono = now.mono.0.saturating_sub(self.mono.0);
        wall.max(mono)
    }

    /// Returns how many milliseconds more the wall clock has counted since this earlier moment than the monotonic one: the wall
    /// clock was set ahead, or the monotonic one did not count a suspension.
    pub(crate) fn set_ahead(self, now: Self) -> u64 {
        let wall = now.wall.0.saturating_sub(self.wall.0);
        let mono = now.mono.0.saturating_sub(self.mono.0);
        wall.saturating_sub(mono)
    }

    /// Returns the time until a later moment, by the clock that reaches it first.
    pub(crate) fn left_until(self, later: Self) -> Duration {
        let wall = later.wall.0.saturating_sub(self.wall.0);
        let mono = later.mono.0.saturating_sub(self.mono.0);
        Duration::from_millis(wall.min(mono))
    }
}

/// Returns half of a duration.
pub(crate) fn half(wait: Duration) -> Duration {
    wait.checked_div(2).unwrap_or_default()
}

/// Returns a duration in whole milliseconds, saturating.
pub(crate) fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}
