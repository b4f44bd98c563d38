//! The heal property: whatever has happened, when the operators have put everything right and a person is there, a
//! token of the server that the resource names is held, at every instance, within 60 answers from the network and
//! the user, with one redirect (L01, L02, L08 to L11). The windows of what was counted have closed; whatever may be
//! kept for longer, documents for one, is still there.

use mcp_auth_machine::error::Cause;
use mcp_auth_machine::event::Abandon;
use mcp_auth_machine::{Action, Event, Failure};

use super::{
    Client, Habit, How, ISSUERS, LIAR, Move, OPERATION, Return, Said, World, issuer_named,
};

/// Slot answers included.
const STEPS: usize = 140;
/// More than before documents were read again after every failure.
const ANSWERS: usize = 60;
/// Longer than anything that is counted is remembered.
const WINDOW: u64 = 11 * 60_000;

impl World {
    /// Turns the world honest and waits for a token at every instance.
    pub fn heal(&mut self) {
        // A binding that cannot be read is not replaced by a guess, and neither is one to the liar: that
        // needs the host (REG-04).
        // An account says where the client belongs before the record of its binding does.
        let account = crate::spelled_out(self.shelf.account().unwrap_or_default());
        let at = |issuer: &&str| account.contains(&format!("\"issuer\":\"{issuer}\""));
        let bound = ISSUERS.iter().position(at).or(self.shelf.bound());
        // Tokens of the server that it was shown to last may still wait to be stored.
        let bound = bound.or(self.ledger.bound());
        if self.setup.client == Client::Unbound && (self.shelf.tampered || bound == Some(LIAR)) {
            return;
        }
        self.named = match self.setup.client {
            Client::Unbound => bound.unwrap_or(0),
            _ => 0,
        };
        // A client that its host has bound to servers finds its own, wherever that stands in a list.
        let bound_by_host = match self.setup.client {
            Client::Registered
            | Client::Credentials
            | Client::Key
            | Client::Workload
            | Client::Enterprise => true,
            Client::Dynamic | Client::Document | Client::Unbound | Client::Bound => false,
        };
        self.before = (self.also.take().is_some() && bound_by_host).then_some(LIAR);
        if self.before.is_some() {
            self.facts
                .note("healed where the first server listed is of no use");
        }
        self.flaws = [None; 3];
        // Responses in transit are lost, timers expire, and every browser window closes.
        self.visits.clear();
        for at in 0..self.instances.len() {
            for _ in 0..48 {
                self.instances[at].actions.clear();
                let Some(deadline) = self.instances[at].machine.deadline() else {
                    break;
                };
                self.wait(deadline.0.saturating_sub(self.now.mono.0));
            }
        }
        // Where the wall clock was put back, what was noted by it is in the future.
        let behind = self.latest - self.now.wall.0;
        self.wait(behind + WINDOW);
        for at in 0..self.instances.len() {
            self.instances[at].actions.clear();
        }
        self.progress();
    }

    fn progress(&mut self) {
        let mut told = Vec::new();
        let (mut redirects, mut answers, mut pages, mut ended) = (0, 0, 0, 0);
        // A process learns which method a server takes from a refusal of its own: there the callback goes to the
        // process that sent the redirect.
        let last = match self.setup.has(Habit::FormFirst) {
            true => 0,
            false => self.instances.len() - 1,
        };
        self.asked = false;
        for at in 0..=last {
            self.asks(at);
            let mut steps = 0;
            while !self.is_content(at) {
                steps += 1;
                if steps > STEPS {
                    let phase = self.instances[at].machine.phase();
                    panic!(
                        "L01: no token at {at} after {STEPS} steps; {phase:?}\n{}",
                        told.join("\n")
                    );
                }
                // Any instance with an outstanding action; the callback arrives at the last one.
                let busy = (0..=last).find(|at| !self.instances[*at].actions.is_empty());
                if let Some(busy) = busy {
                    let action = &self.instances[busy].actions[0];
                    told.push(format!("{busy}: {action:?}"));
                    redirects += u32::from(matches!(action, Action::Redirect(_)));
                    // A sign-out that the store had not confirmed is repeated first, and ends what began before that.
                    let by_sign_out = |failure: &Failure| failure.cause == Cause::Abandoned;
                    ended += u32::from(matches!(action, Action::Error(f) if by_sign_out(f)));
                    answers += usize::from(matches!(
                        action,
                        Action::SendRequest(_) | Action::Redirect(_)
                    ));
                    let (action, how) = (0, How::Honest);
                    let at = busy;
                    self.apply(Move::Answer { at, action, how });
                } else if let Some(visit) = self.visits.len().checked_sub(1) {
                    let pages_before = self.facts.count(PAGE);
                    let how = Return::Honest;
                    self.apply(Move::Return {
                        visit,
                        at: last,
                        how,
                    });
                    if self.facts.count(PAGE) > pages_before {
                        // The server does not know the client and says so to the user, who tells the host.
                        told.push("an error page".to_owned());
                        pages += 1;
                        self.visits.clear();
                        self.tell(at, Event::Abandoned(Abandon::ResetRegistration));
                    }
                } else if self.instances[at].machine.deadline().is_some() && last == 0 {
                    let deadline = self.instances[at].machine.deadline().unwrap_or_default();
                    self.wait(deadline.0.saturating_sub(self.now.mono.0));
                } else {
                    // Some time later the operation is tried again; and where that comes to nothing, a person
                    // asks to sign in.
                    told.push(format!("{at}: asks"));
                    self.wait(70_000);
                    match self.token(at) {
                        Some(_) => self.resource(at, Said::Unauthorized),
                        None if self.asked => {
                            let seed = self.seed();
                            self.ledger.external(at);
                            self.tell(at, Event::Authorize(seed.into()));
                        }
                        None => self.asks(at),
                    }
                    self.asked = !self.asked;
                }
                // A server that does not say which method it takes may refuse the first.
                let methods = u32::from(self.reads_form_first(self.named));
                assert!(
                    redirects <= 1 + pages + methods + ended,
                    "L01: a second redirect before a token\n{}",
                    told.join("\n")
                );
                assert!(
                    answers <= ANSWERS * (1 + last),
                    "L01: no token after {answers} answers\n{}",
                    told.join("\n")
                );
            }
        }
    }

    fn asks(&mut self, at: usize) {
        self.ledger.external(at);
        self.wants(at, OPERATION);
    }

    /// Whether an instance holds a token that the resource takes, and has nothing left to do.
    fn is_content(&mut self, at: usize) -> bool {
        let instance = &mut self.instances[at];
        let held = instance.machine.grant();
        let held = held.map(|grant| issuer_named(grant.issuer.as_str()));
        let ready = matches!(instance.actions.front(), Some(Action::Ready(_)));
        if ready && held != Some(self.named) {
            // The resource does not take it.
            instance.actions.pop_front();
            self.resource(at, Said::Unauthorized);
            return false;
        }
        ready
    }
}

/// The fact that `browser` notes.
const PAGE: &str = "an error page instead of a callback";
