//! The origins under which browsers reach this gateway.

use std::fmt;

use reqwest::Url;

/// The name of the loopback address, which browsers resolve by themselves: no site can have it point elsewhere.
const LOCALHOST: &str = "localhost";

/// The origins under which browsers reach this gateway: the public one, and the addresses of its instances.
///
/// An instance that listens on a loopback address is reached as `localhost` too. Cookies belong to one of the two names, so
/// browsers are sent to the name of the public origin, at which callbacks arrive.
pub(crate) struct Origins {
    public: Url,
    own: Vec<Url>,
    /// `http://localhost` at the ports of instances on a loopback address.
    aliases: Vec<Url>,
}

impl Origins {
    pub(crate) fn new(public: &Url, listen: impl Iterator<Item = Url>) -> Self {
        let mut own = vec![public.clone()];
        own.extend(listen.filter(|url| url != public));
        let aliases = own.iter().filter(|url| is_loopback(url)).filter_map(|url| {
            let mut alias = url.clone();
            alias.set_host(Some(LOCALHOST)).ok()?;
            (alias != *public).then_some(alias)
        });
        Self {
            public: public.clone(),
            aliases: aliases.collect(),
            own,
        }
    }

    /// Returns the public origin.
    pub(crate) fn public(&self) -> &str {
        self.public.as_str().trim_end_matches('/')
    }

    /// Returns true where browsers keep cookies for HTTPS alone.
    pub(crate) fn is_secure(&self) -> bool {
        self.public.scheme() == "https"
    }

    fn all(&self) -> impl Iterator<Item = &Url> {
        self.own.iter().chain(&self.aliases)
    }

    /// Returns true for a known host; another one indicates DNS rebinding.
    pub(crate) fn is_host(&self, host: &str) -> bool {
        self.all().any(|url| authority(url) == host)
    }

    /// Returns true for a known origin of a request to this host. `localhost` counts only where the request goes there
    /// too: another program may listen on the other loopback address at this port.
    pub(crate) fn is_origin(&self, origin: &str, host: &str) -> bool {
        let is = |url: &&Url| url.origin().ascii_serialization() == origin;
        self.own.iter().any(|url| is(&url))
            || self
                .aliases
                .iter()
                .any(|url| is(&url) && authority(url) == host)
    }

    /// Returns the origin that has the cookies, for a browser at another name of the same loopback address.
    pub(crate) fn elsewhere(&self, host: &str) -> Option<String> {
        let here = self.all().find(|url| authority(url) == host)?;
        let (name, public) = (here.host_str()?, self.public.host_str()?);
        let is_other = name != public && is_local(here) && is_local(&self.public);
        let there = self.all().find(|url| {
            url.host_str() == Some(public)
                && url.port_or_known_default() == here.port_or_known_default()
        });
        let there = there.filter(|_| is_other)?;
        Some(there.origin().ascii_serialization())
    }

    /// Returns the hosts, for messages.
    pub(crate) fn hosts(&self) -> String {
        let hosts: Vec<_> = self.all().map(authority).collect();
        hosts.join(", ")
    }
}

impl fmt::Display for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.all().map(|url| url.origin().ascii_serialization());
        f.write_str(&all.collect::<Vec<_>>().join(", "))
    }
}

/// Returns the host and the port as browsers send them: without a default port.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Returns true for a loopback address, over HTTP.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    url.scheme() == "http" && address.is_ok_and(|address| address.is_loopback())
}

fn is_local(url: &Url) -> bool {
    is_loopback(url) || url.scheme() == "http" && url.host_str() == Some(LOCALHOST)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn origins(public: &str, listen: &[&str]) -> Origins {
        let listen = listen.iter().map(|url| Url::parse(url).unwrap());
        Origins::new(&Url::parse(public).unwrap(), listen)
    }

    #[test]
    fn localhost_is_the_loopback_address_at_the_same_port_alone() {
        let known = origins(
            "http://127.0.0.1:8081",
            &["http://127.0.0.1:8080", "http://[::1]:8082"],
        );
        for host in [
            "127.0.0.1:8080",
            "localhost:8080",
            "localhost:8081",
            "[::1]:8082",
            "localhost:8082",
        ] {
            assert!(known.is_host(host), "{host}");
        }
        for host in [
            "localhost",
            "localhost:8083",
            "127.0.0.1",
            "localhost.evil.example:8080",
            "127.0.0.2:8080",
            "",
        ] {
            assert!(!known.is_host(host), "{host}");
        }
        let (here, local) = ("127.0.0.1:8080", "localhost:8080");
        assert!(known.is_origin("http://127.0.0.1:8080", here));
        assert!(known.is_origin("http://127.0.0.1:8081", here));
        assert!(known.is_origin("http://localhost:8080", local));
        // Perhaps a page of another program on the other loopback address.
        assert!(!known.is_origin("http://localhost:8080", here));
        assert!(!known.is_origin("http://localhost:8081", local));
        for origin in [
            "null",
            "https://localhost:8080",
            "http://localhost",
            "http://localhost:9",
            "http://evil.example",
        ] {
            assert!(!known.is_origin(origin, local), "{origin}");
        }
    }

    #[test]
    fn browsers_are_sent_to_the_name_that_has_the_cookies() {
        let known = origins(
            "http://127.0.0.1:8081",
            &["http://127.0.0.1:8080", "http://127.0.0.1:8081"],
        );
        let to = Some("http://127.0.0.1:8080".to_owned());
        assert_eq!(known.elsewhere("localhost:8080"), to);
        assert_eq!(known.elsewhere("127.0.0.1:8080"), None);
        // The other way round.
        let known = origins("http://localhost:8080", &["http://127.0.0.1:8080"]);
        let to = Some("http://localhost:8080".to_owned());
        assert_eq!(known.elsewhere("127.0.0.1:8080"), to);
        assert_eq!(known.elsewhere("localhost:8080"), None);
        // A public name is not that of this computer.
        let known = origins("https://gateway.example", &["http://127.0.0.1:8080"]);
        assert!(known.is_host("gateway.example") && known.is_host("localhost:8080"));
        assert_eq!(known.elsewhere("localhost:8080"), None);
    }

    #[test]
    fn an_address_that_others_reach_has_no_other_name() {
        let known = origins(
            "https://gateway.example",
            &["http://192.0.2.1:8080", "http://0.0.0.0:8080"],
        );
        assert!(!known.is_host("localhost:8080"));
    }
}
