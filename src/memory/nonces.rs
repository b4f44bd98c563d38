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
    /// Whether an unused nonce was known before the last response that carried this one.
    beside_unused: bool,
    /// Whether that response was reported by [`Observed`](crate::event::Observed): its refusal may be reported next.
    observed: bool,
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

    /// Keeps the nonce of a refusal. Returns true if another one was known before the refused response, and no proof was
    /// made with it: then the refused request was made before any nonce was known. The host may have reported the same
    /// response as observed.
    pub(crate) fn refused_with(&mut self, origin: &str, nonce: Box<str>) -> bool {
        let found = self.0.iter_mut().find(|known| *known.origin == *origin);
        if let Some(known) = found
            && known.observed
            && known.text == nonce
        {
            known.observed = false;
            return known.beside_unused && !known.presented;
        }
        self.learn(origin, nonce, false)
    }

    /// Keeps the nonce of a response.
    pub(crate) fn keep(&mut self, origin: &str, nonce: Box<str>) {
        self.learn(origin, nonce, true);
    }

    /// Keeps a nonce; returns whether an unused one was known. A nonce that is sent again stays presented.
    fn learn(&mut self, origin: &str, nonce: Box<str>, observed: bool) -> bool {
        let known = self.0.iter().find(|known| *known.origin == *origin);
        let beside_unused = known.is_some_and(|known| !known.presented);
        let presented = known.is_some_and(|known| known.presented && known.text == nonce);
        let mut nonces = std::mem::take(&mut self.0).into_vec();
        nonces.retain(|known| *known.origin != *origin);
        if nonces.len() >= ORIGINS_REMEMBERED {
            nonces.remove(0);
        }
        nonces.push(Nonce {
            origin: origin.into(),
            text: nonce,
            presented,
            beside_unused,
            observed,
        });
        self.0 = nonces.into();
        beside_unused
    }
}
