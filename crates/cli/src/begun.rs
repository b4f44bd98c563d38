//! The time at which this process began its work.

use std::sync::OnceLock;

use mcp_auth_machine::time::UnixMillis;

static BEGUN: OnceLock<UnixMillis> = OnceLock::new();

/// Returns the time of the first call, by the wall clock; `main` begins with one.
pub(crate) fn begun() -> UnixMillis {
    *BEGUN.get_or_init(|| mcp_auth_client::now().wall)
}
