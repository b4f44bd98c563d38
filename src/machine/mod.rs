//! The machine: events in, actions out.

mod end;
mod queue;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::action::{Action, Grant};
use crate::config::Config;
use crate::core::{Ask, Core, Proof};
use crate::event::{Event, Loaded, Persisted, Reply};
use crate::identity::Identity;
use crate::state::{LoadingAccount, Next, Step, Trigger, Work, judge};
use crate::suspended::Parting;
use crate::ticket::Ticket;
use crate::time::{Moment, MonoMillis};

/// The authorization of one principal at one MCP server.
///
/// Pass events to [`handle`](Self::handle), take actions from [`poll_action`](Self::poll_action) until it
/// returns `None`, and send [`Event::Timer`] at [`deadline`](Self::deadline). No method blocks, fails or
/// panics; an unexpected event changes nothing.
pub struct AuthMachine {
    pub(crate) core: Core,
    work: Work,
    inbox: VecDeque<Trigger>,
}

impl AuthMachine {
    /// Creates a machine for one principal; `now` is the current time. The first action reads the account slot, so
    /// that a stored token is found. The time limit of this read, 30 seconds, starts at `now`. A callback of an
    /// authorization that another instance prepared may be passed at once.
    ///
    /// A principal without a name has no account: every event that needs one fails with
    /// [`Misconfiguration::NoPrincipal`](crate::error::Misconfiguration::NoPrincipal), and no slot is touched.
    pub fn new(
        config: impl Into<Arc<Config>>,
        principal: impl Into<Arc<str>>,
        now: Moment,
    ) -> Self {
        let identity = Identity::new(config.into(), principal.into());
        let mut core = Core::new(identity, now);
        let work = if core.identity.is_named() {
            LoadingAccount::begin(&mut core, None)
        } else {
            Work::Idle
        };
        Self {
            core,
            work,
            inbox: VecDeque::new(),
        }
    }

    /// Processes an event. Never fails: results are returned as actions.
    pub fn handle(&mut self, now: Moment, event: Event) {
        self.core.now = now;
        self.core.event = self.core.event.saturating_add(1);
        match event {
            Event::HttpResponse(reply) => self.replied(reply),
            Event::SlotLoaded(loaded) => self.loaded(loaded),
            Event::SlotPersisted(persisted) => self.persisted(persisted),
            Event::Signed(signed) => {
                self.answer(&signed.ticket, |work, core| work.signed(core, signed.token));
            }
            Event::AssertionObtained(assertion) => {
                self.answer(&assertion.ticket, |work, core| {
                    work.obtained(core, assertion.token)
                });
            }
            Event::Observed(observed) => self.core.observe(&observed),
            Event::Challenged(challenge) => {
                let at_rest = self.is_at_rest();
                if let Some(judged) = judge(&mut self.core, challenge, at_rest) {
                    if !at_rest && self.prepares() {
                        judged.joins(&mut self.core);
                    }
                    self.queue(Trigger::Challenged(judged));
                }
            }
            Event::Wanted(operation) => self.queue(Trigger::Wanted(operation)),
            Event::Authorize(authorization) => self.authorize(authorization),
            Event::CallbackParams(callback) => self.came_back(callback),
            Event::Accepted(operation) => {
                self.core.memory.forget(&operation);
                self.core.held.proof = Proof::Assumed;
            }
            Event::Timer => self.time_passed(),
            Event::Abandoned(how) => self.give_up(how),
            Event::SignedOut => self.sign_out(),
        }
        self.settle();
    }

    /// Returns the next action, if any. Actions may be carried out in any order, except the writes of one slot: these in the
    /// order in which they come.
    pub fn poll_action(&mut self) -> Option<Action> {
        if matches!(self.work, Work::Idle) && self.inbox.is_empty() {
            self.inbox = VecDeque::new();
            self.core.poll_at_rest()
        } else {
            self.core.poll()
        }
    }

    /// Returns when [`Event::Timer`] is due, by the monotonic clock.
    pub fn deadline(&self) -> Option<MonoMillis> {
        let work = self.work.ask().map(|ask| ask.until);
        let user = self.core.waiting.as_ref();
        let user = user.and_then(|waiting| waiting.rest.next);
        let device = self.core.device.as_ref().map(|device| device.deadline());
        let save = self.core.held.unsaved.as_ref();
        let save = save.filter(|_| matches!(self.work, Work::Idle));
        let save = save.and_then(|unsaved| unsaved.again.at);
        work.into_iter().chain(user).chain(device).chain(save).min()
    }

    /// Returns how long after `now` [`Event::Timer`] is due: the time-out of the host's next wait. Zero when it is overdue, `None`
    /// without a [`deadline`](Self::deadline).
    ///
    /// ```
    /// # use mcp_auth_machine::{AuthMachine, Config, Moment};
    /// # use std::time::{Duration, SystemTime};
    /// # let config = Config::builder("https://mcp.example/mcp", "http://127.0.0.1:3000/callback").build()?;
    /// let now = Moment::new(SystemTime::now(), Duration::ZERO);
    /// let machine = AuthMachine::new(config, "alice", now);
    /// // The store is asked for the account first; should it not answer, the machine goes on without.
    /// assert!(machine.timeout(now).is_some_and(|left| left.as_secs() <= 30));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn timeout(&self, now: Moment) -> Option<Duration> {
        let deadline = self.deadline()?;
        Some(Duration::from_millis(deadline.0.saturating_sub(now.mono.0)))
    }

    /// Returns the current phase.
    pub fn phase(&self) -> Phase {
        if !matches!(self.work, Work::Idle) {
            Phase::Working(self.work.name())
        } else if self.core.device.is_some() {
            Phase::AwaitingDevice
        } else if self.core.waiting.is_some() {
            Phase::AwaitingUser
        } else {
            Phase::Resting
        }
    }

    /// Returns true while a refresh waits and this machine holds no lease for it: another process refreshes the tokens, or
    /// the server asked for a long delay (REFR-05, REFR-07). The lease of another process ends by time alone. So a host that
    /// runs out of time stops here, and never passes a later time than it is: that would break the lease, and the refresh
    /// token would be sent twice.
    pub fn waits_without_lease(&self) -> bool {
        self.work.waits_without_lease()
    }

    /// Returns true while a redirect or a device authorization is pending, whatever else the machine does.
    pub fn has_pending_authorization(&self) -> bool {
        self.core.waits_at().is_some() || matches!(self.work, Work::Polling(_))
    }

    /// Returns the stored token without its value, even when it has expired. `None` also before the account
    /// slot has been read.
    pub fn grant(&self) -> Option<Grant> {
        self.core.grant()
    }

    /// Returns true while the machine holds an account that the store did not take, such as refreshed tokens: they are lost
    /// with the machine. They are saved again at [`deadline`](Self::deadline), ten times within some minutes, and at the next
    /// [`Event::Wanted`] (TOK-16).
    pub fn has_unsaved(&self) -> bool {
        self.core.held.unsaved.is_some()
    }

    fn replied(&mut self, Reply { ticket, outcome }: Reply) {
        if self.is_pending(&ticket) {
            self.core.watch.answered(ticket.id(), &outcome);
            self.step(|work, core| work.replied(core, outcome));
        } else if let Some(parting) = self.parting(&ticket) {
            let trigger = parting.answered(&mut self.core, outcome);
            self.inbox.extend(trigger);
        }
    }

    fn loaded(&mut self, Loaded { ticket, found }: Loaded) {
        if self.is_pending(&ticket) {
            self.step(|work, core| work.loaded(core, found));
        } else if ticket.is_of(self.core.owner)
            && let Some(attempt) = self.work.uncounted()
            && let Some(early) = attempt.early.as_mut()
            && early.ask.id == ticket.id()
        {
            early.found = Some(found);
        }
    }

    fn persisted(&mut self, Persisted { ticket, outcome }: Persisted) {
        if let Work::SavingBoth(state) = &mut self.work
            && state.pending.ask.id == ticket.id()
            && ticket.is_of(self.core.owner)
        {
            state.recorded(outcome);
        } else {
            self.answer(&ticket, |work, core| work.persisted(core, outcome));
        }
    }

    fn answer(&mut self, ticket: &Ticket, step: impl FnOnce(Work, &mut Core) -> Step) {
        if self.is_pending(ticket) {
            self.step(step);
        } else {
            self.parting(ticket);
        }
    }

    /// Returns true when no work is under way or queued, and no authorization is pending.
    fn is_at_rest(&self) -> bool {
        matches!(self.work, Work::Idle) && self.inbox.is_empty() && self.core.waits_at().is_none()
    }

    /// Returns true while an authorization is being prepared, or waits for that: its scopes are not chosen yet.
    fn prepares(&self) -> bool {
        let waits =
            |trigger: &Trigger| matches!(trigger, Trigger::Authorize(_) | Trigger::Renewed(_));
        self.work.prepares() || self.inbox.iter().any(waits)
    }

    /// Returns true for the ticket of the action whose result the work awaits.
    fn is_pending(&self, ticket: &Ticket) -> bool {
        let is_its = |ask: &Ask| ask.id == ticket.id();
        self.work.ask().is_some_and(is_its) && ticket.is_of(self.core.owner)
    }

    /// Takes the request that a sign-out or a time limit left behind with this ticket.
    fn parting(&mut self, ticket: &Ticket) -> Option<Parting> {
        let id = ticket.is_of(self.core.owner).then(|| ticket.id())?;
        self.core.parted(id)
    }

    fn step(&mut self, step: impl FnOnce(Work, &mut Core) -> Step) {
        let work = std::mem::replace(&mut self.work, Work::Idle);
        let mut step = step(work, &mut self.core);
        loop {
            match step {
                Ok(Next::Wait(work)) => return self.work = work,
                Ok(next) => step = next.follow(&mut self.core),
                Err(failure) => return self.core.fail_current(failure),
            }
        }
    }
}

/// The phase of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Idle.
    Resting,
    /// An authorization is pending: the machine waits for its callback. All necessary data is in a slot.
    AwaitingUser,
    /// A device authorization is pending: the machine polls the server at its [`deadline`](AuthMachine::deadline).
    AwaitingDevice,
    /// An action is pending, in the state of this name.
    Working(&'static str),
}

impl Phase {
    /// The names that [`Phase::Working`] can contain.
    pub const NAMES: &[&'static str] = Work::NAMES;
}

impl fmt::Debug for AuthMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthMachine")
            .field("mcp_url", &self.core.identity.mcp_url())
            .field("phase", &self.phase())
            .field("issuer", &self.core.held.at.as_ref().map(|at| at.issuer()))
            .finish_non_exhaustive()
    }
}
