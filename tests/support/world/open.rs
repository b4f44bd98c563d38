//! Properties that the machine does not keep yet. The commit of a fix removes its name; an empty list is the aim.
//! `PROOF_OPEN=judge` checks these properties too.

use std::sync::LazyLock;

const OPEN: &[&str] = &[
    // A step-up of a client without a user does not look at what the account says of its server.
    "S35 machines",
    // A sign-in that a token answers leaves the machine believing that it asked for the next one.
    "S40",
];

/// Whether a property is judged.
pub fn judged(property: &str) -> bool {
    static ALL: LazyLock<bool> =
        LazyLock::new(|| std::env::var("PROOF_OPEN").is_ok_and(|named| named == "judge"));
    *ALL || !OPEN.contains(&property)
}
