//! The heal property: whatever has happened, when the world turns honest a token is held within 40
//! answers from the network and the user, with one redirect at most (L01, L02, L08 to L11).

use mcp_auth_machine::{Action, Event};

use super::{Client, How, LIAR, Move, OPERATION, Return, World};
use mcp_auth_machine::event::Operation;

/// Slot answers included.
const STEPS: usize = 100;
const ANSWERS: usize = 40;

impl World {
    /// Turns the world honest and waits for a token at the first instance.
    pub fn heal(&mut self) {
        // A binding that cannot be read is not replaced by a guess, and neither is one to the liar: that
        // needs the host (REG-04).
        let bound = self.shelf.bound();
        if self.setup.client == Client::Unbound && (self.shelf.tampered || bound == Some(LIAR)) {
            return;
        }
        self.named = match self.setup.client {
            Client::Unbound => bound.unwrap_or(0),
            _ => 0,
        };
        // What is on its way gets lost, what runs runs out, and every window closes.
        self.visits.clear();
        for at in 0..self.instances.len() {
            for _ in 0..24 {
                let instance = &mut self.instances[at];
                instance.actions.clear();
                let Some(deadline) = instance.machine.deadline() else {
                    break;
                };
                self.wait(deadline.0.saturating_sub(self.now.mono.0));
            }
        }
        // Longer than any document is kept, wherever the wall clock was when it came.
        let behind = self.latest - self.now.wall.0;
        self.wait(behind + 50 * 3_600_000);
        for instance in &mut self.instances {
            instance.actions.clear();
        }
        self.ledger.external(0);
        self.tell(0, Event::Wanted(Operation::new(OPERATION)));
        let (mut redirects, mut answers) = (0, 0);
        let mut told = Vec::new();
        for _ in 0..STEPS {
            let instance = &self.instances[0];
            told.push(format!("{:?}", instance.actions));
            match instance.actions.front() {
                Some(Action::Ready(_)) => return,
                Some(action) => {
                    if let Action::Redirect(_) = action {
                        redirects += 1;
                    }
                    if let Action::SendRequest(_) | Action::Redirect(_) = action {
                        answers += 1;
                    }
                    let (at, action, how) = (0, 0, How::Honest);
                    self.apply(Move::Answer { at, action, how });
                }
                None => match self.visits.len().checked_sub(1) {
                    Some(visit) => {
                        let (at, how) = (0, Return::Honest);
                        self.apply(Move::Return { visit, at, how });
                    }
                    None => match instance.machine.deadline() {
                        Some(at) => self.wait(at.0.saturating_sub(self.now.mono.0)),
                        None => self.resource(0, super::Said::Unauthorized),
                    },
                },
            }
            assert!(
                redirects <= 1,
                "L01: a second redirect before a token\n{}",
                told.join("\n")
            );
            assert!(answers <= ANSWERS, "L01: no token after {ANSWERS} answers");
        }
        let phase = self.instances[0].machine.phase();
        panic!(
            "L01: no token after {STEPS} steps; {phase:?}\n{}",
            told.join("\n")
        );
    }
}
