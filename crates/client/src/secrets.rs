//! Signatures of the host's keys, and tokens of its platform.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use super::clock::Surroundings;
use mcp_auth_machine::action::{ObtainAssertion, Sign};
use mcp_auth_machine::present::UnsignedProof;
use mcp_auth_machine::wire::words::SigningAlgorithm;
use mcp_auth_machine::{Event, NoBearer};

/// The error when the host has no such key or token, or cannot use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host has no such key or token")]
pub struct Refused;

/// Signs with the host's keys. The private keys never leave the implementation (DPOP-19, M2M-12).
pub trait Signer {
    /// Signs exactly these bytes. An ES256 signature is the 64 bytes of `r` and `s`.
    ///
    /// # Errors
    /// [`Refused`] when the key does not exist or cannot be used.
    fn sign(
        &mut self,
        key: &str,
        algorithm: SigningAlgorithm,
        input: &[u8],
    ) -> Result<Vec<u8>, Refused>;
}

/// Obtains tokens of the host's platform or identity provider (WIF-05, EMA-05).
pub trait Assertions {
    /// Returns the result of the action.
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

/// Signs the machine's bytes.
pub(super) fn sign(signer: &mut dyn Signer, asked: Sign, around: &Surroundings) -> Event {
    let (key, algorithm) = (asked.key().to_owned(), asked.algorithm());
    let Ok(random) = around.random() else {
        return asked.failed();
    };
    let prepared = asked.prepare(random);
    match signer.sign(&key, algorithm, prepared.input()) {
        Ok(signature) => prepared.signature(&signature),
        Err(Refused) => prepared.failed(),
    }
}

/// Returns the headers of one request with a bearer token.
pub(super) fn bearer(value: HeaderValue) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, value)])
}

/// Returns the headers of one request with a bound token.
pub(super) fn prove(
    signer: &mut dyn Signer,
    proof: UnsignedProof,
    around: &Surroundings,
) -> Result<HeaderMap, NoBearer> {
    let (key, algorithm) = (proof.key().to_owned(), proof.algorithm());
    let random = around.random().map_err(|_| NoBearer::NoEntropy)?;
    let prepared = proof.prepare(random);
    let signature = signer
        .sign(&key, algorithm, prepared.input())
        .map_err(|_| NoBearer::NotSigned)?;
    let found = prepared.signature(&signature).ok_or(NoBearer::NotSigned)?;
    let mut headers = bearer(found.authorization);
    headers.insert("dpop", found.dpop);
    Ok(headers)
}
