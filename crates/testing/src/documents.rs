//! Ordinary documents and answers of an MCP server and its authorization server, for [`TestHost`](super::TestHost).

use serde_json::{Value, json};

/// The MCP endpoint.
pub const MCP: &str = "https://mcp.example/mcp";
/// The issuer.
pub const ISSUER: &str = "https://as.example";
/// The redirect URI of the client.
pub const REDIRECT: &str = "http://127.0.0.1:3000/callback";
/// The resource's metadata (RFC 9728).
pub const PRM: &str = "https://mcp.example/.well-known/oauth-protected-resource/mcp";
/// The issuer's metadata (RFC 8414).
pub const METADATA: &str = "https://as.example/.well-known/oauth-authorization-server";
/// The registration endpoint.
pub const REGISTER: &str = "https://as.example/register";
/// The token endpoint.
pub const TOKEN: &str = "https://as.example/token";

/// Returns the metadata of [`MCP`], which names [`ISSUER`].
pub fn resource() -> String {
    resource_of(MCP, ISSUER)
}

/// Returns the metadata of a resource that names this issuer.
pub fn resource_of(resource: &str, issuer: &str) -> String {
    json!({ "resource": resource, "authorization_servers": [issuer] }).to_string()
}

/// Returns the metadata of [`ISSUER`]: dynamic registration, public clients, no `iss`.
pub fn metadata() -> String {
    metadata_of(ISSUER, &json!({}))
}

/// Returns the metadata of an issuer. The members of `more` are added, or replace others; `null` removes one.
pub fn metadata_of(issuer: &str, more: &Value) -> String {
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "registration_endpoint": format!("{issuer}/register"),
        "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
    });
    if let (Some(document), Some(more)) = (document.as_object_mut(), more.as_object()) {
        for (name, value) in more {
            document.insert(name.clone(), value.clone());
        }
        document.retain(|_, value| !value.is_null());
    }
    document.to_string()
}

/// Returns a token response: a token for an hour, without a refresh token.
pub fn token(access_token: &str) -> String {
    json!({ "access_token": access_token, "token_type": "Bearer", "expires_in": 3600 }).to_string()
}

/// Returns a token response with a refresh token.
pub fn renewable(access_token: &str, refresh_token: &str, seconds: u64) -> String {
    json!({
        "access_token": access_token,
        "token_type": "Bearer",
        "expires_in": seconds,
        "refresh_token": refresh_token,
    })
    .to_string()
}

/// Returns the value of a parameter of a URL, decoded; the first one, where there are several.
pub fn parameter(url: &str, name: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    let query = query.split('#').next().unwrap_or_default();
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let found = pairs.find(|(known, _)| known == name);
    found.map(|(_, value)| value.into_owned())
}
