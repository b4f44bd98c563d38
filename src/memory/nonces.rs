//! The DPoP nonces of servers.

use crate::budget::ORIGINS_REMEMBERED;

/// The DPoP nonces of servers, by origin: a nonce is only sent to the server that issued it (DPOP-12).
#[derive(Default)]
pub(crate) struct Nonces(Box<[Nonce]>);

struct Nonce {
    origin: Box<str>,
    text: Box<str>,
    /// Whether a proof for the MCP server was made with it.
    presented: bool,
}

impl Nonces {
    pub(crate) fn of(&self, origin: &str) -> Option<Box<str>> {
        let found = self.0.iter().find(|nonce| *nonce.origin == *origin);
        found.map(|nonce| nonce.text.clone())
    }

    /// Records that a proof was made with the nonce of this server.
    pub(crate) fn present(&mut self, origin: &str) {
        let found = self.0.iter_mut().find(|nonce| *nonce.origin == *origin);
        if let Some(nonce) = found {
            nonce.presented = true;
        }
    }

    /// Returns true if a nonce of this server is known, and no proof was made with it: a request that is refused for
    /// want of a nonce was made before it was known.
    pub(crate) fn is_unused(&self, origin: &str) -> bool {
        let found = self.0.iter().find(|nonce| *nonce.origin == *origin);
        found.is_some_and(|nonce| !nonce.presented)
    }

    pub(crate) fn keep(&mut self, origin: &str, nonce: Box<str>) {
        let mut nonces = std::mem::take(&mut self.0).into_vec();
        nonces.retain(|known| *known.origin != *origin);
        if nonces.len() >= ORIGINS_REMEMBERED {
            nonces.remove(0);
        }
        nonces.push(Nonce {
            origin: origin.into(),
            text: nonce,
            presented: false,
        });
        self.0 = nonces.into();
    }
}
