//! Exhaustive search of the real step function: from a start, every move that the bounds allow, in every
//! order, until no new situation is found. The least deviation comes first: all situations that honest steps reach,
//! then all that one deviation reaches, and so on. A violation is reported move by move.
//!
//! Built in a copy of the crate in which every type can be cloned and shown whole; the machine itself can
//! be neither. The step function is the same.

#![allow(dead_code, clippy::all)]

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use mcp_auth_testing::machine_tests::world::{Client, Facts, How, Move, Return, Said, Setup, World};

/// The events permitted beside honest steps, and how often each may happen.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Requests to the MCP server, and what it says.
    requests: u8,
    /// How often the user says yes.
    starts: u8,
    crashes: u8,
    /// Answers that are not the honest ones.
    lies: u8,
    /// Callbacks that are not the honest ones.
    callbacks: u8,
    /// How often the resource names another server.
    moves: u8,
    waits: u8,
}

impl Bounds {
    /// Whether a move is one that an honest world would make too.
    fn is_honest(next: Move) -> bool {
        matches!(
            next,
            Move::Answer {
                how: How::Honest,
                ..
            } | Move::Return {
                how: Return::Honest,
                ..
            } | Move::Resource {
                said: Said::Honest,
                ..
            }
        )
    }

    /// The remaining bounds after a move; `None` when it exceeds them.
    fn after(mut self, next: Move, asks: bool) -> Option<Self> {
        let place = match next {
            Move::Answer {
                how: How::Honest, ..
            } if asks => &mut self.starts,
            Move::Answer {
                how: How::Honest, ..
            } => return Some(self),
            Move::Answer { .. } => &mut self.lies,
            Move::Return {
                how: Return::Honest,
                ..
            } => return Some(self),
            Move::Return { .. } => &mut self.callbacks,
            Move::Resource { .. } => &mut self.requests,
            Move::Names(_) => &mut self.moves,
            Move::Crash { .. } => &mut self.crashes,
            Move::Wait(_) => &mut self.waits,
            Move::Cancel(_)
            | Move::Click(_)
            | Move::Reset(_)
            | Move::Lists(..)
            | Move::Document { .. }
            | Move::Forgets(_)
            | Move::Suspend(_)
            | Move::SignOut(_)
            | Move::WallClock(_)
            | Move::RollBack(_)
            | Move::Damage(_)
            | Move::Confuse
            | Move::Blink(_)
            | Move::Outage { .. }
            | Move::SetClock { .. }
            | Move::SignOutBeside(_)
            | Move::Nonces(_)
            | Move::Late { .. }
            | Move::LateTwice { .. }
            | Move::LateBeside(_)
            | Move::SavedTwice(_)
            | Move::SavedRefused(_)
            | Move::SignOutTwice(_)
            | Move::SignOutUnread(_)
            | Move::SignOutBesideRefresh(_) => return None,
        };
        *place = place.checked_sub(1)?;
        Some(self)
    }
}

struct Node {
    world: World,
    bounds: Bounds,
    path: Arc<Path>,
}

/// A situation that is looked at later: kept as the way to it, which always leads there (S25).
struct Later {
    bounds: Bounds,
    path: Arc<Path>,
}

/// How a situation was reached.
struct Path {
    last: Option<(Move, Arc<Path>)>,
}

impl Path {
    fn told(&self) -> Vec<Move> {
        let mut told = Vec::new();
        let mut at = self;
        while let Some((step, before)) = &at.last {
            told.push(*step);
            at = before;
        }
        told.reverse();
        told
    }
}

struct Search {
    setup: Setup,
    limit: usize,
    seen: HashSet<u128>,
    situations: usize,
    facts: Facts,
    transitions: u64,
    healed: u64,
}

/// A violation: the way to it.
struct Violation(Vec<Move>);

impl Search {
    fn new(setup: Setup, limit: usize) -> Self {
        Self {
            setup,
            limit,
            seen: HashSet::new(),
            situations: 0,
            facts: Facts::default(),
            transitions: 0,
            healed: 0,
        }
    }

    fn is_new(&mut self, world: &World, bounds: Bounds) -> bool {
        let new = self.seen.insert(world.fingerprint(&format!("{bounds:?}")));
        self.situations = self.seen.len();
        new
    }

    /// Everything that can follow a situation: by honest steps, and by others.
    fn expand(
        &mut self,
        node: &Node,
        honest: &mut Vec<Node>,
        other: &mut Vec<Later>,
    ) -> Result<(), Violation> {
        let lies = [0, 1, 3, 4];
        for step in node.world.options(&lies) {
            let asks = node.world.next_action(step).starts_with("NeedUser");
            let Some(bounds) = node.bounds.after(step, asks) else {
                continue;
            };
            let mut world = node.world.clone();
            world.facts = Facts::default();
            let path = Arc::new(Path {
                last: Some((step, Arc::clone(&node.path))),
            });
            let outcome = catch_unwind(AssertUnwindSafe(|| world.apply(step)));
            self.transitions += 1;
            self.facts.merge(&world.facts);
            if outcome.is_err() {
                return Err(Violation(path.told()));
            }
            if !self.is_new(&world, bounds) {
                continue;
            }
            // Every so often: does it heal from here?
            if self.transitions.is_multiple_of(64) {
                let mut world = world.clone();
                self.healed += 1;
                if catch_unwind(AssertUnwindSafe(|| world.heal())).is_err() {
                    return Err(Violation(path.told()));
                }
            }
            if Bounds::is_honest(step) {
                honest.push(Node {
                    world,
                    bounds,
                    path,
                });
            } else {
                other.push(Later { bounds, path });
            }
        }
        Ok(())
    }

    /// Whether enough was looked at: all that it may look at, or another plan has found something.
    fn is_over(&self, stop: &AtomicBool) -> bool {
        self.situations >= self.limit || stop.load(Ordering::Relaxed)
    }

    fn again(&self, later: Later) -> Node {
        let mut world = World::new(self.setup);
        later
            .path
            .told()
            .into_iter()
            .for_each(|step| world.apply(step));
        Node {
            world,
            bounds: later.bounds,
            path: later.path,
        }
    }

    /// Whether everything was looked at.
    fn run(&mut self, bounds: Bounds, stop: &AtomicBool) -> Result<bool, Violation> {
        let path = Arc::new(Path { last: None });
        let mut level = vec![Later { bounds, path }];
        while !level.is_empty() {
            let mut next = Vec::new();
            for later in level {
                let mut honest = vec![self.again(later)];
                while let Some(node) = honest.pop() {
                    if self.is_over(stop) {
                        return Ok(false);
                    }
                    self.expand(&node, &mut honest, &mut next)?;
                }
            }
            level = next;
        }
        Ok(true)
    }
}

fn told(path: &[Move]) -> String {
    let lines: Vec<String> = path.iter().map(|step| format!("{step:?}")).collect();
    lines.join("\n")
}

/// Each plan by one thread from start to end, so that a search goes the same way every time.
fn in_parallel(mut plans: Vec<(Search, Bounds)>) -> Vec<(Search, Result<bool, Violation>)> {
    plans.reverse();
    let waiting = Mutex::new(plans);
    let done = Mutex::new(Vec::new());
    let stop = AtomicBool::new(false);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((mut search, bounds)) = { waiting.lock().unwrap().pop() } {
                    let closed = search.run(bounds, &stop);
                    if closed.is_err() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    search.seen = HashSet::new();
                    done.lock().unwrap().push((search, closed));
                }
            });
        }
    });
    done.into_inner().unwrap()
}

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

/// Two processes, four starts, a crash, and one thing that an attacker does.
const PAIR: Bounds = Bounds {
    requests: 4,
    starts: 4,
    crashes: 1,
    lies: 1,
    callbacks: 1,
    moves: 2,
    waits: 0,
};
/// One process, five starts, two crashes, and two things that an attacker does.
const ALONE: Bounds = Bounds {
    requests: 5,
    starts: 5,
    crashes: 2,
    lies: 2,
    callbacks: 2,
    moves: 3,
    waits: 0,
};

/// Situations that one run may meet, over all clients; `SEARCH=…` for more.
const SITUATIONS: usize = 1_200_000;

#[test]
fn s01_to_s34_hold_in_every_situation() {
    let limit = number("SEARCH", SITUATIONS);
    // Narrow and deep, then wide: several starts show what two do not.
    let deep = Bounds {
        requests: 4,
        starts: 4,
        crashes: 0,
        lies: 1,
        callbacks: 1,
        moves: 3,
        waits: 0,
    };
    let crash = Bounds {
        requests: 2,
        starts: 2,
        crashes: 1,
        lies: 1,
        callbacks: 1,
        moves: 1,
        waits: 0,
    };
    let pair = Bounds {
        requests: 2,
        starts: 2,
        crashes: 0,
        lies: 1,
        callbacks: 1,
        moves: 1,
        waits: 0,
    };
    let plans = if std::env::var("PROOF").as_deref() == Ok("long") {
        let limit = number("SEARCH", 13_000_000);
        let clients = [Client::Document, Client::Dynamic, Client::Registered];
        let pairs = clients.map(|client| (client, 2, PAIR, limit));
        let alone = clients.map(|client| (client, 1, ALONE, limit));
        [pairs, alone].concat()
    } else {
        let ninth = number("SEARCH", SITUATIONS).div_ceil(9);
        vec![
            (Client::Document, 2, pair, ninth.saturating_mul(4)),
            (Client::Document, 1, deep, ninth),
            (Client::Dynamic, 1, deep, ninth),
            (Client::Registered, 1, crash, ninth),
            (Client::Unbound, 1, deep, ninth),
            (Client::Key, 1, deep, ninth),
        ]
    };
    let plan = |(client, instances, bounds, limit)| {
        (Search::new(Setup::new(client, instances), limit), bounds)
    };
    let plans = plans.into_iter().map(plan).collect();
    let mut facts = Facts::default();
    let (mut situations, mut transitions, mut healed) = (0, 0, 0);
    for (search, closed) in in_parallel(plans) {
        let Setup {
            client, instances, ..
        } = search.setup;
        let met = search.situations;
        let ending = match closed {
            Ok(true) => "closed",
            Ok(false) => "cut",
            Err(Violation(path)) => {
                panic!("{:?}, {} moves:\n{}", search.setup, path.len(), told(&path))
            }
        };
        println!("{client:?} on {instances}: {met} situations, {ending}");
        situations += met;
        transitions += search.transitions;
        healed += search.healed;
        facts.merge(&search.facts);
    }
    println!("{situations} situations, {transitions} transitions, {healed} of them healed");
    if number("PLANTED", 0) == 0 {
        let wanted = [
            "ready at a",
            "ready at b",
            "ready at c",
            "moved",
            "code sent",
            "mixed up",
            "crashed",
            "server_changed",
            "iss advertised, absent",
            "iss not advertised, absent",
        ];
        let missing = facts.missing(&wanted);
        assert!(missing.is_empty(), "never reached: {missing:?}");
    }
}
