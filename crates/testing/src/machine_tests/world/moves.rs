//! The possible next moves: one vocabulary for every engine.

use mcp_auth_machine::{Action, Phase};
use serde::{Deserialize, Serialize};

use super::instance::Instance;
use super::servers::{ERRORS, LIES};
use super::{Client, FLAWS, Flaw, World};
use crate::machine_tests::{body, get};

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
    /// The driver does not connect to the address.
    Blocked,
    /// As it should be, but for one member, which has another type.
    Odd { member: u8, kind: u8 },
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
    /// The store does it, and so many seconds go by.
    Slow(u16),
    /// The store says that something else is there.
    Says(u8),
}

/// How the callback arrives.
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
    /// Another error than that the user said no, by the list in `browser`.
    ErrorOf(u8),
    ErrorPoisoned,
    Twice,
    WithToken,
}

/// The MCP server's answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Said {
    /// 200 to a token it knows, 401 otherwise.
    Honest,
    /// 401 whatever comes.
    Unauthorized,
    /// 403 for want of scopes.
    Forbidden(u8),
    /// 401 that names scopes, and no error.
    Scoped(u8),
    /// No answer: the host wants a token before its request.
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
    /// The resource lists two servers, in this order.
    Lists(usize, usize),
    /// The document of an honest server becomes wrong, or is put right.
    Document {
        server: usize,
        flaw: Option<Flaw>,
    },
    /// A server forgets every client that registered itself.
    Forgets(usize),
    Crash {
        at: usize,
        keeps: bool,
    },
    Cancel(usize),
    /// A person wants to sign in, asked or not.
    Click(usize),
    /// The host wants the registration to be forgotten.
    Reset(usize),
    SignOut(usize),
    Wait(u16),
    /// The computer sleeps: time passes, no timer fires.
    Suspend(u16),
    WallClock(bool),
    RollBack(usize),
    Damage(usize),
    Confuse,
    /// The account is damaged when an instance reads it, and good again when it reads it next.
    Blink(usize),
    /// The store takes no writes for so many seconds after a refresh.
    Outage {
        at: usize,
        seconds: u16,
    },
    /// The wall clock is set while an instance waits for the lease of another one.
    SetClock {
        at: usize,
        forward: bool,
    },
    /// The user signs out while another instance shows a code for another device.
    SignOutBeside(usize),
    /// The MCP server wants another nonce for each request.
    Nonces(usize),
    /// The answer to a refresh comes after its time limit, so many steps into the next try; its access token may be unusable.
    Late {
        at: usize,
        steps: u8,
        usable: bool,
    },
    /// Tokens are written again after another instance has refreshed them.
    SavedTwice(usize),
    /// The user signs out while an operation that waits for an authorization is refused again.
    SignOutTwice(usize),
    /// A process starts while the store cannot be read, and the user signs out.
    SignOutUnread(usize),
    /// The same, and another instance refreshes the tokens before the store can be read.
    SignOutBesideRefresh(usize),
    /// The time limits of two tries of a refresh pass, and both are answered, by a server that accepts a replaced refresh token for
    /// a while.
    LateTwice {
        at: usize,
        order: u8,
    },
    /// The time limit of a refresh passes, another instance refreshes with the same refresh token, which the server keeps, and then
    /// the answer comes.
    LateBeside(usize),
    /// Tokens are written again after another instance was refused a refresh with them.
    SavedRefused(usize),
}

/// Unsolicited events: each alone, and in pairs, in every state.
pub const EVENTS: &[Move] = &[
    Move::Resource {
        at: 0,
        said: Said::Honest,
    },
    Move::Resource {
        at: 0,
        said: Said::Unauthorized,
    },
    Move::Resource {
        at: 0,
        said: Said::Forbidden(2),
    },
    Move::Resource {
        at: 0,
        said: Said::Scoped(0),
    },
    Move::Resource {
        at: 0,
        said: Said::Wanted,
    },
    Move::Click(0),
    Move::Cancel(0),
    Move::Reset(0),
    Move::SignOut(0),
    Move::Return {
        visit: 0,
        at: 0,
        how: Return::Honest,
    },
    Move::Return {
        visit: 0,
        at: 0,
        how: Return::ErrorOf(0),
    },
    Move::Return {
        visit: 0,
        at: 0,
        how: Return::ErrorStray,
    },
    Move::Crash { at: 0, keeps: true },
    Move::Crash {
        at: 0,
        keeps: false,
    },
    Move::Wait(1),
    Move::Wait(700),
    Move::Suspend(700),
    Move::WallClock(true),
    Move::WallClock(false),
    Move::Names(2),
    Move::Lists(1, 0),
    Move::Forgets(0),
    Move::Document {
        server: 0,
        flaw: Some(Flaw::NoPkce),
    },
    Move::Document {
        server: 0,
        flaw: Some(Flaw::RevocationMoved),
    },
    Move::Document {
        server: 0,
        flaw: Some(Flaw::TokenMoved),
    },
    Move::Document {
        server: 0,
        flaw: Some(Flaw::IssTurned),
    },
    Move::Document {
        server: 0,
        flaw: Some(Flaw::NoTokenEndpoint),
    },
    Move::RollBack(0),
];

const RETURNS: [Return; 21] = [
    Return::ErrorOf(0),
    Return::ErrorOf(1),
    Return::ErrorOf(2),
    Return::ErrorOf(3),
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

/// The callbacks that require different reactions of a client.
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

const HTTP: [How; 11] = [
    How::Blocked,
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

impl Move {
    /// The same at another instance.
    pub fn at(self, at: usize) -> Self {
        match self {
            Self::Answer { action, how, .. } => Self::Answer { at, action, how },
            Self::Return { visit, how, .. } => Self::Return { visit, at, how },
            Self::Resource { said, .. } => Self::Resource { at, said },
            Self::Crash { keeps, .. } => Self::Crash { at, keeps },
            Self::Cancel(_) => Self::Cancel(at),
            Self::Click(_) => Self::Click(at),
            Self::Reset(_) => Self::Reset(at),
            Self::SignOut(_) => Self::SignOut(at),
            Self::Blink(_) => Self::Blink(at),
            Self::Outage { seconds, .. } => Self::Outage { at, seconds },
            Self::SetClock { forward, .. } => Self::SetClock { at, forward },
            Self::SignOutBeside(_) => Self::SignOutBeside(at),
            Self::Nonces(_) => Self::Nonces(at),
            Self::Late { steps, usable, .. } => Self::Late { at, steps, usable },
            Self::SavedTwice(_) => Self::SavedTwice(at),
            Self::SignOutTwice(_) => Self::SignOutTwice(at),
            Self::SignOutUnread(_) => Self::SignOutUnread(at),
            Self::SignOutBesideRefresh(_) => Self::SignOutBesideRefresh(at),
            Self::LateTwice { order, .. } => Self::LateTwice { at, order },
            Self::LateBeside(_) => Self::LateBeside(at),
            Self::SavedRefused(_) => Self::SavedRefused(at),
            Self::Names(_)
            | Self::Lists(..)
            | Self::Document { .. }
            | Self::Forgets(_)
            | Self::Wait(_)
            | Self::Suspend(_)
            | Self::WallClock(_)
            | Self::RollBack(_)
            | Self::Damage(_)
            | Self::Confuse => self,
        }
    }
}

impl World {
    /// The instance that has something to do, or the first.
    pub fn busy(&self) -> usize {
        let busy = |instance: &Instance| !instance.actions.is_empty();
        self.instances.iter().position(busy).unwrap_or_default()
    }

    /// Whether an instance waits for the answer of a server, of the store or of its host.
    pub fn is_busy(&self, at: usize) -> bool {
        !self.instances[at].actions.is_empty()
    }

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
    pub fn choose(&self, honest: bool, choice: u32) -> Move {
        if honest {
            let said = Said::Honest;
            let at = choice as usize % self.instances.len();
            return self.honest().unwrap_or(Move::Resource { at, said });
        }
        self.mischief(choice as usize)
    }

    /// Anything at all, by one number.
    fn mischief(&self, choice: usize) -> Move {
        let at = choice % self.instances.len();
        let pick = choice >> 2;
        if let Some(next) = self.of_the_moment(at, pick) {
            return next;
        }
        let outstanding = self.instances[at].actions.len();
        // Outstanding actions receive most of the faults.
        if outstanding > 0 && !pick.is_multiple_of(3) {
            let action = (pick / 3) % outstanding;
            let how = self.trouble(at, action, pick / 9);
            return Move::Answer { at, action, how };
        }
        if let Some(last) = self.visits.len().checked_sub(1)
            && pick.is_multiple_of(2)
        {
            let how = RETURNS[(pick / 6) % RETURNS.len()];
            let visit = last.saturating_sub((pick / 126) % 2);
            return Move::Return { visit, at, how };
        }
        let slot = pick / 24;
        match pick % 24 {
            0 | 1 => Move::Names(slot % 3),
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
                let said = match slot % 4 {
                    3 => Said::Scoped((slot / 4 % 4) as u8),
                    _ => Said::Unauthorized,
                };
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
            14 => Move::Lists(slot % 3, (slot / 3) % 3),
            15 | 16 => {
                let server = if slot.is_multiple_of(3) { 2 } else { 0 };
                let flaw = FLAWS.get((slot / 3) % (FLAWS.len() + 4)).copied();
                Move::Document { server, flaw }
            }
            17 => Move::Forgets(if slot.is_multiple_of(3) { 2 } else { 0 }),
            18 => Move::Reset(at),
            19 => Move::Suspend([1, 100, 700][slot % 3]),
            20 if slot.is_multiple_of(3) => Move::Click(at),
            21 if slot.is_multiple_of(2) => Move::Blink(at),
            _ => {
                let said = Said::Honest;
                Move::Resource { at, said }
            }
        }
    }

    fn trouble(&self, at: usize, action: usize, pick: usize) -> How {
        match self.instances[at].actions.get(action) {
            Some(Action::SendRequest(_)) => match pick % 5 {
                0 | 1 => How::Lie((pick / 5 % 16) as u8),
                2 => How::Refused((pick / 5 % 16) as u8),
                3 => HTTP[(pick / 5) % HTTP.len()],
                _ => How::Odd {
                    member: (pick / 5 % 18) as u8,
                    kind: (pick / 90 % 10) as u8,
                },
            },
            Some(Action::PersistSlot(_)) => match pick % 8 {
                0 => How::Fails,
                1 => How::Lies,
                2 => How::Slow([1, 100, 700][pick / 8 % 3]),
                _ => How::Honest,
            },
            Some(Action::LoadSlot(_)) if pick.is_multiple_of(12) => How::Fails,
            Some(Action::Sign(_) | Action::ObtainAssertion(_)) if pick.is_multiple_of(4) => {
                How::Fails
            }
            _ => How::Honest,
        }
    }

    /// Everything but the honest answer that what is waited for may get.
    pub fn faults(&self) -> Vec<Move> {
        let mut faults = Vec::new();
        for (at, instance) in self.instances.iter().enumerate() {
            let Some(front) = instance.actions.front() else {
                continue;
            };
            let mut push = |how| faults.push(Move::Answer { at, action: 0, how });
            match front {
                Action::SendRequest(send) => {
                    HTTP.into_iter().for_each(&mut push);
                    let errors = ERRORS.len() as u8;
                    (0..errors).map(How::Refused).for_each(&mut push);
                    let to = super::server_of(&send.request().uri().to_string());
                    if to.is_none() || to == Some(super::LIAR) {
                        (0..LIES).map(How::Lie).for_each(&mut push);
                    }
                }
                Action::LoadSlot(_) => [How::Fails, How::Says(0), How::Says(1), How::Says(2)]
                    .into_iter()
                    .for_each(&mut push),
                Action::PersistSlot(_) => [
                    How::Fails,
                    How::Lies,
                    How::Slow(700),
                    How::Says(0),
                    How::Says(1),
                    How::Says(2),
                ]
                .into_iter()
                .for_each(&mut push),
                Action::Sign(_) | Action::ObtainAssertion(_) => push(How::Fails),
                Action::Redirect(_) | Action::ShowCode(_) | Action::NeedUser(_) => {
                    push(How::Forgotten);
                }
                Action::Ready(_) | Action::Error(_) | Action::Report(_) => {}
            }
        }
        if let (true, Some(visit)) = (faults.is_empty(), self.visits.len().checked_sub(1)) {
            let returns = RETURNS.into_iter().filter(|how| *how != Return::Honest);
            faults.extend(returns.map(|how| Move::Return { visit, at: 0, how }));
        }
        faults
    }

    /// The state of an instance, and whether it holds a token.
    pub fn state(&mut self, at: usize) -> String {
        let machine = &self.instances[at].machine;
        let state = match machine.phase() {
            Phase::Resting => "resting",
            Phase::AwaitingUser => "awaiting_user",
            Phase::AwaitingDevice => "awaiting_device",
            Phase::Working(name) => name,
        };
        match machine.grant() {
            Some(_) => format!("{state}, token held"),
            None => state.to_owned(),
        }
    }

    /// The kind of action that a move answers.
    pub fn kind_of(&self, next: Move) -> &'static str {
        let Move::Answer { at, action, .. } = next else {
            return "the user";
        };
        match self.instances[at].actions.get(action) {
            Some(Action::SendRequest(_)) => "requests",
            Some(Action::LoadSlot(_)) => "loads",
            Some(Action::PersistSlot(_)) => "writes",
            Some(Action::Sign(_) | Action::ObtainAssertion(_)) => "keys and platforms",
            _ => "the user",
        }
    }

    /// Where the request goes that an instance waits for, and for which grant it is; or that the user is to go.
    pub fn requested(&self, at: usize) -> Option<String> {
        match self.instances[at].actions.front() {
            Some(Action::SendRequest(send)) => {
                let grant = get(&body(send.request()), "grant_type").unwrap_or_default();
                Some(format!("{} {grant}", send.request().uri()))
            }
            Some(Action::Redirect(_)) => Some("redirect".to_owned()),
            _ => None,
        }
    }

    /// The user leaves a page.
    pub fn leave(&mut self, visit: usize) {
        if visit < self.visits.len() {
            self.visits.remove(visit);
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
