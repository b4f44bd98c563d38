//! The address policy for `ureq`.

use std::io;

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use super::policy::{local, permitted};
use mcp_auth_machine::wire::url::UrlPolicy;

/// A resolver that drops the addresses that the policy denies. Connections use its result, so a name that
/// resolves differently later has no effect.
#[derive(Debug)]
pub(super) struct PolicyResolver {
    policy: Option<UrlPolicy>,
    inner: DefaultResolver,
}

impl PolicyResolver {
    pub(super) fn new(policy: Option<UrlPolicy>) -> Self {
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
        // The user configured the proxy, and the proxy resolves the names of the servers.
        if config.proxy().is_some_and(|proxy| proxy.uri() == uri) {
            return self.inner.resolve(uri, config, timeout);
        }
        let port = uri.port_u16().unwrap_or(match uri.scheme_str() {
            Some("http") => 80,
            Some(_) | None => 443,
        });
        let found: Vec<_> = match uri.host().and_then(|host| local(host, port)) {
            Some(here) => here.into(),
            None => self
                .inner
                .resolve(uri, config, timeout)?
                .iter()
                .copied()
                .collect(),
        };
        let kept = match &self.policy {
            Some(policy) => permitted(policy.addresses(uri), found).map_err(io::Error::from)?,
            None => found,
        };
        let mut permitted = self.empty();
        for address in kept {
            permitted.push(address);
        }
        Ok(permitted)
    }
}
