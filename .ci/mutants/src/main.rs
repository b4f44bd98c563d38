//! Mutation testing in one build: every mutant of the core that `cargo mutants` lists is written into a copy of
//! the crate behind a switch, and the tests are run once for each. The same mutants, the same tests; what takes
//! cargo-mutants hours takes minutes.
//!
//!     cargo run --release -- ROOT [what to choose, as `cargo mutants --list` takes it]
//!
//! Mutants that do not compile are left out, as cargo-mutants does; those that a switch cannot express (in
//! constants, in chains of `let`) are named at the end, for cargo-mutants itself. Survivors that the file
//! `.ci/mutants/excused.txt` names are not counted; a line there that excuses nothing is an error.

mod build;
mod list;
mod run;
mod schema;

use std::collections::BTreeSet;
use std::path::PathBuf;

use run::Verdict;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let root = PathBuf::from(arguments.next().expect("the root of the crate"));
    let choice: Vec<String> = arguments.collect();
    let all = list::list(&root, &choice);
    if all.is_empty() {
        return println!("0 mutants");
    }
    let built = build::build(&root, &all);
    let verdicts = run::run(&built);
    let excuses = std::fs::read_to_string(root.join(".ci/mutants/excused.txt")).unwrap_or_default();
    let excused: BTreeSet<&str> = excuses
        .lines()
        .filter(|line| line.starts_with("src/"))
        .collect();
    let (mut caught, mut survivors, mut used) = (0, Vec::new(), BTreeSet::new());
    for (number, verdict) in &verdicts {
        let name = list::without_place(&all[*number].name);
        match verdict {
            Verdict::Caught => caught += 1,
            Verdict::Survived if excused.contains(name.as_str()) => {
                used.insert(name);
            }
            Verdict::Survived => survivors.push(&all[*number].name),
        }
    }
    for name in &survivors {
        println!("SURVIVED {name}");
    }
    for number in &built.left_out {
        println!("left out {}", all[*number].name);
    }
    println!(
        "{} mutants: {caught} caught, {} excused, {} survived; {} do not compile, {} left out",
        verdicts.len(),
        verdicts.len() - caught - survivors.len(),
        survivors.len(),
        built.unviable,
        built.left_out.len(),
    );
    let idle: Vec<_> = excused
        .iter()
        .filter(|line| !used.contains(**line))
        .collect();
    if choice.is_empty() {
        for line in &idle {
            println!("excuses nothing: {line}");
        }
    }
    if !survivors.is_empty() || (choice.is_empty() && !idle.is_empty()) {
        std::process::exit(1);
    }
}
