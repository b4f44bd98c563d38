//! Where an authorization response may go: exactly a registered redirect URI (AS-07).

use url::Url;

/// A redirect URI that was found among the registered ones. There is no other way to make one, so a
/// response cannot go anywhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectTarget(Box<str>);

impl RedirectTarget {
    /// The redirect URI that a client sent, if it is one of the registered ones: the same text, but for
    /// the port of a loopback IP literal (RFC 8252 section 7.3). `None`: show an error page and do not
    /// redirect.
    pub fn find<'a>(registered: impl IntoIterator<Item = &'a str>, sent: &str) -> Option<Self> {
        let found = registered
            .into_iter()
            .any(|registered| is_same(registered, sent));
        let usable = Url::parse(sent).is_ok_and(|url| url.fragment().is_none());
        (found && usable).then(|| Self(sent.into()))
    }

    /// The redirect URI as it was sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_same(registered: &str, sent: &str) -> bool {
    registered == sent
        || matches!(
            (without_port(registered), without_port(sent)),
            (Some(one), Some(other)) if one == other
        )
}

/// The host and what follows the port, of plain `http` on a loopback IP literal.
fn without_port(uri: &str) -> Option<(&'static str, &str)> {
    ["http://127.0.0.1", "http://[::1]"]
        .into_iter()
        .find_map(|host| {
            let rest = uri.strip_prefix(host)?;
            let rest = match rest.strip_prefix(':') {
                Some(port) => port.trim_start_matches(|c: char| c.is_ascii_digit()),
                None => rest,
            };
            (rest.is_empty() || rest.starts_with(['/', '?'])).then_some((host, rest))
        })
}
