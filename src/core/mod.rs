//! The context that all states share: identity, account, history and pending actions.

mod account;
mod answer;
mod ask;
mod held;

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::Arc;

use http::HeaderMap;

use crate::account::Account;
use crate::action::Action;
use crate::budget::{PARTINGS_REMEMBERED, SAME_TIME};
use crate::callers::Callers;
use crate::config::Config;
use crate::event::{Observed, Operation};
use crate::identity::Identity;
use crate::issuer::{AtIssuer, IssuerId};
use crate::memory::Memory;
use crate::report::Decision;
use crate::suspended::{Overdue, Parting, PartingGrant, Pending, Sent, Waiting};
use crate::ticket::Owner;
use crate::time::Moment;
use crate::watch::Watch;
use crate::wire::json::{Kind, of_another_type};

pub(crate) use ask::Ask;
pub(crate) use held::{Held, Lease, Proof};

pub(crate) struct Core {
    pub(crate) identity: Identity,
    pub(crate) now: Moment,
    /// Counts events, to tell whether data was read during the current one.
    pub(crate) event: NonZeroU64,
    pub(crate) owner: Owner,
    next_id: u64,
    /// The event in which `Ready` was last emitted.
    said_ready: Option<NonZeroU64>,
    outbox: VecDeque<Action>,
    pub(crate) held: Held,
    pub(crate) waiting: Option<Box<Waiting>>,
    /// The pending device authorization, which excludes a pending redirect.
    pub(crate) device: Option<Box<Pending>>,
    /// Token requests in flight at a sign-out, and an overdue refresh, until they are answered; discarded tokens, until they
    /// are revoked.
    pub(crate) parting: Box<[Parting]>,
    pub(crate) memory: Memory,
    /// The requests of the current attempt, with their responses.
    pub(crate) watch: Watch,
    /// The operations that wait for an answer.
    pub(crate) callers: Callers,
}

impl Core {
    pub(crate) fn new(identity: Identity, now: Moment) -> Self {
        Self {
            identity,
            now,
            event: NonZeroU64::MIN,
            owner: Owner::new(),
            next_id: 0,
            said_ready: None,
            outbox: VecDeque::new(),
            held: Held::default(),
            waiting: None,
            device: None,
            parting: Box::default(),
            memory: Memory::default(),
            watch: Watch::default(),
            callers: Callers::default(),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        self.identity.config()
    }

    /// Remembers a token request that is still in flight, to revoke what its answer brings.
    pub(crate) fn part(&mut self, parting: Parting) {
        self.change_parting(|parted| {
            if parted.len() >= PARTINGS_REMEMBERED {
                parted.remove(0);
            }
            parted.push(parting);
        });
    }

    /// Changes the list, which has no spare capacity at rest.
    fn change_parting<T>(&mut self, change: impl FnOnce(&mut Vec<Parting>) -> T) -> T {
        let mut parted = std::mem::take(&mut self.parting).into_vec();
        let found = change(&mut parted);
        self.parting = parted.into();
        found
    }

    /// Takes the first one of this kind.
    fn take_parting(&mut self, wanted: impl Fn(&Parting) -> bool) -> Option<Parting> {
        let at = self.parting.iter().position(wanted)?;
        self.change_parting(|parted| (at < parted.len()).then(|| parted.remove(at)))
    }

    /// Remembers the tokens of an answer that cannot be used, to revoke them once the work is done. Beside a valid token none is
    /// revoked: a server may end that one too (RFC 7009 section 2.1), and its callers would wait for the revocation.
    pub(crate) fn discard(&mut self, at: AtIssuer<Account>) {
        if self.held.is_usable(self.now) {
            return;
        }
        let grant = PartingGrant::Discarded(Box::new(at));
        self.part(Parting { id: 0, grant });
    }

    /// Removes and returns discarded tokens, to be revoked. As in [`discard`](Self::discard), those of the stored authorization
    /// are left out if another answer has brought a valid token of it. While tokens wait to be stored, none are returned.
    pub(crate) fn take_discarded(&mut self) -> Option<Box<AtIssuer<Account>>> {
        let wanted = |left: &Parting| matches!(left.grant, PartingGrant::Discarded(_));
        if self.held.unsaved.is_some() {
            return None;
        }
        loop {
            match self.take_parting(wanted)?.grant {
                PartingGrant::Discarded(at) => {
                    let own = at.held().authorization == self.held.authorization();
                    if !(own && self.held.is_usable(self.now)) {
                        return Some(at);
                    }
                }
                PartingGrant::Code(_)
                | PartingGrant::Device(_)
                | PartingGrant::Refresh(_)
                | PartingGrant::Machine(_)
                | PartingGrant::Overdue(_) => return None,
            }
        }
    }

    /// Remembers a refresh whose time limit has passed. Those before it are kept: a server that rotates honours the first one
    /// that reached it.
    pub(crate) fn overdue(&mut self, id: u64, overdue: Overdue) {
        let grant = PartingGrant::Overdue(Box::new(overdue));
        self.part(Parting { id, grant });
    }

    /// Forgets late answers to refreshes, because the account was stored: with the answer to a refresh (`sent`), or without one.
    /// Keeps those that may add to the stored answer, because they belong to the same refresh token.
    pub(crate) fn compare_with_late(&mut self, sent: Option<&Sent>) {
        let stored = self.held.at.as_deref().zip(sent);
        let mut parted = std::mem::take(&mut self.parting).into_vec();
        parted.retain_mut(|left| match &mut left.grant {
            PartingGrant::Overdue(overdue) => {
                stored.is_some_and(|(at, sent)| overdue.remember(sent, at.held(), left.id))
            }
            PartingGrant::Code(_)
            | PartingGrant::Device(_)
            | PartingGrant::Refresh(_)
            | PartingGrant::Machine(_)
            | PartingGrant::Discarded(_) => true,
        });
        self.parting = parted.into();
        let late = self
            .held
            .unsaved
            .take_if(|unsaved| unsaved.kept.sent().is_some());
        if let Some((late, (at, sent))) = late.zip(stored)
            && let Some(merged) = late.beside(at, sent)
        {
            let late = late.after(merged, at.held());
            self.held.unsaved = Some(Box::new(late));
        }
    }

    /// Takes the request that a sign-out or a time limit left behind with this ticket.
    pub(crate) fn parted(&mut self, id: u64) -> Option<Parting> {
        self.take_parting(|left| left.id == id)
    }

    pub(crate) fn poll(&mut self) -> Option<Action> {
        self.outbox.pop_front()
    }

    /// Same as [`poll`](Self::poll) while no work is under way. The last action frees the memory of the outbox, because a
    /// machine may be idle for hours beside thousands of others. After `NeedUser` the next poll frees it, because a host may
    /// answer at once.
    pub(crate) fn poll_at_rest(&mut self) -> Option<Action> {
        if self.outbox.len() > 1 || matches!(self.outbox.front(), Some(Action::NeedUser(_))) {
            return self.poll();
        }
        self.watch = Watch::default();
        std::mem::take(&mut self.outbox).pop_front()
    }

    /// Returns true if the host enabled reports.
    pub(crate) fn reports(&self) -> bool {
        self.config().reports
    }

    /// Emits a report if the host enabled reports; the closure runs only then.
    pub(crate) fn report(&mut self, decision: impl FnOnce() -> Decision) {
        if self.reports() {
            self.emit(Action::Report(Box::new(decision())));
        }
    }

    /// Reports document members of a wrong type, if the host enabled reports (DISC-17).
    pub(crate) fn report_other_types(&mut self, body: &[u8], members: &[(&'static str, Kind)]) {
        if self.reports() {
            let names = of_another_type(body, members);
            if !names.is_empty() {
                self.report(|| Decision::MembersIgnored { names });
            }
        }
    }

    /// Returns the issuer of the pending authorization.
    pub(crate) fn waits_at(&self) -> Option<&IssuerId> {
        let redirected = self.waiting.as_ref().map(|waiting| waiting.at.issuer());
        redirected.or(self.device.as_ref().map(|device| device.issuer()))
    }

    /// Drops the pending authorization, with its record. Returns its issuer and operation.
    pub(crate) fn stop_waiting(&mut self) -> Option<(IssuerId, Option<Operation>)> {
        if let Some(pending) = self.device.take() {
            return Some((pending.issuer().clone(), pending.operation().cloned()));
        }
        let waiting = self.waiting.take()?;
        self.persist(waiting.rest.slot, Some(waiting.rest.revision), None, None);
        Some((waiting.at.issuer().clone(), self.memory.operation.clone()))
    }

    /// Marks the known metadata as stale: it is fetched again before use. The account's metadata snapshot
    /// is marked too, for every process (META-18).
    pub(crate) fn doubt(&mut self) {
        self.memory.doubtful = true;
        self.held.at = self.held.take().map(|at| Box::new(at.aged()));
    }

    /// Records that the user declined or cancelled. The scopes of a step-up are not added to later
    /// requests; those of a first sign-in stay necessary.
    pub(crate) fn declined(&mut self) {
        self.memory.declined(self.now.mono);
        if self.held.is_usable(self.now) {
            self.memory.demanded.clear();
            self.memory.question.withdraw();
        }
    }

    /// Reports a clock difference of more than [`SAME_TIME`] after a rejected proof (DPOP-20).
    pub(crate) fn compare_clocks(&mut self, headers: &HeaderMap) {
        let Some(theirs) = crate::wire::http_fields::date(headers) else {
            return;
        };
        let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
        let seconds = signed(theirs).saturating_sub(signed(self.now.wall.seconds()));
        if seconds.unsigned_abs() > SAME_TIME.as_secs() {
            self.report(|| Decision::ClockDiffers { seconds });
        }
    }

    /// Stores the nonce for the next proof at a server (DPOP-12).
    pub(crate) fn observe(&mut self, observed: &Observed) {
        let url = self.config().url_policy().check(&observed.url);
        if let (Ok(url), Some(nonce)) = (url, &observed.nonce) {
            self.memory.nonces.keep(url.origin(), nonce.clone());
        }
    }

    /// Returns the host and port of the MCP server.
    pub(crate) fn mcp_host(&self) -> Arc<str> {
        Arc::clone(&self.config().mcp_host)
    }
}
