//! Exhaustive search of the real step function: from a start, every move that the bounds allow, in every
//! order, until nothing new is met. What deviates least comes first: all that honest steps lead to, then all
//! that one deviation leads to, and so on. What it finds is told, move by move.
//!
//! Built in a copy of the crate in which every type can be cloned and shown whole; the machine itself can
//! be neither. The step function is the same.

#![allow(dead_code, clippy::all)]

#[path = "support/mod.rs"]
mod support;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use support::world::{Client, Facts, How, Move, Return, Said, Setup, World};

/// What may happen beside honest steps, and how often.
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

    /// What is left after a move; none when it costs more than is left.
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
            | Move::SignOut(_)
            | Move::WallClock(_)
            | Move::RollBack(_)
            | Move::Damage(_)
            | Move::Confuse => return None,
        };
        *place = place.checked_sub(1)?;
        Some(self)
    }
}

#[derive(Clone)]
struct Node {
    world: World,
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

#[derive(Default)]
struct Tally {
    transitions: AtomicU64,
    healed: AtomicU64,
}

const SHARDS: usize = 64;

struct Search {
    seen: Vec<Mutex<HashSet<u128>>>,
    tally: Tally,
    found: Mutex<Option<String>>,
    stop: AtomicBool,
    limit: u64,
}

impl Search {
    fn new(limit: u64) -> Self {
        Self {
            seen: (0..SHARDS).map(|_| Mutex::default()).collect(),
            tally: Tally::default(),
            found: Mutex::default(),
            stop: AtomicBool::new(false),
            limit,
        }
    }

    fn is_new(&self, node: &Node) -> bool {
        let print = node.world.fingerprint(&format!("{:?}", node.bounds));
        self.seen[(print as usize) % SHARDS]
            .lock()
            .unwrap()
            .insert(print)
    }

    fn situations(&self) -> u64 {
        self.seen
            .iter()
            .map(|shard| shard.lock().unwrap().len() as u64)
            .sum()
    }

    /// Everything that can follow a situation.
    fn expand(&self, node: &Node, facts: &mut Facts, next: &mut [Vec<Node>; 2]) {
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
            let transitions = self.tally.transitions.fetch_add(1, Ordering::Relaxed);
            facts.merge(&world.facts);
            if outcome.is_err() {
                return self.tell(&path, node);
            }
            let node = Node {
                world,
                bounds,
                path,
            };
            if !self.is_new(&node) {
                continue;
            }
            // Every so often: does it heal from here?
            if transitions.is_multiple_of(64) {
                let mut world = node.world.clone();
                self.tally.healed.fetch_add(1, Ordering::Relaxed);
                if catch_unwind(AssertUnwindSafe(|| world.heal())).is_err() {
                    return self.tell(&node.path, &node);
                }
            }
            next[usize::from(!Bounds::is_honest(step))].push(node);
        }
    }

    fn tell(&self, path: &Path, node: &Node) {
        self.stop.store(true, Ordering::Relaxed);
        let told: Vec<String> = path.told().iter().map(|step| format!("{step:?}")).collect();
        let text = format!(
            "{:?}, {} moves:\n{}",
            node.world.setup,
            told.len(),
            told.join("\n")
        );
        self.found.lock().unwrap().get_or_insert(text);
    }

    fn run(&self, start: Node, facts: &mut Facts) -> bool {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut frontier = vec![vec![start]];
        while let Some(deviations) = frontier.iter().position(|level| !level.is_empty()) {
            if self.stop.load(Ordering::Relaxed) || self.situations() >= self.limit {
                return false;
            }
            let mut level = std::mem::take(&mut frontier[deviations]);
            let share = level.len().div_ceil(threads);
            let work = |nodes: Vec<Node>| {
                let mut facts = Facts::default();
                let mut next = [Vec::new(), Vec::new()];
                for (at, node) in nodes.into_iter().enumerate() {
                    let full = at % 1_024 == 0 && self.situations() >= self.limit;
                    if full || self.stop.load(Ordering::Relaxed) {
                        break;
                    }
                    self.expand(&node, &mut facts, &mut next);
                }
                (next, facts)
            };
            let mut parts = Vec::new();
            while !level.is_empty() {
                parts.push(level.split_off(level.len().saturating_sub(share)));
            }
            let work = &work;
            let results: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = parts
                    .into_iter()
                    .map(|part| scope.spawn(move || work(part)))
                    .collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap())
                    .collect()
            });
            frontier.resize_with(frontier.len().max(deviations + 2), Vec::new);
            for ([same, more], met) in results {
                facts.merge(&met);
                frontier[deviations].extend(same);
                frontier[deviations + 1].extend(more);
            }
        }
        true
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

/// Situations that one run may meet, over all clients; `SEARCH=…` for more.
const SITUATIONS: u64 = 1_200_000;

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
    let plans = [
        (Client::Document, 1, deep, 1),
        (Client::Dynamic, 1, deep, 1),
        (Client::Registered, 1, crash, 1),
        (Client::Unbound, 1, deep, 1),
        (Client::Key, 1, deep, 1),
        (Client::Document, 2, pair, 4),
    ];
    let parts: u64 = plans.iter().map(|(_, _, _, parts)| parts).sum();
    let mut facts = Facts::default();
    let (mut situations, mut transitions, mut healed) = (0, 0, 0);
    for (client, instances, bounds, part) in plans {
        let search = Search::new((limit * part).div_ceil(parts));
        let path = Arc::new(Path { last: None });
        let start = Node {
            world: World::new(Setup { client, instances }),
            bounds,
            path,
        };
        let closed = search.run(start, &mut facts);
        if let Some(found) = search.found.lock().unwrap().take() {
            panic!("{found}");
        }
        let met = search.situations();
        println!(
            "{client:?} on {instances}: {met} situations, {}",
            if closed { "closed" } else { "cut" }
        );
        situations += met;
        transitions += search.tally.transitions.load(Ordering::Relaxed);
        healed += search.tally.healed.load(Ordering::Relaxed);
    }
    println!("{situations} situations, {transitions} transitions, {healed} of them healed");
    if std::env::var_os("PLANTED").is_none() {
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
