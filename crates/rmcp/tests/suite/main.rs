//! rmcp's client against rmcp's server, over real loopback HTTP, with the built-in authorization server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    missing_docs
)]

mod authorization;
mod guard;
mod protected;
mod refusals;
mod streams;
mod support;

#[test]
fn the_program_in_the_readme_is_the_one_that_runs() {
    let program = include_str!("../../examples/sign_in.rs");
    assert!(include_str!("../../README.md").contains(&format!("```rust\n{program}```")));
}
