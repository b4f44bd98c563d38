//! The ordered lists of metadata locations.

use super::url::{WebUrl, split};

const RESOURCE: &str = "/.well-known/oauth-protected-resource";
const SERVER: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";

/// Returns the locations of protected resource metadata for an MCP URL, in order (RFC 9728 section 3.1,
/// DISC-02, DISC-04 to DISC-06).
pub fn resource_locations(mcp_url: &WebUrl) -> impl Iterator<Item = Box<str>> {
    let (origin, path) = (mcp_url.origin(), mcp_url.path());
    let path = if path == "/" { "" } else { path };
    let with_query = mcp_url.query().map(|query| (path, Some(query)));
    let without_slash = path.strip_suffix('/').map(|shorter| (shorter, None));
    let root = (!path.is_empty()).then_some(("", None));
    [with_query, Some((path, None)), without_slash, root]
        .into_iter()
        .flatten()
        .map(move |(path, query)| match query {
            Some(query) => [origin, RESOURCE, path, "?", query]
                .concat()
                .into_boxed_str(),
            None => [origin, RESOURCE, path].concat().into_boxed_str(),
        })
}

/// Returns the locations of an issuer's metadata, in order. The issuer is used unchanged (RFC 8414 section
/// 3, META-02 to META-05).
pub fn server_locations(issuer: &str) -> impl Iterator<Item = Box<str>> {
    server_places(issuer).map(|parts| parts.concat().into_boxed_str())
}

/// Same as [`server_locations`], as parts to be joined.
pub(crate) fn server_places(issuer: &str) -> impl Iterator<Item = [&str; 3]> {
    let (origin, path, _) = split(issuer);
    let path = path.strip_suffix('/').unwrap_or(path);
    let appended = (!path.is_empty()).then_some([origin, path, OPENID]);
    [
        Some([origin, SERVER, path]),
        Some([origin, OPENID, path]),
        appended,
    ]
    .into_iter()
    .flatten()
}

/// Returns the only metadata location of revision 2025-03-26 (LEG-04).
pub fn legacy_server_location(base: &str) -> Box<str> {
    legacy_server_place(base).concat().into_boxed_str()
}

/// Same as [`legacy_server_location`], as parts to be joined.
pub(crate) fn legacy_server_place(base: &str) -> [&str; 3] {
    [base, SERVER, ""]
}
