//! The rejection of a request to an MCP server: status, one challenge, and no details for attackers (RS-02
//! to RS-05, RS-09, RS-10).

use http::header::WWW_AUTHENTICATE;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::json;

use super::http::private_json;
use super::presented::{PresentedError, TokenScheme};
use super::resource::ProtectedResource;
use super::scopes::RequiredScopes;

/// The reason why a request is rejected (RS-04).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    /// The request has no token.
    Missing,
    /// The token is unknown, revoked, from another issuer, or for another audience.
    Invalid,
    /// The token has expired.
    Expired,
    /// The token is bound to a key but has no proof, or must be bound and is not (RS-09).
    NotBound,
    /// The DPoP proof is invalid (RS-09).
    InvalidProof,
    /// The proof requires this nonce (RS-10).
    NonceNeeded(DpopNonce),
    /// The token lacks scopes; the challenge names the first alternative (RS-05).
    InsufficientScope(RequiredScopes),
    /// The token is valid but does not permit the request, and further scopes would not help.
    Forbidden,
    /// The request is malformed.
    Malformed,
    /// The token cannot be verified now, because keys or the authorization server are unavailable.
    Unavailable,
}

impl From<PresentedError> for Rejection {
    fn from(error: PresentedError) -> Self {
        match error {
            PresentedError::Malformed => Self::Malformed,
            PresentedError::Proof => Self::InvalidProof,
        }
    }
}

/// A nonce for proofs: visible ASCII except `"` and `\` (RFC 9449 section 8.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DpopNonce(HeaderValue);

impl DpopNonce {
    /// Creates a nonce; `None` for an empty text, or other characters.
    pub fn new(text: &str) -> Option<Self> {
        let fits = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E);
        if text.is_empty() || !text.bytes().all(fits) {
            return None;
        }
        HeaderValue::try_from(text).ok().map(Self)
    }

    /// Returns the value of `DPoP-Nonce`.
    pub fn header(&self) -> &HeaderValue {
        &self.0
    }
}

/// The name of the header field with a nonce.
pub const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// The response to a rejected request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectionResponse {
    status: StatusCode,
    error: Option<&'static str>,
    description: Option<&'static str>,
    challenge: Option<String>,
    nonce: Option<DpopNonce>,
}

impl RejectionResponse {
    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the value of `WWW-Authenticate`: one challenge, each parameter once, quoted and escaped
    /// (RS-02). `None` when no other token would help.
    pub fn www_authenticate(&self) -> Option<HeaderValue> {
        let challenge = self.challenge.as_deref()?;
        // Scopes, URLs and this crate's texts are visible ASCII.
        Some(
            HeaderValue::try_from(challenge).unwrap_or_else(|_| HeaderValue::from_static("Bearer")),
        )
    }

    /// Returns the nonce that the next proof must contain.
    pub fn nonce(&self) -> Option<&DpopNonce> {
        self.nonce.as_ref()
    }

    /// Returns the complete response, never cached.
    pub fn into_http(self) -> Response<String> {
        let body = match (self.error, self.description) {
            (Some(error), Some(text)) => json!({ "error": error, "error_description": text }),
            (Some(error), None) => json!({ "error": error }),
            (None, _) => json!({}),
        };
        let mut response = private_json(self.status, body.to_string());
        let headers = response.headers_mut();
        if let Some(challenge) = self.www_authenticate() {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(nonce) = self.nonce {
            headers.insert(DPOP_NONCE, nonce.0);
        }
        response
    }
}

struct Words {
    status: StatusCode,
    error: Option<&'static str>,
    description: Option<&'static str>,
}

const fn words(
    status: StatusCode,
    error: Option<&'static str>,
    description: Option<&'static str>,
) -> Words {
    Words {
        status,
        error,
        description,
    }
}

fn words_for(rejection: &Rejection) -> Words {
    const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;
    const TOKEN: Option<&str> = Some("invalid_token");
    match rejection {
        Rejection::Missing => words(UNAUTHORIZED, None, None),
        Rejection::Invalid => words(UNAUTHORIZED, TOKEN, Some("the token is not valid here")),
        Rejection::Expired => words(UNAUTHORIZED, TOKEN, Some("the token has expired")),
        Rejection::NotBound => words(
            UNAUTHORIZED,
            TOKEN,
            Some("the token must be presented with a proof of possession"),
        ),
        Rejection::InvalidProof => words(
            UNAUTHORIZED,
            Some("invalid_dpop_proof"),
            Some("the proof of possession is not valid for this request"),
        ),
        Rejection::NonceNeeded(_) => words(
            UNAUTHORIZED,
            Some("use_dpop_nonce"),
            Some("the proof of possession needs the nonce of this answer"),
        ),
        Rejection::InsufficientScope(_) => words(
            StatusCode::FORBIDDEN,
            Some("insufficient_scope"),
            Some("the operation needs more scopes"),
        ),
        Rejection::Forbidden => words(StatusCode::FORBIDDEN, None, None),
        Rejection::Malformed => words(
            StatusCode::BAD_REQUEST,
            Some("invalid_request"),
            Some("the request is malformed"),
        ),
        Rejection::Unavailable => words(
            StatusCode::SERVICE_UNAVAILABLE,
            Some("temporarily_unavailable"),
            Some("tokens cannot be checked at the moment"),
        ),
    }
}

impl ProtectedResource {
    /// Returns the response to a request without a token, or before its token was read.
    pub fn reject(&self, rejection: &Rejection) -> RejectionResponse {
        self.reject_as(rejection, TokenScheme::Bearer)
    }

    /// Returns the response to a request whose token used this scheme.
    pub fn reject_as(&self, rejection: &Rejection, presented: TokenScheme) -> RejectionResponse {
        let words = words_for(rejection);
        let (about_proof, challenged, nonce) = match rejection {
            Rejection::NotBound | Rejection::InvalidProof => (true, true, None),
            Rejection::NonceNeeded(nonce) => (true, true, Some(nonce.clone())),
            Rejection::Missing
            | Rejection::Invalid
            | Rejection::Expired
            | Rejection::InsufficientScope(_)
            | Rejection::Malformed => (false, true, None),
            Rejection::Forbidden | Rejection::Unavailable => (false, false, None),
        };
        // A `DPoP` challenge promises that proofs are verified.
        let algorithms = self
            .dpop_algorithms()
            .filter(|_| about_proof || self.requires_dpop() || presented == TokenScheme::Dpop);
        // A server that verifies no proofs rejects the token.
        let error = match words.error {
            Some("invalid_dpop_proof" | "use_dpop_nonce") if algorithms.is_none() => {
                Some("invalid_token")
            }
            error => error,
        };
        let scope = match rejection {
            Rejection::InsufficientScope(needed) => needed.preferred(),
            Rejection::Missing
            | Rejection::Invalid
            | Rejection::Expired
            | Rejection::NotBound
            | Rejection::InvalidProof
            | Rejection::NonceNeeded(_)
            | Rejection::Forbidden
            | Rejection::Malformed
            | Rejection::Unavailable => self.first_scopes(),
        };
        let names = algorithms.map(|algorithms| algorithms.iter().collect::<Vec<_>>().join(" "));
        let parameters = [
            ("error", error),
            ("error_description", words.description),
            (
                "scope",
                Some(scope.as_str()).filter(|scope| !scope.is_empty()),
            ),
            ("algs", names.as_deref()),
            ("resource_metadata", Some(self.metadata_url())),
        ];
        let scheme = if names.is_some() { "DPoP" } else { "Bearer" };
        let challenge = challenged.then(|| challenge(scheme, &parameters));
        RejectionResponse {
            status: words.status,
            error,
            description: words.description,
            challenge,
            nonce: nonce.filter(|_| names.is_some()),
        }
    }
}

fn challenge(scheme: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let mut text = format!("{scheme} ");
    let mut joint = "";
    for (name, value) in parameters {
        if let Some(value) = value {
            text.push_str(joint);
            text.push_str(name);
            text.push('=');
            text.push_str(&quoted(value));
            joint = ", ";
        }
    }
    text
}

/// Returns a quoted-string (RFC 9110 section 5.6.4).
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
