//! Drivers of verification: they fetch keys and introspection responses, one at a time, and use the present
//! ones during an outage.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::header::ACCEPT;
use http::{Method, Request, Response, StatusCode};
use tokio::sync::Mutex as AsyncMutex;

use super::access_token::{AccessToken, TokenError};
use super::introspection::{IntrospectionCache, IntrospectionRules};
use super::jose::{Unverified, VerifyingKey};
use super::keys::{KeyCache, KeySetError, KeyTimes};
use super::rules::TokenRules;

/// The error of a fetch without a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request was not answered")]
pub struct FetchError;

/// Sends a request to an authorization server: with TLS and a time limit, without following redirects, and
/// with a response of at most [`MAX_JWKS_BYTES`](super::keys::MAX_JWKS_BYTES).
pub trait Fetch: Send + Sync + 'static {
    /// Sends the request.
    fn fetch(
        &self,
        request: Request<Vec<u8>>,
    ) -> impl Future<Output = Result<Response<Vec<u8>>, FetchError>> + Send;
}

/// Verifies access tokens.
pub trait VerifyToken: Send + Sync + 'static {
    /// Verifies a token. `now` is the time since the Unix epoch.
    fn verify(
        &self,
        token: &str,
        now: Duration,
    ) -> impl Future<Output = Result<AccessToken, TokenError>> + Send;
}

/// The start of the caches' clock.
#[derive(Debug)]
struct Since(Instant);

impl Since {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

#[derive(Debug)]
struct Issuer {
    rules: TokenRules,
    keys: Mutex<KeyCache>,
    /// Held during a fetch.
    flight: AsyncMutex<()>,
}

impl Issuer {
    fn keys(&self) -> MutexGuard<'_, KeyCache> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Verifies signed tokens with the published keys of one or more issuers.
#[derive(Debug)]
pub struct JwtVerifier<F> {
    issuers: Vec<Issuer>,
    fetch: F,
    since: Since,
}

/// For a verifier with given keys, which never fetches.
#[derive(Clone, Copy, Debug)]
pub struct NoFetch;

impl Fetch for NoFetch {
    async fn fetch(&self, _request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, FetchError> {
        Err(FetchError)
    }
}

impl JwtVerifier<NoFetch> {
    /// Creates a verifier with a fixed key set.
    ///
    /// # Errors
    /// [`KeySetError`] with the flaw in the key set.
    pub fn with_keys(rules: TokenRules, jwks: &[u8]) -> Result<Self, KeySetError> {
        let forever = KeyTimes {
            fresh: Duration::MAX,
            usable: Duration::MAX,
            pause: Duration::MAX,
        };
        let verifier = Self::with_times(rules, NoFetch, forever);
        for issuer in &verifier.issuers {
            issuer.keys().fetched(jwks, Duration::ZERO)?;
        }
        Ok(verifier)
    }
}

impl<F: Fetch> JwtVerifier<F> {
    /// Creates a verifier that fetches the keys with the first token.
    pub fn new(rules: TokenRules, fetch: F) -> Self {
        Self::with_times(rules, fetch, KeyTimes::default())
    }

    /// Creates a verifier with other lifetimes of keys.
    pub fn with_times(rules: TokenRules, fetch: F, times: KeyTimes) -> Self {
        Self {
            issuers: vec![Issuer {
                rules,
                keys: Mutex::new(KeyCache::new(times)),
                flight: AsyncMutex::new(()),
            }],
            fetch,
            since: Since(Instant::now()),
        }
    }

    /// Accepts the tokens of a further issuer.
    #[must_use]
    pub fn and(mut self, rules: TokenRules) -> Self {
        self.issuers.push(Issuer {
            rules,
            keys: Mutex::new(KeyCache::new(KeyTimes::default())),
            flight: AsyncMutex::new(()),
        });
        self
    }

    async fn fetch_keys(&self, issuer: &Issuer) {
        // A request that is dropped while it fetches must not be a way to fetch without a pause. While there
        // are no keys, it must not be a way to keep them away from the others either.
        issuer.keys().started(self.since.now());
        let request = Request::builder()
            .method(Method::GET)
            .uri(issuer.rules.jwks_url())
            .header(ACCEPT, "application/json")
            .body(Vec::new());
        let fetched = match request {
            Ok(request) => self.fetch.fetch(request).await,
            Err(_) => Err(FetchError),
        };
        let now = self.since.now();
        let mut keys = issuer.keys();
        let taken = match fetched {
            Ok(response) if response.status() == StatusCode::OK => {
                keys.fetched(response.body(), now).is_ok()
            }
            Ok(_) | Err(_) => false,
        };
        if !taken {
            keys.failed(now);
        }
    }

    /// Fetches keys when due. With keys present, one request fetches while the others continue.
    async fn prepare(&self, issuer: &Issuer, token: &Unverified<'_>) {
        let look = || {
            let keys = issuer.keys();
            let found = keys.lookup(token.header_text("kid"), token.algorithm, self.since.now());
            (found.is_fetch_due, found.keys.is_empty())
        };
        let flight = match look() {
            (false, _) => return,
            (true, true) => issuer.flight.lock().await,
            (true, false) => match issuer.flight.try_lock() {
                Ok(flight) => flight,
                Err(_under_way) => return,
            },
        };
        if look().0 {
            self.fetch_keys(issuer).await;
        }
        drop(flight);
    }
}

impl<F: Fetch> VerifyToken for JwtVerifier<F> {
    async fn verify(&self, token: &str, now: Duration) -> Result<AccessToken, TokenError> {
        let read = Unverified::read(token).ok_or(TokenError::Malformed)?;
        let claimed = read.claimed_issuer();
        let mut issuers = self.issuers.iter();
        let issuer = issuers.find(|issuer| Some(issuer.rules.issuer()) == claimed);
        let issuer = issuer.ok_or(TokenError::Issuer)?;
        // Tokens that are rejected anyway cause no fetch.
        issuer.rules.check_header(&read)?;
        self.prepare(issuer, &read).await;
        let cache = issuer.keys();
        let found = cache.lookup(read.header_text("kid"), read.algorithm, self.since.now());
        if found.keys.is_empty() && !found.is_usable {
            return Err(TokenError::Unavailable);
        }
        let keys: Vec<VerifyingKey> = found.keys.into_iter().cloned().collect();
        drop(cache);
        issuer.rules.verify(&read, &keys, now)
    }
}

/// Verifies tokens by introspection, with a short cache.
#[derive(Debug)]
pub struct IntrospectionVerifier<F> {
    rules: IntrospectionRules,
    fetch: F,
    cache: Mutex<IntrospectionCache>,
}

impl<F: Fetch> IntrospectionVerifier<F> {
    /// Creates a verifier that introspects each token that is not cached.
    pub fn new(rules: IntrospectionRules, fetch: F) -> Self {
        Self {
            rules,
            fetch,
            cache: Mutex::default(),
        }
    }

    fn cache(&self) -> MutexGuard<'_, IntrospectionCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Fetch> VerifyToken for IntrospectionVerifier<F> {
    async fn verify(&self, token: &str, now: Duration) -> Result<AccessToken, TokenError> {
        if let Some(known) = self.cache().get(token, now) {
            return known;
        }
        let request = self.rules.request(token).ok_or(TokenError::Malformed)?;
        let answer = match self.fetch.fetch(request).await {
            Ok(response) => self.rules.read(response.status(), response.body(), now),
            Err(FetchError) => Err(TokenError::Unavailable),
        };
        self.cache().put(&self.rules, token, &answer, now);
        answer
    }
}
