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
}

/// The question that the machine put to the user last. It is answered at most once.
#[derive(Debug, Default)]
pub(crate) struct Question(Option<Wish>);

impl Question {
    /// The machine asks for the user, because a server refused something. A mend that is asked for already stays one.
    pub(crate) fn ask(&mut self, why: &Why) {
        if self.0 == Some(Wish::Mend) {
            return;
        }
        self.ask_for(Wish::of(why));
    }

    /// The machine asks for the user on behalf of an authorization that is under way already.
    pub(crate) fn ask_for(&mut self, wish: Wish) {
        self.0 = Some(wish);
    }

    /// There is nothing to ask any more: the user gave up, or a token is there.
    pub(crate) fn withdraw(&mut self) {
        self.0 = None;
    }
}

/// A wish of the host to authorize, with its reason. The question that it answers is used up when it arrives, whatever
/// becomes of it (S40).
pub(crate) struct Click {
    pub(crate) authorization: Authorization,
    wish: Wish,
}

impl Click {
    pub(crate) fn new(question: &mut Question, authorization: Authorization) -> Self {
        let asked = authorization.answers.as_ref();
        let asked = asked.map(|need| Wish::of(&need.why));
        let wish = question.0.take().or(asked).unwrap_or(Wish::Person);
        Self {
            authorization,
            wish,
        }
    }

    /// Another click joins this one, which waits: what the machine asked for stays counted, and answered.
    pub(crate) fn join(&mut self, other: Self) {
        if self.wish == Wish::Person {
            self.wish = other.wish;
        }
        let answers = &mut self.authorization.answers;
        *answers = answers.take().or(other.authorization.answers);
    }

    pub(crate) fn wish(&self) -> Wish {
        self.wish
    }
}
