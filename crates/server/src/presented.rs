//! What a request to an MCP server presents (RS-08, RS-09, USE-02).

use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use zeroize::Zeroizing;

/// A token as it was presented. It is opaque here: validate it before anything else is done.
#[derive(Clone)]
pub enum Presented {
    /// `Authorization: Bearer`.
    Bearer(Zeroizing<String>),
    /// `Authorization: DPoP`, with the one proof that came along. The proof is still to be checked:
    /// signature, type, method, URL, time, `ath`, key (RFC 9449 section 4.3).
    Dpop {
        /// The token.
        token: Zeroizing<String>,
        /// The proof, a JWT.
        proof: Zeroizing<String>,
    },
}

/// Why nothing usable was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PresentedError {
    /// More than one `Authorization` field, or one without a token: 400 (RS-04).
    #[error("the request presents more than one token, or a malformed one")]
    Malformed,
    /// A DPoP token without exactly one proof: 401.
    #[error("a DPoP token comes with exactly one proof")]
    Proof,
}

impl Presented {
    /// Reads the headers; `None` when no token of these kinds is presented. Tokens in a query are not
    /// looked at, and must not be (USE-02).
    ///
    /// # Errors
    /// [`PresentedError`].
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
    /// The token.
    pub fn token(&self) -> &str {
        match self {
            Self::Bearer(token) | Self::Dpop { token, .. } => token,
        }
    }

    /// The scheme that the request used.
    pub fn scheme(&self) -> TokenScheme {
        match self {
            Self::Bearer(_) => TokenScheme::Bearer,
            Self::Dpop { .. } => TokenScheme::Dpop,
        }
    }
}

/// How a token is presented, and the scheme of the challenge that refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenScheme {
    /// RFC 6750.
    Bearer,
    /// RFC 9449.
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
