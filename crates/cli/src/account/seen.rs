//! Observations about the requests of a sign-in.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use mcp_auth_machine::action::Purpose;
use mcp_auth_machine::report::Decision;

use crate::problem::Presented;
use crate::signals;

/// Shared with the action of a signal.
pub(super) struct Seen {
    /// The user was redirected to sign in.
    asked: AtomicBool,
    registered: AtomicBool,
    /// The issuer to which the configured client was bound.
    bound: OnceLock<String>,
    /// The user named the client.
    configured: bool,
}

impl Seen {
    pub(super) fn new(configured: bool) -> Self {
        Self {
            asked: AtomicBool::default(),
            registered: AtomicBool::default(),
            bound: OnceLock::new(),
            configured,
        }
    }

    /// Notes a request.
    pub(super) fn sends(&self, purpose: Purpose) {
        if purpose == Purpose::Registration {
            self.registered.store(true, Ordering::Relaxed);
        }
        // From a token request on the server may issue tokens that are not stored yet.
        match purpose {
            Purpose::Token => signals::hold(),
            Purpose::ResourceMetadata
            | Purpose::ServerMetadata
            | Purpose::Registration
            | Purpose::PushedAuthorization
            | Purpose::DeviceAuthorization
            | Purpose::Revocation => signals::release(),
        }
    }

    /// Notes the issuer to which the configured client is bound. The first note counts: a client has one issuer.
    pub(super) fn decides(&self, decision: &Decision) {
        if let Decision::ClientBound { issuer } = decision {
            self.bound.get_or_init(|| issuer.as_str().to_owned());
        }
    }

    pub(super) fn bound(&self) -> Option<&str> {
        self.bound.get().map(String::as_str)
    }

    /// Notes that the user is redirected.
    pub(super) fn asks(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Returns true if the user was redirected with a client that was registered earlier.
    pub(super) fn used_old_client(&self) -> bool {
        self.presented() == Presented::Earlier
    }

    /// Returns the client that the user was redirected with.
    pub(super) fn presented(&self) -> Presented {
        if !self.has_asked() || self.registered.load(Ordering::Relaxed) {
            Presented::New
        } else if self.configured {
            Presented::Configured
        } else {
            Presented::Earlier
        }
    }
}
