//! A copy of the crate with all its mutants, built.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::list::{Genre, Mutant};
use crate::schema::{Mutated, mutate};

pub struct Built {
    pub programs: Vec<PathBuf>,
    /// Where they run.
    pub root: PathBuf,
    pub mutants: Vec<usize>,
    pub left_out: Vec<usize>,
    pub unviable: usize,
}

const SWITCH: &str = "//! Which mutant is on.
#![allow(missing_docs, unreachable_pub)]
pub fn on(number: u32) -> bool {
    static ON: std::sync::LazyLock<u32> = std::sync::LazyLock::new(|| {
        std::env::var(\"MUTANT\").ok().and_then(|text| text.parse().ok()).unwrap_or(u32::MAX)
    });
    *ON == number
}
";

/// The programs that judge, in this order.
const TESTS: [&str; 2] = ["suite", "proof"];

pub fn build(root: &Path, all: &[Mutant]) -> Built {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let target = std::path::absolute(target).expect("a path");
    let copy = target.join("mutated");
    let _absent = fs::remove_dir_all(&copy);
    copy_folder(root, &copy);
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("Cargo.toml");
    // Another version, in the range that the other members require, keeps what is built apart from the original.
    let manifest = manifest.replacen("version = \"0.1.0\"", "version = \"0.1.0+mutated\"", 1);
    fs::write(copy.join("Cargo.toml"), manifest).expect("a manifest");
    fs::write(copy.join("src/mutant.rs"), SWITCH).expect("a module");

    let library = Path::new(LIBRARY);
    let source = fs::read_to_string(root.join(library)).expect(LIBRARY);
    write(&copy, library, &source);

    let mut files: BTreeMap<&Path, Vec<usize>> = BTreeMap::new();
    let mut left_out = Vec::new();
    for (number, mutant) in all.iter().enumerate() {
        match mutant.genre {
            Genre::Other => left_out.push(number),
            Genre::FnValue
            | Genre::BinaryOperator
            | Genre::UnaryOperator
            | Genre::MatchArmGuard => {
                files.entry(&mutant.file).or_default().push(number);
            }
        }
    }
    let mut unviable = BTreeSet::new();
    loop {
        let mut mutated: BTreeMap<&Path, Mutated> = BTreeMap::new();
        for (file, numbers) in &files {
            let source = fs::read_to_string(root.join(file)).expect("a source file");
            let wanted: Vec<usize> = numbers
                .iter()
                .copied()
                .filter(|n| !unviable.contains(n))
                .collect();
            let new = mutate(&source, all, &wanted);
            write(&copy, file, &new.text);
            mutated.insert(file, new);
        }
        let before = unviable.len();
        let errors = check(&copy, &target);
        for (file, at) in &errors {
            let Some(new) = mutated.get(file.as_path()) else {
                continue;
            };
            let hit = new
                .places
                .iter()
                .filter(|(range, _)| range.start <= at.1 && at.0 <= range.end);
            unviable.extend(hit.map(|(_, number)| *number));
        }
        eprintln!(
            "{} errors, {} mutants that do not compile",
            errors.len(),
            unviable.len()
        );
        if errors.is_empty() {
            left_out.extend(mutated.values().flat_map(|new| new.left_out.clone()));
            let mutants = mutated
                .values()
                .flat_map(|new| new.places.iter().map(|(_, number)| *number));
            let mutants: BTreeSet<usize> = mutants.collect();
            let programs = TESTS
                .iter()
                .map(|test| program(&copy, &target, test))
                .collect();
            return Built {
                programs,
                root: copy,
                mutants: mutants.into_iter().collect(),
                left_out,
                unviable: unviable.len(),
            };
        }
        assert!(
            unviable.len() > before,
            "errors outside of every mutant: {errors:?}"
        );
    }
}

const LIBRARY: &str = "src/lib.rs";

fn write(copy: &Path, file: &Path, text: &str) {
    let switch = "\n#[doc(hidden)]\npub mod mutant;\n";
    let more = if file == Path::new(LIBRARY) {
        switch
    } else {
        ""
    };
    fs::write(copy.join(file), [text, more].concat()).expect("a source file");
}

/// Where the compiler finds fault: file, and the bytes from and to.
fn check(copy: &Path, target: &Path) -> Vec<(PathBuf, (usize, usize))> {
    let output = Command::new("cargo")
        .args(["check", "--lib", "--message-format=json"])
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", target)
        .env("RUSTFLAGS", "--cap-lints=warn")
        .output()
        .expect("cargo runs");
    let mut found = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        if message["message"]["level"] != "error" {
            continue;
        }
        for span in message["message"]["spans"].as_array().into_iter().flatten() {
            if span["is_primary"] == true {
                let number = |name: &str| span[name].as_u64().unwrap_or(0) as usize;
                let file = PathBuf::from(span["file_name"].as_str().unwrap_or_default());
                found.push((file, (number("byte_start"), number("byte_end"))));
            }
        }
    }
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || !found.is_empty(), "{said}");
    found
}

fn program(copy: &Path, target: &Path, test: &str) -> PathBuf {
    let output = Command::new("cargo")
        .args([
            "test",
            "--release",
            // The other members would add features of the kit, and their dependencies.
            "-p",
            "mcp-auth-machine",
            "--test",
            test,
            "--no-run",
            "--message-format=json",
        ])
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", target)
        .env("RUSTFLAGS", "--cap-lints=warn")
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let path = message["executable"].as_str()?;
        (message["target"]["name"] == test).then(|| PathBuf::from(path))
    };
    let said = String::from_utf8_lossy(&output.stdout);
    said.lines()
        .find_map(executable)
        .expect("the program that was built")
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name();
        let place = to.join(&name);
        if entry.path().is_dir() {
            if !["target", ".git"].iter().any(|left| name == *left) {
                copy_folder(&entry.path(), &place);
            }
        } else {
            fs::copy(entry.path(), place).expect("a file");
        }
    }
}
