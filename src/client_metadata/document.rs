//! The document, and its builder.

use serde::Serialize;
use serde_json::Value;
use url::{Host, Url};

use super::{ClientMetadataUrl, ClientMetadataUrlFlaw, check_link};
use crate::key::has_private_members;
use crate::redirect_uri::{ApplicationType, RedirectUri, RedirectUriFlaw};
use crate::wire::scopes::is_scope_byte;

/// Largest document, in bytes, that every server is expected to read (REG-12).
pub const MAX_DOCUMENT_BYTES: usize = 5_000;

/// The client's authentication at the token endpoint. Shared secrets are not supported, because the
/// document is public (REG-09).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// A public client.
    #[default]
    None,
    /// A confidential client that signs an assertion for every token request (REG-11).
    PrivateKeyJwt(PublicKeys),
}

impl ClientAuthentication {
    fn method(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::PrivateKeyJwt(_) => "private_key_jwt",
        }
    }
}

/// The public keys of a `private_key_jwt` client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKeys {
    /// The `https` URL of a JWK set.
    JwksUri(String),
    /// A JWK set as JSON text, with public keys only.
    Jwks(String),
}

/// A grant type of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub enum GrantType {
    /// `authorization_code`
    #[serde(rename = "authorization_code")]
    AuthorizationCode,
    /// `refresh_token`; omitted by hosts that cannot store one (REG-19).
    #[serde(rename = "refresh_token")]
    RefreshToken,
    /// `client_credentials`
    #[serde(rename = "client_credentials")]
    ClientCredentials,
    /// `urn:ietf:params:oauth:grant-type:jwt-bearer`
    #[serde(rename = "urn:ietf:params:oauth:grant-type:jwt-bearer")]
    JwtBearer,
}

/// A loopback host in a redirect URI (AUTHZ-08).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoopbackHost {
    /// `127.0.0.1`
    Ipv4,
    /// `[::1]`
    Ipv6,
    /// `localhost`. A server need not ignore its port, so no URI without a port is listed.
    Localhost,
}

impl LoopbackHost {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4 => "127.0.0.1",
            Self::Ipv6 => "[::1]",
            Self::Localhost => "localhost",
        }
    }
}

/// An invalid member of a client metadata document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientMetadataFlaw {
    /// The client name is empty or contains control characters.
    #[error("the client name is empty or holds control characters")]
    ClientName,
    /// No redirect URI was given (REG-07).
    #[error("at least one redirect URI is needed")]
    NoRedirectUri,
    /// A redirect URI is invalid.
    #[error("the redirect URI `{uri}` {flaw}")]
    RedirectUri {
        /// The redirect URI as given.
        uri: String,
        /// The flaw in it.
        flaw: RedirectUriFlaw,
    },
    /// A redirect URI has port 0.
    #[error("the redirect URI `{uri}` names port 0")]
    RedirectPort {
        /// The redirect URI as given.
        uri: String,
    },
    /// Native and web redirect URIs are mixed, without an application type (REG-20).
    #[error("native and web redirect URIs are mixed: set the application type")]
    MixedApplicationTypes,
    /// No grant type was given.
    #[error("at least one grant type is needed")]
    NoGrantType,
    /// A member that must be an `https` URL is invalid (SEC-24).
    #[error("`{member}`: {flaw}")]
    Link {
        /// The name of the member.
        member: &'static str,
        /// The flaw in the URL.
        flaw: ClientMetadataUrlFlaw,
    },
    /// A scope is invalid (RFC 6749 section 3.3).
    #[error("`scope` holds a character that no scope may hold")]
    Scope,
    /// A contact is empty or contains control characters.
    #[error("a contact is empty or holds control characters")]
    Contact,
    /// The key set is not a JSON object with at least one asymmetric key under `keys`.
    #[error("`jwks` must be a JWK set of asymmetric keys")]
    KeySet,
    /// The key set contains private or symmetric key material, which must never be published.
    #[error("`jwks` holds private or symmetric key material")]
    SecretKey,
    /// The document is larger than [`MAX_DOCUMENT_BYTES`] (REG-12).
    #[error("the document has {bytes} bytes; servers read at most {MAX_DOCUMENT_BYTES}")]
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
    },
}

/// A client ID metadata document, to be served at its URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientMetadataDocument {
    url: ClientMetadataUrl,
    redirect_uris: Vec<RedirectUri>,
    json: String,
}

impl ClientMetadataDocument {
    /// Returns a builder for the document of the client that `url` identifies (REG-08).
    pub fn builder(
        url: ClientMetadataUrl,
        client_name: impl Into<String>,
    ) -> ClientMetadataDocumentBuilder {
        ClientMetadataDocumentBuilder {
            url,
            client_name: client_name.into(),
            redirect_uris: Vec::new(),
            grant_types: vec![GrantType::AuthorizationCode, GrantType::RefreshToken],
            authentication: ClientAuthentication::default(),
            application_type: None,
            client_uri: None,
            logo_uri: None,
            policy_uri: None,
            tos_uri: None,
            scope: None,
            contacts: Vec::new(),
        }
    }

    /// Returns the URL of the document, which is the `client_id`.
    pub fn url(&self) -> &ClientMetadataUrl {
        &self.url
    }

    /// Returns true if a server with this document accepts the redirect URI: it is listed, or listed as a
    /// loopback IP literal that differs only in its port (REG-13, AUTHZ-09).
    pub fn lists(&self, redirect_uri: &RedirectUri) -> bool {
        let portless = without_loopback_port(redirect_uri.as_str());
        self.redirect_uris.iter().any(|listed| {
            listed == redirect_uri
                || (portless.is_some() && without_loopback_port(listed.as_str()) == portless)
        })
    }

    /// Returns the document as JSON.
    pub fn to_json(&self) -> String {
        self.json.clone()
    }
}

/// A builder for [`ClientMetadataDocument`].
#[derive(Clone, Debug)]
pub struct ClientMetadataDocumentBuilder {
    url: ClientMetadataUrl,
    client_name: String,
    redirect_uris: Vec<(String, Result<RedirectUri, RedirectUriFlaw>)>,
    grant_types: Vec<GrantType>,
    authentication: ClientAuthentication,
    application_type: Option<ApplicationType>,
    client_uri: Option<String>,
    logo_uri: Option<String>,
    policy_uri: Option<String>,
    tos_uri: Option<String>,
    scope: Option<String>,
    contacts: Vec<String>,
}

impl ClientMetadataDocumentBuilder {
    /// Adds redirect URIs. Every one that the client may send must be listed (REG-13).
    #[must_use]
    pub fn redirect_uris<T: Into<String>>(mut self, uris: impl IntoIterator<Item = T>) -> Self {
        for uri in uris {
            let uri = uri.into();
            let checked = RedirectUri::new(uri.clone());
            self.redirect_uris.push((uri, checked));
        }
        self
    }

    /// Adds a redirect URI with a private-use scheme (AUTHZ-07).
    #[must_use]
    pub fn private_use_redirect_uri(mut self, uri: impl Into<String>) -> Self {
        let uri = uri.into();
        let checked = RedirectUri::private_use(uri.clone());
        self.redirect_uris.push((uri, checked));
        self
    }

    /// Adds the forms of a loopback redirect URI: one with the preferred port, for servers that compare
    /// exactly, and for an IP literal one without a port, for servers that ignore the port (AUTHZ-09).
    #[must_use]
    pub fn loopback_redirect_uris(self, host: LoopbackHost, port: u16, path: &str) -> Self {
        let host_text = host.as_str();
        let slash = if path.starts_with('/') { "" } else { "/" };
        let listed = self.redirect_uris([format!("http://{host_text}:{port}{slash}{path}")]);
        match host {
            LoopbackHost::Ipv4 | LoopbackHost::Ipv6 => {
                listed.redirect_uris([format!("http://{host_text}{slash}{path}")])
            }
            LoopbackHost::Localhost => listed,
        }
    }

    /// Replaces the grant types. Default: `authorization_code` and `refresh_token`.
    #[must_use]
    pub fn grant_types(mut self, grants: impl IntoIterator<Item = GrantType>) -> Self {
        self.grant_types.clear();
        for grant in grants {
            if !self.grant_types.contains(&grant) {
                self.grant_types.push(grant);
            }
        }
        self
    }

    /// Sets the client authentication. Default: [`ClientAuthentication::None`].
    #[must_use]
    pub fn authentication(mut self, authentication: ClientAuthentication) -> Self {
        self.authentication = authentication;
        self
    }

    /// Sets the application type. Default: derived from the redirect URIs (REG-20).
    #[must_use]
    pub fn application_type(mut self, kind: ApplicationType) -> Self {
        self.application_type = Some(kind);
        self
    }

    /// Sets the URL of the client's home page.
    #[must_use]
    pub fn client_uri(mut self, uri: impl Into<String>) -> Self {
        self.client_uri = Some(uri.into());
        self
    }

    /// Sets the URL of the client's logo.
    #[must_use]
    pub fn logo_uri(mut self, uri: impl Into<String>) -> Self {
        self.logo_uri = Some(uri.into());
        self
    }

    /// Sets the URL of the privacy policy.
    #[must_use]
    pub fn policy_uri(mut self, uri: impl Into<String>) -> Self {
        self.policy_uri = Some(uri.into());
        self
    }

    /// Sets the URL of the terms of service.
    #[must_use]
    pub fn tos_uri(mut self, uri: impl Into<String>) -> Self {
        self.tos_uri = Some(uri.into());
        self
    }

    /// Sets the scopes that the client may request, separated by spaces.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// Adds contacts for the client, such as e-mail addresses.
    #[must_use]
    pub fn contacts<T: Into<String>>(mut self, contacts: impl IntoIterator<Item = T>) -> Self {
        self.contacts.extend(contacts.into_iter().map(Into::into));
        self
    }

    /// Validates the members and returns the document.
    ///
    /// # Errors
    /// The first [`ClientMetadataFlaw`] found.
    pub fn build(self) -> Result<ClientMetadataDocument, ClientMetadataFlaw> {
        if !is_text(&self.client_name) {
            return Err(ClientMetadataFlaw::ClientName);
        }
        let redirect_uris = checked(self.redirect_uris)?;
        let application_type = match self.application_type {
            Some(kind) => kind,
            None => derive_application_type(&redirect_uris)?,
        };
        if self.grant_types.is_empty() {
            return Err(ClientMetadataFlaw::NoGrantType);
        }
        if !self.contacts.iter().all(|contact| is_text(contact)) {
            return Err(ClientMetadataFlaw::Contact);
        }
        let (jwks_uri, jwks) = match &self.authentication {
            ClientAuthentication::None => (None, None),
            ClientAuthentication::PrivateKeyJwt(PublicKeys::JwksUri(uri)) => {
                (link("jwks_uri", Some(uri))?, None)
            }
            ClientAuthentication::PrivateKeyJwt(PublicKeys::Jwks(json)) => {
                (None, Some(public_keys(json)?))
            }
        };
        let method = self.authentication.method();
        let json = Members {
            client_id: self.url.as_str(),
            client_name: &self.client_name,
            client_uri: link("client_uri", self.client_uri.as_deref())?,
            logo_uri: link("logo_uri", self.logo_uri.as_deref())?,
            redirect_uris: redirect_uris.iter().map(RedirectUri::as_str).collect(),
            grant_types: &self.grant_types,
            response_types: ["code"],
            token_endpoint_auth_method: method,
            token_endpoint_auth_methods_supported: [method],
            jwks_uri,
            jwks,
            scope: self.scope.as_deref().map(scope).transpose()?,
            application_type: application_type.as_str(),
            contacts: &self.contacts,
            policy_uri: link("policy_uri", self.policy_uri.as_deref())?,
            tos_uri: link("tos_uri", self.tos_uri.as_deref())?,
        }
        .to_json();
        if json.len() > MAX_DOCUMENT_BYTES {
            return Err(ClientMetadataFlaw::TooLarge { bytes: json.len() });
        }
        Ok(ClientMetadataDocument {
            url: self.url,
            redirect_uris,
            json,
        })
    }
}

/// The members of the document, in the order of the JSON text (REG-07, REG-10).
#[derive(Serialize)]
struct Members<'a> {
    client_id: &'a str,
    client_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_uri: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logo_uri: Option<&'a str>,
    redirect_uris: Vec<&'a str>,
    grant_types: &'a [GrantType],
    response_types: [&'static str; 1],
    token_endpoint_auth_method: &'static str,
    token_endpoint_auth_methods_supported: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks_uri: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    application_type: &'static str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    contacts: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_uri: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tos_uri: Option<&'a str>,
}

impl Members<'_> {
    /// Serialising strings, lists of strings and JSON values cannot fail.
    fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn checked(
    given: Vec<(String, Result<RedirectUri, RedirectUriFlaw>)>,
) -> Result<Vec<RedirectUri>, ClientMetadataFlaw> {
    let mut redirect_uris = Vec::with_capacity(given.len());
    for (uri, checked) in given {
        if Url::parse(&uri).is_ok_and(|parsed| parsed.port() == Some(0)) {
            return Err(ClientMetadataFlaw::RedirectPort { uri });
        }
        let checked = checked.map_err(|flaw| ClientMetadataFlaw::RedirectUri { uri, flaw })?;
        if !redirect_uris.contains(&checked) {
            redirect_uris.push(checked);
        }
    }
    Ok(redirect_uris)
}

fn derive_application_type(uris: &[RedirectUri]) -> Result<ApplicationType, ClientMetadataFlaw> {
    let mut kinds = uris.iter().map(RedirectUri::application_type);
    let first = kinds.next().ok_or(ClientMetadataFlaw::NoRedirectUri)?;
    if kinds.all(|kind| kind == first) {
        Ok(first)
    } else {
        Err(ClientMetadataFlaw::MixedApplicationTypes)
    }
}

fn is_text(text: &str) -> bool {
    !text.trim().is_empty() && !text.chars().any(char::is_control)
}

fn link<'a>(
    member: &'static str,
    text: Option<&'a str>,
) -> Result<Option<&'a str>, ClientMetadataFlaw> {
    match text {
        None => Ok(None),
        Some(text) => match check_link(text) {
            Ok(()) => Ok(Some(text)),
            Err(flaw) => Err(ClientMetadataFlaw::Link { member, flaw }),
        },
    }
}

fn scope(text: &str) -> Result<String, ClientMetadataFlaw> {
    let allowed = |byte| byte == b' ' || is_scope_byte(byte);
    if text.bytes().all(allowed) && !text.trim().is_empty() {
        Ok(text.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
    } else {
        Err(ClientMetadataFlaw::Scope)
    }
}

fn public_keys(json: &str) -> Result<Value, ClientMetadataFlaw> {
    let set: Value = serde_json::from_str(json).map_err(|_| ClientMetadataFlaw::KeySet)?;
    let keys = set
        .get("keys")
        .and_then(Value::as_array)
        .filter(|keys| !keys.is_empty())
        .ok_or(ClientMetadataFlaw::KeySet)?;
    for key in keys {
        let key = key.as_object().ok_or(ClientMetadataFlaw::KeySet)?;
        let kind = key.get("kty").and_then(Value::as_str);
        if kind == Some("oct") || has_private_members(key) {
            return Err(ClientMetadataFlaw::SecretKey);
        }
        if kind.is_none() {
            return Err(ClientMetadataFlaw::KeySet);
        }
    }
    Ok(set)
}

/// Returns the text without its port if it is an `http` URI on a loopback IP literal, the only kind whose
/// port a server ignores (AUTHZ-09).
fn without_loopback_port(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let loopback = match url.host()? {
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
        Host::Domain(_) => false,
    };
    let rest = text.strip_prefix("http://").filter(|_| loopback)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at_checked(end)?;
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        Some(_) | None => authority,
    };
    Some(format!("{host}{tail}"))
}
