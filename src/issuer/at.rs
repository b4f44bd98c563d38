//! Containment: a credential is stored together with the only server that may receive it.

use super::endpoint::TokenEndpointMoved;
use super::{Endpoint, IssuerId, Server, SlashRule};
use crate::frame::Opened;

/// A value at one authorization server. The value cannot be extracted, nor the server replaced: a value
/// only turns into another value at the same server.
#[derive(Clone)]
pub(crate) struct AtIssuer<T> {
    server: Server,
    held: T,
}

impl<T> AtIssuer<T> {
    /// Returns the server.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Returns the issuer.
    pub(crate) fn issuer(&self) -> &IssuerId {
        self.server.issuer()
    }

    pub(crate) fn held(&self) -> &T {
        &self.held
    }

    /// Maps the value and keeps the server.
    pub(crate) fn then<U>(self, change: impl FnOnce(T) -> U) -> AtIssuer<U> {
        AtIssuer {
            held: change(self.held),
            server: self.server,
        }
    }

    pub(crate) fn try_then<U, E>(
        self,
        change: impl FnOnce(T, &Server) -> Result<U, E>,
    ) -> Result<AtIssuer<U>, E> {
        Ok(AtIssuer {
            held: change(self.held, &self.server)?,
            server: self.server,
        })
    }

    /// Restores a value from a record that was written from one.
    pub(crate) fn restore(server: Server, held: T, _checked: &Opened<'_>) -> Self {
        Self { server, held }
    }
}

impl Server {
    /// Returns an empty value at this server.
    pub(crate) fn enter(self) -> AtIssuer<()> {
        AtIssuer {
            server: self,
            held: (),
        }
    }
}

impl<T> AtIssuer<T> {
    /// Adopts newer metadata of the same issuer, unless the token endpoint moved to another origin. Returns
    /// the other endpoints that moved, which are not followed (REFR-11).
    pub(crate) fn revalidate(&mut self, now: &Server) -> Result<Vec<Endpoint>, TokenEndpointMoved> {
        let (server, moved) = self.server.followed_by(now)?;
        self.server = server;
        Ok(moved)
    }
}

impl<T> AtIssuer<T> {
    /// Restricts a stored value to endpoints that this process knows: another version of this program may
    /// have followed an endpoint to another origin (A22).
    pub(crate) fn confined_to(self, known: &Server) -> Self {
        match known.followed_by(&self.server) {
            Ok((server, _moved)) => Self {
                server,
                held: self.held,
            },
            // Another issuer, or a later authorization elsewhere.
            Err(TokenEndpointMoved) => self,
        }
    }

    /// Returns the value with metadata marked as stale.
    pub(crate) fn aged(self) -> Self {
        Self {
            server: self.server.aged(),
            held: self.held,
        }
    }
}

/// A value bound to an issuer before discovery: a client that the host configured (REG-03), or an earlier
/// registration.
#[derive(Clone, Debug)]
pub(crate) struct IssuerBound<T> {
    issuer: IssuerId,
    value: T,
}

impl<T: Clone> IssuerBound<T> {
    pub(crate) fn new(issuer: IssuerId, value: T) -> Self {
        Self { issuer, value }
    }

    pub(crate) fn issuer(&self) -> &IssuerId {
        &self.issuer
    }

    /// Returns true if the value passes a test.
    pub(crate) fn is(&self, test: impl FnOnce(&T) -> bool) -> bool {
        test(&self.value)
    }

    /// Returns the value at a validated server of its issuer; `None` at any other server.
    pub(crate) fn open(&self, at: &AtIssuer<()>, slash: SlashRule) -> Option<AtIssuer<T>> {
        let found = at.issuer();
        let same = found == &self.issuer
            || slash == SlashRule::TolerateOne && self.issuer.same_but_slash(found.as_str());
        same.then(|| AtIssuer {
            server: at.server.clone(),
            held: self.value.clone(),
        })
    }
}
