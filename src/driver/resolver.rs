//! The address policy, enforced on the resolved address at connect time (SEC-06, SEC-07, F05).

use std::io;

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::wire::address::classify_ip;
use crate::wire::url::UrlPolicy;

/// Resolves names and keeps only the addresses that the policy permits: the connection is made to
/// one of these, so a name that resolves differently later gains nothing.
#[derive(Debug)]
pub(super) struct PolicyResolver {
    policy: UrlPolicy,
    inner: DefaultResolver,
}

impl PolicyResolver {
    pub(super) fn new(policy: UrlPolicy) -> Self {
        Self {
            policy,
            inner: DefaultResolver::default(),
        }
    }
}

/// The error that stands for a blocked address.
pub(super) fn is_blocked(error: &Error) -> bool {
    matches!(error, Error::Io(error) if error.kind() == io::ErrorKind::PermissionDenied)
}

impl Resolver for PolicyResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        let mut permitted = self.empty();
        let addresses = self.policy.addresses(uri.host());
        for address in found.iter() {
            if addresses.permits(classify_ip(address.ip())) {
                permitted.push(*address);
            }
        }
        if permitted.is_empty() {
            let blocked = io::Error::new(io::ErrorKind::PermissionDenied, "address policy");
            return Err(Error::Io(blocked));
        }
        Ok(permitted)
    }
}
