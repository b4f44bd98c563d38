//! Protected resource metadata (RFC 9728): the document, and the resources that cover an MCP URL.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;

use super::json::{Demand, JsonFlaw, Kind, Text, Texts, object};
use super::scopes::Scopes;
use super::url::{UrlFlaw, UrlPolicy, WebUrl, split};
use super::words::{BearerMethod, SigningAlgorithm, Words};

/// Largest number of authorization servers that are tried (DISC-16).
pub const MAX_SERVERS: usize = 8;

/// The members that the client reads.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ResourceDocument<'a> {
    #[serde(borrow)]
    resource: Text<'a>,
    #[serde(borrow)]
    authorization_servers: Texts<'a>,
    #[serde(borrow)]
    scopes_supported: Texts<'a>,
    bearer_methods_supported: Words<BearerMethod>,
    dpop_bound_access_tokens_required: Demand,
    dpop_signing_alg_values_supported: Words<SigningAlgorithm>,
    #[serde(borrow)]
    resource_name: Text<'a>,
}

impl<'a> ResourceDocument<'a> {
    /// Parses a document.
    ///
    /// # Errors
    /// [`JsonFlaw`] (SEC-14).
    pub fn parse(body: &'a [u8]) -> Result<Self, JsonFlaw> {
        object(body)
    }

    /// Returns the `resource` member as received (RES-03).
    pub fn resource(&self) -> Option<&str> {
        self.resource.get()
    }

    /// Returns the first authorization servers as received, without repetitions.
    pub fn authorization_servers(&self) -> impl Iterator<Item = &str> {
        let listed = self.authorization_servers.get().unwrap_or_default();
        listed
            .iter()
            .enumerate()
            .filter(|(at, entry)| !listed.iter().take(*at).any(|before| before == *entry))
            .map(|(_, entry)| entry.as_ref())
            .take(MAX_SERVERS)
    }

    /// Returns the algorithms for DPoP proofs that the resource accepts (DPOP-16).
    pub fn dpop_algorithms(&self) -> Words<SigningAlgorithm> {
        self.dpop_signing_alg_values_supported
    }

    /// Returns the listed scopes; `None` when the list is missing or empty (SCOPE-02).
    pub fn scopes_supported(&self) -> Option<Scopes> {
        self.scopes_like(None)
    }

    /// Same as [`scopes_supported`](Self::scopes_supported); the text is shared with known scopes if it is the same.
    pub(crate) fn scopes_like(&self, known: Option<&Scopes>) -> Option<Scopes> {
        let listed = self.scopes_supported.get()?;
        let scopes = Scopes::like(known, listed.iter().map(Cow::as_ref));
        (!scopes.is_empty()).then_some(scopes)
    }

    /// Returns true if the resource accepts tokens in the `Authorization` header, as MCP requires: false where
    /// it lists other methods only (DISC-24).
    pub fn accepts_header(&self) -> bool {
        let methods = self.bearer_methods_supported;
        // An empty list, or names that are not defined, say nothing about the header.
        methods.has(BearerMethod::Header)
            || !(methods.has(BearerMethod::Body) || methods.has(BearerMethod::Query))
    }

    /// Returns true if the resource accepts only tokens that are bound to a key.
    pub fn requires_dpop(&self) -> bool {
        self.dpop_bound_access_tokens_required.0
    }

    /// Returns the name of the resource, to be displayed as untrusted text (DISC-22).
    pub fn resource_name(&self) -> Option<&str> {
        self.resource_name.non_empty()
    }
}

/// The optional members, which count as absent with a wrong type.
pub(crate) const OPTIONAL: &[(&str, Kind)] = &[
    ("authorization_servers", Kind::List),
    ("scopes_supported", Kind::List),
    ("bearer_methods_supported", Kind::List),
    ("dpop_signing_alg_values_supported", Kind::List),
    ("resource_name", Kind::Text),
];

/// Returns true if a `resource` identifier covers an MCP URL (DISC-12, DISC-13).
///
/// # Errors
/// [`UrlFlaw`] when the identifier is not an acceptable URL.
pub fn covers(resource: &str, mcp_url: &WebUrl, policy: &UrlPolicy) -> Result<bool, UrlFlaw> {
    if resource == mcp_url.as_str() {
        return Ok(true);
    }
    let resource = policy.check(resource)?;
    Ok(covers_url(&resource, mcp_url))
}

/// Returns true if a validated URL covers another: same origin, path a prefix at a segment boundary, query
/// absent or identical.
pub fn covers_url(resource: &WebUrl, other: &WebUrl) -> bool {
    if resource.origin() != other.origin() {
        return false;
    }
    if resource.query().is_some() && resource.query() != other.query() {
        return false;
    }
    let (prefix, path) = (normal_path(resource.path()), normal_path(other.path()));
    match path.strip_prefix(prefix.as_ref()) {
        Some("") => true,
        Some(rest) => prefix.ends_with('/') || rest.starts_with('/'),
        None => false,
    }
}

/// Percent-decodes unreserved characters and upper-cases the other escapes, so that `%2F` never becomes a
/// separator. The canonical URL has no dot segments.
fn normal_path(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut out = String::with_capacity(path.len());
    let mut pieces = path.split('%');
    out.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let (escape, rest) = piece.split_at_checked(2).unwrap_or(("", piece));
        match u8::from_str_radix(escape, 16) {
            Ok(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                out.push(char::from(byte));
            }
            Ok(_) | Err(_) => {
                out.push('%');
                out.push_str(&escape.to_ascii_uppercase());
            }
        }
        out.push_str(rest);
    }
    Cow::Owned(out)
}

/// Returns the resource identifier of an MCP server without metadata (RES-05).
pub fn canonical_identifier(mcp_url: &WebUrl) -> Arc<str> {
    let (origin, path, _) = split(mcp_url.as_str());
    if path == "/" {
        origin.into()
    } else {
        [origin, path].concat().into()
    }
}
