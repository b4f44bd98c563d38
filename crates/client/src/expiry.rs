//! The clock of stores that drop what has expired.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mcp_auth_machine::time::UnixMillis;

/// How long each record stays after it was written, even if its expiry has passed: a wall clock that was set, or that
/// of a test, loses no sign-in under way.
pub(super) const KEPT: Duration = Duration::from_secs(600);

/// Returns the time of the wall clock.
pub(super) fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
