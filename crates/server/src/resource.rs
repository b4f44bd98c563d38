//! An MCP server as a protected resource: its metadata and its scopes (RFC 9728, RS-01, RS-05 to RS-07,
//! RS-11).

use serde_json::{Map, Value, json};
use url::Url;

use super::dpop::DpopAlgorithms;
use super::issuer::{IssuerError, check};
use super::rejection::Rejection;
use super::scopes::{RequiredScopes, ScopeError};
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_machine::wire::url::{has_user_information, is_loopback};

/// The reason why a resource is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ResourceError {
    /// The identifier is not an `https` URL nor loopback `http`, has a fragment or user information, or is
    /// not in canonical form.
    #[error("the resource identifier must be a canonical https URL without fragment")]
    Identifier,
    /// The issuer of an authorization server is invalid.
    #[error("{0}")]
    Issuer(IssuerError),
}

/// A protected resource, from its configuration and never from request headers (RS-11).
#[derive(Clone, Debug)]
pub struct ProtectedResource {
    identifier: Box<str>,
    metadata_url: Box<str>,
    metadata_path: Box<str>,
    servers: Vec<Box<str>>,
    scopes: Scopes,
    name: Option<Box<str>>,
    dpop: Option<Dpop>,
}

/// Whether tokens must be bound to a key (RS-09).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DpopUse {
    /// Clients may use bound tokens.
    Supported,
    /// Only bound tokens are accepted.
    Required,
}

#[derive(Clone, Debug)]
struct Dpop {
    algorithms: DpopAlgorithms,
    required: DpopUse,
}

impl ProtectedResource {
    /// Creates a resource from the URL of the MCP server, as clients use it, and the issuer of its
    /// authorization server.
    ///
    /// # Errors
    /// [`ResourceError`] with the flaw.
    pub fn new(identifier: &str, issuer: &str) -> Result<Self, ResourceError> {
        let url = Url::parse(identifier).map_err(|_| ResourceError::Identifier)?;
        let scheme = url.scheme() == "https" || url.scheme() == "http" && is_loopback(&url);
        let bare = url.fragment().is_none() && !has_user_information(&url);
        let spelled =
            url.as_str() == identifier || url.as_str().strip_suffix('/') == Some(identifier);
        if !(scheme && bare && spelled) {
            return Err(ResourceError::Identifier);
        }
        check(issuer).map_err(ResourceError::Issuer)?;
        let path = match (url.path(), url.query()) {
            ("/", None) => String::new(),
            ("/", Some(query)) => format!("?{query}"),
            (path, None) => path.to_owned(),
            (path, Some(query)) => format!("{path}?{query}"),
        };
        let metadata_path = format!("/.well-known/oauth-protected-resource{path}");
        let origin = url.origin().ascii_serialization();
        Ok(Self {
            identifier: identifier.into(),
            metadata_url: [&origin, metadata_path.as_str()].concat().into(),
            metadata_path: metadata_path.into(),
            servers: vec![issuer.into()],
            scopes: Scopes::default(),
            name: None,
            dpop: None,
        })
    }

    /// Adds an authorization server.
    ///
    /// # Errors
    /// [`ResourceError::Issuer`] when the issuer is invalid.
    pub fn authorization_server(mut self, issuer: &str) -> Result<Self, ResourceError> {
        check(issuer).map_err(ResourceError::Issuer)?;
        self.servers.push(issuer.into());
        Ok(self)
    }

    /// Sets the scopes of a first sign-in, separated by single spaces (RS-03).
    ///
    /// # Errors
    /// [`ScopeError`] for an empty or invalid list; `offline_access` is not a scope of a resource (RS-07).
    pub fn scopes(mut self, scopes: &str) -> Result<Self, ScopeError> {
        self.scopes = RequiredScopes::parse(scopes)?.preferred().clone();
        Ok(self)
    }

    /// Sets the algorithms of DPoP proofs, which the server must verify. Without this, tokens with the
    /// scheme `DPoP` are rejected (RS-09).
    #[must_use]
    pub fn dpop(mut self, algorithms: DpopAlgorithms, required: DpopUse) -> Self {
        self.dpop = Some(Dpop {
            algorithms,
            required,
        });
        self
    }

    /// Sets a name for users.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Returns the resource identifier, byte for byte: the only audience to accept (RS-08).
    pub fn identifier(&self) -> &str {
        &self.identifier
    }

    /// Returns the path of the metadata, from the root of the origin.
    pub fn metadata_path(&self) -> &str {
        &self.metadata_path
    }

    /// Returns the URL of the metadata, as in challenges.
    pub fn metadata_url(&self) -> &str {
        &self.metadata_url
    }

    /// Returns the issuers of the authorization servers.
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        self.servers.iter().map(|server| &**server)
    }

    /// Returns the algorithms of DPoP proofs; `None` when bound tokens are not supported.
    pub fn dpop_algorithms(&self) -> Option<&DpopAlgorithms> {
        self.dpop.as_ref().map(|dpop| &dpop.algorithms)
    }

    /// Returns true if only bound tokens are accepted.
    pub fn requires_dpop(&self) -> bool {
        self.dpop
            .as_ref()
            .is_some_and(|dpop| dpop.required == DpopUse::Required)
    }

    pub(super) fn first_scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// Returns the metadata document (RFC 9728).
    pub fn metadata(&self) -> String {
        let mut members = Map::new();
        let mut set = |name: &str, value: Value| members.insert(name.to_owned(), value);
        set("resource", json!(self.identifier));
        set("authorization_servers", json!(self.servers));
        set("bearer_methods_supported", json!(["header"]));
        if !self.scopes.is_empty() {
            let scopes: Vec<&str> = self.scopes.iter().collect();
            set("scopes_supported", json!(scopes));
        }
        if let Some(name) = &self.name {
            set("resource_name", json!(name));
        }
        if let Some(dpop) = &self.dpop {
            let algorithms: Vec<&str> = dpop.algorithms.iter().collect();
            set("dpop_signing_alg_values_supported", json!(algorithms));
            if self.requires_dpop() {
                set("dpop_bound_access_tokens_required", json!(true));
            }
        }
        Value::Object(members).to_string()
    }

    /// Checks that the scopes of a token suffice for an operation. `implies(held, needed)` returns true if
    /// one scope includes another; equal ones always do (RS-06).
    ///
    /// # Errors
    /// [`Rejection::InsufficientScope`] with all scopes that the operation requires (RS-05).
    pub fn allows(
        &self,
        held: &Scopes,
        needed: &RequiredScopes,
        implies: impl Fn(&str, &str) -> bool,
    ) -> Result<(), Rejection> {
        if needed.is_met_by(held, implies) {
            Ok(())
        } else {
            Err(Rejection::InsufficientScope(needed.clone()))
        }
    }
}
