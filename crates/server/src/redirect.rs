//! Redirect URIs: the rules for registration, and the comparison with sent ones (AS-07).

use url::{Host, Url};

/// Longest redirect URI, in bytes.
pub const MAX_REDIRECT_URI_BYTES: usize = 2048;

/// The reason why a redirect URI cannot be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RedirectUriError {
    /// It is longer than [`MAX_REDIRECT_URI_BYTES`].
    #[error("the redirect URI is longer than {MAX_REDIRECT_URI_BYTES} bytes")]
    TooLong,
    /// It contains a character that RFC 3986 does not allow, or an invalid percent-encoding.
    #[error("the redirect URI holds a character that no URI may hold")]
    Character,
    /// It is not an absolute URI.
    #[error("the redirect URI is not absolute")]
    NotAbsolute,
    /// It has a fragment.
    #[error("the redirect URI has a fragment")]
    Fragment,
    /// It contains user information.
    #[error("the redirect URI has user information")]
    UserInformation,
    /// It is `http` to a host that is not loopback.
    #[error("a redirect URI with http must be on 127.0.0.1, [::1] or localhost")]
    Http,
    /// Its scheme is not a reversed domain name, nor explicitly allowed.
    #[error("the scheme of the redirect URI is not allowed")]
    Scheme,
    /// Its query has a parameter of authorization responses, which would be repeated (RFC 6749 section
    /// 3.1).
    #[error("the query of the redirect URI holds a parameter that authorization responses have")]
    ResponseParameter,
    /// Browsers read its spelling as another URI: `127.1`, a decimal address, or dot segments.
    #[error("the redirect URI is not in canonical spelling")]
    NotCanonical,
}

/// The rules for redirect URIs other than `https` and loopback `http`.
///
/// Private-use schemes must be a reversed domain name (RFC 8252 section 7.1), as in
/// `com.example.app:/callback`; others are allowed by name.
#[derive(Clone, Debug, Default)]
pub struct RedirectRules {
    schemes: Vec<Box<str>>,
    localhost_port: bool,
}

/// Schemes whose content browsers execute, show, or pass to another program.
const FORBIDDEN: &[&str] = &[
    "about",
    "blob",
    "chrome",
    "content",
    "data",
    "file",
    "filesystem",
    "ftp",
    "http",
    "https",
    "intent",
    "jar",
    "javascript",
    "livescript",
    "mailto",
    "mhtml",
    "mocha",
    "resource",
    "sms",
    "ssh",
    "tel",
    "urn",
    "vbscript",
    "view-source",
    "ws",
    "wss",
    "wyciwyg",
    "x-javascript",
];

/// The parameters of authorization responses.
const RESPONSE: &[&str] = &[
    "code",
    "error",
    "error_description",
    "error_uri",
    "iss",
    "response",
    "state",
];

impl RedirectRules {
    /// Allows a private-use scheme that is not a reversed domain name, such as `cursor`.
    ///
    /// # Errors
    /// [`RedirectUriError::Scheme`] for a text that is not a scheme, or a scheme that browsers handle.
    pub fn scheme(mut self, scheme: &str) -> Result<Self, RedirectUriError> {
        if !is_scheme(scheme) || FORBIDDEN.contains(&scheme) {
            return Err(RedirectUriError::Scheme);
        }
        self.schemes.push(scheme.into());
        Ok(self)
    }

    /// Ignores the port of `http://localhost` too, for clients that publish it without one. Another program
    /// on the device may own that name, so prefer address literals (RFC 8252 section 8.3).
    #[must_use]
    pub fn ignore_localhost_port(mut self) -> Self {
        self.localhost_port = true;
        self
    }

    /// Validates a redirect URI for registration.
    ///
    /// # Errors
    /// [`RedirectUriError`] with the first flaw.
    pub fn parse(&self, text: &str) -> Result<RedirectUri, RedirectUriError> {
        if text.len() > MAX_REDIRECT_URI_BYTES {
            return Err(RedirectUriError::TooLong);
        }
        if !text.bytes().all(is_uri_byte) || !escapes_are_whole(text) {
            return Err(RedirectUriError::Character);
        }
        if text.contains('#') {
            return Err(RedirectUriError::Fragment);
        }
        let (scheme, rest) = text.split_once(':').ok_or(RedirectUriError::NotAbsolute)?;
        let url = Url::parse(text).map_err(|_| RedirectUriError::NotAbsolute)?;
        if url
            .query_pairs()
            .any(|(name, _)| RESPONSE.contains(&&*name))
        {
            return Err(RedirectUriError::ResponseParameter);
        }
        match scheme {
            "https" | "http" => {
                let local = web(&url, text, rest)?;
                if scheme == "http" && !local {
                    return Err(RedirectUriError::Http);
                }
                let any_port = scheme == "http" && self.ignores_port_of(&url);
                Ok(RedirectUri {
                    text: text.into(),
                    local,
                    any_port,
                })
            }
            private => {
                let named = private.contains('.') || self.schemes.iter().any(|s| **s == *private);
                let allowed = is_scheme(private) && !FORBIDDEN.contains(&private) && named;
                if !allowed {
                    return Err(RedirectUriError::Scheme);
                }
                if rest.is_empty() {
                    return Err(RedirectUriError::NotAbsolute);
                }
                if authority_of(rest).is_some_and(|authority| authority.contains('@')) {
                    return Err(RedirectUriError::UserInformation);
                }
                Ok(RedirectUri {
                    text: text.into(),
                    local: false,
                    any_port: false,
                })
            }
        }
    }

    fn ignores_port_of(&self, url: &Url) -> bool {
        match url.host() {
            Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
            Some(Host::Domain(_)) => self.localhost_port,
            None => false,
        }
    }
}

/// Validates an `http` or `https` URI; returns true for a loopback host.
fn web(url: &Url, text: &str, rest: &str) -> Result<bool, RedirectUriError> {
    // The parser accepts `https:host` and `https:///host`.
    let authority = authority_of(rest).ok_or(RedirectUriError::NotAbsolute)?;
    if authority.contains('@') {
        return Err(RedirectUriError::UserInformation);
    }
    let read = url.as_str();
    // The parser adds the slash of an origin without a path, and drops the default port.
    let canonical = read == text || read.strip_suffix('/') == Some(text);
    if !canonical || authority.is_empty() || url.port() == Some(0) {
        return Err(RedirectUriError::NotCanonical);
    }
    Ok(match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    })
}

fn authority_of(rest: &str) -> Option<&str> {
    rest.strip_prefix("//")?.split(['/', '?']).next()
}

/// Returns true for a lower-case scheme (RFC 3986 section 3.1).
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.'))
}

fn is_uri_byte(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(
            byte,
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}'
        )
}

fn escapes_are_whole(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        let pair = after.as_bytes().get(..2);
        pair.is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit))
    })
}

/// A redirect URI that may be registered, created only by [`RedirectRules::parse`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RedirectUri {
    text: Box<str>,
    local: bool,
    any_port: bool,
}

impl RedirectUri {
    /// Returns the text as sent.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns true for a loopback URI. Warn at consent if all of a client's redirect URIs are (AS-06).
    pub fn is_loopback(&self) -> bool {
        self.local
    }

    fn admits(&self, sent: &str) -> bool {
        *self.text == *sent
            || self.any_port
                && matches!(
                    (without_port(&self.text), without_port(sent)),
                    (Some(one), Some(other)) if one == other
                )
    }
}

/// A redirect URI found among the registered ones, the only target of responses. No other constructor
/// exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectTarget(Box<str>);

impl RedirectTarget {
    /// Finds the sent redirect URI among the registered ones: the same text, except for the port of a
    /// loopback IP literal (RFC 8252 section 7.3), and of `localhost` with
    /// [`RedirectRules::ignore_localhost_port`]. `None`: show an error page, and do not redirect.
    pub fn find<'a>(
        registered: impl IntoIterator<Item = &'a RedirectUri>,
        sent: &str,
    ) -> Option<Self> {
        registered
            .into_iter()
            .any(|registered| registered.admits(sent))
            .then(|| Self(sent.into()))
    }

    /// Returns the redirect URI as sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns the parts before and after the port of an `http` URI; `None` for a malformed port.
fn without_port(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("http://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, after) = rest.split_at_checked(end)?;
    let Some((host, port)) = authority
        .rsplit_once(':')
        .filter(|(_, port)| !port.ends_with(']'))
    else {
        return Some((authority, after));
    };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
    let port: Option<u16> = port.parse().ok().filter(|_| digits);
    port.map(|_| (host, after))
}
