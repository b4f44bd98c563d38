//! Asking the host for what only it can make: signatures of its keys, and tokens of its platform.

use std::fmt;
use std::sync::Arc;

use crate::event::{Assertion, Event, Signed};
use crate::issuer::{Audience, IssuerId};
use crate::secret::Secret;
use crate::ticket::Ticket;
use crate::wire::jwt::{jti, signed};
use crate::wire::token::AuthenticationWish;
use crate::wire::words::SigningAlgorithm;

/// What is to be signed; the token is finished with the host's random bytes.
#[derive(Clone)]
pub(crate) enum ToSign {
    /// A client assertion (TOK-08).
    Assertion {
        client_id: Box<str>,
        audience: Audience,
        kid: Option<Box<str>>,
        unix_seconds: u64,
    },
    /// A proof of possession (DPOP-04).
    Proof(Box<crate::wire::jwt::ProofSubject>),
}

/// Sign something with a key of the host (TOK-08, DPOP-19).
pub struct Sign {
    pub(crate) key: Arc<str>,
    pub(crate) algorithm: SigningAlgorithm,
    pub(crate) subject: ToSign,
    pub(crate) ticket: Ticket,
}

impl Sign {
    /// The host's name for the key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How to sign: ES256 as the 64 bytes of `r` and `s`.
    pub fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    /// A number that names this action among those of this machine.
    pub fn id(&self) -> u64 {
        self.ticket.id()
    }

    /// What to sign, made unique by 16 bytes of the host's cryptographic random source (SEC-34).
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

    /// The key cannot be used.
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

/// The bytes to be signed.
pub struct Prepared {
    input: Vec<u8>,
    ticket: Ticket,
}

impl Prepared {
    /// The bytes to be signed.
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// The signature of exactly these bytes.
    pub fn signature(self, signature: &[u8]) -> Event {
        Event::Signed(Signed {
            token: signed(&self.input, signature).map(|token| Secret::new(token.as_str())),
            ticket: self.ticket,
        })
    }

    /// The key cannot be used.
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

/// Which token is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AssertionKind {
    /// The workload's own JWT, for this audience: as short-lived and fresh as the platform can make it
    /// (WIF-05, WIF-13).
    Workload {
        /// The audience to ask for.
        audience: Box<str>,
    },
    /// A token for the person or service at the organisation's identity provider (EMA-05).
    Subject {
        /// The identity provider.
        issuer: IssuerId,
        /// The one handed in before was refused: a new one is needed (EMA-17).
        renew: bool,
        /// How the user is to authenticate for it.
        wish: AuthenticationWish,
    },
}

/// What kind of subject token the host hands in (EMA-06).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SubjectTokenKind {
    /// An ID token.
    IdToken,
    /// A SAML 2.0 assertion.
    Saml2,
    /// A refresh token of the identity provider.
    RefreshToken,
}

impl SubjectTokenKind {
    /// The token type identifier (RFC 8693 section 3).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IdToken => "urn:ietf:params:oauth:token-type:id_token",
            Self::Saml2 => "urn:ietf:params:oauth:token-type:saml2",
            Self::RefreshToken => "urn:ietf:params:oauth:token-type:refresh_token",
        }
    }
}

/// Obtain a token that the host's platform or identity provider issues.
#[derive(Debug)]
pub struct ObtainAssertion {
    pub(crate) kind: AssertionKind,
    pub(crate) ticket: Ticket,
}

impl ObtainAssertion {
    /// Which one.
    pub fn kind(&self) -> &AssertionKind {
        &self.kind
    }

    /// A number that names this action among those of this machine.
    pub fn id(&self) -> u64 {
        self.ticket.id()
    }

    /// The workload's JWT. It is sent to one authorization server's token endpoint, not stored, and
    /// not changed.
    pub fn workload(self, jwt: impl Into<Secret>) -> Event {
        self.finish(Some((jwt.into(), None)))
    }

    /// The subject token. It is sent to the identity provider's token endpoint alone.
    pub fn subject(self, token: impl Into<Secret>, kind: SubjectTokenKind) -> Event {
        self.finish(Some((token.into(), Some(kind))))
    }

    /// There is none to be had.
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
