//! What the two programs share: requests to valgrind, and an allocator that counts and finds.

pub mod heap;
pub mod requests;

// Tests name its methods, not the public.
#[allow(clippy::should_implement_trait)]
#[path = "../../support/mod.rs"]
pub mod support;
