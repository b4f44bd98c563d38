//! Enforcement of the address policy on resolved addresses (SEC-06, SEC-07, F05).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use mcp_auth_machine::wire::address::{AddressClass, AddressPolicy, classify, classify_ip};

/// The error for a host name without an allowed address.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the address policy permits none of the addresses")]
pub(super) struct Blocked;

impl From<Blocked> for io::Error {
    fn from(blocked: Blocked) -> Self {
        Self::new(io::ErrorKind::PermissionDenied, blocked)
    }
}

/// Returns true if the error or one of its sources is [`Blocked`].
pub(super) fn is_blocked(error: &(dyn std::error::Error + 'static)) -> bool {
    causes(error).any(|error| error.is::<Blocked>())
}

/// Returns an error and its sources.
pub(super) fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        // `io::Error::source` skips the wrapped error itself.
        match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    })
}

/// Returns true for a loopback literal, `localhost`, or a name under it (RFC 6761).
pub(super) fn is_loopback_host(host: &str) -> bool {
    url::Host::parse(host).is_ok_and(|host| {
        let host = match &host {
            url::Host::Domain(name) => url::Host::Domain(name.as_str()),
            url::Host::Ipv4(address) => url::Host::Ipv4(*address),
            url::Host::Ipv6(address) => url::Host::Ipv6(*address),
        };
        classify(&host) == AddressClass::Loopback
    })
}

/// Returns the addresses of `localhost` and names under it, without a name server (RFC 6761).
pub(super) fn local(host: &str, port: u16) -> Option<[SocketAddr; 2]> {
    #[cfg(test)]
    if host.ends_with(tests::INSIDE) {
        return Some([SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port); 2]);
    }
    let is_name = matches!(url::Host::parse(host), Ok(url::Host::Domain(_)));
    (is_name && is_loopback_host(host)).then(|| {
        [
            SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
            SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port),
        ]
    })
}

/// Returns the addresses that the policy allows.
pub(super) fn permitted(
    addresses: AddressPolicy,
    found: impl IntoIterator<Item = SocketAddr>,
) -> Result<Vec<SocketAddr>, Blocked> {
    let kept: Vec<_> = found
        .into_iter()
        .filter(|address| addresses.permits(classify_ip(address.ip())))
        .collect();
    if kept.is_empty() {
        Err(Blocked)
    } else {
        Ok(kept)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use http::Uri;
    use mcp_auth_machine::wire::url::UrlPolicy;

    use super::*;

    /// The end of names that resolve to this machine in these tests, as those of an intranet do to a private network.
    pub(crate) const INSIDE: &str = ".corp.test";

    fn to(url: &'static str) -> Uri {
        Uri::from_static(url)
    }

    fn found(addresses: &[&str]) -> Vec<SocketAddr> {
        let parse = |text: &&str| SocketAddr::new(text.parse().unwrap(), 443);
        addresses.iter().map(parse).collect()
    }

    #[test]
    fn f05_only_permitted_addresses_are_left() {
        let (mut policy, _) = UrlPolicy::for_mcp_url("https://mcp.example/mcp").unwrap();
        let inside = [
            "10.0.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "::ffff:192.168.0.1",
            "fd00::1",
        ];
        for address in inside {
            let mixed = found(&[address, "93.184.216.34"]);
            let kept = permitted(policy.addresses(&to("https://as.example/")), mixed).unwrap();
            assert_eq!(kept, found(&["93.184.216.34"]));
            let alone = found(&[address]);
            assert!(permitted(policy.addresses(&to("https://as.example/")), alone).is_err());
        }
        policy.allow_host("inside.example");
        let inside = policy.addresses(&to("https://inside.example/"));
        let listed = permitted(inside, found(&["10.0.0.1"]));
        assert_eq!(listed.unwrap(), found(&["10.0.0.1"]));
        assert!(permitted(inside, found(&["0.0.0.0"])).is_err());
    }

    #[test]
    fn sec06_the_origin_that_the_user_named_may_be_inside_and_no_other() {
        let (policy, _) = UrlPolicy::for_mcp_url("https://mcp.corp.example/mcp").unwrap();
        let at = |url, address| permitted(policy.addresses(&to(url)), found(&[address])).is_ok();
        let inside = [
            "10.0.0.5",
            "192.168.1.1",
            "100.64.0.1",
            "fd12::1",
            "127.0.0.1",
        ];
        for address in inside {
            for own in [
                "https://mcp.corp.example/x",
                "https://mcp.corp.example:443/",
            ] {
                assert!(at(own, address), "{own} {address}");
            }
            // A server can announce these: other hosts, and other ports of the same one.
            for other in [
                "https://login.corp.example/",
                "https://a.mcp.corp.example/",
                "https://corp.example/",
                "https://mcp.corp.example:8443/",
                "https://mcp.corp.example:22/",
            ] {
                assert!(!at(other, address), "{other} {address}");
            }
        }
        for never in ["169.254.169.254", "0.0.0.0", "fe80::1", "fd00:ec2::254"] {
            assert!(!at("https://mcp.corp.example/", never), "{never}");
        }
    }

    #[test]
    fn names_under_localhost_are_this_machine() {
        for host in [
            "localhost",
            "LOCALHOST",
            "app.localhost",
            "a.b.localhost.",
            "127.0.0.2",
            "[::1]",
        ] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in ["localhost.example", "notlocalhost", "10.0.0.1", "::1"] {
            assert!(!is_loopback_host(host), "{host}");
        }
        let found = local("app.localhost", 80).unwrap();
        assert!(found.iter().all(|found| found.ip().is_loopback()));
        // Literals are no names.
        assert!(local("127.0.0.2", 80).is_none());
    }

    #[test]
    fn sec06_a_blocked_address_is_told_from_a_refused_connection() {
        assert!(is_blocked(&io::Error::from(Blocked)));
        assert!(is_blocked(&io::Error::other(io::Error::from(Blocked))));
        assert!(!is_blocked(&io::Error::from(
            io::ErrorKind::PermissionDenied
        )));
    }
}
