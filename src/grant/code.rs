//! The authorization code grant: what is kept while the user is away, and what comes back.

use std::borrow::Cow;
use std::sync::Arc;

use crate::config::IssuerSettings;
use crate::issuer::{AtIssuer, Endpoint, RequestError};
use crate::key::KeyBinding;
use crate::secret::Secret;
use crate::time::UnixMillis;
use crate::wire::callback::{
    BrowserBinding, IssBinding, IssFlaw, MAX_CODE_BYTES, Parameters, check_iss,
};
use crate::wire::form::{Form, pairs};
use crate::wire::pkce::{State, Verifier};
use crate::wire::scopes::Scopes;
use crate::wire::text::Untrusted;
use crate::wire::token::OAuthError;
use crate::wire::url::{UrlPolicy, WebUrl};

use super::{Client, TokenGrant, is_reserved};

/// Longest URL handed to a browser (AUTHZ-11).
const MAX_REDIRECT_BYTES: usize = 32 * 1024;

/// The resource indicator of one grant (RES-03, RES-04).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    /// The validated identifier, byte for byte.
    pub(crate) id: Box<str>,
    /// False only by the host's setting for this issuer (RES-11).
    pub(crate) sent: bool,
}

impl Resource {
    pub(super) fn push(&self, form: &mut Form) {
        if self.sent {
            form.push("resource", &self.id);
        }
    }
}

/// What is kept between the redirect and the callback (AUTHZ-16), at the server redirected to.
#[derive(Clone)]
pub(crate) struct Redirected(pub(crate) Box<RedirectedParts>);

/// The parts of a [`Redirected`].
#[derive(Clone)]
pub(crate) struct RedirectedParts {
    pub(crate) state: State,
    pub(crate) verifier: Verifier,
    pub(crate) redirect_uri: Arc<str>,
    pub(crate) client: Client,
    pub(crate) resource: Resource,
    pub(crate) requested: Scopes,
    /// Whether the server said at the redirect that it sends `iss` (B09).
    pub(crate) advertises_iss: bool,
    /// Whether `offline_access` was added by SCOPE-06.
    pub(crate) added_offline_access: bool,
    pub(crate) browser: Option<BrowserBinding>,
    /// The key that the tokens are to be bound to.
    pub(crate) binding: Option<KeyBinding>,
    pub(crate) created: UnixMillis,
    pub(crate) expires: UnixMillis,
}

/// How far the clocks of two instances may differ when one takes up the other's record.
const CLOCK_SKEW_MILLIS: u64 = 5 * 60 * 1_000;

impl Redirected {
    /// The whole authorization request in a URL.
    pub(crate) fn redirect_url(
        &self,
        endpoint: &WebUrl,
        settings: &IssuerSettings,
    ) -> Result<Box<str>, RequestError> {
        let carries_resource = own_query(endpoint, Some(&self.0.resource.id))?;
        let mut form = Form::with_capacity(512);
        self.push_request(&mut form, !carries_resource);
        form.push_further(settings.authorization_parameters());
        join(endpoint, &form)
    }

    /// A URL with a reference to the request, which was pushed (RFC 9126 section 4).
    pub(crate) fn reference_url(
        &self,
        endpoint: &WebUrl,
        reference: &str,
    ) -> Result<Box<str>, RequestError> {
        own_query(endpoint, None)?;
        let mut form = Form::with_capacity(256);
        form.push("client_id", &self.0.client.id);
        form.push("request_uri", reference);
        join(endpoint, &form)
    }

    /// The parameters of the request.
    fn push_request(&self, form: &mut Form, with_resource: bool) {
        let this = &self.0;
        let challenge = this.verifier.challenge();
        form.push("response_type", "code");
        form.push("client_id", &this.client.id);
        form.push("redirect_uri", &this.redirect_uri);
        form.push("state", this.state.expose());
        form.push("code_challenge", challenge.as_str());
        form.push("code_challenge_method", "S256");
        if let Some(binding) = &this.binding {
            // The code is bound to the key too (DPOP-17).
            form.push("dpop_jkt", &binding.thumbprint);
        }
        if with_resource {
            this.resource.push(form);
        }
        if !this.requested.is_empty() {
            form.push("scope", this.requested.as_str());
        }
    }

    /// Steps 2 and 3 of CB-04 with the browser binding of CB-14: everything that must hold before a
    /// callback is one of ours. All refusals look alike (I10).
    pub(crate) fn matches(
        &self,
        parameters: &Parameters<'_>,
        browser: Option<BrowserBinding>,
        now: UnixMillis,
    ) -> bool {
        let this = &self.0;
        let state = parameters
            .state()
            .is_some_and(|state| state.same(&this.state));
        let target = parameters
            .target
            .is_none_or(|target| is_target(target, &this.redirect_uri));
        let browser = match (this.browser, browser) {
            (None, _) => true,
            (Some(bound), Some(seen)) => bound.same(&seen),
            (Some(_), None) => false,
        };
        let alive = now < this.expires && this.created.0 <= now.0.saturating_add(CLOCK_SKEW_MILLIS);
        state && target && browser && alive
    }
}

/// Whether the endpoint's own query holds our resource already; it may hold nothing else of ours.
fn own_query(endpoint: &WebUrl, resource: Option<&str>) -> Result<bool, RequestError> {
    let mut carries_resource = false;
    for pair in pairs(endpoint.query().unwrap_or_default()) {
        let (name, value) = pair.map_err(|_| RequestError::Reserved(Untrusted::new("%")))?;
        if name == "resource" && resource == Some(value.as_ref()) {
            carries_resource = true;
        } else if is_reserved(&name) {
            return Err(RequestError::Reserved(Untrusted::new(&name)));
        }
    }
    Ok(carries_resource)
}

fn join(endpoint: &WebUrl, form: &Form) -> Result<Box<str>, RequestError> {
    let joint = match endpoint.query() {
        None => "?",
        Some(query) if query.is_empty() || query.ends_with('&') => "",
        Some(_) => "&",
    };
    let url = [&plain(endpoint.as_str()), joint, form.as_str()].concat();
    if url.len() > MAX_REDIRECT_BYTES {
        return Err(RequestError::TooLong(url.len()));
    }
    Ok(url.into_boxed_str())
}

/// Escapes what a shell could read as more than text (F02).
fn plain(url: &str) -> Cow<'_, str> {
    if !url.contains(['$', '\'', '(', ')']) {
        return Cow::Borrowed(url);
    }
    let escaped = url
        .replace('$', "%24")
        .replace('\'', "%27")
        .replace('(', "%28")
        .replace(')', "%29");
    Cow::Owned(escaped)
}

/// Whether a URL without its query is the redirect URI without its query (CB-07): the same text, or the
/// text that a browser makes of it, with a lower-case host and without a default port. Other spellings are
/// others, as for the servers that compare redirect URIs (RFC 3986 section 6.2.1).
fn is_target(target: &str, redirect_uri: &str) -> bool {
    let expected = redirect_uri.split('?').next().unwrap_or_default();
    target == expected || url::Url::parse(expected).is_ok_and(|url| url.as_str() == target)
}

impl AtIssuer<Redirected> {
    /// Steps 4 and 5 of CB-04, for a callback that matched: `iss` first, whatever else it holds.
    pub(crate) fn answer(self, parameters: &Parameters<'_>, policy: &UrlPolicy) -> Matched {
        let added_offline_access = self.held().0.added_offline_access;
        let client = self.held().0.client.origin;
        let verdict = self.try_then(|redirected, server| {
            let iss_binding = check_iss(
                redirected.0.advertises_iss,
                parameters.iss.as_deref(),
                server.issuer().as_str(),
            )
            .map_err(CallbackFlaw::Iss)?;
            if parameters.front_channel_token {
                return Err(CallbackFlaw::FrontChannelToken);
            }
            match (parameters.code.as_deref(), parameters.error.as_deref()) {
                (Some(code), None) if !code.is_empty() && code.len() <= MAX_CODE_BYTES => {
                    Ok(CodeGrant {
                        code: Secret::new(code),
                        redirected,
                        iss_binding,
                    })
                }
                (None, Some(code)) => Err(CallbackFlaw::Refused {
                    error: OAuthError::from_code(code),
                    code: Untrusted::new(code),
                    description: parameters.error_description.as_deref().map(Untrusted::new),
                    error_uri: parameters
                        .error_uri
                        .as_deref()
                        .and_then(|uri| policy.check(uri).ok()),
                }),
                (Some(_), Some(_) | None) | (None, None) => Err(CallbackFlaw::NotOneAnswer),
            }
        });
        Matched {
            verdict,
            added_offline_access,
            client,
        }
    }
}

/// A callback that belongs to one of our authorizations, judged.
pub(crate) struct Matched {
    pub(crate) verdict: Result<AtIssuer<CodeGrant>, CallbackFlaw>,
    pub(crate) added_offline_access: bool,
    pub(crate) client: super::ClientOrigin,
}

/// Why a matching callback brings no code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallbackFlaw {
    /// `iss` did not pass; nothing else of the callback is looked at (CB-09).
    Iss(IssFlaw),
    /// A token in the front channel (CB-12).
    FrontChannelToken,
    /// Not exactly one usable `code` or `error` (CB-08, CB-15).
    NotOneAnswer,
    /// The server's own refusal, after `iss` passed.
    Refused {
        error: OAuthError,
        code: Untrusted,
        description: Option<Untrusted>,
        error_uri: Option<WebUrl>,
    },
}

/// A code that came back for one of our authorizations: made only by [`AtIssuer::answer`].
pub(crate) struct CodeGrant {
    code: Secret,
    pub(crate) redirected: Redirected,
    pub(crate) iss_binding: IssBinding,
}

/// Pushed to the server instead of being put into a URL (RFC 9126).
impl TokenGrant for Redirected {
    const ENDPOINT: Endpoint = Endpoint::PushedAuthorization;

    fn encode(&self, form: &mut Form) {
        self.push_request(form, true);
    }

    fn client(&self) -> &Client {
        &self.0.client
    }

    fn binding(&self) -> Option<&KeyBinding> {
        self.0.binding.as_ref()
    }
}

impl TokenGrant for CodeGrant {
    fn encode(&self, form: &mut Form) {
        let parts = &self.redirected.0;
        form.push("grant_type", "authorization_code");
        form.push("code", self.code.expose());
        form.push("redirect_uri", &parts.redirect_uri);
        form.push("code_verifier", parts.verifier.expose());
        parts.resource.push(form);
    }

    fn client(&self) -> &Client {
        &self.redirected.0.client
    }

    fn binding(&self) -> Option<&KeyBinding> {
        self.redirected.0.binding.as_ref()
    }
}
