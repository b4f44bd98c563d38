//! The checks of a request to a protected MCP server, without I/O. The order is enforced, because each step
//! needs the result of the previous one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{CONTENT_ENCODING, HOST, ORIGIN};
use http::{HeaderMap, HeaderName, Method};

use super::claims::{AccessToken, TokenError};
use super::message::McpMessages;
use super::policy::ScopePolicy;
use super::presented::{Presented, TokenScheme};
use super::proof::{NonceKey, ProofChecker, ProofError, ProofSubject, ReplayWindow};
use super::rejection::{DpopNonce, Rejection, RejectionResponse};
use super::resource::ProtectedResource;
use super::scopes::RequiredScopes;

type Implies = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// The reason why a server cannot be protected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// The resource advertises an algorithm for proofs that is not supported here.
    #[error("the resource advertises an algorithm for proofs that is not verified here")]
    Algorithm,
    /// The text is not an origin.
    #[error("{0:?} is not an origin such as https://app.example")]
    Origin(String),
}

/// A request for another host, or from a page of another origin, which is not processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misdirected;

/// The checks of requests to one MCP server.
#[derive(Clone)]
pub struct Guard {
    resource: Arc<ProtectedResource>,
    policy: Arc<ScopePolicy>,
    implies: Implies,
    hosts: Vec<Box<str>>,
    origins: Vec<Box<str>>,
    proofs: Option<ProofChecker>,
    replays: Arc<Mutex<ReplayWindow>>,
}

impl Guard {
    /// Protects a resource with a policy. Requests must name the host of the resource's identifier, and
    /// browsers its origin; [`Guard::host`] and [`Guard::origin`] add others.
    ///
    /// # Errors
    /// [`GuardError::Algorithm`] for an unsupported advertised algorithm.
    pub fn new(resource: ProtectedResource, policy: ScopePolicy) -> Result<Self, GuardError> {
        let proofs = match resource.dpop_algorithms() {
            None => None,
            Some(advertised) => Some(ProofChecker::new(advertised).ok_or(GuardError::Algorithm)?),
        };
        let origin = origin_of(resource.identifier());
        let authority = origin.split_once("://").map_or("", |(_, host)| host);
        Ok(Self {
            hosts: vec![authority.into()],
            origins: vec![origin.into()],
            resource: Arc::new(resource),
            policy: Arc::new(policy),
            implies: Arc::new(|_, _| false),
            proofs,
            replays: Arc::default(),
        })
    }

    /// Sets the relation between scopes: `implies(held, needed)` returns true if one includes the other
    /// (RS-06).
    #[must_use]
    pub fn implies(mut self, implies: impl Fn(&str, &str) -> bool + Send + Sync + 'static) -> Self {
        self.implies = Arc::new(implies);
        self
    }

    /// Allows a further value of `Host`, such as that of a reverse proxy.
    #[must_use]
    pub fn host(mut self, authority: &str) -> Self {
        self.hosts.push(authority.to_ascii_lowercase().into());
        self
    }

    /// Allows browsers to call the server from pages of this origin.
    ///
    /// # Errors
    /// [`GuardError::Origin`] when the text is not an origin.
    pub fn origin(mut self, origin: &str) -> Result<Self, GuardError> {
        let url = url::Url::parse(origin);
        let own = url.map(|url| url.origin().ascii_serialization());
        if own.as_deref() != Ok(origin) || origin == "null" {
            return Err(GuardError::Origin(origin.to_owned()));
        }
        self.origins.push(origin.into());
        Ok(self)
    }

    /// Requires nonces in proofs (RS-10).
    #[must_use]
    pub fn nonces(mut self, key: NonceKey) -> Self {
        self.proofs = self.proofs.map(|proofs| proofs.with_nonces(key));
        self
    }

    /// Sets how many proofs are remembered at a time.
    #[must_use]
    pub fn replay_window(mut self, most: usize) -> Self {
        self.replays = Arc::new(Mutex::new(ReplayWindow::new(most)));
        self
    }

    /// Returns the resource.
    pub fn resource(&self) -> &ProtectedResource {
        &self.resource
    }

    /// Returns the nonce for the next proof, to send with every response; `None` without nonces.
    pub fn next_nonce(&self, now: Duration) -> Option<DpopNonce> {
        self.proofs.as_ref()?.nonce(now)
    }

    /// Step 1: checks that the request is for this server (DNS rebinding). Returns the origin of an allowed
    /// page, for CORS.
    ///
    /// # Errors
    /// [`Misdirected`]: respond with 403 without a body.
    pub fn check_origin(
        &self,
        headers: &HeaderMap,
        authority: Option<&str>,
    ) -> Result<Option<&str>, Misdirected> {
        // The authority of HTTP/2 replaces `Host`.
        let host = match (single(headers, &HOST)?, authority) {
            (Some(host), None) => host,
            (None, Some(authority)) => authority,
            (Some(host), Some(authority)) if host.eq_ignore_ascii_case(authority) => host,
            (None, None) | (Some(_), Some(_)) => return Err(Misdirected),
        };
        if !self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host)) {
            return Err(Misdirected);
        }
        let Some(sent) = single(headers, &ORIGIN)? else {
            return Ok(None);
        };
        let known = self.origins.iter().find(|origin| &***origin == sent);
        known.map(|origin| Some(&**origin)).ok_or(Misdirected)
    }

    /// Step 2: returns the token in the request.
    ///
    /// # Errors
    /// The response to send.
    pub fn present(&self, headers: &HeaderMap) -> Result<Presented, RejectionResponse> {
        match Presented::from_headers(headers) {
            Ok(Some(presented)) => Ok(presented),
            Ok(None) => Err(self.reject(&Rejection::Missing, TokenScheme::Bearer)),
            Err(error) => Err(self.reject(&error.into(), TokenScheme::Bearer)),
        }
    }

    /// Step 3: takes the result of the token's verification, verifies its proof and marks the proof as
    /// used. `now` is the time since the Unix epoch.
    ///
    /// # Errors
    /// The response to send.
    pub fn bind(
        &self,
        presented: &Presented,
        verified: Result<AccessToken, TokenError>,
        method: &Method,
        now: Duration,
    ) -> Result<Authorized, RejectionResponse> {
        let scheme = presented.scheme();
        let refuse = |rejection| Err(self.reject(&rejection, scheme));
        let token = match verified {
            Ok(token) => token,
            Err(TokenError::Unavailable) => return refuse(Rejection::Unavailable),
            Err(TokenError::Expired) => return refuse(Rejection::Expired),
            Err(_refused) => return refuse(Rejection::Invalid),
        };
        match presented {
            // RS-09: a bound token without a proof may be stolen.
            Presented::Bearer(_) if token.is_bound() || self.resource.requires_dpop() => {
                refuse(Rejection::NotBound)
            }
            Presented::Bearer(_) => Ok(Authorized { token, scheme }),
            Presented::Dpop {
                token: text,
                proof: sent,
            } => {
                let (Some(checker), Some(key)) = (&self.proofs, token.key()) else {
                    return refuse(Rejection::Invalid);
                };
                let subject = ProofSubject {
                    method: method.as_str(),
                    url: self.resource.identifier(),
                    token: Some(text),
                };
                let proof = match checker.check(sent, &subject, now) {
                    Ok(proof) if proof.thumbprint() == key => proof,
                    Err(ProofError::Nonce) => {
                        let nonce = checker.nonce(now).map(Rejection::NonceNeeded);
                        return refuse(nonce.unwrap_or(Rejection::InvalidProof));
                    }
                    Ok(_) | Err(_) => return refuse(Rejection::InvalidProof),
                };
                let mut replays = self.replays.lock().unwrap_or_else(PoisonError::into_inner);
                match replays.spend(&proof, now) {
                    Ok(()) => Ok(Authorized { token, scheme }),
                    Err(ProofError::Full) => refuse(Rejection::Unavailable),
                    Err(_replayed) => refuse(Rejection::InvalidProof),
                }
            }
        }
    }

    /// Step 4: checks that the token permits the messages of the body. A request without a body, such as
    /// one that opens a stream, needs the scopes of every request.
    ///
    /// # Errors
    /// The response to send.
    pub fn permit(
        &self,
        authorized: Authorized,
        headers: &HeaderMap,
        body: Option<&[u8]>,
    ) -> Result<AccessToken, RejectionResponse> {
        let Authorized { token, scheme } = authorized;
        let needed = self.needed(headers, body);
        let needed = needed.map_err(|rejection| self.reject(&rejection, scheme))?;
        let Some(needed) = needed else {
            return Ok(token);
        };
        let implies = |held: &str, needed: &str| (self.implies)(held, needed);
        match self.resource.allows(token.scopes(), &needed, implies) {
            Ok(()) => Ok(token),
            Err(rejection) => Err(self.reject(&rejection, scheme)),
        }
    }

    fn needed(
        &self,
        headers: &HeaderMap,
        body: Option<&[u8]>,
    ) -> Result<Option<RequiredScopes>, Rejection> {
        let Some(body) = body else {
            return Ok(self.policy.base().cloned());
        };
        // A body that is decompressed later may differ from the one checked here.
        if headers.contains_key(CONTENT_ENCODING) {
            return Err(Rejection::Malformed);
        }
        let messages = McpMessages::read(body).map_err(|_| Rejection::Malformed)?;
        if !messages.agree_with(headers) {
            return Err(Rejection::Malformed);
        }
        self.policy.needed(&messages)
    }

    fn reject(&self, rejection: &Rejection, scheme: TokenScheme) -> RejectionResponse {
        self.resource.reject_as(rejection, scheme)
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard")
            .field("resource", &self.resource)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// A request with a valid token and, if needed, a valid proof, before the check of its scopes.
#[derive(Debug)]
pub struct Authorized {
    token: AccessToken,
    scheme: TokenScheme,
}

fn origin_of(identifier: &str) -> String {
    // The identifier was validated when the resource was created.
    url::Url::parse(identifier)
        .map_or_else(|_| String::new(), |url| url.origin().ascii_serialization())
}

/// Returns the value of a field that occurs at most once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Misdirected> {
    let mut fields = headers.get_all(name).iter();
    let Some(first) = fields.next() else {
        return Ok(None);
    };
    match (first.to_str(), fields.next()) {
        (Ok(text), None) => Ok(Some(text)),
        (Ok(_) | Err(_), _) => Err(Misdirected),
    }
}
