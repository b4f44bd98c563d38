//! Clients without a person, and keys that tokens are bound to (M2M, EMA, WIF, DPOP).

use std::sync::Arc;

use crate::config::PreRegistered;
use crate::issuer::IssuerId;
use crate::key::SigningKey;

/// On whose behalf the machine acts.
#[derive(Clone, Debug, Default)]
pub(crate) enum SignIn {
    /// A user signs in.
    #[default]
    User,
    /// Nobody does; there is no other way to a token then (M2M-10, WIF-09, EMA-19).
    Machine(MachineFlow),
}

/// How a client without a person gets its tokens.
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
    /// Allows assertions to be sent to this issuer; at no other one are they ever sent (WIF-12).
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

    /// Sends a client identifier along; the extension needs none (WIF-03).
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(id.into().into_boxed_str());
        self
    }
}

/// Enterprise-managed authorization: the organisation's identity provider decides (EMA).
#[derive(Clone, Debug)]
pub struct Enterprise {
    pub(crate) issuer: String,
    pub(crate) idp: Option<IssuerId>,
    pub(crate) client: PreRegistered,
    pub(crate) public: bool,
    pub(crate) metadata: Option<Box<[u8]>>,
}

impl Enterprise {
    /// The identity provider, and the client with which the user signed in there. It comes from the
    /// host alone (EMA-04).
    pub fn new(issuer: impl Into<String>, client: PreRegistered) -> Self {
        Self {
            issuer: issuer.into(),
            idp: None,
            client,
            public: false,
            metadata: None,
        }
    }

    /// That client is a public one: the exchange is not authenticated (EMA-09).
    #[must_use]
    pub fn public_client(mut self) -> Self {
        self.public = true;
        self
    }

    /// The identity provider's metadata, where it is not to be fetched. It must name its issuer.
    #[must_use]
    pub fn metadata(mut self, json: impl Into<Vec<u8>>) -> Self {
        self.metadata = Some(json.into().into_boxed_slice());
        self
    }
}

/// Whether tokens are bound to a key (DPOP-01).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DpopPolicy {
    /// They are not.
    #[default]
    Never,
    /// Where the server says that it can.
    IfSupported,
    /// Always; where that cannot be, nothing is sent.
    Require,
}

/// The policy and the keys of the host.
#[derive(Clone, Debug, Default)]
pub struct Dpop {
    pub(crate) policy: DpopPolicy,
    pub(crate) given: Vec<(Option<String>, SigningKey)>,
    pub(crate) keys: Vec<(Option<IssuerId>, SigningKey)>,
}

impl Dpop {
    /// A policy, without keys yet.
    pub fn new(policy: DpopPolicy) -> Self {
        Self {
            policy,
            ..Self::default()
        }
    }

    /// A key for any server that has none of its own. Its public part must be known.
    #[must_use]
    pub fn key(mut self, key: SigningKey) -> Self {
        self.given.push((None, key));
        self
    }

    /// A key for one server, so that servers cannot tell that they see the same client (ISO-13).
    #[must_use]
    pub fn key_for(mut self, issuer: impl Into<String>, key: SigningKey) -> Self {
        self.given.push((Some(issuer.into()), key));
        self
    }
}

/// When authorization requests are pushed (AUTHZ-20).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PushedRequests {
    /// Where the server takes no others.
    #[default]
    WhenRequired,
    /// Wherever the server offers it.
    WhenOffered,
}
