//! Moves for what comes late: the answer to a refresh, and the write of tokens.

use mcp_auth_machine::Action;

use super::moments::{access_of, is_of_store, refresh_of, writes_account};
use super::{Habit, How, MCP, Move, OPERATION, PRM, World};
use crate::machine_tests::{body, copy, get};

impl World {
    // ---- An answer to a refresh after its time limit

    /// The refresh request of an instance at an honest server, by its place among what is outstanding.
    pub(super) fn refreshes(&self, at: usize) -> Option<usize> {
        let alone = self.setup.instances == 1 && !self.shelf.tampered;
        self.last_refresh(at).filter(|_| alone)
    }

    fn last_refresh(&self, at: usize) -> Option<usize> {
        let instance = &self.instances[at];
        let last = |action: &Action| match action {
            Action::SendRequest(send) => self.ledger.is_last_refresh(at, send.id()),
            _ => false,
        };
        let found = instance.actions.iter().position(last)?;
        instance.is_in("refreshing").then_some(found)
    }

    /// The time limit of a refresh passes, and its answer comes so many steps into the next try. Its tokens are stored, or
    /// those of the next try; the refresh token that was sent is not lost with them (S61).
    pub(super) fn late(&mut self, at: usize, steps: u8, usable: bool) {
        let Some(found) = self.refreshes(at) else {
            return;
        };
        let Some(Action::SendRequest(send)) = self.instances[at].actions.remove(found) else {
            return;
        };
        let Some(due) = self.instances[at].machine.deadline() else {
            return;
        };
        self.wait(due.0.saturating_sub(self.now.mono.0));
        if steps > 0 && self.instances[at].is_in("pausing") {
            let due = self.instances[at].machine.deadline();
            let due = due.map_or(0, |due| due.0.saturating_sub(self.now.mono.0));
            self.wait(due);
            for _ in 1..steps {
                let next =
                    |action: &Action| is_of_store(action) || matches!(action, Action::Sign(_));
                let Some(next) = self.instances[at].actions.iter().position(next) else {
                    break;
                };
                self.answer(at, next, How::Honest);
            }
        }
        let sent = self.shelf.account().and_then(refresh_of);
        let request = copy(send.request());
        let counts = self.takes_late(at, &request) && sent.is_some();
        if !self.instances[at].is_in("pausing") {
            self.facts
                .note("a late answer to a refresh beside the next try");
        }
        let id = send.id();
        self.instances[at]
            .actions
            .push_back(Action::SendRequest(send));
        let last = self.instances[at].actions.len() - 1;
        // A `token_type` that is a number.
        let odd = How::Odd { member: 2, kind: 2 };
        self.answer(at, last, if usable { How::Honest } else { odd });
        let granted = self.ledger.has_replaced(at, id) && usable;
        self.ends_refresh(at, &sent);
        let kept = self.shelf.account().and_then(refresh_of);
        assert!(
            !(counts && granted) || kept.is_some() && kept != sent,
            "S61: the tokens of a late answer to a refresh are lost"
        );
    }

    /// Answers what an instance asks for, until it rests or refreshes with another token than this one: that follows where the new
    /// tokens have expired meanwhile.
    fn ends_refresh(&mut self, at: usize, sent: &Option<String>) {
        for _ in 0..24 {
            let next = |action: &Action| match action {
                Action::SendRequest(send) => {
                    let refresh = get(&body(send.request()), "refresh_token");
                    refresh.is_none() || refresh == *sent
                }
                Action::Sign(_) => true,
                action => is_of_store(action),
            };
            let Some(next) = self.instances[at].actions.iter().position(next) else {
                return;
            };
            self.answer(at, next, How::Honest);
        }
    }

    /// The refresh request that an instance waits for, taken out when its time limit has passed.
    fn overdue(&mut self, at: usize) -> Option<Action> {
        let found = self.last_refresh(at)?;
        let send = self.instances[at].actions.remove(found)?;
        let due = self.instances[at].machine.deadline()?;
        self.wait(due.0.saturating_sub(self.now.mono.0));
        Some(send)
    }

    /// The time limits of two tries pass, and the server, which accepts the replaced refresh token for a while, answers both. The
    /// first or the second answer is of no use, or none, and they come in this order or the other; the account is stored between
    /// them, or not. A usable answer is not lost (S61).
    pub(super) fn late_twice(&mut self, at: usize, order: u8) {
        let Some(first) = self.overdue(at) else {
            return;
        };
        if !self.instances[at].is_in("pausing") {
            return;
        }
        let due = self.instances[at].machine.deadline();
        self.wait(due.map_or(0, |due| due.0.saturating_sub(self.now.mono.0)));
        for _ in 0..8 {
            let next = |action: &Action| is_of_store(action) || matches!(action, Action::Sign(_));
            let Some(next) = self.instances[at].actions.iter().position(next) else {
                break;
            };
            self.answer(at, next, How::Honest);
        }
        let Some(second) = self.overdue(at) else {
            return;
        };
        let (Action::SendRequest(one), Action::SendRequest(two)) = (&first, &second) else {
            return;
        };
        let token_of = |request| get(&body(request), "refresh_token");
        let sent = token_of(one.request());
        let request = copy(two.request());
        let counts = sent == token_of(two.request()) && self.takes_late(at, &request);
        if !counts || self.shelf.account().and_then(refresh_of) != sent {
            return;
        }
        self.facts.note("two late answers to one refresh token");
        let odd = How::Odd { member: 2, kind: 2 };
        let [one_is, two_is] = match order % 3 {
            0 => [odd, How::Honest],
            1 => [How::Honest, odd],
            _ => [How::Honest, How::Honest],
        };
        let mut answers = [(first, one_is), (second, two_is)];
        if order & 4 != 0 {
            answers.reverse();
        }
        let mut brought = false;
        let mut usable = Vec::new();
        for (at_place, (send, how)) in answers.into_iter().enumerate() {
            let Action::SendRequest(request) = &send else {
                return;
            };
            let id = request.id();
            self.instances[at].actions.push_back(send);
            let last = self.instances[at].actions.len() - 1;
            let (before, _) = self.ledger.last_token();
            self.servers.grace = true;
            self.answer(at, last, how);
            self.servers.grace = false;
            brought |= self.ledger.has_replaced(at, id) && how == How::Honest;
            let (granted, token) = self.ledger.last_token();
            if how == How::Honest && granted > before {
                usable.extend(token.map(|token| (id, token)));
            }
            if at_place == 0 && order & 8 != 0 {
                self.answer_store(at, How::Honest);
            }
        }
        self.ends_refresh(at, &sent);
        let stored = self.shelf.account().unwrap_or_default().to_owned();
        let kept = refresh_of(&stored);
        let foreign = self.setup.has(Habit::ForeignScopes);
        assert!(
            foreign || !brought || kept.is_some() && kept != sent,
            "S61: of two late answers to a refresh, the refresh token of the usable one is lost"
        );
        usable.sort();
        // All of them are valid for longer than the move takes.
        let lasts = usable
            .iter()
            .all(|(_, (_, seconds))| seconds.is_none_or(|s| s > 300));
        if let Some((_, (access, _))) = usable.last().filter(|_| lasts && !foreign) {
            assert!(
                access_of(&stored).as_ref() == Some(access),
                "S61: of two late answers to a refresh, the better one is lost: {access}"
            );
        }
    }

    /// The refresh request of an instance, and another one that rests.
    pub(super) fn refreshes_beside(&self, at: usize) -> Option<usize> {
        let other = (at + 1) % self.instances.len();
        let rests = other != at && !self.is_busy(other);
        let known = self.last_refresh(at).is_some() && !self.shelf.tampered;
        (known && rests).then_some(other)
    }

    /// The time limit of a refresh passes, and its lease ends. Another instance refreshes with the same refresh token, which the
    /// server keeps, and then the first answer comes: its access token is the older one (S63).
    pub(super) fn late_beside(&mut self, at: usize) {
        let Some(other) = self.refreshes_beside(at) else {
            return;
        };
        let Some(send) = self.overdue(at) else {
            return;
        };
        // The instance waits for the store meanwhile.
        self.wait(6_000);
        self.servers.keeps = true;
        self.ledger.external(other);
        self.wants(other, OPERATION);
        self.goes_on(other, How::Honest);
        let (granted, _) = self.ledger.last_token();
        self.instances[at].actions.push_back(send);
        let last = self.instances[at].actions.len() - 1;
        self.answer(at, last, How::Honest);
        self.servers.keeps = false;
        if self.ledger.last_token().0 > granted {
            self.facts
                .note("a late answer after another instance had refreshed");
        }
        self.answer_store(at, How::Honest);
    }

    // ---- Tokens that are written again after another instance has refreshed them

    /// The write of new tokens by an instance, and another instance that rests.
    pub(super) fn saves_beside_another(&self, at: usize) -> Option<(usize, usize)> {
        let instance = &self.instances[at];
        let write = instance.actions.iter().position(|action| {
            let written = writes_account(action).and_then(|persist| persist.write());
            written.is_some_and(|stored| refresh_of(stored.contents.expose()).is_some())
        })?;
        let other = (at + 1) % self.instances.len();
        let rests = other != at && !self.is_busy(other);
        (rests && instance.is_in("saving_account") && !self.shelf.tampered)
            .then_some((write, other))
    }

    /// The store reports a failure of a write that was done. Another instance spends the refresh token for an answer of no use
    /// before the tokens are written again, and is refused once more: the spent token is not sent again (S60).
    pub(super) fn saved_twice(&mut self, at: usize) {
        let Some((write, other)) = self.saves_beside_another(at) else {
            return;
        };
        self.facts
            .note("tokens were saved again after another instance had refreshed them");
        self.answer(at, write, How::Lies);
        for _ in 0..2 {
            // A `token_type` that is a number: of no use to any client.
            let answer = How::Odd { member: 2, kind: 2 };
            if !self.refreshes_before_a_save(at, other, answer) {
                return;
            }
        }
    }

    /// The same, but another instance is refused a refresh with the new tokens, and drops them: they are not put back (S64).
    pub(super) fn saved_refused(&mut self, at: usize) {
        let Some((write, other)) = self.saves_beside_another(at) else {
            return;
        };
        self.facts
            .note("tokens were saved again after another instance had been refused");
        self.answer(at, write, How::Lies);
        // `invalid_grant`.
        self.refreshes_before_a_save(at, other, How::Refused(0));
    }

    /// The token of an instance is refused, and its refresh is answered like this; then the first instance saves again. Returns
    /// false if the other instance has no token to be refused.
    fn refreshes_before_a_save(&mut self, at: usize, other: usize, answer: How) -> bool {
        self.ledger.external(other);
        self.wants(other, OPERATION);
        self.answer_store(other, How::Honest);
        self.instances[other]
            .actions
            .retain(|action| !matches!(action, Action::Ready(_)));
        let Some(sent) = self.token(other).filter(|_| !self.is_busy(other)) else {
            return false;
        };
        self.ledger.external(other);
        let line = format!("Bearer resource_metadata=\"{PRM}\"");
        self.challenge(other, OPERATION, 401, &line, Some(&sent));
        self.goes_on(other, answer);
        let due = self.instances[at].machine.deadline();
        self.wait(due.map_or(0, |due| due.0.saturating_sub(self.now.mono.0)));
        self.answer_store(at, How::Honest);
        true
    }

    /// Answers what an instance asks of the store, of the resource and of its host, and a refresh in this way.
    pub(super) fn goes_on(&mut self, at: usize, refresh: How) {
        for _ in 0..16 {
            let next = |action: &Action| match action {
                Action::SendRequest(_) | Action::Sign(_) => true,
                action => is_of_store(action),
            };
            let Some(next) = self.instances[at].actions.iter().position(next) else {
                return;
            };
            let refreshes = match &self.instances[at].actions[next] {
                Action::SendRequest(send) => get(&body(send.request()), "refresh_token").is_some(),
                _ => false,
            };
            self.answer(at, next, if refreshes { refresh } else { How::Honest });
        }
    }
}
