//! How a redirect is announced to the host.

use crate::action::{Action, BrowserUrl, Redirect};
use crate::budget::Permit;
use crate::core::Core;
use crate::grant::Redirected;
use crate::issuer::AtIssuer;
use crate::suspended::{Waiting, WaitingParts};

impl WaitingParts {
    /// Redirects the user with a reference to the pushed request.
    pub(crate) fn wait(self, core: &mut Core, at: AtIssuer<Redirected>, reference: &str) {
        let url = at.reference_url(reference);
        let waiting = Box::new(Waiting { at, rest: self });
        if let Ok(url) = url {
            waiting.emit(core, url);
        }
        core.waiting = Some(waiting);
    }
}

impl Waiting {
    pub(crate) fn announce(&self, core: &mut Core, url: String, _permit: Permit) {
        self.emit(core, url);
    }

    pub(crate) fn emit(&self, core: &mut Core, url: String) {
        let parts = &self.at.held().0;
        let redirect = Redirect {
            url: BrowserUrl(url),
            issuer: self.at.issuer().clone(),
            mcp_host: core.mcp_host(),
            client_id: parts.client.id.clone(),
            scopes: parts.requested.clone(),
            new_issuer: self.rest.new_issuer,
            expires: parts.expires,
            state: parts.state.clone(),
        };
        core.emit(Action::Redirect(redirect));
    }
}
