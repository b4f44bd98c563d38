//! How much an engine does.

use std::ops::Range;

/// By the variable `PROOF`: nothing, `each` run of CI, or `long`.
pub fn effort(quick: u64, each: u64, long: u64) -> u64 {
    match std::env::var("PROOF").as_deref() {
        Ok("long") => long,
        Ok("each") => each,
        Ok(_) | Err(_) => quick,
    }
}

/// Which seeds or shards: as many, or those that this variable names, one (`7`) or a range (`0..1000`), so that a
/// long run can be had in parts.
pub fn parts(variable: &str, count: u64) -> Range<u64> {
    let Ok(named) = std::env::var(variable) else {
        return 0..count;
    };
    let number = |text: &str| text.parse::<u64>().expect("a number");
    match named.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => number(&named)..number(&named) + 1,
    }
}

/// Whether to print every step: when this variable requests a single run.
pub fn tells(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|named| !named.contains(".."))
}
