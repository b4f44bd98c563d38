//! The address policy for `ureq`.

use std::io;

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use super::policy::permitted;
use mcp_auth_machine::wire::url::UrlPolicy;

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

impl Resolver for PolicyResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        let kept = permitted(&self.policy, uri.host(), found.iter().copied());
        let mut permitted = self.empty();
        for address in kept.map_err(io::Error::from)? {
            permitted.push(address);
        }
        Ok(permitted)
    }
}
