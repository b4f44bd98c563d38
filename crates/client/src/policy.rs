//! Enforcement of the address policy on resolved addresses (SEC-06, SEC-07, F05).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use mcp_auth_machine::wire::address::{AddressClass, AddressPolicy, classify, classify_ip};
use mcp_auth_machine::wire::url::UrlPolicy;

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
    let is_name = matches!(url::Host::parse(host), Ok(url::Host::Domain(_)));
    (is_name && is_loopback_host(host)).then(|| {
        [
            SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
            SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port),
        ]
    })
}

/// Returns the addresses that the policy allows for this name.
pub(super) fn permitted(
    policy: &UrlPolicy,
    host: Option<&str>,
    found: impl IntoIterator<Item = SocketAddr>,
) -> Result<Vec<SocketAddr>, Blocked> {
    permitted_by(policy.addresses(host), found)
}

/// Returns the addresses that the policy allows.
pub(super) fn permitted_by(
    policy: AddressPolicy,
    found: impl IntoIterator<Item = SocketAddr>,
) -> Result<Vec<SocketAddr>, Blocked> {
    let kept: Vec<_> = found
        .into_iter()
        .filter(|address| policy.permits(classify_ip(address.ip())))
        .collect();
    if kept.is_empty() {
        Err(Blocked)
    } else {
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

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
            let kept = permitted(&policy, Some("as.example"), mixed).unwrap();
            assert_eq!(kept, found(&["93.184.216.34"]));
            assert!(permitted(&policy, Some("as.example"), found(&[address])).is_err());
        }
        policy.allow_host("inside.example");
        let listed = permitted(&policy, Some("inside.example"), found(&["10.0.0.1"]));
        assert_eq!(listed.unwrap(), found(&["10.0.0.1"]));
        assert!(permitted(&policy, Some("inside.example"), found(&["0.0.0.0"])).is_err());
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
