//! Proofs of possession: the checks of RFC 9449 section 4.3, and nonces (RS-09, RS-10, AS-19).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use url::Url;

use super::claims::seconds;
use super::dpop::DpopAlgorithms;
use super::jose::{Algorithm, Unverified, VerifyingKey};
use super::rejection::DpopNonce;

/// The largest difference between `iat` and the current time, in both directions.
pub const PROOF_WINDOW: Duration = Duration::from_secs(300);
/// The lifetime of a nonce.
pub const NONCE_LIFETIME: Duration = Duration::from_secs(300);

/// The reason why a proof is rejected, for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The proof is not a signed `dpop+jwt` with a public key in its header.
    #[error("the proof is not a JWT of the type dpop+jwt with a public key")]
    Malformed,
    /// The algorithm is not advertised.
    #[error("the algorithm of the proof is not advertised")]
    Algorithm,
    /// The key does not verify the signature.
    #[error("the signature of the proof is not that of its key")]
    Signature,
    /// The proof is for another method or URL.
    #[error("the proof is for another request")]
    Request,
    /// The proof is too old, or from the future.
    #[error("the proof was not made within five minutes of now")]
    Time,
    /// The proof is for another access token, or for none.
    #[error("the proof is for another access token")]
    AccessToken,
    /// The proof has no valid nonce of this server.
    #[error("the proof has no current nonce of this server")]
    Nonce,
    /// The proof was used before.
    #[error("the proof was seen before")]
    Replayed,
    /// Too many proofs are remembered already.
    #[error("too many proofs are remembered")]
    Full,
    /// The store of proofs does not answer.
    #[error("the store of proofs does not answer")]
    Unavailable,
}

/// The request that a proof must be for.
#[derive(Clone, Copy, Debug)]
pub struct ProofSubject<'a> {
    /// The method of the request.
    pub method: &'a str,
    /// The URL, from the configuration rather than from header fields (RS-11).
    pub url: &'a str,
    /// The access token of the request; `None` at the token endpoint.
    pub token: Option<&'a str>,
}

/// Stateless nonces: a time with a MAC.
#[derive(Clone)]
pub struct NonceKey(hmac::Key);

impl NonceKey {
    /// Creates a key from 32 random bytes, which all instances of a server share.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// Returns a nonce for the current time since the Unix epoch.
    pub fn issue(&self, now: Duration) -> Option<DpopNonce> {
        let time = now.as_secs().to_be_bytes();
        let tag = hmac::sign(&self.0, &time);
        let whole = [&time, tag.as_ref()].concat();
        DpopNonce::new(&URL_SAFE_NO_PAD.encode(whole))
    }

    /// Returns true if this server issued the nonce within its lifetime.
    pub fn check(&self, nonce: &str, now: Duration) -> bool {
        let Ok(whole) = URL_SAFE_NO_PAD.decode(nonce) else {
            return false;
        };
        let Some((time, tag)) = whole.split_first_chunk::<8>() else {
            return false;
        };
        let issued = Duration::from_secs(u64::from_be_bytes(*time));
        let current = issued <= now && now.saturating_sub(issued) < NONCE_LIFETIME;
        current && hmac::verify(&self.0, time, tag).is_ok()
    }
}

impl std::fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NonceKey")
    }
}

/// A valid proof that is not marked as used yet; see [`ReplayStore`](super::ReplayStore).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    thumbprint: String,
    id: [u8; 32],
    until: Duration,
}

impl Proof {
    /// Returns the thumbprint of the proof's key, as in `cnf.jkt`.
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// The name to remember it by: a hash of its key and of its `jti`.
    pub fn id(&self) -> [u8; 32] {
        self.id
    }

    /// Until when it must be remembered, since the Unix epoch: it is refused for its age afterwards.
    pub fn until(&self) -> Duration {
        self.until
    }
}

/// Verifies proofs.
#[derive(Clone, Debug)]
pub struct ProofChecker {
    algorithms: Vec<Algorithm>,
    nonces: Option<NonceKey>,
}

impl ProofChecker {
    /// Creates a checker for the advertised algorithms. `None` for an unsupported one, which must not be
    /// advertised.
    pub fn new(advertised: &DpopAlgorithms) -> Option<Self> {
        let algorithms: Option<Vec<Algorithm>> = advertised.iter().map(Algorithm::parse).collect();
        Some(Self {
            algorithms: algorithms?,
            nonces: None,
        })
    }

    /// Requires nonces (RS-10).
    #[must_use]
    pub fn with_nonces(mut self, key: NonceKey) -> Self {
        self.nonces = Some(key);
        self
    }

    /// Returns the current nonce to send; `None` without nonces.
    pub fn nonce(&self, now: Duration) -> Option<DpopNonce> {
        self.nonces.as_ref()?.issue(now)
    }

    /// Verifies a proof for a request. `now` is the time since the Unix epoch.
    ///
    /// # Errors
    /// [`ProofError`]; respond to [`ProofError::Nonce`] with [`ProofChecker::nonce`].
    pub fn check(
        &self,
        proof: &str,
        subject: &ProofSubject<'_>,
        now: Duration,
    ) -> Result<Proof, ProofError> {
        let read = Unverified::read(proof).ok_or(ProofError::Malformed)?;
        if read.header_text("typ") != Some("dpop+jwt") {
            return Err(ProofError::Malformed);
        }
        if !self.algorithms.contains(&read.algorithm) {
            return Err(ProofError::Algorithm);
        }
        let key = read.header.get("jwk").and_then(VerifyingKey::from_jwk);
        let key = key.ok_or(ProofError::Malformed)?;
        let claims = read.verify(&key).ok_or(ProofError::Signature)?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let same_url = text("htu").is_some_and(|htu| is_same_url(htu, subject.url));
        if text("htm") != Some(subject.method) || !same_url {
            return Err(ProofError::Request);
        }
        let made = seconds(claims, "iat").ok_or(ProofError::Time)?;
        if made.abs_diff(now) > PROOF_WINDOW {
            return Err(ProofError::Time);
        }
        check_token(claims, subject.token)?;
        if let Some(nonces) = &self.nonces
            && !text("nonce").is_some_and(|nonce| nonces.check(nonce, now))
        {
            return Err(ProofError::Nonce);
        }
        let jti = text("jti").filter(|jti| !jti.is_empty());
        let jti = jti.ok_or(ProofError::Malformed)?;
        let thumbprint = key.thumbprint();
        Ok(Proof {
            id: Sha256::digest(format!("{thumbprint} {jti}")).into(),
            thumbprint,
            until: made.saturating_add(PROOF_WINDOW),
        })
    }
}

fn check_token(claims: &Map<String, Value>, token: Option<&str>) -> Result<(), ProofError> {
    let Some(token) = token else {
        return Ok(());
    };
    let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(token));
    match claims.get("ath").and_then(Value::as_str) {
        Some(sent) if sent == hash => Ok(()),
        Some(_) | None => Err(ProofError::AccessToken),
    }
}

/// Compares without query and fragment, after the normalisation of RFC 3986.
fn is_same_url(one: &str, other: &str) -> bool {
    let bare = |text: &str| {
        let mut url = Url::parse(text).ok()?;
        url.set_query(None);
        url.set_fragment(None);
        Some(url)
    };
    matches!((bare(one), bare(other)), (Some(one), Some(other)) if one == other)
}
