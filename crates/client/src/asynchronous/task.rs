//! The task that owns the machine.
//!
//! The machine works on one job at a time, and on the next when it is idle, so every result belongs to the
//! current job. Jobs that arrive meanwhile are queued, or answered at once if a valid token is available.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::accounts::Place;
use super::client::Client;
use super::device::Waiting;
use super::hands::Hands;
use super::job::{Job, Message, Stopped};
use super::publish::Publisher;
use super::saver::Saver;
use super::sign_in::{Done, SignIn, Step};
use super::user::User;
use crate::clock::Surroundings;
use crate::meter::{self, Meter};
use crate::note::{Note, Watch};
use mcp_auth_machine::action::{Grant, NeedUser, Purpose, Why};
use mcp_auth_machine::error::{Cause, Failure, Stage, StoreFlaw};
use mcp_auth_machine::event::{Abandon, Operation};
use mcp_auth_machine::present::Presentation;
use mcp_auth_machine::{Action, AuthMachine, Event, Phase};

/// A paused refresh, which gives way to the user.
const PAUSING: Phase = Phase::Working("pausing");

/// An answer of the machine, whatever the operation.
#[derive(PartialEq)]
enum Answer {
    Failed(Stage, Cause),
    NeedUser(Why),
}

impl Answer {
    fn of(action: &Action) -> Option<Self> {
        match action {
            Action::Error(failure) => Some(Self::Failed(failure.stage, failure.cause.clone())),
            Action::NeedUser(need) => Some(Self::NeedUser(need.why.clone())),
            Action::SendRequest(_)
            | Action::Redirect(_)
            | Action::ShowCode(_)
            | Action::LoadSlot(_)
            | Action::PersistSlot(_)
            | Action::Sign(_)
            | Action::ObtainAssertion(_)
            | Action::Ready(_)
            | Action::Report(_) => None,
        }
    }
}

pub(super) struct Task<U> {
    pub(super) machine: AuthMachine,
    pub(super) around: Surroundings,
    pub(super) hands: Hands,
    pub(super) user: Arc<U>,
    pub(super) watch: Watch,
    pub(super) messages: mpsc::UnboundedReceiver<Box<Message>>,
    pub(super) back: mpsc::WeakUnboundedSender<Box<Message>>,
    /// The job that the machine works on.
    pub(super) current: Option<Job>,
    /// Whether a token was requested for the current job.
    pub(super) renews: bool,
    /// The queued jobs.
    pub(super) line: VecDeque<Job>,
    pub(super) sign_in: Option<SignIn>,
    /// The callers that wait for the end of a device authorization.
    pub(super) device: Waiting,
    /// The jobs that wait for the sign-in.
    pub(super) joined: Vec<Job>,
    /// The latest reason for which the user was needed.
    pub(super) need: Option<NeedUser>,
    /// The account slot could not be read, and no slot has been read since.
    pub(super) unread: Option<Box<Failure>>,
    /// Shows the token to others, where there are any.
    pub(super) publisher: Option<Publisher>,
    pub(super) saver: Saver,
    pub(super) meter: Meter,
    /// The host ends the driver.
    pub(super) is_closed: bool,
    pub(super) ended: watch::Receiver<bool>,
    /// The place among many accounts.
    pub(super) place: Option<Place>,
}

impl<U: User> Task<U> {
    /// Runs until the last handle is gone or one was closed, and work in flight is completed and saved. Returns whether
    /// tokens are lost.
    pub(super) async fn run(mut self: Box<Self>) -> (bool, Option<Place>) {
        let mut open = true;
        self.settle();
        self.publish();
        while open || self.is_at_it() || self.saver.is_at_it() {
            if !open && self.stays() {
                open = true;
                continue;
            }
            let (rest, save) = (self.rest(), self.saver.rest());
            tokio::select! {
                biased;
                event = self.hands.answer() => {
                    if let Some(error) = self.hands.trouble() {
                        self.watch.see(Note::Store(&error));
                    }
                    if let Some(event) = event {
                        self.feed(event);
                    }
                }
                // Before the user's action: a callback that was passed in counts.
                message = self.messages.recv(), if open => match message {
                    Some(message) => self.receive(*message),
                    None => {
                        open = false;
                        self.end_sign_in();
                        self.saver.ends();
                    }
                },
                done = SignIn::done(&mut self.sign_in) => self.user_did(done),
                () = self.around.wait(rest.unwrap_or_default()), if rest.is_some() => {
                    self.feed(Event::Timer);
                    self.save();
                }
                () = self.around.wait(save.unwrap_or_default()), if save.is_some() => {
                    self.feed(Event::Timer);
                    self.save();
                }
            }
            self.settle();
            self.publish();
        }
        self.end_sign_in();
        let is_unsaved = self.machine.has_unsaved();
        if is_unsaved {
            meter::lost();
        }
        #[cfg(feature = "tracing")]
        if is_unsaved {
            tracing::error!(
                "the store did not take the tokens of an account in time: they are lost"
            );
        }
        (is_unsaved, self.place)
    }

    /// Saves tokens again that the store did not take.
    fn save(&mut self) {
        let is_idle = !matches!(self.machine.phase(), Phase::Working(_));
        if self.saver.is_due() && is_idle {
            self.feed(Event::Wanted(Operation::new("save")));
        }
    }

    /// Continues with a new handle among the accounts, because tokens are not saved yet: the account is not to be without a
    /// machine until then.
    fn stays(&mut self) -> bool {
        let Some(place) = &self.place else {
            return false;
        };
        if self.is_closed || !self.machine.has_unsaved() {
            return false;
        }
        let (sender, messages) = mpsc::unbounded_channel();
        let back = sender.downgrade();
        let stays = place.stays(Client::new(sender, self.ended.clone()));
        if stays {
            (self.messages, self.back) = (messages, back);
            self.saver.goes_on();
        }
        stays
    }

    fn publish(&mut self) {
        if let Some(publisher) = &mut self.publisher {
            let place = self.place.as_ref();
            publisher.update(&mut self.machine, || place.is_none_or(Place::is_current));
        }
        let is_unsaved = self.machine.has_unsaved();
        if self.saver.see(is_unsaved)
            && let Some(place) = &self.place
        {
            place.is_unsaved(is_unsaved);
        }
    }

    /// Returns true while an exchange is in flight; a pause does not count.
    fn is_at_it(&self) -> bool {
        let working = match self.machine.phase() {
            Phase::Resting | Phase::AwaitingUser | Phase::AwaitingDevice | PAUSING => false,
            Phase::Working(_) => true,
        };
        working || self.hands.is_busy()
    }

    fn rest(&self) -> Option<Duration> {
        let left = self.machine.timeout(self.around.now())?;
        Some(left.max(Duration::from_millis(1)))
    }

    pub(super) fn feed(&mut self, event: Event) {
        self.watch.see(Note::In(&event));
        if let Event::HttpResponse(reply) = &event {
            self.meter.answered(reply);
        }
        if let Event::SlotLoaded(_) = &event {
            self.unread = None;
        }
        self.machine.handle(self.around.now(), event);
    }

    fn receive(&mut self, message: Message) {
        match message {
            Message::Note(event) => self.feed(event),
            Message::Abandon(how) => self.abandon(how),
            Message::Job(job) => self.take(job),
            Message::Close => self.close(),
        }
    }

    /// Drops all queued jobs; only the current one is completed.
    fn close(&mut self) {
        self.is_closed = true;
        self.messages.close();
        while self.messages.try_recv().is_ok() {}
        self.line.clear();
        self.joined.clear();
    }

    fn take(&mut self, job: Job) {
        if let Job::Refused { refusal, .. } = &job {
            meter::refusal(refusal.status);
        }
        if let (Job::Refused { refusal, .. }, Some(publisher)) = (&job, &mut self.publisher)
            && refusal.status == 401
        {
            publisher.refused(&mut self.machine, refusal.sent.as_ref());
        }
        let busy = matches!(self.machine.phase(), Phase::Working(_));
        let is_sign_out = |job: &Job| matches!(job, Job::SignOut { .. });
        if is_sign_out(&job) && !self.current.as_ref().is_some_and(is_sign_out) {
            self.sign_out(job);
        } else if job.is_urgent() {
            self.line.push_front(job);
        } else if busy || job.is_ready() {
            self.serve(job);
        } else {
            self.line.push_back(job);
        }
    }

    /// Fails all waiting jobs and erases the account.
    fn sign_out(&mut self, mut job: Job) {
        let waiting = self.line.drain(..).chain(self.joined.drain(..));
        for job in waiting.chain(self.current.take()) {
            job.stop(Stopped::SignedOut);
        }
        self.end_sign_in();
        self.device.end(&Err(Stopped::SignedOut));
        if let Some(event) = job.event() {
            meter::sign_in("signed_out");
            self.current = Some(job);
            self.feed(event);
        }
    }

    /// Answers a job with the available token, or queues it. A token that a challenge is being processed
    /// for is not returned.
    fn serve(&mut self, job: Job) {
        if let Job::Grant(reply) = job {
            match self.machine.grant() {
                None => self.line.push_back(Job::Grant(reply)),
                found => drop(reply.send(Ok(found))),
            }
            return;
        }
        match self.served(&job) {
            Some(presentation) => {
                if matches!(job, Job::Refused { .. }) {
                    meter::absorbed();
                }
                self.give(job, Some(presentation));
            }
            None => self.line.push_back(job),
        }
    }

    fn served(&mut self, job: &Job) -> Option<Presentation> {
        let presentation = job.served_by(&mut self.machine, self.around.now())?;
        let judged = self.current.as_ref();
        let judged = judged.is_some_and(|current| current.refuses(&presentation));
        (!judged).then_some(presentation)
    }

    /// Answers queued jobs that no longer need the machine.
    pub(super) fn serve_line(&mut self) {
        for job in std::mem::take(&mut self.line) {
            self.serve(job);
        }
    }

    /// Performs the machine's actions, and starts the next job when it is idle.
    fn settle(&mut self) {
        loop {
            let mut given = None;
            while let Some(action) = self.machine.poll_action() {
                self.watch.see(Note::Out(&action));
                // The same answer to other operations (USE-14): the jobs share it.
                let answer = Answer::of(&action);
                if answer.is_none() || given != answer {
                    given = answer.or(given);
                    self.act(action);
                }
            }
            match self.machine.phase() {
                PAUSING if self.gives_way() || self.user_has_left() => {}
                Phase::Working(_) => return,
                Phase::Resting | Phase::AwaitingUser | Phase::AwaitingDevice => {
                    self.said_nothing();
                }
            }
            if self.user_has_left() {
                self.sign_in = None;
                self.feed(Event::Abandoned(Abandon::Cancelled));
                continue;
            }
            self.fail_orphaned();
            match self.line.pop_front() {
                None => return,
                Some(job) if job.is_deserted() => {}
                Some(Job::Grant(reply)) => drop(reply.send(self.grant())),
                Some(job) => self.ask(job),
            }
        }
    }

    /// Returns the stored token, or why it is not known.
    fn grant(&self) -> Result<Option<Grant>, Stopped> {
        match (self.machine.grant(), &self.unread) {
            (None, Some(failure)) => Err(Stopped::Failed(failure.clone())),
            (grant, _) => Ok(grant),
        }
    }

    /// Returns true if a pause should give way to the user.
    fn gives_way(&self) -> bool {
        let user_waits = self.line.front().is_some_and(Job::is_urgent);
        user_waits && !self.current.as_ref().is_some_and(Job::is_urgent)
    }

    fn ask(&mut self, mut job: Job) {
        // The paused refresh continues after the user's action; its waiting job is queued again.
        self.line.extend(self.current.take());
        if let Some(event) = job.event() {
            self.current = Some(job);
            self.renews = false;
            self.feed(event);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::SendRequest(request) => {
                self.renews |= request.purpose() == Purpose::Token;
                self.meter.sent(&request, self.machine.phase());
                self.hands.send(request);
            }
            Action::LoadSlot(load) => self.hands.load(load),
            Action::PersistSlot(persist) => self.hands.persist(persist),
            Action::Sign(asked) => self.hands.sign(asked),
            Action::ObtainAssertion(asked) => self.hands.obtain(asked),
            Action::Report(_) => {}
            Action::NeedUser(need) => {
                meter::user_is_needed(&need);
                if let (Why::ServerChanged { .. }, Some(publisher)) =
                    (&need.why, &mut self.publisher)
                {
                    publisher.distrust(&mut self.machine);
                }
                self.user_is_needed(need);
            }
            Action::Redirect(redirect) => {
                meter::sign_in("begun");
                self.redirected(redirect);
            }
            Action::ShowCode(shown) => {
                meter::sign_in("code_shown");
                self.shows(*shown);
            }
            Action::Ready(_) => {
                if matches!(self.current, Some(Job::CameBack { .. })) {
                    meter::sign_in("completed");
                }
                // The token is at hand before the caller has its answer.
                self.publish();
                self.ready();
            }
            Action::Error(failure) => {
                meter::failed(&failure);
                if failure.stage == Stage::Slots
                    && let Cause::NotPersisted(StoreFlaw::Load | StoreFlaw::Record(_)) =
                        failure.cause
                {
                    self.unread = Some(failure.clone());
                }
                self.failed(&failure);
            }
        }
    }

    fn user_did(&mut self, done: Done) {
        match done {
            Done::Answered(answer) => self.consented(answer),
            Done::Left => {
                if let Some(sign_in) = &mut self.sign_in {
                    sign_in.step = Step::Left;
                }
            }
        }
    }

    /// Returns true if the host's future has ended without a callback to process.
    fn user_has_left(&self) -> bool {
        let left = matches!(
            &self.sign_in,
            Some(SignIn {
                step: Step::Left,
                ..
            })
        );
        let back = |job: &Job| matches!(job, Job::CameBack { .. });
        left && !self.current.as_ref().is_some_and(back) && !self.line.iter().any(back)
    }
}
