//! Dispatch: delivers each action of the machine to the job that it answers.

use super::job::{Begun, Job, Stopped, Wish};
use super::sign_in::{SignIn, Step};
use super::task::Task;
use super::user::User;
use crate::meter;
use mcp_auth_machine::action::{NeedUser, Redirect, ShowCode, Why};
use mcp_auth_machine::error::{Cause, Stage};
use mcp_auth_machine::event::{Abandon, Authorization};
use mcp_auth_machine::present::Presentation;
use mcp_auth_machine::{Event, Failure, Phase};

impl<U: User> Task<U> {
    /// Answers a job with a token, and with its presentation if one has been created.
    pub(super) fn give(&mut self, job: Job, presentation: Option<Presentation>) {
        match job {
            Job::Wanted { target, reply, .. } => {
                let made = match presentation {
                    Some(presentation) => Ok(presentation),
                    None => {
                        let now = self.around.now();
                        self.machine.present(now, &target.method, &target.url)
                    }
                };
                match made {
                    Ok(presentation) => self.hands.present(presentation, reply),
                    Err(flaw) => drop(reply.send(Err(Stopped::NotPresented(flaw)))),
                }
            }
            Job::Refused { reply, .. } | Job::CameBack { reply, .. } => drop(reply.send(Ok(true))),
            Job::Begin { reply, .. } => reply.end_without_user(),
            Job::Consented(_) | Job::SignOut { .. } | Job::Grant(_) => {}
        }
    }

    pub(super) fn ready(&mut self) {
        match self.current.take() {
            Some(job @ (Job::Wanted { .. } | Job::Refused { .. })) => {
                if matches!(job, Job::Refused { .. }) && !self.renews {
                    meter::absorbed();
                }
                self.give(job, None);
            }
            Some(job @ (Job::Consented(_) | Job::CameBack { .. } | Job::Begin { .. })) => {
                self.give(job, None);
                // The host's future may have work left, such as a response to a browser.
                self.sign_in = None;
                for job in std::mem::take(&mut self.joined) {
                    self.give(job, None);
                }
            }
            other @ (Some(Job::SignOut { .. } | Job::Grant(_)) | None) => self.current = other,
        }
        // A token that was there before leaves the code, or the browser, as it is. Otherwise the sign-in has ended, perhaps
        // at another instance.
        let is_out = self.is_showing() || self.is_at_browser();
        if is_out && !self.machine.has_pending_authorization() {
            self.end_sign_in();
            for job in std::mem::take(&mut self.joined) {
                self.give(job, None);
            }
        }
        if !self.machine.has_pending_authorization() {
            self.device.end(&Ok(()));
        }
        self.serve_line();
    }

    /// Returns true while the user has the code of a device authorization.
    fn is_showing(&self) -> bool {
        let step = self.sign_in.as_ref().map(|sign_in| &sign_in.step);
        matches!(step, Some(Step::Showing(_)))
    }

    fn is_at_browser(&self) -> bool {
        let step = self.sign_in.as_ref().map(|sign_in| &sign_in.step);
        matches!(step, Some(Step::AtBrowser(_)))
    }

    pub(super) fn failed(&mut self, failure: &Failure) {
        // A failure at these stages belongs to the sign-in, whatever the current job is.
        let polls = self.is_showing() || !self.device.is_empty();
        let of_a_poll = failure.stage == Stage::Token && polls;
        let of_sign_in = failure.stage == Stage::Authorization || of_a_poll;
        match self.current.take() {
            Some(job @ (Job::Wanted { .. } | Job::Refused { .. })) if of_sign_in => {
                self.current = Some(job);
                self.sign_in_failed(failure);
            }
            Some(job @ (Job::Wanted { .. } | Job::Refused { .. })) => {
                self.share(&job, failure);
                job.fail(failure);
            }
            Some(job @ (Job::Consented(_) | Job::CameBack { .. })) => {
                job.fail(failure);
                self.sign_in_failed(failure);
            }
            Some(job @ Job::Begin { .. }) => job.fail(failure),
            // The answer to an operation that waited; the sign-out continues.
            other @ Some(Job::SignOut { .. }) if failure.cause == Cause::Abandoned => {
                self.current = other;
            }
            Some(Job::SignOut {
                failure: None,
                reply,
            }) => {
                let failure = Some(Box::new(failure.clone()));
                self.current = Some(Job::SignOut { failure, reply });
            }
            other @ Some(Job::SignOut { .. } | Job::Grant(_)) => self.current = other,
            None if of_sign_in => self.sign_in_failed(failure),
            None => {}
        }
    }

    /// Fails all jobs that wait for the same result of a remote server. A failure caused by one challenge
    /// is not shared.
    fn share(&mut self, job: &Job, failure: &Failure) {
        if failure.stage == Stage::Challenge {
            return;
        }
        for other in std::mem::take(&mut self.line) {
            if other.is_like(job) {
                other.fail(failure);
            } else {
                self.line.push_back(other);
            }
        }
    }

    fn sign_in_failed(&mut self, failure: &Failure) {
        self.end_sign_in();
        for job in std::mem::take(&mut self.joined) {
            job.fail(failure);
        }
        let failed = Stopped::Failed(Box::new(failure.clone()));
        self.device.end(&Err(failed));
    }

    pub(super) fn end_sign_in(&mut self) {
        if let Some(sign_in) = self.sign_in.take() {
            sign_in.end();
        }
        self.line.retain(|job| !matches!(job, Job::Consented(_)));
    }

    pub(super) fn user_is_needed(&mut self, need: NeedUser) {
        self.need = Some(need.clone());
        match self.current.take() {
            Some(
                job @ Job::Wanted {
                    wish: Wish::IfThereIsOne | Wish::Ready,
                    ..
                },
            ) if self.sign_in.is_none() => job.stop(Stopped::NeedUser(need)),
            // The user is not asked on behalf of a caller that is gone.
            Some(job) if job.is_deserted() => {}
            Some(job @ (Job::Wanted { .. } | Job::Refused { .. })) => {
                self.joined.push(job);
                self.ask_user(need);
            }
            Some(job @ Job::CameBack { .. }) if self.sign_in.is_some() => {
                self.give(job, None);
                self.sign_in = None;
                self.ask_user(need);
            }
            Some(job @ (Job::CameBack { .. } | Job::Begin { .. })) => {
                job.stop(Stopped::NeedUser(need));
            }
            Some(Job::Consented(_)) => {
                self.sign_in = None;
                self.ask_user(need);
            }
            None if !self.device.is_empty() => {
                self.device.end(&Err(Stopped::NeedUser(need)));
            }
            // The code cannot be used any more.
            None if self.is_showing() => {
                self.end_sign_in();
                self.ask_user(need);
            }
            other @ (Some(Job::SignOut { .. } | Job::Grant(_)) | None) => self.current = other,
        }
    }

    fn ask_user(&mut self, need: NeedUser) {
        if self.messages.is_closed() {
            return self.fail_joined(&Stopped::Ended);
        }
        match self.sign_in.as_mut().map(|sign_in| &sign_in.step) {
            Some(Step::Asking { .. }) => {
                if let Some(sign_in) = &mut self.sign_in {
                    sign_in.need = need;
                }
                return;
            }
            Some(Step::AtBrowser(_) | Step::Showing(_) | Step::Left) => return,
            Some(Step::Agreed) | None => self.end_sign_in(),
        }
        match SignIn::ask(need, &self.user, &self.around) {
            Ok(sign_in) => self.sign_in = Some(sign_in),
            Err(_) => self.fail_joined(&Stopped::NoEntropy),
        }
    }

    /// Handles the user's reply. If the reason has changed meanwhile, the user is asked again (ISO-09,
    /// STEP-13).
    pub(super) fn consented(&mut self, answer: Option<Authorization>) {
        let Some(SignIn { need, step }) = self.sign_in.take() else {
            return;
        };
        let changed = match &step {
            Step::Asking { for_this, .. } => for_this.why != need.why,
            Step::Agreed | Step::AtBrowser(_) | Step::Showing(_) | Step::Left => false,
        };
        match answer {
            None => self.fail_joined(&Stopped::NeedUser(need)),
            Some(_) if changed => self.ask_user(need),
            Some(authorization) => {
                let job = Job::Consented(Some(Box::new(authorization)));
                self.line.push_front(job);
                let step = Step::Agreed;
                self.sign_in = Some(SignIn { need, step });
            }
        }
    }

    /// Fails callers still waiting for a sign-in that ended without a result.
    pub(super) fn fail_orphaned(&mut self) {
        if self.sign_in.is_none() && !self.joined.is_empty() {
            let why = Stopped::NeedUser(self.need());
            self.fail_joined(&why);
        }
    }

    /// Returns the latest reason for which the user was needed.
    fn need(&self) -> NeedUser {
        self.need.clone().unwrap_or(NeedUser {
            why: Why::NoCredentials,
            operation: None,
        })
    }

    fn fail_joined(&mut self, why: &Stopped) {
        for job in std::mem::take(&mut self.joined) {
            job.stop(why.clone());
        }
    }

    pub(super) fn redirected(&mut self, redirect: Redirect) {
        match self.current.take() {
            Some(Job::Begin {
                reply: Begun::Redirect(reply),
                ..
            }) => {
                // The redirect replaces a code (DEV-10).
                self.device.end(&Err(Stopped::NeedUser(self.need())));
                drop(reply.send(Ok(Some(redirect))));
            }
            Some(Job::Consented(_)) => {
                self.device.end(&Err(Stopped::NeedUser(self.need())));
                if let Some(sign_in) = &mut self.sign_in {
                    sign_in.send(redirect, &self.user, self.back.clone());
                }
            }
            other => self.current = other,
        }
    }

    pub(super) fn shows(&mut self, shown: ShowCode) {
        match self.current.take() {
            Some(Job::Begin {
                reply: Begun::Code(reply),
                ..
            }) => drop(reply.send(Ok(Some(self.device.add(Box::new(shown)))))),
            // `begin` returns redirects.
            Some(job @ Job::Begin { .. }) => job.stop(Stopped::NeedUser(self.need())),
            Some(Job::Consented(_)) => {
                if let Some(sign_in) = &mut self.sign_in {
                    sign_in.show(shown, &self.user);
                }
            }
            other => self.current = other,
        }
    }

    pub(super) fn abandon(&mut self, how: Abandon) {
        let machine_knows = matches!(self.current, Some(Job::Consented(_)));
        let unknown = match self.sign_in.as_ref().map(|sign_in| &sign_in.step) {
            Some(Step::Asking { .. }) => true,
            Some(Step::Agreed) => !machine_knows,
            Some(Step::AtBrowser(_) | Step::Showing(_) | Step::Left) | None => false,
        };
        if unknown {
            self.end_sign_in();
        }
        self.feed(Event::Abandoned(how));
    }

    /// Handles an idle machine without a result for the current job.
    pub(super) fn said_nothing(&mut self) {
        let Some(job) = self.current.take() else {
            return;
        };
        let waits = matches!(
            self.machine.phase(),
            Phase::AwaitingUser | Phase::AwaitingDevice
        );
        match job {
            // A failure of the transport, not of authorization (USE-12).
            Job::Refused { refusal, reply, .. } if refusal.status == 400 => {
                drop(reply.send(Ok(false)));
            }
            job @ (Job::Wanted { .. } | Job::Refused { .. }) if self.sign_in.is_some() => {
                self.joined.push(job);
            }
            // The host's own user has not returned yet.
            job @ (Job::Wanted { .. } | Job::Refused { .. }) if waits => {
                job.stop(Stopped::NeedUser(self.need()));
            }
            Job::Refused { reply, .. } | Job::CameBack { reply, .. } => {
                drop(reply.send(Ok(false)));
            }
            job @ Job::Wanted { .. } => self.give(job, None),
            job @ Job::Begin { .. } => job.stop(Stopped::NeedUser(self.need())),
            Job::Consented(_) => {
                let why = Stopped::NeedUser(self.need());
                self.sign_in = None;
                self.fail_joined(&why);
            }
            Job::SignOut { failure, reply } => {
                let told = match failure {
                    None => Ok(()),
                    Some(failure) => Err(Stopped::Failed(failure)),
                };
                drop(reply.send(told));
            }
            Job::Grant(_) => {}
        }
    }
}
