//! Documents: nothing is done at a server that the resource did not list (S11), or whose own document was
//! not read at its own place (S10).

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::store::Shelf;
use super::super::{ISSUERS, MCP, PRM};
use super::Ledger;

/// Where the resource's own document may be.
const RESOURCE: [&str; 2] = [
    PRM,
    "https://mcp.example/.well-known/oauth-protected-resource",
];
const SERVER: [&str; 2] = [
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
];

impl Ledger {
    /// An instance was answered with this; whether it still waited for the answer.
    pub(in crate::support::world) fn read(
        &mut self,
        at: usize,
        url: &str,
        text: &str,
        waited: bool,
    ) {
        let is_at = |issuer: &&str| SERVER.iter().any(|place| url == [*issuer, *place].concat());
        let server = ISSUERS.iter().position(is_at);
        if server.is_none() && !RESOURCE.contains(&url) {
            return;
        }
        let document: Value = serde_json::from_str(text).unwrap_or_default();
        match server {
            Some(server) if document["issuer"] == ISSUERS[server] => {
                self.vouched.insert(server);
                self.documents.insert((at, server), text.to_owned());
                let members = document.as_object().into_iter().flatten();
                let texts = members.filter_map(|(_, value)| value.as_str().map(str::to_owned));
                self.named.entry(server).or_default().extend(texts);
            }
            None if document["resource"] == MCP => {
                let listed = document["authorization_servers"].as_array();
                let known = |text: &Value| ISSUERS.iter().position(|issuer| *text == **issuer);
                let listed: BTreeSet<usize> =
                    listed.into_iter().flatten().filter_map(known).collect();
                self.lists(at, &listed, waited);
                self.listed.extend(listed);
            }
            Some(_) | None => {}
        }
    }

    /// An instance was answered with a device code of this server.
    pub(in crate::support::world) fn device(&mut self, at: usize, server: usize, code: &str) {
        if let Some(document) = self.documents.get(&(at, server)) {
            self.devices.insert(code.to_owned(), document.clone());
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
