//! The fate of the access token at the authorization server, when the account was erased.

use std::sync::atomic::{AtomicBool, Ordering};

use mcp_auth_machine::report::{Decision, TokenKind};

/// The reports of the machine about revocations.
#[derive(Default)]
pub(super) struct Revocation {
    /// There was an attempt, for whichever token.
    tried: AtomicBool,
    /// The access token was not revoked.
    failed: AtomicBool,
}

/// Why an access token was not revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unrevoked {
    /// The authorization server has no revocation endpoint.
    NoEndpoint,
    /// The attempt failed, which was reported. Many servers cannot revoke the access tokens that they only sign
    /// (`unsupported_token_type`, RFC 7009 section 2.2.1).
    Failed,
}

impl Revocation {
    /// Notes a decision of the machine.
    pub(super) fn see(&self, decision: &Decision) {
        if let Decision::Revoked { token, refused, .. } = decision {
            self.tried.store(true, Ordering::Relaxed);
            if *token == TokenKind::AccessToken {
                self.failed.store(refused.is_some(), Ordering::Relaxed);
            }
        }
    }

    /// Returns why the access token was not revoked; `None` if it was.
    pub(super) fn unrevoked(&self) -> Option<Unrevoked> {
        match (
            self.tried.load(Ordering::Relaxed),
            self.failed.load(Ordering::Relaxed),
        ) {
            (false, _) => Some(Unrevoked::NoEndpoint),
            (true, true) => Some(Unrevoked::Failed),
            (true, false) => None,
        }
    }
}
