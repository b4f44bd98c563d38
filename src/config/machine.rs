//! Clients without a user, and keys for sender-constrained tokens (M2M, EMA, WIF, DPOP).

use std::sync::Arc;

use crate::config::PreRegistered;
use crate::issuer::IssuerId;
use crate::key::SigningKey;

/// The resource owner.
#[derive(Clone, Debug, Default)]
pub(crate) enum SignIn {
    /// A user, who signs in.
    #[default]
    User,
    /// The client itself, without fallback to a user (M2M-10, WIF-09, EMA-19).
    Machine(MachineFlow),
}

/// The grant of a client without a user.
#[derive(Clone, Debug)]
pub(crate) enum MachineFlow {
    ClientCredentials,
    Workload(Arc<WorkloadIdentity>),
    Enterprise(Arc<Enterprise>),
}

/// Workload identity federation: the platform's JWT is the grant (WIF).
#[derive(Clone, Debug, Default)]
pub struct WorkloadIdentity {
    pub(crate) issuers: Vec<String>,
    pub(crate) allowed: Vec<IssuerId>,
    pub(crate) client_id: Option<Box<str>>,
}

impl WorkloadIdentity {
    /// Allows assertions for this issuer; they are never sent to another one (WIF-12).
    pub fn at(issuer: impl Into<String>) -> Self {
        Self {
            issuers: vec![issuer.into()],
            ..Self::default()
        }
    }

    /// Allows a further issuer.
    #[must_use]
    pub fn and_at(mut self, issuer: impl Into<String>) -> Self {
        self.issuers.push(issuer.into());
        self
    }

    /// Sets the client identifier. The extension requires none (WIF-03).
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(id.into().into_boxed_str());
        self
    }
}

/// Enterprise-managed authorization: the organisation's identity provider decides about access (EMA).
#[derive(Clone, Debug)]
pub struct Enterprise {
    pub(crate) issuer: String,
    pub(crate) idp: Option<IssuerId>,
    pub(crate) client: PreRegistered,
    pub(crate) public: bool,
    pub(crate) metadata: Option<Box<[u8]>>,
}

impl Enterprise {
    /// Sets the identity provider, and the client with which the user signed in there. Both come from the
    /// host only (EMA-04).
    pub fn new(issuer: impl Into<String>, client: PreRegistered) -> Self {
        Self {
            issuer: issuer.into(),
            idp: None,
            client,
            public: false,
            metadata: None,
        }
    }

    /// Marks the client as public: the token exchange carries no client authentication (EMA-09).
    #[must_use]
    pub fn public_client(mut self) -> Self {
        self.public = true;
        self
    }

    /// Sets the identity provider's metadata, instead of fetching it. The document must name its issuer.
    #[must_use]
    pub fn metadata(mut self, json: impl Into<Vec<u8>>) -> Self {
        self.metadata = Some(json.into().into_boxed_slice());
        self
    }
}

/// Whether tokens are bound to a key (RFC 9449, DPOP-01).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DpopPolicy {
    /// Bearer tokens only.
    #[default]
    Never,
    /// Bound tokens where the server advertises support.
    IfSupported,
    /// Bound tokens only; without support the flow fails before a token request.
    Require,
}

/// The DPoP policy and keys of the host.
#[derive(Clone, Debug, Default)]
pub struct Dpop {
    pub(crate) policy: DpopPolicy,
    pub(crate) given: Vec<(Option<String>, SigningKey)>,
    pub(crate) keys: Vec<(Option<IssuerId>, SigningKey)>,
}

impl Dpop {
    /// Creates a policy without keys.
    pub fn new(policy: DpopPolicy) -> Self {
        Self {
            policy,
            ..Self::default()
        }
    }

    /// Sets the key for all servers without a key of their own. The key needs its public part.
    #[must_use]
    pub fn key(mut self, key: SigningKey) -> Self {
        self.given.push((None, key));
        self
    }

    /// Sets the key for one server, so that servers cannot correlate the client (ISO-13).
    #[must_use]
    pub fn key_for(mut self, issuer: impl Into<String>, key: SigningKey) -> Self {
        self.given.push((Some(issuer.into()), key));
        self
    }
}

/// When authorization requests are pushed (RFC 9126, AUTHZ-20).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PushedRequests {
    /// Only at servers that require it.
    #[default]
    WhenRequired,
    /// At every server that supports it.
    WhenOffered,
}

impl Enterprise {
    /// Shares the configuration between any number of machines.
    pub(crate) fn shared(self) -> Arc<Self> {
        Arc::new(self)
    }
}
