//! The clients that exist already: configured ones, and stored registrations.

use crate::config::{BasicEncoding, Config, DynamicRegistration, PreRegistered};
use crate::core::Core;
use crate::error::{Cause, Failure, Misconfiguration, Stage, StoreFlaw};
use crate::frame::RecordFlaw;
use crate::grant::{
    Client, ClientMethod, ClientOrigin, MethodFlaw, Registration, choose_method, key_method,
};
use crate::issuer::{AtIssuer, Facts, IssuerId};
use crate::record::read_registration;
use crate::slot::{Slot, Stored};
use crate::state::attempt::{Attempt, Way};
use crate::wire::registration::MAX_CLIENT_ID_BYTES;
use crate::wire::words::AuthMethod;

/// Returns true when a stored registration may still be used: its secret has not expired, its server and the host want no
/// other, and its identifier fits into a URL.
fn is_alive(core: &Core, issuer: &IssuerId, slot: Slot, client: &Client) -> bool {
    let clients = &core.memory.clients;
    !client.is_expired(core.now.wall.seconds())
        && !clients.is_buried(issuer, &client.id)
        && !clients.is_reset(slot)
        && client.id.len() <= MAX_CLIENT_ID_BYTES
}

/// Returns true when a slot holds a registration at this issuer that may still be used.
pub(crate) fn has_registration(
    core: &Core,
    way: &Way,
    issuer: &IssuerId,
    slot: Slot,
    stored: &Stored,
) -> bool {
    let found = read_registration(&core.identity, way.registration(), stored);
    found.is_ok_and(|found| {
        found.issuer() == issuer && found.is(|known| is_alive(core, issuer, slot, &known.client))
    })
}

/// Reads a stored registration at the server as its metadata describes it now. The issuer inside the record
/// decides, not the slot's name (A03).
pub(crate) fn usable(
    core: &mut Core,
    attempt: &Attempt,
    at: &AtIssuer<()>,
    slot: Slot,
    stored: &Stored,
) -> Result<Option<AtIssuer<Registration>>, Failure> {
    let uri = attempt.way.registration();
    match read_registration(&core.identity, uri, stored) {
        Ok(found) => Ok(found.open(at).filter(|known| {
            let client = &known.held().client;
            is_alive(core, at.issuer(), slot, client)
        })),
        // A record of a newer version is never overwritten (D24).
        Err(flaw @ RecordFlaw::Newer) => {
            let cause = Cause::NotPersisted(StoreFlaw::Record(flaw));
            Err(attempt.fails(Stage::Registration, Some(at.issuer()), cause))
        }
        Err(flaw) => {
            core.report_unusable(slot, flaw);
            Ok(None)
        }
    }
}

impl Config {
    /// Returns the pre-registered client for this server.
    pub(crate) fn client_at(&self, at: &AtIssuer<()>) -> Option<AtIssuer<PreRegistered>> {
        self.client_of(at.issuer())?.open(at, self.slash_rule())
    }

    /// Returns true when the machine may register a client.
    pub(crate) fn registers(&self) -> bool {
        match self.dynamic_registration {
            DynamicRegistration::Always => true,
            DynamicRegistration::UnlessPreRegistered => self.clients.is_empty(),
            DynamicRegistration::Never => false,
        }
    }

    /// Returns true when the client at this issuer can only be a registered one, whatever the metadata says.
    pub(crate) fn has_no_client_but_a_registration(&self, issuer: &IssuerId) -> bool {
        let configured = self.unbound_client.is_some() || self.client_metadata_url.is_some();
        self.registers() && !configured && self.client_of(issuer).is_none()
    }

    /// Returns the error for a server without a configured client: credentials for other servers do not
    /// apply (A04).
    pub(crate) fn nobody_at(&self, found: &IssuerId) -> Misconfiguration {
        let found = found.clone();
        if self.clients.is_empty() {
            return Misconfiguration::NoClient { issuer: found };
        }
        let configured = self.clients.iter().map(|c| c.issuer().clone()).collect();
        Misconfiguration::OtherIssuer { configured, found }
    }
}

/// Returns a configured client with the one authentication method it uses at this server.
pub(crate) fn authenticating(
    core: &Core,
    configured: AtIssuer<PreRegistered>,
) -> Result<AtIssuer<Client>, MethodFlaw> {
    let encoding = core.config().settings(configured.issuer()).basic_encoding;
    configured.try_then(|configured, server| {
        let facts = server.facts();
        let method = configured_method(&configured, facts, encoding)?;
        Ok(Client {
            id: configured.client_id.into(),
            origin: ClientOrigin::PreRegistered,
            method,
            secret_expires_at: None,
        })
    })
}

/// Prefers a usable key, then a supplied assertion, then the method that the host fixed, then a secret (TOK-04, M2M-05).
fn configured_method(
    configured: &PreRegistered,
    facts: &Facts,
    encoding: BasicEncoding,
) -> Result<ClientMethod, MethodFlaw> {
    let by_key = configured
        .key
        .as_ref()
        .map(|key| key_method(key, facts.auth_methods, facts.assertion_algorithms));
    match (by_key, &configured.assertion, &configured.secret) {
        (Some(Ok(method)), _, _) => Ok(method),
        (_, Some(assertion), _) => Ok(ClientMethod::StaticAssertion(assertion.clone())),
        (Some(Err(flaw)), None, None) => Err(flaw),
        (Some(Err(_)) | None, None, secret) => match (configured.method, secret.clone()) {
            // The host knows its client; lists are incomplete.
            (Some(AuthMethod::ClientSecretBasic), Some(secret)) => {
                Ok(ClientMethod::Basic(secret, encoding))
            }
            (Some(AuthMethod::ClientSecretPost), Some(secret)) => Ok(ClientMethod::Post(secret)),
            (Some(AuthMethod::None), _) => Ok(ClientMethod::None),
            (fixed, secret) => {
                let id = &configured.client_id;
                choose_method(id, secret, fixed, facts.auth_methods, encoding)
            }
        },
    }
}
