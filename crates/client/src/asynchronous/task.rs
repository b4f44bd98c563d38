//! The one task that owns the machine.
//!
//! The machine is asked one thing at a time, and the next only when it rests: whatever it says is the
//! answer to that question. Who asks while it is busy waits in line, and is served at once when a
//! good token is at hand.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::hands::Hands;
use super::job::{Job, Message, Stopped};
use super::sign_in::{Done, SignIn, Step};
use super::user::User;
use crate::clock::now;
use crate::note::{Note, Watch};
use mcp_auth_machine::action::NeedUser;
use mcp_auth_machine::event::Abandon;
use mcp_auth_machine::present::Presentation;
use mcp_auth_machine::{Action, AuthMachine, Event, Phase};

/// The machine waits for nothing but time, and gives way to the user.
const PAUSING: Phase = Phase::Working("pausing");

pub(super) struct Task<U> {
    pub(super) machine: AuthMachine,
    pub(super) hands: Hands,
    pub(super) user: Arc<U>,
    pub(super) watch: Watch,
    pub(super) messages: mpsc::UnboundedReceiver<Message>,
    pub(super) back: mpsc::WeakUnboundedSender<Message>,
    /// What the machine was asked and did not answer yet.
    pub(super) current: Option<Job>,
    /// What it is asked next.
    pub(super) line: VecDeque<Job>,
    pub(super) sign_in: Option<SignIn>,
    /// Who waits for the sign-in.
    pub(super) joined: Vec<Job>,
    /// Why the user was needed last.
    pub(super) need: Option<NeedUser>,
}

impl<U: User> Task<U> {
    /// Works until the last handle is gone, or one closed it, and what was begun is finished.
    pub(super) async fn run(mut self) {
        let mut open = true;
        self.settle();
        while open || self.is_at_it() {
            let rest = self.rest();
            tokio::select! {
                biased;
                event = self.hands.answer() => {
                    if let Some(event) = event {
                        self.feed(event);
                    }
                }
                // Before what the user did: a callback that was handed in counts.
                message = self.messages.recv(), if open => match message {
                    Some(message) => self.receive(message),
                    None => {
                        open = false;
                        self.end_sign_in();
                    }
                },
                done = SignIn::done(&mut self.sign_in) => self.user_did(done),
                () = tokio::time::sleep(rest.unwrap_or_default()), if rest.is_some() => {
                    self.feed(Event::Timer);
                }
            }
            self.settle();
        }
        self.end_sign_in();
    }

    /// An exchange that is under way is finished, a wait for better times is not.
    fn is_at_it(&self) -> bool {
        let working = match self.machine.phase() {
            Phase::Resting | Phase::AwaitingUser | PAUSING => false,
            Phase::Working(_) => true,
        };
        working || self.hands.is_busy()
    }

    fn rest(&self) -> Option<Duration> {
        let left = self.machine.deadline()?.0.saturating_sub(now().mono.0);
        Some(Duration::from_millis(left.max(1)))
    }

    pub(super) fn feed(&mut self, event: Event) {
        self.watch.see(Note::In(&event));
        self.machine.handle(now(), event);
    }

    fn receive(&mut self, message: Message) {
        match message {
            Message::Note(event) => self.feed(event),
            Message::Abandon(how) => self.abandon(how),
            Message::Job(job) => self.take(job),
            Message::Close => self.close(),
        }
    }

    /// Nobody is answered any more, except whom the machine is at work for.
    fn close(&mut self) {
        self.messages.close();
        while self.messages.try_recv().is_ok() {}
        self.line.clear();
        self.joined.clear();
    }

    fn take(&mut self, job: Job) {
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

    /// Everybody is sent home, and everything is forgotten.
    fn sign_out(&mut self, mut job: Job) {
        let waiting = self.line.drain(..).chain(self.joined.drain(..));
        for job in waiting.chain(self.current.take()) {
            job.stop(Stopped::SignedOut);
        }
        self.end_sign_in();
        if let Some(event) = job.event() {
            self.current = Some(job);
            self.feed(event);
        }
    }

    /// With the token at hand, or in line. A token that is just being judged is not given out.
    fn serve(&mut self, job: Job) {
        if let Job::Grant(reply) = job {
            match self.machine.grant() {
                None => self.line.push_back(Job::Grant(reply)),
                found => drop(reply.send(Ok(found))),
            }
            return;
        }
        match self.served(&job) {
            Some(presentation) => self.give(job, Some(presentation)),
            None => self.line.push_back(job),
        }
    }

    fn served(&mut self, job: &Job) -> Option<Presentation> {
        let presentation = job.served_by(&mut self.machine)?;
        let judged = self.current.as_ref();
        let judged = judged.is_some_and(|current| current.refuses(&presentation));
        (!judged).then_some(presentation)
    }

    /// Serves those in line who need the machine no more.
    pub(super) fn serve_line(&mut self) {
        for job in std::mem::take(&mut self.line) {
            self.serve(job);
        }
    }

    /// Carries out what the machine wants, and asks it the next thing when it rests.
    fn settle(&mut self) {
        loop {
            while let Some(action) = self.machine.poll_action() {
                self.watch.see(Note::Out(&action));
                self.act(action);
            }
            match self.machine.phase() {
                PAUSING if self.gives_way() || self.user_has_left() => {}
                Phase::Working(_) => return,
                Phase::Resting | Phase::AwaitingUser => self.said_nothing(),
            }
            if self.user_has_left() {
                self.sign_in = None;
                self.feed(Event::Abandoned(Abandon::Cancelled));
                continue;
            }
            self.nobody_waits_for_nothing();
            match self.line.pop_front() {
                None => return,
                Some(job) if job.is_deserted() => {}
                Some(Job::Grant(reply)) => drop(reply.send(Ok(self.machine.grant()))),
                Some(job) => self.ask(job),
            }
        }
    }

    /// Whether a pause is no reason to let the user wait.
    fn gives_way(&self) -> bool {
        let user_waits = self.line.front().is_some_and(Job::is_urgent);
        user_waits && !self.current.as_ref().is_some_and(Job::is_urgent)
    }

    fn ask(&mut self, mut job: Job) {
        // The renewal that pauses goes on after the user's side; who waits for it asks again then.
        self.line.extend(self.current.take());
        if let Some(event) = job.event() {
            self.current = Some(job);
            self.feed(event);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::SendRequest(request) => self.hands.send(request),
            Action::LoadSlot(load) => self.hands.load(load),
            Action::PersistSlot(persist) => self.hands.persist(persist),
            Action::Sign(asked) => self.hands.sign(asked),
            Action::ObtainAssertion(asked) => self.hands.obtain(asked),
            Action::Report(_) => {}
            Action::NeedUser(need) => self.user_is_needed(need),
            Action::Redirect(redirect) => self.redirected(redirect),
            Action::Ready(_) => self.ready(),
            Action::Error(failure) => self.failed(&failure),
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

    /// The host's future ended, and no callback is left to be judged.
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
