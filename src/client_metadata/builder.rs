//! The builder of the document, and its checks.

use serde::Serialize;
use serde_json::Value;
use url::Url;

use super::document::{
    ClientAuthentication, ClientMetadataDocument, ClientMetadataFlaw, GrantType, LoopbackHost,
    MAX_DOCUMENT_BYTES, PublicKeys,
};
use super::{ClientMetadataUrl, check_link};
use crate::key::has_private_members;
use crate::redirect_uri::{ApplicationType, RedirectUri, RedirectUriFlaw};
use crate::wire::scopes::is_scope_byte;

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
    pub(super) fn new(url: ClientMetadataUrl, client_name: String) -> Self {
        Self {
            url,
            client_name,
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
