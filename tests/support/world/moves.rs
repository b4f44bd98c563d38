//! What can happen next: one vocabulary for every engine.

use mcp_auth_machine::Action;
use serde::{Deserialize, Serialize};

use super::{Client, World};

/// How an outstanding action is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum How {
    /// As the next honest step would be.
    Honest,
    /// By a liar, in one of several ways; honest servers do not lie.
    Lie(u8),
    /// No answer came; the server has acted on it.
    Lost,
    /// The request never left.
    NeverSent,
    /// The body is too large.
    TooLarge,
    /// A failure for now.
    Busy(u16),
    /// An OAuth error, by the list in `servers`.
    Refused(u8),
    /// A redirect to somewhere else.
    Redirected,
    /// Something else than was asked for.
    Garbage(u8),
    /// The answer goes to another instance.
    Misdelivered,
    /// The host forgets about it (H05).
    Forgotten,
    /// The store does not do it.
    Fails,
    /// The store does it, and says it did not.
    Lies,
}

/// How the user comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Return {
    /// As the server that was visited sends its users back.
    Honest,
    /// With the code of this server: the one visited sent the user on.
    From(usize),
    /// With the code of this server, and this server's name.
    FromNamed(usize),
    WithoutIss,
    WithOtherIss,
    IssTwice,
    IssAlike,
    StateWrong,
    StateMissing,
    ErrorStray,
    Error,
    ErrorPoisoned,
    Twice,
    WithToken,
}

/// What the MCP server says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Said {
    /// 200 to a token it knows, 401 otherwise.
    Honest,
    /// 401 whatever comes.
    Unauthorized,
    /// 403 for want of scopes.
    Forbidden(u8),
    /// Nothing yet: a request is about to be made.
    Wanted,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Move {
    Answer {
        at: usize,
        action: usize,
        how: How,
    },
    Return {
        visit: usize,
        at: usize,
        how: Return,
    },
    Resource {
        at: usize,
        said: Said,
    },
    Names(usize),
    Crash {
        at: usize,
        keeps: bool,
    },
    Cancel(usize),
    SignOut(usize),
    Wait(u16),
    WallClock(bool),
    RollBack(usize),
    Damage(usize),
    Confuse,
}

const RETURNS: [Return; 17] = [
    Return::From(0),
    Return::From(1),
    Return::From(2),
    Return::FromNamed(0),
    Return::FromNamed(2),
    Return::WithoutIss,
    Return::WithOtherIss,
    Return::IssTwice,
    Return::IssAlike,
    Return::StateWrong,
    Return::StateMissing,
    Return::ErrorStray,
    Return::Error,
    Return::ErrorPoisoned,
    Return::Twice,
    Return::WithToken,
    Return::Honest,
];

/// Those that differ in what a client must do.
const SEARCHED_RETURNS: [Return; 9] = [
    Return::Honest,
    Return::From(0),
    Return::From(2),
    Return::FromNamed(2),
    Return::WithoutIss,
    Return::WithOtherIss,
    Return::IssTwice,
    Return::IssAlike,
    Return::ErrorStray,
];

const HTTP: [How; 10] = [
    How::Lost,
    How::NeverSent,
    How::TooLarge,
    How::Busy(500),
    How::Busy(429),
    How::Redirected,
    How::Garbage(0),
    How::Garbage(1),
    How::Misdelivered,
    How::Forgotten,
];

impl World {
    /// The next honest step, if something is under way.
    pub fn honest(&self) -> Option<Move> {
        for (at, instance) in self.instances.iter().enumerate() {
            if !instance.actions.is_empty() {
                let how = How::Honest;
                return Some(Move::Answer { at, action: 0, how });
            }
        }
        let visit = self.visits.len().checked_sub(1)?;
        let how = Return::Honest;
        Some(Move::Return { visit, at: 0, how })
    }

    /// A step from free numbers: honest progress, or whatever the second number chooses.
    pub fn choose(&self, honest: bool, choice: u16) -> Move {
        if honest {
            let said = Said::Honest;
            let at = usize::from(choice) % self.instances.len();
            return self.honest().unwrap_or(Move::Resource { at, said });
        }
        self.mischief(choice)
    }

    /// Anything at all, by one number.
    fn mischief(&self, choice: u16) -> Move {
        let at = usize::from(choice) % self.instances.len();
        let pick = usize::from(choice >> 2);
        let outstanding = self.instances[at].actions.len();
        // What is under way gets most of the trouble.
        if outstanding > 0 && !pick.is_multiple_of(3) {
            let action = (pick / 3) % outstanding;
            let how = self.trouble(at, action, pick / 9);
            return Move::Answer { at, action, how };
        }
        if let Some(last) = self.visits.len().checked_sub(1)
            && pick.is_multiple_of(2)
        {
            let how = RETURNS[(pick / 6) % RETURNS.len()];
            let visit = last.saturating_sub((pick / 102) % 2);
            return Move::Return { visit, at, how };
        }
        let slot = pick / 16;
        match pick % 16 {
            0 | 1 => Move::Names((pick / 16) % 3),
            2 | 3 => {
                let keeps = slot.is_multiple_of(2);
                Move::Crash { at, keeps }
            }
            4 if slot.is_multiple_of(3) => Move::Cancel(at),
            5 if slot.is_multiple_of(7) => Move::SignOut(at),
            4..=6 => Move::Wait([1, 30, 70, 200, 700][slot % 5]),
            7 => Move::WallClock(slot.is_multiple_of(2)),
            8 if slot.is_multiple_of(3) => Move::RollBack(slot),
            8 if slot % 3 == 1 => Move::Damage(slot),
            8 => Move::Confuse,
            9 | 10 => {
                let said = Said::Unauthorized;
                Move::Resource { at, said }
            }
            11 | 12 => {
                let said = Said::Forbidden((slot % 4) as u8);
                Move::Resource { at, said }
            }
            13 => {
                let said = Said::Wanted;
                Move::Resource { at, said }
            }
            _ => {
                let said = Said::Honest;
                Move::Resource { at, said }
            }
        }
    }

    fn trouble(&self, at: usize, action: usize, pick: usize) -> How {
        match self.instances[at].actions.get(action) {
            Some(Action::SendRequest(_)) => match pick % 4 {
                0 | 1 => How::Lie((pick / 4 % 16) as u8),
                2 => How::Refused((pick / 4 % 16) as u8),
                _ => HTTP[(pick / 4) % HTTP.len()],
            },
            Some(Action::PersistSlot(_)) => match pick % 8 {
                0 => How::Fails,
                1 => How::Lies,
                _ => How::Honest,
            },
            Some(Action::LoadSlot(_)) if pick.is_multiple_of(12) => How::Fails,
            Some(Action::Sign(_) | Action::ObtainAssertion(_)) if pick.is_multiple_of(4) => {
                How::Fails
            }
            _ => How::Honest,
        }
    }

    /// Everything that a bounded search tries next, the honest step first.
    pub fn options(&self, lies: &[u8]) -> Vec<Move> {
        let mut options = Vec::new();
        for (at, instance) in self.instances.iter().enumerate() {
            let Some(front) = instance.actions.front() else {
                continue;
            };
            let mut push = |how| options.push(Move::Answer { at, action: 0, how });
            push(How::Honest);
            if let Action::SendRequest(send) = front {
                let to = super::server_of(&send.request().uri().to_string());
                if to == Some(super::LIAR) {
                    lies.iter().for_each(|lie| push(How::Lie(*lie)));
                }
                push(How::Lost);
                push(How::Busy(500));
                push(How::Refused(0));
                push(How::Redirected);
            }
            if let Action::PersistSlot(_) = front {
                push(How::Fails);
            }
        }
        for visit in 0..self.visits.len() {
            for at in 0..self.instances.len() {
                for how in SEARCHED_RETURNS {
                    options.push(Move::Return { visit, at, how });
                }
            }
        }
        for at in 0..self.instances.len() {
            if self.instances[at].actions.is_empty() {
                for said in [Said::Honest, Said::Unauthorized] {
                    options.push(Move::Resource { at, said });
                }
            }
            options.push(Move::Crash { at, keeps: false });
        }
        for issuer in 0..3 {
            if issuer != self.named {
                options.push(Move::Names(issuer));
            }
        }
        options
    }

    /// The action that a move answers, for people.
    pub fn next_action(&self, next: Move) -> String {
        match next {
            Move::Answer { at, action, .. } => {
                let action = self.instances[at].actions.get(action);
                action.map_or_else(String::new, |action| format!("{action:?}"))
            }
            _ => String::new(),
        }
    }

    pub(super) fn is_document(&self) -> bool {
        self.setup.client == Client::Document
    }
}
