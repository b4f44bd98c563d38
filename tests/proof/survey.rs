//! For a machine with a known fault: which properties fall, in how many of so many seeds, and in which one first.
//! The other engines stop at the first violation, and say the same of a fault as of ten.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::effort::{effort, parts, tells};
use crate::quiet;
use crate::support::world::{Client, Facts, Setup, World};

/// One history of up to 160 moves, then honesty.
fn history(seed: u64, facts: &Mutex<Facts>, setup: &Cell<Option<Setup>>) {
    let mut random = SmallRng::seed_from_u64(seed);
    let client = Client::ALL[random.random_range(0..Client::ALL.len())];
    let instances = [1, 1, 2, 3][random.random_range(0..4_usize)];
    let mut world = World::new(Setup::new(client, instances).habits(random.random()));
    setup.set(Some(world.setup));
    if tells("PROOF_SEEDS") {
        println!("{:?}", world.setup);
    }
    for _ in 0..random.random_range(1..160) {
        let next = world.choose(random.random(), random.random());
        if tells("PROOF_SEEDS") {
            println!("{next:?} {}", world.next_action(next));
        }
        world.apply(next);
    }
    world.heal();
    facts.lock().unwrap().merge(&world.facts);
}

#[test]
#[ignore = "for a machine with a fault; `PROOF_SEEDS=0..20000` says how many"]
fn survey() {
    let seeds = parts("PROOF_SEEDS", effort(2_000, 20_000, 200_000));
    let count = seeds.end - seeds.start;
    let next = AtomicU64::new(seeds.start);
    let found: Mutex<BTreeMap<String, (u64, u64)>> = Mutex::default();
    let facts = Mutex::new(Facts::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let setup = Cell::new(None);
                    let run = || history(seed, &facts, &setup);
                    let said = match tells("PROOF_SEEDS") {
                        true => return run(),
                        false => quiet::violation(run),
                    };
                    let Some(said) = said else { continue };
                    let name: String = quiet::line(&said)
                        .chars()
                        .filter(|c| !c.is_ascii_digit())
                        .collect();
                    let id: String = said.chars().take(3).collect();
                    let of = setup.get().map_or_else(String::new, |setup| setup.told());
                    let name = if id == "L01" {
                        format!("{name} {of}")
                    } else {
                        name
                    };
                    let mut found = found.lock().unwrap();
                    let entry = found.entry(format!("{id} {name}")).or_insert((0, seed));
                    entry.0 += 1;
                    entry.1 = entry.1.min(seed);
                }
            });
        }
    });
    println!("{count} histories");
    for (name, (times, first)) in found.into_inner().unwrap() {
        println!("{times:6}  first {first:6}  {name}");
    }
    let facts = facts.into_inner().unwrap();
    println!("{facts:?}");
}
