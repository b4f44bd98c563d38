//! An MCP server as a protected resource: its metadata and the scopes it needs (RS-01, RS-05 to RS-07,
//! RS-11).

use serde_json::{Map, Value, json};
use url::Url;

use super::dpop::DpopAlgorithms;
use super::issuer::{IssuerError, check};
use super::rejection::Rejection;
use super::scopes::{RequiredScopes, ScopeError};
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_machine::wire::url::{has_user_information, is_loopback};

/// Why a resource cannot be described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ResourceError {
    /// The identifier is neither an `https` URL nor `http` on a loopback host, has a fragment or user
    /// information, or is not in canonical spelling.
    #[error("the resource identifier must be a canonical https URL without fragment")]
    Identifier,
    /// An authorization server's issuer.
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
    /// Clients may present tokens that are bound to a key.
    Supported,
    /// Only such tokens are taken.
    Required,
}

#[derive(Clone, Debug)]
struct Dpop {
    algorithms: DpopAlgorithms,
    required: DpopUse,
}

impl ProtectedResource {
    /// The URL of the MCP server as clients use it, and the issuer of its authorization server.
    ///
    /// # Errors
    /// [`ResourceError`].
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

    /// A further authorization server.
    ///
    /// # Errors
    /// [`ResourceError::Issuer`].
    pub fn authorization_server(mut self, issuer: &str) -> Result<Self, ResourceError> {
        check(issuer).map_err(ResourceError::Issuer)?;
        self.servers.push(issuer.into());
        Ok(self)
    }

    /// The scopes that a first sign-in needs, separated by single spaces (RS-03).
    ///
    /// # Errors
    /// [`ScopeError`] for a text that names none, or one that is none; `offline_access` is not a scope of a
    /// resource (RS-07).
    pub fn scopes(mut self, scopes: &str) -> Result<Self, ScopeError> {
        self.scopes = RequiredScopes::parse(scopes)?.preferred().clone();
        Ok(self)
    }

    /// Proofs of possession are checked with these algorithms (RS-09). Without this, tokens that come
    /// with the scheme `DPoP` are refused.
    #[must_use]
    pub fn dpop(mut self, algorithms: DpopAlgorithms, required: DpopUse) -> Self {
        self.dpop = Some(Dpop {
            algorithms,
            required,
        });
        self
    }

    /// A name for people.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The resource identifier, byte for byte: the only audience to accept (RS-08).
    pub fn identifier(&self) -> &str {
        &self.identifier
    }

    /// Where the metadata is to be served, from the root of the origin.
    pub fn metadata_path(&self) -> &str {
        &self.metadata_path
    }

    /// The URL of the metadata, as challenges name it.
    pub fn metadata_url(&self) -> &str {
        &self.metadata_url
    }

    /// The issuers of its authorization servers.
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        self.servers.iter().map(|server| &**server)
    }

    /// The algorithms of proofs that are checked; `None` when tokens are not bound to keys here.
    pub fn dpop_algorithms(&self) -> Option<&DpopAlgorithms> {
        self.dpop.as_ref().map(|dpop| &dpop.algorithms)
    }

    /// Whether only tokens that are bound to a key are taken.
    pub fn requires_dpop(&self) -> bool {
        self.dpop
            .as_ref()
            .is_some_and(|dpop| dpop.required == DpopUse::Required)
    }

    pub(super) fn first_scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// The metadata (RFC 9728).
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

    /// Whether the scopes of a token do for an operation. `implies(held, needed)` says whether one
    /// scope includes another (RS-06); equal ones always do.
    ///
    /// # Errors
    /// [`Rejection::InsufficientScope`] with everything that the operation needs at once (RS-05).
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
