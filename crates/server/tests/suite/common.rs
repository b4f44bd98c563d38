//! Names and readers that several modules use.

pub use mcp_auth_testing::documents::{ISSUER as AS, MCP, PRM, REDIRECT, REGISTER, TOKEN};

/// The parameters of a query or form body, decoded.
pub fn parameters(text: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect()
}

/// The one value of a parameter.
pub fn get(parameters: &[(String, String)], name: &str) -> Option<String> {
    let mut found = parameters.iter().filter(|(known, _)| known == name);
    let value = found.next().map(|(_, value)| value.clone());
    assert!(found.next().is_none(), "{name} occurs twice");
    value
}
