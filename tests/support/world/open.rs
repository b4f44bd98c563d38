//! Properties that the machine does not keep yet. The commit of a fix removes its name; an empty list is the aim.
//! `PROOF_OPEN=judge` checks these properties too.

use std::sync::LazyLock;

const OPEN: &[&str] = &[
    // A step-up of a client without a user takes the servers from the document of a moment ago, although the account
    // says by then that the resource has left that server: found by simulation, seed 261.
    "S35 machines",
];

/// Whether a property is judged.
pub fn judged(property: &str) -> bool {
    static ALL: LazyLock<bool> =
        LazyLock::new(|| std::env::var("PROOF_OPEN").is_ok_and(|named| named == "judge"));
    *ALL || !OPEN.contains(&property)
}
