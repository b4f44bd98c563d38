//! The scopes that a user agreed to are requested (S46), those that were missing while that was
//! prepared (S47), and those that a question still names after a sign-in without them (S48).

use mcp_auth_machine::action::Why;

use super::{Ledger, account};

impl Ledger {
    /// The machine asks for the user, perhaps for these scopes.
    pub(super) fn names_scopes(&mut self, at: usize, why: &Why) {
        self.ends_consent(at);
        let seat = self.seat(at);
        if let Why::ScopeMissing { scopes, .. } = why {
            seat.question.extend(scopes.iter().map(str::to_owned));
        }
    }

    /// The user agrees to what the last question named.
    pub(in crate::machine_tests::world) fn consents(&mut self, at: usize, idle: bool) {
        let seat = self.seat(at);
        // It looks at the record of a redirect again before it repeats that (S16).
        seat.pending_there &= !idle;
        seat.agreed_to.append(&mut seat.question);
        seat.prepares = true;
        seat.clicks = seat.clicks.saturating_add(1);
    }

    /// A request with the token that is held was refused for want of these scopes, while the documents or the client of an
    /// authorization were being fetched. They join it, where a step-up is allowed for certain: the user has declined
    /// nothing, and the operation has an authorization left, however they were counted. `granted`: the scopes of the token.
    pub(in crate::machine_tests::world) fn lacks_meanwhile(
        &mut self,
        at: usize,
        scopes: &str,
        granted: &[String],
    ) -> bool {
        let known = account(self.seat(at).account.as_deref().unwrap_or_default());
        let requested = known["requested"].as_str().unwrap_or_default();
        let has = |scope: &str| {
            let mut requested = requested.split(' ');
            granted.iter().any(|own| own == scope) || requested.any(|own| own == scope)
        };
        let adds = scopes.split(' ').any(|scope| !has(scope));
        let seat = self.seat(at);
        let joins = seat.prepares && adds && !seat.declined && seat.clicks <= 2;
        if joins {
            seat.joined.extend(scopes.split(' ').map(str::to_owned));
        }
        joins
    }

    /// Whether the authorization of what the user agreed to is under way.
    pub(in crate::machine_tests::world) fn is_consenting(&mut self, at: usize) -> bool {
        !self.seat(at).agreed_to.is_empty()
    }

    /// That came to an end.
    pub(in crate::machine_tests::world) fn ends_consent(&mut self, at: usize) {
        self.seat(at).agreed_to.clear();
        self.seat(at).question.clear();
        self.seat(at).kept = false;
        self.ends_preparing(at);
    }

    /// A token with these scopes is there. A question stays open for those that were neither granted nor requested of a
    /// server by anybody (S48).
    pub(super) fn answers_question(&mut self, at: usize, granted: &[String]) {
        let requested = self.requested.clone();
        let question = std::mem::take(&mut self.seat(at).question);
        self.ends_consent(at);
        let lacks = |scope: &String| !granted.contains(scope) && !requested.contains(scope);
        self.seat(at).question = question.into_iter().filter(lacks).collect();
        self.seat(at).kept = !self.seat(at).question.is_empty();
    }

    /// Whether the code that one instance sent last is that of the last redirect of another (S49).
    pub(in crate::machine_tests::world) fn exchanges_for(&self, at: usize, other: usize) -> bool {
        // A store that fails says nothing about the record.
        let seat = self.seats.get(at).filter(|seat| !seat.store_failed);
        let pending = seat.and_then(|seat| seat.pending.as_ref());
        let exchanged = self
            .seats
            .get(other)
            .and_then(|seat| seat.exchanges.as_ref());
        pending.is_some() && pending == exchanged
    }

    /// The authorization that was prepared is on its way, or came to nothing.
    pub(in crate::machine_tests::world) fn ends_preparing(&mut self, at: usize) {
        let seat = self.seat(at);
        seat.prepares = false;
        seat.joined.clear();
    }

    /// The user is sent to agree to these scopes: none is missing that a question named and the user agreed to.
    pub(super) fn keeps_consent(&mut self, at: usize, scopes: &[String]) {
        let property = match self.seat(at).kept {
            true => "S48",
            false => "S46",
        };
        for scope in &self.seat(at).agreed_to {
            assert!(
                scopes.contains(scope),
                "{property}: the user agreed to {scope}, which is not in {scopes:?}"
            );
        }
        for scope in &self.seat(at).joined {
            assert!(
                scopes.contains(scope),
                "S47: {scope} was missing before the redirect, which requests {scopes:?}"
            );
        }
        self.ends_preparing(at);
        self.requested.extend(scopes.iter().cloned());
    }
}
