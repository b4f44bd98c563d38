//! URL validation: every URL passes it once, and is then sent byte for byte (SEC-36).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::Uri;
use url::{Host, Url};

use super::address::{AddressClass, AddressPolicy, classify, is_local_name};
use super::plain_url::{PlainUrl, is_plain_path};
use super::text::{all_bytes, cut, first_byte};
use super::url_text::{CheckedUrl, RequestUrl, UrlText};

/// Longest URL that a server may supply, in bytes (SEC-04).
pub const MAX_URL_BYTES: usize = 8 * 1024;

/// A URL that passed a [`UrlPolicy`], in canonical form: absolute, `https` or allowed loopback `http`,
/// without user information and fragment, with a host of an allowed class (SEC-01 to SEC-05).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WebUrl(Arc<str>);

impl WebUrl {
    /// Returns the canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns scheme, host and port.
    pub fn origin(&self) -> &str {
        cut_at_origin(&self.0).0
    }

    /// Returns host and port, for display.
    pub fn authority(&self) -> &str {
        let origin = self.origin();
        let after_scheme = cut(origin, b':').1;
        let authority = after_scheme.and_then(|rest| rest.strip_prefix("//"));
        authority.unwrap_or(origin)
    }

    /// Returns the path, at least `/`.
    pub fn path(&self) -> &str {
        split(&self.0).1
    }

    /// Returns a text, which is shared with this URL if it is the same.
    pub(crate) fn shared_as(&self, text: &str) -> Arc<str> {
        if *text == *self.0 {
            Arc::clone(&self.0)
        } else {
            text.into()
        }
    }

    /// Returns the URL of a request, which shares the text.
    pub(crate) fn to_request_url(&self) -> RequestUrl {
        struct Shared(Arc<str>);
        impl AsRef<[u8]> for Shared {
            fn as_ref(&self) -> &[u8] {
                self.0.as_bytes()
            }
        }
        RequestUrl::of(Bytes::from_owner(Shared(Arc::clone(&self.0))))
    }

    /// Returns the URL of a borrowed one.
    pub(super) fn of(text: UrlText<'_>) -> Self {
        Self(text.as_str().into())
    }

    /// Returns a borrowed form.
    pub(crate) fn borrowed(&self) -> UrlText<'_> {
        UrlText(&self.0)
    }

    /// Returns the query without the question mark.
    pub fn query(&self) -> Option<&str> {
        self.borrowed().query()
    }
}

impl fmt::Debug for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Splits a canonical absolute URL into origin, path and query.
pub(crate) fn split(text: &str) -> (&str, &str, Option<&str>) {
    let (origin, rest) = cut_at_origin(text);
    let (path, query) = cut(rest, b'?');
    (origin, if path.is_empty() { "/" } else { path }, query)
}

/// Splits a canonical absolute URL after its origin.
pub(super) fn cut_at_origin(text: &str) -> (&str, &str) {
    let host = if text.starts_with("https://") {
        "https://".len()
    } else {
        let colon = text.bytes().position(|byte| byte == b':');
        colon.map_or(0, |colon| colon.saturating_add("://".len()))
    };
    let rest = text.as_bytes().get(host..).unwrap_or_default();
    let end = first_byte(rest, |byte| (byte == b'/') | (byte == b'?'));
    let end = end.map_or(text.len(), |end| host.saturating_add(end));
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// The flaw in a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum UrlFlaw {
    /// It is longer than [`MAX_URL_BYTES`].
    #[error("is longer than 8 KiB")]
    TooLong,
    /// It contains a character that RFC 3986 does not allow, or an invalid percent-encoding.
    #[error("has a character that is not allowed in a URL")]
    Character,
    /// It is not an absolute URL with a host.
    #[error("is not an absolute URL")]
    NotAbsolute,
    /// Its scheme is not `https`, nor an allowed `http` (SEC-01, SEC-02).
    #[error("is not https")]
    Scheme,
    /// It contains user information.
    #[error("contains a user name or a password")]
    UserInfo,
    /// It has a fragment.
    #[error("has a fragment")]
    Fragment,
    /// Its host name exceeds the limits of DNS: 253 characters, 63 per label.
    #[error("has a host name that is too long")]
    HostName,
    /// Its port is 0.
    #[error("has port 0")]
    Port,
    /// Its host name resolves to an address that must not be contacted (SEC-06).
    #[error("resolves to a special-purpose address")]
    Resolved,
    /// Its host is special-purpose, and not allowed for this MCP server (SEC-05).
    #[error("points to a special-purpose address")]
    Address(AddressClass),
}

/// The policy for URLs that servers supply, derived from the configured MCP URL.
#[derive(Clone, Debug)]
pub struct UrlPolicy {
    loopback_http: bool,
    class: AddressClass,
    /// Host and port of the MCP URL, and of what else the configuration names.
    named: Vec<(Box<str>, u16)>,
    allowed_hosts: BTreeSet<Box<str>>,
    /// A URL that many servers announce, checked already.
    known: Option<(WebUrl, RequestUrl)>,
}

impl UrlPolicy {
    /// Returns the policy for an MCP URL, which must be `https`, or `http` on loopback, and the validated
    /// URL.
    ///
    /// # Errors
    /// [`UrlFlaw`] when the MCP URL violates the rules for syntax or scheme.
    pub fn for_mcp_url(text: &str) -> Result<(Self, WebUrl), UrlFlaw> {
        let url = lexical(text, Part::WithFragment)?;
        let class = url.host().map_or(AddressClass::Public, |h| classify(&h));
        let loopback_http = class == AddressClass::Loopback;
        scheme(&url, loopback_http)?;
        let mut policy = Self {
            loopback_http,
            class,
            named: Vec::new(),
            allowed_hosts: BTreeSet::new(),
            known: None,
        };
        policy.name(&url);
        Ok((policy, WebUrl(String::from(url).into())))
    }

    /// Allows `http` on loopback although the MCP URL does not use it, for development (SEC-02).
    pub fn allow_loopback_http(&mut self) {
        self.loopback_http = true;
        self.allow_host("localhost");
        self.allow_host("127.0.0.1");
        self.allow_host("[::1]");
    }

    /// Allows a host name or address literal of any class except reserved (SEC-05).
    pub fn allow_host(&mut self, host: &str) {
        self.allowed_hosts.insert(host.to_ascii_lowercase().into());
    }

    /// Permits private and loopback addresses for the origin of a URL that the configuration names (SEC-06).
    pub(crate) fn name_origin(&mut self, text: &str) {
        if let Ok(url) = lexical(text, Part::WithFragment) {
            self.name(&url);
        }
    }

    /// Checks a URL that many servers announce; the result is shared.
    pub(crate) fn remember(&mut self, text: &str) {
        let checked = self.check(text).ok();
        self.known = checked.map(|url| (url.clone(), url.to_request_url()));
    }

    /// Returns the URL of a request.
    pub(crate) fn request_url(&self, url: &WebUrl) -> RequestUrl {
        match &self.known {
            Some((known, request_url)) if known == url => request_url.clone(),
            Some(_) | None => url.to_request_url(),
        }
    }

    /// Permits public addresses alone, and hosts on the host's list.
    pub(crate) fn public_only(&mut self) {
        self.known = None;
        self.class = AddressClass::Public;
        self.named.clear();
    }

    fn name(&mut self, url: &Url) {
        let place = url.host_str().zip(url.port_or_known_default());
        self.named
            .extend(place.map(|(host, port)| (host.into(), port)));
    }

    /// Returns the policy for the addresses of a request to this URL.
    pub fn addresses(&self, to: &Uri) -> AddressPolicy {
        let default = || match to.scheme_str() {
            Some("https") => Some(443),
            Some("http") => Some(80),
            Some(_) | None => None,
        };
        // Most authorities are a host alone.
        let is_of_name = |byte| (byte != b':') & (byte != b'@') & (byte != b'[');
        match to.authority().map(http::uri::Authority::as_str) {
            Some(host) if all_bytes(host.as_bytes(), is_of_name) => self.at(Some(host), default()),
            Some(_) | None => self.at(to.host(), to.port_u16().or_else(default)),
        }
    }

    fn at(&self, host: Option<&str>, port: Option<u16>) -> AddressPolicy {
        let is_named = |(name, at): &(Box<str>, u16)| host == Some(name) && port == Some(*at);
        AddressPolicy {
            class: self.class,
            local_name: host.is_some_and(is_local_name),
            host_listed: host.is_some_and(|host| self.allowed_hosts.contains(host)),
            origin_named: self.named.iter().any(is_named),
        }
    }

    /// Validates a URL (SEC-01 to SEC-05).
    ///
    /// # Errors
    /// The first [`UrlFlaw`] found.
    pub fn check(&self, text: &str) -> Result<WebUrl, UrlFlaw> {
        if let Some((known, _)) = &self.known
            && known.as_str() == text
        {
            return Ok(known.clone());
        }
        if let Some(plain) = self.plain(text) {
            return plain.map(|plain| WebUrl(plain.canonical()));
        }
        let url = lexical(text, Part::WithoutFragment)?;
        scheme(&url, self.loopback_http)?;
        let class = url.host().map_or(AddressClass::Reserved, |h| classify(&h));
        if self
            .at(url.host_str(), url.port_or_known_default())
            .permits(class)
        {
            Ok(WebUrl(String::from(url).into()))
        } else {
            Err(UrlFlaw::Address(class))
        }
    }

    /// Same as [`check`](Self::check), beside the origin of a URL that passed this policy: most endpoints are on the origin
    /// of their issuer, whose name needs no second check.
    pub(crate) fn check_beside(&self, origin: &str, text: &str) -> Result<WebUrl, UrlFlaw> {
        self.judge_beside(origin, text).map(|found| match found {
            CheckedUrl::AsSent(text) => text.to_web_url(),
            CheckedUrl::Canonical(url) => url,
        })
    }

    /// Same as [`check_beside`](Self::check_beside), without a copy of most URLs.
    pub(crate) fn judge_beside<'a>(
        &self,
        origin: &str,
        text: &'a str,
    ) -> Result<CheckedUrl<'a>, UrlFlaw> {
        if is_plain_beside(origin, text) {
            Ok(CheckedUrl::AsSent(UrlText(text)))
        } else {
            self.check(text).map(CheckedUrl::Canonical)
        }
    }

    /// Returns true if [`check_beside`](Self::check_beside) accepts a text.
    pub(crate) fn accepts_beside(&self, origin: &str, text: &str) -> bool {
        self.judge_beside(origin, text).is_ok()
    }

    /// Validates a URL of the simplest kind; `None` for all others.
    fn plain<'a>(&self, text: &'a str) -> Option<Result<PlainUrl<'a>, UrlFlaw>> {
        let fits = text.len() < MAX_URL_BYTES;
        let plain = fits.then(|| PlainUrl::read(text)).flatten()?;
        let class = classify(&Host::Domain(plain.host));
        let permitted = self.at(Some(plain.host), Some(443)).permits(class);
        Some(if permitted {
            Ok(plain)
        } else {
            Err(UrlFlaw::Address(class))
        })
    }

    /// Same as [`check`](Self::check) for a text that is kept unchanged; `None` where the canonical form
    /// may differ by more than a final slash.
    pub(crate) fn check_plain(&self, text: &str) -> Option<Result<(), UrlFlaw>> {
        Some(self.plain(text)?.map(|_| ()))
    }

    /// Resolves and validates a reference. Its characters are checked first, because parsers read a
    /// backslash as a slash and skip tabs, so that `/\evil.example` would name another host (SEC-04, F13).
    pub(crate) fn resolve(&self, base: &WebUrl, text: &str) -> Result<WebUrl, UrlFlaw> {
        if !has_url_characters(text) {
            return Err(UrlFlaw::Character);
        }
        let joined = Url::parse(base.as_str())
            .and_then(|base| base.join(text))
            .map_err(|_| UrlFlaw::NotAbsolute)?;
        self.check(joined.as_str())
    }
}

/// Returns true for a URL with a plain path on the origin of a URL that passed a policy.
fn is_plain_beside(origin: &str, text: &str) -> bool {
    let path = text.strip_prefix(origin).map(str::as_bytes);
    let is_plain = |path: &[u8]| path.starts_with(b"/") && is_plain_path(path);
    path.is_some_and(is_plain) && text.len() < MAX_URL_BYTES
}

enum Part {
    WithFragment,
    WithoutFragment,
}

/// Returns true if the parser finds a user name or a password.
#[doc(hidden)]
pub fn has_user_information(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Checks the syntax rules of SEC-04, before and after the parser.
fn lexical(text: &str, part: Part) -> Result<Url, UrlFlaw> {
    if text.len() > MAX_URL_BYTES {
        return Err(UrlFlaw::TooLong);
    }
    // The parser accepts `https:host`, `https:/host`, `https:///host` and backslashes, which legitimate
    // servers do not send.
    let rest = text
        .split_once(':')
        .and_then(|(_, rest)| rest.strip_prefix("//"))
        .ok_or(UrlFlaw::NotAbsolute)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() {
        return Err(UrlFlaw::NotAbsolute);
    }
    if !has_url_characters(text) || authority.contains('%') {
        return Err(UrlFlaw::Character);
    }
    // The parser decodes each label of a name in quadratic time.
    if !is_of_name_length(authority) {
        return Err(UrlFlaw::HostName);
    }
    let mut url = Url::parse(text).map_err(|_| UrlFlaw::NotAbsolute)?;
    match part {
        Part::WithoutFragment => {
            if authority.contains('@') || has_user_information(&url) {
                return Err(UrlFlaw::UserInfo);
            }
            if url.fragment().is_some() {
                return Err(UrlFlaw::Fragment);
            }
        }
        // A URL that a user typed: its fragment is dropped (DISC-04). A password in it is rejected, because
        // the user would expect it to be sent, and it would be stored and shown.
        Part::WithFragment => {
            if authority.contains('@') || has_user_information(&url) {
                return Err(UrlFlaw::UserInfo);
            }
            url.set_fragment(None);
        }
    }
    if url.port() == Some(0) {
        return Err(UrlFlaw::Port);
    }
    Ok(url)
}

fn scheme(url: &Url, loopback_http: bool) -> Result<(), UrlFlaw> {
    match url.scheme() {
        "https" => Ok(()),
        "http" if loopback_http && is_loopback(url) => Ok(()),
        _other => Err(UrlFlaw::Scheme),
    }
}

/// Returns true for the loopback exception of SEC-02: address literals, `localhost` and the names under it
/// (RFC 6761 section 6.3). [`UrlPolicy::addresses`] allows such a name no other address.
#[doc(hidden)]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => is_local_name(name),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn is_of_name_length(authority: &str) -> bool {
    let host = authority.rsplit('@').next().unwrap_or_default();
    let name = host.split(':').next().unwrap_or_default();
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= 253 && name.split('.').all(|label| label.len() <= 63)
}

/// Returns true if a text has characters of a URL alone, and whole escapes (RFC 3986 section 2).
pub(crate) fn has_url_characters(text: &str) -> bool {
    all_bytes(text.as_bytes(), is_url_byte) && escapes_are_whole(text)
}

fn is_url_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'&'..=b';' | b'?' | b'@' | b'=' | b'%' | b'#' | b'$'
        | b'!' | b'[' | b']' | b'_' | b'~')
}

fn escapes_are_whole(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        after
            .as_bytes()
            .get(..2)
            .is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit))
    })
}
