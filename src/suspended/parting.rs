//! Token requests whose answers may still come, and tokens that were discarded.

use crate::account::{Account, Issuance, MachineGrant, Naming, RefreshGrant, TokenKind};
use crate::event::Operation;
use crate::grant::{CodeGrant, DeviceGrant};
use crate::issuer::AtIssuer;
use crate::secret::Secret;
use crate::time::Moment;

use super::{Brings, Rank, Sent};

/// A token request that was in flight at sign-out or is overdue, or tokens to revoke.
pub(crate) struct Parting {
    /// The ticket of the request; 0 for tokens.
    pub(crate) id: u64,
    pub(crate) grant: PartingGrant,
}

pub(crate) enum PartingGrant {
    Code(AtIssuer<CodeGrant>),
    Device(AtIssuer<DeviceGrant>),
    Refresh(AtIssuer<RefreshGrant>),
    Machine(AtIssuer<MachineGrant>),
    /// Tokens of an answer that was discarded, until the work is done.
    Discarded(Box<AtIssuer<Account>>),
    /// A refresh whose time limit has passed.
    Overdue(Box<Overdue>),
}

/// A refresh whose time limit has passed, as it does in a process that was suspended meanwhile: the server may have replaced
/// the refresh token, and its answer is still taken while the account holds the one that was sent (REFR-07).
pub(crate) struct Overdue {
    pub(crate) at: AtIssuer<RefreshGrant>,
    /// When the request was sent: the lifetime of its tokens counts from then.
    pub(crate) sent: Moment,
    pub(crate) naming: Naming,
    pub(crate) operation: Option<Operation>,
    /// The answer to another request with the same refresh token, which was stored since.
    pub(crate) stored: Option<StoredAnswer>,
}

/// The answer to a refresh that was stored, and the tokens that the account holds since.
pub(crate) struct StoredAnswer {
    pub(crate) rank: Rank,
    pub(crate) access: Option<Issuance>,
    pub(crate) refresh: Option<Secret>,
}

impl StoredAnswer {
    fn new(sent: &Sent, account: &Account) -> Self {
        Self {
            rank: sent.rank,
            access: account.issuance(),
            refresh: account.token(TokenKind::RefreshToken).cloned(),
        }
    }

    /// Returns true while the account holds these tokens.
    pub(crate) fn is_held(&self, account: &Account) -> bool {
        let refresh = account.token(TokenKind::RefreshToken);
        let same = match (refresh, &self.refresh) {
            (Some(held), Some(stored)) => held.same(stored.expose()),
            (held, stored) => held.is_none() && stored.is_none(),
        };
        same && account.issuance() == self.access
    }
}

impl Overdue {
    /// Remembers the answer (`sent`) that was stored in the account. Returns true while the answer to this request may add to it:
    /// both belong to one refresh token, and this one may be better, or bring a refresh token that the other did not bring.
    pub(crate) fn is_open_beside(&mut self, sent: &Sent, account: &Account, request: u64) -> bool {
        let token = &self.at.held().refresh;
        let (best, own) = (
            sent.rank,
            Rank {
                request,
                ..sent.rank
            },
        );
        let open = best.brings < Brings::Tokens || best < own || account.has_refresh(token);
        self.stored = Some(StoredAnswer::new(sent, account));
        sent.token.same(token.expose()) && open
    }
}
