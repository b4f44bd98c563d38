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

/// The members of a server's document that name where clients authenticate.
const AUTHENTICATE: [&str; 4] = [
    "token_endpoint",
    "revocation_endpoint",
    "pushed_authorization_request_endpoint",
    "device_authorization_endpoint",
];

/// Returns the issuer whose document is at this place.
fn described_at(url: &str) -> Option<usize> {
    let is_at = |issuer: &&str| SERVER.iter().any(|place| url == [*issuer, *place].concat());
    ISSUERS.iter().position(is_at)
}

fn origin(url: &str) -> &str {
    let path = url.match_indices('/').nth(2);
    &url[..path.map_or(url.len(), |(at, _)| at)]
}

impl Ledger {
    /// An instance was answered with this; whether it still waited for the answer.
    pub(in crate::machine_tests::world) fn read(
        &mut self,
        at: usize,
        url: &str,
        text: &str,
        waited: bool,
    ) {
        let server = described_at(url);
        if server.is_none() && !RESOURCE.contains(&url) {
            return;
        }
        let document: Value = serde_json::from_str(text).unwrap_or_default();
        match server {
            Some(server) if document["issuer"] == ISSUERS[server] => {
                self.vouched.insert(server);
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

    /// An instance waited for this answer: where it is the document of a server, the instance goes by it from now on.
    pub(in crate::machine_tests::world) fn describes(&mut self, at: usize, url: &str, text: &str) {
        let document: Value = serde_json::from_str(text).unwrap_or_default();
        if let Some(server) = described_at(url).filter(|of| document["issuer"] == ISSUERS[*of]) {
            self.documents.insert((at, server), text.to_owned());
        }
    }

    /// A server gave a secret to a client that registered: it belongs to the origins at which its document has clients
    /// authenticate (S42).
    pub(in crate::machine_tests::world) fn issues(
        &mut self,
        at: usize,
        server: usize,
        secret: &str,
    ) {
        let document = self.documents.get(&(at, server));
        let document: Value = document
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        let urls = AUTHENTICATE
            .iter()
            .filter_map(|member| document[*member].as_str());
        let origins = urls.map(origin).map(str::to_owned).collect();
        self.secrets.insert(secret.to_owned(), origins);
    }

    /// Whether a secret may go to this address.
    pub(super) fn is_at_home(&self, secret: &str, url: &str) -> bool {
        let origins = self.secrets.get(secret);
        origins.is_none_or(|origins| origins.contains(origin(url)))
    }

    /// An instance was answered with a device code of this server.
    pub(in crate::machine_tests::world) fn device(&mut self, at: usize, server: usize, code: &str) {
        if let Some(document) = self.documents.get(&(at, server)) {
            self.devices.insert(code.to_owned(), document.clone());
        }
    }

    /// Something is done at this server.
    pub(in crate::machine_tests::world) fn acts_at(&self, issuer: usize, shelf: &Shelf) {
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
