//! The scopes that a user agreed to are requested (S46).

use mcp_auth_machine::action::Why;

use super::Ledger;

impl Ledger {
    /// The machine asks for the user, perhaps for these scopes.
    pub(super) fn names_scopes(&mut self, at: usize, why: &Why) {
        let seat = self.seat(at);
        seat.agreed_to.clear();
        seat.question.clear();
        if let Why::ScopeMissing { scopes, .. } = why {
            seat.question.extend(scopes.iter().map(str::to_owned));
        }
    }

    /// The user agrees to what the last question named.
    pub(in crate::machine_tests::world) fn consents(&mut self, at: usize) {
        let seat = self.seat(at);
        seat.agreed_to.append(&mut seat.question);
    }

    /// Whether the authorization of what the user agreed to is under way.
    pub(in crate::machine_tests::world) fn is_consenting(&mut self, at: usize) -> bool {
        !self.seat(at).agreed_to.is_empty()
    }

    /// That came to an end.
    pub(in crate::machine_tests::world) fn ends_consent(&mut self, at: usize) {
        self.seat(at).agreed_to.clear();
        self.seat(at).question.clear();
    }

    /// The user is sent to agree to these scopes: none is missing that a question named and the user agreed to.
    pub(super) fn keeps_consent(&mut self, at: usize, scopes: &[String]) {
        for scope in &self.seat(at).agreed_to {
            assert!(
                scopes.contains(scope),
                "S46: the user agreed to {scope}, which is not in {scopes:?}"
            );
        }
    }
}
