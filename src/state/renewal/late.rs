//! Answers to a refresh that come after its time limit, as they do in a process that was suspended meanwhile (REFR-07).

use crate::account::{Account, RefreshGrant};
use crate::core::Core;
use crate::event::Outcome;
use crate::issuer::AtIssuer;
use crate::state::call::answer_to;
use crate::state::renewal::refresh::{Verdict, judge};
use crate::state::renewal::remains::{for_others, into_account, without_refresh_token};
use crate::state::trigger::Trigger;
use crate::suspended::{Again, Brings, Kept, Overdue, Renewal, Unsaved};

impl Overdue {
    /// Returns the work that a late answer causes:
    ///
    /// - If the account holds the refresh token that was sent, or what another answer to it brought, the tokens are saved before
    ///   a refresh token is sent again. Of several answers the best one counts ([`Rank`](crate::suspended::Rank)).
    /// - If another process has emptied the account, the user has signed out, and the tokens are revoked (REFR-12).
    /// - Otherwise the tokens are dropped. They are not revoked: the stored tokens may be of the same grant, and a server may
    ///   end those too.
    pub(crate) fn answered(
        mut self,
        core: &mut Core,
        request: u64,
        outcome: Outcome,
    ) -> Option<Trigger> {
        let sent = &self.at.held().refresh;
        let is_held = match &core.held.at {
            Some(held) => {
                self.stored = self
                    .stored
                    .filter(|stored| stored.is_stored_in(held.held()));
                self.stored.is_some() || held.is_before_refresh(self.at.issuer(), sent)
            }
            None if core.held.is_empty() => {
                let at = self.at.late(core, outcome)?;
                return Some(Trigger::Revoke(Box::new(at)));
            }
            None => false,
        };
        let waits = core.held.unsaved.as_ref();
        if !is_held || waits.is_some_and(|unsaved| unsaved.kept.sent().is_none()) {
            return None;
        }
        let stored = self.stored.take();
        let (at, kept) = self.brings(core, request, outcome)?;
        let again = Again::default();
        let at = Box::new(at);
        let late = Unsaved { at, kept, again };
        let late = match (stored, &core.held.at) {
            (Some(stored), Some(held)) => {
                let at = late.beside(held, &stored)?;
                late.after(at, held.held())
            }
            (_, _) => late,
        };
        let late = match core.held.unsaved.take() {
            Some(unsaved) => unsaved.or(late),
            None => late,
        };
        core.held.unsaved = Some(Box::new(late));
        Some(Trigger::Save)
    }

    /// Returns the account with the tokens of the answer, or without the refresh token that it replaced. An answer of any
    /// other kind is ignored: the next refresh receives the same answer.
    fn brings(
        self,
        core: &mut Core,
        request: u64,
        outcome: Outcome,
    ) -> Option<(AtIssuer<Account>, Kept)> {
        let Self {
            at,
            sent,
            naming,
            operation,
            stored: _,
        } = self;
        let response = answer_to(core, &at, outcome).ok()?;
        let verdict = judge(core, &at, &response);
        let operation = operation.unwrap_or_else(|| "refresh".into());
        let renewal = Renewal::new(core, operation, None);
        let settings = core.config().settings(at.issuer());
        let may_name = at.held().may_name_scopes(naming, settings);
        match verdict {
            Verdict::Granted(granted, _) if may_name && at.held().is_for_others(&granted) => {
                granted.refresh_token.as_ref()?;
                Some(for_others(at, request, renewal, *granted))
            }
            Verdict::Granted(granted, binding) => {
                let from = sent.seen_from(core.now);
                let (at, sent) = at.refreshed(core, request, *granted, binding, from);
                Some((at, Kept::Refreshed { renewal, sent }))
            }
            Verdict::Unusable(discarded) if discarded.spends(&at) => {
                let (at, sent) = into_account(at, Brings::NothingUsable, request);
                let cause = discarded.revoke(core, &at);
                Some(without_refresh_token(core, at, sent, renewal, cause))
            }
            Verdict::Unusable(_)
            | Verdict::GrantOver
            | Verdict::RefreshOver(_)
            | Verdict::Unexplained(_)
            | Verdict::ClientUnknown(_)
            | Verdict::Later(_)
            | Verdict::Final(_) => None,
        }
    }
}

impl AtIssuer<RefreshGrant> {
    /// Reads the tokens of a response that comes after a sign-out, which are to be revoked (REFR-12).
    pub(crate) fn late(self, core: &mut Core, outcome: Outcome) -> Option<AtIssuer<Account>> {
        let response = answer_to(core, &self, outcome).ok()?;
        match judge(core, &self, &response) {
            Verdict::Granted(granted, _) => Some(self.redeemed(*granted, core.now)),
            Verdict::Unusable(discarded) => {
                let granted = discarded.granted?;
                Some(self.redeemed(*granted, core.now))
            }
            Verdict::GrantOver
            | Verdict::RefreshOver(_)
            | Verdict::Unexplained(_)
            | Verdict::ClientUnknown(_)
            | Verdict::Later(_)
            | Verdict::Final(_) => None,
        }
    }
}
