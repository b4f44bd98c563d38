//! The drivers with the kit for tests: clocks that a test moves, and servers in memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    missing_docs
)]

mod accounts;
mod assertions;
mod contract;
mod deviations;
mod settings;
mod time;

/// The text of a playbook with one order of the answers that an asynchronous driver gives in any: a registration is read beside the
/// request for the metadata of its server (REG-31).
fn in_order(playbook: &str) -> String {
    const ORDER: [&str; 3] = ["> 200", "< load registration", "> loaded"];
    let mut lines: Vec<&str> = playbook.lines().collect();
    let asks = |line: &&str| line.contains("/.well-known/oauth-authorization-server");
    let asked = lines.iter().position(asks).expect("a metadata request");
    let beside = &mut lines[asked + 1..asked + 4];
    let place = |line: &&str| ORDER.iter().position(|known| known == line);
    assert!(
        beside.iter().all(|line| place(line).is_some()),
        "{beside:?}"
    );
    beside.sort_by_key(place);
    lines.join("\n")
}
