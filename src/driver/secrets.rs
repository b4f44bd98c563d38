//! What only the host can do: sign with its keys, and obtain tokens of its platform.

use crate::Event;
use crate::action::ObtainAssertion;
use crate::wire::words::SigningAlgorithm;

/// The host cannot, or will not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host has no such key or token")]
pub struct Refused;

/// Signs with the host's keys. Private keys stay behind it (DPOP-19, M2M-12).
pub trait Signer {
    /// Signs exactly these bytes; ES256 as the 64 bytes of `r` and `s`.
    ///
    /// # Errors
    /// [`Refused`] when there is no such key, or it cannot be used.
    fn sign(
        &mut self,
        key: &str,
        algorithm: SigningAlgorithm,
        input: &[u8],
    ) -> Result<Vec<u8>, Refused>;
}

/// Obtains tokens of the host's platform or identity provider (WIF-05, EMA-05).
pub trait Assertions {
    /// Answers the action.
    fn obtain(&mut self, asked: ObtainAssertion) -> Event;
}

impl<F: FnMut(ObtainAssertion) -> Event> Assertions for F {
    fn obtain(&mut self, asked: ObtainAssertion) -> Event {
        self(asked)
    }
}

/// A host without keys and without a platform.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSecrets;

impl Signer for NoSecrets {
    fn sign(&mut self, _: &str, _: SigningAlgorithm, _: &[u8]) -> Result<Vec<u8>, Refused> {
        Err(Refused)
    }
}

impl Assertions for NoSecrets {
    fn obtain(&mut self, asked: ObtainAssertion) -> Event {
        asked.failed()
    }
}
