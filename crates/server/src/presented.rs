//! The token in a request to an MCP server (RS-08, RS-09, USE-02).

use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use zeroize::Zeroizing;

/// An unverified token of a request. Verify it before any other use.
#[derive(Clone)]
pub enum Presented {
    /// `Authorization: Bearer`.
    Bearer(Zeroizing<String>),
    /// `Authorization: DPoP` with its single proof, which must be verified: signature, type, method, URL,
    /// time, `ath` and key (RFC 9449 section 4.3).
    Dpop {
        /// The token.
        token: Zeroizing<String>,
        /// The proof, a JWT.
        proof: Zeroizing<String>,
    },
}

/// The reason why a request has no usable token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PresentedError {
    /// The request has several `Authorization` fields, or one without a token: 400 (RS-04).
    #[error("the request presents more than one token, or a malformed one")]
    Malformed,
    /// A DPoP token is not accompanied by exactly one proof: 401.
    #[error("a DPoP token comes with exactly one proof")]
    Proof,
}

impl Presented {
    /// Reads the headers; `None` without a token of these schemes. Tokens in a query are ignored, and must
    /// not be accepted (USE-02).
    ///
    /// # Errors
    /// [`PresentedError`] with the reason.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, PresentedError> {
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        let Some(field) = fields.next() else {
            return Ok(None);
        };
        if fields.next().is_some() {
            return Err(PresentedError::Malformed);
        }
        let field = field.to_str().map_err(|_| PresentedError::Malformed)?;
        let (scheme, rest) = field.split_once(' ').unwrap_or((field, ""));
        let bound = scheme.eq_ignore_ascii_case("DPoP");
        if !bound && !scheme.eq_ignore_ascii_case("Bearer") {
            return Ok(None);
        }
        let token = rest.trim_start_matches(' ');
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(PresentedError::Malformed);
        }
        let token = Zeroizing::new(token.to_owned());
        if !bound {
            return Ok(Some(Self::Bearer(token)));
        }
        let mut proofs = headers.get_all("dpop").iter();
        match (proofs.next().map(|proof| proof.to_str()), proofs.next()) {
            (Some(Ok(proof)), None) => Ok(Some(Self::Dpop {
                token,
                proof: Zeroizing::new(proof.to_owned()),
            })),
            (Some(Ok(_)), Some(_)) | (Some(Err(_)) | None, _) => Err(PresentedError::Proof),
        }
    }
}

impl Presented {
    /// Returns the token.
    pub fn token(&self) -> &str {
        match self {
            Self::Bearer(token) | Self::Dpop { token, .. } => token,
        }
    }

    /// Returns the authentication scheme of the request.
    pub fn scheme(&self) -> TokenScheme {
        match self {
            Self::Bearer(_) => TokenScheme::Bearer,
            Self::Dpop { .. } => TokenScheme::Dpop,
        }
    }
}

/// The authentication scheme of a token and of its challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenScheme {
    /// Bearer (RFC 6750).
    Bearer,
    /// DPoP (RFC 9449).
    Dpop,
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bearer(_) => "Bearer [token]",
            Self::Dpop { .. } => "DPoP [token]",
        })
    }
}
