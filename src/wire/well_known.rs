//! The ordered lists of places where metadata may be found.

use super::url::{WebUrl, split};

const RESOURCE: &str = "/.well-known/oauth-protected-resource";
const SERVER: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";

/// Where protected resource metadata of an MCP URL may be, in order (DISC-02, DISC-04 to DISC-06).
pub fn resource_locations(mcp_url: &WebUrl) -> Vec<Box<str>> {
    let (origin, path) = (mcp_url.origin(), mcp_url.path());
    let path = if path == "/" { "" } else { path };
    let mut found: Vec<Box<str>> = Vec::with_capacity(2);
    let mut add = |parts: &[&str]| {
        let url = parts.concat().into_boxed_str();
        if !found.contains(&url) {
            found.push(url);
        }
    };
    if let Some(query) = mcp_url.query() {
        add(&[origin, RESOURCE, path, "?", query]);
    }
    add(&[origin, RESOURCE, path]);
    if let Some(shorter) = path.strip_suffix('/') {
        add(&[origin, RESOURCE, shorter]);
    }
    add(&[origin, RESOURCE]);
    found
}

/// Where metadata of an issuer may be, in order (META-02 to META-05). The issuer itself stays as it is.
pub fn server_locations(issuer: &str) -> Vec<Box<str>> {
    let (origin, path, _) = split(issuer);
    let path = path.strip_suffix('/').unwrap_or(path);
    let inserted = |well_known: &str| [origin, well_known, path].concat().into_boxed_str();
    let mut found = Vec::with_capacity(3);
    found.push(inserted(SERVER));
    found.push(inserted(OPENID));
    if !path.is_empty() {
        found.push([origin, path, OPENID].concat().into_boxed_str());
    }
    found
}

/// The one place where a server of revision 2025-03-26 publishes metadata (LEG-04).
pub fn legacy_server_location(base: &str) -> Box<str> {
    [base, SERVER].concat().into_boxed_str()
}
