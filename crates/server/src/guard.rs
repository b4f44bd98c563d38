//! The decisions about one request to a protected MCP server, without I/O: a driver asks in this order,
//! and cannot skip a step, because each needs what the step before returned.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, ORIGIN};
use http::{HeaderMap, HeaderName, Method};

use super::access_token::{AccessToken, TokenError};
use super::message::McpMessages;
use super::policy::ScopePolicy;
use super::presented::{Presented, TokenScheme};
use super::proof::{NonceKey, Proof, ProofChecker, ProofError, ProofSubject};
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

    /// Step 3: takes the result of the token's verification and verifies its proof. `now` is the time since
    /// the Unix epoch.
    ///
    /// # Errors
    /// The response to send.
    pub fn bind(
        &self,
        presented: &Presented,
        verified: Result<AccessToken, TokenError>,
        method: &Method,
        now: Duration,
    ) -> Result<Bound, RejectionResponse> {
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
            Presented::Bearer(_) => Ok(Bound::new(token, scheme, None)),
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
                match checker.check(sent, &subject, now) {
                    Ok(proof) if proof.thumbprint() == key => {
                        Ok(Bound::new(token, scheme, Some(proof)))
                    }
                    Err(ProofError::Nonce) => {
                        let nonce = checker.nonce(now).map(Rejection::NonceNeeded);
                        refuse(nonce.unwrap_or(Rejection::InvalidProof))
                    }
                    Ok(_) | Err(_) => refuse(Rejection::InvalidProof),
                }
            }
        }
    }

    /// Step 4: takes the answer of a [`ReplayStore`](super::ReplayStore) about the proof, where there is one.
    ///
    /// # Errors
    /// The answer.
    pub fn spend(
        &self,
        bound: Bound,
        spent: Result<(), ProofError>,
    ) -> Result<Authorized, RejectionResponse> {
        let Bound { token, scheme, .. } = bound;
        match spent {
            Ok(()) => Ok(Authorized { token, scheme }),
            // A store that does not answer must not let a replayed proof through.
            Err(ProofError::Full | ProofError::Unavailable) => {
                Err(self.reject(&Rejection::Unavailable, scheme))
            }
            Err(_replayed) => Err(self.reject(&Rejection::InvalidProof, scheme)),
        }
    }

    /// Step 5: checks that the token permits the messages of the body. A request without a body, such as
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
        if headers.contains_key(CONTENT_ENCODING) || !is_json(headers) {
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

/// A request with a valid token and, where one is needed, a valid proof, which is still to be spent.
#[derive(Debug)]
pub struct Bound {
    token: AccessToken,
    scheme: TokenScheme,
    proof: Option<Proof>,
}

impl Bound {
    fn new(token: AccessToken, scheme: TokenScheme, proof: Option<Proof>) -> Self {
        Self {
            token,
            scheme,
            proof,
        }
    }

    /// Returns the proof to mark as used; `None` for a token that is not bound: pass `Ok(())` to
    /// [`Guard::spend`].
    pub fn proof(&self) -> Option<&Proof> {
        self.proof.as_ref()
    }
}

/// A request with a valid token and, if needed, a valid proof, before the check of its scopes.
#[derive(Debug)]
pub struct Authorized {
    token: AccessToken,
    scheme: TokenScheme,
}

/// Returns true if the body is JSON in UTF-8. A server that decodes another encoding reads another body. A
/// missing `Content-Type` is left to the server.
fn is_json(headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(CONTENT_TYPE).iter();
    let Some(field) = fields.next() else {
        return true;
    };
    let text = field.to_str().unwrap_or_default().to_ascii_lowercase();
    let mut parts = text.split(';').map(str::trim);
    let is_json = parts.next() == Some("application/json");
    let is_utf_8 = |parameter: &str| match parameter.split_once('=') {
        Some((name, value)) if name.trim() == "charset" => {
            matches!(value.trim().trim_matches('"'), "utf-8" | "utf8")
        }
        Some(_) | None => !parameter.contains("charset"),
    };
    is_json && parts.all(is_utf_8) && fields.next().is_none()
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
