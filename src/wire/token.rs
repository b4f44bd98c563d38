//! The token endpoint's answer (RFC 6749 sections 5.1 and 5.2).

use serde::Deserialize;
use serde_json::value::RawValue;

use super::http_fields::is_transient;
use super::json::{Text, object};
use super::scopes::Scopes;
use super::text::Untrusted;
use crate::secret::Secret;

/// Longest token or secret (SEC-13, TOK-15).
pub const MAX_TOKEN_BYTES: usize = 64 * 1024;
/// Longest lifetime believed: ten years (TOK-13).
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
    /// Any other code.
    Other,
}

impl OAuthError {
    /// Whether it refuses the client rather than what it asks for: servers say either for a client that
    /// they do not know, or whose authentication they do not accept (TOK-19).
    pub const fn refuses_client(self) -> bool {
        matches!(self, Self::InvalidClient | Self::UnauthorizedClient)
    }

    /// The code with this exact spelling, or [`OAuthError::Other`].
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
            _other => Self::Other,
        }
    }
}

/// How long a token lives (TOK-13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lifetime {
    /// Nothing usable was said: usable until refused, never "for ever".
    Unknown,
    /// Seconds from receipt; zero is expired already.
    Seconds(u64),
}

impl Lifetime {
    /// Seconds from receipt, where anything usable was said.
    pub const fn seconds(self) -> Option<u64> {
        match self {
            Self::Unknown => None,
            Self::Seconds(seconds) => Some(seconds),
        }
    }
}

/// The scheme under which a token is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenType {
    /// RFC 6750.
    Bearer,
    /// RFC 9449: bound to a key.
    Dpop,
}

/// An access token that can stand in a header: visible ASCII, at most 64 KiB (TOK-15).
#[derive(Clone, Debug)]
pub(crate) struct AccessToken(Secret);

impl AccessToken {
    /// `None` for a text that cannot stand in a header.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let fits = (1..=MAX_TOKEN_BYTES).contains(&text.len());
        let usable = fits && text.bytes().all(|byte| byte.is_ascii_graphic());
        usable.then(|| Self(Secret::new(text)))
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.0
    }
}

/// A usable success answer.
#[derive(Debug)]
pub struct Granted {
    /// The access token.
    pub(crate) access_token: AccessToken,
    /// The refresh token, when one was issued (SCOPE-09).
    pub(crate) refresh_token: Option<Secret>,
    /// The lifetime from receipt.
    pub lifetime: Lifetime,
    /// The scopes granted; `None` means those requested (SCOPE-12).
    pub scope: Option<Scopes>,
    /// How the token is presented.
    pub token_type: TokenType,
    /// Whether `token_type` was missing and taken for `Bearer` (TOK-12).
    pub type_assumed: bool,
}

/// What the answer said.
#[derive(Debug)]
pub enum TokenAnswer {
    /// A token.
    Granted(Box<Granted>),
    /// An OAuth error, with any status that is not transient by itself (TOK-18).
    Refused {
        /// The code.
        error: OAuthError,
        /// The code as sent, sanitised.
        code: Untrusted,
        /// The description, sanitised.
        description: Option<Untrusted>,
    },
    /// Neither: nothing of the body is kept.
    Unexpected(UnexpectedToken),
}

/// Why an answer is neither a token nor an OAuth error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum UnexpectedToken {
    /// Not a JSON object, or one that repeats a member.
    #[error("not a token answer")]
    Body,
    /// A status other than 200 without an OAuth error, or a transient one.
    #[error("status {0} without an OAuth error")]
    Status(u16),
    /// No `access_token`.
    #[error("no access_token")]
    NoToken,
    /// A token that cannot stand in a header, or longer than 64 KiB.
    #[error("the access token cannot be put into a header")]
    TokenText,
    /// A token type that was not asked for.
    #[error("a token type that was not asked for")]
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

/// Whether a missing `token_type` is taken for `Bearer` (TOK-12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingType {
    /// Taken for `Bearer`.
    Assume,
    /// Refused: strict mode.
    Refuse,
}

/// Reads an answer (TOK-11 to TOK-15, TOK-18).
pub fn read(status: u16, body: &[u8], missing_type: MissingType) -> TokenAnswer {
    if is_transient(status) {
        return TokenAnswer::Unexpected(UnexpectedToken::Status(status));
    }
    let Ok(document) = object::<TokenDocument<'_>>(body) else {
        return TokenAnswer::Unexpected(if status == 200 {
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
    if status != 200 {
        return TokenAnswer::Unexpected(UnexpectedToken::Status(status));
    }
    match granted(&document, missing_type) {
        Ok(granted) => TokenAnswer::Granted(Box::new(granted)),
        Err(flaw) => TokenAnswer::Unexpected(flaw),
    }
}

fn granted(
    document: &TokenDocument<'_>,
    missing_type: MissingType,
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
    Ok(Granted {
        access_token,
        refresh_token: refresh_token.map(Secret::new),
        lifetime: lifetime(document.expires_in),
        scope: document.scope.get().map(Scopes::parse),
        token_type,
        type_assumed,
    })
}

/// The OAuth error in a body, when there is one (TOK-18): its code, as sent, and the description.
pub fn refusal(body: &[u8]) -> Option<(OAuthError, Untrusted, Option<Untrusted>)> {
    let document = object::<TokenDocument<'_>>(body).ok()?;
    let code = document.error.get()?;
    let description = document.error_description.non_empty().map(Untrusted::new);
    Some((
        OAuthError::from_code(code),
        Untrusted::new(code),
        description,
    ))
}

/// How the user is to authenticate, as a server that wants more says it (RFC 9470, EMA-17).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthenticationWish {
    /// The authentication contexts that would do, sanitised.
    pub acr_values: Option<Untrusted>,
    /// How many seconds ago the user may have authenticated.
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

/// Reads the wish of an error answer.
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

/// Reads a token exchange answer as a grant for another server (EMA-10): exactly that type, and no
/// access token.
///
/// # Errors
/// The OAuth error, or `None` when it is neither.
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

/// Digits, a fraction cut off, quotes tolerated; anything else is unknown. No floating point.
fn lifetime(value: Option<&RawValue>) -> Lifetime {
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
