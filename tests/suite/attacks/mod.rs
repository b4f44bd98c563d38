//! The attacks of `docs/threats.md`, section 1: what is not shown elsewhere, and the list of all of them.

mod list;
