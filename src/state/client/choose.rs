//! Choosing a client at the selected authorization server (REG-01 to REG-05).

use crate::action::Why;
use crate::client_metadata::ClientMetadataUrl;
use crate::config::PreRegistered;
use crate::core::{Ask, Core};
use crate::error::{Cause, Misconfiguration, Stage, StoreFlaw};
use crate::grant::{Client, ClientMethod, ClientOrigin, MethodFlaw, Registration, key_method};
use crate::issuer::{AtIssuer, Endpoint, Facts, IssuerId, Server};
use crate::key::SigningKey;
use crate::record::ResourceFacts;
use crate::report::Decision;
use crate::slot::{Found, Slot, Stored};
use crate::state::attempt::{Attempt, Errand};
use crate::state::client::binding::{LoadingBinding, Then};
use crate::state::client::early::is_recent;
use crate::state::client::flow::{Flow, Met};
use crate::state::client::known_client::{authenticating, usable};
use crate::state::client::register::Registering;
use crate::state::discovery::server::pass_over;
use crate::state::sign_in::scopes::select_scopes;
use crate::state::{Next, Step, Work, done, wait_in};
use crate::time::Moment;
use crate::wire::words::AuthMethod;

/// Continues after metadata was accepted: checks that the server supports the code flow, detects a changed
/// issuer, chooses a client.
pub(crate) fn met(
    core: &mut Core,
    attempt: Box<Attempt>,
    facts: ResourceFacts,
    server: Server,
) -> Step {
    let issuer = server.issuer().clone();
    let source = server.facts().source;
    core.report(|| Decision::ServerChosen {
        issuer: issuer.clone(),
        source,
    });
    let flow = match Flow::check(core, &attempt.way, &server) {
        Ok(flow) => flow,
        Err(cause) => {
            let failure = attempt.fails(Stage::ServerMetadata, Some(&issuer), cause);
            return pass_over(core, Errand::Authorize(attempt), facts, &issuer, failure);
        }
    };
    let at = server.enter();
    let met = Met {
        attempt,
        facts,
        flow,
    };
    if let Some(from) = moved(core, &issuer) {
        return met.elsewhere(core, &at, from);
    }
    met.choose_client(core, at)
}

/// Returns the issuer in use when `to` is another one and the user has not confirmed the change yet
/// (ISO-09).
fn moved(core: &Core, to: &IssuerId) -> Option<(IssuerId, ClientOrigin)> {
    let held = core.held.at.as_ref()?;
    (held.issuer() != to).then(|| (held.issuer().clone(), held.held().client.origin))
}

impl Met {
    fn fails(&self, issuer: &IssuerId, found: Misconfiguration) -> Step {
        let cause = Cause::Misconfigured(found);
        Err(self.attempt.fails(Stage::Registration, Some(issuer), cause))
    }

    /// Handles a changed issuer: a configured client is not replaced, and the user confirms first.
    fn elsewhere(
        self,
        core: &mut Core,
        at: &AtIssuer<()>,
        (from, origin): (IssuerId, ClientOrigin),
    ) -> Step {
        let to = at.issuer().clone();
        if origin == ClientOrigin::PreRegistered && !core.config().may_meet(&to) {
            let found = Misconfiguration::OtherIssuer {
                configured: vec![from],
                found: to.clone(),
            };
            return self.fails(&to, found);
        }
        // A confirmation holds for the account it was given for (S34).
        let change = Some(Box::new((from.clone(), to.clone())));
        if core.memory.offered == change {
            return self.choose_client(core, at.clone());
        }
        core.memory.offered = change;
        let why = Why::ServerChanged { from, to };
        core.need_consent(why, self.attempt.effort.operation, self.attempt.wish);
        done()
    }

    /// Chooses the client in the order of REG-02.
    fn choose_client(self, core: &mut Core, at: AtIssuer<()>) -> Step {
        let config = core.config();
        if let Some(client) = config.client_at(&at) {
            return self.pre_registered(core, client);
        }
        if let Some(client) = &config.unbound_client {
            let client = client.clone();
            let then = Then::User(Box::new(self), at, client);
            return wait_in(LoadingBinding::begin(core, then));
        }
        let facts = at.server().facts();
        if let (true, Some(url)) = (facts.supports_cimd, &config.client_metadata_url) {
            let key = config.client_metadata_key.as_ref();
            return match document_client(url, key, facts) {
                Ok(client) => Ok(Next::SendUser(self, at.then(|()| client.into()))),
                Err(flaw) => self.fails(at.issuer(), Misconfiguration::ClientMethod(flaw)),
            };
        }
        if config.registers() && facts.endpoints.has(Endpoint::Registration) {
            return LoadingRegistration::begin(core, self, at);
        }
        let flaw = config.nobody_at(at.issuer());
        if !matches!(flaw, Misconfiguration::NoClient { .. }) {
            // Configured clients take precedence: no fallback to another server.
            return self.fails(at.issuer(), flaw);
        }
        // This server offers no way to obtain a client; the next listed server may.
        let cause = Cause::Misconfigured(flaw);
        let failure = self
            .attempt
            .fails(Stage::Registration, Some(at.issuer()), cause);
        let errand = Errand::Authorize(self.attempt);
        pass_over(core, errand, self.facts, at.issuer(), failure)
    }

    pub(crate) fn pre_registered(self, core: &Core, configured: AtIssuer<PreRegistered>) -> Step {
        let issuer = configured.issuer().clone();
        match authenticating(core, configured) {
            Ok(client) => Ok(Next::SendUser(self, client.then(Registration::from))),
            Err(flaw) => self.fails(&issuer, Misconfiguration::ClientMethod(flaw)),
        }
    }
}

/// The client of a metadata document. With a key it authenticates by `private_key_jwt` (REG-11), unless the
/// server lists methods and only `none` matches (TOK-04).
pub(crate) fn document_client(
    url: &ClientMetadataUrl,
    key: Option<&SigningKey>,
    facts: &Facts,
) -> Result<Client, MethodFlaw> {
    let method = match key {
        None => ClientMethod::None,
        Some(key) => match key_method(key, facts.auth_methods, facts.assertion_algorithms) {
            Err(MethodFlaw::NothingListed) if facts.auth_methods.allows(AuthMethod::None) => {
                ClientMethod::None
            }
            method => method?,
        },
    };
    Ok(Client {
        id: url.as_str().into(),
        origin: ClientOrigin::MetadataDocument,
        method,
        secret_expires_at: None,
    })
}

/// Reads a stored registration (REG-31).
pub(crate) struct LoadingRegistration {
    pub(crate) ask: Ask,
    slot: Slot,
    /// When the read began, if it began early.
    early: Option<Moment>,
    pub(crate) met: Met,
    at: AtIssuer<()>,
}

impl LoadingRegistration {
    fn begin(core: &mut Core, mut met: Met, at: AtIssuer<()>) -> Step {
        let early = met.attempt.early.take();
        let (slot, ask, early, found) = match early.filter(|early| early.is_at(at.issuer())) {
            Some(early) => (early.slot, early.ask, Some(early.begun), early.found),
            None => {
                let slot = met.attempt.way.registration_slot(core, at.issuer());
                (slot, core.load(slot), None, None)
            }
        };
        let state = Self {
            ask,
            slot,
            early,
            met,
            at,
        };
        let recent = early.is_none_or(|begun| is_recent(begun, core.now));
        match found {
            Some(found) => state.loaded(core, found),
            None if recent => wait_in(Work::LoadingRegistration(state)),
            None => state.again(core),
        }
    }

    /// Reads the registration when the client is chosen, with a time limit of its own.
    fn again(self, core: &mut Core) -> Step {
        wait_in(Work::LoadingRegistration(Self {
            ask: core.load(self.slot),
            early: None,
            ..self
        }))
    }

    pub(crate) fn loaded(self, core: &mut Core, found: Result<Option<Stored>, ()>) -> Step {
        if let Some(begun) = self.early
            && (found.is_err() || !is_recent(begun, core.now))
        {
            return self.again(core);
        }
        let Ok(stored) = found else {
            let cause = Cause::NotPersisted(StoreFlaw::Load);
            let issuer = self.at.issuer();
            return Err(self
                .met
                .attempt
                .fails(Stage::Registration, Some(issuer), cause));
        };
        let met = self.met;
        let replaced = Found {
            slot: self.slot,
            revision: stored.as_ref().map(|stored| stored.revision),
        };
        let known = match stored {
            Some(stored) => usable(core, &met.attempt, &self.at, self.slot, &stored)?,
            None => None,
        };
        match known {
            Some(client) => with_registration(core, met, self.at, client, replaced),
            None => Registering::begin(core, met, self.at, replaced),
        }
    }
}

/// Uses a registration, or replaces one that lacks required scopes: servers reject scopes that a client is
/// not registered for. The scopes stay those chosen with it.
fn with_registration(
    core: &mut Core,
    mut met: Met,
    at: AtIssuer<()>,
    client: AtIssuer<Registration>,
    replaced: Found,
) -> Step {
    let refused = std::mem::take(&mut met.attempt.narrow);
    let (scopes, _, _) =
        select_scopes(core, &met.attempt, &met.facts, &client, Some(client.held()));
    if client.held().lacks(&scopes, refused).is_empty() {
        met.attempt.narrow = refused;
        return Ok(Next::SendUser(met, client));
    }
    met.attempt.registered = client.held().known_scopes();
    Registering::begin(core, met, at, replaced)
}
