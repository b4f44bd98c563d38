//! The planted bugs: each guard of the machine is broken on purpose, and every engine that should see it
//! is shown to. A bound that misses one is too low. With `PROOF=each` a bug is shown to the first of its engines
//! and to the trace that is kept of it, without it to all of them.
//!
//! The bugs live in a copy of the crate, made under the target directory; the crate itself has no
//! switches. Run with `cargo test --test planted -- --ignored --nocapture --skip keep`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod bugs;
mod copy;
mod reveal;

use std::process::Command;
use std::sync::LazyLock;

use bugs::{BUGS, Bug, Engine};
use copy::{Kind, Planted, Tree};

impl Engine {
    fn test(self) -> &'static str {
        match self {
            Self::Histories => "histories::",
            Self::Simulation => "simulation::",
            Self::Storms => "storms::",
            Self::Traces => "traces::every",
            Self::Answers => "sweep::answers::",
            Self::Events => "sweep::events::",
            Self::Members => "sweep::members::",
            Self::Parameters => "sweep::parameters::",
            Self::Search => "every_situation",
        }
    }
}

static PROOF: LazyLock<Planted> = LazyLock::new(|| copy_of(Kind::Proof));
static SEARCH: LazyLock<Planted> = LazyLock::new(|| copy_of(Kind::Search));

fn copy_of(kind: Kind) -> Planted {
    Planted::make(kind, BUGS.iter().flat_map(|bug| bug.edits))
}

/// Whether a bug, or an engine, is among those that a variable names, if it names any: `PLANTED_BUGS=6,25`,
/// `PLANTED_ENGINES=Traces,Search`.
fn is_named(variable: &str, name: &str) -> bool {
    std::env::var(variable).map_or(true, |names| names.split(',').any(|known| known == name))
}

/// The engines that must find nothing where no bug is planted; the search has a test of its own.
const HARMLESS: [Engine; 8] = [
    Engine::Histories,
    Engine::Simulation,
    Engine::Storms,
    Engine::Traces,
    Engine::Answers,
    Engine::Events,
    Engine::Members,
    Engine::Parameters,
];

/// The seeds of the simulation for one bug: more than those of a run without one, which are enough for most.
const SEEDS: &str = "0..2000";

/// How many situations the search looks at for one bug.
const SITUATIONS: &str = "1200000";

/// The verdict of an engine with this bug switched on: the first violation, or none.
fn verdict(copy: &Planted, bug: u8, engine: Engine) -> Option<String> {
    // A part of the pairs of a sweep is luck where the flows have changed.
    let effort = match engine {
        Engine::Answers | Engine::Events => "each",
        Engine::Histories
        | Engine::Simulation
        | Engine::Storms
        | Engine::Traces
        | Engine::Members
        | Engine::Parameters
        | Engine::Search => "quick",
    };
    let output = Command::new(copy.program())
        .arg(engine.test())
        .current_dir(copy.root())
        .env("PLANTED", bug.to_string())
        .env("RUST_BACKTRACE", "0")
        .env("SEARCH", SITUATIONS)
        .env("PROOF_SEEDS", SEEDS)
        .env("PROOF_SHRINK", "0")
        .env("PROOF", effort)
        .output()
        .expect("the proof runs");
    if output.status.success() {
        return None;
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    // `S04: …`, or what an assertion puts before it.
    let property = |line: &str| {
        let line = line.rsplit("failed: ").next().unwrap_or(line);
        let (id, _) = line.split_once(": ")?;
        let letters = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-';
        let is_id = id.starts_with(|c: char| c.is_ascii_uppercase()) && id.chars().all(letters);
        is_id.then(|| line.to_owned())
    };
    let violation = said.lines().find_map(property);
    let violation = violation.unwrap_or_else(|| "fails without naming a property".to_owned());
    Some(violation.chars().take(90).collect())
}

/// Without a build: the text that each edit names is there, once.
#[test]
fn every_edit_finds_its_place() {
    let kit = concat!(env!("CARGO_MANIFEST_DIR"), "/crates/testing");
    if !std::path::Path::new(kit).is_dir() {
        // The published package has no kit beside it.
        return;
    }
    for kind in [Kind::Proof, Kind::Search] {
        let _copy = Tree::of(kind, BUGS.iter().flat_map(|bug| bug.edits));
    }
}

#[test]
#[ignore = "builds a copy of the crate; .ci/run does"]
fn every_planted_bug_is_caught() {
    println!("{}", PROOF.program().display());
    let named = |engine: &Engine| is_named("PLANTED_ENGINES", &format!("{engine:?}"));
    // On each run the proof itself runs beside this, and a bug is shown to two engines.
    let few = std::env::var("PROOF").as_deref() == Ok("each");
    if is_named("PLANTED_BUGS", "0") && !few {
        for engine in HARMLESS.iter().filter(|engine| named(engine)) {
            let verdict = verdict(&PROOF, 0, *engine);
            assert_eq!(verdict, None, "{engine:?} fails without a bug");
        }
    }
    let mut missed = Vec::new();
    let is_wanted = |bug: &&Bug| is_named("PLANTED_BUGS", &bug.number.to_string());
    for bug in BUGS.iter().filter(is_wanted) {
        let engines = bug.caught_by.iter().enumerate();
        let engines = engines.filter(|(at, engine)| !few || *at == 0 || **engine == Engine::Traces);
        for engine in engines.map(|(_, engine)| engine).filter(|e| named(e)) {
            let copy = match engine {
                Engine::Histories
                | Engine::Simulation
                | Engine::Storms
                | Engine::Traces
                | Engine::Answers
                | Engine::Events
                | Engine::Members
                | Engine::Parameters => &*PROOF,
                Engine::Search => &*SEARCH,
            };
            match verdict(copy, bug.number, *engine) {
                Some(how) => println!("K{:02} {:32} {engine:?}: {how}", bug.number, bug.name),
                None => {
                    println!("K{:02} {:32} {engine:?}: MISSED", bug.number, bug.name);
                    missed.push((bug.number, *engine));
                }
            }
        }
    }
    assert!(missed.is_empty(), "missed: {missed:?}");
    let numbers: Vec<u8> = BUGS.iter().map(|bug| bug.number).collect();
    assert!(
        numbers.is_sorted_by(|one, next| one < next),
        "each once, in order: {numbers:?}"
    );
}

/// Finds a short history for every bug, and writes it to `tests/proof/traces`.
#[test]
#[ignore = "writes into the sources"]
fn keep_traces() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proof/traces");
    let is_wanted = |bug: &&Bug| is_named("PLANTED_BUGS", &bug.number.to_string());
    for bug in BUGS
        .iter()
        .filter(is_wanted)
        .filter(|bug| bug.caught_by.contains(&Engine::Traces))
    {
        let status = Command::new(PROOF.program())
            .args(["traces::keep", "--ignored", "--nocapture"])
            .current_dir(PROOF.root())
            .env("PLANTED", bug.number.to_string())
            .env("TRACE", format!("{folder}/K{:02}.jsonl", bug.number))
            .env("RUST_BACKTRACE", "0")
            .stderr(std::process::Stdio::null())
            .status();
        assert!(
            status.expect("the proof runs").success(),
            "K{:02}",
            bug.number
        );
    }
}

/// The exhaustive search, without a bug.
#[test]
#[ignore = "builds a copy of the crate; .ci/run does"]
fn the_search_finds_nothing() {
    let copy = &*SEARCH;
    let status = Command::new(copy.program())
        .arg("--nocapture")
        .current_dir(copy.root())
        .env("PLANTED", "0")
        .env("RUST_BACKTRACE", "0")
        .status();
    assert!(status.expect("the search runs").success());
}
