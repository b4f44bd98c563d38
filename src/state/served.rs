//! Whether the stored token is what a request wants.

use crate::core::Core;
use crate::suspended::{Came, Elsewhere, Obtaining, Renewal, Renewed};
use crate::wish::{Click, Wish};

impl Renewal {
    /// Returns true when the stored token satisfies the request.
    pub(crate) fn is_served(&self, core: &Core) -> bool {
        match &self.refused {
            None => core.held.is_fresh(core.now),
            Some(_) => self.has_another(core),
        }
    }

    /// Returns true when the stored token is usable and differs from the refused one.
    pub(crate) fn has_another(&self, core: &Core) -> bool {
        core.held.is_usable(core.now) && !self.refuses_the_stored_token(core)
    }

    /// Returns true when the MCP server refused the stored token. Another one that has expired may be usable again, by a clock
    /// that was set back.
    fn refuses_the_stored_token(&self, core: &Core) -> bool {
        let refused = self.refused.as_ref().and_then(|r| r.token.as_ref());
        refused.is_some_and(|token| core.held.has_access(token))
    }
}

impl Obtaining {
    /// Returns true when the stored token satisfies the request.
    pub(crate) fn is_served(&self, core: &Core) -> bool {
        core.held.is_fresh(core.now) && !self.refuses_the_stored_token(core)
    }

    /// Returns true when the MCP server refused the stored token.
    fn refuses_the_stored_token(&self, core: &Core) -> bool {
        let refused = self.refused.as_ref();
        refused.is_some_and(|token| core.held.has_access(token))
    }
}

impl Elsewhere {
    /// Returns true when the awaited tokens have come, with the scopes of the authorization, and can be used.
    pub(crate) fn is_served(&self, core: &Core) -> bool {
        self.came(core, false) == Came::Usable
    }

    /// Compares the account with what is awaited; after the end of the wait, fewer scopes count too.
    pub(crate) fn came(&self, core: &Core, is_over: bool) -> Came {
        let has_come = self.awaited.has_come(core.held.authorization());
        let suffices = is_over || core.held.has_scopes(&self.awaited.requested);
        match (has_come && suffices, core.held.is_usable(core.now)) {
            (false, _) => Came::Nothing,
            (true, true) => Came::Usable,
            (true, false) => Came::Over,
        }
    }
}

impl Renewed {
    /// Returns true when another instance has stored a sufficient token.
    pub(crate) fn is_served(&self, core: &Core) -> bool {
        let has = |scopes| core.held.has_scopes(scopes);
        let brought = core.held.authorization();
        let changed = !self.had_tokens || brought.is_some() && brought != self.before;
        (changed || self.requested.as_ref().is_some_and(has)) && is_enough(core, &self.click)
    }
}

/// Returns true when a token has come since the question for want of one that this authorization answers.
pub(crate) fn came_too_late(core: &Core, click: &Click) -> bool {
    click.lacks_a_token && is_enough(core, click)
}

/// Returns true when the token that was just saved serves an authorization that waited for the save: it answers the question, or
/// the person was not told yet that an earlier sign-in has succeeded, and asks for no more than it brought.
pub(crate) fn is_served_by_a_save(core: &Core, click: &Click) -> bool {
    let repeats = click.wish() == Wish::Person && core.held.was_authorized_at(core.now.mono);
    came_too_late(core, click) || repeats && is_enough(core, click)
}

/// Returns true when the stored token suffices for what an authorization requests.
fn is_enough(core: &Core, click: &Click) -> bool {
    let by_challenge = core.memory.demanded.all();
    let needed = click.authorization.scopes.as_ref().or(by_challenge);
    // A usable token has an account.
    core.held.is_usable(core.now) && needed.is_none_or(|needed| core.held.has_scopes(needed))
}
