//! The one issuer value of a server: written once, used everywhere (AS-02).

use url::Url;

use mcp_auth_machine::wire::url::{has_user_information, is_loopback};

/// Why a text cannot be an issuer of a server (AS-02).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum IssuerError {
    /// Not an absolute URL.
    #[error("the issuer is no absolute URL")]
    NotAbsolute,
    /// Neither `https` nor `http` on a loopback host.
    #[error("the issuer is neither https nor http on a loopback host")]
    Scheme,
    /// Holds a query, a fragment or user information.
    #[error("the issuer holds a query, a fragment or user information")]
    Parts,
    /// Spelled otherwise than clients would send it: host in capitals, default port, dot segments.
    #[error("the issuer is not in canonical spelling")]
    NotCanonical,
}

/// Judges a text that clients will compare byte by byte.
pub(super) fn check(text: &str) -> Result<(), IssuerError> {
    let url = Url::parse(text).map_err(|_| IssuerError::NotAbsolute)?;
    let loopback = is_loopback(&url);
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        _other => return Err(IssuerError::Scheme),
    }
    let bare = url.query().is_none() && url.fragment().is_none() && !has_user_information(&url);
    if !bare {
        return Err(IssuerError::Parts);
    }
    if url.as_str() == text || url.as_str().strip_suffix('/') == Some(text) {
        Ok(())
    } else {
        Err(IssuerError::NotCanonical)
    }
}
