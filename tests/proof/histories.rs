//! Histories: proptest over moves, half of them the next honest step, so that they get somewhere.

use std::cell::RefCell;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{
    Config, FailurePersistence, FileFailurePersistence, RngSeed, TestError, TestRunner,
};

use crate::effort::{effort, parts};
use crate::support::world::facts::wanted;
use crate::support::world::{Client, Facts, Setup, World};

#[test]
fn sec_18_s01_to_s34_l01_hold_in_every_history() {
    let cases = effort(4_000, 25_000, 1_000_000);
    let shards = parts("PROOF_SHARDS", effort(1, 4, 10));
    let next = AtomicU64::new(shards.start);
    let found = Mutex::new(Facts::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let shard = next.fetch_add(1, Ordering::Relaxed);
                    if shard >= shards.end {
                        return;
                    }
                    let facts = run(shard, u32::try_from(cases).unwrap());
                    found.lock().unwrap().merge(&facts);
                    println!("shard {shard}: {cases} histories");
                }
            });
        }
    });
    let facts = found.into_inner().unwrap();
    let missing = facts.missing(&wanted(cases * (shards.end - shards.start)));
    assert!(missing.is_empty(), "never reached: {missing:?}; {facts:?}");
}

/// So many histories, always the same ones for a shard: a gate says the same of the same commit twice.
fn run(shard: u64, cases: u32) -> Facts {
    let facts = RefCell::new(Facts::default());
    // Where a bug is planted, what fails is all that is wanted.
    let shrinks = std::env::var("PROOF_SHRINK").map_or(20_000, |text| text.parse().unwrap());
    let persistence = FileFailurePersistence::Direct("proptest-regressions/histories.txt");
    let persistence: Box<dyn FailurePersistence> = Box::new(persistence);
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: Some(persistence).filter(|_| shrinks > 0),
        max_shrink_iters: shrinks,
        rng_seed: RngSeed::Fixed(24 + shard),
        ..Config::default()
    });
    // Half of the clients have a user; half of the worlds one process.
    let client = prop_oneof![
        prop::sample::select(Client::WITH_USER.as_slice()),
        prop::sample::select(Client::ALL.as_slice()),
    ];
    let moves = prop::collection::vec((any::<bool>(), any::<u32>()), 1..160);
    let instances = prop_oneof![Just(1_usize), 2..4_usize];
    let setup = (client, instances, any::<u8>());
    let setup =
        setup.prop_map(|(client, instances, habits)| Setup::new(client, instances).habits(habits));
    let world = (setup, moves);
    let verdict = runner.run(&world, |(setup, moves)| {
        let mut world = World::new(setup);
        for (honest, choice) in moves {
            let next = world.choose(honest, choice);
            world.apply(next);
        }
        world.heal();
        facts.borrow_mut().merge(&world.facts);
        Ok(())
    });
    match verdict {
        Ok(()) => facts.into_inner(),
        Err(TestError::Fail(reason, (setup, moves))) => {
            panic!("{}\n{reason}", told(setup, &moves))
        }
        Err(other) => panic!("{other}"),
    }
}

/// The moves of a history up to where it fails, as they happened.
fn told(setup: Setup, moves: &[(bool, u32)]) -> String {
    let told = RefCell::new(format!("{setup:?}\n"));
    let replay = AssertUnwindSafe(|| {
        let mut world = World::new(setup);
        world.tells = true;
        for (honest, choice) in moves {
            let next = world.choose(*honest, *choice);
            writeln!(told.borrow_mut(), "{next:?} {}", world.next_action(next)).unwrap();
            world.apply(next);
        }
    });
    let _fails_again = catch_unwind(replay);
    told.into_inner()
}
