//! Documents: nothing is done at a server that the resource did not list (S11), or whose own document was
//! not read at its own place (S10).

use serde_json::Value;

use super::super::store::Shelf;
use super::super::{ISSUERS, MCP, server_of};
use super::Ledger;

/// Where the resource's own document may be.
const RESOURCE: [&str; 2] = [
    "https://mcp.example/.well-known/oauth-protected-resource/mcp",
    "https://mcp.example/.well-known/oauth-protected-resource",
];
const SERVER: [&str; 2] = [
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
];

impl Ledger {
    /// An instance was answered with this.
    pub(in crate::support::world) fn read(&mut self, url: &str, text: &str) {
        let document: Value = serde_json::from_str(text).unwrap_or_default();
        if RESOURCE.contains(&url) && document["resource"] == MCP {
            let listed = document["authorization_servers"].as_array();
            let known = |text: &Value| ISSUERS.iter().position(|issuer| *text == **issuer);
            self.listed
                .extend(listed.into_iter().flatten().filter_map(known));
        }
        let own = server_of(url).and_then(|server| Some((server, *ISSUERS.get(server)?)));
        if let Some((server, issuer)) = own
            && SERVER.iter().any(|place| url == [issuer, place].concat())
            && document["issuer"] == *issuer
        {
            self.vouched.insert(server);
        }
    }

    /// Something is done at this server.
    pub(in crate::support::world) fn acts_at(&self, issuer: usize, shelf: &Shelf) {
        assert!(
            self.vouched.contains(&issuer) || shelf.tampered,
            "S10: {} has said nothing of itself",
            ISSUERS[issuer]
        );
        assert!(
            self.listed.contains(&issuer) || shelf.tampered,
            "S11: the resource has not listed {}",
            ISSUERS[issuer]
        );
    }
}
