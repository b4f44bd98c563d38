//! How much an engine does.

/// By the variable `PROOF`: nothing, `each` run of CI, or `long`.
pub fn effort(quick: u64, each: u64, long: u64) -> u64 {
    match std::env::var("PROOF").as_deref() {
        Ok("long") => long,
        Ok("each") => each,
        Ok(_) | Err(_) => quick,
    }
}

/// Whether this seed is to be run: all of them, or the one that `PROOF_SEED` names.
pub fn only(seed: u64) -> bool {
    match std::env::var("PROOF_SEED") {
        Ok(named) => named.parse() == Ok(seed),
        Err(_) => true,
    }
}

/// Whether every step is told: when one seed was asked for.
pub fn tells() -> bool {
    std::env::var_os("PROOF_SEED").is_some()
}
