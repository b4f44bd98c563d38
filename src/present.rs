//! Presenting the token that is held: as a bearer token, or with a proof of possession (USE-01,
//! DPOP-08, DPOP-09).

use std::fmt;
use std::sync::Arc;

use http::{HeaderValue, Method};

use crate::account::Validity;
use crate::issuer::{bearer, bound};
use crate::key::KeyBinding;
use crate::machine::AuthMachine;
use crate::time::Moment;
use crate::wire::jwt::{ProofSubject, ath, jti, signed};
use crate::wire::resource::covers_url;
use crate::wire::token::AccessToken;
use crate::wire::words::SigningAlgorithm;

/// How a request presents the token.
#[derive(Debug)]
pub enum Presentation {
    /// The `Authorization` value, marked sensitive.
    Bearer(HeaderValue),
    /// A token bound to a key: a proof is to be signed for this one request.
    Bound(Box<UnsignedProof>),
}

/// Why there is no token for a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBearer {
    /// No token is held.
    #[error("no token is held")]
    NotHeld,
    /// The token is over.
    #[error("the token is over")]
    Over,
    /// The URL is outside the resource that the token is for.
    #[error("the URL is outside the resource that the token is for")]
    OutsideResource,
    /// The token is bound to a key, and is never sent without a proof (DPOP-14): use
    /// [`AuthMachine::present`].
    #[error("the token is bound to a key and is never sent without a proof")]
    Bound,
    /// The host has no longer the key that the token is bound to (REFR-10).
    #[error("the key that the token is bound to is not configured")]
    KeyMissing,
}

impl AuthMachine {
    /// The `Authorization` header value for a request to this URL of the MCP server, marked
    /// sensitive. Given out only while the token is good, and only for URLs that its resource covers
    /// (USE-03, USE-04).
    ///
    /// # Errors
    /// [`NoBearer`] says why there is none; send [`Event::Wanted`](crate::Event::Wanted) or the
    /// server's refusal then.
    pub fn bearer(&mut self, now: Moment, url: &str) -> Result<HeaderValue, NoBearer> {
        let account = self.usable(now, url)?;
        let value = match (&account.binding, &account.tokens) {
            (None, Some(tokens)) => bearer(&tokens.access),
            (Some(_), _) => return Err(NoBearer::Bound),
            (None, None) => return Err(NoBearer::NotHeld),
        };
        self.used();
        Ok(value)
    }

    /// What to put into one request with this method to this URL of the MCP server: for hosts that
    /// have keys (DPoP). Never use it for a second request, nor for a retry (DPOP-08).
    ///
    /// # Errors
    /// [`NoBearer`].
    pub fn present(
        &mut self,
        now: Moment,
        method: &Method,
        url: &str,
    ) -> Result<Presentation, NoBearer> {
        let account = self.usable(now, url)?;
        let tokens = account.tokens.as_ref().ok_or(NoBearer::NotHeld)?;
        let presentation = match &account.binding {
            None => Presentation::Bearer(bearer(&tokens.access)),
            Some(binding) => {
                let proof = self.proof(now, method, url, binding, tokens.access.clone())?;
                Presentation::Bound(Box::new(proof))
            }
        };
        self.used();
        Ok(presentation)
    }

    fn proof(
        &self,
        now: Moment,
        method: &Method,
        url: &str,
        binding: &KeyBinding,
        token: AccessToken,
    ) -> Result<UnsignedProof, NoBearer> {
        let config = self.core.config();
        let key = config.key_of(binding).ok_or(NoBearer::KeyMissing)?;
        let url = config
            .url_policy()
            .check(url)
            .map_err(|_| NoBearer::OutsideResource)?;
        Ok(UnsignedProof {
            key: Arc::clone(&key.name),
            subject: ProofSubject {
                jwk: key.jwk(),
                algorithm: binding.algorithm,
                method: method.as_str().into(),
                ath: Some(ath(token.secret().expose())),
                nonce: self.core.memory.nonces.of(url.origin()),
                url: url.as_str().into(),
                unix_seconds: now.wall.seconds(),
            },
            token,
        })
    }

    /// The account, when its token may be sent there now.
    fn usable(&self, now: Moment, url: &str) -> Result<&crate::account::Account, NoBearer> {
        let at = self.core.held.at.as_ref().ok_or(NoBearer::NotHeld)?;
        let account = at.held();
        if account.tokens.is_none() {
            return Err(NoBearer::NotHeld);
        }
        let policy = self.core.config().url_policy();
        // The record was accepted only with a resource that covers the MCP URL itself.
        if url != self.core.identity.mcp_url() {
            let url = policy.check(url).map_err(|_| NoBearer::OutsideResource)?;
            let resource = policy
                .check(&account.resource.id)
                .map_err(|_| NoBearer::OutsideResource)?;
            if !covers_url(&resource, &url) {
                return Err(NoBearer::OutsideResource);
            }
        }
        let validity = self.core.held.validity.unwrap_or(Validity::Over);
        if validity.holds(now) {
            Ok(account)
        } else {
            Err(NoBearer::Over)
        }
    }

    /// A token that expired on receipt is good once (TOK-13).
    fn used(&mut self) {
        if matches!(self.core.held.validity, Some(Validity::Once)) {
            self.core.held.validity = Some(Validity::Over);
        }
    }
}

/// A proof for one request that the host's key is to sign.
pub struct UnsignedProof {
    key: Arc<str>,
    subject: ProofSubject,
    token: AccessToken,
}

impl UnsignedProof {
    /// The host's name for the key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How to sign: ES256 as the 64 bytes of `r` and `s`.
    pub fn algorithm(&self) -> SigningAlgorithm {
        self.subject.algorithm
    }

    /// What to sign, made unique by 16 bytes of the host's cryptographic random source.
    pub fn prepare(self, random: [u8; 16]) -> PreparedProof {
        PreparedProof {
            input: self.subject.input(&jti(random)),
            token: self.token,
        }
    }
}

impl fmt::Debug for UnsignedProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnsignedProof(key {:?})", self.key)
    }
}

/// The bytes of a proof that are to be signed.
pub struct PreparedProof {
    input: Vec<u8>,
    token: AccessToken,
}

impl PreparedProof {
    /// The bytes to be signed.
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// The values of `Authorization` and `DPoP`; `None` when the signature has no plausible length.
    pub fn signature(self, signature: &[u8]) -> Option<ProofHeaders> {
        let proof = signed(&self.input, signature)?;
        let mut dpop = HeaderValue::try_from(proof.as_str()).ok()?;
        dpop.set_sensitive(true);
        Some(ProofHeaders {
            authorization: bound(&self.token),
            dpop,
        })
    }
}

impl fmt::Debug for PreparedProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PreparedProof")
    }
}

/// What one request carries.
#[derive(Debug)]
pub struct ProofHeaders {
    /// The value of `Authorization`, with the scheme `DPoP`.
    pub authorization: HeaderValue,
    /// The value of `DPoP`.
    pub dpop: HeaderValue,
}
