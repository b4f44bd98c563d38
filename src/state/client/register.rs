//! Dynamic client registration (REG-16 to REG-31).

use crate::action::{Purpose, UrlSource};
use crate::budget::TOKEN_TIME;
use crate::config::{ApplicationType, RedirectUri, RefreshTokens};
use crate::core::{Ask, Core};
use crate::error::{Cause, Misconfiguration, Refusal, Stage, StoreFlaw, Violation};
use crate::event::{Outcome, Persistence};
use crate::grant::{
    Client, ClientOrigin, RegisteredScopes, Registration, registered_method, registration_methods,
};
use crate::issuer::{AtIssuer, CredentialEndpoint, Endpoint};
use crate::key::SigningKey;
use crate::record::write_registration;
use crate::secret::Secret;
use crate::slot::{Found, Slot, Stored};
use crate::state::attempt::{Attempt, Way};
use crate::state::client::flow::Met;
use crate::state::client::known_client::usable;
use crate::state::client::new_registration::NewRegistration;
use crate::state::post::answer;
use crate::state::sign_in::scopes::registration_scopes;
use crate::state::{Next, Step, Work, wait_in};
use crate::wire::http_fields::{is_transient, retry_after};
use crate::wire::registration::{
    Registered, RegistrationAnswer, RegistrationDocument, RegistrationRequest,
};
use crate::wire::scopes::Scopes;
use crate::wire::text::Untrusted;
use crate::wire::token::{MAX_TOKEN_BYTES, OAuthError};
use crate::wire::words::{AuthMethod, GrantType, ResponseType};

pub(crate) struct Registering {
    pub(crate) ask: Ask,
    pub(crate) met: Met,
    at: AtIssuer<()>,
    replaced: Found,
    /// The scopes that the client is to be registered for.
    scopes: Scopes,
    /// The authentication method that was requested.
    method: AuthMethod,
    /// Whether the request named the scopes.
    with_scope: bool,
    /// Whether the request named the grant `refresh_token`.
    with_refresh: bool,
    form: Form,
}

/// The redirect URI of a client for device authorizations at a server that registers no client without one (DEV-03).
/// It is never used.
const UNUSED_REDIRECT_URI: &str = "http://127.0.0.1/callback";

/// The members of a registration request that some servers refuse, or miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Names the scopes; without a redirect, `redirect_uris` is absent.
    Full,
    /// Names no scopes (REG-22); without a redirect, `redirect_uris` is [`UNUSED_REDIRECT_URI`] (DEV-03).
    Reduced,
    /// Same as `Full`; without a redirect, `redirect_uris` is [`UNUSED_REDIRECT_URI`] (DEV-03).
    WithRedirect,
    /// Same as `Full`, without the grant `refresh_token` (REG-19).
    WithoutRefresh,
}

impl Registering {
    pub(crate) fn begin(core: &mut Core, met: Met, at: AtIssuer<()>, replaced: Found) -> Step {
        Self::send(core, met, at, replaced, Form::Full)
    }

    fn send(core: &mut Core, mut met: Met, at: AtIssuer<()>, replaced: Found, form: Form) -> Step {
        let permit = met.attempt.registration(core)?;
        let config = core.config();
        let scopes = registration_scopes(core, &met.attempt, &met.facts, &at);
        let with_scope = form != Form::Reduced && !scopes.is_empty();
        let grants = [
            met.attempt.way.grant().as_str(),
            GrantType::RefreshToken.as_str(),
        ];
        let with_refresh = match config.refresh_tokens {
            RefreshTokens::Wanted => form != Form::WithoutRefresh,
            RefreshTokens::NotWanted => false,
        };
        let wanted = if with_refresh {
            grants.as_slice()
        } else {
            grants.get(..1).unwrap_or_default()
        };
        let uri = met.attempt.way.redirect_uri();
        let uris = uri.map(RedirectUri::as_str);
        let with_unused = matches!(form, Form::Reduced | Form::WithRedirect);
        let listed = uris.or(with_unused.then_some(UNUSED_REDIRECT_URI));
        let own_key = config.client_metadata_key.as_ref();
        let method = method_to_ask(core, &at);
        let body = RegistrationRequest {
            redirect_uris: listed.is_some().then_some(listed.as_slice()),
            grant_types: wanted,
            response_types: uris.and(Some(ResponseType::Code.as_str())).as_slice(),
            token_endpoint_auth_method: method.as_str(),
            client_name: &config.client_name,
            application_type: config
                .application_type
                .unwrap_or_else(|| {
                    uri.map_or(ApplicationType::Native, RedirectUri::application_type)
                })
                .as_str(),
            scope: with_scope.then(|| scopes.as_str()),
            client_uri: config.client_uri.as_deref(),
            software_id: config.software_id.as_deref(),
            about: config.about.members(),
            jwks: own_key
                .filter(|_| method == AuthMethod::PrivateKeyJwt)
                .and_then(SigningKey::key_set),
        }
        .to_json();
        let settings = config.settings(at.issuer());
        let Some(request) = at.registration_request(&config.request_headers, body, settings) else {
            let issuer = at.issuer().clone();
            let cause = Cause::Misconfigured(Misconfiguration::NoClient {
                issuer: issuer.clone(),
            });
            return Err(met.attempt.fails(Stage::Registration, Some(&issuer), cause));
        };
        let source = UrlSource::AuthorizationServer;
        let ask = core.send(permit, request, Purpose::Registration, source, TOKEN_TIME);
        wait_in(Work::Registering(Self {
            ask,
            met,
            at,
            replaced,
            scopes,
            method,
            with_scope,
            with_refresh,
            form,
        }))
    }

    pub(crate) fn replied(self, core: &mut Core, outcome: Outcome) -> Step {
        let issuer = self.at.issuer().clone();
        let fail = |attempt: &Attempt, cause| {
            Err(attempt.fails(Stage::Registration, Some(&issuer), cause))
        };
        let response = match answer(outcome, |url| self.at.is_registration_endpoint(url)) {
            Ok(response) => response,
            Err(none) => {
                let endpoint = self.at.server().endpoint(Endpoint::Registration);
                let endpoint = endpoint.map(CredentialEndpoint::as_str).unwrap_or_default();
                let violation = none.at(endpoint).map(Cause::Violation);
                return fail(
                    &self.met.attempt,
                    violation.unwrap_or_else(|| Cause::unreachable(None)),
                );
            }
        };
        let status = response.status().as_u16();
        let success = matches!(status, 200 | 201);
        // An unparsable document counts as empty.
        let document = RegistrationDocument::parse(response.body()).unwrap_or_default();
        let way = &self.met.attempt.way;
        let uri = way.redirect_uri().map(RedirectUri::as_str);
        let verdict = match document.answer(success, way.grant(), uri) {
            Ok(answer) => answer,
            Err(flaw) => {
                return fail(
                    &self.met.attempt,
                    Cause::Violation(Violation::Registration(flaw)),
                );
            }
        };
        match verdict {
            RegistrationAnswer::Registered(registered) => self.registered(core, &registered),
            RegistrationAnswer::Refused { code, .. }
                if is_transient(status) && !(status == 500 && code.is_some()) =>
            {
                let now = core.now.wall;
                let retry_at = retry_after(response.headers(), now.seconds())
                    .map(|seconds| now.plus_seconds(seconds));
                fail(&self.met.attempt, Cause::unreachable(retry_at))
            }
            RegistrationAnswer::Refused { code, description } => {
                let error = code.as_ref().map_or(OAuthError::Other, |code| {
                    OAuthError::from_code(code.as_plain())
                });
                // A server in front of another one answers 500 where that one refuses (REG-22).
                if matches!(status, 400 | 403 | 422 | 500)
                    && let Some(form) = self.next_form(error, description.as_ref())
                {
                    return Self::send(core, self.met, self.at, self.replaced, form);
                }
                let refusal = Refusal::OAuth {
                    error,
                    code,
                    description,
                    error_uri: None,
                };
                fail(&self.met.attempt, Cause::Refused(refusal))
            }
        }
    }

    /// Returns the form of a second request after a refusal, if one would differ. The server says which member it refuses
    /// in words only; a grant that its metadata excludes is the more likely one.
    fn next_form(&self, error: OAuthError, words: Option<&Untrusted>) -> Option<Form> {
        if self.form != Form::Full {
            return None;
        }
        let is_metadata = error == OAuthError::InvalidClientMetadata;
        let listed = self.at.server().facts().grant_types;
        let excluded = listed.is_listed() && !listed.has(GrantType::RefreshToken);
        let words = words.map_or("", Untrusted::as_plain).to_ascii_lowercase();
        let of_scopes = self.with_scope && words.contains("scope");
        // "Grant" alone may be about scopes, such as "scope not granted".
        let of_grant = words.contains("refresh_token")
            || words.contains("grant_type")
            || words.contains("grant") && !of_scopes;
        let is_grant = self.with_refresh && is_metadata && (of_grant || excluded && !of_scopes);
        let without_redirect = self.met.attempt.way.redirect_uri().is_none();
        let is_redirect = error == OAuthError::InvalidRedirectUri || words.contains("redirect");
        if without_redirect && is_redirect {
            Some(Form::WithRedirect)
        } else if is_grant {
            Some(Form::WithoutRefresh)
        } else {
            (self.with_scope || without_redirect).then_some(Form::Reduced)
        }
    }

    /// Stores the registration as the server returned it (REG-24).
    fn registered(self, core: &mut Core, registered: &Registered<'_>) -> Step {
        let issuer = self.at.issuer().clone();
        let violation = |attempt: &Attempt, violation| {
            Err(attempt.fails(
                Stage::Registration,
                Some(&issuer),
                Cause::Violation(violation),
            ))
        };
        if registered.redirect_uri_missing {
            return violation(&self.met.attempt, Violation::RedirectUriNotRegistered);
        }
        if registered.grant_missing {
            return match self.met.attempt.way {
                Way::Redirect { .. } => violation(&self.met.attempt, Violation::NoCodeGrant),
                Way::Device => {
                    let cause = Cause::Misconfigured(Misconfiguration::NoDeviceGrant);
                    Err(self
                        .met
                        .attempt
                        .fails(Stage::Registration, Some(&issuer), cause))
                }
            };
        }
        let secret = registered.client_secret.clone();
        let length = |secret: &Secret| secret.expose().len();
        if secret.as_ref().map_or(0, length) > MAX_TOKEN_BYTES {
            return violation(&self.met.attempt, Violation::TooLarge);
        }
        let encoding = core.config().settings(&issuer).basic_encoding;
        let key = core.config().client_metadata_key.as_ref();
        let server = self.at.server().facts();
        let method = match registered_method(registered, self.method, server, key, encoding) {
            Ok(method) => method,
            Err(flaw) => return violation(&self.met.attempt, Violation::RegistrationMethod(flaw)),
        };
        let client = Client {
            id: registered.client_id.into(),
            origin: ClientOrigin::Dynamic,
            method,
            secret_expires_at: registered.secret_expires_at,
        };
        let at = self.at.registered(Registration {
            client,
            left_out: match &registered.scope {
                Some(given) => self.scopes.minus(given),
                None => Scopes::default(),
            },
            registered: Some(core.now.wall),
            scopes: match &registered.scope {
                Some(given) => Some(RegisteredScopes::Named(given.clone())),
                None if self.with_scope => Some(RegisteredScopes::Asked(self.scopes.clone())),
                None => None,
            },
        });
        let uri = self.met.attempt.way.registration();
        let stored = write_registration(&core.identity, uri, &at);
        let Found { slot, revision } = self.replaced;
        let ask = core.persist(slot, revision, Some(stored), None);
        let mut met = self.met;
        if met.attempt.way.redirect_uri().is_some() && core.waiting.is_none() {
            // The pending record is written beside it; the redirect waits for both.
            met.attempt.registration = Some(NewRegistration { ask, slot });
            return Ok(Next::SendUser(met, at));
        }
        wait_in(Work::SavingRegistration(SavingRegistration {
            ask,
            slot,
            met,
            at,
        }))
    }
}

/// Returns the first method of REG-21 that the token endpoint has not rejected; the first of all when each
/// was.
fn method_to_ask(core: &Core, at: &AtIssuer<()>) -> AuthMethod {
    let key = core.config().client_metadata_key.as_ref();
    let methods = || registration_methods(at.server().facts(), key);
    methods()
        .find(|method| !core.memory.clients.is_refused(at.issuer(), *method))
        .or_else(|| methods().next())
        .unwrap_or(AuthMethod::None)
}

/// Stores the registration for later authorizations, before the next step of this one.
pub(crate) struct SavingRegistration {
    pub(crate) ask: Ask,
    slot: Slot,
    pub(crate) met: Met,
    at: AtIssuer<Registration>,
}

impl SavingRegistration {
    pub(crate) fn persisted(self, core: &mut Core, outcome: Persistence) -> Step {
        let current: Option<Stored> = match outcome {
            Persistence::Done => None,
            // Another process registered at the same time; its client is shared (REG-28).
            Persistence::Conflict(current) => current,
            Persistence::Failed => {
                let cause = Cause::NotPersisted(StoreFlaw::Write);
                let issuer = self.at.issuer();
                return Err(self
                    .met
                    .attempt
                    .fails(Stage::Registration, Some(issuer), cause));
            }
        };
        core.memory.clients.made(self.slot);
        let here = self.at.server().clone().enter();
        let shared = match current {
            Some(stored) => usable(core, &self.met.attempt, &here, self.slot, &stored)?,
            None => None,
        };
        Ok(Next::SendUser(self.met, shared.unwrap_or(self.at)))
    }
}
