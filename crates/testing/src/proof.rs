//! Verification of DPoP proofs at the token endpoint, with the only advertised algorithm ES256 (AS-19).

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use mcp_auth_server::{DpopAlgorithms, ProofChecker, ProofSubject, ReplayWindow};

/// The only algorithm.
pub const ALGORITHM: &str = "ES256";

/// The recent proofs, each of which is accepted once.
#[derive(Debug, Default)]
pub struct Proofs(Mutex<ReplayWindow>);

impl Proofs {
    /// Returns the thumbprint of the key of a proof for this request; `None` for an invalid or repeated
    /// proof.
    pub fn check(&self, proof: &str, subject: &ProofSubject<'_>) -> Option<String> {
        let checker = ProofChecker::new(&DpopAlgorithms::new([ALGORITHM]).ok()?)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        let proof = checker.check(proof, subject, now).ok()?;
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.spend(&proof, now).ok()?;
        Some(proof.thumbprint().to_owned())
    }
}
