//! Attaching the stored token to a request: as a bearer token, or with a DPoP proof (USE-01, DPOP-08,
//! DPOP-09).

use std::fmt;
use std::sync::Arc;

use http::{HeaderValue, Method};

use crate::account::Validity;
use crate::config::Config;
use crate::issuer::{bearer, bound, stored_bearer};
use crate::key::KeyBinding;
use crate::machine::AuthMachine;
use crate::record::read_at_rest;
use crate::slot::Stored;
use crate::time::{Moment, UnixMillis};
use crate::wire::jwt::{ProofSubject, ath, jti, signed};
use crate::wire::resource::covers_url;
use crate::wire::token::AccessToken;
use crate::wire::words::SigningAlgorithm;

/// How a request carries the token.
#[derive(Debug)]
pub enum Presentation {
    /// The value of `Authorization`, marked sensitive.
    Bearer(HeaderValue),
    /// A token that is bound to a key: the host signs a proof for this one request.
    Bound(Box<UnsignedProof>),
}

/// The reason why no token is available for a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBearer {
    /// No token is stored.
    #[error("no token is stored")]
    NotHeld,
    /// The token has expired.
    #[error("the token has expired")]
    Over,
    /// The URL is outside the token's resource.
    #[error("the URL is outside the resource that the token is for")]
    OutsideResource,
    /// The token is bound to a key, and never sent without a proof: use [`AuthMachine::present`] (DPOP-14).
    #[error("the token is bound to a key and is never sent without a proof")]
    Bound,
    /// The host no longer configures the key that the token is bound to (REFR-10).
    #[error("the key that the token is bound to is not configured")]
    KeyMissing,
    /// The host's signer has no such key, or made no signature of it that can be used. Set by the drivers.
    #[error("the signer of the host made no proof with the key that the token is bound to")]
    NotSigned,
    /// The operating system has no random bytes for a proof (SEC-34). Set by the drivers.
    #[error("the operating system has no random bytes for a proof")]
    NoEntropy,
}

impl AuthMachine {
    /// Returns the value of `Authorization` for a request to this URL of the MCP server, marked sensitive.
    /// Available only while the token is valid, and only for URLs that its resource covers (USE-03,
    /// USE-04).
    ///
    /// # Errors
    /// [`NoBearer`] with the reason. Then send [`Event::Wanted`](crate::Event::Wanted), or the server's
    /// challenge.
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

    /// Returns the headers, or the proof to sign, for one request with this method to this URL of the MCP
    /// server, for hosts with DPoP keys. Call it again for each further request and each retry (DPOP-08).
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
        let is_bound = account.binding.is_some();
        let presentation = match &account.binding {
            None => Presentation::Bearer(bearer(&tokens.access)),
            Some(binding) => {
                let proof = self.proof(now, method, url, binding, tokens.access.clone())?;
                Presentation::Bound(Box::new(proof))
            }
        };
        if is_bound {
            let core = &mut self.core;
            let origin = core.identity.config().mcp_url().origin();
            core.memory.nonces.present(origin);
        }
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

    /// Returns the account if its token may be sent to this URL now.
    fn usable(&self, now: Moment, url: &str) -> Result<&crate::account::Account, NoBearer> {
        let at = self.core.held.at.as_ref().ok_or(NoBearer::NotHeld)?;
        let account = at.held();
        if account.tokens.is_none() {
            return Err(NoBearer::NotHeld);
        }
        let policy = self.core.config().url_policy();
        // A record is accepted only with a resource that covers the MCP URL itself.
        if url != self.core.identity.mcp_url() {
            let url = policy.check(url).map_err(|_| NoBearer::OutsideResource)?;
            let resource = policy
                .check(account.resource.id.as_str())
                .map_err(|_| NoBearer::OutsideResource)?;
            if !covers_url(&resource, &url) {
                return Err(NoBearer::OutsideResource);
            }
        }
        let validity = self.core.held.validity.unwrap_or(Validity::Over);
        if validity.holds(now) {
            return Ok(account);
        }
        // A bound token without its key counts as expired; the remedy is the key (DPOP-02).
        let key = account.binding.as_ref();
        let missing = key.is_some_and(|binding| self.core.config().key_of(binding).is_none());
        let holds = Validity::of(account.tokens.as_ref(), now).holds(now);
        Err(if missing && holds {
            NoBearer::KeyMissing
        } else {
            NoBearer::Over
        })
    }

    /// Marks a token that had expired on receipt as used: it is single-use (TOK-13).
    fn used(&mut self) {
        if matches!(self.core.held.validity, Some(Validity::Once)) {
            self.core.held.validity = Some(Validity::Over);
        }
    }
}

/// A bearer token that was read from a stored account without a machine, for hosts with many accounts.
#[derive(Debug)]
pub struct StoredBearer {
    /// The value of `Authorization` for requests to the MCP URL, marked sensitive. Its memory is cleared with its last clone.
    pub authorization: HeaderValue,
    /// The expiry, if known.
    pub expires: Option<UnixMillis>,
}

impl StoredBearer {
    /// Reads the contents of the account slot ([`Slot::account`](crate::slot::Slot::account)) of a principal.
    ///
    /// A token is exactly what a new machine would offer now: [`Action::Ready`](crate::Action::Ready) when these contents are
    /// loaded, and [`AuthMachine::bearer`] for the MCP URL. `None` decides nothing: pass the contents to a machine.
    ///
    /// A machine of the same account knows more than its record, such as a token that the MCP server refused or a sign-out
    /// under way: where this process has one, ask that machine.
    pub fn read(config: &Config, principal: &str, stored: &Stored, now: Moment) -> Option<Self> {
        // Only a principal with a name has an account.
        if principal.is_empty() {
            return None;
        }
        let account = read_at_rest(config, principal, stored)?;
        if config.replaces(account.issuer, account.client_id, account.client_origin) {
            return None;
        }
        let (received, lifetime) = (account.received, account.lifetime);
        let validity = Validity::of_stored(received, lifetime, account.is_renewable, now);
        if !validity.holds(now) {
            return None;
        }
        let seconds = lifetime.seconds();
        Some(Self {
            authorization: stored_bearer(account.access)?,
            expires: seconds.map(|seconds| received.plus_seconds(seconds)),
        })
    }
}

/// A DPoP proof for one request, to be signed with the host's key.
pub struct UnsignedProof {
    key: Arc<str>,
    subject: ProofSubject,
    token: AccessToken,
}

impl UnsignedProof {
    /// Returns the host's name for the key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the algorithm. An ES256 signature is the 64 bytes of `r` and `s`.
    pub fn algorithm(&self) -> SigningAlgorithm {
        self.subject.algorithm
    }

    /// Returns the bytes to sign. `random`: 16 bytes from a cryptographic random source, for a unique
    /// `jti`.
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

/// The bytes of a proof to sign.
pub struct PreparedProof {
    input: Vec<u8>,
    token: AccessToken,
}

impl PreparedProof {
    /// Returns the bytes to sign.
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// Returns the values of `Authorization` and `DPoP`; `None` when the signature's length is implausible.
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

/// The headers of one request with a bound token.
#[derive(Debug)]
pub struct ProofHeaders {
    /// The value of `Authorization`, with the scheme `DPoP`.
    pub authorization: HeaderValue,
    /// The value of `DPoP`.
    pub dpop: HeaderValue,
}
