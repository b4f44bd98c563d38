//! Moves for moments that random moves seldom meet: each continues until the moment has passed.

use http::{HeaderMap, HeaderValue};
use mcp_auth_machine::action::PersistSlot;
use mcp_auth_machine::event::{Challenge, Observed};
use mcp_auth_machine::{Action, Event, Phase};

use super::instance::Instance;
use super::{Client, Habit, How, MCP, Move, OPERATION, PRM, THIRD, World};

/// How long a refresh lease lasts, in milliseconds.
const LEASE: u64 = 35_000;
/// How long the store works again before the lease ends, in milliseconds: longer than any wait between two tries.
const WORKS_AGAIN: u64 = 6_000;
/// By how much the wall clock is set, in milliseconds: longer than a lease lasts, and shorter than metadata is fresh.
const SET: u64 = 60_000;

/// Whether a machine writes the account.
pub(super) fn writes_account(action: &Action) -> Option<&PersistSlot> {
    match action {
        Action::PersistSlot(persist) if persist.slot().to_string().starts_with("account/") => {
            Some(persist)
        }
        _ => None,
    }
}

pub(super) fn is_of_store(action: &Action) -> bool {
    matches!(action, Action::LoadSlot(_) | Action::PersistSlot(_))
}

/// A token of an account record.
fn token_of(contents: &str, kind: &str) -> Option<String> {
    let text = crate::spelled_out(contents);
    let account: serde_json::Value = serde_json::from_str(&text).ok()?;
    Some(account["tokens"][kind].as_str()?.to_owned())
}

pub(super) fn refresh_of(contents: &str) -> Option<String> {
    token_of(contents, "refresh")
}

/// The authorization that an account names.
fn authorization_of(contents: &str) -> Option<u64> {
    let text = crate::spelled_out(contents);
    let account: serde_json::Value = serde_json::from_str(&text).ok()?;
    account["authorization"].as_u64()
}

pub(super) fn access_of(contents: &str) -> Option<String> {
    token_of(contents, "access")
}

impl Instance {
    pub(super) fn is_in(&self, state: &str) -> bool {
        matches!(self.machine.phase(), Phase::Working(name) if name == state)
    }

    /// Whether a code for another device is shown beside a token.
    fn shows_a_code(&self) -> bool {
        self.machine.phase() == Phase::AwaitingDevice && self.machine.grant().is_some()
    }
}

impl World {
    /// The move for a moment that is there now, a quarter of the time.
    pub(super) fn of_the_moment(&self, at: usize, pick: usize) -> Option<Move> {
        if !pick.is_multiple_of(4) {
            return None;
        }
        let pick = pick / 4;
        let instance = &self.instances[at];
        let beside = self.saves_beside_another(at).is_some();
        let refreshed = self.saves_a_refresh(at).is_some();
        if refreshed && (!beside || pick % 4 < 2) {
            let seconds = [2, 12, 20, 27][pick % 4];
            return Some(Move::Outage { at, seconds });
        }
        if self.waits_for_a_lease(at) {
            let forward = pick.is_multiple_of(2);
            return Some(Move::SetClock { at, forward });
        }
        if self.elsewhere(at).is_some() {
            return Some(Move::SignOutBeside(at));
        }
        if beside {
            return Some(match refreshed || pick.is_multiple_of(3) {
                true => Move::SavedRefused(at),
                false => Move::SavedTwice(at),
            });
        }
        if self.refreshes_beside(at).is_some() && pick.is_multiple_of(4) {
            return Some(Move::LateBeside(at));
        }
        if self.refreshes(at).is_some() && pick % 8 == 5 {
            let order = (pick / 8 % 12) as u8;
            return Some(Move::LateTwice { at, order });
        }
        if self.refreshes(at).is_some() && pick % 8 < 5 {
            let steps = (pick / 8 % 7) as u8;
            let usable = !(pick / 56).is_multiple_of(2);
            return Some(Move::Late { at, steps, usable });
        }
        if self.waits_beside_a_token(at) && pick.is_multiple_of(8) {
            return Some(Move::SignOutTwice(at));
        }
        if self.is_signed_in(at) && pick.is_multiple_of(16) {
            return Some(Move::SignOutUnread(at));
        }
        if self.is_signed_in_beside(at).is_some() && pick % 16 == 1 {
            return Some(Move::SignOutBesideRefresh(at));
        }
        let rests = instance.actions.is_empty() && instance.machine.phase() == Phase::Resting;
        let bound = self.setup.client == Client::Bound && instance.machine.grant().is_some();
        (bound && rests).then_some(Move::Nonces(at))
    }

    /// Answers everything that an instance asks of the store.
    pub(super) fn answer_store(&mut self, at: usize, writes: How) {
        let of_store = |instance: &Instance| instance.actions.iter().position(is_of_store);
        for _ in 0..16 {
            let Some(action) = of_store(&self.instances[at]) else {
                return;
            };
            let loads = matches!(
                self.instances[at].actions.get(action),
                Some(Action::LoadSlot(_))
            );
            self.answer(at, action, if loads { How::Honest } else { writes });
        }
    }

    // ---- An outage of the store after a refresh

    /// The refresh token that an instance is about to store under its lease, when the lease was taken a moment ago and the write
    /// would succeed.
    fn saves_a_refresh(&self, at: usize) -> Option<String> {
        let instance = &self.instances[at];
        let persist = instance.actions.iter().find_map(writes_account)?;
        let current = self.shelf.load(&persist.slot().to_string())?;
        let fresh = refresh_of(persist.write()?.contents.expose())?;
        let known = refresh_of(current.contents.expose());
        let saves = instance.is_in("saving_account")
            && persist.expected() == Some(current.revision)
            && known.is_some_and(|known| known != fresh)
            && !self.shelf.tampered;
        let left = self.ledger.own_lease(at, self.now)?;
        (saves && left > 2 * WORKS_AGAIN).then_some(fresh)
    }

    /// The store takes no writes for so many seconds, and works again before the lease ends: by then the tokens are stored (S58).
    pub(super) fn outage(&mut self, at: usize, seconds: u16) {
        let (Some(fresh), Some(left)) = (
            self.saves_a_refresh(at),
            self.ledger.own_lease(at, self.now),
        ) else {
            return;
        };
        let ends = self.now.mono.0 + left.min(LEASE);
        let works = (self.now.mono.0 + u64::from(seconds) * 1_000).min(ends - WORKS_AGAIN);
        for _ in 0..64 {
            let how = match self.now.mono.0 < works {
                true => How::Fails,
                false => How::Honest,
            };
            self.answer_store(at, how);
            if self.shelf.account().and_then(refresh_of).as_ref() == Some(&fresh) {
                break;
            }
            let machine = &self.instances[at].machine;
            if machine.phase() != Phase::Resting {
                // It does something else for its host first.
                return;
            }
            let due = machine.deadline().map_or(ends, |due| due.0.min(ends));
            if due >= ends {
                break;
            }
            self.wait(due.saturating_sub(self.now.mono.0));
        }
        self.facts.note("the store took no writes after a refresh");
        assert!(
            self.shelf.account().and_then(refresh_of) == Some(fresh),
            "S58: the lease ends, and the tokens of the refresh are not stored, although the store works"
        );
    }

    // ---- A clock that is set during a lease

    fn waits_for_a_lease(&self, at: usize) -> bool {
        let foreign = self.ledger.foreign_lease(at, self.now);
        self.instances[at].is_in("pausing") && foreign && !self.shelf.tampered
    }

    /// The wall clock is set while an instance waits for the lease of another one, and the instance looks again (S57).
    pub(super) fn set_clock(&mut self, at: usize, forward: bool) {
        if !self.waits_for_a_lease(at) {
            return;
        }
        self.facts.note("the clock was set during a lease");
        let wall = self.now.wall.0;
        let wall = if forward { wall + SET } else { wall - SET };
        self.set_wall(wall);
        for _ in 0..2 {
            let Some(due) = self.instances[at].machine.deadline() else {
                return;
            };
            self.wait(due.0.saturating_sub(self.now.mono.0));
            self.answer_store(at, How::Honest);
        }
    }

    // ---- A sign-out of another process while a code is shown

    /// Another instance, which shows a code for another device beside a token.
    fn elsewhere(&self, at: usize) -> Option<usize> {
        let shows = |other: &usize| *other != at && self.instances[*other].shows_a_code();
        let other = (0..self.instances.len()).find(shows);
        other.filter(|_| self.setup.has(Habit::OtherDevice) && !self.is_busy(at))
    }

    /// The user signs out at one instance, then enters the code that another one shows (S56).
    pub(super) fn sign_out_beside(&mut self, at: usize) {
        let Some(other) = self.elsewhere(at) else {
            return;
        };
        self.facts.note("signed out while a code was shown");
        self.apply(Move::SignOut(at));
        self.answer_store(at, How::Honest);
        for _ in 0..3 {
            let asks = |action: &Action| match action {
                Action::ShowCode(_) | Action::SendRequest(_) => true,
                action => is_of_store(action),
            };
            while let Some(action) = self.instances[other].actions.iter().position(asks) {
                self.answer(other, action, How::Honest);
            }
            let instance = &self.instances[other];
            let Some(due) = instance.machine.deadline() else {
                return;
            };
            self.wait(due.0.saturating_sub(self.now.mono.0));
        }
    }

    // ---- A sign-out while an operation waits twice

    /// An operation waits for an authorization, beside a token.
    fn waits_beside_a_token(&self, at: usize) -> bool {
        let instance = &self.instances[at];
        let waits = instance.wishes.contains_key(OPERATION);
        let machine = &instance.machine;
        let phase = machine.phase();
        waits && phase == Phase::AwaitingUser && machine.grant().is_some() && !self.is_busy(at)
    }

    /// The user signs out while an operation that waits for an authorization is refused again: it is answered once (S50).
    pub(super) fn sign_out_twice(&mut self, at: usize) {
        if !self.waits_beside_a_token(at) {
            return;
        }
        let Some(sent) = self.token(at) else {
            return;
        };
        self.facts
            .note("signed out of two requests of one operation");
        self.ledger.external(at);
        let line = format!("Bearer resource_metadata=\"{PRM}\"");
        self.challenge(at, OPERATION, 401, &line, Some(&sent));
        self.apply(Move::SignOut(at));
    }

    // ---- A sign-out while the store cannot be read

    fn is_signed_in(&self, at: usize) -> bool {
        let alone = self.setup.instances == 1 && !self.shelf.tampered;
        let rests = !self.is_busy(at) && self.instances[at].machine.phase() == Phase::Resting;
        alone && rests && self.shelf.account().and_then(access_of).is_some()
    }

    /// A process starts while the store cannot be read, and the user signs out. Once it can be read, an operation wants a token
    /// (S62).
    pub(super) fn sign_out_unread(&mut self, at: usize) {
        if !self.is_signed_in(at) {
            return;
        }
        self.facts
            .note("signed out while the store could not be read");
        self.apply(Move::Crash { at, keeps: true });
        self.fail_loads(at);
        self.apply(Move::SignOut(at));
        self.fail_loads(at);
        self.ledger.external(at);
        self.wants(at, OPERATION);
        self.answer_store(at, How::Honest);
    }

    /// Another instance that rests, and can refresh the tokens of the account.
    fn is_signed_in_beside(&self, at: usize) -> Option<usize> {
        let other = (at + 1) % self.instances.len();
        let rests =
            |at: usize| !self.is_busy(at) && self.instances[at].machine.phase() == Phase::Resting;
        let behind = self.now.wall.0 < self.latest;
        let renewable = self.shelf.account().and_then(refresh_of).is_some();
        let ready = other != at && rests(at) && rests(other) && renewable;
        (ready && !behind && !self.shelf.tampered).then_some(other)
    }

    /// The same while another instance refreshes the tokens: they are those of the authorization of which the user has signed out
    /// (S62).
    pub(super) fn sign_out_beside_refresh(&mut self, at: usize) {
        let Some(other) = self.is_signed_in_beside(at) else {
            return;
        };
        self.apply(Move::Crash { at, keeps: true });
        self.fail_loads(at);
        self.apply(Move::SignOut(at));
        self.fail_loads(at);
        // Longer than the clocks of two hosts differ.
        self.wait(40_000);
        let account = |world: &Self| {
            let known = world.shelf.account();
            known.map(|text| (authorization_of(text), access_of(text)))
        };
        let before = account(self);
        let Some(sent) = self.token(other).filter(|_| !self.is_busy(other)) else {
            return;
        };
        self.ledger.external(other);
        let line = format!("Bearer resource_metadata=\"{PRM}\"");
        self.challenge(other, OPERATION, 401, &line, Some(&sent));
        self.goes_on(other, How::Honest);
        let after = account(self);
        let (Some((whose, old)), Some((still, new))) = (before, after) else {
            return;
        };
        if whose.is_none() || whose != still || old == new {
            return;
        }
        self.facts
            .note("signed out unread while another instance refreshed");
        self.ledger.external(at);
        self.wants(at, OPERATION);
        self.answer_store(at, How::Honest);
        let left = account(self).and_then(|(_, access)| access);
        assert!(
            left.is_none() || left != new,
            "S62: the user has signed out, and the tokens that another instance refreshed since are kept"
        );
    }

    fn fail_loads(&mut self, at: usize) {
        let loads = |action: &Action| matches!(action, Action::LoadSlot(_));
        while let Some(load) = self.instances[at].actions.iter().position(loads) {
            self.answer(at, load, How::Fails);
        }
    }

    // ---- A server that wants another nonce for each request

    /// The MCP server refuses each request for want of another nonce. The host reports each response before its refusal (S55).
    pub(super) fn nonces(&mut self, at: usize) {
        let mut again = 0;
        for _ in 0..5 {
            if self.is_busy(at) || self.instances[at].machine.phase() != Phase::Resting {
                return;
            }
            let Some(sent) = self.token(at).filter(|sent| sent.starts_with("DPoP ")) else {
                return;
            };
            self.facts.note("a nonce that does not suffice");
            self.ledger.external(at);
            self.minted += 1;
            let mut headers = HeaderMap::new();
            let wants = HeaderValue::from_static("DPoP error=\"use_dpop_nonce\"");
            headers.insert("www-authenticate", wants);
            let nonce = HeaderValue::from_str(&format!("nonce-{}", self.minted));
            headers.insert("dpop-nonce", nonce.expect("a nonce"));
            self.tell(at, Event::Observed(Observed::new(MCP, &headers)));
            self.instances[at].wishes(THIRD, None);
            let challenge = Challenge::new(THIRD, 401, headers).sent(&sent);
            self.tell(at, Event::Challenged(challenge));
            self.answer_store(at, How::Honest);
            let actions = &mut self.instances[at].actions;
            let before = actions.len();
            actions.retain(|action| !matches!(action, Action::Ready(_)));
            if actions.len() == before {
                return;
            }
            again += 1;
            assert!(
                again <= 2,
                "S55: a request is made again for each nonce of a server that always wants another one"
            );
        }
    }
}
