//! PKCE at the token endpoint (RFC 7636, AS-09).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The reason why a challenge or a verifier is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum PkceError {
    /// `code_challenge_method` is missing, which means `plain`, or is not `S256`: `invalid_request`.
    #[error("code_challenge_method must be S256")]
    Method,
    /// The challenge is not 32 bytes in base64url without padding: `invalid_request`.
    #[error("code_challenge must be a SHA-256 value in base64url")]
    Challenge,
    /// The verifier is not 43 to 128 unreserved characters: `invalid_grant`.
    #[error("code_verifier must be 43 to 128 letters, digits, '-', '.', '_' or '~'")]
    Verifier,
    /// The verifier does not match the challenge: `invalid_grant`.
    #[error("code_verifier does not match the code_challenge")]
    Mismatch,
}

impl PkceError {
    /// Returns the error code of the response.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Method | Self::Challenge => "invalid_request",
            Self::Verifier | Self::Mismatch => "invalid_grant",
        }
    }
}

/// A challenge of the method `S256`, the only supported one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CodeChallenge([u8; 32]);

impl CodeChallenge {
    /// Parses `code_challenge` and `code_challenge_method` of an authorization request.
    ///
    /// # Errors
    /// [`PkceError::Method`] and [`PkceError::Challenge`].
    pub fn parse(challenge: &str, method: Option<&str>) -> Result<Self, PkceError> {
        if method != Some("S256") {
            return Err(PkceError::Method);
        }
        let bytes = URL_SAFE_NO_PAD.decode(challenge).ok();
        let digest = bytes.and_then(|bytes| bytes.try_into().ok());
        digest.map(Self).ok_or(PkceError::Challenge)
    }

    /// Checks the verifier of a token request.
    ///
    /// # Errors
    /// [`PkceError::Verifier`] and [`PkceError::Mismatch`].
    pub fn check(&self, verifier: &str) -> Result<(), PkceError> {
        let unreserved =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(unreserved) {
            return Err(PkceError::Verifier);
        }
        if bool::from(Sha256::digest(verifier).as_slice().ct_eq(&self.0)) {
            Ok(())
        } else {
            Err(PkceError::Mismatch)
        }
    }
}
