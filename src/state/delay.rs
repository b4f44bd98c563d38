//! How long a token request waits before it is repeated (11.4).

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use sha2::{Digest, Sha256};

use crate::core::Core;
use crate::time::Moment;
use crate::wire::http_fields::retry_after;

/// Returns the back-off: one second, then two, plus jitter of up to the same again, derived from the
/// principal and the clocks, which differ between instances.
pub(crate) fn back_off(core: &Core, tries: u8) -> Duration {
    let base: u64 = if tries > 1 { 1_000 } else { 2_000 };
    let Moment { wall, mono } = core.now;
    let mut hash = Sha256::new();
    hash.update(core.identity.principal());
    hash.update(core.identity.mcp_url());
    hash.update(wall.0.to_le_bytes());
    hash.update(mono.0.to_le_bytes());
    let digest = hash.finalize();
    let chance = digest.first_chunk::<8>().copied().unwrap_or_default();
    let jitter = u64::from_le_bytes(chance).checked_rem(base).unwrap_or(0);
    Duration::from_millis(base.saturating_add(jitter))
}

/// Returns the delay of `Retry-After`, at most five minutes (TOK-22).
pub(crate) fn asked_wait(core: &Core, response: &Response<Bytes>) -> Option<Duration> {
    retry_after(response.headers(), core.now.wall.seconds())
        .map(|seconds| Duration::from_secs(seconds.max(1)))
}
