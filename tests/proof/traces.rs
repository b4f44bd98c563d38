//! Short histories that end in a violation when a certain bug is planted (`tests/planted`): the setup, then a
//! move a line. Kept so that what once broke the machine is tried at once, every time; in the machine as it is
//! they are harmless. A history found by simulation, with every move left out that it can do without.
//! Those that are named for a property once broke it without a planted bug.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::support::world::{Client, Move, Setup, World};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/proof/traces")
}

/// The bug that is switched on in this copy of the crate, if it is one with bugs.
fn planted() -> Option<u8> {
    let bug = std::env::var("PLANTED").ok()?.parse().ok()?;
    Some(bug).filter(|bug| *bug != 0)
}

/// The violation of a history: the text of the failed check.
fn violation(setup: Setup, moves: &[Move], heals: bool) -> Option<String> {
    let replay = AssertUnwindSafe(|| {
        let mut world = World::new(setup);
        moves.iter().for_each(|next| world.apply(*next));
        if heals {
            world.heal();
        }
    });
    let payload = catch_unwind(replay).err()?;
    let said = payload.downcast_ref::<String>().cloned();
    let said = said.or_else(|| {
        payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
    });
    Some(said.unwrap_or_default())
}

/// The identifier of the property: what stands before the colon.
fn property(violation: &str) -> &str {
    let text = violation.rsplit("failed: ").next().unwrap_or_default();
    text.split(':').next().unwrap_or_default()
}

#[test]
fn every_kept_trace_is_harmless() {
    let mut count = 0;
    for entry in fs::read_dir(folder()).expect("kept traces") {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if planted().is_some_and(|bug| name != format!("K{bug:02}")) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let mut lines = text.lines();
        let setup = serde_json::from_str(lines.next().unwrap()).unwrap();
        let moves: Vec<Move> = lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        if let Some(said) = violation(setup, &moves, true) {
            panic!("{said}\nby {name}");
        }
        count += 1;
    }
    let all = planted().is_none();
    assert!(count >= if all { 20 } else { 1 }, "{count} traces");
}

/// Looks for a trace of the planted bug and keeps it.
#[test]
#[ignore = "only where a bug is planted: `cargo test --test planted keep -- --ignored`"]
fn keep() {
    let bug = planted().expect("a planted bug");
    let path = PathBuf::from(std::env::var_os("TRACE").expect("where to"));
    let (setup, moves, said) = (0..20_000)
        .find_map(broken_by)
        .unwrap_or_else(|| panic!("no seed violates anything with K{bug:02}"));
    let moves = shortest(setup, moves, property(&said));
    let mut text = serde_json::to_string(&setup).unwrap();
    for next in &moves {
        text.push('\n');
        text.push_str(&serde_json::to_string(next).unwrap());
    }
    fs::write(path, text + "\n").unwrap();
    println!("K{bug:02}: {} moves, {}", moves.len(), property(&said));
}

/// A history by this seed, up to where it violates something at once; what comes to light only when the world
/// heals takes too long to shorten.
fn broken_by(seed: u64) -> Option<(Setup, Vec<Move>, String)> {
    let mut random = SmallRng::seed_from_u64(seed);
    let client = Client::ALL[random.random_range(0..Client::ALL.len())];
    let setup = Setup::new(client, random.random_range(1..=2)).habits(random.random());
    let mut world = World::new(setup);
    let mut moves = Vec::new();
    let mut run = || {
        for _ in 0..120 {
            let next = world.choose(random.random_range(0..10) < 7, random.random());
            moves.push(next);
            world.apply(next);
        }
    };
    catch_unwind(AssertUnwindSafe(&mut run)).err()?;
    let said = violation(setup, &moves, false)?;
    Some((setup, moves, said))
}

/// Leaves out stretches, long ones first, while the same property falls.
fn shortest(setup: Setup, mut moves: Vec<Move>, id: &str) -> Vec<Move> {
    let falls =
        |moves: &[Move]| violation(setup, moves, false).is_some_and(|said| property(&said) == id);
    loop {
        let before = moves.len();
        let mut length = before.next_power_of_two() / 2;
        while length > 0 {
            let mut at = 0;
            while at < moves.len() {
                let mut fewer = moves.clone();
                fewer.drain(at..moves.len().min(at + length));
                if falls(&fewer) {
                    moves = fewer;
                } else {
                    at += length;
                }
            }
            length /= 2;
        }
        if moves.len() == before {
            return moves;
        }
    }
}
