//! Everything that the proxy remembers, in bounded space and by hashes of what is secret.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_server::{
    AccessToken, Approval, CodeRecord, PendingUpstream, RegistrationRequest, TokenError,
    VerifyToken,
};
use serde_json::{Map, json};
use sha2::{Digest, Sha256};

use super::now;

/// Most of each kind.
const MOST: usize = 10_000;
/// How long an access token lives.
pub(crate) const LIFETIME: Duration = Duration::from_secs(600);

/// Values that end by themselves.
#[derive(Debug)]
pub(crate) struct Expiring<K, V>(HashMap<K, (V, Duration)>);

impl<K, V> Default for Expiring<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash, V> Expiring<K, V> {
    /// Keeps a value; `false` when the store is full.
    pub(crate) fn put(&mut self, key: K, value: V, until: Duration) -> bool {
        let now = now();
        self.0.retain(|_, (_, until)| now < *until);
        if self.0.len() >= MOST {
            return false;
        }
        self.0.insert(key, (value, until));
        true
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let (value, until) = self.0.get(key)?;
        (now() < *until).then_some(value)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (value, until) = self.0.get_mut(key)?;
        (now() < *until).then_some(value)
    }

    pub(crate) fn take(&mut self, key: &K) -> Option<V> {
        let (value, until) = self.0.remove(key)?;
        (now() < until).then_some(value)
    }

    /// Removes what the condition names.
    pub(crate) fn remove_if(&mut self, condition: impl Fn(&V) -> bool) {
        self.0.retain(|_, (value, _)| !condition(value));
    }
}

/// An access token of this server.
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) approval: Approval,
    pub(crate) family: String,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) clients: Expiring<String, RegistrationRequest>,
    pub(crate) pending: Expiring<String, PendingUpstream>,
    pub(crate) codes: Expiring<[u8; 32], CodeRecord>,
    pub(crate) tokens: Expiring<[u8; 32], Issued>,
}

#[derive(Debug, Default)]
pub(crate) struct Store(Mutex<State>);

impl Store {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// Verifies the tokens that were issued here.
pub(crate) struct Tokens {
    issuer: Box<str>,
    audience: Box<str>,
    store: Arc<Store>,
}

impl Tokens {
    pub(crate) fn new(issuer: &str, audience: &str, store: Arc<Store>) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            store,
        }
    }
}

impl VerifyToken for Tokens {
    async fn verify(&self, token: &str, _now: Duration) -> Result<AccessToken, TokenError> {
        let state = self.store.lock();
        let issued = state.tokens.get(&hash(token)).ok_or(TokenError::Inactive)?;
        let approval = &issued.approval;
        if approval.resource.as_deref() != Some(&self.audience) {
            return Err(TokenError::Audience);
        }
        let mut claims = Map::new();
        claims.insert("sub".to_owned(), json!(approval.subject));
        claims.insert("client_id".to_owned(), json!(approval.client_id));
        let scopes = Scopes::parse(&approval.scopes);
        Ok(AccessToken::new(&self.issuer, scopes, claims))
    }
}
