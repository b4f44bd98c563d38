//! Sweeps: products of tables instead of selected cases. They combine each response of each flow with one fault of every
//! kind, then with pairs; each event with each queued event and each state; each member of a document with each JSON
//! type; each operation of the store with each outcome; each parameter name with the host's settings. The checks of the
//! world judge every run, and an honest world must lead to a token afterwards.
//!
//! The states are those of the machine and the members those of the codecs: a new one that no table reaches fails.

mod answers;
mod events;
mod flows;
mod members;
mod parameters;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::effort::parts;
use crate::quiet;
use crate::support::world::Move;
use flows::{Flow, Run};

/// One run: a flow, after so many honest steps of it, what happens then, and again after so many more.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    flow: Flow,
    steps: usize,
    first: Move,
    then: Option<(usize, Move)>,
}

impl Case {
    fn run(&self) {
        let mut run = Run::after(self.flow, self.steps);
        run.tell(self.first);
        run.world.apply(self.first);
        if let Some((steps, second)) = self.then {
            for _ in 0..steps {
                run.step();
            }
            run.tell(second);
            run.world.apply(second);
        }
        run.finish();
        run.world.heal();
    }

    fn told(&self) -> String {
        let (flow, steps, first) = (self.flow.name, self.steps, self.first);
        match self.then {
            None => format!("{flow}, {steps} steps, {first:?}"),
            Some((more, then)) => {
                format!("{flow}, {steps} steps, {first:?}, {more} more, {then:?}")
            }
        }
    }
}

/// Runs all of them, and says what fell, how often and where first.
fn judge(cases: &[Case]) {
    judge_each(cases.len(), |at| cases[at].run(), |at| cases[at].told());
}

fn judge_each(count: usize, run: impl Fn(usize) + Sync, told: impl Fn(usize) -> String + Sync) {
    let next = AtomicUsize::new(0);
    let found: Mutex<BTreeMap<String, (usize, usize)>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let only = parts("PROOF_CASES", u64::try_from(count).unwrap());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        return;
                    }
                    if !only.contains(&u64::try_from(at).unwrap()) {
                        continue;
                    }
                    if let Some(said) = quiet::violation(|| run(at)) {
                        let mut found = found.lock().unwrap();
                        let entry = found.entry(quiet::line(&said)).or_insert((0, at));
                        entry.0 += 1;
                        entry.1 = entry.1.min(at);
                    }
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    for (said, (times, first)) in &found {
        println!(
            "{said}\n    {times} times, first in case {first}: {}",
            told(*first)
        );
    }
    assert!(
        found.is_empty(),
        "{} kinds of violations in {count} cases",
        found.len()
    );
}
