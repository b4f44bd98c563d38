//! The issuer of a server, configured once and used everywhere (AS-02).

use url::Url;

use mcp_auth_machine::wire::url::{has_user_information, is_loopback};

/// The flaw in an issuer of a server (AS-02).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum IssuerError {
    /// The issuer is not an absolute URL.
    #[error("the issuer is not an absolute URL")]
    NotAbsolute,
    /// The issuer is not `https`, nor `http` on a loopback host.
    #[error("the issuer is neither https nor http on a loopback host")]
    Scheme,
    /// The issuer has a query, a fragment or user information.
    #[error("the issuer holds a query, a fragment or user information")]
    Parts,
    /// The issuer is not in canonical form: upper-case host, default port, or dot segments.
    #[error("the issuer is not in canonical spelling")]
    NotCanonical,
}

/// Validates an issuer, which clients compare byte by byte.
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

/// Judges the URL of an endpoint to which secrets go, or from which keys come.
#[cfg(feature = "jwt")]
pub(super) fn check_endpoint(text: &str) -> Result<Url, IssuerError> {
    let url = Url::parse(text).map_err(|_| IssuerError::NotAbsolute)?;
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        _other => return Err(IssuerError::Scheme),
    }
    if url.fragment().is_some() || has_user_information(&url) {
        return Err(IssuerError::Parts);
    }
    Ok(url)
}
