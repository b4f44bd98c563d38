//! The authorization code grant: the pending authorization, and the code of its callback.

use std::borrow::Cow;

use crate::issuer::{AtIssuer, Endpoint, IssuerSettings};
use crate::key::KeyBinding;
use crate::redirect_uri::RedirectUri;
use crate::secret::Secret;
use crate::slot::AuthorizationId;
use crate::time::UnixMillis;
use crate::wire::callback::{
    BrowserBinding, IssBinding, IssFlaw, MAX_CODE_BYTES, Parameters, check_iss,
};
use crate::wire::form::{Form, FormText, pairs};
use crate::wire::pkce::{State, Verifier};
use crate::wire::reserved::is_reserved;
use crate::wire::scopes::Scopes;
use crate::wire::text::{Untrusted, all_bytes, cut};
use crate::wire::token::OAuthError;
use crate::wire::url::{UrlPolicy, WebUrl};
use crate::wire::url_text::UrlText;

use super::{Client, RequestError, TokenGrant};

/// Longest URL for a browser, in bytes (AUTHZ-11).
const MAX_REDIRECT_BYTES: usize = 32 * 1024;

/// The resource indicator of one grant (RFC 8707, RES-03, RES-04).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    /// The validated identifier, byte for byte.
    pub(crate) id: FormText,
    /// Whether it is sent; false only by the host's setting for this issuer (RES-11).
    pub(crate) sent: bool,
}

impl Resource {
    pub(crate) fn push(&self, form: &mut Form) {
        if self.sent {
            form.escaped("resource", &self.id);
        }
    }
}

/// A pending authorization at the redirected-to issuer, stored between redirect and callback (AUTHZ-16).
#[derive(Clone)]
pub(crate) struct Redirected(pub(crate) Box<RedirectedParts>);

/// The parts of a [`Redirected`].
#[derive(Clone)]
pub(crate) struct RedirectedParts {
    pub(crate) state: State,
    pub(crate) verifier: Verifier,
    pub(crate) redirect_uri: FormText,
    pub(crate) client: Client,
    pub(crate) resource: Resource,
    pub(crate) requested: Scopes,
    /// Whether the server advertised `iss` at the redirect (B09).
    pub(crate) advertises_iss: bool,
    /// Whether the machine added `offline_access` (SCOPE-06).
    pub(crate) added_offline_access: bool,
    pub(crate) browser: Option<BrowserBinding>,
    /// The key that the tokens will be bound to.
    pub(crate) binding: Option<KeyBinding>,
    /// Whether an account was stored when the authorization began: a slot without one means that the user has signed
    /// out since (REFR-12).
    pub(crate) beside_account: bool,
    pub(crate) created: UnixMillis,
    pub(crate) expires: UnixMillis,
}

/// Largest tolerated clock difference between two instances that share a record, in milliseconds.
pub(crate) const CLOCK_SKEW_MILLIS: u64 = 5 * 60 * 1_000;

impl Redirected {
    /// Returns the URL of the complete authorization request.
    pub(crate) fn redirect_url(
        &self,
        endpoint: UrlText<'_>,
        settings: &IssuerSettings,
    ) -> Result<String, RequestError> {
        let replaced = own_query(endpoint)? && self.0.resource.sent;
        let mut form = Form::after(before_parameters(endpoint, replaced, 512));
        self.push_request(&mut form);
        form.push_further(settings.authorization_parameters());
        finish(form)
    }

    /// Returns the URL with a reference to the pushed request (RFC 9126 section 4).
    pub(crate) fn reference_url(
        &self,
        endpoint: UrlText<'_>,
        reference: &str,
    ) -> Result<String, RequestError> {
        let pushed = own_query(endpoint)?;
        let mut form = Form::after(before_parameters(endpoint, pushed, 256));
        form.parameter("client_id", &self.0.client.id);
        form.parameter("request_uri", reference);
        finish(form)
    }

    /// Adds the parameters of the request.
    fn push_request(&self, form: &mut Form) {
        let this = &self.0;
        let challenge = this.verifier.challenge();
        form.parameter("response_type", "code");
        form.parameter("client_id", &this.client.id);
        form.escaped("redirect_uri", &this.redirect_uri);
        form.unreserved("state", this.state.expose_bytes());
        form.unreserved("code_challenge", challenge.as_bytes());
        form.parameter("code_challenge_method", "S256");
        if let Some(binding) = &this.binding {
            // The code is bound to the key too (RFC 9449 section 10, DPOP-17).
            form.parameter("dpop_jkt", &binding.thumbprint);
        }
        this.resource.push(form);
        if !this.requested.is_empty() {
            form.parameter("scope", this.requested.as_str());
        }
    }

    /// Returns true if a callback could be accepted at this redirect URI, in this browser (AUTHZ-09, CB-14).
    pub(crate) fn comes_back_to(
        &self,
        uri: Option<&RedirectUri>,
        browser: Option<&BrowserBinding>,
    ) -> bool {
        let uri = uri.is_none_or(|uri| uri.as_str() == self.0.redirect_uri.as_str());
        uri && is_same_browser(self.0.browser.as_ref(), browser)
    }

    /// Returns true if a record was made in the past and has not expired, by the wall clock: for the callback of an
    /// authorization that another process began.
    pub(crate) fn is_alive(&self, now: UnixMillis) -> bool {
        now < self.0.expires && self.0.created.0 <= now.0.saturating_add(CLOCK_SKEW_MILLIS)
    }

    /// Returns true if a callback belongs to this authorization: steps 2 and 3 of CB-04, and the browser
    /// binding of CB-14. All mismatches look alike (I10).
    pub(crate) fn matches(
        &self,
        parameters: &Parameters<'_>,
        browser: Option<BrowserBinding>,
    ) -> bool {
        let state = parameters.state();
        state.is_some_and(|state| state.same(&self.0.state))
            && self.is_target_of(parameters, browser)
    }

    /// Same as [`matches`](Self::matches), for a callback whose `state` is known to match.
    pub(crate) fn is_target_of(
        &self,
        parameters: &Parameters<'_>,
        browser: Option<BrowserBinding>,
    ) -> bool {
        let this = &self.0;
        let target = parameters
            .target
            .is_none_or(|target| is_target(target, this.redirect_uri.as_str()));
        let browser = match (this.browser, browser) {
            (None, _) => true,
            (Some(bound), Some(seen)) => bound.same(&seen),
            (Some(_), None) => false,
        };
        target && browser
    }
}

/// Returns true if both are bound to the same browser, or neither is bound to any (CB-14).
pub(crate) fn is_same_browser(
    one: Option<&BrowserBinding>,
    other: Option<&BrowserBinding>,
) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.same(other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Returns true if the endpoint's query contains `resource`; no other parameter of the client may occur there.
fn own_query(endpoint: UrlText<'_>) -> Result<bool, RequestError> {
    let mut has_resource = false;
    for pair in pairs(endpoint.query().unwrap_or_default()) {
        let (name, _) = pair.map_err(|_| RequestError::Reserved(Untrusted::new("%")))?;
        if name == "resource" {
            has_resource = true;
        } else if is_reserved(&name) {
            return Err(RequestError::Reserved(Untrusted::new(&name)));
        }
    }
    Ok(has_resource)
}

/// Returns the endpoint's URL up to where parameters are added, in a buffer with space for them, on request without its
/// own `resource` (RES-08).
fn before_parameters(endpoint: UrlText<'_>, without_resource: bool, space: usize) -> String {
    let (place, query) = cut(endpoint.as_str(), b'?');
    let query = query.unwrap_or_default();
    let mut url = String::with_capacity(endpoint.as_str().len().saturating_add(space));
    url.push_str(&plain(place));
    url.push('?');
    let is_resource =
        |piece: &str| pairs(piece).any(|pair| pair.is_ok_and(|(name, _)| name == "resource"));
    for piece in query.split('&').filter(|piece| !piece.is_empty()) {
        if !(without_resource && is_resource(piece)) {
            url.push_str(&plain(piece));
            url.push('&');
        }
    }
    url
}

fn finish(form: Form) -> Result<String, RequestError> {
    let url = form.into_string();
    if url.len() > MAX_REDIRECT_BYTES {
        return Err(RequestError::TooLong(url.len()));
    }
    Ok(url)
}

/// Escapes characters that a shell interprets (F02).
pub(crate) fn plain(url: &str) -> Cow<'_, str> {
    let is_harmless = |byte| (byte != b'$') & (byte != b'\'') & (byte != b'(') & (byte != b')');
    if all_bytes(url.as_bytes(), is_harmless) {
        return Cow::Borrowed(url);
    }
    let escaped = url
        .replace('$', "%24")
        .replace('\'', "%27")
        .replace('(', "%28")
        .replace(')', "%29");
    Cow::Owned(escaped)
}

/// Returns true if a URL, without its query, is the redirect URI: the same text, or the text that a browser
/// makes of it, with a lower-case host and without a default port. Other spellings differ, as for servers
/// that compare redirect URIs by simple string comparison (RFC 3986 section 6.2.1, CB-07).
fn is_target(target: &str, redirect_uri: &str) -> bool {
    let expected = cut(redirect_uri, b'?').0;
    target == expected || url::Url::parse(expected).is_ok_and(|url| url.as_str() == target)
}

/// Returns a parameter's value; without a value it counts as omitted (RFC 6749 section 3.1).
fn given(value: Option<&str>) -> Option<&str> {
    value.filter(|value| !value.is_empty())
}

impl AtIssuer<Redirected> {
    /// Reads a callback that belongs to this authorization: `iss` first, regardless of its other parameters
    /// (steps 4 and 5 of CB-04). `authorization` is its name.
    pub(crate) fn answer(
        self,
        parameters: &Parameters<'_>,
        policy: &UrlPolicy,
        authorization: AuthorizationId,
    ) -> Matched {
        let added_offline_access = self.held().0.added_offline_access;
        let client = self.held().0.client.origin;
        let verdict = self.try_then(|redirected, server| {
            let iss_binding = check_iss(
                redirected.0.advertises_iss,
                parameters.iss.as_deref(),
                server.issuer().as_str(),
            )
            .map_err(|flaw| CallbackFlaw::Iss(flaw.in_answer(parameters)))?;
            if parameters.front_channel_token {
                return Err(CallbackFlaw::FrontChannelToken);
            }
            match (
                given(parameters.code.as_deref()),
                given(parameters.error.as_deref()),
            ) {
                (Some(code), None) if code.len() <= MAX_CODE_BYTES => Ok(CodeGrant {
                    code: Secret::new(code),
                    redirected,
                    authorization,
                    iss_binding,
                }),
                (None, Some(code)) => Err(CallbackFlaw::Refused {
                    error: OAuthError::from_code(code),
                    code: Untrusted::new(code),
                    description: parameters
                        .error_description
                        .as_deref()
                        .filter(|words| !words.is_empty())
                        .map(Untrusted::new),
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

/// The outcome of a callback that belongs to an authorization.
pub(crate) struct Matched {
    pub(crate) verdict: Result<AtIssuer<CodeGrant>, CallbackFlaw>,
    pub(crate) added_offline_access: bool,
    pub(crate) client: super::ClientOrigin,
}

/// The reason why a callback has no usable code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallbackFlaw {
    /// `iss` is invalid; the rest of the callback is ignored (CB-09).
    Iss(IssFlaw),
    /// The callback contains a token (CB-12).
    FrontChannelToken,
    /// The callback does not contain exactly one usable `code` or `error` (CB-08, CB-15).
    NotOneAnswer,
    /// The server's refusal, with a valid `iss`.
    Refused {
        error: OAuthError,
        code: Untrusted,
        description: Option<Untrusted>,
        error_uri: Option<WebUrl>,
    },
}

/// The code of a validated callback, created only by [`AtIssuer::answer`].
pub(crate) struct CodeGrant {
    code: Secret,
    pub(crate) redirected: Redirected,
    pub(crate) authorization: AuthorizationId,
    pub(crate) iss_binding: IssBinding,
}

/// A pushed authorization request, sent instead of a URL (RFC 9126).
impl TokenGrant for Redirected {
    const ENDPOINT: Endpoint = Endpoint::PushedAuthorization;
    const NAMES_CLIENT: bool = true;

    fn encode(&self, form: &mut Form) {
        self.push_request(form);
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
        form.parameter("grant_type", "authorization_code");
        form.parameter("code", self.code.expose());
        form.escaped("redirect_uri", &parts.redirect_uri);
        form.unreserved("code_verifier", parts.verifier.expose_bytes());
        parts.resource.push(form);
    }

    fn client(&self) -> &Client {
        &self.redirected.0.client
    }

    fn binding(&self) -> Option<&KeyBinding> {
        self.redirected.0.binding.as_ref()
    }
}
