//! Shared by the two programs: requests to valgrind, and an allocator that counts and searches the heap.

pub mod heap;
pub mod requests;

// Tests name its methods, not the public.
#[allow(clippy::should_implement_trait)]
#[path = "../../support/mod.rs"]
pub mod support;
