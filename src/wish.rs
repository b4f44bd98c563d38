//! The reason for an authorization. It decides what the authorization costs (STEP-07, E11).

use crate::action::Why;
use crate::event::Authorization;

/// The reason for an authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// A server's refusal led to it: counted for its operation, and in the window.
    Refusal,
    /// The one before failed for a reason that this one removes, such as a client that the server forgot: counted
    /// in the window alone. Each of those reasons is removed once between successes.
    Mend,
    /// A person, unasked: not counted.
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

    /// Returns the reason of an attempt under way that another click joins. A mend removes the reason for which the
    /// attempts before failed, so that their count does not end this one (S40).
    pub(crate) fn joined_by(self, click: Self) -> Self {
        match (self, click) {
            (Self::Refusal, Self::Mend) => Self::Mend,
            (Self::Refusal, Self::Refusal | Self::Person) | (Self::Mend | Self::Person, _) => self,
        }
    }
}

/// The question that the machine put to the user last. It is answered at most once.
#[derive(Debug, Default)]
pub(crate) struct Question(Option<Asked>);

#[derive(Clone, Copy, Debug)]
struct Asked {
    wish: Wish,
    /// Whether a usable token was held then, so that a token does not answer it: a step-up asks beside one.
    beside_a_token: bool,
    /// Whether it was asked for scopes that the account lacked: a token that has all that were demanded answers it, and no
    /// other.
    for_scopes: bool,
}

impl Question {
    /// The machine asks for the user, because a server refused something. A mend that is asked for already stays one, and
    /// scopes that are missing stay missing.
    pub(crate) fn ask(&mut self, why: &Why, beside_a_token: bool, lacks_scopes: bool) {
        if !self.0.is_some_and(|asked| asked.wish == Wish::Mend) {
            self.ask_for(Wish::of(why), beside_a_token);
        }
        if let Some(asked) = &mut self.0 {
            // For scopes, `lacks_scopes` covers whatever is still demanded.
            let kept = asked.for_scopes && !matches!(why, Why::ScopeMissing { .. });
            asked.for_scopes = kept || lacks_scopes;
        }
    }

    /// The machine asks for the user on behalf of an authorization that is under way already.
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
            // The new authorization did the repair that was asked for.
            asked.wish = Wish::Refusal;
            asked.beside_a_token = true;
        }
        self.0.is_none()
    }

    /// A usable token is there, with all scopes that were demanded, or not: that answers a question that was asked for want
    /// of one.
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

/// A wish of the host to authorize, with its reason. The question that it answers is used up when it arrives, whatever
/// becomes of it (S40).
pub(crate) struct Click {
    pub(crate) authorization: Authorization,
    wish: Wish,
    /// It answers a question that was asked for want of a token, or of scopes of it.
    pub(crate) lacks_a_token: bool,
}

impl Click {
    pub(crate) fn new(question: &mut Question, authorization: Authorization) -> Self {
        let answered = authorization.answers.as_ref();
        let answered = answered.map(|need| Wish::of(&need.why));
        let asked = question.0.take();
        let lacks =
            |asked: Asked| asked.wish == Wish::Refusal && asked.is_answered_by_a_token(true);
        let lacks_a_token = asked.is_some_and(lacks);
        let asked = asked.map(|asked| asked.wish);
        let wish = asked.or(answered).unwrap_or(Wish::Person);
        Self {
            authorization,
            wish,
            lacks_a_token,
        }
    }

    /// Another click takes the place of this one, which waits: the user is where that one came from. What the machine asked
    /// for stays counted, and answered.
    pub(crate) fn join(&mut self, other: Self) {
        if self.wish == Wish::Person {
            self.wish = other.wish;
            self.lacks_a_token = other.lacks_a_token;
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
