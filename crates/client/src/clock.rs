//! Clocks and random bytes of the operating system, for both drivers.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mcp_auth_machine::Moment;
use mcp_auth_machine::wire::pkce::Seed;

/// Returns the current time of both clocks.
pub fn now() -> Moment {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Moment::new(millis(wall), millis(START.elapsed()))
}

/// Returns a duration in whole milliseconds, saturating.
pub(super) fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn random() -> Result<[u8; 16], getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// Returns entropy for one authorization, from the operating system (SEC-34).
///
/// # Errors
/// When the operating system has no random bytes.
pub fn seed() -> Result<Seed, getrandom::Error> {
    let mut bytes = [0; 64];
    getrandom::fill(&mut bytes)?;
    Seed::with_key(bytes).map_err(|_| getrandom::Error::UNEXPECTED)
}
