//! Checking proofs of possession at the token endpoint (AS-19): ES256 alone, which is all that is
//! advertised.

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use mcp_auth_server::{DpopAlgorithms, ProofChecker, ProofSubject, ReplayWindow};

/// The one algorithm.
pub const ALGORITHM: &str = "ES256";

/// The proofs seen lately, so that none is taken twice.
#[derive(Debug, Default)]
pub struct Proofs(Mutex<ReplayWindow>);

impl Proofs {
    /// The thumbprint of the key that made a proof for this request; `None` for a proof that is not
    /// valid for it, or that was seen before.
    pub fn check(&self, proof: &str, subject: &ProofSubject<'_>) -> Option<String> {
        let checker = ProofChecker::new(&DpopAlgorithms::new([ALGORITHM]).ok()?)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        let proof = checker.check(proof, subject, now).ok()?;
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.spend(&proof, now).ok()?;
        Some(proof.thumbprint().to_owned())
    }
}
