//! Signatures with keys of the host, and tokens of its platform.

use std::fmt;
use std::sync::Arc;

use crate::event::{Assertion, Event, Signed};
use crate::grant::SubjectTokenKind;
use crate::issuer::{Audience, IssuerId};
use crate::secret::Secret;
use crate::ticket::Ticket;
use crate::wire::jwt::{jti, signed};
use crate::wire::token::AuthenticationWish;
use crate::wire::words::SigningAlgorithm;

/// The content to sign; the host's random bytes complete it.
#[derive(Clone)]
pub(crate) enum ToSign {
    /// A client assertion (RFC 7523, TOK-08).
    Assertion {
        client_id: Arc<str>,
        audience: Audience,
        kid: Option<Box<str>>,
        unix_seconds: u64,
    },
    /// A DPoP proof (RFC 9449, DPOP-04).
    Proof(Box<crate::wire::jwt::ProofSubject>),
}

/// A request to sign with a key of the host (TOK-08, DPOP-19).
pub struct Sign {
    pub(crate) key: Arc<str>,
    pub(crate) algorithm: SigningAlgorithm,
    pub(crate) subject: ToSign,
    pub(crate) ticket: Ticket,
}

impl Sign {
    /// Returns the host's name for the key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the algorithm. An ES256 signature is the 64 bytes of `r` and `s`.
    pub fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    /// Returns the number of this action, unique within this machine.
    pub fn id(&self) -> u64 {
        self.ticket.id()
    }

    /// Returns the bytes to sign. `random`: 16 bytes from a cryptographic random source, for a unique `jti`
    /// (SEC-34).
    pub fn prepare(self, random: [u8; 16]) -> Prepared {
        let jti = jti(random);
        let input = match &self.subject {
            ToSign::Assertion {
                client_id,
                audience,
                kid,
                unix_seconds,
            } => crate::wire::jwt::assertion(
                client_id,
                audience.as_str(),
                self.algorithm,
                kid.as_deref(),
                *unix_seconds,
                &jti,
            ),
            ToSign::Proof(subject) => subject.input(&jti),
        };
        Prepared {
            input,
            ticket: self.ticket,
        }
    }

    /// Reports that the key is unavailable.
    pub fn failed(self) -> Event {
        Event::Signed(Signed {
            ticket: self.ticket,
            token: None,
        })
    }
}

impl fmt::Debug for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.subject {
            ToSign::Assertion { .. } => "client assertion",
            ToSign::Proof(_) => "proof",
        };
        let (id, algorithm) = (self.id(), self.algorithm.as_str());
        write!(f, "Sign({id}, {what}, {algorithm}, key {:?})", self.key)
    }
}

/// The bytes to sign.
pub struct Prepared {
    input: Vec<u8>,
    ticket: Ticket,
}

impl Prepared {
    /// Returns the bytes to sign.
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// Reports the signature of exactly these bytes.
    pub fn signature(self, signature: &[u8]) -> Event {
        Event::Signed(Signed {
            token: signed(&self.input, signature).map(|token| Secret::new(token.as_str())),
            ticket: self.ticket,
        })
    }

    /// Reports that the key is unavailable.
    pub fn failed(self) -> Event {
        Event::Signed(Signed {
            ticket: self.ticket,
            token: None,
        })
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prepared({})", self.ticket.id())
    }
}

/// The kind of the requested assertion.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AssertionKind {
    /// The workload's own JWT for this audience, as fresh and short-lived as the platform issues it
    /// (WIF-05, WIF-13).
    Workload {
        /// The audience to request.
        audience: Box<str>,
    },
    /// A token of the user or service at the organisation's identity provider (EMA-05).
    Subject {
        /// The identity provider.
        issuer: IssuerId,
        /// Whether the previous token was rejected, so that a new one is required (EMA-17).
        renew: bool,
        /// The authentication that the server requires of the user.
        wish: AuthenticationWish,
    },
}

/// A request for a token of the host's platform or identity provider.
#[derive(Debug)]
pub struct ObtainAssertion {
    pub(crate) kind: AssertionKind,
    pub(crate) ticket: Ticket,
}

impl ObtainAssertion {
    /// Returns the kind of the requested assertion.
    pub fn kind(&self) -> &AssertionKind {
        &self.kind
    }

    /// Returns the number of this action, unique within this machine.
    pub fn id(&self) -> u64 {
        self.ticket.id()
    }

    /// Reports the workload's JWT. It is sent unchanged to one token endpoint, and not stored.
    pub fn workload(self, jwt: impl Into<Secret>) -> Event {
        self.finish(Some((jwt.into(), None)))
    }

    /// Reports the subject token. It is sent to the identity provider's token endpoint only.
    pub fn subject(self, token: impl Into<Secret>, kind: SubjectTokenKind) -> Event {
        self.finish(Some((token.into(), Some(kind))))
    }

    /// Reports that no such token is available.
    pub fn failed(self) -> Event {
        self.finish(None)
    }

    fn finish(self, token: Option<(Secret, Option<SubjectTokenKind>)>) -> Event {
        Event::AssertionObtained(Assertion {
            ticket: self.ticket,
            token,
        })
    }
}
