//! The reason for an authorization, which decides against which limits it counts (STEP-07, E11), and the question to the
//! user (`NeedUser`) that an `Authorize` answers.

use crate::action::Why;
use crate::event::Authorization;

/// The reason for an authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// A refusal by a server: counts for its operation (three attempts) and for the MCP server (`REDIRECT_WINDOW`).
    Refusal,
    /// A repair: it removes the reason why the previous authorization failed, such as a client that the server forgot.
    /// Counts only for the MCP server. Each reason is repaired once between successes.
    Mend,
    /// A person started it, and the machine had not asked: does not count.
    Person,
}

impl Wish {
    /// The reason for an authorization that answers this question.
    fn of(why: &Why) -> Self {
        match why {
            Why::NoCredentials
            | Why::TokenOver
            | Why::RenewalRefused { .. }
            | Why::ScopeMissing { .. }
            | Why::ServerChanged { .. } => Self::Refusal,
            Why::ClientForgotten
            | Why::MethodRefused { .. }
            | Why::OfflineAccessRefused
            | Why::ScopesRefused { .. } => Self::Mend,
        }
    }

    /// Returns the reason of an attempt, under way or queued, after another `Authorize` has joined it. A repair takes precedence
    /// over a refusal: otherwise the count of the failed attempts before would end this one (S40).
    pub(crate) fn joined_by(self, click: Self) -> Self {
        match (self, click) {
            (Self::Refusal, Self::Mend) => Self::Mend,
            (Self::Refusal, Self::Refusal | Self::Person) | (Self::Mend | Self::Person, _) => self,
        }
    }
}

/// The last `NeedUser`, if it is open. It is answered at most once.
#[derive(Debug, Default)]
pub(crate) struct Question(Option<Asked>);

#[derive(Clone, Copy, Debug)]
struct Asked {
    wish: Wish,
    /// Whether a usable token was held when the question was asked, as for a step-up: then a token does not answer it.
    beside_a_token: bool,
    /// Whether it was asked for scopes that the account lacked: then only a token with all demanded scopes answers it.
    for_scopes: bool,
}

impl Question {
    /// Opens the question after a refusal by a server. An open question for a repair stays one, and an open question for
    /// scopes stays one.
    pub(crate) fn ask(&mut self, why: &Why, beside_a_token: bool, lacks_scopes: bool) {
        if !self.0.is_some_and(|asked| asked.wish == Wish::Mend) {
            self.ask_for(Wish::of(why), beside_a_token);
        }
        if let Some(asked) = &mut self.0 {
            // With `ScopeMissing`, `lacks_scopes` already covers all demanded scopes.
            let kept = asked.for_scopes && !matches!(why, Why::ScopeMissing { .. });
            asked.for_scopes = kept || lacks_scopes;
        }
    }

    /// Opens the question in the middle of an authorization, which the answer continues.
    pub(crate) fn ask_for(&mut self, wish: Wish, beside_a_token: bool) {
        let for_scopes = self.0.is_some_and(|asked| asked.for_scopes);
        self.0 = Some(Asked {
            wish,
            beside_a_token,
            for_scopes,
        });
    }

    pub(crate) fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Closes the question: the user cancelled.
    pub(crate) fn withdraw(&mut self) {
        self.0 = None;
    }

    /// Closes the question after a new authorization, unless it is about scopes and the account lacks some of them
    /// (`has_all` is false). Returns true if it is closed.
    pub(crate) fn signed_in(&mut self, has_all: bool) -> bool {
        self.0 = self.0.filter(|asked| asked.for_scopes && !has_all);
        if let Some(asked) = &mut self.0 {
            // The new authorization made the repair.
            asked.wish = Wish::Refusal;
            asked.beside_a_token = true;
        }
        self.0.is_none()
    }

    /// Closes the question if a usable token answers it. `has_all`: the token has all demanded scopes.
    pub(crate) fn answered_by_a_token(&mut self, has_all: bool) {
        self.0 = self
            .0
            .filter(|asked| !asked.is_answered_by_a_token(has_all));
    }
}

impl Asked {
    fn is_answered_by_a_token(self, has_all: bool) -> bool {
        match self.for_scopes {
            true => has_all && (self.wish == Wish::Refusal || !self.beside_a_token),
            false => !self.beside_a_token,
        }
    }
}

/// An `Authorize` of the host, with its reason. It closes the question that it answers when it arrives, whatever its
/// result (S40).
pub(crate) struct Click {
    pub(crate) authorization: Authorization,
    wish: Wish,
    /// Whether it answers a question that was asked because a token, or scopes of it, were missing.
    pub(crate) lacks_a_token: bool,
    /// Whether it answers a question for scopes.
    pub(crate) for_scopes: bool,
}

impl Click {
    pub(crate) fn new(question: &mut Question, authorization: Authorization) -> Self {
        let answered = authorization.answers.as_ref().map(|need| &need.why);
        let names_scopes = matches!(answered, Some(Why::ScopeMissing { .. }));
        let answered = answered.map(Wish::of);
        let asked = question.0.take();
        let lacks =
            |asked: Asked| asked.wish == Wish::Refusal && asked.is_answered_by_a_token(true);
        let lacks_a_token = asked.is_some_and(lacks);
        let for_scopes = names_scopes || asked.is_some_and(|asked| asked.for_scopes);
        let asked = asked.map(|asked| asked.wish);
        let wish = asked.or(answered).unwrap_or(Wish::Person);
        Self {
            authorization,
            wish,
            lacks_a_token,
            for_scopes,
        }
    }

    /// Replaces this queued `Authorize` by a later one, because the user is where the later one came from. The question that is
    /// answered stays.
    pub(crate) fn join(&mut self, other: Self) {
        if self.wish == Wish::Person {
            self.wish = other.wish;
            self.lacks_a_token = other.lacks_a_token;
        } else {
            self.wish = self.wish.joined_by(other.wish);
        }
        let answers = self.authorization.answers.take();
        self.authorization = other.authorization;
        let newer = self.authorization.answers.take();
        self.authorization.answers = answers.or(newer);
    }

    pub(crate) fn wish(&self) -> Wish {
        self.wish
    }
}
