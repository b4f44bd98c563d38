//! An MCP server as a protected resource: its metadata and its refusals (RS-01 to RS-07, RS-11).

use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};
use url::Url;

use super::issuer::{ServerIssuerFlaw, check};
use super::presented::PresentedFlaw;
use crate::wire::scopes::Scopes;
use crate::wire::url::{has_user_information, is_loopback};

/// Why a resource cannot be described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ResourceFlaw {
    /// The identifier is neither an `https` URL nor `http` on a loopback host, has a fragment or user
    /// information, or is not in canonical spelling.
    #[error("the resource identifier must be a canonical https URL without fragment")]
    Identifier,
    /// An authorization server's issuer.
    #[error("{0}")]
    Issuer(ServerIssuerFlaw),
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
}

impl ProtectedResource {
    /// The URL of the MCP server as clients use it, and the issuer of its authorization server.
    ///
    /// # Errors
    /// [`ResourceFlaw`].
    pub fn new(identifier: &str, issuer: &str) -> Result<Self, ResourceFlaw> {
        let url = Url::parse(identifier).map_err(|_| ResourceFlaw::Identifier)?;
        let scheme = url.scheme() == "https" || url.scheme() == "http" && is_loopback(&url);
        let bare = url.fragment().is_none() && !has_user_information(&url);
        let spelled =
            url.as_str() == identifier || url.as_str().strip_suffix('/') == Some(identifier);
        if !(scheme && bare && spelled) {
            return Err(ResourceFlaw::Identifier);
        }
        check(issuer).map_err(ResourceFlaw::Issuer)?;
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
        })
    }

    /// A further authorization server.
    ///
    /// # Errors
    /// [`ResourceFlaw::Issuer`].
    pub fn authorization_server(mut self, issuer: &str) -> Result<Self, ResourceFlaw> {
        check(issuer).map_err(ResourceFlaw::Issuer)?;
        self.servers.push(issuer.into());
        Ok(self)
    }

    /// The scopes that a first sign-in needs, separated by spaces. `offline_access` is no scope of a
    /// resource and is left out (RS-07).
    #[must_use]
    pub fn scopes(mut self, scopes: &str) -> Self {
        self.scopes = without_offline_access(&Scopes::parse(scopes));
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
        Value::Object(members).to_string()
    }

    /// Whether the scopes of a token do for an operation. `implies(held, needed)` says whether one
    /// scope includes another (RS-06); equal ones always do.
    ///
    /// # Errors
    /// [`Refused::InsufficientScope`] with everything that the operation needs at once (RS-05).
    pub fn allows(
        &self,
        held: &Scopes,
        needed: &Scopes,
        implies: impl Fn(&str, &str) -> bool,
    ) -> Result<(), Refused> {
        let has = |scope: &str| {
            held.iter()
                .any(|held| held == scope || implies(held, scope))
        };
        if needed.iter().all(has) {
            Ok(())
        } else {
            Err(Refused::InsufficientScope(needed.clone()))
        }
    }

    /// What to answer.
    pub fn answer(&self, refused: &Refused) -> Answer {
        let (status, error, scope) = match refused {
            Refused::Missing => (StatusCode::UNAUTHORIZED, None, &self.scopes),
            Refused::Invalid | Refused::Expired => (
                StatusCode::UNAUTHORIZED,
                Some("invalid_token"),
                &self.scopes,
            ),
            Refused::InsufficientScope(scopes) => {
                (StatusCode::FORBIDDEN, Some("insufficient_scope"), scopes)
            }
            Refused::Malformed => (
                StatusCode::BAD_REQUEST,
                Some("invalid_request"),
                &self.scopes,
            ),
        };
        let description = match refused {
            Refused::Missing => None,
            Refused::Invalid => Some("the token is not valid here"),
            Refused::Expired => Some("the token has expired"),
            Refused::InsufficientScope(_) => Some("the operation needs more scopes"),
            Refused::Malformed => Some("the request is malformed"),
        };
        let scope = without_offline_access(scope);
        let scope = Some(scope.as_str()).filter(|scope| !scope.is_empty());
        let parameters = [
            ("error", error),
            ("error_description", description),
            ("scope", scope),
            ("resource_metadata", Some(&*self.metadata_url)),
        ];
        let mut challenge = String::from("Bearer ");
        let mut joint = "";
        for (name, value) in parameters {
            if let Some(value) = value {
                challenge.push_str(joint);
                challenge.push_str(name);
                challenge.push('=');
                challenge.push_str(&quoted(value));
                joint = ", ";
            }
        }
        Answer { status, challenge }
    }
}

/// Why a request is refused (RS-04).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It presents no token.
    Missing,
    /// The token is unknown, revoked, of another issuer, or for another audience.
    Invalid,
    /// The token is over.
    Expired,
    /// The token lacks scopes; these are all that the operation needs (RS-05).
    InsufficientScope(Scopes),
    /// The request itself is malformed.
    Malformed,
}

impl From<PresentedFlaw> for Refused {
    fn from(flaw: PresentedFlaw) -> Self {
        match flaw {
            PresentedFlaw::Malformed => Self::Malformed,
            PresentedFlaw::Proof => Self::Invalid,
        }
    }
}

/// Status and challenge of a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    status: StatusCode,
    challenge: String,
}

impl Answer {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The value of `WWW-Authenticate`: one challenge, each parameter once, quoted and escaped (RS-02).
    pub fn www_authenticate(&self) -> HeaderValue {
        // Scopes, URLs and our own words are visible ASCII.
        HeaderValue::try_from(&self.challenge)
            .unwrap_or_else(|_| HeaderValue::from_static("Bearer"))
    }
}

fn without_offline_access(scopes: &Scopes) -> Scopes {
    Scopes::from_items(scopes.iter().filter(|scope| *scope != "offline_access"))
}

/// A quoted-string of RFC 9110 section 5.6.4.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
