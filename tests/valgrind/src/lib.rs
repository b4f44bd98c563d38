//! Shared by the two programs: requests to valgrind, and an allocator that counts and searches the heap.

pub mod heap;
pub mod requests;

pub use mcp_auth_testing::machine_tests as support;
