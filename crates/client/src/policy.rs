//! The address policy, enforced on the resolved address at connect time (SEC-06, SEC-07, F05).

use std::io;
use std::net::SocketAddr;

use mcp_auth_machine::wire::address::classify_ip;
use mcp_auth_machine::wire::url::UrlPolicy;

/// A host name has no address that may be contacted.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the address policy permits none of the addresses")]
pub(super) struct Blocked;

impl From<Blocked> for io::Error {
    fn from(blocked: Blocked) -> Self {
        Self::new(io::ErrorKind::PermissionDenied, blocked)
    }
}

/// Whether this error, or what caused it, is a [`Blocked`].
pub(super) fn is_blocked(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<Blocked>() {
            return true;
        }
        // The source of an `io::Error` is that of what it wraps.
        next = match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    false
}

/// The addresses among those found that may be contacted under this name.
pub(super) fn permitted(
    policy: &UrlPolicy,
    host: Option<&str>,
    found: impl IntoIterator<Item = SocketAddr>,
) -> Result<Vec<SocketAddr>, Blocked> {
    let addresses = policy.addresses(host);
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
