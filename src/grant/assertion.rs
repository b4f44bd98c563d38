//! Grants without a user: client credentials, JWT bearer, token exchange (M2M, WIF, EMA).

use super::{Client, Resource, TokenGrant};
use crate::issuer::IssuerId;
use crate::key::KeyBinding;
use crate::secret::Secret;
use crate::wire::form::{Form, FormText};
use crate::wire::scopes::Scopes;
use crate::wire::words::GrantType;

/// The type of a subject token (RFC 8693 section 3, EMA-06).
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
    /// Returns the token type identifier (RFC 8693 section 3).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IdToken => "urn:ietf:params:oauth:token-type:id_token",
            Self::Saml2 => "urn:ietf:params:oauth:token-type:saml2",
            Self::RefreshToken => "urn:ietf:params:oauth:token-type:refresh_token",
        }
    }
}

/// The parameters of a grant without a user, and its client.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) client: Client,
    pub(crate) resource: Resource,
    pub(crate) scopes: Scopes,
    pub(crate) binding: Option<KeyBinding>,
}

impl Asked {
    fn push(&self, form: &mut Form) {
        self.resource.push(form);
        if !self.scopes.is_empty() {
            form.parameter("scope", self.scopes.as_str());
        }
    }
}

/// The client credentials grant (RFC 6749 section 4.4, M2M-04).
pub(crate) struct ClientCredentials(pub(crate) Asked);

impl TokenGrant for ClientCredentials {
    fn encode(&self, form: &mut Form) {
        form.parameter("grant_type", GrantType::ClientCredentials.as_str());
        self.0.push(form);
    }

    fn client(&self) -> &Client {
        &self.0.client
    }

    fn binding(&self) -> Option<&KeyBinding> {
        self.0.binding.as_ref()
    }
}

/// The JWT bearer grant (RFC 7523 section 2.1), which consumes its assertion (WIF-02, EMA-13).
pub(crate) struct JwtBearer {
    pub(crate) asked: Asked,
    pub(crate) assertion: Secret,
}

impl TokenGrant for JwtBearer {
    fn encode(&self, form: &mut Form) {
        form.parameter("grant_type", GrantType::JwtBearer.as_str());
        form.parameter("assertion", self.assertion.expose());
        self.asked.push(form);
    }

    fn client(&self) -> &Client {
        &self.asked.client
    }

    fn binding(&self) -> Option<&KeyBinding> {
        self.asked.binding.as_ref()
    }
}

/// Token exchange at the identity provider (RFC 8693): a subject token for an identity assertion grant to
/// one other server (EMA-06).
pub(crate) struct TokenExchange {
    pub(crate) client: Client,
    pub(crate) subject: Secret,
    pub(crate) kind: SubjectTokenKind,
    pub(crate) audience: IssuerId,
    pub(crate) resource: FormText,
    pub(crate) scopes: Scopes,
}

/// The requested token type (EMA-10).
pub(crate) const ID_JAG: &str = "urn:ietf:params:oauth:token-type:id-jag";

impl TokenGrant for TokenExchange {
    fn encode(&self, form: &mut Form) {
        form.parameter("grant_type", GrantType::TokenExchange.as_str());
        form.parameter("requested_token_type", ID_JAG);
        form.parameter("audience", self.audience.as_str());
        form.escaped("resource", &self.resource);
        if !self.scopes.is_empty() {
            form.parameter("scope", self.scopes.as_str());
        }
        form.parameter("subject_token", self.subject.expose());
        form.parameter("subject_token_type", self.kind.as_str());
    }

    fn client(&self) -> &Client {
        &self.client
    }
}
