//! Containment: a credential is held inside a value that also holds the only server it may go to.
//!
//! Every function that joins a server's URL to something secret is in this file. None of them takes
//! an endpoint, so there is none to get wrong.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};

use crate::config::IssuerSettings;
use crate::grant::{Client, Redirected, TokenGrant};
use crate::record::Opened;
use crate::secret::Secret;
use crate::wire::form::Form;
use crate::wire::server::ServerDocument;
use crate::wire::text::Untrusted;
use crate::wire::url::{UrlFlaw, UrlPolicy, WebUrl};
use crate::wire::words::{AuthMethod, ChallengeMethod, GrantType, KnownScope, ResponseType, Words};

/// An issuer identifier: the exact text, never held as a URL; equality is bytes (META-09, META-11).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IssuerId(Arc<str>);

impl IssuerId {
    /// Judges a text as an issuer: an acceptable URL in its own canonical spelling, without query
    /// (META-05, SEC-04). The text itself is kept.
    ///
    /// # Errors
    /// [`IssuerFlaw`].
    pub fn new(text: &str, policy: &UrlPolicy) -> Result<Self, IssuerFlaw> {
        let url = policy.check(text).map_err(IssuerFlaw::Url)?;
        if url.query().is_some() {
            return Err(IssuerFlaw::Query);
        }
        let canonical = url.as_str();
        if canonical == text || canonical.strip_suffix('/') == Some(text) {
            Ok(Self(text.into()))
        } else {
            Err(IssuerFlaw::NotCanonical)
        }
    }

    /// The exact text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Equal after removing one terminating slash from each: the one tolerance (QUIRK-01).
    pub(crate) fn same_but_slash(&self, other: &str) -> bool {
        let bare = |text: &str| -> usize { text.strip_suffix('/').unwrap_or(text).len() };
        self.0.get(..bare(&self.0)) == other.get(..bare(other))
    }
}

impl fmt::Debug for IssuerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for IssuerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no usable issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum IssuerFlaw {
    /// Not an acceptable URL.
    #[error("{0}")]
    Url(UrlFlaw),
    /// Holds a query.
    #[error("holds a query")]
    Query,
    /// Not spelled as it would be sent, such as with dot segments or an upper-case host.
    #[error("not in canonical spelling")]
    NotCanonical,
}

/// Where the facts about a server came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerSource {
    /// A metadata document of its own.
    Metadata,
    /// Metadata of a server of revision 2025-03-26, found at the MCP server's origin (LEG).
    LegacyMetadata,
    /// The default endpoints of revision 2025-03-26 (LEG-06).
    LegacyDefaults,
}

/// An authorization server whose metadata echoed the issuer it was asked for (META-08). A snapshot:
/// one flow uses one, from redirect to token (META-15). Cheap to clone.
#[derive(Clone)]
pub struct Server(Arc<Facts>);

pub(crate) struct Facts {
    pub(crate) issuer: IssuerId,
    pub(crate) source: ServerSource,
    pub(crate) authorization_endpoint: Option<WebUrl>,
    pub(crate) token_endpoint: WebUrl,
    pub(crate) registration_endpoint: Option<WebUrl>,
    pub(crate) revocation_endpoint: Option<WebUrl>,
    pub(crate) requires_par: bool,
    pub(crate) advertises_iss: bool,
    pub(crate) supports_cimd: bool,
    pub(crate) response_types: Words<ResponseType>,
    pub(crate) grant_types: Words<GrantType>,
    pub(crate) scopes: Words<KnownScope>,
    pub(crate) challenge_methods: Words<ChallengeMethod>,
    pub(crate) auth_methods: Words<AuthMethod>,
    pub(crate) revocation_auth_methods: Words<AuthMethod>,
}

/// Why a metadata document is not used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MetadataFlaw {
    /// The document names another issuer than the one it was asked for (META-08).
    Issuer {
        /// The issuer asked for.
        expected: IssuerId,
        /// The issuer named.
        got: Untrusted,
    },
    /// No `token_endpoint` (META-12).
    NoTokenEndpoint,
    /// An endpoint that is no acceptable URL (META-12, QUIRK-28).
    Endpoint {
        /// The member.
        member: &'static str,
        /// Its value.
        got: Untrusted,
        /// What is wrong with it.
        flaw: UrlFlaw,
    },
    /// A repeated member, or nested too deeply (SEC-14).
    Malformed,
}

/// How closely the issuer in a document must match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlashRule {
    /// Identical.
    Exact,
    /// One terminating slash may differ between the two texts (QUIRK-01).
    TolerateOne,
}

impl Server {
    /// The one constructor: from the issuer that was asked for and the document that answered.
    pub(crate) fn accept(
        asked: &IssuerId,
        document: &ServerDocument<'_>,
        source: ServerSource,
        slash: SlashRule,
        policy: &UrlPolicy,
    ) -> Result<Self, MetadataFlaw> {
        let named = document.issuer().unwrap_or_default();
        let issuer = if named == asked.as_str() {
            asked.clone()
        } else if slash == SlashRule::TolerateOne && asked.same_but_slash(named) {
            IssuerId(named.into())
        } else {
            return Err(MetadataFlaw::Issuer {
                expected: asked.clone(),
                got: Untrusted::new(named),
            });
        };
        let endpoint = |member, text: Option<&str>| match text {
            None => Ok(None),
            Some(text) => policy
                .check(text)
                .map(Some)
                .map_err(|flaw| MetadataFlaw::Endpoint {
                    member,
                    got: Untrusted::new(text),
                    flaw,
                }),
        };
        let token_endpoint = endpoint("token_endpoint", document.token_endpoint.get())?
            .ok_or(MetadataFlaw::NoTokenEndpoint)?;
        Ok(Self(Arc::new(Facts {
            issuer,
            source,
            authorization_endpoint: endpoint(
                "authorization_endpoint",
                document.authorization_endpoint.get(),
            )?,
            token_endpoint,
            registration_endpoint: endpoint(
                "registration_endpoint",
                document.registration_endpoint.get(),
            )?,
            revocation_endpoint: endpoint(
                "revocation_endpoint",
                document.revocation_endpoint.get(),
            )?,
            requires_par: document.require_pushed_authorization_requests.0,
            advertises_iss: document.authorization_response_iss_parameter_supported.0,
            supports_cimd: document.client_id_metadata_document_supported.0,
            response_types: document.response_types_supported,
            grant_types: document.grant_types_supported,
            scopes: document.scopes_supported,
            challenge_methods: document.code_challenge_methods_supported,
            auth_methods: document.token_endpoint_auth_methods_supported,
            revocation_auth_methods: document.revocation_endpoint_auth_methods_supported,
        })))
    }

    /// The default endpoints of revision 2025-03-26, at the MCP server's origin (LEG-06).
    pub(crate) fn legacy_defaults(base: &IssuerId, policy: &UrlPolicy) -> Result<Self, UrlFlaw> {
        let endpoint = |path: &str| policy.check(&[base.as_str(), path].concat());
        Ok(Self(Arc::new(Facts {
            issuer: base.clone(),
            source: ServerSource::LegacyDefaults,
            authorization_endpoint: Some(endpoint("/authorize")?),
            token_endpoint: endpoint("/token")?,
            registration_endpoint: Some(endpoint("/register")?),
            revocation_endpoint: None,
            requires_par: false,
            advertises_iss: false,
            supports_cimd: false,
            response_types: Words::ABSENT,
            grant_types: Words::ABSENT,
            scopes: Words::ABSENT,
            challenge_methods: Words::ABSENT,
            auth_methods: Words::ABSENT,
            revocation_auth_methods: Words::ABSENT,
        })))
    }

    /// From a record whose checksum held. The record was written from an accepted server.
    pub(crate) fn restore(facts: Facts, _checked: &Opened<'_>) -> Self {
        Self(Arc::new(facts))
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.0
    }

    /// The issuer of the validated document, verbatim.
    pub fn issuer(&self) -> &IssuerId {
        &self.0.issuer
    }

    /// One arrives holding nothing.
    pub(crate) fn enter(self) -> AtIssuer<()> {
        AtIssuer {
            server: self,
            held: (),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("issuer", &self.0.issuer)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

/// Something held at one authorization server. There is no way to take it out, and none to set the
/// server: what is held can only become something else at the same server.
#[derive(Clone)]
pub(crate) struct AtIssuer<T> {
    server: Server,
    held: T,
}

impl<T> AtIssuer<T> {
    /// The server.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// The issuer.
    pub(crate) fn issuer(&self) -> &IssuerId {
        self.server.issuer()
    }

    pub(crate) fn held(&self) -> &T {
        &self.held
    }

    /// Changes what is held and keeps the server.
    pub(crate) fn then<U>(self, change: impl FnOnce(T) -> U) -> AtIssuer<U> {
        AtIssuer {
            held: change(self.held),
            server: self.server,
        }
    }

    pub(crate) fn try_then<U, E>(
        self,
        change: impl FnOnce(T, &Server) -> Result<U, E>,
    ) -> Result<AtIssuer<U>, E> {
        Ok(AtIssuer {
            held: change(self.held, &self.server)?,
            server: self.server,
        })
    }

    /// From a record written from such a value.
    pub(crate) fn restore(server: Server, held: T, _checked: &Opened<'_>) -> Self {
        Self { server, held }
    }
}

impl<T> fmt::Debug for AtIssuer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtIssuer")
            .field("issuer", self.issuer())
            .finish_non_exhaustive()
    }
}

/// What is bound to an issuer that was not met yet: a client that the host configured (REG-03), or one
/// that was registered earlier.
#[derive(Clone, Debug)]
pub(crate) struct IssuerBound<T> {
    issuer: IssuerId,
    value: T,
}

impl<T: Clone> IssuerBound<T> {
    pub(crate) fn new(issuer: IssuerId, value: T) -> Self {
        Self { issuer, value }
    }

    pub(crate) fn issuer(&self) -> &IssuerId {
        &self.issuer
    }

    /// The one door: opens at a validated server of that issuer and nowhere else.
    pub(crate) fn open(&self, at: &AtIssuer<()>, slash: SlashRule) -> Option<AtIssuer<T>> {
        let found = at.issuer();
        let same = found == &self.issuer
            || slash == SlashRule::TolerateOne && self.issuer.same_but_slash(found.as_str());
        same.then(|| AtIssuer {
            server: at.server.clone(),
            held: self.value.clone(),
        })
    }
}

const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

impl<G: TokenGrant> AtIssuer<G> {
    /// Whether an answer came from the token endpoint itself (H07).
    pub(crate) fn is_token_endpoint(&self, url: &str) -> bool {
        self.server.0.token_endpoint.as_str() == url
    }

    /// The only token request there is: to this server's own token endpoint (TOK-01).
    pub(crate) fn token_request(&self, settings: &IssuerSettings) -> Request<Bytes> {
        let mut form = Form::with_capacity(512);
        self.held.encode(&mut form);
        for (name, value) in settings.token_parameters() {
            form.push(name, value);
        }
        let authorization = self.held.client().authenticate(&mut form);
        post(
            &self.server.0.token_endpoint,
            FORM,
            form.into_string(),
            authorization,
        )
    }
}

impl AtIssuer<()> {
    /// A registration request to this server, with the host's initial access token for it (REG-17, REG-29).
    pub(crate) fn registration_request(
        &self,
        body: String,
        settings: &IssuerSettings,
    ) -> Option<Request<Bytes>> {
        let endpoint = self.server.0.registration_endpoint.as_ref()?;
        let authorization = settings.initial_access_token().map(bearer);
        Some(post(endpoint, JSON, body, authorization))
    }

    /// Whether an answer came from the registration endpoint itself (H07).
    pub(crate) fn is_registration_endpoint(&self, url: &str) -> bool {
        let endpoint = self.server.0.registration_endpoint.as_ref();
        endpoint.is_some_and(|endpoint| endpoint.as_str() == url)
    }

    /// Takes up a client that this server has just registered.
    pub(crate) fn registered(self, client: Client) -> AtIssuer<Client> {
        self.then(|()| client)
    }
}

impl AtIssuer<Redirected> {
    /// The URL to open: this server's own authorization endpoint (AUTHZ-01, AUTHZ-02).
    pub(crate) fn redirect_url(
        &self,
        settings: &IssuerSettings,
    ) -> Result<Box<str>, ReservedParameter> {
        let Some(endpoint) = &self.server.0.authorization_endpoint else {
            return Err(ReservedParameter);
        };
        self.held.redirect_url(endpoint, settings)
    }
}

/// The authorization endpoint's own query holds a parameter that the client sets (AUTHZ-02, RES-08).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReservedParameter;

fn post(
    endpoint: &WebUrl,
    content_type: HeaderValue,
    body: String,
    authorization: Option<HeaderValue>,
) -> Request<Bytes> {
    let mut headers = HeaderMap::with_capacity(3);
    headers.insert(ACCEPT, JSON);
    headers.insert(CONTENT_TYPE, content_type);
    if let Some(mut authorization) = authorization {
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
    }
    request(Method::POST, endpoint.as_str(), headers, Bytes::from(body))
}

/// A discovery request: no credentials, no cookies, nothing of the user (DISC-07, META-06, SEC-12).
pub(crate) fn discovery_request(
    url: &WebUrl,
    protocol_version: Option<&HeaderValue>,
) -> Request<Bytes> {
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(ACCEPT, JSON);
    if let Some(version) = protocol_version {
        headers.insert("mcp-protocol-version", version.clone());
    }
    request(Method::GET, url.as_str(), headers, Bytes::new())
}

fn request(method: Method, url: &str, headers: HeaderMap, body: Bytes) -> Request<Bytes> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    // Whatever passed the URL policy is a URI; a driver refuses the empty one.
    *request.uri_mut() = Uri::try_from(url).unwrap_or_default();
    *request.headers_mut() = headers;
    request
}

/// `Bearer` and a token, marked sensitive.
pub(crate) fn bearer(token: &Secret) -> HeaderValue {
    let token = token.expose();
    let mut text = Vec::with_capacity(token.len().saturating_add(7));
    text.extend_from_slice(b"Bearer ");
    text.extend_from_slice(token.as_bytes());
    // Tokens are visible ASCII by TOK-15.
    let mut value = HeaderValue::from_maybe_shared(Bytes::from(text))
        .unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}
