//! An account that a failed write has not stored, and what its write may replace.

use std::time::Duration;

use super::Renewal;
use crate::account::{Account, Issuance, RefreshTokenId, TokenKind};
use crate::action::Why;
use crate::budget::SAVE_WAITS;
use crate::error::Failure;
use crate::issuer::AtIssuer;
use crate::secret::Secret;
use crate::slot::AuthorizationId;
use crate::time::{MonoMillis, UnixMillis};

/// The reason for a write, which decides what it may replace.
pub(crate) enum Kept {
    /// An authorization that began at this time, perhaps beside a stored account: replaces any account but a later one and a
    /// refresh of its own tokens. `over`: the authorization of the account that was known when the tokens came, or that was found
    /// in the slot since and is to be replaced.
    Authorized {
        begun: UnixMillis,
        beside: bool,
        over: Option<AuthorizationId>,
    },
    /// A refresh: replaces the account that it belongs to, and no other (REFR-05).
    Refreshed {
        renewal: Box<Renewal>,
        sent: Box<Sent>,
    },
    /// The server rejected or replaced the token sent: erases that token only (REFR-06, REFR-14).
    Dropped {
        renewal: Box<Renewal>,
        sent: Box<Sent>,
    },
    /// The server forgot the client: erases the tokens that were held then, and no later ones (TOK-19, S20).
    ClientForgotten { after: Box<After>, lost: Secret },
}

/// A refresh token that was sent, and what the answer may replace.
pub(crate) struct Sent {
    pub(crate) token: Secret,
    /// The access token that the account held then, or that of another answer, which was stored since.
    pub(crate) before: Option<Issuance>,
    /// The refresh token that the account holds since another answer was stored; `None` for the one that was sent.
    pub(crate) instead: Option<Secret>,
    pub(crate) rank: Rank,
    /// Whether the answer came within the time limit of the request, and so within the lease.
    pub(crate) in_time: bool,
}

/// The value of an answer among those to requests with one refresh token. What it brings counts first, then the order of the
/// requests: a server that does not replace refresh tokens, or that accepts a replaced one for a while, answers several of them,
/// and the last answer counts there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(crate) brings: Brings,
    /// The ticket of the request.
    pub(crate) request: u64,
}

/// The use of an answer to a refresh, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Brings {
    /// A refusal of the refresh token.
    Nothing,
    /// An access token that cannot be used, and a refresh token: the one that was sent is spent.
    NothingUsable,
    /// A refresh token; the access token is for other scopes.
    RefreshToken,
    /// Tokens.
    Tokens,
}

/// An account that is not stored: its write failed, or a late answer brought it.
pub(crate) struct Unsaved {
    pub(crate) at: Box<AtIssuer<Account>>,
    pub(crate) kept: Kept,
    pub(crate) again: Again,
}

/// When a failed write is tried again without an event.
#[derive(Clone, Copy, Default)]
pub(crate) struct Again {
    /// The tries so far.
    pub(crate) tries: usize,
    /// When the next one is due; `None` after the last one.
    pub(crate) at: Option<MonoMillis>,
}

impl Kept {
    /// Returns the request of a refresh and what its answer may replace.
    pub(crate) fn sent(&self) -> Option<&Sent> {
        match self {
            Self::Refreshed { sent, .. } | Self::Dropped { sent, .. } => Some(sent),
            Self::Authorized { .. } | Self::ClientForgotten { .. } => None,
        }
    }

    fn sent_mut(&mut self) -> Option<&mut Sent> {
        match self {
            Self::Refreshed { sent, .. } | Self::Dropped { sent, .. } => Some(sent),
            Self::Authorized { .. } | Self::ClientForgotten { .. } => None,
        }
    }

    /// Returns true if the user authorized another account after the start of this authorization.
    pub(crate) fn is_overtaken_by(&self, other: &Account) -> bool {
        match (self, &other.tokens) {
            (Self::Authorized { begun, .. }, Some(_)) => other.signed_in() > Some(*begun),
            (Self::Authorized { .. }, None)
            | (Self::Refreshed { .. } | Self::Dropped { .. } | Self::ClientForgotten { .. }, _) => {
                false
            }
        }
    }
}

impl Sent {
    /// Returns the refresh token that the account holds while the answer may replace it.
    pub(crate) fn held(&self) -> &Secret {
        self.instead.as_ref().unwrap_or(&self.token)
    }

    /// Returns this request after its answer was stored in the account: the next answer replaces what the account holds now.
    pub(crate) fn stored_in(&self, account: &Account) -> Self {
        Self {
            token: self.token.clone(),
            before: account.issuance(),
            instead: account.token(TokenKind::RefreshToken).cloned(),
            rank: self.rank,
            in_time: self.in_time,
        }
    }

    /// Returns true while the account holds the tokens with which this answer was stored.
    pub(crate) fn is_stored_in(&self, account: &Account) -> bool {
        let refresh = account.token(TokenKind::RefreshToken);
        let same = match (refresh, &self.instead) {
            (Some(held), Some(stored)) => held.same(stored.expose()),
            (held, stored) => held.is_none() && stored.is_none(),
        };
        same && account.issuance() == self.before
    }

    /// Returns the refresh token that this answer brought. `account`: the account with the answer.
    fn brought<'a>(&self, account: &'a Account) -> Option<&'a Secret> {
        let refresh = account.tokens.as_ref()?.refresh.as_ref()?;
        let brings = match self.rank.brings {
            Brings::Nothing | Brings::NothingUsable => false,
            Brings::RefreshToken | Brings::Tokens => !refresh.same(self.token.expose()),
        };
        brings.then_some(refresh)
    }

    /// Returns the refresh token that counts after this answer and one of a lower rank (`other`): the one that the server issued
    /// last, or the one that was sent if no answer has replaced it.
    fn last_refresh(&self, own: &Account, other: &Self, others: &Account) -> Option<Secret> {
        let newer = other.rank.request > self.rank.request;
        let (own, others) = (self.brought(own), other.brought(others));
        let last = if newer {
            others.or(own)
        } else {
            own.or(others)
        };
        let is_spent = other.rank.brings == Brings::NothingUsable;
        last.or((!is_spent).then_some(&self.token)).cloned()
    }
}

impl Unsaved {
    /// Merges this answer with another one (`at`, `sent`) to a request with the same refresh token: the access token of the better
    /// answer, and the refresh token that was issued last. `None` if this answer adds nothing to the other one, or if they are
    /// answers to different refresh tokens.
    pub(crate) fn beside(
        &self,
        at: &AtIssuer<Account>,
        sent: &Sent,
    ) -> Option<Box<AtIssuer<Account>>> {
        let own = self.kept.sent()?;
        if !own.token.same(sent.token.expose()) || self.at.issuer() != at.issuer() {
            return None;
        }
        let (mine, theirs) = (self.at.held(), at.held());
        let outranks = self.outranks(sent);
        let (best, last) = if outranks {
            (&*self.at, own.last_refresh(mine, sent, theirs))
        } else {
            (at, sent.last_refresh(theirs, own, mine))
        };
        let rank = own.rank.max(sent.rank);
        let holds = |last: &Secret| best.held().has_refresh(last);
        let usable = rank.brings >= Brings::RefreshToken;
        let as_is = !usable || last.as_ref().is_some_and(holds);
        if as_is && !outranks {
            return None;
        }
        let best = best.clone();
        Some(Box::new(if as_is {
            best
        } else {
            best.then(|mut account| {
                account.dropped = last.is_none().then(|| RefreshTokenId::of(&sent.token));
                if let Some(tokens) = &mut account.tokens {
                    tokens.refresh = last;
                }
                account
            })
        }))
    }

    /// Returns true if this answer is better than the other one (`sent`).
    pub(crate) fn outranks(&self, sent: &Sent) -> bool {
        let own = self.kept.sent();
        own.is_some_and(|own| own.rank > sent.rank)
    }

    /// Returns the better of this answer and one that came later (`other`), with what the other one adds to it.
    pub(crate) fn or(self, other: Self) -> Self {
        let Some(at) = self
            .kept
            .sent()
            .and_then(|sent| other.beside(&self.at, sent))
        else {
            return self;
        };
        let outranks = self.kept.sent().is_some_and(|sent| other.outranks(sent));
        let kept = if outranks { other.kept } else { self.kept };
        Self { at, kept, ..self }
    }

    /// Returns this answer as one that is to replace another answer (`stored`). `at`: the account with both.
    pub(crate) fn after(mut self, at: Box<AtIssuer<Account>>, stored: &Account) -> Self {
        if let Some(sent) = self.kept.sent_mut() {
            *sent = sent.stored_in(stored);
        }
        Self { at, ..self }
    }
}

impl Again {
    /// Returns the next try, after a write that failed.
    pub(crate) fn after(self, now: MonoMillis) -> Self {
        let due = self.at.is_none_or(|at| at <= now);
        let wait = SAVE_WAITS.get(self.tries).filter(|_| due);
        match wait {
            Some(wait) => Self {
                tries: self.tries.saturating_add(1),
                at: Some(now.plus(Duration::from_millis(*wait))),
            },
            None => Self {
                at: self.at.filter(|_| !due),
                ..self
            },
        }
    }
}

/// The next step after the registration has been erased.
pub(crate) enum After {
    /// Ask the user to authorize again, with a new registration.
    Ask(Why),
    /// Fail the attempt: a new registration did not help a moment ago (C08).
    Fail(Box<Failure>),
}
