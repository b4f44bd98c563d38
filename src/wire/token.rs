//! The token response (RFC 6749 sections 5.1 and 5.2).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::http_fields::is_transient;
use super::json::{Text, object};
use super::scopes::Scopes;
use super::text::{Untrusted, all_bytes};
use crate::secret::Secret;

/// Longest token or secret, in bytes (SEC-13, TOK-15).
pub const MAX_TOKEN_BYTES: usize = 64 * 1024;
/// Longest accepted lifetime, in seconds: ten years (TOK-13).
pub const MAX_LIFETIME_SECONDS: u64 = 10 * 365 * 24 * 60 * 60;

/// An OAuth error code (RFC 6749 section 5.2 and its extensions).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OAuthError {
    /// `invalid_request`
    InvalidRequest,
    /// `invalid_client`
    InvalidClient,
    /// `invalid_grant`
    InvalidGrant,
    /// `unauthorized_client`
    UnauthorizedClient,
    /// `unsupported_grant_type`
    UnsupportedGrantType,
    /// `unsupported_response_type`
    UnsupportedResponseType,
    /// `invalid_scope`
    InvalidScope,
    /// `invalid_target`
    InvalidTarget,
    /// `access_denied`
    AccessDenied,
    /// `server_error`
    ServerError,
    /// `temporarily_unavailable`
    TemporarilyUnavailable,
    /// `login_required`, `interaction_required`, `consent_required`, `account_selection_required`
    InteractionRequired,
    /// `invalid_redirect_uri`
    InvalidRedirectUri,
    /// `invalid_client_metadata`
    InvalidClientMetadata,
    /// `invalid_software_statement`, `unapproved_software_statement`
    SoftwareStatement,
    /// `insufficient_scope`
    InsufficientScope,
    /// `invalid_token`
    InvalidToken,
    /// `use_dpop_nonce` (RFC 9449 section 8)
    UseDpopNonce,
    /// `invalid_dpop_proof` (RFC 9449 section 5)
    InvalidDpopProof,
    /// `insufficient_user_authentication` (RFC 9470)
    InsufficientUserAuthentication,
    /// `unsupported_token_type`, of a revocation endpoint (RFC 7009 section 2.2.1)
    UnsupportedTokenType,
    /// `authorization_pending`, of a poll with a device code (RFC 8628 section 3.5)
    AuthorizationPending,
    /// `slow_down`, of a poll with a device code (RFC 8628 section 3.5)
    SlowDown,
    /// `expired_token`: the device code has expired (RFC 8628 section 3.5)
    ExpiredDeviceCode,
    /// Any other code.
    Other,
}

impl OAuthError {
    /// Returns true if the code rejects the client rather than the request. Servers use either code for an
    /// unknown client, or one whose authentication failed (TOK-19).
    pub const fn refuses_client(self) -> bool {
        matches!(self, Self::InvalidClient | Self::UnauthorizedClient)
    }

    /// Returns the value for this exact code, or [`OAuthError::Other`].
    pub fn from_code(code: &str) -> Self {
        match code {
            "invalid_request" => Self::InvalidRequest,
            "invalid_client" => Self::InvalidClient,
            "invalid_grant" => Self::InvalidGrant,
            "unauthorized_client" => Self::UnauthorizedClient,
            "unsupported_grant_type" => Self::UnsupportedGrantType,
            "unsupported_response_type" => Self::UnsupportedResponseType,
            "invalid_scope" => Self::InvalidScope,
            "invalid_target" => Self::InvalidTarget,
            "access_denied" => Self::AccessDenied,
            "server_error" => Self::ServerError,
            "temporarily_unavailable" => Self::TemporarilyUnavailable,
            "login_required"
            | "interaction_required"
            | "consent_required"
            | "account_selection_required" => Self::InteractionRequired,
            "invalid_redirect_uri" => Self::InvalidRedirectUri,
            "invalid_client_metadata" => Self::InvalidClientMetadata,
            "invalid_software_statement" | "unapproved_software_statement" => {
                Self::SoftwareStatement
            }
            "insufficient_scope" => Self::InsufficientScope,
            "invalid_token" => Self::InvalidToken,
            "use_dpop_nonce" => Self::UseDpopNonce,
            "invalid_dpop_proof" => Self::InvalidDpopProof,
            "insufficient_user_authentication" => Self::InsufficientUserAuthentication,
            "unsupported_token_type" => Self::UnsupportedTokenType,
            "authorization_pending" => Self::AuthorizationPending,
            "slow_down" => Self::SlowDown,
            "expired_token" => Self::ExpiredDeviceCode,
            _other => Self::Other,
        }
    }
}

/// The lifetime of a token (TOK-13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lifetime {
    /// Missing or invalid: the token is used until it is refused.
    Unknown,
    /// Seconds from receipt; 0: expired already.
    Seconds(u64),
}

impl Lifetime {
    /// Returns the seconds from receipt, if known.
    pub const fn seconds(self) -> Option<u64> {
        match self {
            Self::Unknown => None,
            Self::Seconds(seconds) => Some(seconds),
        }
    }
}

/// The authentication scheme of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenType {
    /// A bearer token (RFC 6750).
    Bearer,
    /// A token bound to a key (RFC 9449).
    Dpop,
}

/// An access token that a header field can carry: visible ASCII, at most 64 KiB (TOK-15).
#[derive(Clone, Debug)]
pub(crate) struct AccessToken(Secret);

impl AccessToken {
    /// Creates an access token; `None` for a text that a header field cannot carry.
    pub(crate) fn new(text: &str) -> Option<Self> {
        Self::of(Cow::Borrowed(text))
    }

    /// Same as [`Self::new`]; an owned text is cleared, whatever it contains.
    pub(crate) fn of(text: Cow<'_, str>) -> Option<Self> {
        let usable = Self::is_valid(&text);
        let secret = Secret::new(text);
        usable.then_some(Self(secret))
    }

    /// Returns true for a text that a header field can carry.
    pub(crate) fn is_valid(text: &str) -> bool {
        let fits = (1..=MAX_TOKEN_BYTES).contains(&text.len());
        fits && all_bytes(text.as_bytes(), |byte| byte.is_ascii_graphic())
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.0
    }
}

/// A successful token response.
#[derive(Debug)]
pub struct Granted {
    /// The access token.
    pub(crate) access_token: AccessToken,
    /// The refresh token, if one was issued (SCOPE-09).
    pub(crate) refresh_token: Option<Secret>,
    /// The lifetime from receipt.
    pub lifetime: Lifetime,
    /// The granted scopes; `None` means the requested ones (SCOPE-12).
    pub scope: Option<Scopes>,
    /// The type of the token.
    pub token_type: TokenType,
    /// Whether `token_type` was missing and assumed to be `Bearer` (TOK-12).
    pub type_assumed: bool,
}

impl Granted {
    /// Returns the granted scopes of a request for these, whose text is shared if nothing else was granted (SCOPE-12).
    pub(crate) fn scope_of(&self, requested: &Scopes) -> Scopes {
        let other = self.scope.as_ref().filter(|scope| *scope != requested);
        other.unwrap_or(requested).clone()
    }
}

/// A parsed token response.
#[derive(Debug)]
pub enum TokenAnswer {
    /// A token.
    Granted(Granted),
    /// An OAuth error, with any status that is not temporary itself (TOK-18).
    Refused {
        /// The error code.
        error: OAuthError,
        /// The error code as sent, sanitised.
        code: Untrusted,
        /// The description, sanitised.
        description: Option<Untrusted>,
    },
    /// A success whose access token cannot be used.
    Unusable(Box<UnusableTokens>),
    /// Any other response; its body is dropped.
    Unexpected(UnexpectedToken),
}

/// The tokens of a success whose access token cannot be used.
#[derive(Debug)]
pub struct UnusableTokens {
    /// The flaw.
    pub flaw: UnexpectedToken,
    /// The tokens, to revoke them. `None` without an access token, or where one of the tokens has a text that is sent nowhere.
    pub(crate) granted: Option<Granted>,
    /// The refresh token that came with it: the one that was sent, if any, is spent.
    pub(crate) refresh_token: Option<Secret>,
}

/// The flaw in a response that is neither a token nor an OAuth error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum UnexpectedToken {
    /// The body is not a JSON object, or repeats a member.
    #[error("its body is not a JSON object")]
    Body,
    /// The status is neither 200 nor 201 and no OAuth error explains it, or the status is temporary.
    #[error("status {0} without an OAuth error")]
    Status(u16),
    /// `access_token` is missing.
    #[error("no access_token")]
    NoToken,
    /// The token is longer than 64 KiB, or a header field cannot carry it.
    #[error("the access token cannot be put into a header")]
    TokenText,
    /// The token has another type than requested.
    #[error("its token_type is none that was requested: Bearer, or DPoP with a proof")]
    TokenType,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenDocument<'a> {
    #[serde(borrow)]
    access_token: Text<'a>,
    #[serde(borrow)]
    refresh_token: Text<'a>,
    #[serde(borrow)]
    token_type: Text<'a>,
    #[serde(borrow)]
    expires_in: Option<&'a RawValue>,
    #[serde(borrow)]
    scope: Text<'a>,
    #[serde(borrow)]
    error: Text<'a>,
    #[serde(borrow)]
    error_description: Text<'a>,
}

/// The treatment of a missing `token_type` (TOK-12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingType {
    /// Assume `Bearer`.
    Assume,
    /// Reject the response, in strict mode.
    Refuse,
}

/// Returns whether a token may come with this status: 200, or 201 as some frameworks send after each POST.
fn is_success(status: u16) -> bool {
    matches!(status, 200 | 201)
}

/// Parses a token response (TOK-11 to TOK-15, TOK-18).
pub fn read(status: u16, body: &[u8], missing_type: MissingType) -> TokenAnswer {
    read_for(status, body, missing_type, None)
}

/// Same as [`read`], for a request for these scopes, whose text is shared if they are granted.
pub(crate) fn read_for(
    status: u16,
    body: &[u8],
    missing_type: MissingType,
    requested: Option<&Scopes>,
) -> TokenAnswer {
    if is_transient(status) {
        return TokenAnswer::Unexpected(UnexpectedToken::Status(status));
    }
    let Ok(document) = object::<TokenDocument<'_>>(body) else {
        return TokenAnswer::Unexpected(if is_success(status) {
            UnexpectedToken::Body
        } else {
            UnexpectedToken::Status(status)
        });
    };
    if let Some(code) = document.error.get() {
        return TokenAnswer::Refused {
            error: OAuthError::from_code(code),
            code: Untrusted::new(code),
            description: document.error_description.non_empty().map(Untrusted::new),
        };
    }
    if !is_success(status) {
        return TokenAnswer::Unexpected(UnexpectedToken::Status(status));
    }
    match granted(&document, missing_type, requested) {
        Ok(granted) => TokenAnswer::Granted(granted),
        Err(flaw) => TokenAnswer::Unusable(Box::new(unusable(&document, flaw))),
    }
}

/// Returns the tokens of a success with this flaw.
fn unusable(document: &TokenDocument<'_>, flaw: UnexpectedToken) -> UnusableTokens {
    let text = document.refresh_token.non_empty();
    let refresh_token = text.filter(|text| text.len() <= MAX_TOKEN_BYTES);
    let access_token = document.access_token.non_empty();
    let access_token = access_token.filter(|_| refresh_token.is_some() || text.is_none());
    let access_token = access_token.and_then(AccessToken::new);
    UnusableTokens {
        flaw,
        granted: access_token.map(|access_token| Granted {
            access_token,
            refresh_token: refresh_token.map(Secret::new),
            lifetime: Lifetime::Unknown,
            scope: None,
            token_type: TokenType::Bearer,
            type_assumed: true,
        }),
        refresh_token: text.map(Secret::new),
    }
}

fn granted(
    document: &TokenDocument<'_>,
    missing_type: MissingType,
    requested: Option<&Scopes>,
) -> Result<Granted, UnexpectedToken> {
    let access_token = document
        .access_token
        .non_empty()
        .ok_or(UnexpectedToken::NoToken)?;
    if document.token_type.is_of_another_type() {
        return Err(UnexpectedToken::TokenType);
    }
    let (token_type, type_assumed) = match document.token_type.get() {
        Some(text) if text.eq_ignore_ascii_case("Bearer") => (TokenType::Bearer, false),
        Some(text) if text.eq_ignore_ascii_case("DPoP") => (TokenType::Dpop, false),
        Some(_) => return Err(UnexpectedToken::TokenType),
        None if missing_type == MissingType::Assume => (TokenType::Bearer, true),
        None => return Err(UnexpectedToken::TokenType),
    };
    let access_token = AccessToken::new(access_token).ok_or(UnexpectedToken::TokenText)?;
    let refresh_token = document.refresh_token.non_empty();
    if refresh_token.is_some_and(|token| token.len() > MAX_TOKEN_BYTES) {
        return Err(UnexpectedToken::TokenText);
    }
    let scope = document.scope.get();
    Ok(Granted {
        access_token,
        refresh_token: refresh_token.map(Secret::new),
        lifetime: lifetime(document.expires_in),
        scope: scope.map(|text| Scopes::parse_like(requested, text)),
        token_type,
        type_assumed,
    })
}

/// Returns the OAuth error of a body, if there is one: the code, the code as sent, and the description
/// (TOK-18).
pub fn refusal(body: &[u8]) -> Option<(OAuthError, Untrusted, Option<Untrusted>)> {
    if !may_name_an_error(body) {
        return None;
    }
    let document = object::<TokenDocument<'_>>(body).ok()?;
    let code = document.error.get()?;
    let description = document.error_description.non_empty().map(Untrusted::new);
    Some((
        OAuthError::from_code(code),
        Untrusted::new(code),
        description,
    ))
}

/// Returns false if the body has no member `error`: neither the two letters in the middle of the name nor an escape that
/// could spell it. Most token responses are parsed only once because of this.
fn may_name_an_error(body: &[u8]) -> bool {
    let next = body.get(1..).unwrap_or_default();
    let sign = |(byte, next): (&u8, &u8)| (*byte == b'\\') | ((*byte == b'r') & (*next == b'r'));
    body.iter()
        .zip(next)
        .fold(false, |any, pair| any | sign(pair))
}

/// The authentication that a server requires of the user (RFC 9470 step-up authentication, EMA-17).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthenticationWish {
    /// The acceptable authentication contexts, sanitised.
    pub acr_values: Option<Untrusted>,
    /// The maximum age of the user's authentication, in seconds.
    pub max_age: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WishDocument<'a> {
    #[serde(borrow)]
    acr_values: Text<'a>,
    #[serde(borrow)]
    max_age: Option<&'a RawValue>,
}

/// Returns the authentication requirements of an error response.
pub(crate) fn authentication_wish(body: &[u8]) -> AuthenticationWish {
    let document = object::<WishDocument<'_>>(body).unwrap_or_default();
    let max_age = document.max_age.map(RawValue::get);
    AuthenticationWish {
        acr_values: document.acr_values.non_empty().map(Untrusted::new),
        max_age: max_age.and_then(|text| text.trim_matches('"').parse().ok()),
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ExchangeDocument<'a> {
    #[serde(borrow)]
    access_token: Text<'a>,
    #[serde(borrow)]
    issued_token_type: Text<'a>,
    #[serde(borrow)]
    token_type: Text<'a>,
}

/// Parses a token exchange response as an identity assertion grant: exactly that type, and no access token
/// (EMA-10).
///
/// # Errors
/// The OAuth error, or `None` for any other response.
pub(crate) fn read_id_jag(
    status: u16,
    body: &[u8],
) -> Result<Secret, Option<(OAuthError, Untrusted, Option<Untrusted>)>> {
    if is_transient(status) {
        return Err(None);
    }
    if let Some(refused) = refusal(body) {
        return Err(Some(refused));
    }
    let document = object::<ExchangeDocument<'_>>(body).map_err(|_| None)?;
    let fits = status == 200
        && document.issued_token_type.get() == Some(crate::grant::ID_JAG)
        && document
            .token_type
            .get()
            .is_some_and(|kind| kind.eq_ignore_ascii_case("N_A"));
    match document.access_token.non_empty() {
        Some(grant) if fits && grant.len() <= MAX_TOKEN_BYTES => Ok(Secret::new(grant)),
        Some(_) | None => Err(None),
    }
}

/// Parses digits with an optional fraction, which is dropped, and optional quotes; without floating point.
pub(crate) fn lifetime(value: Option<&RawValue>) -> Lifetime {
    let text = value.map_or("", RawValue::get).trim_matches('"');
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Lifetime::Unknown;
    }
    Lifetime::Seconds(
        whole
            .parse()
            .unwrap_or(MAX_LIFETIME_SECONDS)
            .min(MAX_LIFETIME_SECONDS),
    )
}
